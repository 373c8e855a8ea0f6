"""Batch rules and group filters by hand, and what they leave alone."""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms.method.batch_rules import find_batch_rule, over_return_std, whitened
from algorithms.method.group_filters import of_greatest_variance
from algorithms.method.risk_bundles import RiskBundles, risk_advantage
from tests.method_groups import role_group, said

NUMBERS = st.lists(st.floats(-3, 3), min_size=2, max_size=5)


def changed(name: str, *groups: Any, eps: float = 0.0) -> list[list[list[Any]]]:
    rule = find_batch_rule(name, eps=eps)
    assert rule is not None
    return [[list(row) for row in rows] for rows in rule(groups)]


def flat(found: Sequence[Sequence[Sequence[float]]]) -> list[float]:
    return [a for rows in found for row in rows for a in row]


def test_whitened_by_hand() -> None:
    """Tokens 3, 3, -1, -1: mean 1 and deviation 2; a token that was not sampled does not count."""
    two, one = said(-1.0, -1.0), said(-1.0, -1.0, trainable=[True, False])
    first = role_group([0, 0], [[3.0], [(-1.0, 9.0)]], [[two], [one]])
    second = role_group([0], [[-1.0]], [[said(-1.0)]])
    other = role_group([0], [[7.0, 5.0]], agent="other")
    assert changed("whitened", first, second, other) == [
        [[1.0], [(-1.0, 4.0)]],
        [[-1.0]],
        [[1.0, -1.0]],
    ]
    assert changed("whitened", first, second, eps=2.0)[1] == [[-0.5]]
    assert changed("whitened", second) == [[[0.0]]]


def test_the_deviation_of_all_returns_by_hand() -> None:
    """Returns 0, 2 and 4, 6: squares 9, 1, 1, 9 of four, less one."""
    first, second = role_group([0, 2], [[-1.0], [1.0]]), role_group([4, 6], [[-1.0], [1.0]])
    expected = 1 / math.sqrt(20 / 3)
    assert flat(changed("return_std", first, second)) == pytest.approx([-expected, expected] * 2)
    expected = 1 / (math.sqrt(20 / 3) + 0.5)
    found = flat(changed("return_std", first, second, eps=0.5))
    assert found == pytest.approx([-expected, expected] * 2)
    still = role_group([1, 1], [[0.5], [0.5]])
    assert changed("return_std", still) == [[[0.5], [0.5]]]


def test_surprise_by_hand() -> None:
    """Surprises 1, 3 and 2, scaled 0, 1 and 1/2."""
    sure, unsure, middle = said(-1.0), said(-2.0, -4.0), said(-2.0, -9.0, trainable=[True, False])
    given_G = role_group([1, 0], [[1.0, 1.0], [-1.0]], [[sure, unsure], [middle]])
    gains = np.exp([0.0, -1.0, -0.5])
    gains /= gains.mean()
    raw = np.array([gains[0] + 0.1 * math.exp(-1.0), gains[1], -gains[2]])
    assert flat(changed("surprise", given_G)) == pytest.approx(raw - raw.mean(), abs=1e-6)
    assert changed("surprise", role_group([1], [[2.0]], [[said()]])) == [[[2.0]]]


def test_a_reply_without_sampled_tokens_has_no_surprise_and_no_part_in_the_mean() -> None:
    """It is shifted like all others, and no bonus follows from it."""
    silent = role_group([1, 0], [[1.0, 5.0], [-1.0]], [[said(-1.0), said()], [said(-2.0)]])
    gains = np.exp([0.0, -1.0])
    gains /= gains.mean()
    mean = (gains[0] - gains[1]) / 2
    expected = [gains[0] - mean, 5 - mean, -gains[1] - mean]
    assert flat(changed("surprise", silent)) == pytest.approx(expected, abs=1e-6)


def test_risk_by_hand() -> None:
    """A bundle of two groups counts as five of their mean; its scores are 5 and 10, then compared with 4 and 8."""
    rule = RiskBundles()
    bundle = [role_group([0, 1], [[0.0], [0.0, 0.0]]), role_group([2, 3, 9], [[0.0]] * 3)]
    low, high = 6.0, 9.5  # of levels 0.2 and 0.9 between 5 and 10
    bad = (1.5 * -(low - 5) / 0.2 + (low - high) / 0.7) / 2.5
    assert flat(rule(bundle)) == pytest.approx([bad, 0, 0, bad, 0, 0])
    rule.observe(bundle)
    assert rule.state() == {"player": pytest.approx([low, high])}
    rule.load_state({"player": [4.0, 8.0]})
    assert flat(rule(bundle)) == pytest.approx(
        [(5 - 8) / 0.7 / 2.5, 0, 0, (5 - 8) / 0.7 / 2.5, 0, 0]
    )
    rule.observe(bundle)  # none is below 4, one of two below 8
    assert rule.state() == {"player": pytest.approx([4 + 0.1 * 0.2, 8 + 0.1 * (0.9 - 0.5)])}
    rule.load_state({"player": [5.0, 10.0]})
    rule.observe(
        bundle
    )  # none is below 5, and one of two below 10: what equals a quantile is not below it
    assert rule.state() == {"player": pytest.approx([5 + 0.1 * 0.2, 10 + 0.1 * (0.9 - 0.5)])}
    again = RiskBundles()
    again.load_state(json.loads(json.dumps(rule.state())))
    assert again(bundle) == rule(bundle)


def test_bundles_are_of_five_groups_of_one_role() -> None:
    """Returns 1, 1, 1, 1 and -9 are a bundle of score -5, and the sixth is one of its own, of score 5."""
    rule = RiskBundles()
    rule.load_state({"player": [0.0, 0.0], "other": [4.5, 4.5]})
    paid = {"player": (1, 1, 1, 1, -9), "other": (1, 1, 1, 1, 1)}
    groups = [
        role_group([paid[agent][n]], [[0.0]], agent=agent) for n in range(5) for agent in paid
    ]
    groups.append(role_group([1], [[0.0]]))
    bad = 1.5 * -5 / 0.2 / 2.5
    assert flat(rule(groups)) == pytest.approx([*[bad, 0.0] * 5, 0.0])


@given(scores=NUMBERS, low=st.floats(-2, 2), span=st.floats(0, 3))
def test_more_is_never_worse_by_risk_and_enough_is_enough(
    scores: list[float], low: float, span: float
) -> None:
    advantages = [risk_advantage(s, low, low + span) for s in sorted(scores)]
    assert advantages == pytest.approx(sorted(advantages)) and max(advantages) <= 1e-9
    assert risk_advantage(low + span, low, low + span) == pytest.approx(0)


@given(one=NUMBERS, other=NUMBERS)
def test_laws_over_the_batch(one: list[float], other: list[float]) -> None:
    """Shift, scale and order of the groups; each rule has those that are named."""

    def groups(slope: float, shift: float) -> list[Any]:
        return [
            role_group([slope * r for r in returns], [[slope * r + shift] for r in returns])
            for returns in (one, other)
        ]

    for name, shifts, scales in (("whitened", 0, 1), ("return_std", None, 1), ("surprise", 0, 2)):
        found = np.array(flat(changed(name, *groups(1, 0))))
        if np.std([*one, *other]) < 0.1:
            continue
        if shifts is not None:
            assert flat(changed(name, *groups(1, 5))) == pytest.approx(found, abs=1e-6)
            assert found.mean() == pytest.approx(0, abs=1e-9)
        assert flat(changed(name, *groups(2, 0))) == pytest.approx(scales * found, abs=1e-6)
        back = changed(name, *reversed(groups(1, 0)))
        assert flat(reversed(back)) == pytest.approx(found, abs=1e-9)


def test_the_share_of_the_groups_is_rounded_down_and_ties_keep_their_order() -> None:
    spread = [role_group([0, r], [[0.0]] * 2) for r in (1, 3, 3, 2, 0, 1, 1)]
    kept = [of_greatest_variance(spread, share=share) for share in (0.1, 0.25, 0.5, 1.0)]
    assert kept[0] == kept[1] == [False, True, False, False, False, False, False]
    assert kept[2] == [False, True, True, True, False, False, False] and all(kept[3])
    assert sum(of_greatest_variance([spread[0]] * 100, share=0.29)) == 29


@pytest.mark.parametrize("returns", [[0.1] * 3, [0.7] * 6, [0.1 + 0.2, 0.3, 0.3]])
def test_rounding_noise_is_no_variance(returns: list[float]) -> None:
    group = role_group(returns, [[r] for r in returns])
    for found in (whitened([group], eps=0.0), over_return_std([group], eps=0.0)):
        assert all(abs(a) <= abs(r) for (a,), r in zip(found[0], returns, strict=True))
    assert whitened([group], eps=0.0)[0] == ((0.0,),) * len(returns)
