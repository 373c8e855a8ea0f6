"""Commands whose tables are on pages of the site: ``tsmg aaw-map``, ``start-weights``, ``relatives``, ``off-policy``.

The command line finds them by name, as it does those of ``proofs.commands``.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def group_options(
    *, size: tuple[click.IntRange, int], kept: tuple[click.IntRange, int], name: str = "--size"
) -> Callable[[Command], Command]:
    """The options for the size of a group and the number of its kept episodes.

    Args:
      size: bounds and default of G.
      kept: bounds and default of K.
      name: of the option of G.
    """

    def decorate(command: Command) -> Command:
        for flag, (bounds, default), text in (
            ("--kept", kept, "K, kept episodes per group."),
            (name, size, "G, episodes per group."),
        ):
            command = click.option(
                flag, type=bounds, default=default, show_default=True, help=text
            )(command)
        return command

    return decorate


def _picture_file(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """A file that a picture can be written to, checked before anything is computed."""
    if value is None:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    file, kinds = Path(value), FigureCanvasAgg.get_supported_filetypes()
    if not file.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {str(file.parent)!r}")
    if file.suffix.removeprefix(".") not in kinds:
        raise click.BadParameter(
            f"{value!r} must end in a kind of picture: {', '.join(sorted(kinds))}"
        )
    return value


def picture_option(help: str) -> Callable[[Command], Command]:
    """The option that names the file of a picture."""
    return click.option(
        "--plot", "picture", type=click.Path(), default=None, callback=_picture_file, help=help
    )


@click.command("aaw-map", short_help="Map where absolute-advantage sampling pays.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("aaw_map"),
    help="Folder for the table and the picture.",
)
@click.option(
    "--size", type=click.Choice(("4", "8", "16", "32")), default="16", help="G in the picture."
)
@click.option(
    "--std/--no-std", default=True, help="Whether advantages are divided by the deviation."
)
@click.option(
    "--irrelevant",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Number of steps that do not matter for each step that does.",
)
def aaw_map(output: Path, size: str, std: bool, irrelevant: float) -> None:
    """Compute where AAW beats uniform sub-sampling and full groups, over success rate, horizon, G and K."""
    from proofs.estimators.aaw_map import aaw_map as points_of
    from proofs.estimators.aaw_map import plot_map, write_csv

    points = points_of(divided=std, irrelevant=irrelevant)
    output.mkdir(parents=True, exist_ok=True)
    write_csv(points, output / "aaw_map.csv")
    plot_map(points, output / "aaw_map.png", size=int(size))
    click.echo(
        f"{len(points)} cells in {output / 'aaw_map.csv'}; the picture in {output / 'aaw_map.png'}"
    )
    for name in ("over_uniform", "over_full_generated", "over_full_trained"):
        values = sorted(getattr(point, name) for point in points)
        wins = sum(value > 1 for value in values)
        click.echo(f"{name}: {values[0]:.3g} to {values[-1]:.3g}; above 1 in {wins} cells")


@click.command("start-weights", short_help="Weights of starts by their success rate.")
@group_options(size=(click.IntRange(4), 16), kept=(click.IntRange(2), 8))
@picture_option("File for the curves.")
def start_weights(size: int, kept: int, picture: str | None) -> None:
    """Compute the weight of a start's gradient as a function of its success rate, for ten ways to use a group."""
    _check_kept(kept, size)
    from proofs.estimators.weight_curves import plot_weights, ten_designs, weight_rows

    families = ten_designs(size=size, kept=kept)
    print_columns(weight_rows(families))
    if picture is not None:
        plot_weights(families, picture)


@click.command("relatives", short_help="Compare AAW with its alternatives at equal cost.")
@group_options(size=(click.IntRange(4), 16), kept=(click.IntRange(2), 4))
def relatives(size: int, kept: int) -> None:
    """Compare full groups, AAW and PODS on some games by their signal per trained token.

    A second table shows the best AAW relative to the best full groups at a cost of played + rho x trained tokens.
    """
    _check_kept(kept, size)
    from proofs.estimators.relatives import budget_rows, relative_rows

    click.echo("Signal to noise per thousand trained tokens (cosine, where it is not 1)\n")
    print_columns(relative_rows(size=size, kept=kept))
    click.echo("\nBest AAW over best full groups: 20 steps, and 20 that do not matter; G 4 to 32\n")
    print_columns(budget_rows())


@click.command("off-policy", short_help="Compare corrections for a sampler other than the learner.")
@group_options(size=(click.IntRange(2, 4), 3), kept=(click.IntRange(1), 2))
@click.option(
    "--policies",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="Number of random policies.",
)
def off_policy(size: int, kept: int, policies: int) -> None:
    """Compute bias and variance of importance weights and of ratios if a perturbed or older policy plays the groups.

    The game has two steps of two words each. Noise is the standard deviation of the perturbation of the logits; a step
    is the factor of the exact gradient by which the learner has moved since it was the sampler. Weights are truncated
    at 2 unless the row says otherwise; ratios have the ranges of the methods that use them. Each cell shows the norm of
    the bias over that of the true gradient, and the variance over that of the learner's own groups, as medians over
    random policies.
    """
    _check_kept(kept, size)
    from proofs.estimators.off_policy_table import off_policy_rows

    for design, table in off_policy_rows(size=size, kept=kept, policies=policies).items():
        click.echo(f"Relative bias and variance, {design}\n")
        print_columns(table)
        click.echo()


def _check_kept(kept: int, size: int) -> None:
    if kept > size:
        raise click.UsageError(f"--kept must be at most --size (got {kept} > {size})")


def print_columns(table: Sequence[Sequence[str]]) -> None:
    """Rows of text with the first column to the left and figures to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        click.echo("  ".join((row[0].ljust(widths[0]), *cells)))
