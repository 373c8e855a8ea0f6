"""The runner: plays many episodes in lockstep, with one batched reply call per policy and step."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import attrs

from tsmg.closure import ClosedGame, ClosedState
from tsmg.errors import GameLawError, InvalidArgumentError
from tsmg.game import AbstractGame
from tsmg.players import AgentPolicy
from tsmg.randomness import EpisodeKey, Phase, Purpose
from tsmg.records import (
    AgentStep,
    Ending,
    Episode,
    FailedEpisode,
    History,
    Observation,
    Reply,
    Request,
    Start,
    Step,
    Turn,
)

S = TypeVar("S")

_DRAWS_PER_INSTANCE = 20


@attrs.frozen(kw_only=True)
class EpisodePlan(Generic[S]):
    """One episode to play.

    Attributes:
      key: its place in the run.
      start: where it begins; drawn from the game's initial law with the key when ``None``.
      common_chance: whether all episodes of the key's group share the game's chance draws.
    """

    key: EpisodeKey
    start: Start[S] | None = None
    common_chance: bool = False


def play(
    game: AbstractGame[Any, Any],
    policies: AgentPolicy | Mapping[str, AgentPolicy],
    plans: Sequence[EpisodePlan[Any]],
) -> list[Episode[Any] | FailedEpisode[Any]]:
    """Play every plan to its end and return the records in the order of the plans.

    An episode is a function of its own plan: the other plans do not change it. An exception of the
    *game* ends that one episode as a ``FailedEpisode``; an exception of a policy is a bug and
    passes through.

    Args:
      game: what is played; it needs a horizon or a declared longest game.
      policies: one policy for all agents, or one per agent (the same object may serve several).
      plans: the episodes to play.

    Raises:
      InvalidArgumentError: no limit on the length of an episode, or an agent without a policy.
    """
    by_agent = policies if isinstance(policies, Mapping) else dict.fromkeys(game.agents, policies)
    missing = [agent for agent in game.agents if agent not in by_agent]
    if missing:
        raise InvalidArgumentError(f"'policies' must name every agent (missing {missing})")
    limit = step_limit(game)
    live = [_Live(game, plan, limit) for plan in plans]
    while moving := [episode for episode in live if episode.result is None]:
        for episode in moving:
            episode.observe()
        waiting = [(episode, r) for episode in moving for r in episode.requests]
        for policy in _distinct(by_agent.values()):
            mine = [(e, r) for e, r in waiting if by_agent[r.history.agent] is policy]
            if not mine:
                continue
            replies = policy.reply([request for _, request in mine])
            for (episode, request), reply in zip(mine, replies, strict=True):
                episode.replies[request.history.agent] = reply
        for episode in moving:
            episode.advance()
    return [episode.result for episode in live if episode.result is not None]


def step_limit(game: AbstractGame[Any, Any]) -> int:
    """How many steps an episode can have: the horizon, or the declared longest game.

    Raises:
      InvalidArgumentError: the game has neither, or a horizon below 1.
    """
    limit = game.horizon if game.horizon is not None else game.facts.longest_game
    if limit is None:
        raise InvalidArgumentError(
            f"{game.name}: 'horizon' must be set, since no longest game is declared (got None)"
        )
    if limit < 1:
        raise InvalidArgumentError(f"'horizon' must be at least 1 (got {limit})")
    return limit


def _distinct(policies: Iterable[AgentPolicy]) -> list[AgentPolicy]:
    return list({id(policy): policy for policy in policies}.values())


class _Live:
    """One episode while it is played; mutable and used once."""

    def __init__(self, game: AbstractGame[Any, Any], plan: EpisodePlan[Any], limit: int) -> None:
        self.game = game
        self.closed = ClosedGame(game)
        self.plan = plan
        self.limit = limit
        self.chance_key = plan.key.shared() if plan.common_chance else plan.key
        self.steps: list[Step[Any]] = []
        self.requests: list[Request] = []
        self.replies: dict[str, Reply] = {}
        self.result: Episode[Any] | FailedEpisode[Any] | None = None
        self.t = 0
        self._guarded(self._begin)

    def observe(self) -> None:
        """Prepare one request per acting agent."""
        self.requests = []
        self.replies = {}
        self._guarded(self._observe)

    def advance(self) -> None:
        """Carry out the replies."""
        if self.result is None:
            self._guarded(self._advance)

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:
            self._fail(error)

    def _begin(self) -> None:
        self.start = self.plan.start or draw_start(self.game, self.plan.key)
        self.state: ClosedState[Any] = self.start.state
        self.t = self.start.t
        self.turns: dict[str, tuple[Turn, ...]] = {
            agent: tuple(self.start.turns.get(agent, ())) for agent in self.game.agents
        }
        self._end_if_over()

    def _observe(self) -> None:
        state = self.state.state
        self.requests = [
            Request(history=self._history(agent), key=self.plan.key, step=self.t, state=state)
            for agent in self.game.acting_agents(state)
        ]

    def _advance(self) -> None:
        outcomes = {
            agent: self.closed.read(self.state, agent, reply.said)
            for agent, reply in self.replies.items()
        }
        rng = self.chance_key.stream(Purpose.CHANCE, step=self.t)
        transition, played = self.closed.sample_transition(self.state, outcomes, rng)
        self._check_rewards(transition.rewards_N)
        agent_steps = tuple(
            AgentStep(
                agent=request.history.agent,
                observation=request.history.observation,
                reply=self.replies[request.history.agent],
                outcome=outcomes[request.history.agent],
                played=None if played is None else played.get(request.history.agent),
            )
            for request in self.requests
        )
        self.steps.append(
            Step(
                t=self.t,
                state=self.state,
                agent_steps=agent_steps,
                rewards_N=transition.rewards_N,
                penalties_N=transition.penalties_N,
            )
        )
        for agent_step in agent_steps:
            self.turns[agent_step.agent] += (agent_step.turn,)
        self.state = transition.state
        self.t += 1
        self._end_if_over()

    def _history(self, agent: str) -> History:
        return History(
            agent=agent,
            rules=self.game.rules_text(agent),
            turns=self.turns[agent],
            observation=Observation(
                text=self.game.observation_text(self.state.state, agent),
                feedback=self.closed.feedback_text(self.state, agent),
            ),
        )

    def _check_rewards(self, rewards_N: tuple[float, ...]) -> None:
        if len(rewards_N) != len(self.game.agents):
            raise GameLawError(
                f"a transition must reward each of {self.game.agents} (got {rewards_N!r})"
            )
        if not all(math.isfinite(reward) for reward in rewards_N):
            raise GameLawError(f"rewards must be finite (got {rewards_N!r})")

    def _end_if_over(self) -> None:
        if self.closed.is_terminal(self.state):
            self._finish(Ending.FORFEITED if self.state.forfeited else Ending.TERMINATED)
        elif self.t >= self.limit:
            self._finish(Ending.TRUNCATED)

    def _finish(self, ending: Ending) -> None:
        self.result = Episode(
            game=self.game.name,
            agents=self.game.agents,
            discount=self.game.discount,
            key=self.plan.key,
            start=self.start,
            steps=tuple(self.steps),
            final_state=self.state,
            final_observations={
                agent: self.game.observation_text(self.state.state, agent)
                for agent in self.game.agents
            },
            ending=ending,
        )

    def _fail(self, error: Exception) -> None:
        where = f"{self.game.name}, step {self.t}, {self.plan.key}"
        self.result = FailedEpisode(
            key=self.plan.key,
            error=f"{where}: {type(error).__name__}: {error}",
            steps=tuple(self.steps),
        )


def draw_start(game: AbstractGame[Any, Any], key: EpisodeKey) -> Start[Any]:
    """A start drawn from the game's initial law with the key's own stream."""
    state = game.sample_initial_state(key.stream(Purpose.START))
    return Start(state=ClosedGame(game).close(state))


def distinct_plans(
    game: AbstractGame[Any, Any], count: int, *, seed: int, phase: Phase
) -> list[EpisodePlan[Any]]:
    """Episodes on instances (maps, levels) that differ; where no more are found, they repeat.

    Args:
      game: what is played; where its starts are no instances, every start is taken as drawn.
      count: how many episodes.
      seed: of the starts.
      phase: what the episodes are for; each phase has starts of its own.
    """
    plans: list[EpisodePlan[Any]] = []
    seen: set[str] = set()
    patience = _DRAWS_PER_INSTANCE * count if game.facts.start_is_instance else 0
    group = 0
    while len(plans) < count:
        key = EpisodeKey(seed=seed, phase=phase, group=group)
        start = draw_start(game, key)
        instance = game.instance_key(start.state.state)
        if group >= patience or instance not in seen:
            plans.append(EpisodePlan(key=key, start=start))
            seen.add(instance)
        group += 1
    return plans
