"""What is kept of an experiment's runs: one line of JSON each, in a file of this repository.

Run folders are large and stay on the machine that made them. From such a file anybody can make the tables of the
documentation again, or other ones, and an experiment that takes hours can be run in parts.
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from algorithms.analysis.comparison import generated_tokens, trained_tokens
from algorithms.play.evaluation import mean
from algorithms.runs.reader import Run, find_runs, read_runs

KEPT = Path(__file__).parents[2] / "docs" / "reference" / "results"
Figures = Mapping[str, float]


@attrs.frozen(kw_only=True)
class Result:
    """A finished run.

    Attributes:
      scenario: label of the run.
      arm: likewise.
      seed: of the run.
      updates: after which it was evaluated. Shape (N,).
      tokens: generated in training until each evaluation. Shape (N,).
      scores: of each evaluation, on the episodes that all of them have: the share of successes, where an episode whose
        success is undefined, such as a forfeited one, is none; or the mean return where the game has no success. Shape
        (N,).
      trained: tokens in the loss of the whole run.
      before: means of the return, of the game's measures and of invalid texts in the first evaluation, by name.
      after: those of the last one.
    """

    scenario: str
    arm: str
    seed: int
    updates: Sequence[float]
    tokens: Sequence[float]
    scores: Sequence[float]
    trained: float
    before: Figures
    after: Figures

    @classmethod
    def of(cls, run: Run) -> "Result":
        """What is kept of a finished run."""
        updates = [record["update"] for record in run.per_episode]
        generated = {record["update"]: generated_tokens(run, [record]) for record in run.updates}
        before, after = (_measures(run, position) for position in (0, -1))
        return cls(
            scenario=run.label("scenario") or "",
            arm=run.label("arm") or "",
            seed=run.seed,
            updates=updates,
            tokens=[
                math.fsum(n for u, n in generated.items() if u <= update) for update in updates
            ],
            scores=[round(score, 6) for score in _scores(run.per_episode)],
            trained=trained_tokens(run.updates),
            before=before,
            after=after,
        )

    @property
    def name(self) -> tuple[str, str, int]:
        """Scenario, arm and seed."""
        return self.scenario, self.arm, self.seed


def _scores(evaluations: Sequence[Mapping[str, Any]]) -> list[float]:
    has_success = any(won is not None for record in evaluations for won in record["successes"])
    measured = "successes" if has_success else "returns"
    by_start = [dict(zip(_numbered(e["starts"]), e[measured], strict=True)) for e in evaluations]
    common = sorted(set.intersection(*map(set, by_start)))
    return [mean(float(found[start] or 0) for start in common) for found in by_start]


def _numbered(starts: Sequence[str]) -> list[tuple[str, int]]:
    """Each start with how often it occurred before."""
    return [(start, starts[:n].count(start)) for n, start in enumerate(starts)]


def kept(file: Path) -> list[Result]:
    """The results of a file, none if there is no such file."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [Result(**json.loads(line)) for line in lines]


def keep(file: Path, folder: Path) -> None:
    """Put the finished runs of a folder into a file, in place of those of equal names."""
    runs, _ = read_runs(find_runs(folder))
    results = [Result.of(run) for run in runs if run.is_finished]
    new = {result.name: result for result in results}
    if len(new) < len(results):
        raise ValueError(f"{str(folder)!r} has several runs of one scenario, arm and seed")
    found = {result.name: result for result in kept(file)} | new
    lines = [json.dumps(attrs.asdict(found[name])) for name in sorted(found)]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def reader_of_results(description: str, name: str) -> argparse.ArgumentParser:
    """The command line of a script that makes tables of results.

    Args:
      description: what the tables say.
      name: of the file that results are kept in unless another is given.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("folder", type=Path, nargs="?", help="of runs to keep")
    parser.add_argument("--results", type=Path, default=KEPT / f"{name}.jsonl", metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="PAGE")
    return parser


def results_of(arguments: argparse.Namespace) -> list[Result]:
    """All results of the file that a command names, with those of the folder that it names."""
    if arguments.folder:
        keep(arguments.results, arguments.folder)
    return kept(arguments.results)


def _measures(run: Run, position: int) -> Figures:
    record = run.per_episode[position]
    invalid = {r["update"]: r["eval/invalid_rate"] for r in run.evaluations}
    measured = {"return": record["returns"], **record.get("metrics", {})}
    means = {n: mean([v for v in values if v is not None]) for n, values in measured.items()}
    return {**means, "invalid texts": invalid[record["update"]]}
