"""The expectation of an estimator by another route: every ordered group, in plain arithmetic."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from proofs.exact.gradients import Array, TrajectoryDistribution

K = TypeVar("K")
Coefficients = Callable[[Sequence[int]], Sequence[float]]


def episode_scores_E_D(dist: TrajectoryDistribution, agent: str = "player") -> Array:
    """The gradient of the log-probability of the agent's replies in each trajectory. Shape (E, D)."""
    scores_E_D: Array = dist.counts_E_C(agent) @ dist.scores_C_D
    return scores_E_D


def expected_estimate_D(
    dist: TrajectoryDistribution, size: int, coefficients: Coefficients
) -> Array:
    """The sum over all ordered groups of p(group) times the sum over members of coefficient times score. Shape (D,).

    Args:
      dist: the trajectory distribution of one learner called "player".
      size: G.
      coefficients: from the numbers of a group's trajectories to the coefficient of each member's score.
    """
    scores_E_D = episode_scores_E_D(dist)
    total = np.zeros(scores_E_D.shape[1])
    for members in itertools.product(range(len(dist.trajectories)), repeat=size):
        p = math.prod(float(dist.probabilities_E[e]) for e in members)
        for e, coefficient in zip(members, coefficients(members), strict=True):
            total += p * coefficient * scores_E_D[e]
    return total


def cosine(one: Array, other: Array) -> float:
    """The cosine between two gradients of shape (D,)."""
    return float(one @ other) / math.sqrt(float(one @ one) * float(other @ other))


def first_over_second(vector_D: Array) -> float:
    """How much faster the logit of the first word grows than that of the second. Shape (D,)."""
    return float(vector_D[0] - vector_D[1])


def aligned(one: Mapping[K, float], other: Mapping[K, float]) -> tuple[list[float], list[float]]:
    """Two tables of probabilities, over the union of their values."""
    keys = list({**one, **other})
    return [one.get(key, 0.0) for key in keys], [other.get(key, 0.0) for key in keys]
