"""A run at full speed for a long time: does its memory grow, does it leak files, does it slow down?

    python tests/benchmarks/soak.py [--minutes 45] [--output runs/soak] [--markdown docs/reference/faults.md]

Starts ``tsmg train`` as a process of its own, with a learning rate so small that the policy stays as it is: every
update is then the same amount of work. Evaluations, checkpoints and transcripts are written as usual, but more often.
Memory, open files and processor time are read from ``/proc``, and kept in ``looks.jsonl`` beside the run. The first
updates are left out as warm-up (updates, not minutes: a busy machine does fewer of them); the rest is held against its
own beginning. The exit status is 1 if memory grew by 2% or more, a file stayed open, or the last
tenth played 10% fewer episodes for each second of processor time than the first.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import attrs

sys.path.insert(0, str(Path(__file__).parents[2]))  # where tests is a package

from tests.tables import as_markdown, put

ROOT = Path(__file__).parents[2]

GROUPS, GROUP_SIZE = 16, 16
COMMAND = (
    f"--groups {GROUPS} --group-size {GROUP_SIZE} --updates 1000000 --learning-rate 1e-12 --schedule constant "
    "--evaluate-every 20 --evaluation-episodes 50 --final-episodes 50 --checkpoint-every 20"
)
EVERY = 10.0  # seconds between two looks
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@attrs.frozen(kw_only=True)
class Look:
    """The process at one moment."""

    seconds: float
    updates: int
    processor: float  # seconds
    megabytes: float
    files: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=45.0)
    parser.add_argument("--warm-up", type=int, default=500, help="updates")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("runs/soak"))
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    shutil.rmtree(arguments.output, ignore_errors=True)
    looks = watched(arguments.output, arguments.minutes * 60, arguments.threads)
    kept = "".join(json.dumps(attrs.asdict(look)) + "\n" for look in looks)
    (arguments.output / "looks.jsonl").write_text(kept)
    steady = [look for look in looks if look.updates >= arguments.warm_up]
    if len(steady) < 10:
        raise SystemExit(
            f"too short: {looks[-1].updates} updates, {arguments.warm_up} of them warm-up"
        )
    text, is_flat = judged(steady)
    print(text)
    if arguments.markdown:
        put(arguments.markdown, "soak", text)
    sys.exit(not is_flat)


def watched(folder: Path, seconds: float, threads: int) -> list[Look]:
    """Look at a run again and again, then stop it by a signal."""
    command = [sys.executable, "-m", "algorithms.cli", "train", *COMMAND.split()]
    command += ["--threads", str(threads), "--output", str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    began, looks = time.monotonic(), []
    try:
        while process.poll() is None and time.monotonic() - began < seconds:
            time.sleep(EVERY)
            looks.append(looked(process.pid, folder, time.monotonic() - began))
    finally:
        process.send_signal(signal.SIGTERM)
        ended = process.wait(timeout=300)
    if ended != 128 + signal.SIGTERM:
        raise SystemExit(f"the run ended by itself, with exit status {ended}")
    return looks


def looked(pid: int, folder: Path, seconds: float) -> Look:
    place = Path("/proc") / str(pid)
    fields = (place / "stat").read_text().rpartition(")")[2].split()
    timings = folder / "timings.jsonl"
    return Look(
        seconds=seconds,
        updates=len(timings.read_bytes().splitlines()) if timings.is_file() else 0,
        processor=(int(fields[11]) + int(fields[12])) / _TICKS,
        megabytes=int((place / "statm").read_text().split()[1]) * _PAGE / 1e6,
        files=len(list((place / "fd").iterdir())),
    )


def judged(looks: Sequence[Look]) -> tuple[str, bool]:
    """What the looks come to, and whether all is flat."""
    part = max(2, len(looks) // 10)
    first, last = looks[: part + 1], looks[-part - 1 :]

    def episodes_per(of: str, some: Sequence[Look]) -> float:
        played = (some[-1].updates - some[0].updates) * GROUPS * GROUP_SIZE
        return played / float(getattr(some[-1], of) - getattr(some[0], of))

    def median(of: str, some: Sequence[Look]) -> float:
        return statistics.median(float(getattr(look, of)) for look in some)

    rows = [
        ("memory (MB, median)", *(median("megabytes", some) for some in (first, last))),
        ("open files (greatest)", *(float(max(x.files for x in some)) for some in (first, last))),
        (
            "episodes a second of processor time",
            *(episodes_per("processor", s) for s in (first, last)),
        ),
        ("episodes a second", *(episodes_per("seconds", s) for s in (first, last))),
    ]
    minutes = (looks[-1].seconds - looks[0].seconds) / 60
    updates = looks[-1].updates - looks[0].updates
    table = [
        f"{minutes:.0f} minutes after warm-up, {updates} updates, {updates * GROUPS * GROUP_SIZE} episodes:",
        "",
        as_markdown(
            [
                ("", "first tenth", "last tenth", "change"),
                *(
                    (name, f"{a:.1f}", f"{b:.1f}", f"{100 * (b - a) / a:+.1f}%")
                    for name, a, b in rows
                ),
            ]
        ),
    ]
    (_, memory, memory_end), (_, files, files_end), (_, pace, pace_end), _ = rows
    flat = memory_end < 1.02 * memory and files_end <= files and pace_end > 0.9 * pace
    return "\n".join(table), flat


if __name__ == "__main__":
    main()
