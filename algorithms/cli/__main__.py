"""``python -m algorithms.cli`` and the command ``tsmg``: the process around the command line.

What concerns the whole process is set here, before the imports that take seconds.
"""

import os
import signal
from types import FrameType
from typing import NoReturn


def run() -> None:
    """Run the command line; Ctrl-C ends it with exit code 130 and one line, whatever it is doing."""
    signal.signal(signal.SIGINT, _stop)
    # the progress bars of other libraries would mix with a command's own lines
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # how long a thread of torch waits for the others before it gives its core away: by default so long that two threads
    # are twenty times as slow as one where another program has half of a core
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    from algorithms.cli.main import main

    main(prog_name="tsmg")


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    """End the process in order, so that a terminal is left as it was; a second signal ends it at once."""
    signal.signal(number, signal.SIG_DFL)
    os.write(2, b"\nstopped by SIGINT\n")  # a buffered stream may be in the middle of a write
    raise SystemExit(128 + number)


if __name__ == "__main__":
    run()
