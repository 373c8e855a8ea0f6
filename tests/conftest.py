"""Fixtures of several files, which import when they are used: typeguard, if asked for, sees only later imports."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.engine_server import FakeEngine

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell makes its background jobs ignore Ctrl-C, and so would the commands that tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny checkpoint with peaked distributions; nothing is written there."""
    from tests.engine_server import checkpoint

    return checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def engine(tiny_checkpoint: Path) -> Iterator["FakeEngine"]:
    """A small inference server of the tiny checkpoint."""
    from tests.engine_server import serving

    with serving(tiny_checkpoint) as (one,):
        yield one
