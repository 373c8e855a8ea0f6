"""Sums over batches of groups, and confidence intervals of figures computed from them."""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import final

import attrs
import numpy as np

from proofs.exact.gradients import Array

BLOCKS = 20  # of batches, for intervals
_PART = 512
_T_QUANTILE = 2.093  # of Student's t with 19 degrees of freedom, two-sided 95%


@final
@attrs.frozen(kw_only=True, eq=False)
class Batch:
    """The part of one batch of groups that the figures need; ``_C`` distinct completions.

    Attributes:
      weight: the probability that it is learnt from, or 1 if batches are drawn.
      played: how often it is played; equal to the weight unless groups are played again.
      coefficients_C: coefficient of each completion's score. Shape (C,).
      tokens: number of tokens that the learners sampled, and number of trained ones.
      zero_variance: share of groups, in their roles, of which nothing is selected.
      noise_X_C: rows whose squares add up to the covariance of the coefficients, which are a mean then; none if they
        are what they are. Shape (X, C).
    """

    weight: float
    played: float
    coefficients_C: Array
    tokens: tuple[float, float]
    zero_variance: float
    noise_X_C: Array | None = None


@final
@attrs.frozen(kw_only=True, eq=False)
class Moments:
    """Weighted sums over batches of 1, of the fields of a ``Batch``, and of products of coefficients."""

    weight: float
    first_C: Array
    second_C_C: Array
    tokens: Array
    zero_variance: float

    @classmethod
    def of(cls, batches: Iterable[Batch]) -> "Moments":
        """The sums over batches, part by part, so that few are held at a time."""
        remaining = iter(batches)
        total: Moments | None = None
        while part := list(itertools.islice(remaining, _PART)):
            sums = cls._of_part(part)
            total = sums if total is None else total + sums
        assert total is not None  # noqa: S101 - there is always a batch
        return total

    @classmethod
    def _of_part(cls, part: Sequence[Batch]) -> "Moments":
        weights = np.array([batch.weight for batch in part])
        played = np.array([batch.played for batch in part])
        rows = np.stack([batch.coefficients_C for batch in part])
        second_C_C = (rows * weights[:, None]).T @ rows
        for batch in part:
            if batch.noise_X_C is not None:
                second_C_C += batch.weight * batch.noise_X_C.T @ batch.noise_X_C
        return cls(
            weight=float(weights.sum()),
            first_C=weights @ rows,
            second_C_C=second_C_C,
            tokens=played @ np.array([batch.tokens for batch in part], dtype=np.float64),
            zero_variance=float(weights @ np.array([batch.zero_variance for batch in part])),
        )

    def __add__(self, other: "Moments") -> "Moments":
        """The sums over both sets of batches."""
        return Moments(
            weight=self.weight + other.weight,
            first_C=self.first_C + other.first_C,
            second_C_C=self.second_C_C + other.second_C_C,
            tokens=self.tokens + other.tokens,
            zero_variance=self.zero_variance + other.zero_variance,
        )


def jackknife(whole: float, left_out: Sequence[float]) -> tuple[float, float]:
    """The 95% confidence interval of a figure of ``BLOCKS`` blocks of batches.

    Source: the delete-a-group jackknife (B. Efron, 1982).

    Args:
      whole: the figure over all blocks.
      left_out: the figure without each of the blocks. Length ``BLOCKS``.
    """
    n = len(left_out)
    error = math.sqrt((n - 1) / n * sum((x - sum(left_out) / n) ** 2 for x in left_out))
    return whole - _T_QUANTILE * error, whole + _T_QUANTILE * error
