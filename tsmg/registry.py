"""Ids for games: ``register`` gives a builder a name with a version, ``make`` builds the game.

A package that registers games names itself under the entry-point group ``tsmg.games``. It is imported when an id is
first looked up, so that neither this package nor the command line knows any game.
"""

import difflib
import functools
import importlib
import inspect
import numbers
import re
import types
import warnings
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import get_args

import attrs

from tsmg.errors import InvalidArgumentError, UnknownGameError
from tsmg.game import AbstractGame, AnyGame
from tsmg.misnamed import require_complete

_ID = re.compile(r"[A-Za-z][A-Za-z0-9_]*-v[0-9]+")
_GROUP = "tsmg.games"


@attrs.frozen(kw_only=True)
class RegisteredGame:
    """A registered game.

    Attributes:
      id: its name with a version.
      build: the class or function that returns the game.
      summary: one line that describes it.
      kwargs: the arguments of ``build`` that the id fixes.
    """

    id: str
    build: Callable[..., AnyGame]
    summary: str
    kwargs: Mapping[str, object] = attrs.field(factory=dict)


_REGISTRY: dict[str, RegisteredGame] = {}


def register(
    id: str, build: Callable[..., AnyGame], *, summary: str = "", **kwargs: object
) -> None:
    """Give a builder an id such as ``"FrozenLake-v0"``.

    Args:
      id: letters, digits and underscores, then ``-v`` and a version.
      build: a class or function that returns the game.
      summary: one line that describes the game; the first line of the builder's docstring if empty.
      **kwargs: arguments that the id fixes (``make`` may override them).

    Raises:
      InvalidArgumentError: the id is malformed, or it is registered already.
    """
    if not _ID.fullmatch(id):
        raise InvalidArgumentError(f"'id' must look like 'Name-v0' (got {id!r})")
    if id in _REGISTRY:
        raise InvalidArgumentError(f"'id' must be new (got {id!r}, which is registered)")
    line = summary or (inspect.getdoc(build) or "").partition("\n")[0]
    _REGISTRY[id] = RegisteredGame(id=id, build=build, summary=line, kwargs=kwargs)


def registered() -> tuple[RegisteredGame, ...]:
    """All registered games, in the order of their ids; a warning names each package that cannot be imported."""
    for failure in _import_games():
        warnings.warn(failure, stacklevel=2)
    return tuple(_REGISTRY[id] for id in sorted(_REGISTRY))


def make(id: str, **kwargs: object) -> AnyGame:
    """Build a game from its id, or from ``"module:callable"``.

    Args:
      id: the id, or the module and the class or function that returns the game.
      **kwargs: arguments of the builder; they override those that the id fixes.

    Raises:
      UnknownGameError: nothing is registered under the id, or the module has no such callable.
      InvalidArgumentError: the builder takes no such argument, refuses a value, or does not return a game; or a method
        is missing.
    """
    build, fixed = _find(id)
    arguments = {**fixed, **kwargs}
    require_complete(build, id)
    try:
        signature = inspect.signature(build)
        signature.bind(**arguments)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"{id}: {error}") from error
    for name, value in kwargs.items():
        if name in signature.parameters:
            _check_type(id, name, value, signature.parameters[name].annotation)
    game: object = build(**arguments)
    if not isinstance(game, AbstractGame):
        raise InvalidArgumentError(f"'id' must name a game (got {id!r}: {type(game).__name__})")
    return game


def _check_type(id: str, name: str, value: object, annotation: object) -> None:
    """Check a value against an annotation of plain types; others are left to the builder.

    Raises:
      InvalidArgumentError: it is of another type.
    """
    kinds = get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    wanted = [_PLAIN.get(getattr(kind, "__name__", kind)) for kind in kinds]
    if None in wanted or any(is_kind(value) for is_kind in wanted if is_kind):
        return
    names = " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds)
    raise InvalidArgumentError(f"{id}: {name!r} must be of type {names} (got {value!r:.200})")


def _is_integer(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_real(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


_PLAIN: Mapping[object, Callable[[object], bool]] = {
    "int": _is_integer,
    "float": _is_real,
    "str": lambda value: isinstance(value, str),
    "bool": lambda value: value in (0, 1),
    "NoneType": lambda value: value is None,
}


def _find(id: str) -> tuple[Callable[..., object], Mapping[str, object]]:
    if ":" in id:
        module_name, _, attribute = id.partition(":")
        try:
            build = getattr(importlib.import_module(module_name), attribute)
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            raise UnknownGameError(f"cannot load the game {id!r}: {error}") from error
        if not callable(build):
            raise UnknownGameError(f"cannot load the game {id!r}: {build!r} is not callable")
        return build, {}
    failures = () if id in _REGISTRY else _import_games()
    if id in _REGISTRY:
        return _REGISTRY[id].build, _REGISTRY[id].kwargs
    close = difflib.get_close_matches(id, _REGISTRY, n=1, cutoff=0.3)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    unknown = (
        f"no game is registered as {id!r}{hint} ('tsmg games' lists them; 'module:callable' loads "
        "yours)"
    )
    raise UnknownGameError("; ".join((unknown, *failures)))


@functools.cache
def _import_games() -> tuple[str, ...]:
    """Import the packages of the entry-point group, once; a sentence for each that cannot be imported."""
    failures = []
    for entry in metadata.entry_points(group=_GROUP):
        try:
            entry.load()
        except Exception as error:  # noqa: BLE001  # whatever one package raises must not hide the games of others
            package = entry.dist.name if entry.dist else entry.value
            failures.append(
                f"the games of the package {package!r} are missing, since {entry.value!r} cannot be imported: "
                f"{type(error).__name__}: {error}"
            )
    return tuple(failures)
