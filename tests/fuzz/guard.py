"""One case under watch: what it raises, how long it takes, and whether it runs foreign code or reaches the network."""

import atexit
import contextlib
import functools
import hashlib
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs

from tests.fuzz.source import CANARY, Source

Case = Callable[[Source], None]
ROOT = Path(__file__).parents[2]
SECONDS = 5.0  # of CPU time; a case takes milliseconds
_PACKAGES = ("tsmg", "lap", "algorithms", "games")
_EXECUTES = frozenset((
    "pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn", "subprocess.Popen",
    "socket.connect", "socket.getaddrinfo", "socket.gethostbyname",
))  # fmt: skip


class BrokenPromiseError(Exception):
    """A case found that a promise is not kept; the first word says which."""


class HangError(BaseException):
    """A case took too long. No ``except Exception`` catches it."""


@attrs.frozen(kw_only=True)
class Finding:
    """A promise that was not kept.

    Attributes:
      kind: crash, hang, forged turn, code execution, or wrong: a distribution that does not hold.
      what: the error.
      place: the line of the library where it came up.
      data: the bytes that the case was made from.
    """

    kind: str
    what: str
    place: str
    data: bytes

    @property
    def key(self) -> str:
        """Findings of one key are one finding."""
        told = f"{self.kind} {self.what.partition(':')[0]} {self.place}"
        return hashlib.blake2b(told.encode(errors="replace"), digest_size=4).hexdigest()


def wrong(kind: str, what: str) -> BrokenPromiseError:
    """The error for a promise of this kind."""
    return BrokenPromiseError(f"{kind}: {what}")


def scratch(name: str) -> Path:
    """A new folder, removed as the process ends; the command removes those of processes that end otherwise."""
    folder = tempfile.mkdtemp(prefix=f"fuzz-{name}-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def word(text: str) -> str:
    """A text as a shell would hand it over, and that is no path to elsewhere."""
    return (
        text.encode(errors="replace").decode().replace("\0", "").replace("/", "").lstrip("-.")
        or "x"
    )


@contextlib.contextmanager
def declared(*others: type[Exception]) -> Iterator[None]:
    """Errors that the library declares may come out of this block, if they say something."""
    from tsmg import TSMGError

    try:
        yield
    except (TSMGError, *others) as error:
        if not str(error).strip():
            raise wrong("wrong", f"{type(error).__name__} says nothing") from error


class _Watch:
    """What foreign code was about to do since the case began; a hook of the interpreter cannot be removed."""

    def __init__(self) -> None:
        self.executed: list[str] = []
        self.is_on = False
        sys.addaudithook(self.hear)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.is_on:
            return
        if event in _EXECUTES:
            self.executed.append(f"{event} {arguments[:2]!r}"[:200])
            raise RuntimeError(f"{event} in a fuzzed case")


@functools.cache
def _watch() -> _Watch:
    return _Watch()


def executed(what: str) -> None:
    """Note that foreign code was about to run."""
    _watch().executed.append(what)


def _too_long(*_: object) -> None:
    raise HangError(f"more than {SECONDS:g} s of CPU time")


def watched(case: Case, source: Source, data: Callable[[], bytes]) -> Finding | None:
    """Run a case; what is wrong with it, if anything is.

    Args:
      case: what is run.
      source: its input.
      data: the bytes of the input, asked for afterwards.
    """
    error = _run(case, source)
    if _watch().executed:
        told, place = "; ".join(_watch().executed), "" if error is None else _place(error)
        return Finding(kind="code execution", what=told, place=place, data=data())
    if error is None:
        return None
    kind = "hang" if isinstance(error, HangError) else "crash"
    what = f"{type(error).__name__}: {str(error)[:300]}"
    if isinstance(error, BrokenPromiseError):
        kind, _, what = str(error).partition(": ")
    return Finding(kind=kind, what=what, place=_place(error), data=data())


def _run(case: Case, source: Source) -> BaseException | None:
    watch = _watch()
    before = signal.signal(signal.SIGVTALRM, _too_long)
    watch.executed.clear()
    sys.modules.pop(CANARY, None)
    watch.is_on = True
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            case(source)
    except (Exception, HangError, SystemExit) as error:  # noqa: BLE001 - whatever is raised is a finding
        return error
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
        watch.is_on = False
    return None


def _place(error: BaseException) -> str:
    """The innermost line of the library, else of the case."""
    frames = traceback.extract_tb(error.__traceback__)
    inner = [Path(f.filename) for f in frames]
    places = [
        f"{file.relative_to(ROOT)}:{frame.lineno}"
        for file, frame in zip(inner, frames, strict=True)
        if file.is_relative_to(ROOT)
    ]
    ours = [place for place in places if place.split("/")[0] in _PACKAGES]
    return (ours or places or [""])[-1]
