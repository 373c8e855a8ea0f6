"""What several commands share: options made from the fields of attrs classes, headings, and the options of a game."""

import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs
import click

from algorithms.cloning.config import SIZES
from algorithms.method.settings import choices
from algorithms.runs.schema import literal
from algorithms.training.game_spec import GameSpec
from algorithms.training.policy_spec import PolicySpec
from algorithms.training.spec import RunSpec

C = TypeVar("C", bound=Callable[..., Any])
Decorator = Callable[[C], C]

_NAMES: dict[tuple[type, str], tuple[str, str]] = {
    (GameSpec, "id"): ("--game", "game_id"),
    (GameSpec, "arguments"): ("--set", "settings"),
}
_IN_FILES = {"algorithm", "cloning", "fit", "game", "labels", "player_arguments", "policy", "run"}
"""Fields of specifications that are tables, which files can give and options cannot."""


class HeadedCommand(click.Command):
    """A command whose options are grouped under headings.

    Attributes:
      headings: heading to names of parameters; parameters without a heading come last.
    """

    headings: Mapping[str, Sequence[str]] = {}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, heading by heading."""
        rows = {p.name: row for p in self.get_params(ctx) if (row := p.get_help_record(ctx))}
        for heading, names in self.headings.items():
            with formatter.section(heading):
                formatter.write_dl([rows.pop(name) for name in names if name in rows])
        with formatter.section("Other options"):
            formatter.write_dl(list(rows.values()))


def sentence(text: str) -> str:
    """A help text with a capital and a full stop; symbols such as G and K keep their case.

    Example:
      >>> sentence("episodes per group, G")
      'Episodes per group, G.'
    """
    return text[:1].upper() + text[1:].removesuffix(".") + "."


def config_options(config: type, *, only: Sequence[str] = ()) -> Callable[[C], C]:
    """One option per field of an attrs class, with its own help text; tables are left to files.

    Args:
      config: the class.
      only: names of fields; all unless given.
    """

    def decorate(command: C) -> C:
        for field in reversed(attrs.fields(config)):
            if field.name not in _IN_FILES and (not only or field.name in only):
                command = _field_option(config, field)(command)
        return command

    return decorate


def _field_option(config: type, field: "attrs.Attribute[Any]") -> Callable[[C], C]:
    flag = "--" + field.name.replace("_", "-")
    flag, name = _NAMES.get((config, field.name), (flag, field.name))
    hint = typing.get_type_hints(config)[field.name]
    (kind,) = [one for one in typing.get_args(hint) or (hint,) if one is not type(None)][:1]
    names = choices(config, field.name)
    text = sentence(field.metadata["help"])
    if name == "settings":
        text = "An argument of the game, e.g. --set size=5. May be repeated."
        return click.option(flag, name, multiple=True, metavar="NAME=VALUE", help=text)
    if kind is bool:
        flag = f"{flag}/--no-{flag[2:]}"
    rules = field.metadata.get("names")
    return click.option(
        flag,
        name,
        default=field.default,
        show_default=field.default is not None,
        type=click.Choice(names) if names else kind,
        metavar=f"[{'|'.join(rules)}|MODULE:OBJECT]" if rules else None,
        help=text,
    )


def _network_sizes(
    context: click.Context, parameter: click.Parameter, settings: Sequence[str]
) -> dict[str, Any]:
    sizes = game_arguments(settings, option="--network-set")
    for name in sizes:
        if name not in SIZES:
            raise click.UsageError(f"--network-set takes {', '.join(SIZES)} (got {name!r})")
    return sizes


network_option: Callable[[C], C] = click.option(
    "--network-set",
    "network_sizes",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_network_sizes,
    help="A size of the small network that is made where no --model is named, e.g. --network-set context=4096; one of "
    f"{', '.join(SIZES)}. May be repeated.",
)


def given_settings(context: click.Context) -> dict[str, Any]:
    """The settings that the command line names, as a table like that of ``RunSpec.to_json``."""
    given: dict[str, Any] = {}
    sections: dict[str, type] = {
        "game": GameSpec,
        "policy": PolicySpec,
        **{name: type(attrs.fields_dict(RunSpec)[name].default) for name in ("algorithm", "run")},
    }
    for section, kind in [("", RunSpec), *sections.items()]:
        table = {}
        for field in attrs.fields(kind):
            _, name = _NAMES.get((kind, field.name), ("", field.name))
            source = context.get_parameter_source(name)
            if name not in _IN_FILES and source is click.core.ParameterSource.COMMANDLINE:
                value = context.params[name]
                table[field.name] = game_arguments(value) if name == "settings" else value
        given |= {section: table} if section and table else table if not section else {}
    if context.params.get("network_sizes"):
        given["policy"] = {**given.get("policy", {}), "cloning": context.params["network_sizes"]}
    return given


set_option: Callable[[C], C] = config_options(GameSpec, only=["arguments"])
game_options: Callable[[C], C] = config_options(GameSpec)


def game_arguments(settings: Sequence[str], *, option: str = "--set") -> dict[str, Any]:
    """The arguments of a game, or of anything else that an option sets, from texts NAME=VALUE.

    Raises:
      UsageError: a text is not of that form.
    """
    arguments = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise click.UsageError(f"{option} takes NAME=VALUE (got {setting!r})")
        arguments[name] = literal(value)
    return arguments


def find_games_here() -> None:
    """Let ``module:callable`` name a module in the current folder."""
    here = str(Path.cwd())
    if here not in sys.path[:1]:
        sys.path.insert(0, here)


max_reply_tokens_option = click.option(
    "--max-reply-tokens",
    type=click.IntRange(1),
    default=None,
    help="Maximum length of a reply, in tokens. Unset: the policy's own, which is 16 for a checkpoint.",
)


def game_spec(
    game_id: str, settings: Sequence[str] = (), horizon: int | None = None, held_out: float = 0.0
) -> GameSpec:
    """The game that the options name."""
    find_games_here()
    return GameSpec(
        id=game_id, arguments=game_arguments(settings), horizon=horizon, held_out=held_out
    )
