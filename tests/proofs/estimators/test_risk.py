"""What draws by |A| ascend: boundaries computed elsewhere, and the limit of large groups."""

import pytest

from algorithms import MSGRPOConfig
from proofs.estimators.risk import (
    boundary,
    draw_boundary,
    group_weights,
    limit_weights,
    preference,
)
from proofs.estimators.start_weights import return_weights


@pytest.mark.parametrize(
    ("kept", "chance"), [(1, 0.065), (4, 0.107), (8, 0.189), (12, 0.240), (15, 0.249), (16, 0.250)]
)
def test_boundaries_computed_elsewhere(kept: int, chance: float) -> None:
    assert round(draw_boundary(kept=kept), 3) == chance


def test_the_limit_and_the_mean() -> None:
    assert round(boundary(limit_weights), 3) == 0.043
    assert round(boundary(lambda law: {r: r for r in law}), 6) == 0.25
    assert boundary(lambda law: limit_weights(law, alpha=0.0)) == pytest.approx(0.25)


def test_greater_exponents_seek_more_skew() -> None:
    assert draw_boundary(kept=1, size=6, alpha=2.0) < draw_boundary(kept=1, size=6) < 0.25


def test_computing_groups_once_changes_no_weight() -> None:
    law = {3.0: 0.1, -1.0: 0.4, 0.0: 0.5}
    config = MSGRPOConfig(group_size=5, kept_episodes=2)
    assert group_weights(config)(law) == pytest.approx(return_weights(config, law))


def test_the_preference_is_that_of_the_mean_where_all_are_kept() -> None:
    config = MSGRPOConfig(group_size=4, sampling="all", std="none")
    assert preference(group_weights(config), 0.4) == pytest.approx(0.75 * (3 * 0.4 - 0.6))
