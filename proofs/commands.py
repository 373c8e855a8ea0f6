"""Commands that check and analyse: ``tsmg prove``, ``lab`` and ``signal``.

The command line finds them by name (the entry points ``tsmg.commands``), since nothing imports proofs.
"""

import sys
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click
import numpy as np
from rich.console import Console

import tsmg
from algorithms.cli.options import config_options, game_options, game_spec, set_option
from algorithms.method.config import MSGRPOConfig
from algorithms.runs.schema import literal
from proofs.table_commands import group_options, picture_option, print_columns

if TYPE_CHECKING:  # it imports torch
    from proofs.exact.gradients import TrajectoryDistribution

console = Console()
Command = TypeVar("Command", bound=Callable[..., None])

# The settings of MSGRPOConfig that make an estimator without a state, of groups that do not interact.
_ESTIMATOR = (
    *("credit", "anchor_weight", "baseline", "std", "eps"),
    *("sampling", "alpha", "floor", "replacement", "corrected"),
    *("weighting", "group_size", "kept_episodes", "zero_variance_groups"),
)
# Those that ``tsmg lab`` takes: also of rules with a state, and what matters where a batch has several groups, or is
# played again.
_COMPARED = (
    *_ESTIMATOR,
    *("baseline_decay", "gae_lambda", "segment_lambda", "gae", "critic", "bootstrap"),
    *("groups", "scope", "group_filter", "kept_groups", "max_plays", "batch_rule", "group_on"),
    *("starts", "start_floor", "correct_starts", "branching", "rollouts", "trees"),
)
# Those that ``tsmg signal`` takes: of an estimator, of the play of groups, and of the forward pass.
_MEASURED = (
    *_ESTIMATOR,
    *("seed", "temperature", "top_k", "top_p", "min_p", "max_reply_tokens", "group_on"),
    "token_budget",
)


def _estimator_option(unset: str) -> Callable[[Command], Command]:
    """The option that gives estimators by their settings."""
    return click.option(
        "--estimator",
        "estimators",
        multiple=True,
        metavar="NAME=VALUE,...",
        help="Settings of 'tsmg train' that make an estimator, e.g. credit=reward_to_go,std=none; "
        f"may be repeated. {unset}",
    )


@click.command(short_help="Check every statement about credit and sampling.")
@click.option("--only", default="", help="Only statements whose family or name contains this text.")
@click.option(
    "--sweep", type=click.IntRange(0), default=None, help="Number of drawn cases per statement."
)
@click.option(
    "--workers", type=click.IntRange(1), default=2, show_default=True, help="Number of processes."
)
@click.option("--claims", is_flag=True, help="Also print each claim in full.")
@click.option(
    "--list", "listed", is_flag=True, help="List the claims in Markdown without checking them."
)
def prove(only: str, sweep: int | None, workers: int, claims: bool, listed: bool) -> None:
    """Check every statement about credit, sampling and games, with its negative control.

    The exit code is 0 if all hold, 1 if one fails.
    """
    from proofs.proving import listing, prove_all, report
    from proofs.statements import all_statements

    wanted = [s for s in all_statements() if only in f"{s.family} {s.name}"]
    if not wanted:
        raise click.UsageError(f"no statement has a family or name that contains {only!r}")
    if listed:
        click.echo(listing(wanted), nl=False)
        return
    outcomes = []
    with console.status("proving") as status:
        for outcome in prove_all(wanted, sweep=sweep, workers=workers):
            outcomes.append(outcome)
            status.update(f"proving: {len(outcomes)} of {len(wanted)}")
    click.echo(report(outcomes))
    for outcome in outcomes:
        if claims:
            click.echo(f"\n{outcome.statement.name}\n{outcome.statement.claim}")
            click.echo(f"Negative control: {outcome.statement.fault}")
        if outcome.error:
            click.echo(f"\n{outcome.statement.name}: {outcome.error}", err=True)
    failed = sum(not outcome.holds for outcome in outcomes)
    cases = sum(outcome.tried for outcome in outcomes)
    seconds = sum(outcome.seconds for outcome in outcomes)
    found = "all hold, every negative control is rejected"
    if failed:
        found = f"{failed} {'does' if failed == 1 else 'do'} not hold"
    click.echo(f"\n{len(outcomes)} statements, {cases} cases, {seconds:.0f} s of work; {found}")
    sys.exit(1 if failed else 0)


@click.command(short_help="Compare gradient estimators exactly, on a small game.")
@click.argument("game_id", metavar="[GAME]", required=False)
@click.option(
    "--all",
    "every",
    is_flag=True,
    help="Analyse all methods (tsmg train --method) on five small games.",
)
@set_option
@click.option("--horizon", type=int, default=None, help="Time limit; the game's own if unset.")
@group_options(size=(click.IntRange(2), 4), kept=(click.IntRange(1), 2), name="--group-size")
@click.option(
    "--groups", type=click.IntRange(1), default=1, show_default=True, help="Groups per batch."
)
@_estimator_option("Unset: the usual ones.")
@click.option(
    "--policy-seed",
    type=click.IntRange(-(2**63), 2**63 - 1),
    default=0,
    show_default=True,
    help="Seed of the tabular policy.",
)
@click.option(
    "--spread",
    type=click.FloatRange(0, 1000),
    default=1.0,
    show_default=True,
    help="Spread of the policy's logits.",
)
@click.option(
    "--samples",
    type=click.IntRange(20),
    default=2000,
    show_default=True,
    help="Number of batches to draw.",
)
@click.option(
    "--limit",
    type=click.IntRange(0),
    default=5000,
    show_default=True,
    help="Greatest number of groups to enumerate.",
)
@picture_option("File for a bar chart.")
@click.pass_context
def lab(
    context: click.Context,
    /,
    game_id: str | None,
    every: bool,
    settings: tuple[str, ...],
    horizon: int | None,
    group_size: int,
    kept: int,
    groups: int,
    estimators: tuple[str, ...],
    policy_seed: int,
    spread: float,
    samples: int,
    limit: int,
    picture: str | None,
) -> None:
    """Compare gradient estimators with the exact gradient on a small game.

    The policy is a table whose words are the game's action texts. If there are more than --limit different groups,
    batches are drawn, and every figure has a 95% interval.

    --all, in place of a game, prints bias, noise and signal of each method on five games, and the weight that it gives
    to starts by their success rate, which --plot draws, and then what choosing starts does. A ~ marks figures over
    drawn batches.
    """
    if (game_id is None) != every:
        raise click.UsageError("give a GAME or --all, and not both")
    if game_id is None:
        _all_methods(context, group_size, kept, picture)
        return
    game = game_spec(game_id, settings, horizon).build()
    if not isinstance(game, tsmg.AbstractExplicitGame):
        raise click.UsageError(f"{game.name} is a sampled game: it has no exact gradient")
    import torch

    from proofs.estimators.comparison import (
        ESTIMATORS,
        compare,
        plain_config,
        plot,
        rows,
        word_policy_distribution,
    )

    torch.set_num_threads(1)  # the tables are small
    config = plain_config(group_size=group_size, kept_episodes=kept, groups=groups)
    wanted = {text: _changes(text, _COMPARED) for text in estimators} or ESTIMATORS
    for changes in wanted.values():
        attrs.evolve(config, **changes)  # refused before anything slow starts
    with console.status("listing the trajectories") as status:
        dist = word_policy_distribution(game, seed=policy_seed, spread=spread)
        analyses = compare(dist, config, wanted, limit=limit, samples=samples, report=status.update)
    click.echo(f"{_described(dist)}\n")
    print_columns(rows(analyses))
    exact = sum(analysis.exact for analysis in analyses.values())
    click.echo(
        f"\n{exact} of {len(analyses)} over all groups, the others over {samples} drawn batches"
    )
    if picture is not None:
        plot(analyses, picture, title=f"{game_id}, groups of {group_size}, {kept} kept")


def _described(dist: "TrajectoryDistribution") -> str:
    """How large a game is under a policy, and what it is worth."""
    values = ", ".join(f"{agent} {dist.expected_return(agent):.4f}" for agent in dist.game.agents)
    return (
        f"{dist.game.name}: {len(dist.trajectories)} trajectories, {len(dist.completions)} distinct completions; "
        f"expected return: {values}; norm of the true gradient {float(np.linalg.norm(dist.gradient_D)):.4f}"
    )


def _check_all(context: click.Context, group_size: int, kept: int) -> None:
    """Refuse options that would have no effect beside ``--all``, and sizes that a method cannot have."""
    for option in context.command.params:
        source = context.get_parameter_source(str(option.name))
        given = source is click.core.ParameterSource.COMMANDLINE
        if given and option.name not in ("every", "group_size", "kept", "picture"):
            raise click.UsageError(
                f"{option.opts[0]} has no effect with --all, which fixes games and estimators; leave one of them out"
            )
    if group_size % 2 or group_size < 4:
        raise click.UsageError(
            "--group-size must be an even number and at least 4 with --all: the method tree fills a group with the "
            f"branches of two trees (got {group_size})"
        )
    if kept < 2:
        raise click.UsageError(
            f"--kept must be at least 2 with --all: the method pods compares the episodes that it keeps (got {kept})"
        )


def _all_methods(context: click.Context, group_size: int, kept: int, picture: str | None) -> None:
    """The tables of all methods, and the picture of the weights of starts."""
    _check_all(context, group_size, kept)
    import torch

    from proofs.estimators.methods import plot_weights, tables

    torch.set_num_threads(1)  # the tables are small
    with console.status("") as status:
        for title, rows in tables(group_size=group_size, kept=kept, report=status.update):
            click.echo(f"{title}\n")
            print_columns(rows)
            click.echo("")
        if picture is not None:
            plot_weights(picture, group_size=group_size, kept=kept)


@click.command(short_help="Measure gradient estimators under a saved policy.")
@game_options
@click.argument("folder", metavar="POLICY", type=click.Path(exists=True, file_okay=False))
@click.option(
    "--played",
    type=click.IntRange(40),
    default=200,
    show_default=True,
    help="Number of groups to play.",
)
@_estimator_option(
    "The others are compared with the first. Unset: AAW, uniform, all of G, and all of smaller groups."
)
@click.option(
    "--threads", type=click.IntRange(1), default=2, show_default=True, help="CPU threads."
)
@config_options(MSGRPOConfig, only=_MEASURED)
def signal(
    game_id: str,
    settings: tuple[str, ...],
    horizon: int | None,
    held_out: float,
    folder: str,
    played: int,
    estimators: tuple[str, ...],
    threads: int,
    **chosen: Any,
) -> None:
    """Measure the signal-to-noise ratio of gradient estimators under a saved policy, e.g. a run's checkpoint.

    The policy plays groups, and every estimator computes its gradient on each of them. The SNR is that of one group,
    without regularisers. Intervals are 95%.
    """
    spec = game_spec(game_id, settings, horizon, held_out)
    game = spec.split(spec.build())[0]
    config = MSGRPOConfig(**chosen)
    plain, few = {"alpha": 1.0, "floor": 0.0}, config.kept_episodes
    whole = {"sampling": "all", "replacement": False, **plain}
    wanted = {text: _changes(text, _ESTIMATOR) for text in estimators} or {
        "aaw": {"sampling": "aaw"},
        "uniform": {"sampling": "uniform", **plain},
        "all": whole,
        **({f"all of {few}": {**whole, "group_size": few}} if few > 1 else {}),
    }
    for changes in wanted.values():
        attrs.evolve(config, **changes)  # refused before anything slow starts
    import torch

    from lap import LanguageAgentPolicy
    from proofs.estimators.signal_to_noise import comparison_rows, measure_signal

    torch.set_num_threads(threads)
    policy: LanguageAgentPolicy[Any] = LanguageAgentPolicy.from_pretrained(folder)
    with console.status("playing") as status:
        signals = measure_signal(
            game,
            policy,
            config,
            wanted,
            groups=played,
            report=lambda n: status.update(f"{n} of {played} groups"),
        )
    print_columns(comparison_rows(signals))
    click.echo(f"\n{played} groups of {game.name}; 'over' compares with {next(iter(signals))}")


def _changes(text: str, names: Collection[str]) -> dict[str, Any]:
    """The settings that an --estimator gives, of these names."""
    changes = {
        name: literal(value) for name, _, value in (p.partition("=") for p in text.split(","))
    }
    unknown = sorted(set(changes) - set(names))
    if unknown:
        raise click.UsageError(
            f"--estimator takes settings of 'tsmg train' that make an estimator: {', '.join(names)} "
            f"(got {', '.join(unknown)})"
        )
    return changes
