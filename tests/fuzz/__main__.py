"""Fuzz every surface, with both engines; the exit status is 1 if a promise was not kept.

    python -m tests.fuzz [--surface NAME] [--cases-each N] [--seed S] [--minutes M] [--markdown FILE]
    python -m tests.fuzz --surface NAME --data HEX        one case again, with its traceback

A surface is named as in ``tests.fuzz.SURFACES``, or by its module. The figures go between the marks of FILE.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.fuzz import SURFACES
from tests.fuzz.engines import surface_fact, surface_module
from tests.fuzz.guard import ROOT
from tests.fuzz.source import Source
from tests.tables import as_markdown, put, rows_between, show

MEMORY = Path("/dev/shm")  # every case writes files: not on a disk where that can be
DRAWN = (
    1000  # cases of Hypothesis on each surface; the others are libFuzzer's, which makes them faster
)
_HEAD = ("surface", "engine", "cases", "seconds", "cases/s", "branches taken", "findings")
Figures = dict[str, Any]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--surface", action="append", metavar="NAME", help="only this one; may be repeated"
    )
    parser.add_argument(
        "--cases-each", type=int, metavar="N", help="cases on each surface; its own number if unset"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=30.0, help="most that all may take")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    parser.add_argument("--data", metavar="HEX", help="run one case of the surface")
    asked = parser.parse_args(arguments)
    names = asked.surface or list(SURFACES)
    if asked.data is not None:
        surface_module(names[0]).prepare()(Source(bytes.fromhex(asked.data)))
        return 0
    for name in names:
        surface_fact(name, "CASES")  # a surface that is unknown ends the command at once
    rows: list[tuple[str, ...]] = [_HEAD]
    findings: list[str] = []
    for name in names:
        made, found = surface_rows(name, asked, seconds=60 * asked.minutes / len(names) / 2)
        rows += made
        findings += found
        print("  ".join(f"{cell:<16}" for cell in made[-1]), flush=True)
    show(rows)
    print("\n".join(findings) or "no findings")
    if asked.markdown is not None:
        write(asked.markdown, rows)
    return 1 if findings else 0


def surface_rows(
    name: str, asked: argparse.Namespace, *, seconds: float
) -> tuple[list[tuple[str, ...]], list[str]]:
    """Both engines on a surface: rows of the table, and what was found."""
    cases = asked.cases_each or surface_fact(name, "CASES")
    drawn = min(DRAWN, cases) if has_libfuzzer() else cases
    with tempfile.TemporaryDirectory(
        prefix="fuzz-", dir=MEMORY if MEMORY.is_dir() else None
    ) as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        engines: dict[str, Figures] = {}
        for engine, count in (("libfuzzer", cases - drawn), ("hypothesis", drawn)):
            if count > 0:
                engines[engine] = figures(engine, name, count, asked.seed, seconds, corpus)
    rows = [
        row(name, engine, engines[engine])
        for engine in ("libfuzzer", "hypothesis")
        if engine in engines
    ]
    found = [told(name, one) for engine in engines.values() for one in engine["findings"]]
    return rows, list(dict.fromkeys(found))


def has_libfuzzer() -> bool:
    """Whether atheris is there; it is made for Linux and some versions of Python."""
    try:
        import atheris  # noqa: F401
    except ImportError:
        return False
    return True


def figures(engine: str, name: str, cases: int, seed: int, seconds: float, corpus: Path) -> Figures:
    """What an engine says of a surface, in a process of its own; one that died is itself a finding."""
    out = corpus.with_name(f"{engine}.json")
    limits = [
        "--cases",
        cases,
        "--seed",
        seed,
        "--seconds",
        seconds,
        "--out",
        out,
        "--corpus",
        corpus,
    ]
    command = [sys.executable, "-m", "tests.fuzz.engines", engine, name, *map(str, limits)]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TMPDIR": str(corpus.parent),
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, errors="replace",
        timeout=2 * seconds + 300,
    )  # fmt: skip
    if out.is_file():
        return dict(json.loads(out.read_text()))
    last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
    dead = {
        "kind": "crash",
        "what": f"the process ended with {done.returncode}: {last}",
        "place": engine,
        "data": "",
    }
    return {"cases": 0, "seconds": 0.0, "findings": [dead]}


def row(name: str, engine: str, found: Figures) -> tuple[str, ...]:
    taken, all_of_them = found.get("branches", (0, 0))
    return (
        name,
        {"libfuzzer": "libFuzzer", "hypothesis": "Hypothesis"}[engine],
        f"{found['cases']:,}",
        f"{found['seconds']:.1f}",
        f"{found['cases'] / found['seconds']:,.0f}" if found["seconds"] else "",
        f"{taken} of {all_of_them}" if all_of_them else "",
        str(len(found["findings"])),
    )


def told(name: str, finding: Figures) -> str:
    """A finding with the command that shows it again."""
    what = finding["what"].encode("unicode_escape").decode()
    again = f"python -m tests.fuzz --surface {name} --data '{finding['data']}'"
    return f"\n{name}: {finding['kind']}: {what}\n  at {finding['place']}\n  {again}"


def write(file: Path, rows: list[tuple[str, ...]]) -> None:
    """Put the table between its marks; rows of surfaces that were not run stay as they are."""
    head, *new = rows
    made = {row[0] for row in new}
    kept = [row for row in rows_between(file, "fuzz")[1:] if row[0] not in made]
    names = [*SURFACES, *(row[0] for row in new)]
    put(
        file,
        "fuzz",
        as_markdown([head, *sorted([*kept, *new], key=lambda row: names.index(row[0]))]),
    )


if __name__ == "__main__":
    sys.exit(main())
