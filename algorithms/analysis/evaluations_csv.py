"""The evaluations of runs as comma-separated values, a row for each."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from algorithms.analysis.comparison import generated_tokens, trained_tokens
from algorithms.analysis.groups import Group
from algorithms.analysis.printing import printable
from algorithms.errors import RunFolderError

EVALUATED = ("success_rate", "reward", "invalid_rate", "episode_length")
COLUMNS = (
    *("scenario", "group", "seed", "finished", "update", "trained_tokens", "generated_tokens"),
    *(f"{decoding}/{name}" for decoding in ("eval", "eval_greedy") for name in EVALUATED),
)


def evaluation_rows(groups: Sequence[Group]) -> Iterator[dict[str, object]]:
    """The evaluations of all runs, unfinished ones too, with the tokens of all updates before each.

    Args:
      groups: as ``compare_runs`` makes them.

    Yields:
      A value for each of ``COLUMNS``; ``None`` if it was not recorded.
    """
    for group in groups:
        for run in group.runs:
            for evaluation in run.evaluations:
                update = evaluation["update"]
                before = [record for record in run.updates if record["update"] <= update]
                yield {
                    "scenario": printable(group.scenario),
                    "group": printable(group.name),
                    "seed": run.seed,
                    "finished": int(run.is_finished),
                    "update": int(update),
                    "trained_tokens": round(trained_tokens(before)),
                    "generated_tokens": round(generated_tokens(run, before)),
                    **{name: evaluation.get(name) for name in COLUMNS if "/" in name},
                }


def write_csv(groups: Sequence[Group], file: str | Path) -> None:
    """Write the evaluations of all runs.

    Args:
      groups: as ``compare_runs`` makes them.
      file: the file to write.

    Raises:
      RunFolderError: it cannot be written.
    """
    try:
        with Path(file).open("w", newline="", encoding="utf-8", errors="replace") as out:
            writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(evaluation_rows(groups))
    except OSError as error:
        raise RunFolderError(f"the evaluations cannot be written: {error}") from error
