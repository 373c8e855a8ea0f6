"""The best corrected draw: figures computed elsewhere, and the laboratory's second moments."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms import MSGRPOConfig
from proofs import analyse_estimator
from proofs.estimators.aaw_map import Corridor
from proofs.estimators.best_draw import best_probabilities, corridor_ratios, price
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
