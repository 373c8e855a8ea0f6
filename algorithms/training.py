"""A whole run: policy, trainer, evaluations, checkpoints, run folder and picture."""

from collections.abc import Callable, Mapping, Sequence
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
from algorithms.tracking import (
    EPISODES,
    FAILURES,
    METRICS,
    TIMINGS,
    RunFolder,
    failure,
    transcript,
)
from lap import LanguageAgentPolicy
from tsmg import AbstractGame, FailedEpisode, TooManyFailuresError


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
      TooManyFailuresError: more episodes failed than the configuration accepts; they are in ``failures.jsonl``.
    """
    with RunFolder(folder) as files:
        trainer = MSGRPOTrainer(
            game=game,
            policy=policy,
            config=config,
            evaluation_game=evaluation_game,
            casting=casting,
        )
        settings = {"algorithm": attrs.asdict(trainer.config), "run": attrs.asdict(run)}
        files.write_config({**settings, **described})
        steps = _Run(trainer=trainer, run=run, files=files, reporter=reporter, track=track)
        plans = fixed_starts(evaluation_game, run.final_episodes, seed=run.evaluation_seed)
        ceiling = mean_optimal_return(evaluation_game, plans)
        try:
            start = steps.evaluate(run.final_episodes)
            while trainer.update_index < config.updates:
                steps.update()
            end = steps.evaluate(run.final_episodes)
        except TooManyFailuresError as error:
            steps.keep([e for e in error.failed if isinstance(e, FailedEpisode)])
            raise
        for episode in end[0].episodes[:10]:
            files.write(EPISODES, transcript(episode, update=trainer.update_index))
    plot_run(files.path, ceiling=ceiling, title=str(described.get("title", game.name)))
    return Result(
        sampled=end[0],
        greedy=end[1],
        start_sampled=start[0],
        start_greedy=start[1],
        ceiling=ceiling,
        folder=files.path,
    )


@attrs.frozen(kw_only=True)
class _Run:
    """The steps of a run, each with what it writes down."""

    trainer: MSGRPOTrainer
    run: RunConfig
    files: RunFolder
    reporter: Reporter
    track: Callable[[Metrics, int], None] | None

    def update(self) -> None:
        """One update, and what is due after it."""
        done = self.trainer.update()
        self._record(done.metrics)
        self.files.write(TIMINGS, {"update": done.metrics["update"], **done.seconds})
        self.keep(done.rollouts.failed)
        played = [e for group in done.rollouts.groups for e in group.episodes]
        for episode in played[: self.run.episodes_logged]:
            self.files.write(EPISODES, transcript(episode, update=self.trainer.update_index))
        self.reporter.update(done)
        index = self.trainer.update_index
        is_last = index == self.trainer.config.updates
        if not is_last and index % self.run.evaluate_every == 0:
            self.evaluate(self.run.evaluation_episodes)
        if is_last or index % self.run.checkpoint_every == 0:
            self.trainer.save_pretrained(self.files.checkpoint(index))

    def evaluate(self, episodes: int) -> tuple[Evaluation, Evaluation]:
        """The policy as it stands, at the training temperature and greedy."""
        seed = self.run.evaluation_seed
        sampled = self.trainer.evaluate(episodes, seed=seed)
        greedy = self.trainer.evaluate(episodes, seed=seed, temperature=0.0)
        self._record(
            {
                "update": float(self.trainer.update_index),
                **evaluation_metrics(sampled, "eval"),
                **evaluation_metrics(greedy, "eval_greedy"),
            }
        )
        self.keep([*sampled.failed, *greedy.failed])
        self.reporter.evaluated(self.trainer.update_index, sampled, greedy)
        return sampled, greedy

    def keep(self, failed: Sequence[FailedEpisode[Any]]) -> None:
        """Episodes in which the game raised, with what was played until then."""
        for episode in failed:
            self.files.write(FAILURES, failure(episode, update=self.trainer.update_index))

    def _record(self, metrics: Metrics) -> None:
        self.files.write(METRICS, metrics)
        if self.track is not None:
            self.track(metrics, self.trainer.update_index)
