"""Fields of settings: plain data with a default, a help text and a rule of their own.

Nothing slow is imported here, so that the command line can refuse bad settings at once.
"""

import math
import numbers
import re
import typing
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from tsmg import InvalidArgumentError

_OWN_RULE = re.compile(r"[\w.]+:\w+")
Validator = Callable[[object, "attrs.Attribute[Any]", Any], None]


def option(default: Any, help: str, validator: Validator | None = None) -> Any:
    """A configuration field with its default, its help text and its rule."""
    return attrs.field(default=default, validator=validator, metadata={"help": help})


def rule_option(default: str, help: str, names: Iterable[str]) -> Any:
    """A field that names a rule, or ``module:object`` for one of the user's own.

    Args:
      default: its default.
      help: its help text.
      names: the names of rules.
    """
    metadata = {"help": help, "names": tuple(names)}
    return attrs.field(default=default, validator=_names_a_rule, metadata=metadata)


def _names_a_rule(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    names = attribute.metadata["names"]
    if not isinstance(value, str) or not (value in names or _OWN_RULE.fullmatch(value)):
        raise InvalidArgumentError(
            f"{attribute.name!r} must be one of {', '.join(names)}, or module:object (got {value!r})"
        )


def within(
    least: float,
    most: float = math.inf,
    *,
    above: bool = False,
    below: bool = False,
    infinite: bool = False,
) -> Validator:
    """A number of at least (or above) ``least`` and at most (or below) ``most``; finite unless ``infinite``."""

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        kind = numbers.Integral if type(attribute.default) is int else numbers.Real
        fits = isinstance(value, kind) and not isinstance(value, bool)
        is_great = fits and (least < value if above else least <= value)
        is_open = below or (most == math.inf and not infinite)
        is_small = fits and (value < most if is_open else value <= most)
        if not (is_great and is_small):
            rule = f"above {least}" if above else f"at least {least}"
            limit = "" if most == math.inf else f" and {'below' if below else 'at most'} {most}"
            finite = "finite and " if value == math.inf and most == math.inf else ""
            raise InvalidArgumentError(
                f"{attribute.name!r} must be {finite}{rule}{limit} (got {value!r})"
            )

    return check


def one_of(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    """One of the names that the field's type lists."""
    names = choices(type(instance), attribute.name)
    if value not in names:
        raise InvalidArgumentError(
            f"{attribute.name!r} must be one of {', '.join(names)} (got {value!r})"
        )


def choices(config: type, name: str) -> tuple[str, ...]:
    """The names that a ``Literal`` field allows; none for other types."""
    hint = typing.get_type_hints(config)[name]
    return typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
