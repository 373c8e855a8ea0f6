"""What a statement is, and the decorator that makes one of a claim.

A statement says that two things are equal, for games and policies of a kind. Its function computes both by independent
routes. It is tried on an example, on cases that Hypothesis draws, and on a *negative control*: a named wrong
implementation of one route, which must be distinguished from the right one. A statement that says that something *can*
happen, such as a reversed sign, has an example that shows it. What only a sweep supports is measured, not proved.

In a file of ``proofs.statements`` the wrong version comes before its claim, and the decorator names everything on which
the claim is tried:

    def _own_return_included(case: Case) -> Sides:
        '''The baseline is the mean of all members.'''
        ...

    @statement(routes=(...), example=..., cases=..., wrong=_own_return_included)
    def the_mean_of_the_others_gives_the_gradient(case: Case) -> Sides:
        '''Relative to the mean of the other members, the expected estimate is the true gradient.

        Assumes: ... Source: ...
        '''
        ...
"""

import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar, final

import attrs
import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from tsmg import InvalidArgumentError

C = TypeVar("C")
Array = NDArray[np.float64]
Values = Sequence[float] | Array | float
Sides = tuple[Values, Values]
Claim = Callable[[C], Sides]

SWEEP = 25


@final
@attrs.frozen(kw_only=True, eq=False)
class Statement(Generic[C]):
    """A claim of equality, and the cases on which it is tried.

    Attributes:
      sides: both sides by independent routes; its docstring is the claim, with assumptions and source.
      routes: what the two routes are.
      example: a case by hand.
      control: a wrong implementation, which the example distinguishes from the right one; its docstring names the
        fault.
      cases: draws further cases; ``None`` if the claim is about the example alone.
      sweep: number of drawn cases.
      shows: whether the first side shows, in the example, what the claim says can happen.
      tolerance: the greatest difference between the sides, over the larger of 1 and the first side's greatest entry.
    """

    sides: Claim[C]
    routes: tuple[str, str]
    example: C
    control: Claim[C]
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
        """The file or folder of ``proofs.statements`` that contains the claim."""
        return self.sides.__module__.removeprefix("proofs.statements.").partition(".")[0]

    @property
    def claim(self) -> str:
        """The whole docstring: theorem, assumptions and source."""
        return inspect.getdoc(self.sides) or ""

    @property
    def fault(self) -> str:
        """The fault of the negative control: the first line of its docstring."""
        return (inspect.getdoc(self.control) or "").partition("\n")[0]

    def __reduce__(self) -> tuple[Callable[[str, str], "AnyStatement"], tuple[str, str]]:
        """A statement is sent to another process as the place where it is found."""
        return _loaded, (self.sides.__module__, self.sides.__name__)


def _loaded(module: str, name: str) -> "AnyStatement":
    loaded: AnyStatement = getattr(importlib.import_module(module), name)
    return loaded


AnyStatement: TypeAlias = Statement[Any]  # of cases of whatever type


def statement(
    *,
    routes: tuple[str, str],
    example: C,
    wrong: Claim[C],
    cases: st.SearchStrategy[C] | None = None,
    sweep: int = SWEEP,
    shows: Callable[[Array], bool] | None = None,
    tolerance: float = 1e-9,
) -> Callable[[Claim[C]], Statement[C]]:
    """Make a statement of a claim: a function that returns both sides, whose docstring says what is claimed.

    Args:
      routes: how the first and the second side are computed.
      example: a case by hand.
      wrong: the negative control, whose docstring names its fault.
      cases: draws further cases; ``None`` if the claim is about the example alone.
      sweep: number of drawn cases.
      shows: whether the first side shows, in the example, what the claim says can happen.
      tolerance: the greatest accepted difference between the sides, as in ``Statement``.

    Raises:
      InvalidArgumentError: the claim's docstring names no source, or the negative control has no docstring.
    """

    def made(claim: Claim[C]) -> Statement[C]:
        if "Source:" not in (claim.__doc__ or ""):
            raise InvalidArgumentError(f"{claim.__name__!r} must name its source in its docstring")
        if not wrong.__doc__:
            raise InvalidArgumentError(
                f"{wrong.__name__!r} must say in its docstring what is wrong"
            )
        return Statement(
            sides=claim,
            routes=routes,
            example=example,
            control=wrong,
            cases=cases,
            sweep=sweep,
            shows=shows,
            tolerance=tolerance,
        )

    return made


def difference(sides: Sides) -> float:
    """The greatest difference between two sides, over the larger of 1 and the first side's greatest entry.

    Returns:
      Infinite if the shapes differ or a number is not finite.

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
