"""Where absolute-advantage-weighted sampling pays: signal-to-noise against uniform sub-sampling and full groups.

The game is the corridor. Since an estimate depends on a group only through its number of successes and the number of
drawn ones, its mean and variance are finite sums (``performance``): everything here is exact, for any G and K.

Trained steps are counted as the trainer does: it trains on zero-variance groups, too, for their KL, unless it skips
them by its settings. Then a draw by |A| saves their cost, while the other samplings still pay for what they draw.
"""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, final

import attrs
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from proofs.estimators.corridor import Corridor
from proofs.estimators.performance import corridor_kinds, performance
from proofs.estimators.relatives import Drawn, every_episode
from tsmg import InvalidArgumentError

SUCCESS_RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
HORIZONS = (1, 4, 20)
SIZES = (4, 8, 16, 32)

Sampling = Literal["aaw", "uniform", "all"]


@final
@attrs.frozen(kw_only=True)
class Figures:
    """Signal, noise and cost of one group's estimate.

    Attributes:
      signal: mean, as a multiple of the true gradient.
      variance: trace of the covariance.
      snr: squared norm of the mean, over the variance.
      generated: number of generated steps.
      trained: expected number of trained steps.
    """

    signal: float
    variance: float
    snr: float
    generated: float
    trained: float

    @property
    def snr_per_generated(self) -> float:
        """The SNR per generated step: at an equal cost of rollouts."""
        return self.snr / self.generated

    @property
    def snr_per_trained(self) -> float:
        """The SNR per trained step: at an equal cost of updates."""
        return self.snr / self.trained


def figures(
    corridor: Corridor,
    *,
    size: int,
    kept: int,
    sampling: Sampling,
    divided: bool = True,
    skipped: bool = False,
) -> Figures:
    """The exact figures of one group's estimate, constant weighting, relative to the group's mean.

    Args:
      corridor: the game and its success rate.
      size: G, at least 2.
      kept: K, at most G; not used with "all".
      sampling: "aaw" (alpha 1, without replacement, not corrected), "uniform" or "all".
      divided: whether advantages are divided by the group's (population) standard deviation.
      skipped: whether zero-variance groups are skipped, on which "aaw" would train only for the KL.

    Raises:
      InvalidArgumentError: a size that does not fit.

    Example:
      >>> half = Corridor(success_rate=0.5)
      >>> pair = figures(half, size=2, kept=1, sampling="aaw", divided=False)
      >>> round(pair.signal, 6), round(pair.snr, 6), round(pair.trained, 6)
      (0.5, 1.0, 1.0)
      >>> spared = figures(half, size=2, kept=1, sampling="aaw", divided=False, skipped=True)
      >>> round(spared.trained, 6)  # half of the pairs have no variance
      0.5
    """
    if not 1 <= kept <= size or size < 2:
        raise InvalidArgumentError(
            f"'size' must be at least 2 and 'kept' in 1..size (got {size}, {kept})"
        )
    relative = every_episode if sampling == "all" else Drawn(kept=kept, kind=sampling)
    found = performance(corridor_kinds(corridor), relative, size=size, divided=divided)
    draws = size if sampling == "all" else kept
    return Figures(
        signal=found.scale,
        variance=found.variance,
        snr=found.snr,
        generated=found.played,
        trained=found.trained if skipped and sampling == "aaw" else draws * corridor.steps,
    )


@final
@attrs.frozen(kw_only=True)
class Point:
    """One cell of the map: the SNR of AAW over that of uniform sub-sampling and of the full group.

    Attributes:
      success_rate, horizon, size, kept: q, T, G and K.
      over_uniform: against a uniform draw of K; equal generated and equal trained steps give the same ratio.
      over_full_generated: against the full group, at equal generated steps.
      over_full_trained: against the full group, at equal trained steps.
    """

    success_rate: float
    horizon: int
    size: int
    kept: int
    over_uniform: float
    over_full_generated: float
    over_full_trained: float


def aaw_map(
    *,
    success_rates: Sequence[float] = SUCCESS_RATES,
    horizons: Sequence[int] = HORIZONS,
    sizes: Sequence[int] = SIZES,
    divided: bool = True,
    irrelevant: float = 0.0,
) -> list[Point]:
    """The map over success rate, horizon, G, and every power of 2 below G as K.

    Args:
      success_rates: q.
      horizons: T.
      sizes: G.
      divided: whether advantages are divided by the group's standard deviation.
      irrelevant: f, number of steps that do not matter for each one that does.
    """
    return [
        _point(
            Corridor(success_rate=q, horizon=horizon, irrelevant=irrelevant * horizon),
            size,
            kept,
            divided,
        )
        for horizon in horizons
        for size in sizes
        for kept in (2**n for n in range((size - 1).bit_length()))
        for q in success_rates
    ]


def _point(corridor: Corridor, size: int, kept: int, divided: bool) -> Point:
    aaw, part, full = (
        figures(corridor, size=size, kept=kept, sampling=sampling, divided=divided)
        for sampling in ("aaw", "uniform", "all")
    )
    return Point(
        success_rate=corridor.success_rate,
        horizon=corridor.horizon,
        size=size,
        kept=kept,
        over_uniform=aaw.snr / part.snr,
        over_full_generated=aaw.snr_per_generated / full.snr_per_generated,
        over_full_trained=aaw.snr_per_trained / full.snr_per_trained,
    )


def write_csv(points: Sequence[Point], file: str | Path) -> None:
    """Write the map as a table with a row per cell."""
    names = list(attrs.fields_dict(Point))
    with Path(file).open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(names)
        for point in points:
            writer.writerow([f"{getattr(point, name):.4g}" for name in names])


def read_csv(file: str | Path) -> list[Point]:
    """The map of a table that ``write_csv`` wrote."""
    with Path(file).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [
        Point(
            success_rate=float(row["success_rate"]),
            horizon=int(row["horizon"]),
            size=int(row["size"]),
            kept=int(row["kept"]),
            over_uniform=float(row["over_uniform"]),
            over_full_generated=float(row["over_full_generated"]),
            over_full_trained=float(row["over_full_trained"]),
        )
        for row in rows
    ]


def draw_map(points: Sequence[Point], *, size: int, figsize: tuple[float, float]) -> Figure:
    """The map for one G: a column of panels per comparison, a row per horizon; blue where AAW wins.

    Args:
      points: cells, of this size among others.
      size: G.
      figsize: width and height, in inches.
    """
    comparisons = {
        "over_uniform": "a uniform draw of K",
        "over_full_generated": "all G, generated steps",
        "over_full_trained": "all G, trained steps",
    }
    mine = [point for point in points if point.size == size]
    horizons = sorted({point.horizon for point in mine})
    figure = Figure(figsize=figsize, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(horizons), len(comparisons), squeeze=False, sharex=True)
    for row, horizon in zip(panels, horizons, strict=True):
        for axes, (name, label) in zip(row, comparisons.items(), strict=True):
            image = _panel(axes, [p for p in mine if p.horizon == horizon], name)
            axes.set_title(f"over {label}" if horizon == horizons[0] else "")
        row[0].set_ylabel(f"{horizon} step{'s' * (horizon > 1)}: K")
    for axes in panels[-1]:
        axes.set_xlabel("success rate")
    bar = figure.colorbar(
        image, ax=panels, location="bottom", shrink=0.7, aspect=40, ticks=range(-3, 4)
    )
    bar.ax.set_xticklabels(["1/8", "1/4", "1/2", "1", "2", "4", "8"])
    bar.set_label(f"signal-to-noise ratio of AAW, in multiples of the other's; groups of {size}")
    return figure


def plot_map(points: Sequence[Point], file: str | Path, *, size: int) -> None:
    """Draw the map for one G into a file.

    Args:
      points: cells, of this size among others.
      file: where the picture is written.
      size: G.
    """
    draw_map(points, size=size, figsize=(11, 7)).savefig(file, dpi=110)


def _panel(axes: Axes, points: Sequence[Point], name: str) -> AxesImage:
    """One comparison at one horizon: success rates from left to right, K upwards, in powers of two."""
    rates = sorted({point.success_rate for point in points})
    kept = sorted({point.kept for point in points})
    cells = {(p.kept, p.success_rate): getattr(p, name) for p in points}
    grid = [[math.log2(cells[k, q]) for q in rates] for k in kept]
    image = axes.imshow(grid, cmap="RdBu", vmin=-3, vmax=3, aspect="auto", origin="lower")
    labelled = range(0, len(rates), 3)
    axes.set_xticks(labelled, [f"{rates[n]:g}" for n in labelled])
    axes.set_yticks(range(len(kept)), [str(k) for k in kept])
    return image
