"""What several commands share: options of a game, options from a configuration, and what they come to."""

import ast
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import attrs
import click

import games as games_package
import tsmg
from algorithms.method.config import choices

Game = tsmg.AbstractGame[Any, Any]


def config_options(config: type, *, names: Collection[str] | None = None) -> Callable[[Any], Any]:
    """One option per field of an attrs configuration, or per field of these names, with its own help text."""

    def decorate(command: Any) -> Any:
        for field in reversed(attrs.fields(config)):
            if names is not None and field.name not in names:
                continue
            flag = "--" + field.name.replace("_", "-")
            allowed = choices(config, field.name)
            if isinstance(field.default, bool):
                flag = f"{flag}/--no-{field.name.replace('_', '-')}"
            kind = click.Choice(allowed) if allowed else type(field.default)
            command = click.option(
                flag,
                field.name,
                default=field.default,
                show_default=True,
                type=kind,
                help=field.metadata["help"].capitalize() + ".",
            )(command)
        return command

    return decorate


set_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="An argument of the game, e.g. --set size=5. May be repeated.",
)


def game_options(command: Any) -> Any:
    """Which game, with which arguments and limit, and what is held out."""
    decorators = (
        click.option(
            "--game",
            "game_id",
            default="FrozenLake-v0",
            show_default=True,
            help="Id of a registered game ('tsmg games' lists them), or module:callable.",
        ),
        set_option,
        click.option(
            "--horizon",
            type=int,
            default=None,
            help="Time limit in steps; the game's own if unset.",
        ),
        click.option(
            "--held-out",
            type=float,
            default=0.2,
            show_default=True,
            help="Share of the starts to hold out for evaluation, by a hash of each; 0 for none. "
            "Games whose starts are not problem instances are never split.",
        ),
    )
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


def split_game(game: Game, held_out: float) -> tuple[Game, Game]:
    """The part to train on and the part to evaluate on; the whole game twice where nothing is held out.

    Args:
      game: only one whose starts are problem instances is split.
      held_out: the share of the starts to hold out.
    """
    if held_out == 0 or not game.facts.start_is_instance:
        return game, game
    return (
        tsmg.split_starts(game, "train", held_out=held_out),
        tsmg.split_starts(game, "held_out", held_out=held_out),
    )


def literal(text: str) -> Any:
    """What a text says in Python; the text itself where it says nothing."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):  # the last two: nested too deep
        return text


def game_arguments(settings: Sequence[str]) -> dict[str, Any]:
    """The arguments of a game; ``module:callable`` is looked up where the user stands."""
    sys.path.insert(0, str(Path.cwd()))
    arguments = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise click.UsageError(f"--set takes NAME=VALUE (got {setting!r})")
        arguments[name] = literal(value)
    return arguments


def make_game(game_id: str, settings: Sequence[str], horizon: int | None) -> Game:
    """The game that the options name.

    Raises:
      InvalidArgumentError: no such game, bad arguments, or no time limit.
    """
    game = games_package.make(game_id, **game_arguments(settings))
    game = game if horizon is None else tsmg.with_horizon(game, horizon)
    tsmg.step_limit(game)
    return game
