"""Tables of a comparison: the same rows for a terminal, for Markdown and for a page."""

from collections.abc import Sequence

import attrs

from algorithms.analysis.comparison import Comparison, Pair, Summary
from algorithms.analysis.estimate import Estimate
from algorithms.analysis.printing import printable

NAMES = {"success_rate": "success", "reward": "return"}
GAP = "-"
"""The text of a missing figure."""


@attrs.frozen(kw_only=True)
class Table:
    """A table of texts.

    Attributes:
      title: what it shows.
      head: names of the columns.
      rows: they align with the head.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(comparison: Comparison) -> list[Table]:
    """A table of figures for each scenario, and one of comparisons if groups can be compared."""
    result = []
    scenarios = dict.fromkeys(s.group.scenario for s in comparison.summaries)
    for scenario in scenarios:
        summaries = [s for s in comparison.summaries if s.group.scenario == scenario]
        result.append(_figures(scenario, summaries, comparison))
        pairs = [pair for pair in comparison.pairs if pair.scenario == scenario]
        if pairs:
            result.append(_comparisons(scenario, pairs, NAMES[summaries[0].measure]))
    return result


def _figures(scenario: str, summaries: Sequence[Summary], comparison: Comparison) -> Table:
    measure = NAMES[summaries[0].measure]
    decoding, other = (
        ("greedy", "sampled") if comparison.prefix == "eval_greedy" else ("sampled", "greedy")
    )
    return Table(
        title=scenario,
        head=(
            "group",
            "runs",
            f"start {measure}",
            f"final {measure}, {decoding}",
            f"final, {other}",
            "interquartile mean",
            "area under curve",
            f"updates until {comparison.threshold:g}",
            "invalid texts",
            "trained tokens / 1000",
            "generated tokens / 1000",
            "best seed",
        ),
        rows=tuple(_figure_row(summary) for summary in summaries),
    )


def _figure_row(summary: Summary) -> tuple[str, ...]:
    whole, all_runs = len(summary.group.whole), len(summary.group.runs)
    figures = (
        summary.start,
        summary.final,
        summary.other_final,
        summary.middle,
        summary.area,
        summary.until,
        summary.invalid,
        summary.trained,
        summary.generated,
    )
    return (
        summary.group.name,
        str(whole) if whole == all_runs else f"{whole} of {all_runs}",
        *map(estimate_text, figures),
        GAP if summary.best is None else str(summary.best),
    )


def estimate_text(estimate: Estimate | None) -> str:
    """A figure with its interval; a dash if there is none."""
    return GAP if estimate is None else str(estimate)


def _comparisons(scenario: str, pairs: Sequence[Pair], measure: str) -> Table:
    return Table(
        title=f"{scenario}: one group against another",
        head=(
            "first",
            "second",
            "P(first ends higher)",
            "P(first has more area)",
            f"difference of final {measure}",
            "as a fraction of the second",
            "the same, episodes paired",
        ),
        rows=tuple(
            (
                pair.ours,
                pair.theirs,
                str(pair.improvement),
                str(pair.improvement_area),
                str(pair.difference),
                estimate_text(pair.relative),
                estimate_text(pair.paired),
            )
            for pair in pairs
        ),
    )


def markdown(table: Table) -> str:
    """A table in Markdown."""
    lines = [table.head, ("---",) * len(table.head), *table.rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(printable(text).replace("|", "\\|").replace("<", "&lt;").split())
