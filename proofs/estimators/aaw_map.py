"""Where absolute-advantage-weighted sampling pays: signal-to-noise against uniform sub-sampling and full groups.

The corridor: T steps, each with a right and a wrong action, and a context of its own; an episode succeeds if all T are
right, and always lasts T steps. So returns are 0 or 1, and at a success rate q each step is right with the
probability q^(1/T). There may be further steps that do not matter, with two equally likely actions each: noise that a
success carries as a failure does. Since an estimate depends on a group only through its number of successes and the
number of drawn ones, its mean and variance are finite sums: everything here is exact, for any G and K.

Trained steps are counted as the trainer does: it trains on zero-variance groups, too, for their KL, unless it is told
to skip them; then a draw by |A| saves their cost, while the other samplings still pay for what they draw.
"""

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, final

import attrs
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tsmg import InvalidArgumentError

SUCCESS_RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
HORIZONS = (1, 4, 20)
SIZES = (4, 8, 16, 32)

Sampling = Literal["aaw", "uniform", "all"]


@final
@attrs.frozen(kw_only=True)
class Corridor:
    """The game of T steps that all must be right, at a success rate.

    Attributes:
      success_rate: q, in (0, 1).
      horizon: T, at least 1.
      irrelevant: number of further steps that do not matter, at least 0; a mean number, so not necessarily whole.
    """

    success_rate: float = attrs.field()
    horizon: int = attrs.field(default=1)
    irrelevant: float = attrs.field(default=0.0)

    @success_rate.validator
    def _check_rate(self, attribute: "attrs.Attribute[float]", value: float) -> None:
        if not 0 < value < 1:
            raise InvalidArgumentError(f"'success_rate' must be in (0, 1) (got {value})")

    @horizon.validator
    def _check_horizon(self, attribute: "attrs.Attribute[int]", value: int) -> None:
        if value < 1:
            raise InvalidArgumentError(f"'horizon' must be at least 1 (got {value})")

    @irrelevant.validator
    def _check_irrelevant(self, attribute: "attrs.Attribute[float]", value: float) -> None:
        if not 0 <= value < math.inf:
            raise InvalidArgumentError(f"'irrelevant' must be at least 0 (got {value})")

    @property
    def steps(self) -> float:
        """The length of an episode."""
        return self.horizon + self.irrelevant

    @property
    def noise(self) -> float:
        """The expected squared norm of the score of the steps that do not matter: 1/2 each."""
        return self.irrelevant / 2

    @property
    def right(self) -> float:
        """The probability of the right action at a step."""
        return float(self.success_rate ** (1 / self.horizon))

    @property
    def success_square(self) -> float:
        """The squared norm of a success's score in the steps that matter: all right, so there is but one such score."""
        return self.horizon * 2 * (1 - self.right) ** 2

    @property
    def failure_square(self) -> float:
        """The expected squared norm of a failure's score in the steps that matter."""
        p, q = self.right, self.success_rate
        whole = self.horizon * 2 * p * (1 - p)  # of any episode: right 2 (1 - p)^2, wrong 2 p^2
        return (whole - q * self.success_square) / (1 - q)

    @property
    def gradient_square(self) -> float:
        """The squared norm of the true gradient, q times the score of a success."""
        return self.success_rate**2 * self.success_square


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
      skipped: whether zero-variance groups are skipped, where "aaw" would train on them for the KL alone.

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
    draws = size if sampling == "all" else kept
    first = second = with_signal = 0.0
    for successes in range(1, size):
        played = binomial(size, successes, corridor.success_rate)
        share = successes / size
        scale = 1 / math.sqrt(share * (1 - share)) if divided else 1.0
        gain, loss = (1 - share) * scale, share * scale
        with_signal += played
        for drawn, p in _drawn_successes(size, successes, draws, sampling):
            mean, square = _estimate(corridor, gain, loss, drawn, draws - drawn)
            first += played * p * mean / draws
            second += played * p * square / draws**2
    mean_square = first**2 * corridor.success_square
    variance = second - mean_square
    trained_groups = with_signal if skipped and sampling == "aaw" else 1.0
    return Figures(
        signal=first / corridor.success_rate,
        variance=variance,
        snr=mean_square / variance,
        generated=size * corridor.steps,
        trained=trained_groups * draws * corridor.steps,
    )


def _estimate(
    corridor: Corridor, gain: float, loss: float, successes: int, failures: int
) -> tuple[float, float]:
    """Mean and expected squared norm of the sum of the drawn episodes' advantages times scores.

    The mean is a multiple of a success's score; a failure's mean score is -q / (1 - q) times a success's.

    Args:
      corridor: the game.
      gain: the advantage of a success.
      loss: minus the advantage of a failure.
      successes: number of drawn successes.
      failures: number of drawn failures.
    """
    odds = corridor.success_rate / (1 - corridor.success_rate)
    mean = gain * successes + loss * failures * odds
    scatter = corridor.failure_square - odds**2 * corridor.success_square  # of one failure's score
    scattered = loss**2 * failures * (scatter + corridor.noise)
    return (
        mean,
        mean**2 * corridor.success_square + scattered + gain**2 * successes * corridor.noise,
    )


def binomial(size: int, count: int, p: float) -> float:
    """The probability of so many successes in so many trials; for thousands of trials, too.

    Example:
      >>> round(binomial(4, 2, 0.5), 6)
      0.375
    """
    logs = math.lgamma(size + 1) - math.lgamma(count + 1) - math.lgamma(size - count + 1)
    return math.exp(logs + count * math.log(p) + (size - count) * math.log1p(-p))


def _drawn_successes(
    size: int, successes: int, draws: int, sampling: Sampling
) -> Iterator[tuple[int, float]]:
    """The number of successes among successive draws without replacement, with its probability."""
    failures = size - successes
    # the ratio of |A| of a success to |A| of a failure is failures / successes
    success_weight, failure_weight = (failures, successes) if sampling == "aaw" else (1, 1)
    dist = {0: 1.0}
    for n in range(draws):
        longer: dict[int, float] = {}
        for drawn, p in dist.items():
            good = (successes - drawn) * success_weight
            bad = (failures - (n - drawn)) * failure_weight
            if good:
                longer[drawn + 1] = longer.get(drawn + 1, 0.0) + p * good / (good + bad)
            if bad:
                longer[drawn] = longer.get(drawn, 0.0) + p * bad / (good + bad)
        dist = longer
    yield from dist.items()


@final
@attrs.frozen(kw_only=True)
class Point:
    """One cell of the map: the SNR of AAW over that of uniform sub-sampling and of the full group.

    Attributes:
      success_rate, horizon, size, kept: q, T, G and K.
      over_uniform: against a uniform draw of K; equal generated and equal trained steps come to the same.
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
    """The map as a table: a row per cell."""
    names = list(attrs.fields_dict(Point))
    with Path(file).open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(names)
        for point in points:
            writer.writerow([f"{getattr(point, name):.4g}" for name in names])


def plot_map(points: Sequence[Point], file: str | Path, *, size: int) -> None:
    """The map for one G: a row of panels per comparison, a column per horizon; blue where AAW wins.

    Args:
      points: cells, of this size among others.
      file: where the picture is written.
      size: G.
    """
    comparisons = {
        "over_uniform": "over a uniform draw of K",
        "over_full_generated": "over all G, equal generated steps",
        "over_full_trained": "over all G, equal trained steps",
    }
    mine = [point for point in points if point.size == size]
    horizons = sorted({point.horizon for point in mine})
    figure = Figure(figsize=(5.2 * len(horizons), 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"Signal-to-noise ratio of AAW, in multiples of the other's; groups of {size}")
    panels = figure.subplots(len(comparisons), len(horizons), squeeze=False)
    for row, (name, label) in zip(panels, comparisons.items(), strict=True):
        for axes, horizon in zip(row, horizons, strict=True):
            _panel(axes, [point for point in mine if point.horizon == horizon], name)
            axes.set_title(f"{label}, T = {horizon}", fontsize=9)
    figure.savefig(file, dpi=110)


def _panel(axes: Axes, points: Sequence[Point], name: str) -> None:
    """One comparison at one horizon: success rates from left to right, K upwards."""
    rates = sorted({point.success_rate for point in points})
    kept = sorted({point.kept for point in points})
    cells = {(p.kept, p.success_rate): getattr(p, name) for p in points}
    grid = [[math.log2(cells[k, q]) for q in rates] for k in kept]
    axes.imshow(grid, cmap="RdBu", vmin=-3, vmax=3, aspect="auto", origin="lower")
    for y, k in enumerate(kept):
        for x, q in enumerate(rates):
            dark = abs(math.log2(cells[k, q])) > 2
            axes.text(
                x,
                y,
                f"{cells[k, q]:.2g}",
                ha="center",
                va="center",
                fontsize=6.5,
                color="white" if dark else "black",
            )
    axes.set_xticks(range(len(rates)), [f"{q:g}" for q in rates], fontsize=7)
    axes.set_yticks(range(len(kept)), [str(k) for k in kept], fontsize=7)
    axes.set_xlabel("success rate", fontsize=8)
    axes.set_ylabel("K", fontsize=8)
