"""What metrics say about a run's health: each finding on a history by hand, and none on a healthy one."""

import math
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms.training.health import health_warnings, new_health_warnings

HEALTHY: dict[str, Any] = {
    "reward": 0.5, "invalid_rate": 0.05, "frac_reward_zero_std": 0.3, "success_rate": 0.4,
    "entropy": 0.4, "kl": 0.02, "cut_rate": 0.01, "trained_tokens": 900.0,
}  # fmt: skip
SICK = {
    "all-invalid": ({"invalid_rate": 1.0}, 3),
    "no-signal": ({"frac_reward_zero_std": 1.0, "success_rate": 0.0}, 10),
    "cut": ({"cut_rate": 0.97}, 3),
    "far": ({"kl": 2.5}, 3),
}
CERTAIN = {"frac_reward_zero_std": 1.0, "success_rate": 0.0, "entropy": 1e-5}


def names(history: list[dict[str, Any]]) -> list[str]:
    return [finding.name for finding in health_warnings(history)]


def ill(**changes: Any) -> dict[str, Any]:
    return {**HEALTHY, **changes}


@pytest.mark.parametrize("name", SICK)
def test_a_finding_needs_several_updates_in_a_row(name: str) -> None:
    changes, updates = SICK[name]
    bad = ill(**changes)
    assert names([HEALTHY] * 5 + [bad] * updates) == [name]
    assert names([HEALTHY] * 5 + [bad] * (updates - 1)) == []
    assert names([bad] * (updates - 1)) == []
    assert names([bad] * updates + [HEALTHY]) == []


def test_who_always_says_the_same_and_fails_is_certain() -> None:
    assert names([ill(**CERTAIN)] * 10) == ["no-signal", "certain"]
    assert names([ill(**CERTAIN, trained_tokens=0.0)] * 10) == ["no-signal"]  # entropy unknown


def test_who_always_succeeds_is_well() -> None:
    """All returns are equal and the entropy is gone, as they should be."""
    done = ill(frac_reward_zero_std=1.0, success_rate=1.0, entropy=1e-6, reward=1.0)
    assert names([done] * 50) == []


def test_where_success_is_not_defined_silence_is_told() -> None:
    assert names([ill(frac_reward_zero_std=1.0, success_rate=None)] * 10) == ["no-signal"]


def test_only_what_training_cannot_leave_is_a_collapse() -> None:
    history = [ill(invalid_rate=1.0, cut_rate=1.0, kl=9.0, **CERTAIN)] * 10
    collapses = {f.name for f in health_warnings(history) if f.is_collapse}
    assert collapses == {"all-invalid", "certain"}
    assert {f.name for f in health_warnings(history)} == {*SICK, "certain"}
    assert all(
        len(f.message) > 40 and not f.message.endswith(".") for f in health_warnings(history)
    )


def test_a_finding_is_new_once() -> None:
    history = [HEALTHY] * 3 + [ill(kl=2.0)] * 8 + [HEALTHY] + [ill(kl=2.0)] * 4
    fresh = [n for n in range(1, len(history) + 1) if new_health_warnings(history[:n])]
    assert fresh == [6, 15]


numbers = st.one_of(st.none(), st.floats(), st.sampled_from([0.0, 1.0, math.nan]))


WATCHED = (
    *HEALTHY,
    "good_logprob",
    "good_displacement",
    "distinct_starts",
    "effective_starts",
    "ratio_p99",
)


@given(st.lists(st.dictionaries(st.sampled_from(sorted(WATCHED)), numbers), max_size=12))
def test_any_history_is_looked_at(history: list[dict[str, Any]]) -> None:
    assert all(attrs.asdict(finding)["message"] for finding in health_warnings(history))
    undefined = [dict.fromkeys(record) for record in history]
    assert health_warnings(undefined) == []


def levels(name: str, *values: float, **changes: Any) -> list[dict[str, Any]]:
    return [ill(**{name: value}, **changes) for value in values]


def test_good_replies_that_become_less_likely_are_told_where_the_return_does_not_rise() -> None:
    fall = levels("good_logprob", *[-0.5] * 5, *[-0.61] * 5)
    assert names(fall) == ["displaced"] and names(fall[1:]) == []
    assert names(levels("good_logprob", *[-0.5] * 5, *[-0.61] * 4, -0.59)) == []
    assert names(levels("good_logprob", *[-0.61] * 5, *[-0.5] * 5)) == []
    rises = [{**line, "reward": 0.5 + 0.01 * n} for n, line in enumerate(fall)]
    assert names(rises) == []
    assert names([*fall[:-1], ill(good_logprob=None)]) == []


def test_good_replies_that_every_update_makes_less_likely_are_told() -> None:
    assert names(levels("good_displacement", *[-0.01] * 10)) == ["displaced"]
    assert names(levels("good_displacement", *[-0.01] * 9, 0.0)) == []
    assert names(levels("good_displacement", *[-0.01] * 9)) == []
    assert names(levels("bad_displacement", *[-0.01] * 10)) == []


def test_few_starts_that_are_learnt_from_are_told() -> None:
    few = {"distinct_starts": 30.0, "effective_starts": 2.9}
    assert names([ill(**few)] * 10) == ["narrow"] and names([ill(**few)] * 9) == []
    assert names([ill(**{**few, "effective_starts": 3.1})] * 10) == []
    assert names([ill(distinct_starts=9.0, effective_starts=0.5)] * 10) == []
    assert names([ill(**few, success_rate=0.6)] * 10) == []  # most are won
    assert names([ill(**few, frac_reward_zero_std=1.0, success_rate=0.0)] * 10) == ["no-signal"]


def test_ratios_far_from_one_are_told() -> None:
    assert names([ill(ratio_p99=2.0)] * 3) == ["tails"]
    assert names([ill(ratio_p99=2.0)] * 2 + [ill(ratio_p99=1.9)]) == []
