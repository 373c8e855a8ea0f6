"""The default run with seeds 0 to 4: does it hold, and how long does it take?

    python tests/benchmarks/seeds.py [--seeds 0 1 2 3 4] [--output runs/seeds] [tsmg train options]

Each seed is a process of its own (``tsmg train``), one after the other. Runs that are complete are not repeated. Prints
a table: success before and after, sampled and greedy, invalid rate, seconds, peak memory.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--output", type=Path, default=Path("runs/seeds"))
    arguments, options = parser.parse_known_args()
    print("seed  before: sampled  greedy   after: sampled  greedy  invalid   seconds  peak MB")
    sampled, greedy = [], []
    for seed in arguments.seeds:
        folder = arguments.output / str(seed)
        if not (folder / "summary.json").is_file():
            run(seed, folder, options)
        first, last, cost = read(folder)
        sampled.append(last["eval/success_rate"])
        greedy.append(last["eval_greedy/success_rate"])
        print(
            f"{seed:>4}  {first['eval/success_rate']:>15.3f} {first['eval_greedy/success_rate']:>7.3f}"
            f"  {sampled[-1]:>14.3f} {greedy[-1]:>7.3f} {last['eval/invalid_rate']:>8.4f}"
            f"  {cost['seconds']:>8.0f} {cost['peak_mb']:>8.0f}",
            flush=True,
        )
    for name, values in (("sampled", sampled), ("greedy", greedy)):
        print(f"{name}: median {statistics.median(values):.3f}, worst {min(values):.3f}")


def run(seed: int, folder: Path, options: list[str]) -> None:
    """One whole ``tsmg train``, timed from outside."""
    command = [sys.executable, "-m", "algorithms.cli", "train", "--seed", str(seed)]
    start = time.monotonic()
    subprocess.run([*command, "--output", str(folder), *options], check=True)
    peak_kb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    cost = {"seconds": time.monotonic() - start, "peak_mb": peak_kb / 1024}
    (folder / "summary.json").write_text(json.dumps(cost) + "\n")


def read(folder: Path) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """First and last evaluation, and the cost."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    evaluations = [r for r in map(json.loads, lines) if "eval/success_rate" in r]
    return evaluations[0], evaluations[-1], json.loads((folder / "summary.json").read_text())


if __name__ == "__main__":
    main()
