"""The commands about whole runs: ``tsmg compare``, ``tsmg report`` and ``tsmg experiment``.

The command line finds them by name (the entry points ``tsmg.commands``). None of them needs torch.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.table import Table as TerminalTable

from algorithms.analysis.comparison import THRESHOLD
from algorithms.analysis.tables import Table
from algorithms.cli.options import sentence
from algorithms.cli.terminal import console, shown
from algorithms.errors import RunFolderError
from algorithms.experiments.scheduler import Done, estimated_seconds, is_done, run_jobs
from algorithms.experiments.spec import Experiment, Job, jobs, read_experiment, shipped
from algorithms.runs.reader import read_runs

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
            help="Success rate for the figure 'updates until'.",
        ),
        click.option("--greedy", is_flag=True, help=sentence(_FIGURES)),
    )
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


@click.command(short_help="Compare runs, with intervals over seeds.")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--csv",
    "numbers",
    type=click.Path(dir_okay=False),
    help="Also write every evaluation of every run into this file.",
)
@_grouping_options
def compare(
    runs: tuple[str, ...], numbers: str | None, by: str | None, threshold: float, greedy: bool
) -> None:
    """Compare runs, or folders of runs: groups of runs that differ only in their seed, with intervals over runs.

    Runs of different games are compared separately. Folders that cannot be read are named, and the others are compared.
    """
    from algorithms.analysis.comparison import compare_runs
    from algorithms.analysis.tables import tables

    found, problems = read_runs(runs)
    comparison = compare_runs(found, by=by, threshold=threshold, greedy=greedy)
    if numbers is not None:
        from algorithms.analysis.evaluations_csv import write_csv

        write_csv([summary.group for summary in comparison.summaries], numbers)
    for table in tables(comparison):
        _print_table(table)
    _print_notes([*problems, *comparison.notes])
    console.print("Intervals are 95%, over runs (of a single run: over its episodes).", style="dim")


def _print_table(table: Table) -> None:
    """One block of lines for each row: a dozen intervals do not fit side by side."""
    lines = TerminalTable(title=shown(table.title), title_justify="left", box=None, pad_edge=False)
    lines.add_column("")
    for row in table.rows:
        lines.add_column(shown(row[0]), overflow="fold")
    for n, name in enumerate(table.head[1:], start=1):
        lines.add_row(shown(name), *(shown(row[n]) for row in table.rows))
    console.print(lines)
    console.print()


def _print_notes(notes: Sequence[str]) -> None:
    for note in notes:
        console.print(f"note: {shown(note)}", style="yellow", highlight=False, soft_wrap=True)


@click.command(short_help="Write one HTML page about runs.")
@click.argument("folders", nargs=-1, required=True, metavar="FOLDER...")
@click.option(
    "--output",
    type=click.Path(dir_okay=False),
    default=None,
    help="File of the page; report.html in the (first) folder if unset.",
)
@click.option(
    "--markdown",
    type=click.Path(dir_okay=False),
    help="Also write the tables to this file, in Markdown.",
)
@click.option(
    "--png",
    type=click.Path(dir_okay=False),
    help="Also draw the first scenario's curves into this file.",
)
@click.option(
    "--episodes",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    help="Number of transcripts of each run in the viewer.",
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
    """Write one HTML page about a run or a folder of runs.

    The page is self-contained: answer, curves, tables with intervals, and a viewer of episodes.
    """
    found, problems = read_runs(folders)
    from algorithms.analysis.report import report_content, write_report

    content = report_content(
        found, problems, by=by, threshold=threshold, greedy=greedy, episodes=episodes
    )
    page = Path(output) if output else Path(folders[0]) / "report.html"
    write_report(content, page, markdown_file=markdown, png_file=png)
    _print_notes(content.notes)
    for answer in content.answers:
        change = f"{answer.start} before, {answer.final} after"
        said = f"{answer.scenario}, {answer.name}: {answer.what} {change if answer.is_trained else answer.final}"
        console.print(shown(said), highlight=False, soft_wrap=True)
    console.print(f"report: {shown(str(page))}", highlight=False, soft_wrap=True)


@click.command(short_help="Run an experiment: many runs declared in one file.")
@click.argument("name", metavar="NAME")
@click.option(
    "--scale",
    default="laptop",
    show_default=True,
    help="Size of an experiment that ships with the library: smoke, laptop, small or paper.",
)
@click.option(
    "--output",
    default=None,
    type=click.Path(),
    help="Folder of the experiment; runs/<name> if unset.",
)
@click.option("--only", multiple=True, metavar="ARM", help="Run only this arm. May be repeated.")
@click.option(
    "--parallel",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Number of runs side by side.",
)
@click.option(
    "--dry-run", is_flag=True, help="Only print what would be run and how long it may take."
)
def experiment(
    name: str, scale: str, output: str | None, only: tuple[str, ...], parallel: int, dry_run: bool
) -> None:
    """Run an experiment that ships with the library (methods, paper, sampling, social), or a TOML file of your own.

    Each run has its own folder. Complete runs are not repeated, so the command can be stopped and started again.
    At the end a report is written. The exit code is 1 if a run failed.
    """
    declared = read_experiment(_experiment_file(name, scale))
    folder = Path(output or Path("runs") / declared.scale)
    todo = jobs(declared, only)
    _print_plan(declared, todo, folder, parallel)
    left = [job for job in todo if not is_done(folder / job.place)]
    _check_checkpoints(declared, left)
    if dry_run:
        return
    ended: list[Done] = []

    def tell(done: Done) -> None:
        ended.append(done)
        said = f"failed: {done.error}" if done.error else "done"
        console.print(
            shown(f"{len(ended)} of {len(left)}: {done.job.place} {said}"), soft_wrap=True
        )

    run_jobs(declared, todo, folder, parallel=parallel, report=tell)
    failed = any(done.error for done in ended)
    try:
        _report_experiment(declared, todo, folder)
    except RunFolderError:
        if not failed:
            raise
    sys.exit(1 if failed else 0)


def _experiment_file(name: str, scale: str) -> Path:
    """The file of an experiment by its name and scale, or by its path."""
    if name.endswith(".toml"):
        return Path(name)
    known = shipped()
    if f"{name}-{scale}" not in known:
        raise click.UsageError(
            f"no experiment {name!r} of scale {scale!r} ships; there are {', '.join(known)} (or name a .toml file)"
        )
    return known[f"{name}-{scale}"]


def _check_checkpoints(declared: Experiment, todo: Sequence[Job]) -> None:
    """Refuse an experiment before its first run if a checkpoint is missing that runs start from."""
    first = {
        job.arm.policy.model: job for job in reversed(todo) if job.arm.policy.model and job.trains
    }
    for job in first.values():
        declared.run_spec(job).check()


def _print_plan(declared: Experiment, todo: Sequence[Job], folder: Path, parallel: int) -> None:
    table = TerminalTable("scenario", "arm", "runs", "done", "minutes left", "what it is", box=None)
    total, all_measured = 0.0, True
    for scenario in declared.scenarios:
        for arm in declared.arms:
            mine = [job for job in todo if job.scenario == scenario and job.arm == arm]
            left = [job for job in mine if not is_done(folder / job.place)]
            seconds = [estimated_seconds(declared, job, folder) for job in left]
            minutes = sum(s for s, _ in seconds) / 60
            total += minutes
            all_measured &= all(measured for _, measured in seconds)
            if mine:
                done = len(mine) - len(left)
                row = (str(len(mine)), str(done), f"{minutes:.0f}", arm.note)
                table.add_row(shown(scenario.name), shown(arm.name), *map(shown, row))
    console.print(table)
    console.print(
        f"{total:.0f} minutes of work are left, {total / parallel:.0f} with {parallel} side by side if each has a "
        f"core of its own ({'measured on runs here' if all_measured else 'in part by the figures in the file'}); "
        f"primary: {', '.join(declared.measures.primary)}; ours, not the source's: {len(declared.ours)} values",
        soft_wrap=True,
    )


def _report_experiment(declared: Experiment, todo: Sequence[Job], folder: Path) -> None:
    """The page and the tables of what is done so far; the first arm comes first, and the others are held against it."""
    from algorithms.analysis.report import report_content, write_report

    places = dict.fromkeys(folder / job.place.parent for job in todo)
    found, problems = read_runs([place for place in places if place.is_dir()] or [folder])
    content = report_content(
        found, problems, by="arm", threshold=declared.measures.threshold, episodes=6
    )
    page = write_report(content, folder / "report.html", markdown_file=folder / "report.md")
    console.print(f"report: {shown(str(page))}", highlight=False, soft_wrap=True)
