"""Checks of the arguments of games; each message says name, rule and value.

A field checks in its converter: attrs runs validators last, after the defaults that depend on the values.
"""

import functools
import math
import numbers
from collections.abc import Callable
from typing import Any

import attrs

from tsmg import InvalidArgumentError


def integer(name: str, value: object, *, least: int) -> int:
    """An integer of at least ``least``."""
    if isinstance(value, numbers.Integral) and int(value) >= least:
        return int(value)
    raise InvalidArgumentError(f"{name!r} must be an integer of at least {least} (got {value!r})")


def boolean(name: str, value: object) -> bool:
    """``True`` or ``False``."""
    if isinstance(value, bool):
        return value
    raise InvalidArgumentError(f"{name!r} must be True or False (got {value!r})")


def number(name: str, value: object, *, least: float = -math.inf) -> float:
    """A finite number of at least ``least``."""
    if not isinstance(value, numbers.Real) or not math.isfinite(float(value)):
        raise InvalidArgumentError(f"{name!r} must be a finite number (got {value!r})")
    if value < least:
        raise InvalidArgumentError(f"{name!r} must be at least {least:g} (got {float(value)})")
    return float(value)


def probability(name: str, value: object, *, positive: bool = False) -> float:
    """A number in [0, 1], or in (0, 1]."""
    if isinstance(value, numbers.Real) and 0 <= float(value) <= 1 and (value or not positive):
        return float(value)
    interval = "(0, 1]" if positive else "[0, 1]"
    raise InvalidArgumentError(f"{name!r} must be in {interval} (got {value!r})")


def one_of(*names: str) -> Callable[[Any, "attrs.Attribute[str]", str], None]:
    """A validator: one of these names."""

    def check(instance: Any, attribute: "attrs.Attribute[str]", value: str) -> None:
        if value not in names:
            raise InvalidArgumentError(
                f"{attribute.name!r} must be one of {', '.join(names)} (got {value!r})"
            )

    return check


def to_horizon(value: object) -> int:
    """A converter of a game's ``horizon``."""
    return integer("horizon", value, least=1)


def integer_field(name: str, *, default: int, least: int) -> Any:
    """A field of an attrs class: an integer of at least ``least``."""
    return attrs.field(default=default, converter=functools.partial(integer, name, least=least))


def boolean_field(name: str, *, default: bool) -> Any:
    """A field of an attrs class: ``True`` or ``False``."""
    return attrs.field(default=default, converter=functools.partial(boolean, name))


def number_field(name: str, *, default: float, least: float = -math.inf) -> Any:
    """A field of an attrs class: a finite number of at least ``least``."""
    return attrs.field(default=default, converter=functools.partial(number, name, least=least))


def probability_field(name: str, *, default: float, positive: bool = False) -> Any:
    """A field of an attrs class: a number in [0, 1], or in (0, 1]."""
    check = functools.partial(probability, name, positive=positive)
    return attrs.field(default=default, converter=check)
