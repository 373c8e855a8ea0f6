"""The commands ``tsmg compare`` and ``tsmg report``: what finished runs come to.

The command line finds them by name (the entry points ``tsmg.commands``). Nothing here needs torch.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table as TerminalTable

from algorithms.comparison import THRESHOLD
from algorithms.runs import read_runs
from algorithms.tables import Table

console = Console()
_FIGURES = "figures are of greedy play instead of play at the training temperature"


def _grouping_options(command: Any) -> Any:
    decorators = (
        click.option(
            "--by",
            default=None,
            metavar="FIELD",
            help="Group by this field of config.json, e.g. sampling. Unset: by everything but the seed.",
        ),
        click.option(
            "--threshold",
            type=float,
            default=THRESHOLD,
            show_default=True,
            help="Of the success rate, for the updates until it.",
        ),
        click.option("--greedy", is_flag=True, help=_FIGURES.capitalize() + "."),
    )
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@_grouping_options
def compare(runs: tuple[str, ...], by: str | None, threshold: float, greedy: bool) -> None:
    """Compare runs, or folders of runs: groups that differ in their seed alone, with intervals over runs.

    Runs of different games are compared apart. What cannot be read is named, and the rest is compared.
    """
    from algorithms.comparison import compare_runs
    from algorithms.tables import tables

    found, problems = read_runs(runs)
    comparison = compare_runs(found, by=by, threshold=threshold, greedy=greedy)
    for table in tables(comparison):
        _print_table(table)
    _print_notes([*problems, *comparison.notes])
    console.print("Intervals are 95%, over runs (of a single run: over its episodes).", style="dim")


def _print_table(table: Table) -> None:
    """One block of lines for each row: a dozen intervals do not fit side by side."""
    shown = TerminalTable(title=escape(table.title), title_justify="left", box=None, pad_edge=False)
    shown.add_column("")
    for row in table.rows:
        shown.add_column(escape(row[0]), overflow="fold")
    for n, name in enumerate(table.head[1:], start=1):
        shown.add_row(name, *(escape(row[n]) for row in table.rows))
    console.print(shown)
    console.print()


def _print_notes(notes: Sequence[str]) -> None:
    for note in notes:
        console.print(f"note: {escape(note)}", style="yellow", highlight=False, soft_wrap=True)


@click.command()
@click.argument("folders", nargs=-1, required=True, metavar="FOLDER...")
@click.option(
    "--output",
    type=click.Path(dir_okay=False),
    default=None,
    help="The page; report.html in the (first) folder if unset.",
)
@click.option("--markdown", type=click.Path(dir_okay=False), help="Also the tables, in Markdown.")
@click.option(
    "--png", type=click.Path(dir_okay=False), help="Also the first scenario's curves, as a picture."
)
@click.option(
    "--episodes",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    help="Transcripts of each run in the viewer.",
)
@_grouping_options
def report(
    folders: tuple[str, ...],
    output: str | None,
    markdown: str | None,
    png: str | None,
    episodes: int,
    by: str | None,
    threshold: float,
    greedy: bool,
) -> None:
    """Write one HTML page about a run, or about a folder of runs.

    The page holds everything: answer, curves, tables with intervals, and a viewer of episodes. It loads nothing.
    """
    found, problems = read_runs(folders)
    from algorithms.report import report_content, write_report

    content = report_content(
        found, problems, by=by, threshold=threshold, greedy=greedy, episodes=episodes
    )
    page = Path(output) if output else Path(folders[0]) / "report.html"
    write_report(content, page, markdown_file=markdown, png_file=png)
    _print_notes(content.notes)
    for answer in content.answers:
        said = f"{answer.scenario}, {answer.name}: {answer.what} {answer.start} before, {answer.final} after"
        console.print(escape(said), highlight=False, soft_wrap=True)
    console.print(f"report: {escape(str(page))}", highlight=False, soft_wrap=True)
