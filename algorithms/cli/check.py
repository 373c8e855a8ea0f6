"""``tsmg check`` and ``tsmg games``: whether a game conforms to the interface, and which games there are."""

import contextlib
import functools
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
from rich.markup import escape
from rich.table import Table

import tsmg
from algorithms.analysis.printing import printable
from algorithms.cli.options import find_games_here, game_arguments, set_option
from algorithms.cli.terminal import console

if TYPE_CHECKING:
    from tsmg.testing import Report


@click.command(short_help="Check a game of your own against the interface.")
@click.argument("game_id", metavar="GAME")
@set_option
@click.option(
    "--examples",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="Number of pairs of walks; small games are enumerated up to four steps for each.",
)
@click.option(
    "--max-steps",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Greatest number of steps of a walk, if the game's own limit is higher.",
)
@click.option(
    "--text",
    "texts",
    metavar="TEXT",
    multiple=True,
    help="Text of an action to try where actions are not listed; may be repeated.",
)
def check(
    game_id: str, settings: tuple[str, ...], examples: int, max_steps: int, texts: tuple[str, ...]
) -> None:
    """Check a game (an id or module:callable) against the interface and the facts that it declares.

    The exit code is 0 if no rule is broken, 1 if one is, 2 if the arguments are bad.
    """
    find_games_here()
    arguments = game_arguments(settings)
    keywords = "".join(f", {name}={value!r}" for name, value in arguments.items())
    from tsmg.testing import check_game

    with _scratch_folder():
        report = check_game(
            functools.partial(tsmg.make, game_id, **arguments),
            max_examples=examples,
            max_steps=max_steps,
            action_texts=texts,
            source=f"import games\n\ngame = games.make({game_id!r}{keywords})",
        )
    _print_report(report)
    sys.exit(0 if report.is_conformant else 1)


@contextlib.contextmanager
def _scratch_folder() -> Iterator[None]:
    """Keeps Hypothesis from leaving a folder where the user stands: it keeps Unicode tables."""
    name = "HYPOTHESIS_STORAGE_DIRECTORY"
    if name in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ[name] = folder
        try:
            yield
        finally:
            del os.environ[name]


def _print_report(report: "Report") -> None:
    table = Table("rule", "what was seen", "result", box=None, pad_edge=False)
    colours = {
        "ok": "green", "broken": "bold red", "follows": "red", "not seen": "yellow", "not declared": "dim",
    }  # fmt: skip
    for result in report.results:
        unit = result.unit.removesuffix("s") if result.count == 1 else result.unit
        seen = f"{result.count} {unit}" if result.count else ""
        status = result.status.value
        notes = escape("; ".join(filter(None, (seen, *result.notes))))
        table.add_row(result.rule, notes, f"[{colours[status]}]{status}[/]")
    console.print(table)
    for violation in report.violations:
        click.echo(f"\n{printable(str(violation))}")
    broken = len(report.violations)
    told = f"rules broken: {broken}" if broken else "no rule is broken"
    click.echo(f"\n{printable(report.summary)}; {told}")


@click.command()
def games() -> None:
    """List the registered games."""
    for spec in tsmg.registered():
        click.echo(f"{spec.id:<24} {spec.summary}")
