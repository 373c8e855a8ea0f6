"""PettingZoo environments by id: those of its registry, and those of packages that it has given families to."""

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

import pettingzoo
from pettingzoo.env_registry.exceptions import FailedToImport, PettingZooRegistryError

from games.adapters.curated import RawEnv
from games.adapters.live import nearest
from tsmg import InvalidArgumentError, MissingPackageError

Make = Callable[..., RawEnv]

_MOVED = {"mpe": "mpe2", "magent": "magent2.environments"}
"""The package that has a module for each environment of a family which PettingZoo had, by the first part of the id."""
_EXTRAS = {"classic": "tsmg[classic]"}
"""What brings the packages of a family, if it is not PettingZoo's own extra of that name."""


def registered(id: str, kwargs: Mapping[str, Any]) -> Make:
    """A function that makes the environment of an id, in its AEC form where both kinds exist.

    Args:
      id: such as ``classic/chess_v6``.
      kwargs: arguments of the function that makes the environment.

    Raises:
      MissingPackageError: the family is in a package that is not installed.
      InvalidArgumentError: there is no such environment; the message names the closest ids.

    Example:
      >>> registered("classic/tictactoe_v3", {})().possible_agents
      ['player_1', 'player_2']
    """
    family, _, name = id.partition("/")
    if family in _MOVED:
        module = _moved(id, _MOVED[family], name)
        return functools.partial(getattr(module, "env", None) or module.parallel_env, **kwargs)
    for kind, registry in (
        ("aec", pettingzoo.aec_registry),
        ("parallel", pettingzoo.parallel_registry),
    ):
        try:
            spec = pettingzoo.spec(kind, id)
        except PettingZooRegistryError:
            continue
        if spec.id in registry:
            return functools.partial(_made, kind, id, **kwargs)
    known = {**pettingzoo.aec_registry, **pettingzoo.parallel_registry}
    raise InvalidArgumentError(
        f"'env' must be a registered id such as 'classic/tictactoe_v3' (got {id!r}){nearest(id, known)}"
    )


def _made(kind: Any, id: str, **kwargs: Any) -> RawEnv:
    try:
        return pettingzoo.make(kind, id, **kwargs)
    except FailedToImport as error:
        family = id.partition("/")[0]
        extra = _EXTRAS.get(family, f"pettingzoo[{family}]")
        raise MissingPackageError(
            f"{id} needs optional packages ({error.__cause__}): pip install '{extra}'"
        ) from error


def _moved(id: str, package: str, name: str) -> Any:
    """The module of an environment that is no longer PettingZoo's own."""
    home = package.partition(".")[0]
    try:
        known = [
            one.name for one in pkgutil.iter_modules(importlib.import_module(package).__path__)
        ]
        if name in known:
            return importlib.import_module(f"{package}.{name}")
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"{id} is in {home}, no longer in PettingZoo, and needs optional packages ({error}): pip install {home}"
        ) from error
    raise InvalidArgumentError(
        f"'env' must be an environment of {home} (got {id!r}){nearest(name, known)}"
    )
