"""The return of an episode's record: the formula, its closed form, its recursion, and wrong formulas that fail them."""

import math
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tsmg

Return = Callable[[Sequence[float], float], float]

REWARDS = st.lists(st.floats(-100, 100), max_size=20)
DISCOUNTS = st.floats(0, 1)


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


def episode_return(rewards_T: Sequence[float], discount: float) -> float:
    return episode(rewards_T, discount).episode_return("player")


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
    check_recursion(episode_return, rewards_T, discount)


@pytest.mark.parametrize("wrong", WRONG)
def test_recursion_rejects(wrong: Return) -> None:
    with pytest.raises(AssertionError):
        check_recursion(wrong, [1.0, 2.0, 4.0], 0.5)


@given(st.integers(0, 30), st.floats(0, 0.99))
def test_constant_reward_is_a_geometric_sum(length: int, discount: float) -> None:
    expected = 3 * (1 - discount**length) / (1 - discount)
    assert episode_return([3.0] * length, discount) == pytest.approx(expected)


@given(REWARDS, DISCOUNTS)
def test_it_is_the_sum_of_discounted_rewards(rewards_T: list[float], discount: float) -> None:
    expected = math.fsum(discount**t * reward for t, reward in enumerate(rewards_T))
    assert episode_return(rewards_T, discount) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    without_penalties = episode(rewards_T, discount).episode_return("player", penalties=False)
    assert without_penalties == pytest.approx(expected / 2, rel=1e-9, abs=1e-9)
