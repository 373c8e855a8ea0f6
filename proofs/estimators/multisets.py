"""Members of a group that are drawn independently: all ways to choose them, or one draw."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator

import numpy as np

from proofs.exact.gradients import Array
from tsmg import Stream


def multisets(count: int, size: int) -> Iterator[tuple[tuple[int, ...], int]]:
    """Each way to choose members of a group, in ascending order, with its number of orders.

    Args:
      count: the number of possible values of a member.
      size: G.

    Example:
      >>> list(multisets(2, 2))
      [((0, 0), 1), ((0, 1), 2), ((1, 1), 1)]
    """
    for chosen in itertools.combinations_with_replacement(range(count), size):
        repeats = math.prod(math.factorial(n) for n in Counter(chosen).values())
        yield chosen, math.factorial(size) // repeats


def pick(weights: Array, rng: Stream) -> int:
    """An index, drawn in proportion to the weights.

    Args:
      weights: at least 0, not all of them 0.
      rng: for the draw.
    """
    cumulative = np.cumsum(weights)
    place = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
    return min(place, len(weights) - 1)
