"""The registry: ids with a version, builders with their arguments, and one clear sentence else."""

from typing import Any

import pytest

from tests.strategies import Countdown
from tsmg import InvalidArgumentError, UnknownGameError, make, register, registered, registry


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_REGISTRY", {})


def test_a_registered_game_is_made() -> None:
    register("Countdown-v0", Countdown)
    register("LongCountdown-v3", Countdown, summary="A larger heap.", heap=9)
    assert make("Countdown-v0") == Countdown()
    assert make("Countdown-v0", heap=7) == Countdown(heap=7)
    assert make("LongCountdown-v3") == Countdown(heap=9)
    assert make("LongCountdown-v3", heap=2) == Countdown(heap=2)
    specs = registered()
    assert [spec.id for spec in specs] == ["Countdown-v0", "LongCountdown-v3"]
    assert specs[0].summary.startswith("Turn-based, without chance")
    assert specs[1].summary == "A larger heap."
    assert specs[1].kwargs == {"heap": 9}


@pytest.mark.parametrize("id", ["Countdown", "Countdown-v", "-v0", "9-v0", "A b-v0", "A-v0\n", ""])
def test_malformed_ids_are_refused(id: str) -> None:
    with pytest.raises(InvalidArgumentError, match="'id' must look like 'Name-v0'"):
        register(id, Countdown)
    assert registered() == ()


def test_an_id_is_given_once() -> None:
    register("Countdown-v0", Countdown)
    with pytest.raises(InvalidArgumentError, match="'id' must be new"):
        register("Countdown-v0", Countdown, heap=3)
    assert make("Countdown-v0") == Countdown()


def test_unknown_ids_are_answered_with_a_hint() -> None:
    register("Countdown-v0", Countdown)
    with pytest.raises(UnknownGameError, match="did you mean 'Countdown-v0'"):
        make("countdown-v1")
    with pytest.raises(UnknownGameError, match="no game is registered as 'zzz'"):
        make("zzz")


def test_games_of_ones_own_are_loaded_by_module() -> None:
    assert make("tests.strategies:Countdown", heap=4) == Countdown(heap=4)


@pytest.mark.parametrize(
    "id",
    [
        "no_such_module:Game",
        "tests.strategies:NoGame",
        "tests.strategies:",
        ":x",
        ".x:y",
        "math:pi",
    ],
)
def test_modules_that_have_no_such_game(id: str) -> None:
    with pytest.raises(UnknownGameError, match="cannot load the game"):
        make(id)


@pytest.mark.parametrize(
    ("id", "kwargs", "message"),
    [
        ("Countdown-v0", {"heaps": 3}, "Countdown-v0: got an unexpected keyword argument 'heaps'"),
        ("builtins:dict", {}, "builtins:dict: no signature found"),
        ("tests.strategies:plans", {"count": 1}, r"must name a game \(got .*plans': list\)"),
        ("games:FrozenLake", {"size": 1}, "'size' must be an integer of at least 2"),
    ],
)
def test_wrong_arguments_are_refused(id: str, kwargs: dict[str, Any], message: str) -> None:
    register("Countdown-v0", Countdown)
    with pytest.raises(InvalidArgumentError, match=message):
        make(id, **kwargs)
