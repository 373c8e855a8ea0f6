"""The game of a run as a value."""

import importlib
import shlex
from collections.abc import Mapping
from typing import Any, final

import attrs

import tsmg
from algorithms.method.settings import option
from algorithms.training.plain_data import plain_table
from tsmg import InvalidArgumentError, NotEnumerableError, UnknownGameError

Game = tsmg.AbstractGame[Any, Any]
_FEW = 1000  # starts: of more, each part is taken to have some


def _held_out(instance: object, attribute: "attrs.Attribute[float]", value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise InvalidArgumentError(
            f"'held_out' must be in (0, 1), or 0 to hold nothing out (got {value!r})"
        )


@final
@attrs.frozen(kw_only=True)
class GameSpec:
    """Which game is trained on, and which of its starts are held out for evaluation."""

    id: str = option(
        "FrozenLake-v0", "id of a registered game ('tsmg games' lists them), or module:callable"
    )
    arguments: Mapping[str, Any] = attrs.field(
        factory=dict,
        converter=plain_table,
        metadata={"help": "arguments of the game, by name"},
    )
    horizon: int | None = option(None, "time limit in steps; the game's own if unset")
    held_out: float = option(
        0.2,
        "share of the starts to hold out for evaluation, by a hash of each; 0 for none; games whose starts are not "
        "problem instances are never split",
        _held_out,
    )

    def build(self) -> Game:
        """The game.

        Raises:
          UnknownGameError: nothing is registered under the id, or the module that it names cannot be imported; the
            message says which module and why.
          InvalidArgumentError: the game takes no such argument, refuses a value, or has no time limit.
        """
        module = self.id.partition(":")[0] if ":" in self.id else "tsmg"
        try:
            importlib.import_module(module)
        except Exception as error:
            raise UnknownGameError(
                f"cannot load the game {self.id!r}: importing {module!r} raised {type(error).__name__}: {error}"
            ) from error
        game = tsmg.make(self.id, **self.arguments)
        game = game if self.horizon is None else tsmg.with_horizon(game, self.horizon)
        tsmg.step_limit(game)
        return game

    def options(self, *, split: bool = True) -> str:
        """The options that name this game on the command line.

        Args:
          split: whether the command has ``--held-out``, too.

        Example:
          >>> GameSpec(id="Snake-v0", arguments={"size": 5}, held_out=0.5).options()
          '--game Snake-v0 --set size=5 --held-out 0.5'
        """
        texts = [f"{name}={value}" for name, value in self.arguments.items()]
        settings = [f"--set {shlex.quote(text)}" for text in texts]
        horizon = [] if self.horizon is None else [f"--horizon {self.horizon}"]
        is_default = self.held_out == attrs.fields_dict(GameSpec)["held_out"].default
        held_out = [f"--held-out {self.held_out:g}"] if split and not is_default else []
        return " ".join([f"--game {shlex.quote(self.id)}", *settings, *horizon, *held_out])

    def split(self, game: Game) -> tuple[Game, Game]:
        """The part to train on and the part to evaluate on; the whole game twice if nothing is held out.

        Args:
          game: as ``build`` made it, or one derived from that.

        Raises:
          InvalidArgumentError: the game has so few starts that one of the parts has none.
        """
        if self.held_out == 0 or not game.facts.start_is_instance:
            return game, game
        trained = tsmg.split_starts(game, "train", held_out=self.held_out)
        evaluated = tsmg.split_starts(game, "held_out", held_out=self.held_out)
        for part, purpose in ((trained, "train on"), (evaluated, "evaluate on")):
            if isinstance(part, tsmg.AbstractExplicitGame) and _is_empty(part):
                raise InvalidArgumentError(
                    f"'held_out' {self.held_out:g} leaves no start of {game.name} to {purpose}, since the game has "
                    "few: set another share, or 0 to hold nothing out"
                )
        return trained, evaluated


def _is_empty(part: tsmg.AbstractExplicitGame[Any, Any]) -> bool:
    """Whether a part of a game has no start, as far as its starts can be listed."""
    try:
        return not part.initial_state_dist().pmf(_FEW)
    except NotEnumerableError:
        return False
    except InvalidArgumentError:  # the condition of the part holds for none
        return True
