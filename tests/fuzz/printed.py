"""What is printed at a terminal: no text of a model, game or stranger's file moves its cursor or sets its title."""

import io
import json
import re
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from rich.console import Console

from algorithms.analysis.comparison import compare_runs
from algorithms.analysis.printing import printable
from algorithms.analysis.tables import Table, tables
from algorithms.cli import main as cli
from algorithms.cli import runs as run_commands
from algorithms.cli import terminal
from algorithms.runs.reader import read_run
from tests.fuzz.guard import Case, scratch, word, wrong
from tests.fuzz.run_folders import transcript
from tests.fuzz.source import CANARY, Source, altered
from tests.run_folders import write_run

MODULES = ("algorithms.analysis.printing", "algorithms.cli.runs")
CASES = 20_000
_HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")
_COMMANDS = 20  # one case in so many is a command
_NAMED = ("compare", "report", "experiment", "evaluate", "train", "check", "merge", "no-such")


def check_shown(what: str, text: str) -> None:
    """Nothing but characters that stand on a line, line breaks and tabs."""
    found = _HIDDEN.search(text)
    if found:
        raise wrong("wrong", f"{what} prints a control character: {found[0]!r}")


def captured(module: Any) -> io.StringIO:
    """What a module prints from now on."""
    shown = io.StringIO()
    module.console = Console(file=shown, width=80)
    return shown


def check_tables(source: Source) -> None:
    """Tables and notes of hostile texts."""
    shown = captured(run_commands)
    cells = tuple(source.text() for _ in range(3))
    run_commands._print_table(Table(title=source.text(), head=("", "a", "b"), rows=(cells,)))
    run_commands._print_notes([source.text()])
    check_shown("a table", shown.getvalue())


def check_command(source: Source, folder: Path) -> None:
    """A command about hostile names, or about a run whose configuration is hostile."""
    name = source.choice(_NAMED)
    if name == "compare" and source.one_in(2):
        config = json.loads((folder / "whole.json").read_text())
        hostile = altered(source, {**config, "title": source.text(), "game": source.text()})
        (folder / "run" / "config.json").write_text(json.dumps(hostile))
        arguments = [
            name,
            str(folder / "run"),
            "--by",
            source.choice(("seed", word(source.text()))),
        ]
    else:
        arguments = [name, word(source.text()).replace(CANARY, "")]
    shown = [captured(module) for module in (terminal, run_commands)]
    result = CliRunner().invoke(cli.main, arguments, color=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    if result.exit_code not in (0, 1, 2):
        raise wrong("wrong", f"the exit code is {result.exit_code}")
    check_shown("a command", result.output + "".join(text.getvalue() for text in shown))


def prepare() -> Case:
    folder = scratch("printed")
    write_run(folder / "run", successes=(0.2, 0.9), every=1, episodes=(transcript(),))
    (folder / "run" / "config.json").rename(folder / "whole.json")
    (folder / "run" / "config.json").write_text((folder / "whole.json").read_text())
    tables(compare_runs([read_run(folder / "run")]))

    def case(source: Source) -> None:
        check_shown("a person's turn", printable(source.text()))
        check_tables(source)
        if source.rarely(_COMMANDS):
            check_command(source, folder)

    return case
