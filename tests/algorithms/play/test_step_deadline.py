"""A game that hangs fails an episode, and other games do not notice their deadline."""

import signal
import threading
import time
from collections.abc import Mapping
from typing import Any

import attrs
import pytest

import games
from algorithms.play.step_deadline import with_step_deadline
from tests.algorithms.play.test_failures import Native
from tsmg import (
    AbstractExplicitGame,
    AbstractSampledGame,
    Episode,
    EpisodeKey,
    EpisodeSpec,
    FailedEpisode,
    InvalidArgumentError,
    PlayerPolicy,
    UniformPlayer,
    play,
)


def hang() -> None:
    while True:
        pass


def swallow() -> None:
    end = time.monotonic() + 5
    try:
        hang()
    except TimeoutError:
        while time.monotonic() < end:
            pass


WAYS = {"busy": hang, "asleep": lambda: time.sleep(5), "swallowed": swallow}


@attrs.frozen(kw_only=True)
class Hanging(Native):
    """In a bad start, a way of hanging at one place."""

    place: str = ""
    way: str = "busy"

    def _hang(self, place: str, state: tuple[int, int]) -> None:
        if self.place == place and state[0] == 0:
            WAYS[self.way]()

    def transition_dist(self, state: tuple[int, int], joint_action: Mapping[str, str]) -> Any:
        self._hang("transition", state)
        return super().transition_dist(state, joint_action)

    def observation_text(self, state: tuple[int, int], agent: str) -> str:
        self._hang("writing", state)
        return super().observation_text(state, agent)

    def read_action(self, state: tuple[int, int], agent: str, text: str) -> Any:
        self._hang("reading", state)
        return super().read_action(state, agent, text)


def records(game: Any, count: int = 8) -> list[Any]:
    player = PlayerPolicy(game, UniformPlayer(game))
    return play(game, player, [EpisodeSpec(key=EpisodeKey(seed=0, group=g)) for g in range(count)])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", ["transition", "writing", "reading"])
def test_a_game_that_hangs_fails_an_episode(place: str, way: str) -> None:
    game = with_step_deadline(Hanging(place=place, way=way), 0.05)
    began = time.monotonic()
    found = records(game)
    assert time.monotonic() - began < 4
    failed = [r for r in found if isinstance(r, FailedEpisode)]
    assert 0 < len(failed) < len(found)
    for record in failed:
        assert "GameDeadlineError" in record.error and "took more than 0.05 s" in record.error
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


def test_a_law_that_hangs_is_interrupted() -> None:
    game: Any = with_step_deadline(Hanging(place="transition"), 0.05)
    with pytest.raises(TimeoutError, match=r"a transition's distribution took more than 0.05 s"):
        game.transition_dist((0, 0), {"player": "wait"})
    assert game.transition_dist((1, 0), {"player": "wait"}).is_finite


@pytest.mark.parametrize("name", ["KuhnPoker-v0", "GaussianBandit-v0", "FrozenLake-v0"])
def test_a_deadline_that_is_kept_changes_nothing(name: str) -> None:
    game = games.make(name)
    timed = with_step_deadline(game, 60)
    for kind in (AbstractExplicitGame, AbstractSampledGame):
        assert isinstance(timed, kind) == isinstance(game, kind)
    assert timed.name == game.name and timed.facts == game.facts
    assert records(timed) == records(game)


def test_in_another_thread_there_is_no_deadline() -> None:
    found: list[Any] = []
    game = with_step_deadline(Native(), 0.001)
    thread = threading.Thread(target=lambda: found.extend(records(game)))
    thread.start()
    thread.join()
    assert all(isinstance(record, Episode) for record in found) and found


def test_a_deadline_is_above_0() -> None:
    for seconds in (0.0, -1.0, float("nan")):
        with pytest.raises(InvalidArgumentError, match="'seconds' must be above 0"):
            with_step_deadline(Native(), seconds)
