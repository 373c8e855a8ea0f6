"""Exact figures of ways to use groups: against the laboratory, and against all ordered groups."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

from proofs.estimators.arms import LOTTERY, RISKY, Arm, multinomial, outcomes
from proofs.estimators.corridor import Corridor
from proofs.estimators.performance import (
    Kind,
    Performance,
    Relative,
    arm_kinds,
    corridor_kinds,
    over_starts,
    performance,
)
from proofs.estimators.relatives import Drawn, GreatestVariance, every_episode
from proofs.statements.cases import Case, choice_case
from proofs.statements.starts.games import Starts
from tsmg import Finite, InvalidArgumentError

THREE = {
    "slow": Arm(probability=0.2, pays={2.0: 0.5, 0.0: 0.5}, length=3),
    "quick": Arm(probability=0.5, pays={1.0: 1.0}),
    "wrong": Arm(probability=0.3, pays={0.0: 1.0}, length=2),
}


def case_of(arms: dict[str, Arm], size: int) -> Case:
    return choice_case(
        {name: Finite(dict(arm.pays)) for name, arm in arms.items()},
        {name: arm.probability for name, arm in arms.items()},
        lengths={name: arm.length for name, arm in arms.items()},
        size=size,
    )


@pytest.mark.parametrize("divided", [True, False])
@pytest.mark.parametrize(
    ("relative", "settings"),
    [
        (every_episode, {}),
        (Drawn(kept=2), {"sampling": "aaw"}),
        (Drawn(kept=2, corrected=True), {"sampling": "aaw", "corrected": True}),
        (Drawn(kept=1, alpha=2.0), {"sampling": "aaw", "alpha": 2.0, "kept_episodes": 1}),
        (
            Drawn(kept=2, floor=0.3, corrected=True),
            {"sampling": "aaw", "floor": 0.3, "corrected": True},
        ),
        (Drawn(kept=2, kind="uniform"), {"sampling": "uniform"}),
    ],
)
@pytest.mark.parametrize("arms", [THREE, RISKY])
def test_figures_are_those_of_the_laboratory(
    arms: dict[str, Arm], relative: Relative, settings: dict[str, Any], divided: bool
) -> None:
    std = "population" if divided else "none"
    found = case_of(arms, 3).analysis(**{"kept_episodes": 2, "std": std, "eps": 0.0, **settings})
    mine = performance(arm_kinds(arms), relative, size=3, divided=divided)
    assert found.exact
    assert (mine.cosine, mine.scale, mine.variance, mine.snr, mine.played) == pytest.approx(
        (found.cosine, found.scale, found.variance, found.snr, found.generated_tokens)
    )
    if settings.get("sampling") == "aaw" and "floor" not in settings:
        assert mine.trained == pytest.approx(found.trained_tokens)
        assert mine.signal_share == pytest.approx(1 - found.zero_variance_share)


@pytest.mark.parametrize("renormalised", [True, False])
@pytest.mark.parametrize(("size", "kept"), [(4, 2), (4, 3), (5, 3)])
def test_the_greatest_variance_by_all_subsets(size: int, kept: int, renormalised: bool) -> None:
    """Every ordered group; sets of returns with the greatest variance are tied evenly, and their members, too."""
    ways = list(outcomes(THREE))
    first, second, trained = np.zeros(3), 0.0, 0.0
    for group in itertools.product(ways, repeat=size):
        chance = math.prod(p for p, *_ in group)
        returns = np.array([paid for _, paid, *_ in group])
        subsets = list(itertools.combinations(range(size), kept))
        greatest = max(returns[list(s)].var() for s in subsets)
        tied = [s for s in subsets if returns[list(s)].var() > greatest - 1e-9]
        kinds = {tuple(sorted(returns[list(s)])) for s in tied}
        for members in tied if returns.var() else []:
            own = tuple(sorted(returns[list(members)]))
            alike = sum(tuple(sorted(returns[list(s)])) == own for s in tied)
            compared = returns[list(members)] if renormalised else returns
            estimate = sum(
                (returns[e] - compared.mean()) / compared.std() / kept * group[e][3]
                for e in members
            )
            weight = chance / len(kinds) / alike
            first += weight * estimate
            second += weight * float(estimate @ estimate)
            trained += weight * sum(group[e][2] for e in members)
    mine = performance(
        arm_kinds(THREE), GreatestVariance(kept=kept, renormalised=renormalised), size=size
    )
    expected = (float(first @ first), second, trained)
    assert (mine.mean_square, mine.second, mine.trained) == pytest.approx(expected)


def test_scatter_within_a_kind_is_noise() -> None:
    corridor = Corridor(success_rate=0.3, horizon=2, irrelevant=1)
    kinds = corridor_kinds(corridor)
    found = performance(kinds, every_episode, size=4, divided=False)
    assert found.truth_square == pytest.approx(corridor.gradient_square)
    flat = [
        Kind(
            probability=kind.probability,
            value=kind.value,
            tokens=kind.tokens,
            score_D=kind.score_D,
            square=sum(x**2 for x in kind.score_D),
        )
        for kind in kinds
    ]
    less = performance(flat, every_episode, size=4, divided=False)
    success, failure = (kind.square - sum(x**2 for x in kind.score_D) for kind in kinds)
    scatter = sum(
        p * (n * ((1 - n / 4) / 4) ** 2 * success + (4 - n) * (n / 4 / 4) ** 2 * failure)
        for (n, _), p in multinomial([0.3, 0.7], 4)
    )
    assert found.second - less.second == pytest.approx(scatter)
    assert found.mean_square == pytest.approx(less.mean_square)


def test_starts_of_a_policy_with_logits_of_its_own_for_each() -> None:
    starts = Starts(shares=(0.5, 0.5), chances=((0.9, 0.2), (0.35, 0.0)), plays_a=0.4, size=3)
    settings = {"sampling": "aaw", "std": "population", "eps": 0.0, "kept_episodes": 1}
    found = starts.case.analysis(group_on="initial_state", **settings)
    each = [
        performance(
            arm_kinds(
                {
                    "a": Arm(probability=0.4, pays=paid(a)),
                    "b": Arm(probability=0.6, pays=paid(b)),
                }
            ),
            Drawn(kept=1),
            size=3,
        )
        for a, b in starts.chances
    ]
    mine = over_starts(each)
    assert (mine.cosine, mine.snr, mine.trained, mine.played) == pytest.approx(
        (found.cosine, found.snr, found.trained_tokens, found.generated_tokens)
    )
    assert mine.signal_share == pytest.approx(1 - found.zero_variance_share)
    assert mine.cosine < 0.999


def paid(chance: float) -> dict[float, float]:
    return {1.0: chance, 0.0: 1 - chance} if chance else {0.0: 1.0}


def test_costs_and_refilling_by_hand() -> None:
    found = Performance(
        product=2.0,
        truth_square=4.0,
        mean_square=1.0,
        second=3.0,
        played=10.0,
        trained=5.0,
        signal_share=0.5,
    )
    assert (found.cosine, found.scale, found.variance, found.snr) == (1.0, 0.5, 2.0, 0.5)
    assert found.per_token(2.0) == 0.5 / 20
    # groups with a signal: mean square 4, second moment 6, so SNR 4 / 2 for two groups, against 1 / 2 for one
    assert found.refilling_gain == pytest.approx((4 / 2 / 2) / (1 / 2))


def test_probabilities_must_sum_to_1() -> None:
    kinds = arm_kinds(LOTTERY)[:-1]
    with pytest.raises(InvalidArgumentError, match="'kinds' must have probabilities that sum to 1"):
        performance(kinds, every_episode, size=4)
