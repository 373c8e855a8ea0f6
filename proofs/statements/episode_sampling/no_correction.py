"""Estimates that are not corrected for the draws."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from proofs.estimators.arms import Arm
from proofs.statement import Array, Sides, statement
from proofs.statements.by_hand import expected_estimate_D
from proofs.statements.cases import Case, choice_case
from proofs.statements.episode_sampling.groups import (
    ONE_STEP,
    THREE_ARMS,
    Choice,
    deviations,
    shares,
)
from tsmg import Finite


def _plain_advantage(case: Case) -> Sides:
    """The effective advantage is A itself."""
    dist = case.dist
    returns_E = dist.returns_E("player").tolist()

    def coefficients(members: Sequence[int]) -> list[float]:
        return [float(a) / case.size for a in deviations([returns_E[e] for e in members])]

    return _with_replacement_D(case), expected_estimate_D(dist, case.size, coefficients)


@statement(
    routes=("the trainer's estimator over all groups", "A|A| in all ordered groups, by hand"),
    example=THREE_ARMS,
    cases=ONE_STEP,
    wrong=_plain_advantage,
)
def drawn_with_replacement_the_effective_advantage_is_a_times_its_size(case: Case) -> Sides:
    """With replacement and no correction, the expected coefficient of e is A_e |A_e| / sum_j |A_j|.

    Assumes: alpha = 1, constant weighting, no std. A group whose returns are all equal adds 0.
    Source: arXiv:2508.10839 (the idea); the formula is reconstructed.

    Theory: Equation 8.7.
    """
    dist = case.dist
    returns_E = dist.returns_E("player").tolist()

    def coefficients(members: Sequence[int]) -> list[float]:
        a_G = deviations([returns_E[e] for e in members])
        shares_G = shares([abs(a) for a in a_G])
        return [float(a) * share for a, share in zip(a_G, shares_G, strict=True)]

    return _with_replacement_D(case), expected_estimate_D(dist, case.size, coefficients)


def _with_replacement_D(case: Case) -> Array:
    return case.estimate_D(sampling="aaw", replacement=True, kept_episodes=2)


@st.composite
def _two_valued_choices(draw: Any) -> Case:
    """Two to four choices that succeed with different probabilities."""
    names = "abcd"[: draw(st.integers(2, 4))]
    chances = draw(
        st.lists(
            st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=len(names), max_size=len(names)
        ).filter(lambda drawn: len(set(drawn)) > 1)
    )
    shares = [draw(st.integers(1, 5)) for _ in names]
    low, high = draw(st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (-2.0, 0.5)]))
    dists = [Finite({high: q, low: 1 - q}) if 0 < q < 1 else (high if q else low) for q in chances]
    return choice_case(
        dict(zip(names, dists, strict=True)),
        {name: share / sum(shares) for name, share in zip(names, shares, strict=True)},
        size=3,
    )


_TWO_VALUED = choice_case(
    {"a": Finite({1.0: 0.5, 0.0: 0.5}), "b": 0.0, "c": 1.0}, {"a": 0.5, "b": 0.3, "c": 0.2}, size=3
)


def _three_returns(case: Case) -> Sides:
    """Returns take three values."""
    paid: dict[str, float | Finite[float]] = {
        "a": Finite({3.0: 0.25, 0.0: 0.75}),
        "b": 0.0,
        "c": 1.0,
    }
    other = choice_case(paid, {"a": 0.5, "b": 0.3, "c": 0.2}, size=case.size)
    return uncorrected_sampling_keeps_the_direction_with_two_returns.sides(other)


@statement(
    routes=("the trainer's estimator, normalised", "the gradient by autodiff, normalised"),
    example=_TWO_VALUED,
    cases=_two_valued_choices(),
    wrong=_three_returns,
)
def uncorrected_sampling_keeps_the_direction_with_two_returns(case: Case) -> Sides:
    """On one start where a return can only be one of two numbers, the expected estimate is along the true gradient.

    In each group all successes have one coefficient and all failures another. Over several starts it is not: each has a
    weight of its own (``proofs.statements.starts``).

    Assumes: groups on one start; constant weighting; 1 or 2 episodes kept; a gradient that is not 0.
    Source: arXiv:2508.10839 (the idea); the statement is reconstructed.
    """
    dist = case.dist
    true_D = _normalised(dist.autodiff_gradient_D())
    directions = [
        _normalised(case.estimate_D(sampling="aaw", kept_episodes=kept)) for kept in (1, 2)
    ]
    return np.concatenate(directions), np.concatenate([true_D, true_D])


def _normalised(vector_D: Array) -> Array:
    normalised_D: Array = vector_D / np.linalg.norm(vector_D)
    return normalised_D


_RISKY = Choice(
    arms={
        "risky": Arm(probability=0.5, pays={3.0: 0.2, -1.0: 0.8}),
        "safe": Arm(probability=0.5, pays={0.0: 1.0}),
    },
    size=4,
    kept=1,
)


def _corrected_for_inclusion(case: Choice) -> Sides:
    """Drawn episodes are corrected for how likely they were drawn."""
    return _preferences(case, corrected=True), _preferences_by_hand(case)


@statement(
    routes=("the trainer's estimator, and autodiff", "all ordered groups by hand"),
    example=_RISKY,
    shows=lambda side: bool(side[0] < -0.01 and side[1] > 0.01),
    wrong=_corrected_for_inclusion,
)
def uncorrected_sampling_can_reverse_which_choice_is_better(case: Choice) -> Sides:
    """With three returns, uncorrected sampling can learn to take the worse choice.

    A risky arm pays 3 with probability 1/5, else -1: less on average than a safe one, which pays 0. Each side holds
    the preference for the safe arm over the risky one, of the expected estimate and of the true gradient: the
    derivative along the logit of the one minus that of the other.

    Assumes: one of four episodes kept, constant weighting, equal probabilities.
    Source: arXiv:2508.10839 (the idea); the example was found here.
    """
    return _preferences(case, corrected=False), _preferences_by_hand(case)


def _preferences(case: Choice, *, corrected: bool) -> list[float]:
    """The preference of the second arm over the first: of the estimate, and of the true gradient."""
    analysis = case.analysis(sampling="aaw", corrected=corrected)
    both = analysis.mean_D, analysis.dist.autodiff_gradient_D()
    return [float(vector_D[1] - vector_D[0]) for vector_D in both]


def _preferences_by_hand(case: Choice) -> list[float]:
    """The same where one episode is kept, with p_e = |A_e| / sum |A|."""
    outcomes = case.outcomes()
    estimated = 0.0
    for group in itertools.product(outcomes, repeat=case.size):
        chance = math.prod(p for p, *_ in group)
        a_G = deviations([paid for _, paid, *_ in group])
        for (*_, score_A), a, share in zip(group, a_G, shares([*map(abs, a_G)]), strict=True):
            estimated += chance * share * float(a) * float(score_A[1] - score_A[0])
    true = sum(p * paid * float(score_A[1] - score_A[0]) for p, paid, _, score_A in outcomes)
    return [estimated, true]
