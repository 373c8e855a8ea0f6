"""Streams: a draw is a function of its key and its number, and no two keys share a draw."""

import ast
import hashlib
import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typeguard import suppress_type_checks

from tests.strategies import agrees, examples
from tsmg import EpisodeKey, InvalidArgumentError, Phase, Purpose, Stream

COORDINATES: dict[str, tuple[Any, ...]] = {
    "seed": (0, 1),
    "phase": (Phase.TRAINING, Phase.EVALUATION, Phase.CLONING),
    "update": (0, 1),
    "group": (0, 1),
    "episode": (0, 1),
    "purpose": tuple(Purpose),
    "step": (0, 1),
    "agent": ("a", "b"),
    "completion": (0, 1),
}
_OF_EPISODE = ("seed", "phase", "update", "group", "episode")


def stream_of(coordinates: dict[str, Any]) -> Stream:
    key = EpisodeKey(**{name: coordinates[name] for name in _OF_EPISODE})
    rest = {name: value for name, value in coordinates.items() if name not in _OF_EPISODE}
    return key.stream(rest.pop("purpose"), **rest)


@suppress_type_checks
def never_shared(make: Callable[[dict[str, Any]], Stream], draws: int = 9) -> bool:
    """All streams of the grid of coordinates differ in every draw."""
    seen: set[float] = set()
    count = 0
    for values in itertools.product(*COORDINATES.values()):
        stream = make(dict(zip(COORDINATES, values, strict=True)))
        seen.update(stream.at(k) for k in range(0, draws, 4))
        count += len(range(0, draws, 4))
    return len(seen) == count


def test_no_two_keys_share_a_draw() -> None:
    assert never_shared(stream_of)


@pytest.mark.parametrize("forgotten", COORDINATES)
def test_a_key_that_forgets_a_coordinate_is_noticed(forgotten: str) -> None:
    assert not never_shared(lambda c: stream_of(c | {forgotten: COORDINATES[forgotten][0]}))


@examples(0.5)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), unique=True, max_size=6))
def test_keys_are_not_run_together(keys: list[tuple[int, int]]) -> None:
    assert len({Stream(*key).random() for key in keys}) == len(keys)


def test_keys_that_are_run_together_are_noticed() -> None:
    assert Stream(f"{1}{12}").random() == Stream(f"{11}{2}").random()
    assert Stream(1, 12).random() != Stream(11, 2).random()
    assert Stream("1", 2).random() != Stream(1, "2").random()


def test_start_omits_the_episode_and_nothing_else() -> None:
    key = EpisodeKey(seed=3, phase=Phase.EVALUATION, update=5, group=2, episode=7)

    def start(key: EpisodeKey) -> float:
        return key.shared().stream(Purpose.START).random()

    assert {start(attrs.evolve(key, episode=i)) for i in range(20)} == {start(key)}
    for change in ({"seed": 4}, {"phase": Phase.TRAINING}, {"update": 6}, {"group": 1}):
        assert start(attrs.evolve(key, **change)) != start(key)
    # the control: a start that keeps the episode differs between the members of a group
    own = {attrs.evolve(key, episode=i).stream(Purpose.START).random() for i in range(20)}
    assert len(own) == 20


# ---- counter and generator -------------------------------------------------------------------


class SequentialStream(Stream):
    """A wrong implementation: ``at`` moves an ordinary generator along."""

    def __init__(self, *key: object) -> None:
        super().__init__(*key)
        self._generator = random.Random(repr(key))

    def at(self, counter: int) -> float:
        return self._generator.random()

    def random(self) -> float:
        return self._generator.random()


def at_is_random(make: Callable[..., Stream], counters: list[int]) -> bool:
    """``at(k)`` is the k-th ``random()``, in any order, and moves nothing along."""
    one, other = make("key"), make("key")
    drawn = [one.random() for _ in range(40)]
    jumped = [other.at(k) for k in counters]
    return jumped == [drawn[k] for k in counters] and [other.random() for _ in range(40)] == drawn


@examples(0.5)
@given(st.lists(st.integers(0, 39), max_size=12))
def test_at_is_the_kth_draw(counters: list[int]) -> None:
    assert at_is_random(Stream, counters)


def test_a_stream_with_a_hidden_state_is_noticed() -> None:
    assert not at_is_random(SequentialStream, [3, 3])


def test_draws_are_blake2b_of_key_and_counter() -> None:
    """An independent reading of the definition; the values hold for every machine and version."""
    stream = Stream(0, "chance", 5)
    for k in (0, 1, 7, 8, 100):
        digest = hashlib.blake2b(b"(0, 'chance', 5)" + (k // 8).to_bytes(8, "little")).digest()
        word = int.from_bytes(digest[8 * (k % 8) : 8 * (k % 8) + 8], "little")
        assert stream.at(k) == (word >> 11) / 2**53
    assert Stream(0, "chance").random() == 0.9549953312360909  # pinned: it must never change
    assert stream.key == (0, "chance", 5)
    assert repr(stream) == "Stream(0, 'chance', 5)"


# ---- uniformity ------------------------------------------------------------------------------


@pytest.mark.parametrize("across", ["one stream", "first draws of many streams"])
def test_draws_are_uniform(across: str) -> None:
    one = Stream("uniform")
    streams = (one if across == "one stream" else Stream("uniform", i) for i in range(4000))
    draws = [stream.random() for stream in streams]
    tenths = dict.fromkeys(range(10), 0.1)
    assert all(0 <= u < 1 for u in draws)
    assert agrees([int(10 * u) for u in draws], tenths)
    pairs = dict.fromkeys(itertools.product(range(2), repeat=2), 0.25)
    neighbours = list(zip(draws[::2], draws[1::2], strict=True))
    assert agrees([(int(2 * u), int(2 * v)) for u, v in neighbours], pairs)
    assert not agrees([int(10 * min(u, v)) for u, v in neighbours], tenths)


class Words(Stream):
    """A stream whose 64-bit words are given."""

    def __init__(self, *words: int) -> None:
        super().__init__("words")
        self._given = iter(words)

    def _bits(self, counter: int) -> int:
        return next(self._given)


def rejects_the_rest(integer: Callable[[Stream, int], int], bound: int) -> bool:
    """The words that are kept form whole cycles of ``bound``; the others are drawn again."""
    kept = 2**64 - 2**64 % bound
    last = integer(Words(kept - 1, 0), bound)
    redrawn = integer(Words(kept, 2**64 - 1, 5), bound) if kept < 2**64 else 5 % bound
    return last == bound - 1 and redrawn == 5 % bound


@examples(0.5)
@given(st.integers(1, 2**64))
def test_integer_is_exactly_uniform(bound: int) -> None:
    assert rejects_the_rest(Stream.integer, bound)
    assert 0 <= Stream("any").integer(bound) < bound


def test_a_modulo_without_rejection_is_noticed() -> None:
    assert not rejects_the_rest(lambda stream, bound: stream._bits(0) % bound, 10)


def test_integer_frequencies() -> None:
    stream = Stream("dice")
    assert agrees([stream.integer(6) for _ in range(1200)], dict.fromkeys(range(6), 1 / 6))
    assert {Stream("c", i).choice("abc") for i in range(40)} == set("abc")
    assert all(0 <= Stream("s", i).seed() < 2**32 for i in range(40))


@pytest.mark.parametrize("bound", [0, -1, 2**64 + 1])
def test_impossible_bounds_are_refused(bound: int) -> None:
    with pytest.raises(InvalidArgumentError, match="'bound' must be between"):
        Stream(0).integer(bound)


STREAMS_OF_RUNS = {
    "actions of a suite's game",
    "canary",
    "cloning measurement",
    "past self",
    "seed model",
}
"""The words that key the streams of a run beside those of ``EpisodeKey``: another word would be another run."""


def test_the_words_that_key_random_streams_are_as_they_were() -> None:
    root = Path(__file__).parents[2]
    calls = (
        node
        for package in ("lap", "algorithms")
        for file in (root / package).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Stream") and node.args
    )
    words = {call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant)}
    assert words == STREAMS_OF_RUNS
    assert [purpose.value for purpose in Purpose] == [
        "start",
        "chance",
        "policy",
        "sub-sample",
        "branch",
    ]
    assert [phase.value for phase in Phase] == ["training", "evaluation", "cloning", "examples"]
