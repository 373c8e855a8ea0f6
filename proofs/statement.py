"""What a statement is.

A statement says that two things are equal, for games and policies of a kind. Its function computes both by independent
routes. It is tried on an example, on cases that Hypothesis draws, and on a *negative control*: a named wrong
implementation of one route, which must be told from the right one. A statement that says that something *can* happen
(a reversed sign, say) has an example that shows it. What only a sweep supports is measured, not proved.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, final

import attrs
import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

C = TypeVar("C")
Array = NDArray[np.float64]
Values = Sequence[float] | Array | float
Sides = tuple[Values, Values]

SWEEP = 25


@final
@attrs.frozen(kw_only=True, eq=False)
class Statement(Generic[C]):
    """A claim of equality, and what it is tried on.

    Attributes:
      sides: both sides by independent routes; its docstring is the claim, with assumptions and source.
      routes: what the two routes are.
      example: a case by hand.
      control: a wrong implementation, which the example tells from the right one; its docstring names the fault.
      cases: draws further cases; ``None`` where the claim is about the example alone.
      sweep: how many cases are drawn.
      shows: what the first side must look like in the example, for claims that something can happen.
      tolerance: the greatest difference between the sides, over the larger of 1 and the first side's greatest entry.
    """

    sides: Callable[[C], Sides]
    routes: tuple[str, str]
    example: C
    control: Callable[[C], Sides]
    cases: st.SearchStrategy[C] | None = None
    sweep: int = SWEEP
    shows: Callable[[Array], bool] | None = None
    tolerance: float = 1e-9

    @property
    def name(self) -> str:
        """The name of its function, in words."""
        return self.sides.__name__.replace("_", " ")

    @property
    def family(self) -> str:
        """The file that it stands in."""
        return self.sides.__module__.rpartition(".")[2]

    @property
    def claim(self) -> str:
        """The whole docstring."""
        return inspect.getdoc(self.sides) or ""

    @property
    def fault(self) -> str:
        """What is wrong with the negative control."""
        return (inspect.getdoc(self.control) or "").partition("\n")[0]


def difference(sides: Sides) -> float:
    """The greatest difference between two sides, over the larger of 1 and the first side's greatest entry.

    Returns:
      Infinite where the shapes differ or a number is not finite.

    Example:
      >>> difference(([1.0, 2.0], [1.0, 2.5])), difference((0.5, 0.5)), difference((float("nan"), 0.0))
      (0.25, 0.0, inf)
    """
    one, other = (np.atleast_1d(np.asarray(side, dtype=np.float64)) for side in sides)
    if one.shape != other.shape or not (np.isfinite(one).all() and np.isfinite(other).all()):
        return float("inf")
    if not one.size:
        return 0.0
    return float(np.abs(one - other).max() / max(1.0, float(np.abs(one).max())))
