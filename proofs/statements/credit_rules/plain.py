"""Trajectories of one agent in plain numbers, and the expected estimate of a credit rule by hand."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import final

import attrs
import numpy as np

from proofs.exact.gradients import Array, TrajectoryDistribution
from proofs.small_games import FiniteGame, tabular_policy
from proofs.statements.cases import Case
from tsmg import Transition, deterministic


@final
@attrs.frozen(kw_only=True, eq=False)
class PlainTrajectory:
    """A trajectory of one agent with one completion a step, in plain numbers.

    Attributes:
      probability: p(trajectory).
      texts: observation text of each step.
      rewards: r_t, penalties included.
      discount: gamma.
      tokens: number of tokens in its replies.
      scores_T_D: the gradient of the log-probability of each reply.
    """

    probability: float
    texts: tuple[str, ...]
    rewards: tuple[float, ...]
    discount: float
    tokens: int
    scores_T_D: Array

    def earned_from(self, t: int, *, since: int = 0) -> float:
        """The reward-to-go of step t, discounted from step ``since``; 0 after the end."""
        later = range(t, len(self.rewards))
        return sum(self.discount ** (u - since) * self.rewards[u] for u in later)


Group = Sequence[PlainTrajectory]
Credit = Callable[[Group], list[list[float]]]


def plain_trajectories(dist: TrajectoryDistribution) -> list[PlainTrajectory]:
    """The trajectories of a distribution in plain numbers."""
    played = []
    for trajectory, p in zip(dist.trajectories, dist.probabilities_E, strict=True):
        completions = [completion for _, completion in trajectory.episode.completions("player")]
        numbers = [dist.completion_number("player", completion) for completion in completions]
        played.append(
            PlainTrajectory(
                probability=float(p),
                texts=tuple(s.agent_steps[0].observation.text for s in trajectory.episode.steps),
                rewards=trajectory.episode.rewards_T("player"),
                discount=trajectory.episode.discount,
                tokens=sum(len(completion.reply_ids) for completion in completions),
                scores_T_D=dist.scores_C_D[numbers],
            )
        )
    return played


def ordered_groups(case: Case) -> Iterator[tuple[float, tuple[PlainTrajectory, ...]]]:
    """Every ordered group with its probability."""
    for group in itertools.product(plain_trajectories(case.dist), repeat=case.size):
        yield math.prod(member.probability for member in group), group


def expected_D(case: Case, credit: Credit) -> Array:
    """The expected mean over members of the sum over steps of credit times score. Shape (D,)."""
    total: Array = np.zeros(case.dist.scores_C_D.shape[1])
    for p, group in ordered_groups(case):
        for member, credit_T in zip(group, credit(group), strict=True):
            total += p / case.size * (np.array(credit_T) @ member.scores_T_D)
    return total


def mean_of(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return sum(values) / len(values)


_ROAD_GAME = FiniteGame(
    starts=deterministic("gate"),
    moves={
        "gate": {
            ("stop",): deterministic(Transition("end", (1.0,))),
            ("go",): deterministic(Transition("hall", (0.0,))),
        },
        "hall": {
            ("stop",): deterministic(Transition("end", (0.0,))),
            ("go",): deterministic(Transition("end", (3.0,))),
        },
    },
)
ROAD = Case(
    game=_ROAD_GAME,
    policy=tabular_policy(
        ("stop", "go"),
        dists={"gate": {"stop": 0.8, "go": 0.2}, "hall": {"stop": 0.5, "go": 0.5}},
        capacity=2,
    ),
    size=3,
)
BY_HAND = "every ordered group, with the rule written afresh"
