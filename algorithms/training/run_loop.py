"""The loop of a run: updates, and the evaluations, checkpoints, records and warnings that are due after them."""

import math
import signal
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from algorithms.errors import RunStoppedError
from algorithms.play.evaluation import Evaluation
from algorithms.runs.atomic import corruption_reason, write_whole_folder
from algorithms.runs.checkpoints import (
    BEST,
    CHECKPOINTS,
    best_reward,
    checkpoint_folder,
    remove_old_checkpoints,
    save_checkpoint,
)
from algorithms.runs.writer import (
    EPISODES,
    EVALUATIONS,
    FAILURES,
    METRICS,
    TIMINGS,
    WARNINGS,
    NullRunFolder,
    RunFolder,
    evaluation_record,
    failure,
    transcript,
)
from algorithms.training.config import RunConfig
from algorithms.training.first_update import Situation, first_update_warnings
from algorithms.training.health import LOOKS_BACK, health_warnings, new_health_warnings
from algorithms.training.interruption import Interruption
from algorithms.training.metrics import (
    Metrics,
    Update,
    evaluation_metrics,
    recorded_evaluation,
)
from algorithms.training.reporter import Reporter
from algorithms.training.snapshot import policy_saver, training_state
from algorithms.training.trainer import MSGRPOTrainer
from lap.model import EnumerableModel
from tsmg import AbstractGame, Completion, Episode, FailedEpisode

EvaluationPair = tuple[Evaluation, Evaluation]
"""Sampled and greedy."""


class History:
    """The part of its metrics that a run needs to keep; not all of them, since runs are long.

    Attributes:
      first: the evaluation before training; ``None`` before it was made.
      updates: the last ones.
      best: the greatest mean return of an evaluation.
    """

    def __init__(self, records: Sequence[Metrics]) -> None:
        self.first: Metrics | None = None
        self.updates: deque[Metrics] = deque(maxlen=LOOKS_BACK)
        self.best = -math.inf
        for record in records:
            self.add(record)

    def add(self, record: Metrics) -> None:
        """Add a line of ``metrics.jsonl``."""
        self.first = self.first or record
        self.best = max(self.best, best_reward([record]))
        if "reward" in record:
            self.updates.append(record)


def write_policy(trainer: MSGRPOTrainer, folder: Path) -> None:
    """Save the current policy; all processes call this together, and the first one writes."""
    save = policy_saver(trainer)
    if trainer.processes.is_first:
        write_whole_folder(folder, save)


@attrs.frozen(kw_only=True)
class RunLoop:
    """The steps of a run, each with its records."""

    trainer: MSGRPOTrainer
    run: RunConfig
    files: RunFolder | NullRunFolder
    reporter: Reporter
    track: Callable[[Metrics, int], None] | None
    interruption: Interruption
    history: History
    situation: Situation

    def all(self) -> tuple[EvaluationPair, EvaluationPair, EvaluationPair | None]:
        """The evaluation before training, all remaining updates, and the evaluation after them.

        A constrained policy is then evaluated without the constraint, too.
        """
        if first := self.history.first:
            start = recorded_evaluation(first, "eval"), recorded_evaluation(first, "eval_greedy")
        else:
            start = self.evaluate(self.run.final_episodes)
        self._stop_if_signalled()
        while self.trainer.update_index < self.trainer.config.updates:
            self.update()
            self._stop_if_signalled()
        free = self._play(self.run.final_episodes, free=True) if self.trainer.constrained else None
        end = self.evaluate(self.run.final_episodes, free=free)
        self._stop_if_signalled()
        return start, end, free

    def update(self) -> None:
        """One update, and what is due after it."""
        done = self.trainer.update()
        self._record(done.metrics)
        self.files.write(TIMINGS, {"update": done.metrics["update"], **done.seconds})
        self.record_failures(done.rollouts.failed)
        played = [e for group in done.rollouts.groups for e in group.episodes]
        self.record_episodes(self.trainer.game, played[: self.run.episodes_logged])
        self.reporter.update(done)
        self._report_health(done)
        index = self.trainer.update_index
        is_last = index == self.trainer.config.updates
        if not is_last and index % self.run.evaluate_every == 0:
            self.evaluate(self.run.evaluation_episodes)
        if is_last or index % self.run.checkpoint_every == 0:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Write the policy and all that training needs to continue; then remove older checkpoints."""
        training, save = training_state(self.trainer), policy_saver(self.trainer)
        if not self.trainer.processes.is_first:
            return
        index = self.trainer.update_index
        save_checkpoint(
            self.files.path,
            index,
            save_policy=save,
            training=training,
            lines=self.files.sync(),
        )
        remove_old_checkpoints(self.files.path, update=index, keep=self.run.keep_checkpoints)

    def _stop_if_signalled(self) -> None:
        """Stop for a signal to any process, with a checkpoint of this update."""
        signals = self.trainer.processes.gather([self.interruption.signal])
        received = [s for s in signals if s is not None]
        if not received:
            return
        index = self.trainer.update_index
        is_saved = corruption_reason(checkpoint_folder(self.files.path, index)) is None
        if not self.trainer.processes.broadcast(is_saved):
            self.checkpoint()
        error = RunStoppedError(
            f"stopped by {signal.Signals(received[0]).name} after update {index}, with a checkpoint; "
            f"continue with: tsmg train --resume {self.files.path}"
        )
        error.signal = received[0]
        raise error

    def _report_health(self, update: Update) -> None:
        """Report and record what looks wrong; stop where nothing but a new beginning helps."""
        history = list(self.history.updates)
        found = new_health_warnings(history)
        if update.index == 1:
            found = [*first_update_warnings(update, self.trainer.game, self.situation), *found]
        self._warn((*update.notes, *(finding.message for finding in found)))
        collapses = [finding for finding in health_warnings(history) if finding.is_collapse]
        if collapses and self.run.stop_on_collapse:
            raise RunStoppedError(
                f"stopped after update {self.trainer.update_index}: {collapses[0].message}; "
                f"earlier policies are in {self.files.path / CHECKPOINTS}"
            )

    def _warn(self, texts: Sequence[str]) -> None:
        """Report and record what a person should know."""
        for text in texts:
            self.files.write(WARNINGS, {"update": self.trainer.update_index, "warning": text})
            self.reporter.message(f"update {self.trainer.update_index}: {text}")

    def _play(self, episodes: int, *, free: bool = False) -> EvaluationPair:
        """The policy as it stands, at the training temperature and greedy; as it is trained, or without constraint."""
        seed, constrained = self.run.evaluation_seed, False if free else None
        return (
            self.trainer.evaluate(episodes, seed=seed, constrained=constrained),
            self.trainer.evaluate(episodes, seed=seed, temperature=0.0, constrained=constrained),
        )

    def evaluate(self, episodes: int, *, free: EvaluationPair | None = None) -> EvaluationPair:
        """Evaluate the current policy, at the training temperature and greedy.

        Args:
          episodes: how many.
          free: its evaluation without constraint, to be recorded with it.
        """
        sampled, greedy = self._play(episodes)
        named = zip(("eval_free", "eval_free_greedy"), free or (), strict=free is not None)
        if self.run.keep_best and sampled.reward > self.history.best:  # the same in all processes
            write_policy(self.trainer, self.files.path / CHECKPOINTS / BEST)
        self._record(
            {
                "update": float(self.trainer.update_index),
                **evaluation_metrics(sampled, "eval"),
                **evaluation_metrics(greedy, "eval_greedy"),
                **{k: v for name, one in named for k, v in evaluation_metrics(one, name).items()},
            }
        )
        index = self.trainer.update_index
        self.files.write(EVALUATIONS, evaluation_record(index, sampled, greedy))
        self.record_failures([f for one in (sampled, greedy, *(free or ())) for f in one.failed])
        self.reporter.evaluated(self.trainer.update_index, sampled, greedy)
        self._warn(self.trainer.take_notes())
        return sampled, greedy

    def record_episodes(
        self, game: AbstractGame[Any, Any], episodes: Sequence[Episode[Any]]
    ) -> None:
        """Transcripts of episodes."""
        for episode in episodes:
            record = transcript(
                episode,
                update=self.trainer.update_index,
                successes={agent: game.success(episode, agent) for agent in episode.agents},
                metrics={agent: game.metrics(episode, agent) for agent in episode.agents},
                token_texts=self._token_texts,
            )
            self.files.write(EPISODES, record)

    def _token_texts(self, completion: Completion) -> list[str] | None:
        """The texts of a completion's tokens, where a learner made it and its model knows them."""
        for policy in self.trainer.policies.values():
            model: object = policy.model
            if (
                isinstance(model, EnumerableModel)
                and getattr(model, "model_id", "") == completion.model_id
            ):
                return [model.text([token]) for token in completion.reply_ids]
        return None

    def record_failures(self, failed: Sequence[FailedEpisode[Any]]) -> None:
        """Episodes in which the game raised, with what was played until then."""
        index = self.trainer.update_index
        records = self.trainer.processes.gather(
            failure(episode, update=index) for episode in failed
        )
        for record in records:
            self.files.write(FAILURES, record)

    def _record(self, metrics: Metrics) -> None:
        if self.track is not None:  # before the line is written: a resumed run counts lines
            self.track(metrics, self.trainer.update_index)
        self.files.write(METRICS, metrics)
        self.history.add(dict(metrics))
