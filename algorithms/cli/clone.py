"""``tsmg clone``: fit a checkpoint to a player, a policy or recorded episodes, before it is trained."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from algorithms.cli.options import (
    HeadedCommand,
    config_options,
    find_games_here,
    game_arguments,
    given_settings,
    network_option,
)
from algorithms.cli.terminal import console, echo_error, say
from algorithms.cloning.config import DESCRIBED, FitConfig
from algorithms.errors import RunStoppedError
from algorithms.training.clone_spec import CloneSpec, check_folder
from algorithms.training.game_spec import GameSpec
from algorithms.training.plain_data import read_settings
from algorithms.training.policy_spec import PolicySpec

if TYPE_CHECKING:  # they import torch
    from algorithms.cloning.run import CloningResult, Measurement

_POLICY = (
    "model", "chat", "thinking", "dtype", "history", "lora", "recompute", "compile", "player", "examples", "prefill",
)  # fmt: skip
HEADINGS: Mapping[str, tuple[str, ...]] = {
    "First of all": ("game_id", "settings", "model", "lora", "output", "resume"),
    "What is cloned": (
        "player", "player_settings", "teacher", "episodes_from", "successful", "replies", "episodes",
    ),
    "Game": ("horizon", "held_out"),
    "Policy": (
        *(name for name in _POLICY if name not in ("model", "lora", "player")), "network_sizes",
    ),
    "Fit": ("steps", "batch", "learning_rate", "token_budget", "seed", "threads"),
    "Measurements and the end": ("measure_every", "measured_prompts", "patience", "min_improvement"),
}  # fmt: skip


class _CloneCommand(HeadedCommand):
    headings = HEADINGS


class _Reporter:
    """Reports a cloning: whole lines; in a terminal also the steps between them, on a line of their own."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._status = console.status("")

    def __enter__(self) -> "_Reporter":
        if console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if console.is_terminal:
            self._status.stop()

    def stage(self, text: str) -> None:
        """A line."""
        say(text)

    def step(self, done: int, steps: int, loss: float) -> None:
        """The step, in a terminal."""
        self._status.update(f"step {done} of {steps}: loss {loss:.4f}")

    def measured(self, measurement: "Measurement", steps: int) -> None:
        """A line."""
        say(measurement_line(measurement, steps))


def measurement_line(measurement: "Measurement", steps: int) -> str:
    """A measurement in words."""
    loss = f", loss {measurement.loss:.4f}" if measurement.step else ""
    return (
        f"step {measurement.step} of {steps}: divergence {measurement.divergence:.4f} nats per reply, "
        f"invalid {measurement.invalid_rate:.3f}{loss}"
    )


@click.command(cls=_CloneCommand, short_help="Fit a checkpoint to a player, a policy or episodes.")
@config_options(GameSpec)
@config_options(PolicySpec, only=_POLICY)
@network_option
@click.option(
    "--player-set",
    "player_settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="An argument of the game's own player, e.g. --player-set attention=1. May be repeated.",
)
@click.option(
    "--policy",
    "teacher",
    type=click.Path(),
    default=None,
    help="Folder of a saved policy whose play is cloned.",
)
@config_options(CloneSpec, only=["episodes_from", "successful", "threads"])
@config_options(FitConfig)
@click.option(
    "--output",
    type=click.Path(),
    default=None,
    help="Folder of the policy; clones/<time> if unset.",
)
@click.option(
    "--resume",
    type=click.Path(),
    default=None,
    help="Continue the cloning in this folder from its last checkpoint, with its settings.",
)
@click.pass_context
def clone(
    context: click.Context,
    /,
    output: str | None,
    resume: str | None,
    player_settings: tuple[str, ...],
    teacher: str | None,
    **options: Any,
) -> None:
    """Fit a checkpoint to a scripted player, a policy or recorded episodes, before it is trained.

    Without --model a small fresh network is fitted. The result is a policy that tsmg train --model takes.
    """
    find_games_here()
    if resume is None:
        given = given_settings(context)
        policy = {
            **given.get("policy", {}),
            "player_arguments": game_arguments(player_settings, option="--player-set"),
        }
        table = {
            "game": given.get("game", {}),
            "policy": policy,
            "fit": {field.name: options[field.name] for field in attrs.fields(FitConfig)},
            "teacher": teacher,
            **{name: options[name] for name in ("episodes_from", "successful", "threads")},
        }
        spec = CloneSpec.from_json(table, source="the options")
        folder = Path(output or Path("clones") / time.strftime("%Y%m%d-%H%M%S"))
    else:
        folder = Path(resume)
        spec = _recorded_spec(folder, context)
    check_folder(folder, resume=resume is not None)
    spec.check()
    try:
        result = _cloned(spec, folder, resume=resume is not None)
    except RunStoppedError as stopped:
        echo_error(str(stopped))
        sys.exit(128 + stopped.signal)
    _say_result(result, spec)


def _recorded_spec(folder: Path, context: click.Context) -> CloneSpec:
    """The specification of a cloning that is to be resumed; nothing else may be asked for.

    Raises:
      UsageError: an option is given that the cloning keeps, or the game is code that the user did not name.
      RunFolderError: there is no cloning.
    """
    check_folder(folder, resume=True)
    for parameter in context.command.params:
        name = parameter.name or ""
        if _is_given(context, name) and name not in ("resume", "game_id"):
            raise click.UsageError(
                f"a resumed cloning keeps its settings; leave {parameter.opts[0]} out"
            )
    file = folder / DESCRIBED
    recorded = read_settings(file).get("spec")
    if not isinstance(recorded, Mapping):
        raise click.UsageError(f"{str(file)!r} is malformed: field 'spec' must be a JSON object")
    spec = CloneSpec.from_json(recorded, source=repr(str(file)))
    named = context.params["game_id"] if _is_given(context, "game_id") else spec.game.id
    if named != spec.game.id:
        raise click.UsageError(
            f"a resumed cloning keeps its game: it is {spec.game.id} in {str(folder)!r} (got {named})"
        )
    if ":" in spec.game.id and not _is_given(context, "game_id"):
        raise click.UsageError(
            f"the game of {str(folder)!r} is code: if you trust it, add --game {spec.game.id}"
        )
    return spec


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _cloned(spec: CloneSpec, folder: Path, *, resume: bool) -> "CloningResult":
    """The cloning, with torch imported after the checks."""
    from algorithms.training.cloning import clone_policy

    with _Reporter() as reporter:
        return clone_policy(spec, folder, reporter=reporter, resume=resume)


def _say_result(result: "CloningResult", spec: CloneSpec) -> None:
    last = result.measurements[-1]
    why = "converged" if result.converged else "all steps are done"
    say(
        f"{why} after {last.step} steps; kept: step {result.kept.step}, the best on the measured prompts, with a "
        f"divergence of {result.kept.divergence:.4f} nats per reply"
    )
    say(
        f"policy: {result.folder}; next: tsmg train {spec.game.options()} --model {result.folder}, "
        f"or tsmg evaluate {spec.game.options()} --model {result.folder}"
    )
