"""The form of ``config.json``, by version, and the upgrade of older forms to the current one.

Version 2: ``spec`` is the run's ``RunSpec`` as JSON, every ``auto`` resolved (its first runs had ``clip`` in place of
``clip_low`` and ``clip_high``). Next to it are ``baselines`` and ``versions`` and, if they apply, ``cloning``,
``decoding``, ``prompt``, ``parser`` and ``given_parts`` (what a caller from Python made without the spec). Version 1,
before there were specs, had the settings at the top level, and under ``command`` the options of the command line.
"""

import ast
import math
from collections.abc import Mapping
from typing import Any, Final

from algorithms.errors import RunFolderError

SCHEMA_VERSION: Final = 2

_SETTINGS = {"silent_groups": "zero_variance_groups"}
_NO_MODEL = ("seed model", "behaviour-cloned model")
_LABELS = ("title", "scenario", "trained_on", "arm", "experiment")
_POLICY = ("chat", "thinking", "dtype", "history", "lora", "recompute")
_OTHER = ("opponent", "role", "threads")


def upgrade(config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """A configuration in the current form.

    Args:
      config: as it was written, by this version of tsmg or an older one.
      source: the file, for messages.

    Raises:
      RunFolderError: a newer tsmg wrote it; the message names the version.
    """
    version = config.get("schema_version", 1)
    if type(version) is not int or version < 1:
        raise RunFolderError(
            f"{source} is malformed: field 'schema_version' must be a whole number (got {version!r})"
        )
    if version > SCHEMA_VERSION:
        raise RunFolderError(
            f"{source} has schema version {version}, of a newer tsmg; this one reads versions up to {SCHEMA_VERSION}"
        )
    return _two_limits(config) if version == SCHEMA_VERSION else _from_version_1(config)


def check_resumable(config: Mapping[str, Any], folder: object, *, has_parts: bool = False) -> None:
    """Refuse to continue a run that began with a caller's objects if none are given now.

    Args:
      config: of the run, in the present form.
      folder: of the run, for messages.
      has_parts: whether the caller passes the objects again.

    Raises:
      RunFolderError: the message says how the run can be resumed, if at all.
    """
    if not config.get("given_parts"):
        return
    if "upgraded_from" in config:
        raise RunFolderError(
            f"the run in {str(folder)!r} was begun from Python by an older tsmg (schema version "
            f"{config['upgraded_from']}), which did not record the game and the policy: it can be read but not resumed"
        )
    if not has_parts:
        raise RunFolderError(
            f"the run in {str(folder)!r} was begun from Python with a game and a policy of the caller's "
            "('given_parts' in config.json): resume it with run_training(..., parts=..., resume=True)"
        )


def _from_version_1(config: Mapping[str, Any]) -> dict[str, Any]:
    """The form before there were specs; what is malformed stays so, and is named when the result is checked."""
    rest = dict(config)
    command = rest.pop("command", None)
    options = command if isinstance(command, Mapping) else {}
    policy = {name: options[name] for name in _POLICY if name in options}
    policy |= {name: rest.pop(name) for name in ("dtype", "lora", "player") if name in rest}
    model = rest.pop("model", None)
    policy["model"] = None if model in _NO_MODEL else model
    policy["compile"] = options.get("compiled", False)
    if recipe := rest.pop("recipe", None):
        policy["cloning"] = recipe
    if player := rest.pop("player_settings", None):
        policy["player_arguments"] = player
    name = rest.pop("game", None)
    limit = rest.pop("horizon", None)
    arguments = rest.pop("game_settings", {})
    game = {
        "arguments": _evaluated(arguments) if options else arguments,
        "horizon": options.get("horizon") if options else limit,
        "held_out": rest.pop("held_out", 0.0),
        **({} if name is None else {"id": name}),
    }
    spec: dict[str, Any] = {
        "game": game,
        "policy": policy,
        "labels": {label: str(rest.pop(label)) for label in _LABELS if rest.get(label) is not None},
        **{other: rest.pop(other) for other in _OTHER if other in rest},
        **{part: _renamed(rest.pop(part)) for part in ("algorithm", "run") if part in rest},
    }
    if command is None and "experiment" not in config:  # begun from Python, with objects
        rest["given_parts"] = {"game": "a game without a name" if name is None else str(name)}
    if "references" in rest:
        rest["baselines"] = rest.pop("references")
    return {**rest, "schema_version": SCHEMA_VERSION, "upgraded_from": 1, "spec": spec}


def _two_limits(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration of version 2 whose settings of the method have ``clip_low`` and ``clip_high``."""
    spec = config.get("spec")
    if not isinstance(spec, Mapping) or "clip" not in (spec.get("algorithm") or {}):
        return dict(config)
    return {**config, "spec": {**spec, "algorithm": _renamed(spec["algorithm"])}}


def _renamed(settings: object) -> object:
    """Settings of the method under the names that they have now."""
    if not isinstance(settings, Mapping):
        return settings
    renamed: dict[str, Any] = {
        _SETTINGS.get(str(name), str(name)): value for name, value in settings.items()
    }
    if "clip" in renamed:
        clip = renamed.pop("clip")
        has_no_limit = isinstance(clip, int | float) and clip > 1  # 1 - clip was below every ratio
        renamed |= {"clip_low": math.inf if has_no_limit else clip, "clip_high": clip}
    return renamed | ({"credit": "reward_to_go"} if renamed.get("credit") == "to_go" else {})


def _evaluated(arguments: object) -> object:
    """Arguments of a game that were recorded as Python shows them."""
    if not isinstance(arguments, Mapping):
        return arguments
    return {
        name: literal(value) if isinstance(value, str) else value
        for name, value in arguments.items()
    }


def literal(text: str) -> Any:
    """The Python value of a literal in a text; the text itself if it is not one."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):  # the last two: nested too deep
        return text
