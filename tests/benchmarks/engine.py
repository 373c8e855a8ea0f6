"""How fast does the engine play and learn, against a plain loop, against dense passes, and against TRL?

    python tests/benchmarks/engine.py plain | rates | ways | scaling | trl | all [--repetitions 5] [--markdown FILE]
        [--trl-venv FOLDER]

plain: whole updates and learning passes against ``plain_loop.py``, and whether the gradients agree.
rates: tokens a second against dense passes of the same network over as many tokens, and the share of padding.
ways: the replies of one step, by the engine and by what the transformers library offers.
scaling: cost of an episode, and memory, from 64 to 4096 episodes in an update; each size is a process of its own.
trl: against two ways to write the same update with TRL (``trl_side.py``), in an environment of its own. It is installed
into a temporary folder, or into the one named, where a later call finds it. The model that calls tools is made once.

Everything that is timed runs in other processes, one thread each; times are CPU times. The two sides of plain and rates
take turns. ``--markdown`` puts the tables where FILE marks their places, or writes a new file of tables.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))  # where tests is a package

from tests.tables import as_markdown, put, show

HERE = Path(__file__).parent
CONSTRAINTS = HERE.parents[1] / "constraints.txt"
TRL = "trl==1.16.*"
SIZES = (64, 256, 1024, 4096)  # episodes of an update, 16 in a group
TOO_MANY = 0.05  # of tool calls failed, or of replies cut: TRL would then not do the same work

Figures = dict[str, Any]
Rows = list[tuple[str, ...]]


class Table(NamedTuple):
    """What one command found."""

    header: tuple[str, ...]
    rows: Rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("commands", nargs="+", choices=(*COMMANDS, "all"))
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--markdown", type=Path, default=None, metavar="FILE")
    parser.add_argument("--trl-venv", type=Path, default=None, metavar="FOLDER")
    arguments = parser.parse_args()
    ours("prepare", arguments)
    for name in COMMANDS if "all" in arguments.commands else arguments.commands:
        table = COMMANDS[name](arguments)
        rows = [table.header, *table.rows]
        show(rows)
        print(flush=True)
        if arguments.markdown is not None:
            put(arguments.markdown, name, as_markdown(rows))


# ---- processes and tables ------------------------------------------------------------------------


def ours(command: str, arguments: argparse.Namespace, *options: object) -> list[Figures]:
    """What ``engine_side.py`` says."""
    asked = ["--repetitions", arguments.repetitions, *options]
    return said(Path(sys.executable), "engine_side.py", command, *asked)


def said(python: Path, script: str, *options: object) -> list[Figures]:
    """The lines of JSON that a script prints, in a process of one thread."""
    command = [str(python), str(HERE / script), *map(str, options)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    lines = done.stdout.splitlines()
    return [json.loads(line) for line in lines if line.startswith('{"')]


def number(value: float | None) -> str:
    """Three digits; nothing for nothing."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def compared(figure: Figures) -> tuple[str, ...]:
    """A row: what, ours, theirs, ratio, unit."""
    a, b = figure["ours"], figure["theirs"]
    ratio = "" if b is None else f"{b / a:.2f}" if figure["unit"] == "seconds" else f"{a / b:.0%}"
    return figure["what"], number(a), number(b), ratio, figure["unit"]


# ---- the commands --------------------------------------------------------------------------------


def plain(arguments: argparse.Namespace) -> Table:
    rows = [compared(figure) for figure in ours("plain", arguments)]
    return Table(("against the plain loop", "ours", "plain", "plain / ours", "unit"), rows)


def rates(arguments: argparse.Namespace) -> Table:
    rows = [compared(figure) for figure in ours("rates", arguments)]
    return Table(("against dense passes", "ours", "dense", "ours / dense", "unit"), rows)


def ways(arguments: argparse.Namespace) -> Table:
    rows = [compared(figure) for figure in ours("ways", arguments)]
    return Table(("other ways to sample", "ours", "other", "other / ours", "unit"), rows)


def scaling(arguments: argparse.Namespace) -> Table:
    header = (
        "episodes in an update",
        "milliseconds an episode",
        f"relative to {SIZES[0]}",
        "peak memory, MB",
        "records of an update, MB",
    )
    rows: Rows = []
    first = 0.0
    for size in SIZES:
        ((found),) = ours("size", arguments, "--groups", size // 16)
        first = first or found["milliseconds"]
        relative = f"{found['milliseconds'] / first:.2f}"
        cells = [number(found[name]) for name in ("milliseconds", "peak", "records")]
        rows.append((str(size), cells[0], relative, cells[1], cells[2]))
    return Table(header, rows)


def trl(arguments: argparse.Namespace) -> Table:
    header = (
        "one update",
        "seconds",
        "times ours",
        "moves",
        "tokens drawn",
        "calls failed",
        "replies cut",
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        python = trl_python(arguments.trl_venv or folder / "venv")
        (before,) = ours("export", arguments, "--folder", folder)
        environment = ("trl_side.py", "environment", folder, "--clone", trl_clone(python, folder))
        theirs = {
            "`environment_factory`": said(python, *environment, "--updates", 2),
            "`rollout_func`": said(python, "trl_side.py", "rollout", folder, "--updates", 5),
            "the same as it comes": said(python, *environment, "--updates", 1, "--as-it-comes"),
        }
        (after,) = ours("export", arguments, "--folder", folder)
    second = (before["seconds"] + after["seconds"]) / 2
    rows = [trl_row("ours", second, after | {"seconds": second})]
    rows += [trl_row(f"TRL, {name}", second, lines[-1]) for name, lines in theirs.items()]
    return Table(header, rows)


def trl_row(name: str, own: float, found: Figures) -> tuple[str, ...]:
    """A row; the ratio is left out where TRL did not do the same work."""
    shares = [found[part] for part in ("failed", "clipped") if part in found]
    same = all(share <= TOO_MANY for share in shares)
    ratio = number(found["seconds"] / own) if same else "not comparable"
    counts = number(found["moves"]), number(found["tokens"])
    told = [f"{share:.1%}" for share in shares] or ["", ""]
    return name, number(found["seconds"]), ratio, *counts, *told


def trl_python(folder: Path) -> Path:
    """The interpreter of an environment that has TRL."""
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"installing {TRL} into {folder}", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True)
        quiet = ["--quiet", "--quiet", "--disable-pip-version-check"]
        install = [str(python), "-m", "pip", "install", *quiet, "-c", str(CONSTRAINTS), TRL]
        subprocess.run(install, check=True)
    return python


def trl_clone(python: Path, folder: Path) -> Path:
    """The model that calls tools, from the cache of made models or made anew."""
    made_from = (HERE / "trl_side.py").read_bytes() + CONSTRAINTS.read_bytes()
    digest = hashlib.blake2b(made_from, digest_size=10).hexdigest()
    cache = Path(os.environ.get("TSMG_CACHE") or Path.home() / ".cache" / "tsmg")
    clone = cache / f"trl-clone-{digest}"
    if not clone.is_dir():
        print("making a model that calls tools (some minutes)", file=sys.stderr, flush=True)
        said(python, "trl_side.py", "clone", folder, "--clone", clone)
    return clone


COMMANDS: dict[str, Callable[[argparse.Namespace], Table]] = {
    "plain": plain,
    "rates": rates,
    "ways": ways,
    "scaling": scaling,
    "trl": trl,
}

if __name__ == "__main__":
    main()
