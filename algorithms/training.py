"""A whole run: policy, trainer, evaluations, checkpoints, run folder and picture."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import attrs

from algorithms.casting import AbstractCasting
from algorithms.config import MSGRPOConfig, RunConfig
from algorithms.evaluation import Evaluation
from algorithms.ms_grpo import Metrics, MSGRPOTrainer, Update, evaluation_metrics
from algorithms.optimum import mean_optimal_return
from algorithms.plots import plot_run
from algorithms.rollouts import fixed_starts
from algorithms.tracking import EPISODES, METRICS, TIMINGS, RunFolder, transcript
from lap import LanguageAgentPolicy
from tsmg import AbstractGame


class Reporter(Protocol):
    """Who is told how the run goes (a progress bar, say)."""

    def update(self, update: Update) -> None:
        """One update was done."""
        ...

    def evaluated(self, update: int, sampled: Evaluation, greedy: Evaluation) -> None:
        """The policy was evaluated."""
        ...


@attrs.frozen(kw_only=True)
class Result:
    """What a run ended with.

    Attributes:
      sampled, greedy: the last evaluation, at the training temperature and greedy.
      start_sampled, start_greedy: the same before training.
      ceiling: the exact optimum of the evaluation's starts, where it can be computed.
      folder: the run folder.
    """

    sampled: Evaluation
    greedy: Evaluation
    start_sampled: Evaluation
    start_greedy: Evaluation
    ceiling: float | None
    folder: Path


def run_training(
    *,
    game: AbstractGame[Any, Any],
    evaluation_game: AbstractGame[Any, Any],
    policy: LanguageAgentPolicy[Any] | Mapping[str, LanguageAgentPolicy[Any]],
    config: MSGRPOConfig,
    run: RunConfig,
    folder: str | Path,
    described: Mapping[str, Any],
    reporter: Reporter,
    track: Callable[[Metrics, int], None] | None = None,
    casting: AbstractCasting | None = None,
) -> Result:
    """Train, evaluate, record and draw.

    Args:
      game: what is trained on.
      evaluation_game: what is evaluated on (a held-out part, say).
      policy: the policy to train, or one for each agent.
      config: of the algorithm.
      run: of the run.
      folder: the run folder; must be new.
      described: what else belongs in ``config.json`` (game id, model name, ...).
      reporter: told of every update and evaluation.
      track: also given every metric record (for trackers).
      casting: who plays whom; all agents learn unless given.

    Raises:
      RunFolderError: the folder holds a run already.
    """
    files = RunFolder(folder)
    trainer = MSGRPOTrainer(
        game=game, policy=policy, config=config, evaluation_game=evaluation_game, casting=casting
    )
    settings = {"algorithm": attrs.asdict(trainer.config), "run": attrs.asdict(run), **described}
    files.write_config(settings)

    def record(metrics: Metrics) -> None:
        files.write(METRICS, metrics)
        if track is not None:
            track(metrics, trainer.update_index)

    def evaluate(episodes: int) -> tuple[Evaluation, Evaluation]:
        sampled = trainer.evaluate(episodes, seed=run.evaluation_seed)
        greedy = trainer.evaluate(episodes, seed=run.evaluation_seed, temperature=0.0)
        record(
            {
                "update": float(trainer.update_index),
                **evaluation_metrics(sampled, "eval"),
                **evaluation_metrics(greedy, "eval_greedy"),
            }
        )
        reporter.evaluated(trainer.update_index, sampled, greedy)
        return sampled, greedy

    plans = fixed_starts(evaluation_game, run.final_episodes, seed=run.evaluation_seed)
    ceiling = mean_optimal_return(evaluation_game, plans)
    start = evaluate(run.final_episodes)
    while trainer.update_index < config.updates:
        done = trainer.update()
        record(done.metrics)
        files.write(TIMINGS, {"update": done.metrics["update"], **done.seconds})
        played = [e for group in done.rollouts.groups for e in group.episodes]
        for episode in played[: run.episodes_logged]:
            files.write(EPISODES, transcript(episode, update=trainer.update_index))
        reporter.update(done)
        is_last = trainer.update_index == config.updates
        if not is_last and trainer.update_index % run.evaluate_every == 0:
            evaluate(run.evaluation_episodes)
        if is_last or trainer.update_index % run.checkpoint_every == 0:
            trainer.save_pretrained(files.checkpoint(trainer.update_index))
    end = evaluate(run.final_episodes)
    for episode in end[0].episodes[:10]:
        files.write(EPISODES, transcript(episode, update=trainer.update_index))
    files.close()
    plot_run(files.path, ceiling=ceiling, title=str(described.get("title", game.name)))
    return Result(
        sampled=end[0],
        greedy=end[1],
        start_sampled=start[0],
        start_greedy=start[1],
        ceiling=ceiling,
        folder=files.path,
    )
