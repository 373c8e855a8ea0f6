"""The range that probability ratios are clipped to."""

import math
from typing import final

import attrs

from tsmg import InvalidArgumentError

# Logs of ratios are held within this size, so that none overflows; beyond it there is no gradient.
LOG_RATIO_LIMIT = 20.0


@final
@attrs.frozen(kw_only=True)
class ClipRange:
    """The range [1 - low, 1 + high] of a probability ratio.

    Source: PPO, arXiv:1707.06347, with low = high; DAPO, arXiv:2503.14476, with a greater high.

    Attributes:
      low: above 0 and at most 1; infinite for no lower limit.
      high: above 0; infinite for no upper limit.

    Raises:
      InvalidArgumentError: a limit outside of these; the message names it as ``clip_low`` or ``clip_high``.

    Example:
      >>> ClipRange(high=0.28).limits
      (0.8, 1.28)
      >>> ClipRange(low=math.inf, high=math.inf).limits
      (-inf, inf)

    Theory: Equation 11.1.
    """

    low: float = attrs.field(default=0.2)
    high: float = attrs.field(default=0.2)

    @low.validator
    def _check_low(self, attribute: "attrs.Attribute[float]", value: float) -> None:
        if not (0 < value <= 1 or value == math.inf):
            raise InvalidArgumentError(
                f"'clip_low' must be above 0 and at most 1, or inf for no lower limit (got {value})"
            )

    @high.validator
    def _check_high(self, attribute: "attrs.Attribute[float]", value: float) -> None:
        if not value > 0:
            raise InvalidArgumentError(
                f"'clip_high' must be above 0, or inf for no upper limit (got {value})"
            )

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the greatest ratio."""
        return 1 - self.low, 1 + self.high
