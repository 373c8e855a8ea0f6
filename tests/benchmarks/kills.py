"""Runs that are killed at random moments and resumed: do they end as the run that nobody killed?

    python tests/benchmarks/kills.py [--kills 50] [--seed 0] [--output runs/kills] [--past]

Starts ``tsmg train`` on a tiny model as a process of its own, ends it by SIGKILL, resumes it, and so on. The moment is
drawn by progress (lines of metrics) and up to half a second; every second kill then waits until a checkpoint is being
written. A run that ends is compared, byte for byte, with one that ran through, and a new one begins, until there were
so many kills. ``--past`` trains against past selves, in a game of two.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

SMALL = (
    "--no-chat --held-out 0 --updates 16 --groups 4 --group-size 4 --kept-episodes 2 --learning-rate 1e-2 "
    "--evaluate-every 3 --evaluation-episodes 8 --final-episodes 16 --checkpoint-every 2 --max-reply-tokens 3 "
    "--threads 1"
)
LATE = 0.5  # seconds, at most, between a line of metrics and a kill
WALK = ["--game", "tests.benchmarks.kills:walk"]
PAST = ["--game", "tests.benchmarks.kills:pennies", "--opponent", "past"]


def walk() -> Any:
    """A game whose returns vary whatever a random model says."""
    import games
    from tsmg import PlayRandomLegal, with_invalid_rule

    return with_invalid_rule(games.make("LineWalk-v0"), PlayRandomLegal(penalty=0.1))


def pennies() -> Any:
    """The same for two."""
    import games
    from tsmg import PlayRandomLegal, with_invalid_rule

    return with_invalid_rule(games.make("MatchingPennies-v0"), PlayRandomLegal(penalty=0.1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("runs/kills"))
    parser.add_argument("--past", action="store_true")
    arguments = parser.parse_args()
    work = arguments.output.absolute()
    shutil.rmtree(work, ignore_errors=True)
    from tests.checkpoints import tiny_model
    from tests.whole_runs import contents

    tiny_model(sharp=2.0).save_pretrained(work / "model")
    options = [*(PAST if arguments.past else WALK), *SMALL.split(), "--model", str(work / "model")]
    begun, seconds = timed(options, work / "whole")
    print(f"uninterrupted: {seconds:.1f} s, of which {begun:.1f} s before anything is written")
    wanted = contents(work / "whole")
    rng = random.Random(arguments.seed)
    tally = {"kills": 0, "in a checkpoint": 0, "updates done again": 0, "runs": 0, "different": 0}
    while tally["kills"] < arguments.kills:
        folder = work / f"run{tally['runs']}"
        one_run(options, folder, rng, tally, end=progress(work / "whole"), most=arguments.kills)
        tally["runs"] += 1
        different = sorted(n for n, _ in contents(folder).items() ^ wanted.items())
        tally["different"] += bool(different)
        print(f"run {tally['runs']}: {different or 'equal'}; so far {tally}", flush=True)
    sys.exit(1 if tally["different"] else 0)


def start(options: list[str], folder: Path) -> subprocess.Popen[bytes]:
    """The run, or its continuation where it came so far as to write its configuration."""
    is_begun = (folder / "config.json").exists()
    game = options[:2]  # it is code, which a resumed run must be given again
    rest = ["--resume", str(folder), *game] if is_begun else [*options, "--output", str(folder)]
    command = [sys.executable, "-m", "algorithms.cli", "train", *rest]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, cwd=ROOT, stdout=quiet, stderr=quiet)


def timed(options: list[str], folder: Path) -> tuple[float, float]:
    """A run that nobody kills: seconds until it writes, and until it ends."""
    began = time.monotonic()
    process = start(options, folder)
    while not (folder / "config.json").exists() and process.poll() is None:
        time.sleep(0.01)
    written = time.monotonic() - began
    if process.wait() != 0:
        sys.exit("the uninterrupted run failed")
    return written, time.monotonic() - began


def one_run(
    options: list[str],
    folder: Path,
    rng: random.Random,
    tally: dict[str, int],
    *,
    end: int,
    most: int,
) -> None:
    """One run, killed again and again until it is through."""
    while True:
        process = start(options, folder)
        if tally["kills"] >= most:
            if process.wait() != 0:
                sys.exit(f"the run in {folder} cannot be resumed")
            return
        moment = rng.randint(min(progress(folder), end), end)
        wait_for(process, folder, moment, rng.uniform(0, LATE), in_checkpoint=tally["kills"] % 2)
        if process.poll() is not None:
            if process.returncode != 0:
                sys.exit(f"the run in {folder} cannot be resumed")
            return
        process.kill()
        process.wait()
        tally["kills"] += 1
        tally["in a checkpoint"] += bool(unfinished(folder))
        tally["updates done again"] += done_again(folder)


def wait_for(
    process: subprocess.Popen[bytes],
    folder: Path,
    moment: int,
    seconds: float,
    *,
    in_checkpoint: int,
) -> None:
    """Wait for so many lines of metrics and so many seconds more; then perhaps for a checkpoint being written."""
    while progress(folder) < moment and process.poll() is None:
        time.sleep(0.001)
    time.sleep(seconds)
    while in_checkpoint and process.poll() is None and not unfinished(folder):
        time.sleep(0.0002)


def progress(folder: Path) -> int:
    """How many lines of metrics there are."""
    file = folder / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def unfinished(folder: Path) -> list[Path]:
    """What is being written."""
    return [*folder.glob(".unfinished-*"), *folder.glob("checkpoints/.unfinished-*")]


def done_again(folder: Path) -> int:
    """Updates that were recorded, and are lost to the newest whole checkpoint."""
    from algorithms.runs.checkpoints import resume_point

    try:
        lines = (folder / "metrics.jsonl").read_text().splitlines()
    except FileNotFoundError:
        return 0
    whole = [json.loads(line) for line in lines if line.endswith("}")]
    last = max((record["update"] for record in whole), default=0)
    return int(last) - resume_point(folder).update


if __name__ == "__main__":
    main()
