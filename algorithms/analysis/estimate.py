"""A figure with its interval."""

import math

import attrs

LEVEL = 0.95


@attrs.frozen(kw_only=True)
class Estimate:
    """A figure with its interval.

    Attributes:
      value: the figure, in the unit of the values.
      low, high: the ends of the interval; ``None`` if there is a single value.
      n: number of values.
      method: name of the method that gave the interval.
      level: nominal coverage of the interval.
      places: decimals in its text.

    Example:
      >>> print(Estimate(value=0.953, low=0.921, high=0.972, n=5, method="percentile bootstrap"))
      0.953 [0.921, 0.972]
      >>> print(Estimate(value=0.953, low=None, high=None, n=1, method="one value"))
      0.953 [one value, no interval]
    """

    value: float
    low: float | None
    high: float | None
    n: int
    method: str
    level: float = LEVEL
    places: int = 3

    @property
    def text(self) -> str:
        """The figure alone."""
        return number_text(self.value, self.places)

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.text} [{self.method}, no interval]"
        low, high = (number_text(end, self.places) for end in (self.low, self.high))
        return f"{self.text} [{low}, {high}]"


def number_text(value: float, places: int = 3) -> str:
    """A figure with a fixed number of decimals; ``never`` for infinity, and no sign before a rounded 0.

    Example:
      >>> number_text(-0.0001), number_text(2.5), number_text(50.0, 0)
      ('0.000', '2.500', '50')
    """
    if math.isinf(value):
        return "never" if value > 0 else "-inf"
    return f"{round(value, places) + 0.0:.{places}f}"
