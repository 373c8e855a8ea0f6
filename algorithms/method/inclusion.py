"""Inclusion probabilities: how likely an episode is to be among K successive draws.

Corrected sampling divides by them; see ``docs/theory/08_aaw_episode_sampling.md``.
"""

import math

import numpy as np
from numpy.typing import NDArray

from algorithms.method.advantages import finite_vector
from tsmg import InvalidArgumentError

_LEAST_PROBABILITY = 1e-200
_SUM_TOLERANCE = 1e-9
_TAIL = 45.0  # exp(-45) < 1e-19
_FIRST_NODE = -3.6  # exp(s - exp(-s)) < 1e-17 there
_UNDERFLOW = 1e-100
_BLOCK = 2**21


def inclusion_probabilities(
    probabilities: NDArray[np.float64], count: int, *, replacement: bool = False
) -> NDArray[np.float64]:
    """How likely each episode is to be among K successive draws.

    Successive draws without replacement are the order in which independent clocks ring, T_j ~
    Exp(p_j), so

        pi_e = int_0^inf p_e exp(-p_e t) P(fewer than K of the others ring before t) dt
             = int_0^1 P(fewer than K of the others ring before -ln(u) / p_e) du,

    one integral over a Poisson-binomial count. It is evaluated in the first form by the trapezoidal rule after
    t = exp(s - exp(-s)), which converges geometrically: relative error about 1e-14, for small pi_e too. Cost: O(G K)
    for each of some hundred nodes.

    Source: ours; proved in ``docs/theory/08_aaw_episode_sampling.md``, section "Inclusion" (the second form).

    Args:
      probabilities: p. Shape (G,); each 0 or at least 1e-200, sum 1.
      count: K, how many draws, at least 1.
      replacement: whether an episode can be drawn again.

    Returns:
      pi. Shape (G,). Without replacement it sums to min(K, number of p_e > 0); it is 1 for all
      p_e > 0 where K is at least their number, and 0 where p_e is 0. With replacement, the expected
      number of draws K p_e instead, which may exceed 1.

    Raises:
      ShapeError: ``probabilities`` is not one row of numbers, or is empty.
      InvalidArgumentError: they are not a distribution, or ``count`` is below 1.

    Example:
      >>> inclusion_probabilities(np.array([0.5, 0.25, 0.25]), 2).round(6).tolist()
      [0.833333, 0.583333, 0.583333]
      >>> inclusion_probabilities(np.array([0.5, 0.25, 0.25]), 2, replacement=True).tolist()
      [1.0, 0.5, 0.5]

    Theory: Theorem 8.2, Equation 8.3.
    """
    probabilities = checked_probabilities(probabilities, count)
    if replacement:
        return count * probabilities
    possible = probabilities > 0
    included = np.zeros_like(probabilities)
    included[possible] = _successive_inclusion(probabilities[possible], count)
    return included


def checked_probabilities(probabilities: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """The probabilities of the first draw, as a vector that is checked to be a distribution.

    Source: ours.

    Args:
      probabilities: p. Shape (G,); each 0 or at least 1e-200, sum 1.
      count: K, how many draws, at least 1.

    Raises:
      ShapeError: ``probabilities`` is not one row of numbers, or is empty.
      InvalidArgumentError: they are not a distribution, or ``count`` is below 1.

    Example:
      >>> checked_probabilities(np.array([0.5, 0.5]), 1).tolist()
      [0.5, 0.5]
    """
    vector = finite_vector("probabilities", probabilities)
    if not ((vector == 0) | (vector >= _LEAST_PROBABILITY)).all():
        raise InvalidArgumentError(
            f"'probabilities' must be 0 or at least {_LEAST_PROBABILITY:g} (got {vector.tolist()})"
        )
    if abs(vector.sum() - 1) > _SUM_TOLERANCE:
        raise InvalidArgumentError(
            f"'probabilities' must sum to 1 (got {vector.sum()}: {vector.tolist()})"
        )
    if count < 1:
        raise InvalidArgumentError(f"'count' must be at least 1 (got {count})")
    return vector


def _successive_inclusion(p_G: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Inclusion probabilities for p above 0, without replacement."""
    if count >= p_G.size:
        return np.ones_like(p_G)
    if (p_G == p_G[0]).all():
        return np.full_like(p_G, count / p_G.size)
    t_M, weights_M = _nodes(p_G, count)
    block = max(1, _BLOCK // (p_G.size * count))
    total_G = np.zeros_like(p_G)
    for start in range(0, t_M.size, block):
        rows = slice(start, start + block)
        silent_G_M = np.exp(-np.outer(p_G, t_M[rows]))
        fewer_G_M = _fewer_of_the_others(silent_G_M, -np.expm1(-np.outer(p_G, t_M[rows])), count)
        total_G += p_G * ((silent_G_M * fewer_G_M) @ weights_M[rows])
    return np.minimum(total_G, 1.0)


def _nodes(p_G: NDArray[np.float64], count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times t_M and weights dt of the trapezoidal rule in s, where t = exp(s - exp(-s)).

    Before the first node everything is silent; after the last, K + 1 of the clocks have rung for
    certain. The count's distribution gets narrower in s as 1 / sqrt(G), and the step with it.
    """
    step = 1 / max(8.0, math.sqrt(2 * p_G.size))
    last = math.log(_TAIL) - math.log(np.sort(p_G)[-1 - count]) + 0.1
    s_M = np.arange(_FIRST_NODE, last + step, step)
    t_M = np.exp(s_M - np.exp(-s_M))
    return t_M, step * t_M * (1 + np.exp(-s_M))


def _fewer_of_the_others(
    silent_G_M: NDArray[np.float64], rung_G_M: NDArray[np.float64], count: int
) -> NDArray[np.float64]:
    """P(fewer than K of the others have rung), for each clock at each time. Shape (G, M).

    The others of e are those before e and those after e; all terms are positive, so nothing
    cancels.
    """
    before_G_M_K = _counts_before(silent_G_M, rung_G_M, count)
    after_G_M_K = _counts_before(silent_G_M[::-1], rung_G_M[::-1], count)[::-1]
    at_most_G_M_K = np.cumsum(after_G_M_K, axis=2)
    result: NDArray[np.float64] = (before_G_M_K * at_most_G_M_K[:, :, ::-1]).sum(axis=2)
    return result


def _counts_before(
    silent_G_M: NDArray[np.float64], rung_G_M: NDArray[np.float64], count: int
) -> NDArray[np.float64]:
    """P(exactly k of the clocks 0..e-1 have rung), k < K, for each e. Shape (G, M, K)."""
    counts = np.zeros((*silent_G_M.shape, count))
    counts[0, :, 0] = 1.0
    for e in range(1, len(counts)):
        counts[e] = counts[e - 1] * silent_G_M[e - 1, :, None]
        counts[e, :, 1:] += counts[e - 1, :, :-1] * rung_G_M[e - 1, :, None]
        counts[e][counts[e] < _UNDERFLOW] = 0.0  # denormal numbers are slow
    return counts
