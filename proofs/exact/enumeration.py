"""Every episode that a game and its policies can play, with its probability.

The episodes are the records that the runner would make, completions included, so that anything that reads records
(returns, credit, losses) can be evaluated over the whole distribution. Probabilities are exact fractions if all
distributions along the trajectory are.
"""

import itertools
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, Protocol

import attrs

from tsmg import (
    AbstractExplicitGame,
    ClosedGame,
    Distribution,
    Episode,
    EpisodeKey,
    EpisodeSpec,
    InvalidArgumentError,
    Match,
    NotEnumerableError,
    Reply,
    Request,
    Start,
    step_limit,
)

Probability = Fraction | float | int

TRAJECTORY_LIMIT = 100_000
_KEY = EpisodeKey(seed=0)


class ExactPolicy(Protocol):
    """A policy whose distribution of replies can be listed."""

    def reply_dist(self, request: Request) -> Distribution[Reply]:
        """The distribution of the reply."""
        ...

    def reply_key(self, request: Request) -> Hashable:
        """All that the distribution of the reply depends on."""
        ...


Policies = ExactPolicy | Mapping[str, ExactPolicy]


@attrs.frozen(kw_only=True)
class Trajectory:
    """One way in which an episode can go, with its probability.

    Attributes:
      episode: its record.
      start: number of the start among the game's starts.
      chance: the probability of the start and of the game's draws, given the replies.
      replies_N: for each agent, the probability of its replies, given everything else.

    Theory: Equation 3.3, Equation 4.1.
    """

    episode: Episode[Any]
    start: int
    chance: Probability
    replies_N: tuple[Probability, ...]

    @property
    def probability(self) -> Probability:
        """The probability of the trajectory."""
        return math.prod(self.replies_N, start=self.chance)


def trajectories(
    game: AbstractExplicitGame[Any, Any],
    policies: Policies,
    *,
    starts: Sequence[Start[Any]] | None = None,
    limit: int = TRAJECTORY_LIMIT,
) -> tuple[Trajectory, ...]:
    """All trajectories of positive probability; their probabilities sum to 1.

    Args:
      game: an explicit game with finite distributions, and a limit on its length.
      policies: one for all agents, or one per agent.
      starts: where to begin, each equally likely; the game's own initial distribution unless given.
      limit: greatest number of trajectories, finished or not.

    Raises:
      InvalidArgumentError: an agent has no policy, or there is no start.
      NotEnumerableError: there are more trajectories (the message says how many at which step), or a distribution
        is not finite.

    Example:
      >>> import games, tsmg
      >>> game = games.make("LineWalk-v0", length=2)
      >>> uniform = tsmg.PlayerPolicy(game, tsmg.UniformPlayer(game))
      >>> sorted(str(trajectory.probability) for trajectory in trajectories(game, uniform))
      ['1/2', '1/2']

    Theory: Equation 3.3, Equation 4.1.
    """
    by_agent = policies if isinstance(policies, Mapping) else dict.fromkeys(game.agents, policies)
    missing = [agent for agent in game.agents if agent not in by_agent]
    if missing:
        raise InvalidArgumentError(f"'policies' must name every agent (missing {missing})")
    steps = step_limit(game)
    replies = _Replies(by_agent)
    unfinished = list(_begun(game, starts, limit))
    finished: list[Trajectory] = []
    while unfinished:
        following: list[_Unfinished] = []
        for trajectory in unfinished:
            if trajectory.match.ending is not None:
                finished.append(trajectory.finished())
                continue
            following += trajectory.extended(replies)
            if len(finished) + len(following) > limit:
                raise NotEnumerableError(
                    f"{game.name}: more than {limit} trajectories: {len(finished) + len(following)} after "
                    f"step {trajectory.match.t + 1} of at most {steps}; a smaller game or model is needed"
                )
        unfinished = following
    return tuple(finished)


def expected_return(trajectories: Sequence[Trajectory], agent: str) -> float:
    """The expected return of an agent over trajectories, penalties included."""
    return sum(float(x.probability) * x.episode.episode_return(agent) for x in trajectories)


@attrs.frozen(eq=False)
class _Unfinished:
    """A trajectory that may go on."""

    match: Match[Any]
    start: int
    chance: Probability
    replies_N: tuple[Probability, ...]

    def finished(self) -> Trajectory:
        return Trajectory(
            episode=self.match.episode(),
            start=self.start,
            chance=self.chance,
            replies_N=self.replies_N,
        )

    def extended(self, replies: "_Replies") -> Iterator["_Unfinished"]:
        requests = self.match.requests
        agents = [request.history.agent for request in requests]
        for chosen in itertools.product(*map(replies.dist, requests)):
            joint = dict(zip(agents, chosen, strict=True))
            p_N = tuple(
                p * joint[agent][1] if agent in joint else p
                for agent, p in zip(self.match.game.agents, self.replies_N, strict=True)
            )
            for match, q in self.match.moves({agent: reply for agent, (reply, _) in joint.items()}):
                yield _Unfinished(match, self.start, self.chance * q, p_N)


class _Replies:
    """The policies' distributions of replies, each computed once."""

    def __init__(self, policies: Mapping[str, ExactPolicy]) -> None:
        self._policies = policies
        self._dists: dict[Hashable, list[tuple[Reply, Probability]]] = {}

    def dist(self, request: Request) -> list[tuple[Reply, Probability]]:
        policy = self._policies[request.history.agent]
        key = (id(policy), policy.reply_key(request))
        if key not in self._dists:
            outcomes = policy.reply_dist(request).enumerate()
            self._dists[key] = [(reply, p) for reply, p in outcomes if p]
        return self._dists[key]


def _begun(
    game: AbstractExplicitGame[Any, Any], starts: Sequence[Start[Any]] | None, limit: int
) -> Iterator[_Unfinished]:
    if starts is None:
        dist = ClosedGame(game).initial_state_dist().pmf(limit)
        weighted = [(Start(state=state), p) for state, p in dist.items()]
    elif starts:
        weighted = [(start, Fraction(1, len(starts))) for start in starts]
    else:
        raise InvalidArgumentError("'starts' must contain at least one start (got none)")
    for number, (start, p) in enumerate(weighted):
        yield _Unfinished(
            Match.begin(game, EpisodeSpec(key=_KEY, start=start)),
            number,
            p,
            (1,) * len(game.agents),
        )
