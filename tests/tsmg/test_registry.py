"""The registry: ids with a version, builders with their arguments, and one clear sentence else."""

import abc
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from typeguard import suppress_type_checks

from tests.strategies import Countdown
from tsmg import InvalidArgumentError, UnknownGameError, make, register, registered, registry
from tsmg.testing import check_game


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    importlib.import_module(
        "games"
    )  # its import registers, and must not do so in the registry of a test
    monkeypatch.setattr(registry, "_REGISTRY", {})


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages: one whose games can be imported, and one whose games cannot."""
    for name, code in {
        "a_faulty_package": "raise RuntimeError('no licence was found')",
        "a_sound_package": "import tsmg, tests.strategies as s; tsmg.register('Sound-v0', s.Countdown)",
    }.items():
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[tsmg.games]\nmine = {name}_games\n")
        (tmp_path / f"{name}_games.py").write_text(f"{code}\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry._import_games.cache_clear()
    yield tmp_path
    registry._import_games.cache_clear()
    sys.modules.pop("a_sound_package_games")


def test_an_id_is_found_without_an_import_of_its_package() -> None:
    program = (
        "import sys, tsmg\n"
        "assert 'games' not in sys.modules\n"
        "assert tsmg.make('TicTacToe-v0').name == 'TicTacToe'\n"
        "assert 'games' in sys.modules and 'gymnasium' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_package_that_cannot_be_imported_is_named_and_hides_no_games(packages: Path) -> None:
    assert make("Sound-v0") == Countdown()
    named = r"'a_faulty_package'.*RuntimeError: no licence was found"
    with pytest.warns(UserWarning, match=named):
        specs = registered()
    assert [spec.id for spec in specs] == ["Sound-v0"]
    with pytest.raises(UnknownGameError, match=rf"(?s)'Faulty-v0'.*{named}$") as raised:
        make("Faulty-v0")
    assert "\n" not in str(raised.value)


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
        ("tests.strategies:specs", {"count": 1}, r"must name a game \(got .*specs': list\)"),
        ("games:FrozenLake", {"size": 1}, "'size' must be an integer of at least 2"),
    ],
)
def test_wrong_arguments_are_refused(id: str, kwargs: dict[str, Any], message: str) -> None:
    register("Countdown-v0", Countdown)
    with pytest.raises(InvalidArgumentError, match=message):
        make(id, **kwargs)


@attrs.frozen(kw_only=True)
class Typed(Countdown):
    """A game with settings of several types."""

    speed: float = 1.0
    title: str = ""
    loud: bool = False
    seat: int | None = None
    heaps: tuple[int, ...] = ()


class Half(Countdown, abc.ABC):
    """A class that lacks two methods; one of them is misspelt."""

    def action_texts(self, state: Any, agent: str, action: Any) -> str:
        return str(action)

    @abc.abstractmethod
    def action_text(self, state: Any, agent: str, action: Any) -> str:
        """It is left open."""

    @abc.abstractmethod
    def is_terminal(self, state: Any) -> bool:
        """It is left open."""


FITS: list[dict[str, Any]] = [
    {"heap": 4}, {"heap": np.int64(4)}, {"speed": 2}, {"speed": 0.5}, {"title": "x"}, {"loud": True}, {"loud": 1},
    {"seat": None}, {"seat": 2}, {"heaps": "left to the builder"},
]  # fmt: skip
DOES_NOT_FIT: list[dict[str, Any]] = [
    {"heap": "abc"}, {"heap": 1.5}, {"heap": True}, {"speed": "fast"}, {"title": 3}, {"loud": "yes"}, {"seat": "x"},
]  # fmt: skip


@pytest.mark.parametrize("kwargs", FITS)
def test_settings_of_their_type_are_taken(kwargs: dict[str, Any]) -> None:
    with suppress_type_checks():
        assert make("tests.tsmg.test_registry:Typed", **kwargs) == Typed(**kwargs)


@pytest.mark.parametrize("kwargs", DOES_NOT_FIT)
def test_settings_of_another_type_are_refused(kwargs: dict[str, Any]) -> None:
    ((name, value),) = kwargs.items()
    with pytest.raises(InvalidArgumentError, match=rf"'{name}' must be of type .*got {value!r}"):
        make("tests.tsmg.test_registry:Typed", **kwargs)


def test_a_class_without_a_method_is_refused_in_one_sentence() -> None:
    message = "'action_text' (or is 'action_texts' meant to be it?), 'is_terminal'"
    for refused in (lambda: make("tests.tsmg.test_registry:Half"), lambda: check_game(Half)):
        with pytest.raises(InvalidArgumentError, match=re.escape(message)) as raised:
            refused()
        assert "\n" not in str(raised.value)
