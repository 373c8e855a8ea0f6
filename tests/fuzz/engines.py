"""The two engines: Hypothesis, and libFuzzer by way of atheris. Each is started in a process of its own.

    python -m tests.fuzz.engines hypothesis SURFACE --cases N --seed S --seconds T --out FILE --corpus FOLDER

The figures go to FILE as JSON. The corpus holds the inputs by which libFuzzer came to new branches; the process of
Hypothesis runs them once more, and a sample of its own, with the branches counted.
"""

import argparse
import ast
import importlib.util
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz import SURFACES
from tests.fuzz.guard import ROOT, Case, Finding, watched
from tests.fuzz.source import Drawn, Source

COUNTED = 1000  # cases of Hypothesis that are run again with branches counted
_MOST_FINDINGS = 20
_SEEDS, _LONGEST = 64, 512  # inputs that libFuzzer begins with, and how many bytes one has at most


class Tally:
    """What a run of an engine came to."""

    def __init__(self) -> None:
        self.cases = 0
        self.seconds = 0.0
        self.found: dict[str, Finding] = {}

    def take(self, finding: Finding | None) -> None:
        """Count a case; of findings at one place the shortest is kept."""
        self.cases += 1
        if finding is None:
            return
        known = self.found.get(finding.key)
        if known is None or len(finding.data) < len(known.data):
            self.found[finding.key] = finding

    def told(self) -> dict[str, Any]:
        """As plain data."""
        listed = [
            {"kind": f.kind, "what": f.what, "place": f.place, "data": f.data.hex()}
            for f in list(self.found.values())[:_MOST_FINDINGS]
        ]
        return {"cases": self.cases, "seconds": self.seconds, "findings": listed}


def surface_name(name: str) -> str:
    """The module of a surface of this package, by its name; any other name is a module's."""
    return f"tests.fuzz.{name}" if name in SURFACES else name


def surface_module(name: str) -> Any:
    """A surface, imported."""
    return importlib.import_module(surface_name(name))


def surface_fact(name: str, fact: str) -> Any:
    """``MODULES`` or ``CASES`` of a surface, without importing what it imports."""
    found = importlib.util.find_spec(surface_name(name))
    if found is None or found.origin is None:
        raise LookupError(f"there is no surface {name!r}; there are {', '.join(SURFACES)}")
    for node in ast.parse(Path(found.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == fact:
            return ast.literal_eval(node.value)
    raise LookupError(f"the surface {name!r} has no {fact}")


def by_hypothesis(
    case: Case, *, cases: int, first: int, seconds: float = 1e9
) -> tuple[Tally, list[bytes]]:
    """Run cases that Hypothesis draws; also the bytes of the first of them."""
    tally, kept = Tally(), []
    begin = time.perf_counter()

    @seed(first)
    @settings(
        max_examples=cases, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.data())
    def run(data: Any) -> None:
        if time.perf_counter() - begin > seconds:
            return
        source = Drawn(data.draw)
        tally.take(watched(case, source, lambda: bytes(source.data)))
        if len(kept) < COUNTED:
            kept.append(bytes(source.data))

    run()
    tally.seconds = time.perf_counter() - begin
    return tally, kept


def by_libfuzzer(
    name: str,
    *,
    cases: int,
    first: int,
    seconds: float,
    corpus: Path,
    ended: Callable[[Tally], None],
) -> None:
    """Run cases that libFuzzer makes, guided by the branches of the surface's modules.

    The modules are instrumented as they are imported, so nothing may have imported them before. libFuzzer would end the
    process by itself, without a word to Python: so the last case does, after ``ended`` was told.
    """
    import atheris

    with atheris.instrument_imports(include=list(surface_fact(name, "MODULES"))):
        case = surface_module(name).prepare()
    rng = random.Random(first)
    for n in range(_SEEDS):
        (corpus / f"seed-{n}").write_bytes(rng.randbytes(rng.randint(16, _LONGEST)))
    tally, begin = Tally(), time.perf_counter()

    def one(data: bytes) -> None:
        tally.take(watched(case, Source(data), lambda: data))
        tally.seconds = time.perf_counter() - begin
        if tally.cases == cases or tally.seconds > seconds:
            ended(tally)
            os._exit(0)

    options = [
        f"-seed={first % 2**31 or 1}", f"-max_len={_LONGEST}", "-len_control=0", "-timeout=60",
        "-rss_limit_mb=6000", "-verbosity=0", f"-artifact_prefix={corpus.parent}/", str(corpus),
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options], one)
    atheris.Fuzz()


def counted(name: str, tally_of: Any, corpus: Path, first: int) -> dict[str, Any]:
    """The figures of Hypothesis, and the share of branches that the corpus and a sample of its cases take."""
    import coverage

    files = [_file(module) for module in surface_fact(name, "MODULES")]
    counter = coverage.Coverage(branch=True, data_file=None, include=files, config_file=False)
    counter.start()
    case = surface_module(name).prepare()
    counter.stop()
    tally, kept = tally_of(case)
    random.Random(first).shuffle(kept)
    again = [*kept, *_inputs(corpus)]
    counter.start()
    for data in again:
        tally.take(watched(case, Source(data), lambda data=data: data))  # type: ignore[misc]
    counter.stop()
    tally.cases -= len(again)  # they were counted when they were drawn
    out = corpus.with_suffix(".coverage.json")
    counter.json_report(outfile=str(out))
    totals = json.loads(out.read_text())["totals"]
    branches = totals["covered_branches"], totals["num_branches"]
    return {**tally.told(), "branches": branches, "again": len(again)}


def _file(module: str) -> str:
    path = ROOT.joinpath(*module.split("."))
    return str(path / "*.py" if path.is_dir() else path.with_suffix(".py"))


def _inputs(corpus: Path) -> Iterator[bytes]:
    return (file.read_bytes() for file in sorted(corpus.iterdir())) if corpus.is_dir() else iter(())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("engine", choices=("hypothesis", "libfuzzer"))
    parser.add_argument("surface")
    parser.add_argument("--cases", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, required=True)
    asked = parser.parse_args()

    def write(told: dict[str, Any]) -> None:
        asked.out.write_text(json.dumps(told))

    limits: dict[str, Any] = {"cases": asked.cases, "first": asked.seed, "seconds": asked.seconds}
    if asked.engine == "libfuzzer":
        by_libfuzzer(
            asked.surface,
            corpus=asked.corpus,
            ended=lambda tally: write(tally.told()),
            **limits,
        )
    else:
        write(
            counted(
                asked.surface, lambda case: by_hypothesis(case, **limits), asked.corpus, asked.seed
            )
        )


if __name__ == "__main__":
    main()
