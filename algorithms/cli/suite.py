"""``tsmg suite``: any policies on the same games, in one table."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table as TerminalTable

from algorithms.cli.options import config_options, find_games_here, max_reply_tokens_option
from algorithms.cli.terminal import console, echo_error, say, shown
from algorithms.training.policy_spec import PolicySpec
from algorithms.training.spec import RunSpec

if TYPE_CHECKING:
    from algorithms.analysis.tables import Table

_SETTINGS = ("chat", "thinking", "dtype", "history", "examples", "prefill", "constrained")


@click.command(short_help="Score policies on twelve games, or on games of your own.")
@click.argument("policies", nargs=-1, metavar="[POLICY]...")
@click.option(
    "--file",
    type=click.Path(),
    default=None,
    help="TOML file of the suite; the twelve games that ship with the library if unset.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="GAME",
    help="Play only this game of the suite. May be repeated.",
)
@click.option(
    "--episodes",
    type=click.IntRange(2),
    default=None,
    help="Episodes of each game; the suite's number if unset.",
)
@click.option(
    "--temperature",
    type=click.FloatRange(0),
    default=None,
    help="Sampling temperature of models; 0 is greedy. Their own if unset.",
)
@max_reply_tokens_option
@click.option(
    "--output",
    type=click.Path(file_okay=False),
    default="runs/suite",
    show_default=True,
    help="Folder where results are kept, and the table is written in Markdown.",
)
@config_options(PolicySpec, only=_SETTINGS)
@config_options(RunSpec, only=["threads"])
def suite(
    policies: tuple[str, ...],
    file: str | None,
    only: tuple[str, ...],
    episodes: int | None,
    temperature: float | None,
    max_reply_tokens: int | None,
    output: str,
    threads: int,
    **settings: Any,
) -> None:
    """Score policies on games by difficulty: 0 is uniform play, 1 the best known play on the same episodes.

    A POLICY is uniform, scripted (each game's own player), optimum (if it can be computed), or clone (a small model,
    cloned from each game's player). It can also be the folder of a run, of a policy or of a checkpoint, the name of a
    checkpoint, or an endpoint as URL#model. By default, the first three are played. Results that exist already are read
    from the output folder. The exit code is 1 if a policy could not play a game.
    """
    import attrs
    import torch

    from algorithms.analysis.tables import markdown
    from algorithms.suite import Contestant, play_suite, read_suite, shipped, suite_table
    from algorithms.suite.contestants import PLAYERS
    from algorithms.training.quiet import without_progress_bars

    find_games_here()
    declared = read_suite(file or shipped()).only(only)
    if episodes is not None:
        declared = attrs.evolve(declared, episodes=episodes)
    shared = PolicySpec(**settings)
    contestants = [
        Contestant.named(
            name, settings=shared, temperature=temperature, max_reply_tokens=max_reply_tokens
        )
        for name in policies or PLAYERS
    ]
    torch.set_num_threads(threads)
    with without_progress_bars(), console.status("playing") as status:
        results = play_suite(
            declared,
            contestants,
            output,
            report=lambda game, name: status.update(f"{game}: {name}"),
        )
    table = suite_table(declared, contestants, results)
    _print(table)
    page = Path(output) / "suite.md"
    page.write_text(markdown(table), encoding="utf-8")
    say(
        f"0 is uniform play, 1 the best known play; intervals are 95%, over episodes. The table: {page}"
    )
    failed = [
        f"{one.game.title}, {name}: {why}" for one in results for name, why in one.failed.items()
    ]
    for line in failed:
        echo_error(line)
    sys.exit(1 if failed else 0)


def _print(table: "Table") -> None:
    lines = TerminalTable(title=shown(table.title), title_justify="left", box=None, pad_edge=False)
    for name in table.head:
        lines.add_column(shown(name), overflow="fold")
    for row in table.rows:
        lines.add_row(*(shown(cell) for cell in row))
    console.print(lines)
