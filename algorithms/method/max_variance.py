"""The episodes of a group whose returns vary most: which they are, and a draw that trains on them alone (PODS).

The set of K returns with the greatest variance consists of some of the least and some of the greatest. It does not
distinguish episodes of equal return; if only some of them are needed, each is taken with the same probability.

Source: PODS (max-variance down-sampling), arXiv:2504.13818. Ties are broken here [ours]: of sets of equal variance the
one with the fewest of the greatest returns is taken, and within equal returns the draw is uniform.

Example:
  >>> max_variance_returns([1.0, 0.0, 0.0, 5.0, 4.0], 3)
  (0.0, 0.0, 5.0)
  >>> returns_G, empty_G = (1.0, 0.0, 0.0, 5.0), ((),) * 4
  >>> group = RoleGroup(number=0, agent="player", returns_G=returns_G, advantages_G=returns_G,
  ...     credits_G=empty_G, completions_G=empty_G)
  >>> draw = max_variance_draw(group, kept=2)
  >>> [([e for e, _ in chosen], str(p)) for chosen, p in draw.enumerate()]
  [([1, 3], '1/2'), ([2, 3], '1/2')]
"""

import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import final

import numpy as np

from algorithms.method.advantages import SIGNAL_TOLERANCE, without_noise
from algorithms.method.batch import RoleGroup
from algorithms.method.rules import EpisodeDraw
from tsmg import Distribution, Stream, product
from tsmg.distribution import ENUMERATION_LIMIT, Probability


def max_variance_returns(returns_G: Sequence[float], kept: int) -> tuple[float, ...]:
    """The returns of the K episodes whose returns have the greatest variance, in ascending order.

    Args:
      returns_G: R. Shape (G,), finite.
      kept: K; all returns if it is more than G.

    Returns:
      K returns, some of the least and some of the greatest.
    """
    ascending = np.sort(np.asarray(returns_G, dtype=np.float64))
    size, kept = ascending.size, min(kept, ascending.size)
    ends = [np.r_[ascending[: kept - n], ascending[size - n :]] for n in range(kept + 1)]
    variances = [float(np.var(end)) for end in ends]
    enough = max(variances) * (1 - SIGNAL_TOLERANCE)
    best = next(end for end, variance in zip(ends, variances, strict=True) if variance >= enough)
    return tuple(best.tolist())


def max_variance_draw(
    role_group: RoleGroup, *, kept: int
) -> Distribution[tuple[tuple[int, float], ...]]:
    """K episodes whose returns have the greatest variance, each with weight 1.

    Args:
      role_group: the group whose returns are compared.
      kept: K.
    """
    returns_G = without_noise(role_group.returns_G)
    needed = Counter(max_variance_returns(returns_G, kept))
    members: dict[float, list[int]] = {}
    for episode, r in enumerate(returns_G):
        members.setdefault(r, []).append(episode)
    drawn = product([_Subset(members[r], count) for r, count in needed.items()])
    return drawn.map(
        lambda parts: tuple((e, 1.0) for e in sorted(itertools.chain.from_iterable(parts)))
    )


@final
class _Subset(Distribution[tuple[int, ...]]):
    """The uniform distribution over the subsets of a size; listed when it is asked for, since they are many."""

    def __init__(self, members: Sequence[int], count: int) -> None:
        self._members = tuple(members)
        self._count = count

    @property
    def is_finite(self) -> bool:
        return True

    def sample(self, rng: Stream) -> tuple[int, ...]:
        left = list(self._members)
        if self._count == len(left):
            return self._members
        return tuple(left.pop(rng.integer(len(left))) for _ in range(self._count))

    def enumerate(
        self, limit: int = ENUMERATION_LIMIT
    ) -> Iterator[tuple[tuple[int, ...], Probability]]:
        each = Fraction(1, math.comb(len(self._members), self._count))
        return ((s, each) for s in itertools.combinations(self._members, self._count))


EPISODE_DRAWS: Mapping[str, Callable[[int], EpisodeDraw]] = {
    "max_variance": lambda kept: functools.partial(max_variance_draw, kept=kept),
}
"""The named draws, besides the kinds of ``SamplingRule``; each is made from K."""
