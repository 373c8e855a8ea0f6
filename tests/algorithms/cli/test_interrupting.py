"""Ctrl-C ends every command with exit code 130 and one line, whatever it is doing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.checkpoints import tiny_model

ROOT = Path(__file__).parents[3]
WAIT = 240  # s; the machine may be busy
ONE_LINE = "stopped by SIGINT"
# The process sends itself the signal while a module is being imported.
AT_IMPORT = """
import os, signal, sys, threading, time
from algorithms.cli.__main__ import run

def watch():
    while {module!r} not in sys.modules:
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=watch, daemon=True).start()
sys.argv = ["tsmg", *{arguments!r}]
run()
"""
SMALL = "--threads 1 --updates 2 --groups 2 --group-size 2 --kept-episodes 2 --final-episodes 2"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts a command in an empty folder; what is left of it is ended."""
    started = []

    def start(*command: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TSMG_CACHE": str(tmp_path / "cache")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,  # as a shell does: Ctrl-C reaches all of the group
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def press_ctrl_c(process: "subprocess.Popen[str]") -> None:
    os.killpg(process.pid, signal.SIGINT)


def told(process: "subprocess.Popen[str]", *, code: int = 130) -> list[str]:
    """The lines on standard error of a process that has ended with this exit code."""
    output, error = process.communicate(timeout=WAIT)
    assert process.returncode == code, (output, error)
    return [line for line in error.splitlines() if line]


def is_there(path: Path) -> None:
    end = time.monotonic() + WAIT
    while not path.exists():
        assert time.monotonic() < end, path
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("module", ["click", "torch", "transformers"])
def test_while_modules_are_imported(
    module: str, place: Callable[..., "subprocess.Popen[str]"]
) -> None:
    code = AT_IMPORT.format(module=module, arguments=["train", *SMALL.split()])
    assert told(place("-c", code)) == [ONE_LINE]


@pytest.mark.slow
def test_while_a_model_is_cloned(place: Callable[..., "subprocess.Popen[str]"]) -> None:
    process = place("-u", "-m", "algorithms.cli", "train", *SMALL.split())
    assert process.stdout is not None
    assert "steps" in process.stdout.readline()
    press_ctrl_c(process)
    assert told(process) == [ONE_LINE]


@pytest.mark.slow
def test_while_a_run_plays(place: Callable[..., "subprocess.Popen[str]"], tmp_path: Path) -> None:
    tiny_model(sharp=3.0).save_pretrained(tmp_path / "model")
    small = SMALL.replace("--final-episodes 2", "--final-episodes 100")
    process = place(
        "-m", "algorithms.cli", "train", "--model", "model", *small.split(), "--output", "run"
    )
    is_there(tmp_path / "run" / "start")
    press_ctrl_c(process)
    first, last = told(process)
    assert first == "finishing the current work; a second signal stops at once"
    assert last.startswith("stopped by SIGINT after update ")
    assert last.endswith("tsmg train --resume run")


@pytest.mark.slow
def test_while_a_policy_is_evaluated(
    place: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    tiny_model(sharp=3.0).save_pretrained(tmp_path / "model")
    arguments = ["evaluate", "--model", "model", "--episodes", "20000", "--threads", "1"]
    code = AT_IMPORT.format(module="algorithms.play.optimum", arguments=arguments)
    process = place("-c", code.replace("    os.kill(", "    time.sleep(2)\n    os.kill("))
    assert told(process) == [ONE_LINE]


@pytest.mark.slow
def test_while_a_person_plays(place: Callable[..., "subprocess.Popen[str]"]) -> None:
    process = place("-u", "-m", "algorithms.cli", "play", "--game", "BernoulliBandit-v0")
    assert process.stdout is not None
    while process.stdout.read(2) not in ("> ", ""):
        pass
    press_ctrl_c(process)
    assert told(process) == [ONE_LINE]


@pytest.mark.slow
def test_while_an_experiment_runs(
    place: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    process = place(
        "-m", "algorithms.cli", "experiment", "paper", "--scale", "smoke", "--output", "all"
    )
    is_there(tmp_path / "all" / "logs")
    press_ctrl_c(process)
    assert told(process) == [ONE_LINE]
