"""What did each method learn from as many generated tokens? The table of an experiment's finished runs.

    tsmg experiment methods --parallel 2 --output runs/methods
    python tests/benchmarks/learning_table.py [runs/methods] [--results FILE] [--against ms-grpo] [--markdown PAGE]

What is kept of finished runs (``results.py``) is added to docs/reference/results/methods.jsonl; the tables are made of
that. A run's score is its success rate on held-out starts (where a game has no success, the mean return), interpolated
between evaluations at the tokens that the most economical run of its scenario generated in all. A cell is the
interquartile mean over runs, with a 95% interval from resampled runs; a difference is the mean over runs with equal
seeds, which start from the same clone, with a 95% interval by Student's t. Bold are differences whose interval does not
hold 0; of so many comparisons, one in twenty does so by chance.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))  # where tests is a package

from algorithms.analysis.statistics import interquartile_mean, mean, mean_by_t
from tests.benchmarks.results import Result, reader_of_results, results_of
from tests.tables import Row, as_markdown, put, show

Arms = Mapping[str, Sequence[Result]]


def by_arm(results: Sequence[Result]) -> dict[str, dict[str, list[Result]]]:
    """Results by scenario and arm."""
    found: dict[str, dict[str, list[Result]]] = {}
    for result in results:
        found.setdefault(result.scenario, {}).setdefault(result.arm, []).append(result)
    return found


def table(arms: Arms, *, against: str) -> list[Row]:
    """A row for each arm, the best interquartile mean first."""
    budget = min(run.tokens[-1] for runs in arms.values() for run in runs)
    scores = {
        name: {run.seed: score_at(run, budget) for run in runs} for name, runs in arms.items()
    }
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


def score_at(run: Result, tokens: float) -> float:
    """The score when so many tokens were generated."""
    return float(np.interp(tokens, run.tokens, run.scores))


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
    """Keep the results of finished runs, print the tables, and put them into a page."""
    parser = reader_of_results(__doc__.partition("\n")[0], "methods")
    parser.add_argument("--against", default="ms-grpo")
    arguments = parser.parse_args()
    for name, arms in by_arm(results_of(arguments)).items():
        rows = table(arms, against=arguments.against)
        print(f"{name}:")
        show(rows)
        if arguments.markdown:
            put(arguments.markdown, f"learning {name}", as_markdown(rows))


if __name__ == "__main__":
    main()
