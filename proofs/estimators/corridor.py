"""The corridor: a game whose steps must all be right, with a closed form for its episodes.

T steps, each with a right and a wrong action, and a context of its own; an episode succeeds if all T are right, and
always lasts T steps. So returns are 0 or 1, and at a success rate q each step is right with the probability q^(1/T).
There may be further steps that do not matter, with two equally likely actions each; they add the same noise to
successes and failures.
"""

import math
from typing import final

import attrs

from tsmg import InvalidArgumentError


@final
@attrs.frozen(kw_only=True)
class Corridor:
    """The game of T steps that all must be right, at a success rate.

    Attributes:
      success_rate: q, in (0, 1).
      horizon: T, at least 1.
      irrelevant: number of further steps that do not matter, at least 0; a mean number, so not necessarily whole.
    """

    success_rate: float = attrs.field()
    horizon: int = attrs.field(default=1)
    irrelevant: float = attrs.field(default=0.0)

    @success_rate.validator
    def _check_rate(self, attribute: "attrs.Attribute[float]", value: float) -> None:
        if not 0 < value < 1:
            raise InvalidArgumentError(f"'success_rate' must be in (0, 1) (got {value})")

    @horizon.validator
    def _check_horizon(self, attribute: "attrs.Attribute[int]", value: int) -> None:
        if value < 1:
            raise InvalidArgumentError(f"'horizon' must be at least 1 (got {value})")

    @irrelevant.validator
    def _check_irrelevant(self, attribute: "attrs.Attribute[float]", value: float) -> None:
        if not 0 <= value < math.inf:
            raise InvalidArgumentError(f"'irrelevant' must be finite and at least 0 (got {value})")

    @property
    def steps(self) -> float:
        """The length of an episode."""
        return self.horizon + self.irrelevant

    @property
    def noise(self) -> float:
        """The expected squared norm of the score of the steps that do not matter: 1/2 each."""
        return self.irrelevant / 2

    @property
    def right(self) -> float:
        """The probability of the right action at a step."""
        return float(self.success_rate ** (1 / self.horizon))

    @property
    def success_square(self) -> float:
        """The squared norm of a success's score in the steps that matter: all right, so there is but one such score."""
        return self.horizon * 2 * (1 - self.right) ** 2

    @property
    def failure_square(self) -> float:
        """The expected squared norm of a failure's score in the steps that matter."""
        p, q = self.right, self.success_rate
        whole = self.horizon * 2 * p * (1 - p)  # of any episode: right 2 (1 - p)^2, wrong 2 p^2
        return (whole - q * self.success_square) / (1 - q)

    @property
    def gradient_square(self) -> float:
        """The squared norm of the true gradient, q times the score of a success."""
        return self.success_rate**2 * self.success_square


def binomial(size: int, count: int, p: float) -> float:
    """The probability of so many successes in so many trials; for thousands of trials, too.

    Example:
      >>> round(binomial(4, 2, 0.5), 6)
      0.375
    """
    logs = math.lgamma(size + 1) - math.lgamma(count + 1) - math.lgamma(size - count + 1)
    return math.exp(logs + count * math.log(p) + (size - count) * math.log1p(-p))
