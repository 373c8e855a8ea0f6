"""The distribution of the first draw by absolute advantage."""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, final

import attrs
import numpy as np
from hypothesis import strategies as st

from algorithms import group_relative_advantages, sampling_weights
from algorithms.method.advantages import StdKind
from algorithms.method.episode_sampling import SamplingRule, selection_dist
from proofs.statement import Array, Sides, statement
from proofs.statements.episode_sampling.groups import RETURNS, SKEWED, Returns, deviations, shares


@final
@attrs.frozen(kw_only=True)
class Changed:
    """The returns of a group, and how they are shifted, scaled and put in another order."""

    returns_G: Returns
    shift: float
    scale: float
    order_G: tuple[int, ...]


@final
@attrs.frozen(kw_only=True)
class Successes:
    """A group with returns 1, for so many successes, and 0."""

    count: int
    size: int


def _drawn_weights(returns_G: Returns, std: StdKind = "population") -> list[float]:
    """The library's distribution of the first draw."""
    dist = sampling_weights(group_relative_advantages(returns_G, std=std))
    return [float(dist.prob(e)) for e in range(len(returns_G))]


def _squared_advantages(returns_G: Returns) -> Sides:
    """Episodes are drawn by the squares of their advantages."""
    return _drawn_weights(returns_G), shares([a * a for a in deviations(returns_G)])


@statement(
    routes=(
        "the distribution of what is selected, one episode kept",
        "shares of |R - mean| in fractions",
    ),
    example=SKEWED,
    cases=RETURNS,
    wrong=_squared_advantages,
)
def the_first_draw_is_by_absolute_advantage(returns_G: Returns) -> Sides:
    """The first draw takes episode e with probability |A_e| / sum_j |A_j|.

    Assumes: alpha = 1; returns that are not all equal.
    Source: arXiv:2508.10839 (the idea); the formula is reconstructed.

    Theory: Definition 8.1, Equation 8.1.
    """
    dist = selection_dist([group_relative_advantages(returns_G)], SamplingRule(kind="aaw", kept=1))
    drawn_G = np.zeros(len(returns_G))
    for (episode,), p in dist.enumerate():
        drawn_G[episode.episode] += float(p)
    return drawn_G, shares([abs(a) for a in deviations(returns_G)])


@st.composite
def _changed_groups(draw: Any) -> Changed:
    returns_G = draw(RETURNS)
    return Changed(
        returns_G=returns_G,
        shift=draw(st.integers(-400, 400)) / 4,
        scale=draw(st.floats(0.01, 100.0)),
        order_G=tuple(draw(st.permutations(range(len(returns_G))))),
    )


def _absolute_returns(case: Changed) -> Sides:
    """Episodes are drawn by the sizes of their returns."""

    def weights(returns_G: Returns) -> list[float]:
        return shares([abs(Fraction(value)) for value in returns_G])

    return np.concatenate(_of_changed_groups(case, weights)), np.tile(weights(case.returns_G), 3)


@statement(
    routes=("the sampling weights of changed groups", "shares of |R - mean| in fractions"),
    example=Changed(returns_G=SKEWED, shift=2.0, scale=3.0, order_G=(2, 0, 3, 1)),
    cases=_changed_groups(),
    wrong=_absolute_returns,
)
def the_first_draw_minds_neither_shift_nor_scale_nor_std_nor_order(case: Changed) -> Sides:
    """The first draw does not depend on shift, scale or std of the returns, nor on their order.

    A permuted group has the permuted distribution.

    Assumes: alpha = 1; returns that are not all equal; a scale above 0.
    Source: arXiv:2508.10839 (the idea); the formula is reconstructed.
    """
    changed = _of_changed_groups(case, _drawn_weights)
    exact_G = shares([abs(a) for a in deviations(case.returns_G)])
    return np.concatenate([*changed, _drawn_weights(case.returns_G, "none")]), np.tile(exact_G, 4)


def _of_changed_groups(case: Changed, weights: Callable[[Returns], Sequence[float]]) -> list[Array]:
    """The weights of the shifted, of the scaled, and of the permuted group, the last put back in order."""
    returns_G = np.array(case.returns_G)
    order_G = np.array(case.order_G)
    back_G = np.empty(len(returns_G))
    back_G[order_G] = weights(tuple(returns_G[order_G]))
    shifted_G = np.array(weights(tuple(returns_G + case.shift)))
    return [shifted_G, np.array(weights(tuple(returns_G * case.scale))), back_G]


def _another_exponent(returns_G: Returns) -> Sides:
    """The exponent is 2."""
    return _above_the_mean(returns_G, alpha=2.0), 0.5


@statement(
    routes=("the sampling weights of those above the mean", "1/2"),
    example=SKEWED,
    cases=RETURNS,
    wrong=_another_exponent,
)
def the_first_draw_is_above_the_mean_half_the_time(returns_G: Returns) -> Sides:
    """The first draw has a return above the group's mean with probability 1/2.

    The advantages sum to 0, so those above weigh as much as those below.

    Assumes: alpha = 1; returns that are not all equal.
    Source: arXiv:2508.10839 (the idea); the formula is reconstructed.

    Theory: Theorem 8.1, Equation 8.2.
    """
    return _above_the_mean(returns_G, alpha=1.0), 0.5


def _above_the_mean(returns_G: Returns, alpha: float) -> float:
    dist = sampling_weights(group_relative_advantages(returns_G), alpha=alpha)
    return math.fsum(dist.prob(e) for e, a in enumerate(deviations(returns_G)) if a > 0)


def _sample_std(case: Successes) -> Sides:
    """The std divides the squares by G - 1."""
    return _successes(case, "sample"), _closed_form_of_successes(case)


@statement(
    routes=("the sampling weights and advantages", "closed forms in q"),
    example=Successes(count=1, size=4),
    cases=st.integers(2, 16).flatmap(
        lambda size: st.builds(Successes, count=st.integers(1, size - 1), size=st.just(size))
    ),
    wrong=_sample_std,
)
def with_binary_returns_the_first_draw_is_a_success_half_the_time(case: Successes) -> Sides:
    """With n successes in a group, q = n / G, the first draw is a success with probability 1/2, whatever n.

    The advantage is sqrt((1 - q) / q) for a success and - sqrt(q / (1 - q)) for a failure.

    Assumes: alpha = 1; 1 <= n < G; the population std, eps 0.
    Source: arXiv:2508.10839 (the idea); the formula is reconstructed.

    Theory: Theorem 8.1.
    """
    return _successes(case, "population"), _closed_form_of_successes(case)


def _successes(case: Successes, std: StdKind) -> list[float]:
    """The probability of a success, and the advantages of a success and of a failure."""
    returns_G = [1.0] * case.count + [0.0] * (case.size - case.count)
    advantages_G = group_relative_advantages(returns_G, std=std, eps=0.0)
    dist = sampling_weights(advantages_G)
    p = math.fsum(dist.prob(e) for e in range(case.count))
    return [p, float(advantages_G[0]), float(advantages_G[-1])]


def _closed_form_of_successes(case: Successes) -> list[float]:
    q = case.count / case.size
    return [0.5, math.sqrt((1 - q) / q), -math.sqrt(q / (1 - q))]
