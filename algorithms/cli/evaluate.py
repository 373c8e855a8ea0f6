"""``tsmg evaluate`` and ``tsmg merge``: commands for an existing policy."""

from pathlib import Path
from typing import Any

import attrs
import click

from algorithms.cli.options import config_options, game_options, game_spec, max_reply_tokens_option
from algorithms.cli.terminal import PlainLines, console, figures, say
from algorithms.method.config import MSGRPOConfig
from algorithms.training.opponents import check_constrained, check_opponent, make_matchups
from algorithms.training.policy_spec import PolicySpec
from algorithms.training.spec import RunSpec


@click.command(short_help="Evaluate a policy or checkpoint on fixed episodes.")
@game_options
@config_options(
    PolicySpec,
    only=["model", "chat", "thinking", "dtype", "history", "examples", "prefill", "constrained"],
)
@config_options(RunSpec, only=["opponent", "role", "threads"])
@click.option(
    "--episodes", type=click.IntRange(1), default=300, show_default=True, help="Number of episodes."
)
@click.option(
    "--temperature",
    type=click.FloatRange(0),
    default=None,
    help="Sampling temperature; 0 is greedy. Unset: the policy's own.",
)
@max_reply_tokens_option
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the episodes.")
def evaluate(
    game_id: str,
    settings: tuple[str, ...],
    horizon: int | None,
    held_out: float,
    opponent: str,
    role: str | None,
    threads: int,
    episodes: int,
    temperature: float | None,
    max_reply_tokens: int | None,
    seed: int,
    **policy_settings: Any,
) -> None:
    """Evaluate a policy or checkpoint on fixed episodes, together with their exact optimum."""
    game = game_spec(game_id, settings, horizon, held_out)
    whole_game = game.build()
    training_game, evaluation_game = game.split(whole_game)
    policy_spec = PolicySpec(**policy_settings)
    policy_spec.check(whole_game)
    check_opponent(whole_game, opponent, role, model=policy_spec.model)
    if policy_spec.constrained:
        check_constrained(whole_game, MSGRPOConfig())
    import torch

    import lap
    from algorithms.play.evaluation import evaluate as evaluate_policy
    from algorithms.play.optimum import mean_optimal_return
    from algorithms.play.rollouts import fixed_starts
    from algorithms.training.policies import with_replies
    from algorithms.training.quiet import without_progress_bars

    torch.set_num_threads(threads)
    with without_progress_bars(), console.status("making the policy") as status:

        def tell(stage: str, done: int, total: int) -> None:
            status.update(f"{stage}: {done}/{total}")

        report = tell if console.is_terminal else PlainLines(updates=0).progress
        policy = policy_spec.build(training_game, seed=0, report=report)
        constrained = policy_spec.constrained
        matchups = make_matchups(whole_game, policy, opponent, role, constrained=constrained)
    policy = with_replies(policy, temperature=temperature, max_reply_tokens=max_reply_tokens)
    episode_specs = fixed_starts(evaluation_game, episodes, seed=seed)
    result = evaluate_policy(
        evaluation_game,
        lap.ConstrainedPolicy(game=evaluation_game, policy=policy) if constrained else policy,
        episode_specs,
        matchups=matchups,
    )
    say(f"{episodes} episodes, temperature {policy.sampling.temperature}: {figures(result)}")
    if (ceiling := mean_optimal_return(evaluation_game, episode_specs)) is not None:
        say(f"exact optimum of the same starts: return {ceiling:.3f}")


@click.command(short_help="Fold adapters into their checkpoint.")
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
@click.argument("output", type=click.Path())
def merge(folder: str, output: str) -> None:
    """Fold the adapters of a saved policy into its weights: FOLDER becomes an ordinary checkpoint in OUTPUT."""
    if not (Path(folder) / "adapter_config.json").is_file():
        raise click.UsageError(f"there are no adapters in {folder!r} (no adapter_config.json)")
    if Path(output).exists():
        raise click.UsageError(f"{output!r} already exists; choose another place")
    import lap
    from algorithms.training.quiet import without_progress_bars

    with without_progress_bars():
        policy = lap.LanguageAgentPolicy.from_pretrained(folder)
        if not isinstance(policy.model, lap.TransformersModel):
            raise click.UsageError(f"the policy in {folder!r} has no adapters that can be merged")
        attrs.evolve(policy, model=policy.model.merged()).save_pretrained(output)
    say(f"written: {output}")
