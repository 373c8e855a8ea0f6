"""``tsmg train``: a run from options or from a file, or one that is resumed."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import click

from algorithms.cli.options import (
    HeadedCommand,
    config_options,
    find_games_here,
    given_settings,
    network_option,
)
from algorithms.cli.terminal import echo_error, run_reporter, say_result
from algorithms.errors import RunStoppedError
from algorithms.method.config import MSGRPOConfig
from algorithms.method.presets import PRESETS
from algorithms.runs.records import read_config
from algorithms.runs.schema import check_resumable
from algorithms.training.config import RunConfig
from algorithms.training.engines import ENGINE_PLACES, may_have_moved
from algorithms.training.game_spec import GameSpec
from algorithms.training.own_rules import own_rules
from algorithms.training.plain_data import read_settings, to_toml
from algorithms.training.policy_spec import PolicySpec
from algorithms.training.spec import RunSpec

HEADINGS: Mapping[str, tuple[str, ...]] = {
    "First of all": (
        "game_id", "settings", "model", "updates", "seed", "output", "resume", "config", "show_config",
    ),
    "Game": ("horizon", "held_out", "opponent", "role"),
    "Policy": ("chat", "thinking", "dtype", "history", "subgoals", "examples", "prefill", "lora", "recompute",
        "compile", "player", "network_sizes",
    ),
    "Sampling of replies and episodes": (
        "groups", "group_size", "temperature", "top_k", "top_p", "min_p", "max_reply_tokens", "constrained",
        "group_on", "common_chance", "max_plays", "max_staleness", "max_failure_rate", "sampling", "kept_episodes",
        "alpha", "floor", "replacement", "scope", "corrected", "starts", "start_floor", "start_memory", "start_pool",
        "correct_starts", "branching", "rollouts", "trees",
    ),
    "Method": (
        "method", "baseline", "std", "eps", "credit", "anchor_weight", "baseline_decay", "gae_lambda", "segment_lambda",
        "gae", "critic", "value_coefficient", "bootstrap",
        "batch_rule", "group_filter", "kept_groups", "weighting", "ratio", "clip_low", "clip_high",
        "importance_weights", "importance_level", "importance_cap",
        "kl_coefficient", "entropy_coefficient", "regulariser_schedule", "zero_variance_groups",
    ),
    "Optimisation": ("learning_rate", "schedule", "max_grad_norm", "epochs", "token_budget", "sharding"),
    "Evaluation": (
        "evaluate_every", "evaluation_episodes", "final_episodes", "evaluation_seed", "keep_best",
    ),
    "Play on inference servers": ("engine", "engine_folder", "engine_timeout"),
    "Run": (
        "threads", "checkpoint_every", "keep_checkpoints", "step_deadline", "stop_on_collapse", "episodes_logged",
        "tracker",
    ),
}  # fmt: skip


class _TrainCommand(HeadedCommand):
    headings = HEADINGS


@click.command(cls=_TrainCommand)
@config_options(GameSpec)
@config_options(PolicySpec)
@network_option
@config_options(RunSpec)
@config_options(MSGRPOConfig)
@config_options(RunConfig)
@click.option(
    "--method",
    type=click.Choice(tuple(PRESETS)),
    default=None,
    help="A named set of settings. "
    + " ".join(f"{name}: {preset.about}." for name, preset in PRESETS.items())
    + " Other options and --config override them, except those that define the method.",
)
@click.option("--output", type=click.Path(), default=None, help="Run folder; runs/<time> if unset.")
@click.option(
    "--resume",
    type=click.Path(),
    default=None,
    help="Continue the run in this folder from its newest complete checkpoint, with its settings.",
)
@click.option(
    "--config",
    type=click.Path(),
    default=None,
    metavar="FILE.toml|.json",
    help="File with a run specification; other options override it.",
)
@click.option(
    "--show-config",
    is_flag=True,
    help="Print the whole specification as TOML, for --config, and do nothing else.",
)
@click.pass_context
def train(
    context: click.Context,
    /,
    method: str | None,
    output: str | None,
    resume: str | None,
    config: str | None,
    show_config: bool,
    **options: Any,
) -> None:
    """Post-train a policy on a game with MS-GRPO."""
    find_games_here()
    source = "the options" if config is None else f"{config!r}, with the options"
    own = given_settings(context)
    given = _merged({} if config is None else read_settings(config), own)
    if method is not None:
        given = _with_method(method, given)
    if resume is None:
        spec = RunSpec.from_json(given, source=source)
        folder = Path(output or Path("runs") / time.strftime("%Y%m%d-%H%M%S"))
        if (folder / "config.json").exists() and not show_config:
            raise click.UsageError(f"{str(folder)!r} already holds a run; choose another --output")
    else:
        folder = Path(resume)
        if output is not None and Path(output) != folder:
            raise click.UsageError("--resume continues in the run's own folder; leave --output out")
        spec = _recorded_spec(folder, given, own=own)
    if show_config:
        click.echo(to_toml(spec), nl=False)
        return
    spec.check(resumes=resume is not None and (folder / "start").is_dir())
    from algorithms.runs.checkpoints import checkpoint_folder
    from algorithms.training.run import run_training

    try:
        with run_reporter(spec.algorithm.updates) as reporter:
            result = run_training(spec, folder, reporter=reporter, resume=resume is not None)
    except RunStoppedError as stopped:
        echo_error(str(stopped))
        sys.exit(128 + stopped.signal if stopped.signal else 1)
    last = checkpoint_folder(folder, spec.algorithm.updates)
    say_result(result, game=spec.game, checkpoint=str(last))


def _with_method(method: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a method, and above them those that file and options give; says what holds of the method."""
    overridden = given.get("algorithm", {})
    if isinstance(overridden, Mapping):  # what is no table is refused with the file
        PRESETS[method].check(overridden, name=method)
        click.echo(f"method {method}: {PRESETS[method].description(overridden)}", err=True)
    return _merged({"algorithm": PRESETS[method].settings}, given)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two tables as one; where both have a value, that of ``above``."""
    merged = dict(below)
    for name, value in above.items():
        there = merged.get(name)
        both = isinstance(value, Mapping) and isinstance(there, Mapping)
        merged[name] = _merged(there, value) if both and there is not None else value
    return merged


def _recorded_spec(folder: Path, given: Mapping[str, Any], *, own: Mapping[str, Any]) -> RunSpec:
    """The specification of a run that is to be resumed; settings that are given now must be those of the run.

    Args:
      folder: of the run.
      given: settings by options and file.
      own: settings by options alone.

    Raises:
      UsageError: a setting differs, but for the place of an engine, or the game or a rule is code that the user did not
        name by an option.
      RunFolderError: there is no run, or it cannot be resumed.
    """
    config = read_config(folder)
    check_resumable(config, folder)
    recorded = RunSpec.from_json(config["spec"], source=f"the run in {str(folder)!r}")
    there = recorded.to_json()
    moved = RunSpec.from_json(_merged(there, given), source="the options")
    if recorded.engine != moved.engine and not may_have_moved(
        "engine", recorded.engine, moved.engine
    ):
        how = "with" if recorded.engine else "without"
        raise click.UsageError(
            f"a resumed run keeps its settings: it was played {how} 'engine' in {str(folder)!r}"
        )
    wanted = moved.to_json()
    for section, table in given.items():
        if section in ("labels", *ENGINE_PLACES):  # they compute nothing
            continue
        names = [f"{section}.{name}" for name in table] if isinstance(table, Mapping) else [section]
        for name in names:
            old, new = (_setting(spec, name) for spec in (there, wanted))
            if new not in (old, "auto"):
                raise click.UsageError(
                    f"a resumed run keeps its settings: {name!r} is {old!r} in {str(folder)!r} (got {new!r})"
                )
    _check_trust(recorded, own, folder)
    return attrs.evolve(recorded, **{name: getattr(moved, name) for name in ENGINE_PLACES})


def _check_trust(recorded: RunSpec, own: Mapping[str, Any], folder: Path) -> None:
    """Refuse to run code that a run folder names, but the user does not."""
    code = {("algorithm", name): text for name, text in own_rules(recorded.algorithm).items()}
    if ":" in recorded.game.id:
        code["game", "id"] = recorded.game.id
    untrusted = {key: text for key, text in code.items() if key[1] not in own.get(key[0], {})}
    options = [
        f"--{'game' if section == 'game' else name.replace('_', '-')} {text}"
        for (section, name), text in untrusted.items()
    ]
    if options:
        raise click.UsageError(
            f"{str(folder)!r} names code that it was run with: if you trust it, add {' '.join(options)}"
        )


def _setting(spec: Mapping[str, Any], name: str) -> object:
    """The value of a setting by its dotted name."""
    section, _, field = name.rpartition(".")
    return spec[section][field] if section else spec[field]
