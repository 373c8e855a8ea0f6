"""Conversion of attrs values to and from the plain data of JSON and TOML, with messages that name file and key."""

import difflib
import itertools
import json
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import attrs

from tsmg import InvalidArgumentError

T = TypeVar("T")


def read_settings(file: str | Path) -> dict[str, object]:
    """The settings in a TOML or JSON file as plain data, not yet checked.

    Raises:
      InvalidArgumentError: the file cannot be read, or holds no table.
    """
    try:
        text = Path(file).read_text(encoding="utf-8")
        data = json.loads(text) if str(file).endswith(".json") else tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"{str(file)!r} cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise InvalidArgumentError(f"{str(file)!r} must contain a table of settings")
    return data


def plain_table(value: Mapping[str, object]) -> Mapping[str, object]:
    """A read-only mapping of JSON values; lists become tuples, so that a spec equals its copy from a file.

    Raises:
      InvalidArgumentError: a value is an object that JSON cannot hold.
    """
    try:
        return MappingProxyType({str(name): _plain_item(item) for name, item in value.items()})
    except (AttributeError, TypeError) as error:
        raise InvalidArgumentError(
            f"settings must be plain data by name (got {value!r})"
        ) from error


def texts_by_name(
    instance: object, attribute: "attrs.Attribute[Mapping[str, str]]", value: Mapping[str, object]
) -> None:
    """The validator of a table of texts."""
    if not all(isinstance(text, str) for text in value.values()):
        raise InvalidArgumentError(f"{attribute.name!r} must contain texts (got {dict(value)!r})")


def _plain_item(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(name): _plain_item(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(map(_plain_item, value))
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError


def to_plain(value: object) -> object:
    """Attrs values, mappings and tuples as values that JSON can hold; all fields are included."""
    if attrs.has(type(value)):
        return {name: to_plain(item) for name, item in attrs.asdict(value, recurse=False).items()}  # type: ignore[arg-type]
    if isinstance(value, Mapping):
        return {str(name): to_plain(item) for name, item in value.items()}
    return [to_plain(item) for item in value] if isinstance(value, list | tuple) else value


def from_plain(kind: type[T], data: Mapping[str, object], *, source: str, section: str = "") -> T:
    """An attrs value from a table of settings and its sections; missing keys have their defaults.

    Args:
      kind: the attrs class.
      data: the settings, by the names of its fields.
      source: where they come from, for messages.
      section: the dotted name of the table; empty at the top level.

    Raises:
      InvalidArgumentError: a key is unknown (the message names the key, its section and the nearest known one) or
        missing, or a value breaks its rule.
    """
    hints = typing.get_type_hints(kind)
    fields = attrs.fields(typing.cast(type[attrs.AttrsInstance], kind))
    known = [field.name for field in fields]
    where = f"section {section!r}" if section else "the top level"
    values = {}
    for name, value in data.items():
        if name not in known:
            nearest = difflib.get_close_matches(str(name), known, n=1, cutoff=0.0)[0]
            raise InvalidArgumentError(
                f"{source}: unknown key {name!r} in {where}; the nearest known one is {nearest!r}"
            )
        values[name] = _value(hints[name], value, f"{section}.{name}".lstrip("."), source)
    for field in fields:
        if field.default is attrs.NOTHING and field.name not in values:
            raise InvalidArgumentError(f"{source}: key {field.name!r} is missing in {where}")
    try:
        return kind(**values)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{source}: in {where}, {error}") from error


def _value(hint: object, value: object, name: str, source: str) -> object:
    """A value of the type that its field declares; a whole number may stand for a float."""
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    options = typing.get_args(hint) if is_union else (hint,)
    if value is None and type(None) in options:
        return None
    (kind,) = [option for option in options if option is not type(None)]
    arguments, kind = typing.get_args(kind), typing.get_origin(kind) or kind
    if kind is tuple:
        if not isinstance(value, list):
            raise InvalidArgumentError(f"{source}: {name!r} must be a list (got {value!r})")
        return tuple(
            _value(arguments[0], item, f"{name}[{n}]", source) for n, item in enumerate(value)
        )
    if kind is typing.Literal:  # the rule of the field names the choices
        return value
    if attrs.has(kind) or kind is Mapping:
        if not isinstance(value, Mapping):
            raise InvalidArgumentError(f"{source}: {name!r} must be a table (got {value!r})")
        return from_plain(kind, value, source=source, section=name) if attrs.has(kind) else value
    if kind is float and type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise InvalidArgumentError(f"{source}: {name!r} is too large for a float") from None
    if type(value) is not kind:
        raise InvalidArgumentError(
            f"{source}: {name!r} must be of type {kind.__name__} (got {value!r})"
        )
    return value


def to_toml(value: object, *, section: str = "") -> str:
    """An attrs value as TOML: each setting below its help text, then one section for each table.

    Args:
      value: its fields are texts, numbers, truth values, ``None``, lists, mappings or such values themselves; ``None``
        becomes a comment, since TOML cannot express it.
      section: the dotted name of the table that is written; empty at the top level.
    """
    settings, tables = "", ""
    for field in attrs.fields(type(value)):  # type: ignore[arg-type]
        item, name = getattr(value, field.name), f"{section}.{field.name}".lstrip(".")
        comment = f"# {field.metadata['help']}\n" if "help" in field.metadata else ""
        if attrs.has(type(item)):
            tables += f"\n{comment}[{name}]\n{to_toml(item, section=name)}"
        elif isinstance(item, Mapping):
            lines = itertools.starmap(_toml_line, item.items())
            tables += f"\n{comment}[{name}]\n{''.join(lines)}"
        else:
            settings += comment + _toml_line(field.name, item)
    return settings + tables


def _toml_line(name: str, value: object) -> str:
    if value is None:
        return f"# {_key(name)} is unset\n"
    return f"{_key(name)} = {_toml_value(to_plain(value))}\n"


def _key(name: str) -> str:
    return name if name.isascii() and name.replace("_", "a").isalnum() else json.dumps(name)


def _toml_value(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(k)} = {_toml_value(v)}' for k, v in value.items())} }}"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, bool) else repr(value)
