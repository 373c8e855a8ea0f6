"""The conformance kit on games that nobody here wrote: Gymnasium's, PettingZoo's classic ones, OpenSpiel's.

    python tests/benchmarks/conformance.py [--examples 10] [registered gymnasium classic open_spiel ...]

One line a game: ok, or the rules that it breaks, or why the adapter refuses it; then a count per source.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import tsmg
from games import from_gymnasium, from_open_spiel, from_pettingzoo
from tsmg.testing import check_game

sys.path.insert(0, str(Path(__file__).parents[2]))  # where tests is a package

TOY_TEXT = ("Blackjack-v1", "CliffWalking-v1", "FrozenLake-v1", "FrozenLake8x8-v1", "Taxi-v4")
CONTROL = ("Acrobot-v1", "CartPole-v1", "MountainCar-v0")
CONTINUOUS = {
    "MountainCarContinuous-v0": {"left": [-1.0], "none": [0.0], "right": [1.0]},
    "Pendulum-v1": {"left": [-2.0], "none": [0.0], "right": [2.0]},
}
CLASSIC = (
    "chess_v6",
    "connect_four_v3",
    "go_v5",
    "hanabi_v5",
    "leduc_holdem_v4",
    "rps_v2",
    "texas_holdem_no_limit_v6",
    "texas_holdem_v4",
    "tictactoe_v3",
)
Maker = Callable[[], Any]


def registered() -> Iterator[tuple[str, Maker]]:
    """Every id of ours."""
    for spec in tsmg.registered():
        yield spec.id, lambda name=spec.id: tsmg.make(name)


def gymnasium() -> Iterator[tuple[str, Maker]]:
    """Toy text and classic control."""
    for name in (*TOY_TEXT, *CONTROL):
        horizon = 50 if name in ("Blackjack-v1", "CliffWalking-v1") else None  # they have none
        yield name, lambda name=name, horizon=horizon: from_gymnasium(name, horizon=horizon)
    for name, choices in CONTINUOUS.items():
        yield name, lambda name=name, choices=choices: from_gymnasium(name, choices=choices)


def classic() -> Iterator[tuple[str, Maker]]:
    """The games of ``pettingzoo.classic``."""
    for name in CLASSIC:
        yield name, lambda name=name: from_pettingzoo(f"classic/{name}")


def open_spiel() -> Iterator[tuple[str, Maker]]:
    """Every game that OpenSpiel registers."""
    from tests.benchmarks.open_spiel_games import all_names

    for name in all_names():
        yield name, lambda name=name: from_open_spiel(name)


SOURCES = {f.__name__: f for f in (registered, gymnasium, classic, open_spiel)}


def checked(source: str, name: str, examples: int) -> str:
    """What the kit says."""
    make = dict(SOURCES[source]())[name]
    warnings.simplefilter("ignore")
    try:
        make()
    except (tsmg.TSMGError, ImportError) as error:
        return f"refused: {str(error).splitlines()[0][:120]}"
    report = check_game(make, max_examples=examples, max_steps=40)
    return ", ".join(v.rule for v in report.violations) or "ok"


def survived(source: str, name: str, examples: int) -> str:
    """What the kit says, from a process of its own: a library in C++ may take its process down."""
    with ProcessPoolExecutor(max_workers=1) as pool:
        try:
            return pool.submit(checked, source, name, examples).result()
        except BrokenProcessPool:
            return "the library crashed"


def main() -> None:
    """Check and count."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sources", nargs="*", default=list(SOURCES), metavar="SOURCE")
    parser.add_argument("--examples", type=int, default=10)
    arguments = parser.parse_args()
    for source in arguments.sources:
        verdicts = []
        for name, _ in SOURCES[source]():
            started = time.monotonic()
            verdicts.append(survived(source, name, arguments.examples))
            print(
                f"{source}  {name}: {verdicts[-1]}  ({time.monotonic() - started:.1f} s)",
                flush=True,
            )
        refused = sum(v.startswith("refused") for v in verdicts)
        ok = verdicts.count("ok")
        print(
            f"{source}: {ok} conform, {refused} refused, {len(verdicts) - ok - refused} break a rule\n"
        )


if __name__ == "__main__":
    main()
