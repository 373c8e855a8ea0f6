"""A run as a value: which game, which policy, which settings, which seed.

The command line, experiment files, resumed runs, comparisons and the Python API all describe a run by a ``RunSpec``. It
is plain data with a JSON round trip, and ``build`` makes the objects that it names. Nothing slow is imported here, so
that the command line can refuse bad settings at once.
"""

import difflib
import json
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, final

import attrs

import tsmg
from algorithms.method.config import MSGRPOConfig, one_of, option, within
from algorithms.training.config import CloningConfig, RunConfig
from tsmg import InvalidArgumentError

if TYPE_CHECKING:
    pass

Game = tsmg.AbstractGame[Any, Any]
Dtype = Literal["float32", "bfloat16", "mixed"]
Player = Literal["scripted", "optimal"]

SCHEMA_VERSION: Final = 2
"""The version of the JSON form; 1 was that of run folders before there were specs."""


def _frozen_mapping(value: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(value))


@final
@attrs.frozen(kw_only=True)
class GameSpec:
    """Which game is trained on, and which of its starts are held out for evaluation."""

    id: str = option(
        "FrozenLake-v0", "id of a registered game ('tsmg games' lists them), or module:callable"
    )
    arguments: Mapping[str, Any] = attrs.field(
        factory=dict,
        converter=_frozen_mapping,
        metadata={"help": "arguments of the game, by name"},
    )
    horizon: int | None = option(None, "time limit in steps; the game's own if unset")
    held_out: float = option(
        0.2,
        "share of the starts to hold out for evaluation, by a hash of each; 0 for none; games whose starts are not "
        "problem instances are never split",
        within(0.0, 1.0),
    )

    def build(self) -> Game:
        """The game.

        Raises:
          UnknownGameError: nothing is registered under the id, or the module that it names cannot be imported.
          InvalidArgumentError: the game takes no such argument, refuses a value, or has no time limit.
        """
        game = tsmg.make(self.id, **self.arguments)
        game = game if self.horizon is None else tsmg.with_horizon(game, self.horizon)
        tsmg.step_limit(game)
        return game

    def split(self, game: Game) -> tuple[Game, Game]:
        """The part to train on and the part to evaluate on; the whole game twice where nothing is held out.

        Args:
          game: as ``build`` made it, or one derived from that.
        """
        if self.held_out == 0 or not game.facts.start_is_instance:
            return game, game
        return (
            tsmg.split_starts(game, "train", held_out=self.held_out),
            tsmg.split_starts(game, "held_out", held_out=self.held_out),
        )


@final
@attrs.frozen(kw_only=True)
class PolicySpec:
    """Which policy training starts from: a checkpoint, or a small model that is cloned from a player of the game."""

    model: str | None = option(
        None,
        "checkpoint: a name or a local folder, also that of a saved policy; unset: a small behaviour-cloned model of "
        "the game",
    )
    chat: bool | None = option(
        None, "whether prompts go through the tokenizer's chat template; unset: if there is one"
    )
    thinking: bool | None = option(
        None,
        "whether the chat template is told to let the model think aloud; the action is then what follows </think>; "
        "unset: the template is told nothing",
    )
    dtype: Dtype = option(
        "float32",
        "type of a checkpoint's weights; mixed: float32, computed with in bfloat16",
        one_of,
    )
    history: int = option(0, "past turns that the prompt shows; 0 is memoryless", within(0))
    lora: str | None = option(
        None,
        "learn low-rank adapters alone, of this rank; twice the rank as alpha and all linear layers where unset",
    )
    recompute: bool = option(
        False,
        "keep few activations while learning, and compute them again (gradient checkpointing)",
    )
    compile: bool = option(False, "compile the model's layers")
    player: Player = option("scripted", "the player whose play is cloned", one_of)
    player_arguments: Mapping[str, Any] = attrs.field(
        factory=dict,
        converter=_frozen_mapping,
        metadata={"help": "what differs from the game's own player, by name"},
    )
    cloning: CloningConfig | None = option(
        None, "settings of the behaviour cloning; unset: the defaults, with the seed of the run"
    )


@final
@attrs.frozen(kw_only=True)
class RunSpec:
    """Everything that determines a run, but for the versions of what it runs on.

    Attributes:
      game: which game is played.
      policy: which policy training starts from.
      algorithm: the settings of the method; its seed is the seed of the run.
      run: when the policy is evaluated and saved.
      opponent: who plays beside an agent that learns: ``self`` (all agents learn), ``past`` (earlier copies),
        ``scripted`` (the game's own player), ``uniform``, the folder of a saved policy, or an endpoint as URL#model.
      role: the agent that learns against an opponent; each in turn if unset.
      threads: CPU threads; sums are rounded otherwise with another number.
      labels: what the run is called in reports (title, scenario, arm); no part of what it computes.

    Example:
      >>> spec = RunSpec(game=GameSpec(id="KuhnPoker-v0", held_out=0.0))
      >>> RunSpec.from_json(spec.to_json()) == spec
      True
    """

    game: GameSpec = GameSpec()
    policy: PolicySpec = PolicySpec()
    algorithm: MSGRPOConfig = MSGRPOConfig()
    run: RunConfig = RunConfig()
    opponent: str = option(
        "self",
        "who plays beside an agent that learns: self (all agents learn), past (earlier copies), scripted (the game's "
        "own player), uniform, the folder of a saved policy, or an endpoint as URL#model",
    )
    role: str | None = option(
        None, "the agent that learns against an opponent; each in turn if unset"
    )
    threads: int = option(2, "CPU threads", within(1))
    labels: Mapping[str, str] = attrs.field(factory=dict, converter=_frozen_mapping)

    def to_json(self) -> dict[str, Any]:
        """The spec as plain data, with the version of its schema."""
        return {"schema_version": SCHEMA_VERSION, **_plain(self)}

    @classmethod
    def from_json(
        cls, data: Mapping[str, Any], *, source: str = "the run specification"
    ) -> "RunSpec":
        """The spec that ``to_json`` gave, or that a person wrote; what is missing has its default.

        Args:
          data: plain data, as JSON or TOML have it.
          source: where it comes from, for messages.

        Raises:
          InvalidArgumentError: it is of a newer schema, a key is unknown (the message names the key, its section and
            the nearest known one), or a value breaks its rule.
        """
        version = data.get("schema_version", SCHEMA_VERSION)
        if version != SCHEMA_VERSION:
            origin = "a newer tsmg wrote it" if _is_newer(version) else "it is unknown"
            raise InvalidArgumentError(
                f"{source}: 'schema_version' must be {SCHEMA_VERSION} (got {version!r}); {origin}"
            )
        settings = {name: value for name, value in data.items() if name != "schema_version"}
        spec: RunSpec = _section(cls, settings, "", source)
        return spec


def read_spec(file: str | Path) -> RunSpec:
    """The spec in a TOML or JSON file.

    Raises:
      InvalidArgumentError: the file cannot be read, or is no spec; the message names file, section and key.
    """
    try:
        text = Path(file).read_text(encoding="utf-8")
        data = json.loads(text) if str(file).endswith(".json") else tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"{str(file)!r} cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise InvalidArgumentError(f"{str(file)!r} must hold a table of settings")
    return RunSpec.from_json(data, source=repr(str(file)))


def _is_newer(version: object) -> bool:
    return type(version) is int and version > SCHEMA_VERSION


def _plain(value: Any) -> Any:
    """Attrs values, mappings and tuples as what JSON can hold."""
    if attrs.has(type(value)):
        return {f.name: _plain(getattr(value, f.name)) for f in attrs.fields(type(value))}
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _section(kind: Any, data: Mapping[str, Any], section: str, source: str) -> Any:
    """An attrs value from a table of settings, its own sections included."""
    hints = typing.get_type_hints(kind)
    known = [field.name for field in attrs.fields(kind)]
    where = f"section '{section}'" if section else "the top level"
    for name in data:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.0)[0]
            raise InvalidArgumentError(
                f"{source}: unknown key {name!r} in {where}; the nearest known one is {near!r}"
            )
    values = {
        name: _value(hints[name], value, f"{section}.{name}".lstrip("."), source)
        for name, value in data.items()
    }
    try:
        return kind(**values)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{source}: in {where}, {error}") from error


def _value(hint: Any, value: Any, name: str, source: str) -> Any:
    """A value of a field, of the type that the field declares; a whole number may stand for a float."""
    options = (
        typing.get_args(hint)
        if typing.get_origin(hint) in (typing.Union, types.UnionType)
        else (hint,)
    )
    if value is None and type(None) in options:
        return None
    (kind,) = [option for option in options if option is not type(None)]
    kind = typing.get_origin(kind) or kind
    if attrs.has(kind) or kind is Mapping or kind is dict:
        if not isinstance(value, Mapping):
            raise InvalidArgumentError(f"{source}: {name!r} must be a table (got {value!r})")
        return _section(kind, value, name, source) if attrs.has(kind) else value
    if kind is Literal:  # its field's own rule names the choices
        return value
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise InvalidArgumentError(
            f"{source}: {name!r} must be of type {kind.__name__} (got {value!r})"
        )
    return value
