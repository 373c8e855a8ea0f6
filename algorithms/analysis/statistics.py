"""Statistics over runs: figures with their intervals, and comparisons between two sets of runs.

A figure never stands without its interval. Intervals over runs are bootstrap intervals of ``scipy.stats.bootstrap``:
BCa from ten values on, the plain percentile interval below, where BCa's acceleration rests on too few values.
Percentile intervals of few runs are too narrow; ``docs/how_to/read_a_run.md`` says by how much. Random numbers come
from a seed, so that the same runs give the same interval.

Source: arXiv:2108.13264 (Agarwal et al. 2021: interquartile mean and probability of improvement over runs).
"""

import functools
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from algorithms.analysis.estimate import LEVEL, Estimate
from tsmg import InvalidArgumentError, ShapeError

RESAMPLES = 9_999
SMALL = 10
"""With fewer values than this, the percentile interval is used."""

Values = Sequence[float]
Floats = npt.NDArray[np.float64]
Statistic = Callable[..., Any]  # along an axis: an array, or of one row its value


def _checked(name: str, values: Values) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) < 1:
        raise ShapeError(f"{name!r} must have at least 1 value (got shape {array.shape})")
    if not np.isfinite(array).all():
        raise InvalidArgumentError(f"{name!r} must be finite (got {array.tolist()})")
    return array


def _interval(
    samples: tuple[Floats, ...],
    statistic: Statistic,
    *,
    seed: int,
    method: str,
    level: float,
) -> tuple[float, float]:
    """The ends of a bootstrap interval, NaN if it is not defined; each sample is resampled by itself."""
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        interval = stats.bootstrap(
            samples,
            statistic,
            n_resamples=RESAMPLES,
            batch=1000,
            confidence_level=level,
            method=method,
            rng=np.random.default_rng(seed),
        ).confidence_interval
    return float(interval.low), float(interval.high)


def bootstrap(
    values: Values, statistic: Statistic, *, seed: int = 0, level: float = LEVEL
) -> Estimate:
    """A statistic of one set of values with its bootstrap interval.

    Args:
      values: one for each run (or episode). Shape (n,), finite.
      statistic: of an array, along its argument ``axis``.
      seed: of the resampling.
      level: of the interval, in (0, 1).

    Raises:
      ShapeError: there are no values.
      InvalidArgumentError: a value is not finite.
    """
    array = _checked("values", values)
    value = float(statistic(array, axis=-1))
    if len(array) == 1:
        return Estimate(value=value, low=None, high=None, n=1, method="one value", level=level)
    method = "percentile" if len(array) < SMALL else "BCa"
    if np.ptp(array) == 0:  # BCa is not defined, and every resample is the sample
        low = high = value
    else:
        low, high = _interval((array,), statistic, seed=seed, method=method, level=level)
        if not (math.isfinite(low) and math.isfinite(high)):  # BCa is not defined here either
            method = "percentile"
            low, high = _interval((array,), statistic, seed=seed, method=method, level=level)
    return Estimate(
        value=value, low=low, high=high, n=len(array), method=f"{method} bootstrap", level=level
    )


def mean(values: Values, *, seed: int = 0) -> Estimate:
    """The mean.

    Args:
      values: one for each run. Shape (n,), finite.
      seed: of the resampling.

    Raises:
      ShapeError: there are no values.
      InvalidArgumentError: a value is not finite.

    Example:
      >>> mean([1.0, 3.0]).value
      2.0
    """
    return bootstrap(values, np.mean, seed=seed)


def mean_by_t(values: Values) -> Estimate:
    """The mean with the interval of Student's t: wider than a bootstrap's for few runs, as it should be.

    Args:
      values: one for each run, or the difference of each pair of runs. Shape (n,), finite.

    Raises:
      ShapeError: there are no values.
      InvalidArgumentError: a value is not finite.

    Example:
      >>> print(mean_by_t([1.0, 2.0, 3.0]))
      2.000 [-0.484, 4.484]
    """
    array = _checked("values", values)
    value, count = float(array.mean()), len(array)
    if count == 1:
        return Estimate(value=value, low=None, high=None, n=1, method="one value")
    half = float(stats.t.ppf((1 + LEVEL) / 2, count - 1) * stats.sem(array))
    return Estimate(value=value, low=value - half, high=value + half, n=count, method="Student's t")


def standard_deviation(values: Values, *, seed: int = 0) -> Estimate:
    """The sample standard deviation (divided by n - 1); 0 for one value.

    Args:
      values: one for each run. Shape (n,), finite.
      seed: of the resampling.

    Raises:
      ShapeError: there are no values.
      InvalidArgumentError: a value is not finite.

    Example:
      >>> round(standard_deviation([1.0, 3.0]).value, 4)
      1.4142
    """
    return bootstrap(values, _sample_std, seed=seed)


def _sample_std(array: Floats, axis: int) -> Any:
    count = array.shape[axis]
    return np.std(array, axis=axis, ddof=1) if count > 1 else np.zeros(array.shape[:-1])


def interquartile_mean(values: Values, *, seed: int = 0) -> Estimate:
    """The mean of the middle half: a quarter of the values is cut off at each end, rounded down.

    With fewer than four values nothing is cut. Source: arXiv:2108.13264 (Agarwal et al. 2021).

    Args:
      values: one for each run. Shape (n,), finite.
      seed: of the resampling.

    Raises:
      ShapeError: there are no values.
      InvalidArgumentError: a value is not finite.

    Example:
      >>> interquartile_mean([0.0, 1.0, 3.0, 100.0]).value
      2.0
    """
    return bootstrap(values, functools.partial(stats.trim_mean, proportiontocut=0.25), seed=seed)


def paired_difference(ours: Values, theirs: Values, *, seed: int = 0) -> Estimate:
    """The mean of the differences of pairs, such as two policies on the same initial states.

    Pairs are resampled, so what a pair shares (an easy map, say) cancels.

    Args:
      ours: shape (n,), finite.
      theirs: they align with ours. Shape (n,), finite.
      seed: of the resampling.

    Raises:
      ShapeError: there are no pairs, or they do not align.
      InvalidArgumentError: a value is not finite.

    Example:
      >>> paired_difference([1.0, 0.0, 1.0], [0.0, 0.0, 1.0]).value
      0.3333333333333333
    """
    a, b = _checked("ours", ours), _checked("theirs", theirs)
    if len(a) != len(b):
        raise ShapeError(f"'ours' and 'theirs' must align (got {len(a)} and {len(b)} values)")
    return mean((a - b).tolist(), seed=seed)


def difference(ours: Values, theirs: Values, *, seed: int = 0) -> Estimate:
    """The difference of the means of two independent sets, each resampled by itself.

    Args:
      ours: shape (n,), finite.
      theirs: shape (m,), finite.
      seed: of the resampling.

    Raises:
      ShapeError: a set is empty.
      InvalidArgumentError: a value is not finite.

    Example:
      >>> difference([1.0, 0.5], [0.25, 0.25]).value
      0.5
    """
    return _between(
        ours, theirs, lambda a, b, axis: np.mean(a, axis=axis) - np.mean(b, axis=axis), seed=seed
    )


def relative_difference(ours: Values, theirs: Values, *, seed: int = 0) -> Estimate:
    """The difference of two means as a fraction of the second, each set resampled by itself.

    Args:
      ours: shape (n,), finite.
      theirs: shape (m,), finite, greater than 0.
      seed: of the resampling.

    Raises:
      ShapeError: a set is empty.
      InvalidArgumentError: a value is not finite, or one of the second set is not greater than 0.

    Example:
      >>> relative_difference([1.0, 0.5], [0.5, 0.5]).value
      0.5
    """
    if not all(value > 0 for value in theirs):
        raise InvalidArgumentError(f"'theirs' must be greater than 0 (got {list(theirs)})")
    return _between(
        ours,
        theirs,
        lambda a, b, axis: np.mean(a, axis=axis) / np.mean(b, axis=axis) - 1,
        seed=seed,
    )


def probability_of_improvement(ours: Values, theirs: Values, *, seed: int = 0) -> Estimate:
    """P(X > Y) + P(X = Y) / 2 for a run X of ours and a run Y of theirs: the Mann-Whitney statistic over n m.

    Source: arXiv:2108.13264 (Agarwal et al. 2021).

    Args:
      ours: X. Shape (n,), finite.
      theirs: Y. Shape (m,), finite.
      seed: of the resampling.

    Raises:
      ShapeError: a set is empty.
      InvalidArgumentError: a value is not finite.

    Example:
      >>> probability_of_improvement([0.9, 0.5], [0.5, 0.1]).value
      0.875
    """
    return _between(ours, theirs, _improvement, seed=seed)


def _improvement(ours: Floats, theirs: Floats, axis: int) -> Any:
    a = np.moveaxis(np.asarray(ours), axis, -1)[..., :, None]
    b = np.moveaxis(np.asarray(theirs), axis, -1)[..., None, :]
    return ((a > b) + 0.5 * (a == b)).mean(axis=(-2, -1))


def _between(ours: Values, theirs: Values, statistic: Statistic, *, seed: int) -> Estimate:
    a, b = _checked("ours", ours), _checked("theirs", theirs)
    value, n = float(statistic(a, b, axis=-1)), min(len(a), len(b))
    if n == 1:
        return Estimate(value=value, low=None, high=None, n=1, method="one run in a group")
    low, high = _interval((a, b), statistic, seed=seed, method="percentile", level=LEVEL)
    return Estimate(value=value, low=low, high=high, n=n, method="percentile bootstrap")


def proportion(count: int, of: int, *, level: float = LEVEL) -> Estimate:
    """A share of independent episodes with Wilson's interval.

    Args:
      count: number of successes.
      of: number of episodes.
      level: of the interval, in (0, 1).

    Raises:
      InvalidArgumentError: ``of`` is 0, or less than ``count``.

    Example:
      >>> print(proportion(95, 100))
      0.950 [0.888, 0.978]
    """
    if not 0 <= count <= of or of == 0:
        raise InvalidArgumentError(f"'count' must be in [0, 'of'] (got {count} of {of})")
    interval = stats.binomtest(count, of).proportion_ci(confidence_level=level, method="wilson")
    low, high = float(interval.low), float(interval.high)
    return Estimate(value=count / of, low=low, high=high, n=of, method="Wilson", level=level)


def area_under_curve(updates: Values, values: Values) -> float:
    """The mean height of a curve by the trapezium rule: its area divided by its length.

    Args:
      updates: where it was measured, increasing. Shape (n,).
      values: what was measured. Shape (n,).

    Returns:
      The mean height, in the unit of the values; of one point, its value.

    Raises:
      ShapeError: there is no point, or they do not align.
      InvalidArgumentError: the updates do not increase.

    Example:
      >>> area_under_curve([0, 10, 20], [0.0, 1.0, 1.0])
      0.75
    """
    x, y = _checked("updates", updates), _checked("values", values)
    if len(x) != len(y):
        raise ShapeError(f"'updates' and 'values' must align (got {len(x)} and {len(y)} values)")
    if (np.diff(x) <= 0).any():
        raise InvalidArgumentError(f"'updates' must increase (got {x.tolist()})")
    return float(np.trapezoid(y, x) / (x[-1] - x[0])) if len(x) > 1 else float(y[0])


def updates_until(updates: Values, values: Values, threshold: float) -> float:
    """The first update at which a curve was measured at or above a threshold; infinity if it never was.

    Args:
      updates: where it was measured, increasing. Shape (n,).
      values: what was measured. Shape (n,).
      threshold: in the unit of the values.

    Example:
      >>> updates_until([0, 50, 100], [0.2, 0.93, 0.88], 0.9)
      50.0
    """
    reached = (u for u, v in zip(updates, values, strict=True) if v >= threshold)
    return float(next(reached, math.inf))


def median_time(times: Values, *, seed: int = 0) -> Estimate:
    """The lower median of times of which some may be infinite (a threshold that was never reached: censored).

    Medians of resamples are times of runs themselves, so infinity needs no arithmetic.

    Args:
      times: one for each run; infinity if the run ended first. Shape (n,).
      seed: of the resampling.

    Raises:
      ShapeError: there are no times.

    Example:
      >>> print(median_time([50.0, 100.0, math.inf]))
      100 [50, never]
    """
    array = np.sort(np.asarray(times, dtype=np.float64))
    if array.ndim != 1 or len(array) == 0:
        raise ShapeError(f"'times' must have at least 1 value (got shape {array.shape})")
    middle = (len(array) - 1) // 2
    value = float(array[middle])
    if len(array) == 1:
        return Estimate(value=value, low=None, high=None, n=1, method="one value", places=0)
    drawn = np.random.default_rng(seed).choice(array, size=(RESAMPLES, len(array)))
    medians = np.sort(np.sort(drawn, axis=1)[:, middle])
    low, high = (
        float(medians[int(q * (RESAMPLES - 1))]) for q in ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    )
    method = "percentile bootstrap"
    return Estimate(value=value, low=low, high=high, n=len(array), method=method, places=0)
