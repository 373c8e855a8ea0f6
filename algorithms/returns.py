"""Returns: what one agent got out of one whole episode."""

import math
from collections.abc import Sequence

from tsmg import InvalidArgumentError


def discounted_return(rewards_T: Sequence[float], discount: float) -> float:
    """The whole-episode return, R = sum_t gamma^t r_t.

    The same distribution as ``tsmg.Episode.episode_return``, for rewards that are not in a record. The sum
    is rounded once, at the end, so at discount 1 the order of the rewards does not matter.
    Source: arXiv:2508.10839, the whole cumulative episode reward [paper]; gamma = 1 there [ours].

    Args:
      rewards_T: r_t, one a step. Shape (T,), finite; no step at all gives 0. Unit: reward.
      discount: gamma, in [0, 1].

    Returns:
      R, in units of reward.

    Raises:
      InvalidArgumentError: a reward is not finite, or gamma is outside [0, 1].

    Example:
      >>> discounted_return([0.0, 0.0, 1.0], 1.0)
      1.0
      >>> discounted_return([4.0, 0.0, 4.0], 0.5)
      5.0
    """
    if not 0 <= discount <= 1:
        raise InvalidArgumentError(f"'discount' must be in [0, 1] (got {discount})")
    if not all(math.isfinite(reward) for reward in rewards_T):
        raise InvalidArgumentError(f"'rewards_T' must be finite (got {rewards_T})")
    return math.fsum(discount**t * reward for t, reward in enumerate(rewards_T))
