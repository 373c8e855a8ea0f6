"""What did each method learn from as many generated tokens? The table of an experiment's finished runs.

    tsmg experiment methods --parallel 2 --output runs/methods
    python tests/benchmarks/learning_table.py runs/methods [--against ms-grpo] [--markdown FILE]

A run's score is its success rate on held-out starts (where a game has no success, the mean return), interpolated
between evaluations at the tokens that the most economical run of its scenario generated in all. A cell is the
interquartile mean over runs, with a 95% interval from resampled runs; a difference is the mean over runs with equal
seeds, which start from the same clone, with a 95% interval by Student's t. Bold are differences whose interval does not
hold 0; of so many comparisons, one in twenty does so by chance.
"""

import argparse
import itertools
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))  # where tests is a package

from algorithms.analysis.comparison import generated_tokens, trained_tokens
from algorithms.analysis.statistics import interquartile_mean, mean, mean_by_t
from algorithms.runs.reader import Run, find_runs, read_runs
from tests.tables import Row, as_markdown, put, show


@attrs.frozen(kw_only=True)
class Learning:
    """A run's evaluations over the tokens that it generated.

    Attributes:
      seed: of the run.
      tokens: generated until each evaluation. Shape (N,).
      scores: of each evaluation, on the episodes that all of them have. Shape (N,).
      trained: tokens in the loss of the whole run.
    """

    seed: int
    tokens: Sequence[float]
    scores: Sequence[float]
    trained: float

    @classmethod
    def of(cls, run: Run) -> "Learning":
        """The evaluations of a finished run."""
        updates, scores = run.curve_alike("eval/success_rate")
        if not updates:
            updates, scores = run.curve_alike("eval/reward")
        per_update = [generated_tokens(run, [record]) for record in run.updates]
        total = [0.0, *itertools.accumulate(per_update)]
        return cls(
            seed=run.seed,
            tokens=[total[int(update)] for update in updates],
            scores=scores,
            trained=trained_tokens(run.updates),
        )

    def score_at(self, tokens: float) -> float:
        """The score when so many tokens were generated."""
        return float(np.interp(tokens, self.tokens, self.scores))


Arms = Mapping[str, Sequence[Learning]]


def scenarios(folder: Path) -> dict[str, dict[str, list[Learning]]]:
    """The finished runs of an experiment by scenario and arm."""
    found: dict[str, dict[str, list[Learning]]] = {}
    runs, _ = read_runs(find_runs(folder))
    for run in runs:
        if run.is_finished:
            scenario, arm = run.label("scenario") or "", run.label("arm") or ""
            found.setdefault(scenario, {}).setdefault(arm, []).append(Learning.of(run))
    return found


def table(arms: Arms, *, against: str) -> list[Row]:
    """A row for each arm, the best interquartile mean first."""
    budget = min(run.tokens[-1] for runs in arms.values() for run in runs)
    scores = {name: {run.seed: run.score_at(budget) for run in runs} for name, runs in arms.items()}
    middles = {name: interquartile_mean(list(found.values())) for name, found in scores.items()}
    rows = [
        (
            f"`{name}`",
            str(len(arms[name])),
            str(middles[name]),
            _difference(scores[name], scores.get(against, {})) if name != against else "",
            _thousands([run.tokens[-1] for run in arms[name]]),
            _thousands([run.trained for run in arms[name]]),
        )
        for name in sorted(arms, key=lambda name: -middles[name].value)
    ]
    head = (
        "method",
        "runs",
        f"score at {budget / 1000:.0f} k generated tokens",
        f"minus that of `{against}`",
        "generated in all (k)",
        "trained on (k)",
    )
    return [head, *rows]


def _difference(ours: Mapping[int, float], theirs: Mapping[int, float]) -> str:
    both = sorted(ours.keys() & theirs.keys())
    if len(both) < 2:
        return ""
    found = mean_by_t([ours[s] - theirs[s] for s in both])
    assert found.low is not None and found.high is not None
    text = f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
    return f"**{text}**" if found.low > 0 or found.high < 0 else text


def _thousands(tokens: Sequence[float]) -> str:
    return f"{mean(tokens).value / 1000:.0f}" if all(map(math.isfinite, tokens)) else ""


def main() -> None:
    """Print the tables, or put them into a page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--against", default="ms-grpo")
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    for name, arms in scenarios(arguments.folder).items():
        rows = table(arms, against=arguments.against)
        print(f"{name}:")
        show(rows)
        if arguments.markdown:
            put(arguments.markdown, f"learning {name}", as_markdown(rows))


if __name__ == "__main__":
    main()
