"""Recreation of Gymnasium environments, since replays need fresh ones.

A registered id is made without its time limit, which becomes the game's horizon. A caller's environment is recreated
from its complete spec, with its wrappers; one that the spec does not record completely is refused.
"""

import contextlib
import copy
import functools
import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.wrappers import (
    HumanRendering,
    OrderEnforcing,
    PassiveEnvChecker,
    RecordVideo,
    RenderCollection,
    TimeLimit,
)

from tsmg import InvalidArgumentError, MissingPackageError

Env: TypeAlias = gymnasium.Env[Any, Any]
Make = Callable[[], Env]

CHECKS = (OrderEnforcing, PassiveEnvChecker)
"""Wrappers that change nothing where the API is kept to."""
_SHOWS = (HumanRendering, RecordVideo, RenderCollection)
_HOMES = {
    "ALE": "ale-py",
    "BabyAI": "minigrid",
    "MiniGrid": "minigrid",
    "MiniWorld": "miniworld",
    "highway": "highway-env",
}
"""The packages of environments that are registered when these are imported, by the first word of the id."""
_OLDER = (
    "'env' must keep to Gymnasium's present API, in which 'reset' takes a seed and gives (observation, info), and "
    "'step' gives five values"
)


def maker(env: object, kwargs: Mapping[str, Any]) -> tuple[Make, Env, int | None]:
    """A function that makes the environment, one that it made, and the time limit in steps, if there is one.

    Args:
      env: an id, an environment, or a function that makes one.
      kwargs: arguments of ``gymnasium.make``.

    Raises:
      MissingPackageError: the package of a known id, or one that the environment asks for, is not installed.
      InvalidArgumentError: it cannot be made, or not again, or is no environment of Gymnasium's present API.
    """
    if isinstance(env, gymnasium.Env):
        make, limit = _remaker(env, kwargs)
    elif isinstance(env, str):
        spec = _registered(env)
        limit = spec.max_episode_steps
        with told(env, kwargs):
            make = _spec_maker(spec, {"max_episode_steps": -1, **kwargs})
    elif isinstance(env, gymnasium.vector.VectorEnv) or not callable(env):
        raise InvalidArgumentError(
            "'env' must be an id, one environment of Gymnasium (not a vector of them, nor one of the older 'gym'), or "
            f"a function that makes one (got {env!r:.200})"
        )
    elif kwargs:
        raise InvalidArgumentError("'kwargs' must be empty where 'env' is a function")
    else:
        made = _checked(env())
        return env, made, made.spec.max_episode_steps if made.spec else None
    limit = kwargs.get("max_episode_steps", limit)
    with told(env, kwargs):
        made = make()
    return make, _checked(made), limit


@contextlib.contextmanager
def told(env: object, kwargs: Mapping[str, Any]) -> Iterator[None]:
    """The reason why an environment cannot be made, as the error of an argument or of a package.

    Raises:
      MissingPackageError: the environment's library says that a package is not installed.
      InvalidArgumentError: anything else that it raises where an argument does not fit.
    """
    try:
        yield
    except MissingPackageError:
        raise
    except gymnasium.error.DependencyNotInstalled as error:
        raise MissingPackageError(f"{env!s:.200} needs an optional package: {error}") from error
    except (TypeError, ValueError, LookupError, ImportError, gymnasium.error.Error) as error:
        reason = repr(error) if isinstance(error, KeyError) else error
        raise InvalidArgumentError(
            f"'env' must be one that can be made (got {env!r:.200}, {kwargs}): {reason}"
        ) from error


def _checked(made: object) -> Env:
    if not isinstance(made, gymnasium.Env):
        raise InvalidArgumentError(f"'env' must make an environment of Gymnasium (got {made!r})")
    parameters = inspect.signature(made.unwrapped.reset).parameters.values()
    if not any(p.name == "seed" or p.kind is p.VAR_KEYWORD for p in parameters):
        raise InvalidArgumentError(f"{_OLDER} (got {made!r})")
    return made


def _registered(id: str) -> EnvSpec:
    home = _HOMES.get(re.split("[-/]", id)[0])
    if home is not None:  # its import registers it
        try:
            importlib.import_module(home.replace("-", "_"))
        except ModuleNotFoundError as error:
            raise MissingPackageError(
                f"{id} needs {home}, an optional package: pip install {home}"
            ) from error
    try:
        return gymnasium.spec(id)
    except gymnasium.error.Error as error:
        raise InvalidArgumentError(
            f"'env' must be a registered id (got {id!r}): {error}"
        ) from error


def _spec_maker(spec: EnvSpec, kwargs: Mapping[str, Any]) -> Make:
    """A function that makes the environment of a spec, with its ansi rendering if it has one."""
    entry: object = spec.entry_point
    if isinstance(entry, str):
        entry = load_env_creator(entry)
    modes = getattr(entry, "metadata", {}).get("render_modes", ())
    mode = {"render_mode": "ansi"} if "ansi" in modes else {}
    arguments = {"disable_env_checker": True, **mode, **kwargs}
    return functools.partial(gymnasium.make, spec, **arguments)


def _remaker(env: Env, kwargs: Mapping[str, Any]) -> tuple[Make, int | None]:
    """As ``maker``, of an environment that the caller made.

    Time limits around all other wrappers become the horizon; one within them stays where it is.
    """
    if env.spec is None:
        raise InvalidArgumentError(
            "'env' must have been made by gymnasium.make, or be a function that makes it, since replays need a fresh "
            f"one (got {env!r})"
        )
    spec = copy.deepcopy(env.spec)
    spec.kwargs.pop("render_mode", None)
    shows = {show.class_name() for show in _SHOWS}
    spec.additional_wrappers = tuple(w for w in spec.additional_wrappers if w.name not in shows)
    chain = _wrappers(env)
    limits = [w.spec.max_episode_steps for w in chain if isinstance(w, TimeLimit) and w.spec]
    order = re.fullmatch("(L*)W*L*", "".join("WL"[isinstance(w, TimeLimit)] for w in chain))
    lost = [wrapper.name for wrapper in spec.additional_wrappers if wrapper.kwargs is None]
    if lost or order is None:
        raise InvalidArgumentError(
            "'env' must be a function that makes the environment, since replays need a fresh one, and the spec of "
            f"{env!r} does not record {', '.join(lost) or 'where among the wrappers its TimeLimit stands'}"
        )
    within = [limit for limit in limits[len(order[1]) :] if limit]
    inner = min(within, default=-1)
    make = _spec_maker(spec, {"max_episode_steps": inner, **kwargs})
    return make, min((limit for limit in limits if limit), default=None)


def _wrappers(env: Env) -> list[gymnasium.Wrapper[Any, Any, Any, Any]]:
    """The wrappers that may change what is played, from the outermost one on."""
    found = []
    while isinstance(env, gymnasium.Wrapper):
        if not isinstance(env, (*CHECKS, *_SHOWS)):
            found.append(env)
        env = env.env
    return found


def pair(told: object, name: str) -> tuple[Any, Mapping[str, Any]]:
    """The observation and the info that ``reset`` returned.

    Raises:
      InvalidArgumentError: it gave something else.
    """
    if isinstance(told, tuple) and len(told) == 2 and isinstance(told[1], Mapping):
        return told[0], told[1]
    raise InvalidArgumentError(f"{_OLDER} (got {told!r:.80} from the 'reset' of {name})")


def quintuple(told: object, name: str) -> tuple[Any, object, bool, bool, Mapping[str, Any]]:
    """The observation, reward, two end flags and info that ``step`` returned.

    Raises:
      InvalidArgumentError: it gave something else.
    """
    if isinstance(told, tuple) and len(told) == 5 and isinstance(told[4], Mapping):
        observation, reward, terminated, truncated, info = told
        return observation, reward, bool(terminated), bool(truncated), info
    raise InvalidArgumentError(f"{_OLDER} (got {told!r:.80} from the 'step' of {name})")
