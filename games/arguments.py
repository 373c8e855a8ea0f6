"""Checks of what a game is made with; each says name, rule and value."""

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


def number(name: str, value: object) -> float:
    """A finite number."""
    if isinstance(value, numbers.Real) and math.isfinite(float(value)):
        return float(value)
    raise InvalidArgumentError(f"{name!r} must be a finite number (got {value!r})")


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


def to_attention(value: object) -> float:
    """A converter of a scripted player's ``attention``."""
    return probability("attention", value)
