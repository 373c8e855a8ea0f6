"""The best corrected draw: figures computed elsewhere, and the laboratory's second moments."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms import MSGRPOConfig
from proofs import analyse_estimator
from proofs.estimators.best_draw import (
    ESTIMATES,
    GAMES,
    Size,
    Way,
    best_probabilities,
    corridor_ratios,
    corridor_ways,
    draw_ratios,
    mean_price,
    price,
)
from proofs.estimators.corridor import Corridor
from tests.proofs.estimators.test_aaw_map import corridor_law


@pytest.mark.parametrize(
    ("horizon", "irrelevant", "ratios"),
    [
        (20, 0, [1.364, 1.015, 1.190, 5.076]),
        (20, 20, [2.373, 1.213, 1.007, 3.077]),
        (1, 0, [8.736, 3.479, 1.810, 1.062]),
    ],
)
def test_ratios_computed_elsewhere(horizon: int, irrelevant: float, ratios: list[float]) -> None:
    corridor = Corridor(success_rate=0.05, horizon=horizon, irrelevant=irrelevant)
    found = corridor_ratios(corridor, size=16, alphas=(0, 0.5, 1, 2))
    assert [round(ratio, 3) for ratio in found] == ratios


@pytest.mark.parametrize("irrelevant", [0, 1])
def test_second_moments_are_those_of_the_laboratory(irrelevant: int) -> None:
    """Ratios between exponents, which do not depend on what the best draw is."""
    rate, alphas = 0.3, (0.0, 1.0, 2.0)
    dist = corridor_law(rate, 2, irrelevant)
    moments = []
    for alpha in alphas:
        config = MSGRPOConfig(
            groups=1, group_size=3, kept_episodes=1, alpha=alpha, std="none", corrected=True
        )
        found = analyse_estimator(dist, config)
        moments.append(found.variance + float(found.mean_D @ found.mean_D))
    corridor = Corridor(success_rate=rate, horizon=2, irrelevant=irrelevant)
    mine = corridor_ratios(corridor, size=3, alphas=alphas)
    assert np.array(mine) / mine[0] == pytest.approx(np.array(moments) / moments[0])
    assert min(mine) >= 1


WAYS = [
    Way(probability=0.2, value=1.0, square=2.0, tokens=3, chances=(0.5, 0.9, 1.0)),
    Way(probability=0.3, value=1.0, square=0.5, tokens=1, chances=(0.7,)),
    Way(probability=0.1, value=-1.0, square=1.0, tokens=2, chances=(0.2, 0.999)),
    Way(probability=0.4, value=0.0, square=3.0, tokens=4, chances=(0.6,) * 4),
]


@pytest.mark.parametrize("alpha", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("norm", [norm for _, norm in ESTIMATES.values()])
def test_mean_prices_are_those_of_all_ordered_groups(alpha: float, norm: Size) -> None:
    expected = 0.0
    for group in itertools.product(WAYS, repeat=3):
        chance = math.prod(way.probability for way in group)
        deviations = np.array([way.value for way in group])
        deviations = np.abs(deviations - deviations.mean())
        needed = deviations > 1e-9
        if needed.any():
            products = deviations * np.sqrt([way.square for way in group])
            weights = np.where(needed, deviations**alpha * [norm(way) for way in group], 0.0)
            tokens = np.array([way.tokens for way in group], dtype=float)
            expected += chance * price(products, tokens, weights / weights.sum())
    found = mean_price(WAYS, size=3, alpha=alpha, norm=norm)
    assert found == pytest.approx(expected)


def test_the_estimate_of_the_rule_is_made_of_log_probabilities() -> None:
    (_, optimal), (_, surprisal) = ESTIMATES["optimal"], ESTIMATES["surprisal"]
    assert optimal(WAYS[0]) == pytest.approx(math.sqrt((0.25 + 0.01 + 0.0001) / 3))
    assert surprisal(WAYS[0]) == pytest.approx(math.sqrt((math.log(2) - math.log(0.9)) / 3))


def test_a_corridor_by_its_wrong_steps() -> None:
    """Mean squares given the return, which ``Corridor`` has from a formula of its own."""
    corridor = Corridor(success_rate=0.3, horizon=3, irrelevant=2)
    success, *failures = corridor_ways(corridor)
    assert success.square == pytest.approx(corridor.success_square + corridor.noise)
    square = sum(way.probability * way.square for way in failures) / 0.7
    assert square == pytest.approx(corridor.failure_square + corridor.noise)
    assert all(
        way.square == pytest.approx(sum(2 * (1 - p) ** 2 for p in way.chances))
        for way in (success, *failures)
    )
    assert sum(way.probability for way in failures) == pytest.approx(1 - success.probability)


def test_no_estimate_beats_the_true_score() -> None:
    for ways in GAMES.values():
        assert min(draw_ratios(ways, size=4)) >= 1 - 1e-12
    *_, surprisal, optimal = draw_ratios(GAMES["q .5, 20 steps"], size=8)
    assert optimal == pytest.approx(1) and surprisal > 1.05


@given(
    st.lists(
        st.tuples(st.floats(0.1, 5), st.integers(1, 30), st.floats(0.01, 1)), min_size=2, max_size=8
    )
)
def test_no_draw_is_cheaper(rows: list[tuple[float, int, float]]) -> None:
    products, tokens, weights = (
        np.array(column, dtype=float) for column in zip(*rows, strict=True)
    )
    best = price(products, tokens, best_probabilities(products, tokens))
    assert best <= price(products, tokens, weights / weights.sum()) + 1e-9
    assert best == pytest.approx(float((products * np.sqrt(tokens)).mean() ** 2))
