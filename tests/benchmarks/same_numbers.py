"""Do two checkouts compute the same numbers? Five small runs in each, their metrics compared line by line.

    python tests/benchmarks/same_numbers.py ../before . [--default] [--speed 60]

The runs: one that is not disturbed, one that is killed and resumed, self-play, adapters, and two processes; with
``--default`` also the default run, which takes minutes. Both checkouts run in this interpreter's environment, on one
thread, each with a cache of its own. ``RENAMED`` maps a metric's name in the first checkout to that in the second.
The exit code is 1 if a number differs. With ``--speed`` two trainers then take turns, an update each, of the default
settings with half of the groups, from the model that the first run began with; a figure is processor time.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RENAMED: dict[str, str] = {}  # none so far: the restructuring of 2026 kept every metric's name

_SMALL = (
    "--threads 1 --updates 24 --checkpoint-every 8 --evaluate-every 10 --evaluation-episodes 40 "
    "--final-episodes 60"
)
_SELF_PLAY = (
    "--threads 1 --game KuhnPoker-v0 --held-out 0 --updates 12 --groups 16 --evaluate-every 5 "
    "--evaluation-episodes 40 --final-episodes 60"
)
_ADAPTERS = (
    "--threads 1 --model {folder}/small/start --lora r=4 --updates 8 --groups 8 --kept-episodes 6 --evaluate-every 5 "
    "--evaluation-episodes 40 --final-episodes 60"
)
_TWO = "--threads 1 --updates 6 --groups 8 --evaluate-every 5 --evaluation-episodes 40 --final-episodes 60"
_TWO_PROCESSES = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]

# Does an update for each line that it reads, and prints its seconds of processor time.
_TRAINER = """
import sys, time
import algorithms, games, lap, torch, tsmg

torch.set_num_threads(1)
game = tsmg.split_starts(games.make("FrozenLake-v0", size=4, frozen_probability=0.8), "train")
policy = lap.LanguageAgentPolicy.from_pretrained(sys.argv[1])
config = algorithms.MSGRPOConfig(groups=16)
trainer = algorithms.MSGRPOTrainer(game=game, policy=policy, config=config)
trainer.update()
for _ in sys.stdin:
    started = time.process_time()
    trainer.update()
    print(time.process_time() - started, flush=True)
"""


def environment_of(checkout: Path) -> dict[str, str]:
    """The environment in which the code of a checkout runs, on one thread."""
    own = {"PYTHONPATH": str(checkout), "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **own}


def play_runs(checkout: Path, folder: Path, *, default: bool) -> None:
    """Do all runs with the code of a checkout, in sub-folders of a folder."""
    environment = environment_of(checkout) | {"TSMG_CACHE": str(folder / "cache")}

    def start(
        name: str, options: str, launcher: list[str] | None = None
    ) -> subprocess.Popen[bytes]:
        place = [] if "--resume" in options else ["--output", str(folder / name)]
        command = [sys.executable, *(launcher or []), "-m", "algorithms.cli", "train"]
        log = (folder / f"{name}.log").open("ab")
        return subprocess.Popen(
            [*command, *options.format(folder=folder).split(), *place],
            cwd=checkout,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def finish(name: str, options: str, launcher: list[str] | None = None) -> None:
        if start(name, options, launcher).wait():
            raise SystemExit(f"{name} failed: see {folder / name}.log")

    finish("small", _SMALL)
    killed = start("resumed", _SMALL)
    checkpoint = folder / "resumed" / "checkpoints" / "update-000008"
    while not checkpoint.is_dir() and killed.poll() is None:
        time.sleep(0.2)
    killed.kill()
    killed.wait()
    finish("resumed", "--resume {folder}/resumed")
    finish("self-play", _SELF_PLAY)
    finish("adapters", _ADAPTERS)
    finish("two-processes", _TWO, _TWO_PROCESSES)
    if default:
        finish("default", "--threads 2")


def differences(before: Path, after: Path) -> list[str]:
    """What differs between the metrics of two runs: a sentence for each of the first few."""
    old, new = (
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in (before, after)
    )
    found = [] if len(old) == len(new) else [f"{len(old)} lines before, {len(new)} after"]
    for number, (one, other) in enumerate(zip(old, new, strict=False), start=1):
        renamed = {RENAMED.get(name, name): value for name, value in one.items()}
        for name in sorted({*renamed, *other}):
            a, b = renamed.get(name, math.nan), other.get(name, math.nan)
            if a != b:
                found.append(f"line {number}, {name}: {a!r} before, {b!r} after")
    return found[:5]


def speed(checkouts: list[Path], start: Path, updates: int) -> str:
    """How long updates of two checkouts take: a line with the medians, and that of the ratios of pairs."""
    trainers = [
        subprocess.Popen(
            [sys.executable, "-c", _TRAINER, str(start)],
            cwd=checkout,
            env=environment_of(checkout),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for checkout in checkouts
    ]

    def seconds(trainer: subprocess.Popen[str]) -> float:
        trainer.stdin.write("\n")
        trainer.stdin.flush()
        return float(trainer.stdout.readline())

    rows = []
    for number in range(updates):
        order = (0, 1) if number % 2 else (1, 0)
        taken = {side: seconds(trainers[side]) for side in order}
        rows.append((taken[0], taken[1]))
    for trainer in trainers:
        trainer.communicate()
    before, after = (statistics.median(column) for column in zip(*rows, strict=True))
    ratios = statistics.quantiles([b / a for a, b in rows], n=4)
    return (
        f"speed: {before:.3f} s before, {after:.3f} s after; ratio {ratios[1]:.3f}, quartiles {ratios[0]:.3f} and "
        f"{ratios[2]:.3f}, of {updates} pairs"
    )


def main() -> int:
    """Compare two checkouts; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--default", action="store_true", help="also the default run")
    parser.add_argument(
        "--folder", type=Path, help="where runs are kept; those that are there are not repeated"
    )
    parser.add_argument(
        "--speed", type=int, default=0, metavar="UPDATES", help="also compare times of updates"
    )
    arguments = parser.parse_args()
    root = arguments.folder or Path(tempfile.mkdtemp())
    code = 0
    for side in ("before", "after"):
        if not (root / side).is_dir():
            (root / side).mkdir(parents=True)
            play_runs(getattr(arguments, side).resolve(), root / side, default=arguments.default)
    for run in sorted(path.parent for path in (root / "before").glob("*/metrics.jsonl")):
        found = differences(run, root / "after" / run.name)
        lines = len((run / "metrics.jsonl").read_text().splitlines())
        print(f"{run.name}: {'; '.join(found) or f'{lines} lines, every number equal'}")
        code = code or int(bool(found))
    if arguments.speed:
        checkouts = [arguments.before.resolve(), arguments.after.resolve()]
        print(speed(checkouts, root / "before" / "small" / "start", arguments.speed))
    return code


if __name__ == "__main__":
    sys.exit(main())
