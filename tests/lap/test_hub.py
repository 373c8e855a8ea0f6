"""Checkpoints by name: from a small hub on the loopback, from its cache once the hub is gone, and none at all."""

import functools
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils import logging

from lap import ModelError, TransformersModel
from lap.models import hub
from lap.models.loading import find_checkpoint, loading
from tests.checkpoints import tiny_model

COMMIT = "0123456789" * 4
LOAD = """
import time
from lap import ModelError, TransformersModel
start = time.monotonic()
for name in ("us/tiny", "us/tinny"):
    try:
        print(TransformersModel.from_pretrained(name).digest())
    except ModelError as error:
        print(error)
print(time.monotonic() - start < 20)
"""


class _Hub(http.server.BaseHTTPRequestHandler):
    """Serves the files of one checkpoint, ``us/tiny``, as a hub does."""

    def __init__(self, folder: Path, *arguments: Any) -> None:
        self.folder = folder
        super().__init__(*arguments)

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self.wfile.write(self._answer())

    def _answer(self) -> bytes:
        is_known = "us/tiny/" in self.path
        file = self.folder / self.path.rpartition("/main/")[2]
        is_there = is_known and "/resolve/" in self.path and file.is_file()
        data = file.read_bytes() if is_there else b""
        self.send_response(200 if is_there else 404)
        if is_there:
            self.send_header("ETag", f'"{file.name}-{len(data)}"')
        else:
            self.send_header("X-Error-Code", "EntryNotFound" if is_known else "RepoNotFound")
        if is_known:
            self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        return data

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


def loaded(*, url: str, home: Path) -> list[str]:
    """What a process of its own, which may ask the hub at the URL, says of a name that the hub has and of another."""
    environment = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(home)}
    environment.pop("HF_HUB_OFFLINE")
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd=home,
    )
    assert "Retrying" not in done.stderr and "thrown while" not in done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_a_hub_is_asked_and_where_it_is_gone_its_cache_is_read(tmp_path: Path) -> None:
    model = tiny_model()
    model.save_pretrained(tmp_path / "model")
    home = tmp_path / "home"
    home.mkdir()
    handler = functools.partial(_Hub, tmp_path / "model")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        digest, said, is_quick = loaded(url=url, home=home)
        assert (digest, is_quick) == (model.digest(), "True")
        assert "no checkpoint is called 'us/tinny'" in said and "the hub has none of that" in said
        server.shutdown()
    digest, said, is_quick = loaded(url=url, home=home)
    assert (digest, is_quick) == (model.digest(), "True")
    assert "no checkpoint is called 'us/tinny'" in said and "the hub cannot be reached" in said


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What an unreachable hub is asked for."""
    asked: list[str] = []

    def ask(url: str, **options: Any) -> None:
        asked.append(url)
        raise OfflineModeIsEnabled("there is no cable. Put one in.")

    monkeypatch.setattr(hub, "get_hf_file_metadata", ask)
    hub.is_in_cache_alone.cache_clear()
    yield asked
    hub.is_in_cache_alone.cache_clear()


def test_a_name_that_nobody_knows_is_refused_in_one_sentence(asked: list[str]) -> None:
    with pytest.raises(ModelError) as caught:
        TransformersModel.from_pretrained("nosuch")
    assert str(caught.value) == (
        "no checkpoint is called 'nosuch': there is no such folder, the hub's cache has none of that name, and the "
        "hub cannot be reached (there is no cable)"
    )
    assert len(asked) == 1


def test_a_folder_of_a_similar_name_is_named(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs/default").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"did you mean 'runs/default'\?$"):
        find_checkpoint("runs/defualt")
    with pytest.raises(ModelError, match=r"no hub has such names; did you mean 'runs'\?$"):
        find_checkpoint("runs ")
    assert find_checkpoint("runs/default") == ("runs/default", False)
    assert len(asked) == 1  # a folder is never looked up, nor what cannot be a name


def test_the_hub_is_quiet_unless_it_was_asked_to_talk() -> None:
    before = logging.get_verbosity()
    try:
        for level, within in ((logging.WARNING, logging.ERROR), (logging.INFO, logging.INFO)):
            logging.set_verbosity(level)
            with loading("anything"):
                assert logging.get_verbosity() == within
            assert logging.get_verbosity() == level
    finally:
        logging.set_verbosity(before)
