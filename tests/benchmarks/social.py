"""What self-play makes of social games: the table of docs/how_to/self_play.md, from the runs of one experiment.

    tsmg experiment social --output runs/social        # it can be stopped and given again
    python tests/benchmarks/social.py runs/social

For each game and measure: the mean over runs before and after training, and the mean of their differences with a 95%
interval over runs (Student's t, paired by run). A run's figure is the mean over its evaluation episodes that have it.
"""

import json
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

T_975 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""Number of runs to the 0.975 quantile of Student's t with one degree of freedom less."""


def main(root: str) -> None:
    print("| game | runs | measure | before | after | difference |")
    print("|---|---|---|---|---|---|")
    for game in sorted(folder for folder in Path(root).iterdir() if folder.is_dir()):
        runs = [figures(run) for run in sorted(game.glob("*/[0-9]*")) if is_finished(run)]
        for name in dict.fromkeys(name for pair in runs for found in pair for name in found):
            both = [pair for pair in runs if name in pair[0] and name in pair[1]]
            if not both:
                continue
            before, after = ([pair[n][name] for pair in both] for n in (0, 1))
            gains = [b - a for a, b in zip(before, after, strict=True)]
            means = f"{statistics.mean(before):.3f} | {statistics.mean(after):.3f}"
            print(f"| {game.name} | {len(both)} | {name} | {means} | {interval(gains)} |")


def interval(values: Sequence[float]) -> str:
    """The mean, and its interval where there is one."""
    mean, count = statistics.mean(values), len(values)
    if count not in T_975:
        return f"{mean:+.3f}"
    half = T_975[count] * statistics.stdev(values) / math.sqrt(count)
    return f"{mean:+.3f} [{mean - half:.3f}, {mean + half:.3f}]"


def is_finished(run: Path) -> bool:
    """Whether a run came to its last update."""
    evaluations = run / "evaluations.jsonl"
    if not evaluations.exists() or not lines(evaluations):
        return False
    updates = json.loads((run / "config.json").read_text())["spec"]["algorithm"]["updates"]
    return bool(lines(evaluations)[-1]["update"] == updates)


def figures(run: Path) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """The measures before training and after it."""
    evaluations = lines(run / "evaluations.jsonl")
    metrics = {
        record["update"]: record
        for record in lines(run / "metrics.jsonl")
        if "eval/invalid_rate" in record
    }
    found = []
    for record in (evaluations[0], evaluations[-1]):
        measured = {"return": mean(record["returns"])}
        measured |= {name: mean(values) for name, values in record["metrics"].items()}
        measured["invalid texts"] = metrics[record["update"]]["eval/invalid_rate"]
        found.append(measured)
    return found[0], found[1]


def lines(file: Path) -> list[dict]:
    """The records of a file."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def mean(values: Sequence[float | None]) -> float:
    """The mean of those that are there."""
    return statistics.mean(value for value in values if value is not None)


if __name__ == "__main__":
    main(sys.argv[1])
