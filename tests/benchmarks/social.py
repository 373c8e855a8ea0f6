"""What self-play makes of social games: the table of docs/how_to/self_play.md.

    tsmg experiment social --output runs/social        # it can be stopped and started again
    python tests/benchmarks/social.py [runs/social] [--results FILE] [--markdown PAGE]

What is kept of finished runs (``results.py``) is added to docs/reference/results/social.jsonl; the table is made of
that. For each game and measure: the mean over runs before and after training, and the mean of their differences with a
95% interval over runs (Student's t, paired by run). A run's figure is the mean over its evaluation episodes that have
it.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # where tests is a package

from algorithms.analysis.statistics import mean_by_t
from algorithms.play.evaluation import mean
from tests.benchmarks.results import Figures, Result, reader_of_results, results_of
from tests.tables import Row, as_markdown, put, show


def main() -> None:
    """Keep the results of finished runs, print the table, and put it into a page."""
    parser = reader_of_results(__doc__.partition("\n")[0], "social")
    arguments = parser.parse_args()
    rows = table(results_of(arguments))
    show(rows)
    if arguments.markdown:
        put(arguments.markdown, "social", as_markdown(rows))


def table(results: Sequence[Result]) -> list[Row]:
    """A row for each game and measure."""
    games: dict[str, list[tuple[Figures, Figures]]] = {}
    for result in results:
        games.setdefault(result.scenario, []).append((result.before, result.after))
    rows = [("game", "runs", "measure", "before", "after", "difference")]
    for game, pairs in sorted(games.items()):
        for name in dict.fromkeys(name for pair in pairs for found in pair for name in found):
            both = [pair for pair in pairs if name in pair[0] and name in pair[1]]
            if both:
                before, after = ([pair[n][name] for pair in both] for n in (0, 1))
                means = (f"{mean(before):.3f}", f"{mean(after):.3f}")
                rows.append((game, str(len(both)), name, *means, difference(before, after)))
    return rows


def difference(before: Sequence[float], after: Sequence[float]) -> str:
    """The mean change, and its interval where there are several runs."""
    found = mean_by_t([b - a for a, b in zip(before, after, strict=True)])
    if found.low is None:
        return f"{found.value:+.3f}"
    return f"{found.value:+.3f} [{found.low:.3f}, {found.high:.3f}]"


if __name__ == "__main__":
    main()
