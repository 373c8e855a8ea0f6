"""SIGTERM and SIGINT: the first is noted, so that a run can save itself; the second ends the process."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from algorithms import MSGRPOTrainer
from algorithms.distributed.processes import Processes
from algorithms.errors import RunStoppedError
from algorithms.runs.checkpoints import checkpoint_folder
from algorithms.training.interruption import Interruption
from tests.whole_runs import contents, run

SIGNALS = [signal.SIGTERM, signal.SIGINT]


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_noted_and_handlers_come_back(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)
    with Interruption() as asked:
        assert asked.signal is None
        os.kill(os.getpid(), number)
        assert asked.signal == number
    assert signal.getsignal(number) is before
    assert "a second signal stops at once" in capfd.readouterr().err


@pytest.mark.parametrize("number", SIGNALS)
def test_the_second_signal_ends_the_process(number: signal.Signals) -> None:
    code = (
        "import os; from algorithms.training.interruption import Interruption\n"
        "with Interruption() as asked:\n"
        f"    os.kill(os.getpid(), {int(number)}); print('alive', flush=True)\n"
        f"    os.kill(os.getpid(), {int(number)}); print('still alive', flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "alive\n"
    assert done.returncode == -number


def test_in_another_thread_nothing_is_noted() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work() -> None:
        with Interruption() as asked:
            seen.append((asked.signal, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(None, before)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that no signal reached."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    run(folder)
    return folder


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("update", [0, pytest.param(3, marks=pytest.mark.slow), 5])
def test_a_signal_stops_a_run_with_a_checkpoint_and_nothing_is_lost(
    number: signal.Signals,
    update: int,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "update" if update else "evaluate"
    method = getattr(MSGRPOTrainer, name)

    def signalled(self, *arguments, **named):  # type: ignore[no-untyped-def]
        done = method(self, *arguments, **named)
        if self.update_index == update:
            os.kill(os.getpid(), number)
        return done

    with monkeypatch.context() as patch:
        patch.setattr(MSGRPOTrainer, name, signalled)
        # the second evaluation of the start would send the signal again
        if not update:
            patch.setattr(Interruption, "_note", note_first)
        with pytest.raises(RunStoppedError) as caught:
            run(tmp_path / "run")
    assert caught.value.signal == number
    assert f"{number.name} after update {update}" in str(caught.value)
    assert str(caught.value).endswith(f"tsmg train --resume {tmp_path / 'run'}")
    heard = run(tmp_path / "run", resume=True)
    assert f"resumed after update {update}" in heard
    assert contents(tmp_path / "run") == contents(whole)


def note_first(self, number, frame):  # type: ignore[no-untyped-def]
    self.signal = number


def test_whether_a_checkpoint_is_there_already_is_what_the_first_process_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them make one together, or none does: what each finds on its own disk may differ."""
    update = MSGRPOTrainer.update
    asked: list[bool] = []
    stopped: list[bool] = []

    def signalled(self: MSGRPOTrainer) -> Any:
        done = update(self)
        if self.update_index == 1:
            stopped.append(True)
            os.kill(os.getpid(), signal.SIGTERM)
        return done

    def first_has_it(self: Processes, value: Any) -> Any:
        if not stopped:  # what is there when the run begins
            return value
        asked.append(value)
        return True

    monkeypatch.setattr(MSGRPOTrainer, "update", signalled)
    monkeypatch.setattr(Processes, "broadcast", first_has_it)
    with pytest.raises(RunStoppedError):
        run(tmp_path / "run")
    assert asked == [False]
    assert not checkpoint_folder(tmp_path / "run", 1).exists()
