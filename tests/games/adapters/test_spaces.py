"""Plain values of spaces, and their texts: there and back for whatever the spaces can sample."""

import math
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces as gym
from hypothesis import given
from hypothesis import strategies as st

from games.adapters import spaces

NAMEABLE = [
    gym.Discrete(4, start=-1),
    gym.MultiDiscrete([2, 3]),
    gym.MultiDiscrete([[2, 2], [1, 3]]),
    gym.MultiBinary(3),
    gym.MultiBinary([2, 2]),
    gym.Tuple((gym.Discrete(2), gym.MultiBinary(2))),
    gym.Dict(b=gym.Discrete(2), a=gym.Tuple((gym.Discrete(3),))),
    gym.OneOf((gym.Discrete(2), gym.MultiDiscrete([2, 2]))),
    gym.Text(5),
    gym.Sequence(gym.Discrete(3)),
    gym.Tuple((gym.Text(3), gym.Sequence(gym.MultiBinary(2)))),
]
FINITE = NAMEABLE[:8]
SHOWN = [
    *NAMEABLE,
    gym.Box(-1, 1, (2, 2)),
    gym.Box(0, 255, (3,), np.uint8),
    gym.Sequence(gym.Box(0, 1, (2,)), stack=True),
    gym.Dict(x=gym.Box(-np.inf, np.inf, ()), words=gym.Text(4)),
]


@pytest.mark.parametrize("space", NAMEABLE, ids=str)
@given(seed=st.integers(0, 1000))
def test_every_value_has_a_text_that_names_it(space: Any, seed: int) -> None:
    space.seed(seed)
    value = spaces.plain(space, space.sample())
    assert hash(value) is not None
    assert spaces.read(space, spaces.action_text(space, value)) == value
    assert spaces.plain(space, spaces.native(space, value)) == value


@pytest.mark.parametrize("space", SHOWN, ids=str)
@given(seed=st.integers(0, 1000))
def test_every_value_can_be_shown(space: Any, seed: int) -> None:
    space.seed(seed)
    value = spaces.plain(space, space.sample())
    hash(value)
    assert isinstance(spaces.text(space, value), str)


@pytest.mark.parametrize("space", FINITE, ids=str)
def test_values_are_all_different_and_as_many_as_counted(space: Any) -> None:
    values = list(spaces.values(space))
    assert len(values) == len(set(values)) == spaces.count(space)
    assert all(space.contains(spaces.native(space, value)) for value in values)


def test_a_box_has_no_names_and_no_count() -> None:
    box = gym.Box(0, 1, (1,))
    assert not spaces.nameable(box)
    assert not spaces.nameable(gym.Dict(a=gym.Tuple((box,))))
    assert spaces.count(box) == spaces.count(gym.Text(3)) == math.inf
    assert spaces.count(gym.MultiBinary((32, 32))) == math.inf


@pytest.mark.parametrize(
    "space", [gym.MultiBinary(13), gym.MultiDiscrete([5] * 13, dtype=np.int8)], ids=str
)
def test_a_number_too_great_for_its_type_is_no_value(space: Any) -> None:
    assert spaces.read(space, str([1] * 13)) == (1,) * 13
    with pytest.raises(ValueError, match="is not in"):
        spaces.read(space, str([257] + [0] * 12))


@pytest.mark.parametrize("space", FINITE, ids=str)
@given(said=st.text() | st.sampled_from(["[", "true", "1.0", "[1e9]", "[[0]]", "[0, 1, 2]", "NaN"]))
def test_other_text_names_nothing_or_a_value(space: Any, said: str) -> None:
    try:
        value = spaces.read(space, said)
    except (ValueError, TypeError):
        return
    assert space.contains(spaces.native(space, value))


def test_numbers_are_short_and_parts_are_named() -> None:
    space = gym.Dict(x=gym.Box(-9, 9, (2,), np.float64), n=gym.Discrete(3))
    value = spaces.plain(space, {"x": np.array([1 / 3, 2.0]), "n": 2})
    assert set(spaces.text(space, value).split("\n")) == {"n: 2", "x: [0.3333, 2]"}
