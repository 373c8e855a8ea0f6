"""The conformance suites of PettingZoo and Gymnasium on exported games: the table of docs/how_to/exports.md.

    python tests/benchmarks/export_suites.py [--cycles 1000] [GAME...]

It tries the games of tests/games/exports, with text actions and with index actions. A line of the table says of how
many games (for ``check_env``: of how many agents of games) a suite passes, with no warning but those that text means;
what does not pass is named below the table.
"""

import argparse
import contextlib
import functools
import io
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # where tests is a package

import games
from tests.games.exports.test_gymnasium import passes_check_env
from tests.games.exports.test_pettingzoo import (
    GAMES,
    api_test,
    parallel_api_test,
    parallel_seed_test,
    passes,
    seed_test,
)
from tsmg import AnyGame, UniformPlayer

ACTIONS = ("text", "index")
Options = Mapping[str, Any]
Run = Callable[[], object]


def api(game: AnyGame, options: Options, cycles: int) -> Iterator[Run]:
    """``api_test``."""
    yield lambda: passes(api_test, games.to_pettingzoo(game, **options), cycles)


def api_with_dict(game: AnyGame, options: Options, cycles: int) -> Iterator[Run]:
    """``api_test`` with ``observations="dict"``."""
    yield from api(game, {**options, "observations": "dict"}, cycles)


def parallel_api(game: AnyGame, options: Options, cycles: int) -> Iterator[Run]:
    """``parallel_api_test``."""
    env = games.to_pettingzoo_parallel(game, **options)
    yield lambda: passes(parallel_api_test, env, cycles)


def seed(game: AnyGame, options: Options, cycles: int) -> Iterator[Run]:
    """``seed_test``."""
    yield lambda: passes(seed_test, lambda: games.to_pettingzoo(game, **options), cycles)


def parallel_seed(game: AnyGame, options: Options, cycles: int) -> Iterator[Run]:
    """``parallel_seed_test``."""
    make = functools.partial(games.to_pettingzoo_parallel, game, **options)
    yield lambda: passes(parallel_seed_test, make, cycles)


def check_env(game: AnyGame, options: Options, cycles: int) -> Iterator[Run]:
    """``check_env``."""
    opponents = UniformPlayer(game) if len(game.agents) > 1 else None
    for agent in game.agents:
        env = games.to_gymnasium(game, agent, opponents, render_mode="ansi", **options)
        yield lambda env=env: passes_check_env(env)


SUITES = (api_with_dict, api, parallel_api, seed, parallel_seed, check_env)


def counted(suite: Any, actions: str, tried: Mapping[str, AnyGame], cycles: int) -> str:
    """``passed of tried``; what fails is printed as a line of its own."""
    good = total = 0
    for name, game in tried.items():
        for run in suite(game, {"actions": actions}, cycles):
            total += 1
            try:
                with contextlib.redirect_stdout(io.StringIO()):  # the suites print that they begin
                    run()
                good += 1
            except Exception as error:  # noqa: BLE001 - the table counts what went wrong
                print(f"{suite.__name__}, {actions}, {name}: {error!r:.160}", file=sys.stderr)
    return f"{good} of {total}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("games", nargs="*", default=list(GAMES), metavar="GAME")
    parser.add_argument("--cycles", type=int, default=1000)
    arguments = parser.parse_args()
    tried = {name: GAMES[name] for name in arguments.games}
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("pettingzoo", "gymnasium"))
    agents = sum(len(game.agents) for game in tried.values())
    print(f"{versions}; {len(tried)} games of {agents} agents, {arguments.cycles} cycles\n")
    print("| suite | text actions | index actions |\n|---|---|---|", flush=True)
    for suite in SUITES:
        cells = [counted(suite, actions, tried, arguments.cycles) for actions in ACTIONS]
        name = suite.__doc__.rstrip(".").replace("``", "`")
        print(f"| {name} | {cells[0]} | {cells[1]} |", flush=True)


if __name__ == "__main__":
    main()
