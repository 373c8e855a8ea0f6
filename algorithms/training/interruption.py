"""SIGTERM and SIGINT, handled so that the current work can be finished first."""

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any, final

_NOTED = (signal.SIGTERM, signal.SIGINT)
_TOLD = b"\nfinishing the current work; a second signal stops at once\n"


@final
class Interruption(contextlib.AbstractContextManager["Interruption"]):
    """Within its ``with`` block the first SIGTERM or SIGINT is noted, and the second ends the process.

    Only the main thread receives signals; in others nothing is noted.

    Attributes:
      signal: the number of the signal that came; ``None`` if none did.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _NOTED}
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal = number
            os.write(2, _TOLD)  # a buffered stream may be in the middle of a write
            return
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
