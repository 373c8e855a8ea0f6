"""The pictures of the experiment's page, from the evaluations of its finished runs."""

import csv
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from algorithms.analysis import statistics
from algorithms.analysis.estimate import Estimate
from sitegen.drawing import BLUE, INK, ORANGE, blank_figure

DATA = Path(__file__).parents[1] / "theory" / "experiment.csv"
ARMS = {
    "aaw": (BLUE, "-"),
    "uniform": (ORANGE, "-"),
    "full-equal-trained": (INK, "--"),
    "full-equal-generated": (INK, ":"),
}
SUCCESS, RETURN = "eval/success_rate", "eval/reward"

Curve = tuple[list[int], list[float]]


@attrs.frozen(kw_only=True)
class Comparison:
    """AAW less another arm, over pairs of runs that begin with one clone.

    Attributes:
      label: what is compared, and where.
      difference: the mean over the pairs, with its interval by Student's t.
    """

    label: str
    difference: Estimate


@functools.cache
def curves_of(scenario: str, arm: str, name: str) -> dict[int, Curve]:
    """Updates, and the figure at them, of each finished run of an arm, by its seed."""
    found: dict[int, Curve] = {}
    with DATA.open(encoding="utf-8", newline="") as file:
        for record in csv.DictReader(file):
            is_ours = (record["scenario"], record["group"]) == (scenario, arm)
            if is_ours and record["finished"] == "1" and record[name]:
                updates, values = found.setdefault(int(record["seed"]), ([], []))
                updates.append(int(record["update"]))
                values.append(float(record[name]))
    return found


def final(updates: Sequence[float], values: Sequence[float]) -> float:
    """The last value of a curve."""
    return values[-1]


def compared(
    scenario: str, other: str, name: str, measure: Callable[[list[int], list[float]], float]
) -> Comparison:
    """AAW less another arm in one measure of the curves, seed by seed."""
    ours, theirs = (curves_of(scenario, arm, name) for arm in ("aaw", other))
    seeds = sorted(ours.keys() & theirs.keys())
    pairs = [(measure(*ours[seed]), measure(*theirs[seed])) for seed in seeds]
    what = "area" if measure is statistics.area_under_curve else "final"
    difference = statistics.mean_by_t([a - b for a, b in pairs])
    return Comparison(label=f"{scenario}, {what}: {other}", difference=difference)


def comparisons() -> dict[str, list[Comparison]]:
    """All comparisons, the primary one first, by what they are measured in."""
    others = tuple(arm for arm in ARMS if arm != "aaw")
    area = statistics.area_under_curve
    success = [compared("lake", other, SUCCESS, m) for m in (area, final) for other in others]
    success += [compared("slippery-lake", other, SUCCESS, final) for other in others]
    returns = [compared("snake", "uniform", RETURN, m) for m in (area, final)]
    returns.append(compared("poison-snake", "uniform", RETURN, final))
    return {"success": success, "return": returns}


def forest() -> Figure:
    """AAW less each other arm with its interval; the primary comparison is filled."""
    found = comparisons()
    figure = blank_figure((6, 5))
    heights = [len(rows) for rows in found.values()]
    panels = figure.subplots(2, 1, height_ratios=heights)
    for axes, (unit, rows) in zip(panels, found.items(), strict=True):
        for place, row in enumerate(rows):
            is_primary = unit == "success" and place == 0
            colour = ORANGE if is_primary else BLUE
            ends = (row.difference.low, row.difference.high)
            axes.plot(ends, (place, place), color=colour, linewidth=1.6)
            fill = colour if is_primary else "none"
            axes.plot(row.difference.value, place, "D", color=colour, markerfacecolor=fill)
        axes.set_yticks(range(len(rows)), [row.label for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_xlabel(f"AAW less the other, {unit}")
    return figure


def curves() -> Figure:
    """The mean over the runs of each arm at every evaluation, with the interval of the two that are compared first."""
    figure = blank_figure((5, 7))
    shown = (("lake", SUCCESS, "success"), ("snake", RETURN, "return"))
    for axes, (scenario, name, label) in zip(figure.subplots(2, 1), shown, strict=True):
        for arm, (colour, style) in ARMS.items():
            _draw_arm(axes, arm, list(curves_of(scenario, arm, name).values()), colour, style)
        axes.set(title=scenario, xlabel="update", ylabel=label)
    lake = figure.axes[0]
    lake.axhline(1.0, color=INK, linewidth=0.8, alpha=0.5, label="optimum, held-out maps")
    lake.legend(loc="lower right")
    return figure


def _draw_arm(axes: Axes, arm: str, runs: list[Curve], colour: str, style: str) -> None:
    if not runs:
        return
    updates = runs[0][0]
    means = [statistics.mean(values) for values in zip(*(v for _, v in runs), strict=True)]
    axes.plot(updates, [mean.value for mean in means], style, color=colour, label=arm)
    if style == "-":
        ends = np.array([(mean.low, mean.high) for mean in means], dtype=float)  # nan: none
        axes.fill_between(updates, *ends.T, color=colour, alpha=0.2, linewidth=0)
