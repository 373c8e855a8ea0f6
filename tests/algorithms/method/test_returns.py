"""Returns: closed form, recursion, and agreement with the records of ``tsmg``."""

import math
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tsmg
from algorithms.returns import discounted_return

Return = Callable[[Sequence[float], float], float]

REWARDS = st.lists(st.floats(-100, 100), max_size=20)
DISCOUNTS = st.floats(0, 1)


def from_the_second_step(rewards_T: Sequence[float], discount: float) -> float:
    return sum(discount ** (t + 1) * reward for t, reward in enumerate(rewards_T))


def undiscounted(rewards_T: Sequence[float], discount: float) -> float:
    return sum(rewards_T)


def last_reward(rewards_T: Sequence[float], discount: float) -> float:
    return discount ** (len(rewards_T) - 1) * rewards_T[-1] if rewards_T else 0.0


WRONG = [from_the_second_step, undiscounted, last_reward]


def check_recursion(function: Return, rewards_T: Sequence[float], discount: float) -> None:
    """R(r_0, r_1, ...) = r_0 + gamma R(r_1, ...), and nothing is worth nothing."""
    assert function([], discount) == 0
    if rewards_T:
        rest = function(rewards_T[1:], discount)
        expected = rewards_T[0] + discount * rest
        assert function(rewards_T, discount) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(REWARDS, DISCOUNTS)
def test_recursion(rewards_T: list[float], discount: float) -> None:
    check_recursion(discounted_return, rewards_T, discount)


@pytest.mark.parametrize("wrong", WRONG)
def test_recursion_rejects(wrong: Return) -> None:
    with pytest.raises(AssertionError):
        check_recursion(wrong, [1.0, 2.0, 4.0], 0.5)


@given(st.integers(0, 30), st.floats(0, 0.99))
def test_constant_reward_is_a_geometric_sum(length: int, discount: float) -> None:
    expected = 3 * (1 - discount**length) / (1 - discount)
    assert discounted_return([3.0] * length, discount) == pytest.approx(expected)


def episode(rewards_T: Sequence[float], discount: float) -> tsmg.Episode[int]:
    """A record of a game for one agent, half of each reward being a penalty."""
    state = tsmg.ClosedState(0, (None,))
    return tsmg.Episode(
        game="none",
        agents=("player",),
        discount=discount,
        key=tsmg.EpisodeKey(seed=0),
        start=tsmg.Start(state=state),
        steps=tuple(
            tsmg.Step(t=t, state=state, agent_steps=(), rewards_N=(r / 2,), penalties_N=(r / 2,))
            for t, r in enumerate(rewards_T)
        ),
        final_state=state,
        final_observations={},
        ending=tsmg.Ending.TERMINATED,
    )


@given(REWARDS, DISCOUNTS)
def test_agrees_with_the_return_of_a_record(rewards_T: list[float], discount: float) -> None:
    record = episode(rewards_T, discount)
    ours = discounted_return(record.rewards_T("player"), discount)
    assert ours == pytest.approx(record.episode_return("player"), rel=1e-9, abs=1e-9)


@given(st.permutations([0.1, 0.2, 0.3, -0.4, 1e10, -1e10]))
def test_order_does_not_matter_without_discount(rewards_T: list[float]) -> None:
    assert discounted_return(rewards_T, 1.0) == pytest.approx(0.2, rel=1e-15)


@pytest.mark.parametrize("discount", [-0.1, 1.5, math.nan, math.inf])
def test_discount_out_of_range(discount: float) -> None:
    with pytest.raises(tsmg.InvalidArgumentError, match=r"'discount' must be in \[0, 1\]"):
        discounted_return([1.0], discount)


@pytest.mark.parametrize("reward", [math.nan, math.inf, -math.inf])
def test_rewards_must_be_finite(reward: float) -> None:
    with pytest.raises(tsmg.InvalidArgumentError, match="'rewards_T' must be finite"):
        discounted_return([0.0, reward], 1.0)
