"""Curves of groups of runs: drawn by matplotlib, for a page (light and dark) or as a picture."""

import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from scipy import stats

from algorithms.analysis import statistics
from algorithms.analysis.comparison import evaluated_episodes
from algorithms.analysis.groups import Group
from algorithms.runs.reader import Run

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#a0569a", "#8a6d00", "#5c6670", "#5b4fd6", "#000000")
"""Colours of the groups on a light ground; most colour-blind readers can distinguish them."""
_INK, _FAINT = "#1c2127", "#8a929b"
_RESAMPLES = 999
_SIZE = (4.0, 2.7)  # inches of one chart
_FEW = 3  # the best run of each group is drawn, too, where there are at most so many groups


@attrs.frozen(kw_only=True)
class Chart:
    """A chart of one metric.

    Attributes:
      title: above the chart.
      metric: name of the metric in ``metrics.jsonl``.
      unit: of the vertical axis.
      lines: (name, value) of levels to compare with.
    """

    title: str
    metric: str
    unit: str = ""
    lines: tuple[tuple[str, float], ...] = ()


@attrs.frozen(kw_only=True)
class Curve:
    """A group's learning curve: the mean over its runs, a band, and the best run.

    Attributes:
      updates: where every run has a value. Shape (T,).
      mean: over the runs. Shape (T,).
      low, high: of the 95% interval; empty if there is none.
      best: of the run that ends highest; empty for one run.
    """

    updates: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    best: tuple[float, ...] = ()


def group_curve(group: Group, metric: str) -> Curve | None:
    """The learning curve of a metric in a group; ``None`` if its runs have no update in common.

    The band is a percentile bootstrap interval over runs; of a single run's success rate, Wilson's over episodes.

    Args:
      group: the group; unfinished runs are included.
      metric: name of the metric.
    """
    curves = [dict(zip(*run.curve(metric), strict=True)) for run in group.runs]
    curves = [curve for curve in curves if curve]
    common = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
    if not common:
        return None
    values = np.array([[curve[update] for update in common] for curve in curves])
    means = tuple(values.mean(axis=0).tolist())
    if len(curves) == 1:
        (run,) = [run for run in group.runs if run.curve(metric)[0]]
        low, high = _band_of_one(run, metric, common, means)
        return Curve(updates=tuple(common), mean=means, low=low, high=high)
    band = stats.bootstrap(
        (values,),
        np.mean,
        axis=0,
        n_resamples=_RESAMPLES,
        batch=100,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    best = values[int(np.argmax(values[:, -1]))]
    return Curve(
        updates=tuple(common),
        mean=means,
        low=tuple(band.low.tolist()),
        high=tuple(band.high.tolist()),
        best=tuple(best.tolist()),
    )


def _band_of_one(
    run: Run, metric: str, updates: Sequence[float], values: Sequence[float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    counts = [evaluated_episodes(run, update, metric) for update in updates]
    is_share = metric.startswith("eval") and metric.endswith("success_rate")
    if not is_share or not all(counts) or not all(0 <= v <= 1 for v in values):
        return (), ()
    shares = [statistics.proportion(round(v * n), n) for v, n in zip(values, counts, strict=True)]
    return tuple(e.low or 0.0 for e in shares), tuple(e.high or 0.0 for e in shares)


def svg(chart: Chart, groups: Sequence[Group]) -> str | None:
    """A chart as an SVG element whose colours are variables of the page's style; ``None`` if nothing is to be drawn.

    Args:
      chart: the chart.
      groups: a curve each; the n-th has the page's colour ``--c`` n, modulo the number of colours.
    """
    marks = [f"#fe01{n:02x}" for n in range(len(COLOURS))]
    ink, faint = "#fe02ff", "#fe03ff"
    style = {"svg.fonttype": "none", "svg.hashsalt": chart.metric, "text.parse_math": False}
    with mpl.rc_context(style):
        figure = Figure(figsize=_SIZE, layout="constrained")
        FigureCanvasSVG(figure)
        if not _draw(figure.subplots(), chart, groups, colours=marks, ink=ink, faint=faint):
            return None
        out = io.StringIO()
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    names = {mark: f"var(--c{n})" for n, mark in enumerate(marks)}
    for mark, name in {**names, ink: "var(--ink)", faint: "var(--faint)"}.items():
        text = text.replace(mark, name)
    return text.replace("<svg", f'<svg role="img" aria-label="{html.escape(chart.title)}"', 1)


def picture(charts: Sequence[Chart], groups: Sequence[Group], file: str | Path) -> None:
    """The charts side by side as a PNG file, on white.

    Args:
      charts: the charts.
      groups: a curve each.
      file: the file to write.
    """
    with mpl.rc_context({"text.parse_math": False}):
        rows = -(-len(charts) // 2)
        figure = Figure(figsize=(2 * _SIZE[0], rows * _SIZE[1] + 0.4), layout="constrained")
        FigureCanvasAgg(figure)
        places = np.asarray(figure.subplots(rows, 2, squeeze=False)).ravel()
        for axes, chart in zip(places, charts, strict=False):
            _draw(axes, chart, groups, colours=COLOURS, ink=_INK, faint=_FAINT)
        for axes in places[len(charts) :]:
            axes.set_axis_off()
        lines = [Line2D([], [], color=_colour(COLOURS, n)) for n in range(len(groups))]
        names = [f"{group.name.lstrip('_')} ({counted(group)})" for group in groups]
        figure.legend(lines, names, loc="outside lower center", ncols=2, frameon=False)
        figure.savefig(file, dpi=150)


def counted(group: Group) -> str:
    """The number of runs of a group, in words."""
    count = len(group.runs)
    return f"{count} run{'s' if count > 1 else ''}"


def _colour(colours: Sequence[str], n: int) -> str:
    return colours[n % len(colours)]


def _draw(
    axes: Axes,
    chart: Chart,
    groups: Sequence[Group],
    *,
    colours: Sequence[str],
    ink: str,
    faint: str,
) -> bool:
    """Draw a chart; returns whether any group has a curve."""
    curves = [(n, group_curve(group, chart.metric)) for n, group in enumerate(groups)]
    drawn = [(n, curve) for n, curve in curves if curve is not None]
    for n, curve in drawn:
        _draw_curve(axes, curve, _colour(colours, n), with_best=len(groups) <= _FEW)
    if not drawn:
        return False
    right = axes.get_xlim()[1]
    for name, level in chart.lines:
        axes.axhline(level, color=faint, linewidth=0.9, linestyle=(0, (1, 2)))
        axes.annotate(
            name,
            (right, level),
            color=faint,
            fontsize=7.5,
            ha="right",
            va="bottom",
            annotation_clip=False,
        )
    axes.set_title(chart.title, fontsize=10, loc="left", color=ink)
    axes.set_xlabel("update", fontsize=8.5, color=ink)
    axes.set_ylabel(chart.unit, fontsize=8.5, color=ink)
    axes.tick_params(colors=ink, labelsize=8.5, length=2)
    axes.grid(color=faint, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    if chart.unit == "share":
        is_success = chart.metric.endswith("success_rate")
        axes.set_ylim(-0.03 if is_success else 0.0, 1.03 if is_success else None)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(faint)
    return True


def _draw_curve(axes: Axes, curve: Curve, colour: str, *, with_best: bool) -> None:
    style: dict[str, Any] = {"marker": "o", "markersize": 3} if len(curve.updates) <= 30 else {}
    axes.plot(curve.updates, curve.mean, color=colour, linewidth=1.6, **style)
    if curve.low:
        axes.fill_between(
            curve.updates, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0
        )
    if curve.best and with_best:
        axes.plot(curve.updates, curve.best, color=colour, linewidth=0.9, linestyle="--", alpha=0.8)
