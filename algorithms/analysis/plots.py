"""Plots of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from algorithms.runs.records import read_lines
from algorithms.runs.writer import METRICS

_BLUE, _ORANGE, _GREY = "#2f7fc1", "#d9730d", "#999999"


def plot_run(folder: str | Path, *, ceiling: float | None = None, title: str = "") -> Path:
    """Draw ``curve.png`` from a run's metrics: return, invalid rate, entropy.

    Args:
      folder: the run folder.
      ceiling: the exact optimum of the evaluation episodes, if it is known.
      title: what the run is.

    Returns:
      The file.

    Raises:
      RunFolderError: the folder has no readable metrics.
    """
    file = Path(folder) / "curve.png"
    with mpl.rc_context({"text.parse_math": False}):  # a title is any text
        figure = draw_run(read_lines(Path(folder) / METRICS), ceiling=ceiling, title=title)
        figure.savefig(file, dpi=120)
    return file


def draw_run(
    records: Sequence[dict[str, Any]],
    *,
    ceiling: float | None = None,
    title: str = "",
    size: tuple[float, float] = (7, 8),
) -> Figure:
    """The picture of a run.

    Args:
      records: the lines of its metrics.
      ceiling: the exact optimum of the evaluation episodes, if it is known.
      title: what the run is.
      size: width and height in inches.

    Returns:
      The figure: return, invalid rate, entropy and how unlikely good replies were over the updates.
    """
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(2, 1, 1))
    _line(top, records, "reward", "training episodes", _GREY)
    _line(top, records, "eval/reward", "evaluation, sampled", _BLUE, marker="o")
    _line(top, records, "eval_greedy/reward", "evaluation, greedy", _ORANGE, marker="s")
    if ceiling is not None:
        top.axhline(
            ceiling, color="black", linestyle="--", label="exact optimum of the same starts"
        )
    top.set_ylabel("mean return")
    top.set_title(title)
    top.legend(loc="lower right")
    _line(middle, records, "invalid_rate", "invalid texts", _BLUE)
    middle.set_ylabel("invalid rate")
    middle.set_ylim(bottom=0)
    _line(bottom, records, "entropy", "entropy", _BLUE)
    less_likely = [
        {**r, "surprise": -r["good_logprob"]} for r in records if r.get("good_logprob") is not None
    ]
    _line(bottom, less_likely, "surprise", "-log p of good replies", _ORANGE)
    bottom.set_ylabel("entropy (nats)")
    if less_likely:
        bottom.legend(loc="upper right")
    bottom.set_ylim(bottom=0)
    bottom.set_xlabel("update")
    for axes in (top, middle, bottom):
        axes.grid(alpha=0.3)
    return figure


def _line(
    axes: Any, records: Sequence[dict[str, Any]], name: str, label: str, color: str, **style: Any
) -> None:
    points = [(r["update"], r[name]) for r in records if r.get(name) is not None]
    if points:
        axes.plot(*zip(*points, strict=True), label=label, color=color, **style)
