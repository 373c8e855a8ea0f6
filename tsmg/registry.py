"""Ids for games: ``register`` gives a builder a name with a version, ``make`` builds the game.

A package that registers games names itself under the entry-point group ``tsmg.games``; it is imported when an id is
first looked up, so that neither this package nor the command line knows any game.
"""

import difflib
import functools
import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any

import attrs

from tsmg.errors import InvalidArgumentError, UnknownGameError
from tsmg.game import AbstractGame

_ID = re.compile(r"[A-Za-z][A-Za-z0-9_]*-v[0-9]+")


@attrs.frozen(kw_only=True)
class RegisteredGame:
    """A registered game: its id, how it is built, and one line about it."""

    id: str
    build: Callable[..., AbstractGame[Any, Any]]
    summary: str
    kwargs: Mapping[str, Any] = attrs.field(factory=dict)


_GROUP = "tsmg.games"
_REGISTRY: dict[str, RegisteredGame] = {}


def register(
    id: str, build: Callable[..., AbstractGame[Any, Any]], *, summary: str = "", **kwargs: Any
) -> None:
    """Give a builder an id such as ``"FrozenLake-v0"``.

    Args:
      id: letters, digits and underscores, then ``-v`` and a version.
      build: a class or function that returns the game.
      summary: one line; the first line of the builder's docstring if empty.
      **kwargs: arguments that this id fixes (``make`` may override them).

    Raises:
      InvalidArgumentError: a malformed id, or one that is taken.
    """
    if not _ID.fullmatch(id):
        raise InvalidArgumentError(f"'id' must look like 'Name-v0' (got {id!r})")
    if id in _REGISTRY:
        raise InvalidArgumentError(f"'id' must be new (got {id!r}, which is registered)")
    line = summary or (inspect.getdoc(build) or "").partition("\n")[0]
    _REGISTRY[id] = RegisteredGame(id=id, build=build, summary=line, kwargs=kwargs)


def registered() -> tuple[RegisteredGame, ...]:
    """All registered games, by id."""
    _import_games()
    return tuple(_REGISTRY[id] for id in sorted(_REGISTRY))


def make(id: str, **kwargs: Any) -> AbstractGame[Any, Any]:
    """Build a game from its id, or from ``"module:callable"``.

    Raises:
      UnknownGameError: nothing is registered under the id, or the module has no such callable.
      InvalidArgumentError: the builder takes no such argument, refuses a value, or builds no game.
    """
    build, fixed = _find(id)
    arguments = {**fixed, **kwargs}
    try:
        inspect.signature(build).bind(**arguments)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"{id}: {error}") from error
    game = build(**arguments)
    if not isinstance(game, AbstractGame):
        raise InvalidArgumentError(f"'id' must name a game (got {id!r}: {type(game).__name__})")
    return game


def _find(id: str) -> tuple[Callable[..., AbstractGame[Any, Any]], Mapping[str, Any]]:
    if id in _REGISTRY:
        return _REGISTRY[id].build, _REGISTRY[id].kwargs
    if ":" in id:
        module_name, _, attribute = id.partition(":")
        try:
            build = getattr(importlib.import_module(module_name), attribute)
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            raise UnknownGameError(f"cannot load the game {id!r}: {error}") from error
        if not callable(build):
            raise UnknownGameError(f"cannot load the game {id!r}: {build!r} is not callable")
        return build, {}
    _import_games()
    if id in _REGISTRY:
        return _REGISTRY[id].build, _REGISTRY[id].kwargs
    close = difflib.get_close_matches(id, _REGISTRY, n=1, cutoff=0.3)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise UnknownGameError(
        f"no game is registered as {id!r}{hint} ('tsmg games' lists them; 'module:callable' loads "
        "yours)"
    )


@functools.cache
def _import_games() -> None:
    """Import the packages that register games under the entry-point group, once."""
    for entry in metadata.entry_points(group=_GROUP):
        entry.load()
