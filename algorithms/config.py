"""Configuration as plain data: attrs fields that carry their own help text and rule."""

import typing
from collections.abc import Callable
from typing import Any

import attrs

from tsmg import InvalidArgumentError

Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def option(default: Any, help: str, validator: Validator | None = None) -> Any:
    """A configuration field with its default, its help text and its rule."""
    return attrs.field(default=default, validator=validator, metadata={"help": help})


def within(least: float, most: float = float("inf"), *, above: bool = False) -> Validator:
    """A number of at least (or above) ``least`` and at most ``most``."""

    def check(instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        fits = (least < value if above else least <= value) and value <= most
        if not fits:
            rule = f"above {least}" if above else f"at least {least}"
            limit = "" if most == float("inf") else f" and at most {most}"
            raise InvalidArgumentError(f"{attribute.name!r} must be {rule}{limit} (got {value})")

    return check


def one_of(instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
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
