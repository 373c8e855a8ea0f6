"""Inclusion probabilities, and estimates that are corrected by them."""

from fractions import Fraction
from typing import Any, final

import attrs
import numpy as np
from hypothesis import strategies as st

from algorithms import group_relative_advantages, inclusion_probabilities
from algorithms.method.episode_sampling import SamplingRule, selection_dist
from proofs.statement import Array, Sides, statement
from proofs.statements.cases import Case
from proofs.statements.episode_sampling.groups import (
    ONE_STEP,
    SKEWED,
    THREE_ARMS,
    Returns,
    deviations,
    ordered_draws,
    unequal_returns,
)


@final
@attrs.frozen(kw_only=True)
class Draws:
    """So many successive draws from a group, in proportion to these numbers at first."""

    weights_G: tuple[int, ...]
    count: int


@final
@attrs.frozen(kw_only=True)
class Kept:
    """The returns of a group, and the number of its episodes that are kept."""

    returns_G: Returns
    count: int


_DRAWS = st.integers(1, 4).flatmap(
    lambda count: st.builds(
        lambda weights: Draws(weights_G=tuple(weights), count=count),
        st.lists(st.sampled_from((0, 1, 2, 3, 5, 8, 100)), min_size=count + 1, max_size=6).filter(
            any
        ),
    )
)


def _draws_times_probability(case: Draws) -> Sides:
    """K p_e, at most 1: as if draws were with replacement."""
    return np.minimum(1.0, case.count * _probabilities(case)), _listed_inclusion(case)


@statement(
    routes=("the integral over a Poisson-binomial count", "every order of draws, in fractions"),
    example=Draws(weights_G=(4, 2, 1, 1), count=2),
    cases=_DRAWS,
    wrong=_draws_times_probability,
)
def inclusion_is_one_integral_over_clocks(case: Draws) -> Sides:
    """P(e is among K successive draws without replacement) is an integral over independent clocks.

    With T_j ~ Exp(p_j), it is the integral over t of p_e exp(- p_e t) P(fewer than K of the others ring before t).

    Assumes: nothing else. Source: a standard fact of successive sampling; reconstructed.

    Theory: Theorem 8.2, Equation 8.3.
    """
    return inclusion_probabilities(_probabilities(case), case.count), _listed_inclusion(case)


def _probabilities(case: Draws) -> Array:
    weights_G = np.array(case.weights_G, dtype=np.float64)
    shares_G: Array = weights_G / weights_G.sum()
    return shares_G


def _listed_inclusion(case: Draws) -> list[float]:
    """The inclusion probabilities by listing every order of draws, in fractions."""
    included = [Fraction(0)] * len(case.weights_G)
    for order, p in ordered_draws([Fraction(n) for n in case.weights_G], case.count):
        for e in order:
            included[e] += p
    return [float(p) for p in included]


@st.composite
def _kept_groups(draw: Any) -> Kept:
    returns_G = draw(unequal_returns(st.integers(-4, 4)))
    return Kept(returns_G=returns_G, count=draw(st.integers(1, len(returns_G))))


def _uncorrected_in_a_group(case: Kept) -> Sides:
    """Drawn episodes are not corrected for how likely they were drawn."""
    return _expected_coefficients_G(case, corrected=False), _whole_coefficients_G(case)


@statement(
    routes=("all selections with their weights", "(R - mean) / G in fractions"),
    example=Kept(returns_G=SKEWED, count=2),
    cases=_kept_groups(),
    wrong=_uncorrected_in_a_group,
)
def corrected_draws_give_each_group_its_whole_sum(case: Kept) -> Sides:
    """Divided by their inclusion probabilities, the drawn A_e are on average those of the whole group: every A_e / G.

    This holds in each group, so also for the mean over groups. Episodes of advantage 0 are never drawn, and add 0.

    Assumes: 1 <= K <= G; no std here, which would be a common factor of both sides.
    Source: arXiv:2508.10839 (the idea); the correction is Horvitz and Thompson's (1952), reconstructed.

    Theory: Theorem 8.3, Equation 8.4.
    """
    return _expected_coefficients_G(case, corrected=True), _whole_coefficients_G(case)


def _expected_coefficients_G(case: Kept, *, corrected: bool) -> Array:
    """The expected coefficient of each episode's score, over the draws from its group."""
    advantages_G = group_relative_advantages(case.returns_G, std="none")
    dist = selection_dist(
        [advantages_G], SamplingRule(kind="aaw", kept=case.count, corrected=corrected)
    )
    coefficients_G = np.zeros(len(case.returns_G))
    for selected, p in dist.enumerate():
        for episode in selected:
            coefficients_G[episode.episode] += float(p) * episode.weight / case.count
    return coefficients_G * advantages_G


def _whole_coefficients_G(case: Kept) -> list[float]:
    return [float(a / len(case.returns_G)) for a in deviations(case.returns_G)]


def _uncorrected(case: Case) -> Sides:
    """Drawn episodes are not corrected for how likely they were drawn."""
    dist = case.dist
    share = (case.size - 1) / case.size
    return case.estimate_D(sampling="aaw", kept_episodes=2), share * dist.autodiff_gradient_D()


@statement(
    routes=(
        "the trainer's estimator over all groups",
        "automatic differentiation of the value",
    ),
    example=THREE_ARMS,
    cases=ONE_STEP,
    wrong=_uncorrected,
)
def corrected_sampling_keeps_the_expected_gradient(case: Case) -> Sides:
    """Corrected, the expected estimate is that of the whole groups: (G - 1) / G of the true gradient.

    Assumes: whole-episode credit, constant weighting, no std, the group's mean as baseline, and neither KL nor entropy
    term: these would not be restored, nor would credit of single steps (``corrected_credit``).
    Source: arXiv:2508.10839 (the idea); the formula is reconstructed.

    Theory: Theorem 8.3.
    """
    dist = case.dist
    share = (case.size - 1) / case.size
    return case.estimate_D(
        sampling="aaw", kept_episodes=2, corrected=True
    ), share * dist.autodiff_gradient_D()
