"""Demonstrations: what a model is fitted to, from a scripted player, another policy or recorded episodes.

A player's demonstrations hold its whole action distribution (soft targets), from which a model learns to read the board
far better than from single draws. Episodes hold one reply at each decision, so the distribution at a prompt is the
empirical one of the replies that were given there; invalid ones are left out.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, final

import attrs

from algorithms.cloning.config import Replies
from lap.parsers import AbstractParser
from lap.policy import LanguageAgentPolicy, with_logit_cache
from lap.prompts import AbstractPrompt, Prompt
from tsmg import (
    AbstractGame,
    ActionText,
    AgentPolicy,
    AgentStep,
    Episode,
    EpisodeKey,
    FailedEpisode,
    History,
    InvalidArgumentError,
    Parsed,
    Phase,
    PlayerPolicy,
    Request,
    UniformPlayer,
    distinct_episodes,
    play,
)

S = TypeVar("S")
A = TypeVar("A")
Game = AbstractGame[Any, Any]


@attrs.frozen(kw_only=True)
class Demonstration:
    """The distribution of the replies that are cloned at one prompt.

    Attributes:
      prompt: the prompt.
      reply_dist: each reply with its probability.
      is_legal: whether an action text names a legal action there; ``None`` if the state is not known.
    """

    prompt: Prompt
    reply_dist: tuple[tuple[str, float], ...]
    is_legal: Callable[[str], bool] | None = attrs.field(default=None, eq=False, repr=False)


@final
@attrs.frozen
class AsAsked(AbstractPrompt):
    """The complete prompts of a policy, with everything that the policy adds to its own F.

    Attributes:
      policy: the policy; its parser's instructions are those that the prompts hold.
    """

    policy: LanguageAgentPolicy[Any]

    def build(self, history: History, instructions: str) -> Prompt:
        request = Request(history=history, key=EpisodeKey(seed=0), step=0)
        return self.policy.reply_key(request)


@attrs.frozen(kw_only=True)
class Decision:
    """One decision of an agent.

    Attributes:
      history: what the agent had seen.
      replies: the probability of each reply; empty if there is nothing to clone.
      is_legal: as in ``Demonstration``.
    """

    history: History
    replies: Mapping[str, float]
    is_legal: Callable[[str], bool] | None = None


def merged(
    decisions: Iterable[Decision], *, prompt: AbstractPrompt, parser: AbstractParser
) -> list[Demonstration]:
    """One demonstration per prompt: the mean of the reply distributions of its decisions.

    Args:
      decisions: in the order of play.
      prompt: F, the prompts of the policy that is fitted.
      parser: W, whose instructions the prompts hold.
    """
    sums: dict[Prompt, dict[str, float]] = {}
    counts: dict[Prompt, int] = {}
    rules: dict[Prompt, Callable[[str], bool] | None] = {}
    instructions = parser.instructions()
    for decision in decisions:
        if not decision.replies:
            continue
        built = prompt.build(decision.history, instructions)
        dist = sums.setdefault(built, {})
        counts[built] = counts.get(built, 0) + 1
        rules.setdefault(built, decision.is_legal)
        for reply, probability in decision.replies.items():
            dist[reply] = dist.get(reply, 0.0) + probability
    return [
        Demonstration(
            prompt=built,
            reply_dist=tuple((reply, p / counts[built]) for reply, p in dist.items()),
            is_legal=rules[built],
        )
        for built, dist in sums.items()
    ]


def demonstrations(
    game: AbstractGame[S, A],
    *,
    prompt: AbstractPrompt,
    parser: AbstractParser,
    episodes: int,
    seed: int = 0,
) -> list[Demonstration]:
    """The reply distributions of the game's scripted player at every prompt that it meets.

    A game without a scripted player gets one that is uniform over the legal actions.

    Args:
      game: the game; pass the training part of a split game.
      prompt: F, the prompts of the policy that is to be cloned.
      parser: W, which wraps actions into replies.
      episodes: number of distinct episodes that the player plays.
      seed: of the episodes.

    Raises:
      InvalidArgumentError: the player could not play a single episode.
    """
    player = game.scripted_player() or UniformPlayer(game)

    def decisions() -> Iterator[Decision]:
        for episode in _played(game, PlayerPolicy(game, player), episodes, seed):
            for state, agent_step, history, _ in _cloned_steps(episode, game, parser, "canonical"):
                agent = agent_step.agent
                replies: dict[str, float] = {}
                for action, probability in player.action_dist(state, agent).pmf().items():
                    reply = parser.wrap(game.action_text(state, agent, action))
                    replies[reply] = replies.get(reply, 0.0) + float(probability)
                yield Decision(
                    history=history, replies=replies, is_legal=_legality(game, state, agent)
                )

    return merged(decisions(), prompt=prompt, parser=parser)


def policy_demonstrations(
    game: Game,
    teacher: AgentPolicy,
    *,
    prompt: AbstractPrompt,
    parser: AbstractParser,
    episodes: int,
    seed: int = 0,
    successful: bool = False,
    replies: Replies = "canonical",
) -> list[Demonstration]:
    """The replies of a policy at every prompt that it meets in all roles, as it plays.

    Args:
      game: the game; pass the training part of a split game.
      teacher: the policy that is cloned.
      prompt: F, the prompts of the policy that is fitted, which need not be the teacher's.
      parser: W, which wraps actions into replies.
      episodes: number of distinct episodes that the teacher plays.
      seed: of the episodes.
      successful: whether an agent's decisions count only if the episode was a success for it (rejection sampling).
      replies: whether an action is written in the parser's own way, or as the teacher wrote it.

    Raises:
      InvalidArgumentError: nothing is left to clone; the message says why.
    """
    episodes_played = _played(game, teacher, episodes, seed)
    successes = [
        {agent: game.success(episode, agent) for agent in game.agents}
        for episode in episodes_played
    ]
    if successful:
        check_successes(game.name, successes)

    def decisions() -> Iterator[Decision]:
        for episode, won in zip(episodes_played, successes, strict=True):
            for state, step, history, reply in _cloned_steps(episode, game, parser, replies):
                is_cloned = won[step.agent] is True or not successful
                yield Decision(
                    history=history,
                    replies={reply: 1.0} if is_cloned and reply is not None else {},
                    is_legal=_legality(game, state, step.agent),
                )

    found = merged(decisions(), prompt=prompt, parser=parser)
    if not found:
        raise InvalidArgumentError(
            f"no reply of the policy names a legal action in {len(episodes_played)} episodes of {game.name}"
        )
    return found


def check_successes(game: str, successes: Sequence[Mapping[str, bool | None]]) -> None:
    """Refuse episodes none of which is a success.

    Args:
      game: its name.
      successes: for each episode, the game's verdict for each agent.

    Raises:
      InvalidArgumentError: no episode is a success, or the game does not define what one is.
    """
    found = [success for of_episode in successes for success in of_episode.values()]
    if True in found:
        return
    if any(success is False for success in found):
        raise InvalidArgumentError(
            f"none of {len(successes)} episodes of {game} is a success; leave 'successful' out, or clone more episodes"
        )
    raise InvalidArgumentError(
        f"{game} does not say which episodes are a success; leave 'successful' out"
    )


def _played(game: Game, policy: AgentPolicy, episodes: int, seed: int) -> list[Episode[Any]]:
    """Distinct episodes that a policy plays in all roles, but those that failed."""
    specs = distinct_episodes(game, episodes, seed=seed, phase=Phase.CLONING)
    players = with_logit_cache(dict.fromkeys(game.agents, policy))
    records = play(game, players, specs)
    played = [record for record in records if isinstance(record, Episode)]
    failed = [record for record in records if isinstance(record, FailedEpisode)]
    if not played and failed:
        raise InvalidArgumentError(
            f"no episode to clone: all {len(failed)} failed; the first: {failed[0].error}"
        )
    return played


def _cloned_steps(
    episode: Episode[S], game: AbstractGame[S, Any], parser: AbstractParser, replies: Replies
) -> Iterator[tuple[S, AgentStep, History, str | None]]:
    """(state, step, history, reply) at every decision of an agent; no reply where it named no legal action."""
    turns = {agent: list(episode.start.turns.get(agent, ())) for agent in episode.agents}
    for step in episode.steps:
        for agent_step in step.agent_steps:
            agent, state = agent_step.agent, step.state.state
            history = History(
                agent=agent,
                rules=game.rules_text(agent),
                turns=tuple(turns[agent]),
                observation=agent_step.observation,
            )
            reply = _cloned_reply(agent_step, state, game, parser, replies)
            yield state, agent_step, history, reply
            said = agent_step.reply.text if reply is None else reply
            turns[agent].append(attrs.evolve(agent_step.turn, reply=said))


def _cloned_reply(
    step: AgentStep, state: Any, game: Game, parser: AbstractParser, replies: Replies
) -> str | None:
    """The reply that stands for a step; ``None`` for an invalid one."""
    if not isinstance(step.outcome, Parsed):
        return None
    if replies == "literal":
        return step.reply.text if isinstance(parser.parse(step.reply.text), ActionText) else None
    return parser.wrap(game.action_text(state, step.agent, step.outcome.action))


def _legality(game: Game, state: Any, agent: str) -> Callable[[str], bool]:
    return functools.partial(_is_legal, game, state, agent)


def _is_legal(game: Game, state: Any, agent: str, text: str) -> bool:
    return isinstance(game.read_action(state, agent, text), Parsed)
