"""AAW among its relatives: an exact comparison of ways to use a group, at an equal cost.

The relatives: every episode; draws by |A|, and the same corrected; the subset of greatest variance with advantages
relative to itself (PODS as published), and the same subset with the advantages of the group. Advantages are divided by
the population std, or not.

Source: AAW arXiv:2508.10839 (the idea); PODS arXiv:2504.13818; the figures are ours [ours].
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import final

import attrs
import numpy as np

from algorithms import inclusion_probabilities
from algorithms.method.first_draw import SamplingKind, first_draw_probabilities
from proofs.estimators.arms import LENGTHS, LOTTERY, RISKY
from proofs.estimators.corridor import Corridor
from proofs.estimators.performance import (
    Counts,
    Kind,
    Performance,
    Relative,
    Uses,
    advantages,
    arm_kinds,
    corridor_kinds,
    performance,
)
from proofs.estimators.start_weights import greatest_variance
from proofs.exact.gradients import Array


def every_episode(counts_K: Counts, values_K: Array, advantages_K: Array) -> Iterator[Uses]:
    """All episodes are trained on."""
    yield Uses.of({counts_K: 1.0}, advantages_K / sum(counts_K))


@final
@attrs.frozen(kw_only=True)
class Drawn:
    """K episodes are drawn one after the other, by |A|^alpha with a floor, or uniformly.

    Attributes:
      kept: K.
      kind: "aaw" or "uniform".
      alpha: exponent.
      floor: share of the uniform distribution.
      corrected: whether weights are divided by inclusion probabilities.
    """

    kept: int
    kind: SamplingKind = "aaw"
    alpha: float = 1.0
    floor: float = 0.0
    corrected: bool = False

    def __call__(self, counts_K: Counts, values_K: Array, advantages_K: Array) -> Iterator[Uses]:
        """What may be drawn from a group."""
        advantages_G = np.repeat(advantages_K, counts_K)
        p_G = first_draw_probabilities(advantages_G, self.kind, alpha=self.alpha, floor=self.floor)
        if p_G is None:
            return
        first_G = np.cumsum([0, *counts_K[:-1]]).clip(max=len(p_G) - 1)  # a member of each kind
        p_K = p_G[first_G]
        coefficients_K = advantages_K / self.kept
        if self.corrected:
            pi_K = inclusion_probabilities(p_G, self.kept)[first_G]
            scale_K = np.divide(self.kept, len(p_G) * pi_K, where=pi_K > 0, out=np.zeros(len(pi_K)))
            coefficients_K = coefficients_K * scale_K
        yield Uses.of(_successive(counts_K, p_K.tolist(), self.kept), coefficients_K)


@final
@attrs.frozen(kw_only=True)
class GreatestVariance:
    """The K episodes whose returns have the greatest variance are trained on (PODS).

    Attributes:
      kept: K.
      renormalised: whether advantages are relative to the kept episodes, as published, or to the whole group.
      divided: whether the former are divided by the std.
    """

    kept: int
    renormalised: bool = True
    divided: bool = True

    def __call__(self, counts_K: Counts, values_K: Array, advantages_K: Array) -> Iterator[Uses]:
        """What may be kept of a group: ties between sets, and between kinds of equal return, are broken evenly."""
        returns_G = np.repeat(values_K, counts_K)
        sets = greatest_variance(returns_G, self.kept)
        for members in sets:
            kept = returns_G[members].tolist()
            own_E = advantages(returns_G[members], divided=self.divided).tolist()
            shared = [
                list(
                    _taken(
                        [m if v == value else 0 for m, v in zip(counts_K, values_K, strict=True)], n
                    )
                )
                for value, n in Counter(kept).items()
            ]
            coefficients_K = advantages_K
            if self.renormalised:
                relative = dict(zip(kept, own_E, strict=True))
                coefficients_K = np.array([relative.get(value, 0.0) for value in values_K.tolist()])
            drawn: dict[Counts, float] = {}
            for parts in itertools.product(*shared):
                together = tuple(map(sum, zip(*(drawn_K for drawn_K, _ in parts), strict=True)))
                drawn[together] = math.prod(p for _, p in parts) / len(sets)
            yield Uses.of(drawn, coefficients_K / self.kept)


def _successive(counts_K: Counts, p_K: Sequence[float], draws: int) -> dict[Counts, float]:
    """The numbers of each kind among successive draws without replacement."""
    drawable = sum(n for n, p in zip(counts_K, p_K, strict=True) if p)
    dist: dict[Counts, float] = {(0,) * len(counts_K): 1.0}
    for _ in range(min(draws, drawable)):
        longer: dict[Counts, float] = {}
        for drawn_K, chance in dist.items():
            left_K = [(n - d) * p for n, d, p in zip(counts_K, drawn_K, p_K, strict=True)]
            share = chance / sum(left_K)
            for k, weight in enumerate(left_K):
                if weight:
                    grown = (*drawn_K[:k], drawn_K[k] + 1, *drawn_K[k + 1 :])
                    longer[grown] = longer.get(grown, 0.0) + weight * share
        dist = longer
    return dist


def _taken(counts_K: Sequence[int], number: int) -> Iterator[tuple[Counts, float]]:
    """So many of these at random, with probabilities: the multivariate hypergeometric distribution."""
    ways = math.comb(sum(counts_K), number)
    for drawn_K in itertools.product(*(range(min(n, number) + 1) for n in counts_K)):
        if sum(drawn_K) == number:
            yield drawn_K, math.prod(map(math.comb, counts_K, drawn_K)) / ways


def relatives(*, kept: int, divided: bool = True) -> dict[str, Relative]:
    """The ways to use a group by name.

    Args:
      kept: K.
      divided: whether advantages are divided by the population std.
    """
    return {
        "all": every_episode,
        "AAW": Drawn(kept=kept),
        "AAW, corrected": Drawn(kept=kept, corrected=True),
        "PODS": GreatestVariance(kept=kept, divided=divided),
        "PODS' draw": GreatestVariance(kept=kept, renormalised=False),
    }


SIZES = (4, 8, 16, 32)
RATIOS = (0.1, 2.0, 10.0)
_ALONG = 0.995

GAMES: Mapping[str, tuple[Sequence[Kind], bool]] = {
    "q .05, 20 steps": (corridor_kinds(Corridor(success_rate=0.05, horizon=20)), True),
    "q .05, 20 and 20 idle": (
        corridor_kinds(Corridor(success_rate=0.05, horizon=20, irrelevant=20)),
        True,
    ),
    "q .5, 20 and 20 idle": (
        corridor_kinds(Corridor(success_rate=0.5, horizon=20, irrelevant=20)),
        True,
    ),
    "lengths 1, 1, 20": (arm_kinds(LENGTHS), False),
    "risky against safe": (arm_kinds(RISKY), False),
    "lottery": (arm_kinds(LOTTERY), False),
}
"""Kinds of episodes by the name of the game, and whether advantages are divided by the std."""


def relative_rows(*, size: int = 16, kept: int = 4) -> list[tuple[str, ...]]:
    """SNR per thousand trained tokens of each relative as text, with the cosine if it is not 1.

    Args:
      size: G.
      kept: K.
    """
    rows = [("game", *relatives(kept=kept))]
    for name, (kinds, divided) in GAMES.items():
        found = (
            performance(kinds, relative, size=size, divided=divided)
            for relative in relatives(kept=kept, divided=divided).values()
        )
        rows.append((name, *map(_shown, found)))
    return rows


def _shown(found: Performance) -> str:
    value = f"{1000 * found.snr / found.trained:.3g}"
    return value if found.cosine > _ALONG else f"{value} ({found.cosine:.2f})"


def best_gain(kinds: Sequence[Kind], ratio: float, *, sizes: Sequence[int] = SIZES) -> float:
    """The SNR of the best AAW over that of the best full groups, at an equal cost: played + rho trained tokens.

    Args:
      kinds: of the game's episodes.
      ratio: rho.
      sizes: G to choose from; K is a quarter, a half or three quarters of it, or a power of 2.
    """

    def best(relative: Relative, size: int) -> float:
        return performance(kinds, relative, size=size).per_token(ratio)

    full = max(best(every_episode, size) for size in sizes)
    return max(best(Drawn(kept=kept), size) for size in sizes for kept in _numbers(size)) / full


def _numbers(size: int) -> set[int]:
    """The numbers K to choose from."""
    return {size // 4, size // 2, 3 * size // 4} | {2**n for n in range((size - 1).bit_length())}


def budget_rows(
    rates: Sequence[float] = (0.01, 0.05, 0.2, 0.5, 0.8, 0.95),
) -> list[tuple[str, ...]]:
    """Best AAW over best full groups as text, by success rate and by the cost of training on a token.

    Args:
      rates: success rates of a corridor of 20 steps with 20 that do not matter.
    """
    rows = [("q", *(f"rho {ratio:g}" for ratio in RATIOS))]
    for rate in rates:
        kinds = corridor_kinds(Corridor(success_rate=rate, horizon=20, irrelevant=20))
        rows.append((f"{rate:g}", *(f"{best_gain(kinds, ratio):.2f}" for ratio in RATIOS)))
    return rows
