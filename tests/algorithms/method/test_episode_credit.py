"""Credit of published methods by hand, and which of them shifts, scales and orders of the returns leave alone."""

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms import MSGRPOConfig, credit_rule
from algorithms.method.episode_credit import RoleBaseline
from algorithms.method.estimator import Estimator
from algorithms.method.max_variance import max_variance_draw, max_variance_returns
from tests.method_groups import group_of, role_group
from tsmg import Ending, EpisodeGroup, Facts, Stream

RETURNS = st.lists(st.integers(-2, 3).map(float), min_size=2, max_size=6)


def credited(
    kind: str, returns_G: Sequence[float], lengths_G: Sequence[int] | None = None, **settings: Any
) -> list[float]:
    """The advantage of each episode; all its completions have the same."""
    settings = {"std": "none", "eps": 0.0, "kept": 3, **settings}
    rows = credit_rule(kind, **settings)(group_of(returns_G, lengths_G), "player")
    assert [len(row) for row in rows] == list(lengths_G or [1] * len(rows))
    assert all(len(set(row)) == 1 for row in rows)
    return [float(row[0]) for row in rows]  # type: ignore[arg-type]


def test_max_variance_by_hand() -> None:
    """Of 5, 0, 1, 4 the sets 0, 1, 5 and 0, 4, 5 vary alike, and the former has fewer of the greatest returns."""
    assert credited("max_variance", [5, 0, 1, 4], [1, 3, 2, 1]) == [3, -2, -1, 0]
    rounded = [0.1, 0.1, 0.7, 0.7]  # by rounding, 0.1, 0.7, 0.7 varies more than its mirror image
    assert np.var(rounded[1:]) > np.var(rounded[:3])
    assert max_variance_returns(rounded, 3) == (0.1, 0.1, 0.7)
    assert max_variance_returns([5.0, 1.0, 1.0], 4) == (
        1.0,
        1.0,
        5.0,
    )  # some episodes of the group failed
    noisy = [0.1 + 0.2, 0.3, 1.0, 0.0]  # the first two are equal but for rounding
    first, second, *_ = credited("max_variance", noisy)
    assert first == second != 0
    dist = max_variance_draw(role_group(noisy, [[0.0]] * 4), kept=3)
    assert len(dist.pmf()) == 2
    half = credited("max_variance", [1, 0, 0, 0, 0], kept=2, std="sample")
    assert half == pytest.approx(np.array([1, -1, -1, -1, -1]) / np.sqrt(2))


def best_sets(returns_G: Sequence[float], kept: int) -> list[tuple[int, ...]]:
    """All sets of K members whose returns have the greatest variance, by trying every one."""
    sets = list(itertools.combinations(range(len(returns_G)), kept))
    variances = [np.var([returns_G[e] for e in members]) for members in sets]
    return [m for m, v in zip(sets, variances, strict=True) if v >= max(variances) - 1e-9]


@given(returns_G=RETURNS, data=st.data())
def test_no_set_varies_more_and_equal_returns_are_drawn_alike(
    returns_G: list[float], data: st.DataObject
) -> None:
    kept = data.draw(st.integers(1, len(returns_G)))
    chosen = max_variance_returns(returns_G, kept)
    alike = [
        members
        for members in best_sets(returns_G, kept)
        if Counter(returns_G[e] for e in members) == Counter(chosen)
    ]
    dist = max_variance_draw(role_group(returns_G, [[0.0]] * len(returns_G)), kept=kept)
    expected = {tuple((e, 1.0) for e in members): 1 / len(alike) for members in alike}
    assert dist.pmf() == pytest.approx(expected)
    assert dist.sample(Stream("draw", 0)) in expected


def test_every_member_of_equal_return_is_drawn_as_often() -> None:
    dist = max_variance_draw(role_group([1, 0, 0, 0], [[0.0]] * 4), kept=2)
    drawn = Counter(dist.sample(Stream("draw", n))[1][0] for n in range(300))
    assert set(drawn) == {1, 2, 3} and min(drawn.values()) > 70


def test_division_by_the_mean_by_hand() -> None:
    assert credited("mean_divided", [1, 0, 0, 0]) == pytest.approx([3, -1, -1, -1])
    assert credited("mean_divided", [1, 0, 0, 1], eps=0.5) == pytest.approx([0.5, -0.5, -0.5, 0.5])
    assert credited("mean_divided", [0, 0, 0]) == [0, 0, 0]
    punished = credited("mean_divided", [-1, -1, 0, 0])
    assert punished == pytest.approx(
        [-1, -1, 1, 1]
    )  # divided by the mean itself they would be turned round


def test_the_gate_by_hand() -> None:
    """Lengths 3 and 1 of the good ones against the mean of the bad ones, 2; then the other way round."""
    returns = [1, 1, 0, 0]
    assert credited("length_gated", returns, [3, 1, 2, 2]) == [0.5, 0.5, -0.5, -0.5]
    shut = [0.05, 0.05, -0.05, -0.05]
    assert credited("length_gated", returns, [2, 1, 2, 2]) == pytest.approx(shut)
    assert credited("length_gated", returns, [2, 1, 3, 2]) == pytest.approx(shut)
    assert credited("length_gated", returns, [2, 1, 3, 1], baseline="none") == pytest.approx(
        [0.1, 0.1, 0, 0]
    )


def test_without_any_bad_episode_the_gate_is_open() -> None:
    """All returns are equal, and all episodes were cut off."""
    told = group_of([1, 1], [2, 3])
    cut = [attrs.evolve(episode, ending=Ending.TRUNCATED) for episode in told.episodes]
    rule = credit_rule("length_gated", std="none", eps=0.0, baseline="none")
    assert rule(EpisodeGroup(episodes=tuple(cut)), "player") == [[1.0] * 2, [1.0] * 3]


def test_what_was_cut_off_does_not_shut_the_gate() -> None:
    told = group_of([1, 0, 0], [2, 3, 1])
    rule = credit_rule("length_gated", std="none", eps=0.0)
    assert rule(told, "player")[0][0] == pytest.approx(0.1 * 2 / 3)
    cut = attrs.evolve(told.episodes[1], ending=Ending.TRUNCATED)
    group = EpisodeGroup(episodes=(told.episodes[0], cut, told.episodes[2]))
    assert rule(group, "player")[0][0] == pytest.approx(2 / 3)
    cut_too = attrs.evolve(told.episodes[2], ending=Ending.TRUNCATED)
    group = EpisodeGroup(episodes=(told.episodes[0], cut, cut_too))
    assert rule(group, "player")[0][0] == pytest.approx(2 / 3)  # there is no bad one


def test_filtration_draws_by_the_size_of_the_return() -> None:
    config = MSGRPOConfig(
        group_size=4,
        kept_episodes=1,
        credit="policy_filtration",
        alpha=2.0,
        replacement=True,
        std="none",
    )
    made = Estimator.of(config, Facts())
    (found,) = made.role_groups([group_of([3, -1, 0, 0])], ["player"])
    assert found.credits_G == ((2.5,), (-1.5,), (-0.5,), (-0.5,))
    drawn = {chosen[0].episode: p for chosen, p in made.draw_dist([found]).enumerate()}
    assert drawn == pytest.approx({0: 0.9, 1: 0.1})


def test_the_average_of_a_role_by_hand() -> None:
    rule = RoleBaseline(decay=0.75)
    group = group_of([8, 4], [2, 1])
    assert rule(group, "player") == [[8, 8], [4]]
    rule.observe([role_group([8, 4], [[0.0], [0.0]]), role_group([8], [[0.0]], agent="other")])
    assert rule(group, "player") == [[5.5, 5.5], [1.5]]  # 8 / 4 = 2, then 1.5 + 4 / 4 = 2.5
    assert rule.state() == {"player": 2.5, "other": 2.0}
    again = RoleBaseline(decay=0.75)
    again.load_state(json.loads(json.dumps(rule.state())))
    assert again(group, "player") == rule(group, "player")
    again.observe([role_group([0.5], [[0.0]])])
    assert again.state()["player"] == 2.0 and rule.state()["player"] == 2.5


LAWS = {  # what returns plus 1 and returns times 2 make of advantages: "same", "along" with the returns, or "other"
    "episode": ("same", "along"),
    "max_variance": ("same", "along"),
    "length_gated": ("same", "along"),
    "policy_filtration": ("same", "along"),
    "mean_divided": ("other", "same"),
    "role_baseline": ("along", "along"),
}


@pytest.mark.parametrize("kind", LAWS)
@given(returns_G=RETURNS, data=st.data())
def test_laws_of_shift_scale_and_order(
    kind: str, returns_G: list[float], data: st.DataObject
) -> None:
    lengths = data.draw(
        st.lists(st.integers(1, 3), min_size=len(returns_G), max_size=len(returns_G))
    )
    found = np.array(credited(kind, returns_G, lengths))
    shifted = np.array(credited(kind, [r + 1 for r in returns_G], lengths))
    scaled = np.array(credited(kind, [2 * r for r in returns_G], lengths))
    shift, scale = LAWS[kind]
    if shift != "other":
        assert shifted == pytest.approx(found + (shift == "along"))
    assert scaled == pytest.approx(found * (2 if scale == "along" else 1))
    order = data.draw(st.permutations(range(len(returns_G))))
    permuted = credited(kind, [returns_G[e] for e in order], [lengths[e] for e in order])
    assert permuted == pytest.approx(found[list(order)])


def test_a_shift_changes_what_is_divided_by_the_mean() -> None:
    assert credited("mean_divided", [1, 0]) == [1, -1]
    assert credited("mean_divided", [2, 1]) == pytest.approx([1 / 3, -1 / 3])


def test_the_weight_of_the_comparison_of_equal_observations() -> None:
    told = [
        credit_rule("anchor_state", std="none", eps=0.0, anchor_weight=anchor_weight)(
            group_of([3, 1], [1, 2]), "player"
        )
        for anchor_weight in (0.0, 0.5, 1.0)
    ]
    assert told == [[[1.0], [-1.0, -1.0]], [[1.5], [-1.5, -1.0]], [[2.0], [-2.0, -1.0]]]
