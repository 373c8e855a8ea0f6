"""Scores of a policy between two others on the same episodes: 0 for the lower one, 1 for the higher one.

Source: arXiv:2108.13264 (Agarwal et al. 2021: normalised scores over tasks, resampled within each task).
"""

from collections.abc import Sequence

import numpy as np

from algorithms.analysis.estimate import LEVEL, Estimate
from algorithms.analysis.statistics import RESAMPLES, Floats, Values
from tsmg import InvalidArgumentError, ShapeError

_BATCH = 1_000
_DEFINED = 0.99
Compared = tuple[Values, Values, Values]
"""The returns of a policy, of the lower and of the higher one, on the same episodes."""
Counts = Sequence[int]
"""Of something in each episode of a game."""


def normalised_score(games: Sequence[Compared], *, seed: int = 0) -> Estimate:
    """The mean over games of (ours - lower) / (higher - lower), of mean returns.

    Episodes are resampled within each game, the three returns of one together, so that what they share cancels.

    Args:
      games: for each game the returns of the policy, of the lower and of the higher one. Shapes (n,), finite.
      seed: of the resampling.

    Raises:
      ShapeError: there are no games or no episodes, or the returns of a game do not align.
      InvalidArgumentError: the higher one has no greater mean return than the lower one.

    Example:
      >>> normalised_score([([1.0, 2.0], [0.0, 1.0], [4.0, 5.0])]).value
      0.25
    """
    if not games:
        raise ShapeError("'games' must contain at least one game (got none)")
    values, replicates = [], []
    for n, compared in enumerate(games):
        if len({len(returns) for returns in compared}) != 1 or not len(compared[0]):
            raise ShapeError(
                f"the returns of a game must align (got {[len(one) for one in compared]})"
            )
        means = np.asarray(compared, dtype=np.float64)
        values.append(_score(means.mean(axis=1)))
        if not np.isfinite(values[-1]):
            raise InvalidArgumentError(
                "the higher returns must have a greater mean than the lower ones "
                f"(got {means[2].mean():g} and {means[1].mean():g})"
            )
        replicates.append(_score(_resampled_means(means, seed=seed + n)))
    return _estimate(float(np.mean(values)), np.mean(replicates, axis=0), n=len(games[0][0]))


def _score(means: Floats) -> Floats:
    """Of the means of ours, lower and higher; infinite if the higher is not above the lower."""
    ours, lower, higher = means
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(higher > lower, (ours - lower) / (higher - lower), np.inf)


def share(games: Sequence[tuple[Counts, Counts]], *, seed: int = 0) -> Estimate:
    """The mean over games of a share of what episodes hold, such as invalid texts among all.

    The share of a game is a ratio of sums; episodes are resampled whole, within each game.

    Args:
      games: for each game the counts of its episodes, and what they are counted among. Shapes (n,).
      seed: of the resampling.

    Raises:
      ShapeError: there are no games, or counts and totals of a game do not align.
      InvalidArgumentError: the totals of a game are 0.

    Example:
      >>> share([([1, 0], [2, 6])]).value, share([([1, 0], [2, 6]), ([3], [4])]).value
      (0.125, 0.4375)
    """
    if not games:
        raise ShapeError("'games' must contain at least one game (got none)")
    values, replicates = [], []
    for n, (counts, totals) in enumerate(games):
        if len(counts) != len(totals):
            raise ShapeError(
                f"the counts and totals of a game must align (got {len(counts)} and {len(totals)} values)"
            )
        if not sum(totals):
            raise InvalidArgumentError("the totals of a game must not all be 0")
        values.append(sum(counts) / sum(totals))
        sums = np.asarray([counts, totals], dtype=np.float64)
        part, whole = _resampled_means(sums, seed=seed + n)
        with np.errstate(divide="ignore", invalid="ignore"):
            replicates.append(np.where(whole > 0, part / whole, np.inf))
    return _estimate(float(np.mean(values)), np.mean(replicates, axis=0), n=len(games[0][0]))


def _resampled_means(rows: Floats, *, seed: int) -> Floats:
    """The means of rows over resampled columns. Shape (rows, RESAMPLES)."""
    n = rows.shape[1]
    rng, means = np.random.default_rng(seed), []
    for first in range(0, RESAMPLES, _BATCH):
        size = min(_BATCH, RESAMPLES - first)
        means.append(rows @ rng.multinomial(n, np.full(n, 1 / n), size=size).T / n)
    return np.concatenate(means, axis=1)


def _estimate(value: float, replicates: Floats, *, n: int) -> Estimate:
    """The estimate of some replicates; those of which the statistic is not defined may be one in a hundred."""
    defined = replicates[np.isfinite(replicates)]
    if len(defined) < _DEFINED * len(replicates):
        return Estimate(value=value, low=None, high=None, n=n, method="too few episodes")
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(
        value=value, low=float(low), high=float(high), n=n, method="percentile bootstrap"
    )
