"""What people see of a run while it goes on."""

from pathlib import Path

import pytest

from algorithms.cli.terminal import PlainLines, say_result
from algorithms.play.evaluation import Evaluation
from algorithms.play.rollouts import Rollouts
from algorithms.training.game_spec import GameSpec
from algorithms.training.metrics import Update
from algorithms.training.run import Result


def update(index: int, seconds: float, **metrics: float | None) -> Update:
    figures = {"reward": 0.25, "success_rate": None, "invalid_rate": 0.5, "failed_episodes": 0.0}
    return Update(
        metrics={"update": float(index), **figures, **metrics},
        seconds={"seconds_playing": seconds / 2, "seconds_learning": seconds / 2},
        rollouts=Rollouts(groups=(), failed=()),
    )


def lines_of(capsys: pytest.CaptureFixture[str], *updates: Update) -> list[str]:
    with PlainLines(100) as reporter:
        for one in updates:
            reporter.update(one)
    return capsys.readouterr().out.splitlines()


def test_quick_updates_have_a_line_every_few(capsys: pytest.CaptureFixture[str]) -> None:
    lines = lines_of(capsys, *(update(n, 29.0) for n in range(1, 101)))
    assert len(lines) == 20
    assert lines[0].startswith("update 5 of 100: return 0.250, invalid 0.5000, 0 episodes/s, ")


def test_a_slow_update_has_a_line_of_its_own_with_the_time_that_is_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = lines_of(capsys, update(1, 36.0), update(2, 1.0), update(3, 31.0), update(4, 1.0))
    assert [line.split()[1] for line in lines] == ["1", "3"]
    assert lines[0].endswith(", 0:59:24 left")  # 99 updates of 36 s


def test_failed_episodes_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = lines_of(capsys, update(100, 1.0, failed_episodes=3.0, success_rate=0.5))
    assert "success 0.500, invalid 0.5000, 3 episodes failed, " in line


def test_what_is_said_at_the_end_names_the_game_as_it_was_played(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of two roles each, three episodes are three."""
    found = Evaluation(
        episodes=(),
        reward=0.5,
        reward_by_agent={},
        success_rate=0.5,
        invalid_rate=0.0,
        episode_length=2.0,
        starts=("a", "a", "b", "b", "c", "c"),
        returns=(0.0, 1.0) * 3,
    )
    result = Result(
        folder=Path("out"),
        start_sampled=found,
        start_greedy=found,
        sampled=found,
        greedy=found,
        ceiling=None,
    )
    game = GameSpec(id="KuhnPoker-v0", arguments={"ante": 2}, held_out=0.5)
    say_result(result, game=game, checkpoint="last")
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first == "episodes evaluated: 3, the same before and after"
    options = "--game KuhnPoker-v0 --set ante=2"
    assert f"tsmg evaluate {options} --held-out 0.5 --model last" in last
    assert last.endswith(f"or tsmg play {options}")
