"""One decision between arms, in plain numbers: games whose groups are small enough to be listed by what was chosen."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import final

import attrs
import numpy as np

from proofs.exact.gradients import Array


@final
@attrs.frozen(kw_only=True)
class Arm:
    """A choice: its probability, the distribution of its payment, and the number of steps of an episode with it."""

    probability: float
    pays: Mapping[float, float]
    length: int = 1


def outcomes(arms: Mapping[str, Arm]) -> Iterator[tuple[float, float, int, Array]]:
    """(probability, return, length, score in the logits of the arms) of each way in which an episode can go.

    Example:
      >>> coin = {"heads": Arm(probability=0.75, pays={1.0: 1.0}), "tails": Arm(probability=0.25, pays={0.0: 1.0})}
      >>> [(p, paid, score_A.tolist()) for p, paid, _, score_A in outcomes(coin)]
      [(0.75, 1.0, [0.25, -0.25]), (0.25, 0.0, [-0.75, 0.75])]
    """
    policy_A = np.array([arm.probability for arm in arms.values()])
    for a, arm in enumerate(arms.values()):
        for paid, p in arm.pays.items():
            yield arm.probability * p, paid, arm.length, np.eye(len(arms))[a] - policy_A


def multinomial(p_K: Sequence[float], size: int) -> Iterator[tuple[tuple[int, ...], float]]:
    """How many of a group are of each kind, with probabilities.

    Args:
      p_K: how likely each kind is, above 0.
      size: G.

    Example:
      >>> [(counts, round(p, 6)) for counts, p in multinomial([0.5, 0.5], 2)]
      [((0, 2), 0.25), ((1, 1), 0.5), ((2, 0), 0.25)]
    """
    for bars in itertools.combinations(range(size + len(p_K) - 1), len(p_K) - 1):
        edges = (-1, *bars, size + len(p_K) - 1)
        counts_K = tuple(b - a - 1 for a, b in itertools.pairwise(edges))
        logs = math.lgamma(size + 1) + sum(
            n * math.log(p) - math.lgamma(n + 1) for n, p in zip(counts_K, p_K, strict=True)
        )
        yield counts_K, math.exp(logs)


def _one_step(**chances: tuple[float, Mapping[float, float]]) -> dict[str, Arm]:
    """Of each arm its probability and the distribution of its payment."""
    return {name: Arm(probability=p, pays=pays) for name, (p, pays) in chances.items()}


LENGTHS = {
    "quick": Arm(probability=0.5, pays={1.0: 1.0}),
    "wrong": Arm(probability=0.3, pays={0.0: 1.0}),
    "slow": Arm(probability=0.2, pays={2.0: 1.0}, length=20),
}
RISKY = _one_step(risky=(0.5, {3.0: 0.2, -1.0: 0.8}), safe=(0.5, {0.0: 1.0}))
LOTTERY = _one_step(
    ticket=(0.5, {8.0: 0.1, 0.0: 0.9}), job=(0.3, {1.0: 1.0}), rest=(0.2, {0.0: 1.0})
)
