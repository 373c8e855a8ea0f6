"""The runner: plays many episodes in lockstep, with one batched reply call per policy and step."""

from collections.abc import Mapping, Sequence
from typing import Any

from tsmg.errors import InvalidArgumentError, NoReplyError
from tsmg.game import AnyGame
from tsmg.match import EpisodeSpec, Match, draw_start, step_limit
from tsmg.players import AgentPolicy
from tsmg.randomness import EpisodeKey, Phase
from tsmg.records import Episode, FailedEpisode, Reply, Request

_DRAWS_PER_INSTANCE = 20


def play(
    game: AnyGame,
    policies: AgentPolicy | Mapping[str, AgentPolicy],
    specs: Sequence[EpisodeSpec[Any]],
) -> list[Episode[Any] | FailedEpisode[Any]]:
    """Play every spec to its end and return the records in the order of the specs.

    An episode is a function of its own spec: the other specs do not change it. An exception of the *game* ends that one
    episode as a ``FailedEpisode``, and so does a request to which a policy cannot reply (``NoReplyError``); any other
    exception of a policy is a bug and passes through.

    Args:
      game: the game; it needs a horizon or a declared longest game.
      policies: one policy for all agents, or one per agent (the same object may serve several).
      specs: the episodes to play.

    Raises:
      InvalidArgumentError: no limit on the length of an episode, or an agent without a policy.
    """
    by_agent = policies if isinstance(policies, Mapping) else dict.fromkeys(game.agents, policies)
    missing = [agent for agent in game.agents if agent not in by_agent]
    if missing:
        raise InvalidArgumentError(f"'policies' must name every agent (missing {missing})")
    step_limit(game)
    live = [_Live(game, spec) for spec in specs]
    while moving := [episode for episode in live if episode.result is None]:
        for episode in moving:
            episode.observe()
        waiting = [(episode, r) for episode in moving for r in episode.requests]
        for policy in {id(policy): policy for policy in by_agent.values()}.values():
            mine = [(e, r) for e, r in waiting if by_agent[r.history.agent] is policy]
            _collect_replies(game, policy, mine)
        for episode in moving:
            episode.advance()
    return [episode.result for episode in live if episode.result is not None]


def _collect_replies(
    game: AnyGame, policy: AgentPolicy, asked: "Sequence[tuple[_Live, Request]]"
) -> None:
    """Give every episode its replies from one batched call, and from another one where the policy refuses a request.

    A reply is a function of its request, so that asking again changes none.
    """
    while asked:
        try:
            replies = policy.reply([request for _, request in asked])
        except NoReplyError as error:
            refused, _ = asked[error.index]
            refused.fail(error)
            asked = [(episode, request) for episode, request in asked if episode is not refused]
            continue
        except Exception as error:
            error.add_note(f"while {game.name} was played")
            raise
        for (episode, request), reply in zip(asked, replies, strict=True):
            episode.replies[request.history.agent] = reply
        return


class _Live:
    """One episode of a lockstep batch, which keeps the game's exceptions to itself; mutable, and used once."""

    def __init__(self, game: AnyGame, spec: EpisodeSpec[Any]) -> None:
        self.game = game
        self.spec = spec
        self.match: Match[Any] | None = None
        self.requests: tuple[Request, ...] = ()
        self.replies: dict[str, Reply] = {}
        self.result: Episode[Any] | FailedEpisode[Any] | None = None
        try:
            self._reach(Match.begin(game, spec))
        except Exception as error:
            self.fail(error)

    def observe(self) -> None:
        """Prepare one request per acting agent."""
        self.requests, self.replies = (), {}
        try:
            self.requests = self.match.requests if self.match else ()
        except Exception as error:
            self.fail(error)

    def advance(self) -> None:
        """Carry out the replies."""
        if self.result is None and self.match is not None:
            try:
                self._reach(self.match.move(self.replies))
            except Exception as error:
                self.fail(error)

    def _reach(self, match: Match[Any]) -> None:
        self.match = match
        if match.ending is not None:
            self.result = match.episode()

    def fail(self, error: Exception) -> None:
        """End the episode by an exception, with what was played until then."""
        first = self.spec.start.t if self.spec.start else 0
        step = self.match.t if self.match else first
        notes = getattr(error, "__notes__", ())
        where = ", ".join((self.game.name, f"step {step}", str(self.spec.key), *notes))
        self.result = FailedEpisode(
            key=self.spec.key,
            error=f"{where}: {type(error).__name__}: {error}",
            steps=self.match.steps if self.match else (),
        )


def distinct_episodes(
    game: AnyGame, count: int, *, seed: int, phase: Phase
) -> list[EpisodeSpec[Any]]:
    """Specs of episodes on different instances (maps, levels); instances repeat where no more are found.

    Args:
      game: the game; if its starts are not instances, every start is taken as drawn. If a start cannot be drawn, the
        spec has none, and ``play`` records the failure.
      count: number of episodes.
      seed: the seed of the starts.
      phase: the part of the run that the episodes belong to; each phase has starts of its own.
    """
    specs: list[EpisodeSpec[Any]] = []
    seen: set[str] = set()
    patience = _DRAWS_PER_INSTANCE * count if game.facts.start_is_instance else 0
    group = 0
    while len(specs) < count:
        key = EpisodeKey(seed=seed, phase=phase, group=group)
        group += 1
        try:
            start = draw_start(game, key)
            instance = game.instance_key(start.state.state)
        except Exception:  # the runner meets the same error again, and records it
            specs.append(EpisodeSpec(key=key))
            continue
        if group > patience or instance not in seen:
            specs.append(EpisodeSpec(key=key, start=start))
            seen.add(instance)
    return specs
