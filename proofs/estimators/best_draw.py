"""The best draw of one episode for corrected estimates: by |A| |S| / sqrt(tokens), S the score of the episode.

A corrected draw has the mean of the whole group, whatever the probabilities p (above 0 where A is not 0). Its second
moment is sum_e |A_e S_e|^2 / (G^2 p_e), and it trains sum_e p_e n_e tokens. Their product, which is what a given noise
costs, is least at p in proportion to |A| |S| / sqrt(n), by the inequality of Cauchy and Schwarz.

Source: ``docs/formalism/08_aaw_episode_sampling.md`` (eq-best-draw) [ours].
"""

import math
from collections.abc import Sequence

import numpy as np

from proofs.estimators.aaw_map import Corridor, binomial
from proofs.exact.gradients import Array


def best_probabilities(products_G: Array, tokens_G: Array) -> Array:
    """p_e in proportion to |A_e| |S_e| / sqrt(n_e).

    Args:
      products_G: |A_e| |S_e|, at least 0, not all 0. Shape (G,).
      tokens_G: n_e, above 0. Shape (G,).

    Example:
      >>> best_probabilities(np.array([2.0, 1.0, 0.0]), np.array([4.0, 1.0, 1.0])).tolist()
      [0.5, 0.5, 0.0]
    """
    weights_G = products_G / np.sqrt(tokens_G)
    p_G: Array = weights_G / weights_G.sum()
    return p_G


def price(products_G: Array, tokens_G: Array, p_G: Array) -> float:
    """The second moment of one corrected draw from a group, times the mean number of trained tokens.

    Args:
      products_G: |A_e| |S_e|. Shape (G,).
      tokens_G: n_e. Shape (G,).
      p_G: how likely each episode is drawn; above 0 where the product is. Shape (G,).

    Example:
      >>> price(np.array([2.0, 1.0]), np.array([1.0, 1.0]), np.array([0.5, 0.5]))
      2.5
    """
    needed_G = products_G > 0
    second = float((products_G[needed_G] ** 2 / p_G[needed_G]).sum()) / len(products_G) ** 2
    return second * float(p_G @ tokens_G)


def corridor_ratios(corridor: Corridor, *, size: int, alphas: Sequence[float]) -> list[float]:
    """Second moments of one corrected draw by |A|^alpha, over that by |A| times the root mean square of the score.

    The score's mean square is that of a success or of a failure: what can be known of an episode from its return. All
    episodes are equally long, so tokens cancel. Returns are not divided by the std.

    Args:
      corridor: the game, with steps that do not matter.
      size: G.
      alphas: exponents.

    Example:
      >>> long = Corridor(success_rate=0.05, horizon=20)
      >>> [round(x, 2) for x in corridor_ratios(long, size=16, alphas=(0, 0.5, 1, 2))]
      [1.36, 1.02, 1.19, 5.08]
    """
    success = corridor.success_square + corridor.noise
    failure = corridor.failure_square + corridor.noise
    totals, least = [0.0] * len(alphas), 0.0
    for n in range(1, size):
        played = binomial(size, n, corridor.success_rate)
        gain, loss = 1 - n / size, n / size
        for place, alpha in enumerate(alphas):
            drawn = n * gain**alpha + (size - n) * loss**alpha
            squares = n * gain ** (2 - alpha) * success + (size - n) * loss ** (2 - alpha) * failure
            totals[place] += played * drawn * squares
        best = n * gain * math.sqrt(success) + (size - n) * loss * math.sqrt(failure)
        least += played * best**2
    return [total / least for total in totals]
