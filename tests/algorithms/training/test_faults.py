"""Faults from outside, in whole runs: one sentence, nothing lost; docs/reference/faults.md has the table."""

import errno
import os
import resource
import shutil
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from algorithms import MSGRPOTrainer
from algorithms.errors import RunFolderError, RunStoppedError
from algorithms.runs.atomic import corruption_reason
from algorithms.runs.checkpoints import CHECKPOINTS
from algorithms.runs.writer import RunFolder
from algorithms.training.batch_learner import BatchLearner
from lap import LanguageAgentPolicy, ModelError
from tests.algorithms.play.test_failures import Native
from tests.whole_runs import CONFIG, RUN, contents, lines, run
from tsmg import (
    GameLawError,
    PlayRandomLegal,
    TooManyFailuresError,
    Transition,
    deterministic,
    with_horizon,
    with_invalid_rule,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing happened to."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    run(folder)
    return folder


def is_intact(folder: Path) -> bool:
    """Whether every checkpoint there is whole, and nothing half-written is left."""
    return all(corruption_reason(one) is None for one in (folder / CHECKPOINTS).iterdir())


# ---- the disk is full


def full(*arguments: Any, **named: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fails_once_there(folder: Path, name: str, function: Any, failing: Any) -> Any:
    """Fails once a file or folder of that name is in the run."""

    def completion(*arguments: Any, **named: Any) -> Any:
        there = (folder / name).exists()
        return (failing if there else function)(*arguments, **named)

    return completion


@pytest.mark.parametrize(
    "step",
    [
        "save_file",
        *(pytest.param(s, marks=pytest.mark.slow) for s in ("save_pretrained", "fsync", "rename")),
    ],
)
def test_a_full_disk_while_a_checkpoint_is_written(
    step: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from algorithms.runs import state

    place = {
        "save_file": state,
        "save_pretrained": LanguageAgentPolicy,
        "fsync": os,
        "rename": Path,
    }
    with monkeypatch.context() as patch:
        completion = fails_once_there(
            tmp_path, "checkpoints/update-000002", getattr(place[step], step), full
        )
        patch.setattr(place[step], step, completion)
        with pytest.raises(
            RunFolderError, match="No space left on device; earlier checkpoints"
        ) as caught:
            run(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(f"continue with: tsmg train --resume {tmp_path}")
    assert is_intact(tmp_path)
    run(tmp_path, resume=True)
    assert contents(tmp_path) == contents(whole)


@pytest.fixture
def files_of_at_most() -> Iterator[Any]:
    """Sets the greatest size of a file that this process may write."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def test_a_limit_of_the_operating_system_on_files(
    whole: Path, tmp_path: Path, files_of_at_most: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same with real failing writes, of whichever library."""
    learn = MSGRPOTrainer.update

    def limited(self: Any) -> Any:
        files_of_at_most(50_000 if self.update_index == 3 else resource.RLIM_INFINITY)
        return learn(self)

    with monkeypatch.context() as patch:
        patch.setattr(MSGRPOTrainer, "update", limited)
        with pytest.raises(RunFolderError, match=r"cannot write .*update-000004"):
            run(tmp_path)
    files_of_at_most(resource.RLIM_INFINITY)
    assert is_intact(tmp_path)
    run(tmp_path, resume=True)
    assert contents(tmp_path) == contents(whole)


@pytest.mark.parametrize("name", ["metrics.jsonl", "timings.jsonl", "episodes.jsonl"])
def test_a_full_disk_while_a_line_is_written(
    name: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = MSGRPOTrainer.update
    opened: list[RunFolder] = []
    begin = RunFolder.__init__

    def note(self: RunFolder, *arguments: Any, **named: Any) -> None:
        begin(self, *arguments, **named)
        opened.append(self)

    def fill(self: Any) -> Any:
        if self.update_index == 3:
            opened[0]._files[name] = Path("/dev/full").open("w")  # noqa: SIM115
        return learn(self)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "__init__", note)
        patch.setattr(MSGRPOTrainer, "update", fill)
        with pytest.raises(RunFolderError, match=f"cannot write .*{name}.*No space left on device"):
            run(tmp_path)
    with pytest.raises(OSError, match="No space"):
        opened[0]._files[name].close()
    assert is_intact(tmp_path)
    run(tmp_path, resume=True)
    assert contents(tmp_path) == contents(whole)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot write to"):
        run(tmp_path / "file" / "run")


# ---- the model is broken


def test_logits_that_are_not_finite_stop_the_run(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = MSGRPOTrainer.update

    def broken(self: Any) -> Any:
        done = learn(self)
        if self.update_index == 3:
            with torch.no_grad():
                next(self.policy.model.network.parameters()).fill_(float("nan"))
        return done

    with monkeypatch.context() as patch:
        patch.setattr(MSGRPOTrainer, "update", broken)
        with pytest.raises(ModelError, match=r"logits of .* are not finite"):
            run(tmp_path)
    assert is_intact(tmp_path)
    run(tmp_path, resume=True)
    assert contents(tmp_path) == contents(whole)


def test_a_gradient_that_is_not_finite_stops_the_run_before_the_step(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_backward = BatchLearner.backward

    def broken(self: Any, rows: Any, update: int, *rest: Any) -> None:
        whole_backward(self, rows, update, *rest)
        if update == 3:
            self.parameters[0].grad.fill_(float("inf"))

    with monkeypatch.context() as patch:
        patch.setattr(BatchLearner, "backward", broken)
        with pytest.raises(ModelError, match="gradient at update 3 is not finite"):
            run(tmp_path)
    assert is_intact(tmp_path)
    run(tmp_path, resume=True)
    assert contents(tmp_path) == contents(whole)


# ---- the game is broken


@attrs.frozen(kw_only=True)
class Absurd(Native):
    """In a bad start, a reward beyond what is declared."""

    amount: float = 1e9

    def transition_dist(self, state: tuple[int, int], joint_action: Mapping[str, str]) -> Any:
        reward = self.amount if state == (0, 1) else float(state[1])
        return deterministic(Transition((state[0], state[1] + 1), (reward,)))


class Declared(Absurd):
    """The same, with bounds."""

    facts = attrs.evolve(Absurd.facts, return_bounds=(0.0, 3.0))


def test_a_return_beyond_the_declared_bounds_is_a_failure(tmp_path: Path) -> None:
    game = with_invalid_rule(Declared(), PlayRandomLegal())
    config = attrs.evolve(CONFIG, groups=8, max_failure_rate=0.9)
    run(tmp_path, game=game, config=config)
    failures, metrics = lines(tmp_path / "failures.jsonl"), lines(tmp_path / "metrics.jsonl")
    assert failures
    for failed in failures:
        assert (
            "the return of 'player' is 1e+09, but its declared bounds are 0 to 3" in failed["error"]
        )
        assert len(failed["steps"]) == 3
    assert sum(m.get("failed_episodes", 0) for m in metrics) > 0
    assert all(m["reward"] == pytest.approx(3.0) for m in metrics if "reward" in m)


@pytest.mark.parametrize("amount", [-1e9, float("inf"), float("-inf"), float("nan")])
def test_absurd_rewards_stop_a_run_that_accepts_no_failures(amount: float, tmp_path: Path) -> None:
    game = with_invalid_rule(Declared(amount=amount), PlayRandomLegal())
    config = attrs.evolve(CONFIG, groups=8, max_failure_rate=0.0)
    with pytest.raises(TooManyFailuresError, match=GameLawError.__name__):
        run(tmp_path, game=game, config=config)


def test_episodes_that_are_cut_are_not_held_to_the_bounds(tmp_path: Path) -> None:
    game = with_horizon(with_invalid_rule(Declared(), PlayRandomLegal()), 2)
    run(tmp_path, game=game, config=attrs.evolve(CONFIG, groups=8))
    assert lines(tmp_path / "failures.jsonl") == []
    rewards = [m["reward"] for m in lines(tmp_path / "metrics.jsonl") if "reward" in m]
    assert max(rewards) > 1e6  # so that a bad start was met


@attrs.frozen(kw_only=True)
class Hung(Native):
    """In a bad start, a step that never ends."""

    def transition_dist(self, state: tuple[int, int], joint_action: Mapping[str, str]) -> Any:
        while state == (0, 1):
            pass
        return super().transition_dist(state, joint_action)


def test_a_game_that_hangs_fails_its_episodes(tmp_path: Path) -> None:
    game = with_invalid_rule(Hung(), PlayRandomLegal())
    settings = attrs.evolve(RUN, step_deadline=0.1, final_episodes=12)
    config = attrs.evolve(CONFIG, updates=2, groups=4, max_failure_rate=0.9)
    run(tmp_path, game=game, settings=settings, config=config)
    failures = lines(tmp_path / "failures.jsonl")
    assert failures
    assert all("GameDeadlineError: a transition took" in failed["error"] for failed in failures)
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


# ---- training is broken


def test_a_collapse_is_told_once_and_stops_the_run_where_that_is_asked(tmp_path: Path) -> None:
    """A random model that must name an action, and never does."""
    game = Native()
    heard = run(tmp_path / "told", game=game)
    warned = lines(tmp_path / "told" / "warnings.jsonl")
    invalid = [w for w in warned if "nearly every reply names no legal action" in w["warning"]]
    assert [w["update"] for w in invalid] == [3]
    assert sum("update 3: nearly every reply" in text for text in heard) == 1
    settings = attrs.evolve(RUN, stop_on_collapse=True)
    with pytest.raises(RunStoppedError, match="stopped after update 3: nearly every") as caught:
        run(tmp_path / "stopped", game=game, settings=settings)
    assert caught.value.signal == 0
    assert len(lines(tmp_path / "stopped" / "metrics.jsonl")) == 5  # two evaluations, three updates
    shutil.rmtree(tmp_path / "stopped" / "start")  # resumed without the saved start, as from Python
    with pytest.raises(RunStoppedError, match="stopped after update 3"):
        run(tmp_path / "stopped", game=game, settings=settings, resume=True)
