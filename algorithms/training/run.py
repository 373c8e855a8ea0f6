"""A whole run: policy, trainer, evaluations, checkpoints, run folder and picture."""

import itertools
import math
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, final

import attrs

from algorithms.analysis.plots import plot_run
from algorithms.method.config import MSGRPOConfig
from algorithms.play.baselines import baseline_figures
from algorithms.play.evaluation import Evaluation
from algorithms.play.matchups import AbstractMatchups
from algorithms.play.rollouts import fixed_starts
from algorithms.play.step_deadline import with_step_deadline
from algorithms.runs.atomic import corruption_reason, write_whole_folder
from algorithms.runs.checkpoints import (
    BEST,
    CHECKPOINTS,
    START,
    ResumePoint,
    best_reward,
    checkpoint_folder,
    has_start,
    remove_old_checkpoints,
    resume_point,
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
    check_same_run,
    evaluation_record,
    failure,
    read_config,
    read_lines,
    transcript,
    versions,
)
from algorithms.training.config import RunConfig
from algorithms.training.health import LOOKS_BACK, health_warnings, new_health_warnings
from algorithms.training.interruption import Interruption
from algorithms.training.trainer import (
    Metrics,
    MSGRPOTrainer,
    Update,
    evaluation_metrics,
    recorded_evaluation,
)
from lap import LanguageAgentPolicy
from lap.replies import ListableModel
from tsmg import (
    AbstractGame,
    Completion,
    Episode,
    FailedEpisode,
    RunFolderError,
    RunStoppedError,
    TooManyFailuresError,
)

_EPISODES_AT_THE_END = 10  # of the last evaluation, as transcripts


class Reporter(Protocol):
    """Who is told how the run goes (a progress bar, say)."""

    def update(self, update: Update) -> None:
        """One update was done."""
        ...

    def evaluated(self, update: int, sampled: Evaluation, greedy: Evaluation) -> None:
        """The policy was evaluated."""
        ...

    def told(self, text: str) -> None:
        """Something happened that a person should know."""
        ...


@final
class SilentReporter:
    """Says nothing: of a run whose process nobody watches."""

    def update(self, update: Update) -> None:
        """Nothing."""

    def evaluated(self, update: int, sampled: Evaluation, greedy: Evaluation) -> None:
        """Nothing."""

    def told(self, text: str) -> None:
        """Nothing."""


@attrs.frozen(kw_only=True)
class Result:
    """What a run ended with.

    Attributes:
      sampled, greedy: the last evaluation, at the training temperature and greedy.
      start_sampled, start_greedy: the same before training; without its episodes where the run was resumed.
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
    matchups: AbstractMatchups | None = None,
    resume: bool = False,
) -> Result:
    """Train, evaluate, record and draw.

    The first SIGTERM or SIGINT lets the update under way end, writes a checkpoint and stops the run; the second
    one ends the process. Of several processes that a launcher of ``accelerate`` started, the first one writes and
    speaks, and a signal to any of them stops all; all need to read the run folder to resume.

    Args:
      game: what is trained on.
      evaluation_game: what is evaluated on (a held-out part, say).
      policy: the policy to train, or one for each agent.
      config: of the algorithm.
      run: of the run.
      folder: the run folder; must be new, or hold the run that is resumed.
      described: what else belongs in ``config.json`` (game id, model name, ...).
      reporter: told of every update and evaluation.
      track: also given every metric record (for trackers).
      matchups: who plays whom; all agents learn unless given.
      resume: go on from the newest whole checkpoint of the run in the folder, with the same settings and the
        policy that it started from (the one in ``start/``).

    Raises:
      RunFolderError: the folder holds a run already; to resume: it holds none, or one of other settings or another
        reference policy; a file cannot be written.
      RunStoppedError: a signal stopped the run, or a collapse with ``stop_on_collapse``.
      TooManyFailuresError: more episodes failed than the configuration accepts; they are in ``failures.jsonl``.
    """
    timed_game, timed_evaluation_game = (
        with_step_deadline(one, run.step_deadline) if run.step_deadline else one
        for one in (game, evaluation_game)
    )
    trainer = MSGRPOTrainer(
        game=timed_game,
        policy=policy,
        config=config,
        evaluation_game=timed_evaluation_game,
        matchups=matchups,
    )
    specs = fixed_starts(timed_evaluation_game, run.final_episodes, seed=run.evaluation_seed)
    known = read_config(folder).get("references") if resume else None
    beside = known or baseline_figures(timed_evaluation_game, specs, matchups=matchups)
    ceiling = beside["optimum"]
    settings = {
        "algorithm": attrs.asdict(trainer.config),
        "run": attrs.asdict(run),
        **described,
        "references": beside,
    }
    is_first = trainer.processes.is_first
    reporter = reporter if is_first else SilentReporter()
    point = _loaded_point(trainer, folder, settings, reporter) if resume else None
    tracked = _lines_beyond(folder, point)
    opened = RunFolder if is_first else NullRunFolder
    trainer.processes.gather([])  # nothing is written before all have read
    with Interruption() as asked, opened(folder, kept=point.lines if point else None) as files:
        if point is None:
            files.write_config(settings)
        if trainer.processes.broadcast(trainer.update_index == 0 and not has_start(files.path)):
            _write_policy(trainer, files.path / START)
        records = list(read_lines(files.path / METRICS)) if is_first else []
        steps = _Run(
            trainer=trainer,
            run=run,
            files=files,
            reporter=reporter,
            track=_skipping(track, tracked) if track and is_first else None,
            asked=asked,
            history=_History(trainer.processes.broadcast(records)),
        )
        try:
            start, end = steps.all()
        except TooManyFailuresError as error:
            steps.keep([e for e in error.failed if isinstance(e, FailedEpisode)])
            raise
        except RunFolderError as error:
            raise RunFolderError(
                f"{error}; checkpoints that were whole still are: once there is room, go on with: "
                f"tsmg train --resume {files.path}"
            ) from error
        steps.tell(evaluation_game, end[0].episodes[:_EPISODES_AT_THE_END])
    if is_first:
        plot_run(files.path, ceiling=ceiling, title=str(described.get("title", game.name)))
    return Result(
        sampled=end[0],
        greedy=end[1],
        start_sampled=start[0],
        start_greedy=start[1],
        ceiling=ceiling,
        folder=files.path,
    )


def _loaded_point(
    trainer: MSGRPOTrainer, folder: str | Path, settings: Mapping[str, Any], reporter: Reporter
) -> ResumePoint:
    """Where the run goes on, its state in the trainer."""
    check_same_run(folder, settings)
    point = resume_point(Path(folder))
    if point.training is not None:
        trainer.load_state(point.training)
    for reason in point.skipped:
        reporter.told(f"skipped a checkpoint: {reason}")
    if read_config(folder)["versions"] != versions():
        reporter.told(
            "the run began under other versions or on another machine: numbers may differ"
        )
    reporter.told(f"resumed after update {point.update}")
    return point


def _lines_beyond(folder: str | Path, point: ResumePoint | None) -> int:
    """How many metric records were written after the checkpoint: they will be made, and written, again."""
    file = Path(folder) / METRICS
    if point is None or not file.is_file():
        return 0
    return file.read_bytes()[point.lines.get(METRICS, 0) :].count(b"\n")


def _skipping(track: Callable[[Metrics, int], None], count: int) -> Callable[[Metrics, int], None]:
    """The tracker without its first calls: it was told these records before the run was resumed."""
    completions = itertools.count()

    def rest(metrics: Metrics, update: int) -> None:
        if next(completions) >= count:
            track(metrics, update)

    return rest


class _History:
    """What a run needs to know of its metrics: not all of them, since runs are long.

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
        """Take in a line of ``metrics.jsonl``."""
        self.first = self.first or record
        self.best = max(self.best, best_reward([record]))
        if "reward" in record:
            self.updates.append(record)


def _write_policy(trainer: MSGRPOTrainer, folder: Path) -> None:
    """Save the policy as it stands; all processes call this together, and the first one writes."""
    save = trainer.saver()
    if trainer.processes.is_first:
        write_whole_folder(folder, save)


@attrs.frozen(kw_only=True)
class _Run:
    """The steps of a run, each with what it writes down."""

    trainer: MSGRPOTrainer
    run: RunConfig
    files: RunFolder | NullRunFolder
    reporter: Reporter
    track: Callable[[Metrics, int], None] | None
    asked: Interruption
    history: _History

    def all(self) -> tuple[tuple[Evaluation, Evaluation], tuple[Evaluation, Evaluation]]:
        """The evaluation before training, all updates that are left, and the evaluation after them."""
        if first := self.history.first:
            start = recorded_evaluation(first, "eval"), recorded_evaluation(first, "eval_greedy")
        else:
            start = self.evaluate(self.run.final_episodes)
        self._stop_if_asked()
        while self.trainer.update_index < self.trainer.config.updates:
            self.update()
            self._stop_if_asked()
        return start, self.evaluate(self.run.final_episodes)

    def update(self) -> None:
        """One update, and what is due after it."""
        done = self.trainer.update()
        self._record(done.metrics)
        self.files.write(TIMINGS, {"update": done.metrics["update"], **done.seconds})
        self.keep(done.rollouts.failed)
        played = [e for group in done.rollouts.groups for e in group.episodes]
        self.tell(self.trainer.game, played[: self.run.episodes_logged])
        self.reporter.update(done)
        self._watch(done.notes)
        index = self.trainer.update_index
        is_last = index == self.trainer.config.updates
        if not is_last and index % self.run.evaluate_every == 0:
            self.evaluate(self.run.evaluation_episodes)
        if is_last or index % self.run.checkpoint_every == 0:
            self.checkpoint()

    def checkpoint(self) -> None:
        """The policy, and all that training needs to go on; older ones go when it is whole."""
        training, save = self.trainer.state(), self.trainer.saver()
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

    def _stop_if_asked(self) -> None:
        """Stop for a signal to any process, with a checkpoint of this update."""
        asked = [s for s in self.trainer.processes.gather([self.asked.signal]) if s is not None]
        if not asked:
            return
        index = self.trainer.update_index
        there = corruption_reason(checkpoint_folder(self.files.path, index)) is None
        if not self.trainer.processes.broadcast(there):
            self.checkpoint()
        error = RunStoppedError(
            f"stopped by {signal.Signals(asked[0]).name} after update {index}, with a checkpoint; "
            f"go on with: tsmg train --resume {self.files.path}"
        )
        error.signal = asked[0]
        raise error

    def _watch(self, notes: Sequence[str]) -> None:
        """Tell and keep what looks wrong; stop where nothing but a new beginning helps."""
        history = list(self.history.updates)
        for text in (*notes, *(finding.message for finding in new_health_warnings(history))):
            self.files.write(WARNINGS, {"update": self.trainer.update_index, "warning": text})
            self.reporter.told(f"update {self.trainer.update_index}: {text}")
        collapses = [finding for finding in health_warnings(history) if finding.is_collapse]
        if collapses and self.run.stop_on_collapse:
            raise RunStoppedError(
                f"stopped after update {self.trainer.update_index}: {collapses[0].message}; "
                f"earlier policies are in {self.files.path / CHECKPOINTS}"
            )

    def evaluate(self, episodes: int) -> tuple[Evaluation, Evaluation]:
        """The policy as it stands, at the training temperature and greedy."""
        seed = self.run.evaluation_seed
        sampled = self.trainer.evaluate(episodes, seed=seed)
        greedy = self.trainer.evaluate(episodes, seed=seed, temperature=0.0)
        if self.run.keep_best and sampled.reward > self.history.best:  # the same in all processes
            _write_policy(self.trainer, self.files.path / CHECKPOINTS / BEST)
        self._record(
            {
                "update": float(self.trainer.update_index),
                **evaluation_metrics(sampled, "eval"),
                **evaluation_metrics(greedy, "eval_greedy"),
            }
        )
        index = self.trainer.update_index
        self.files.write(EVALUATIONS, evaluation_record(index, sampled, greedy))
        self.keep([*sampled.failed, *greedy.failed])
        self.reporter.evaluated(self.trainer.update_index, sampled, greedy)
        return sampled, greedy

    def tell(self, game: AbstractGame[Any, Any], episodes: Sequence[Episode[Any]]) -> None:
        """Transcripts of episodes."""
        for episode in episodes:
            told = transcript(
                episode,
                update=self.trainer.update_index,
                successes={agent: game.success(episode, agent) for agent in episode.agents},
                token_texts=self._token_texts,
            )
            self.files.write(EPISODES, told)

    def _token_texts(self, completion: Completion) -> list[str] | None:
        """The texts of a call's tokens, where the call is a learner's and its model can tell."""
        for policy in self.trainer.policies.values():
            model: object = policy.model
            if (
                isinstance(model, ListableModel)
                and getattr(model, "model_id", "") == completion.model_id
            ):
                return [model.text([token]) for token in completion.reply_ids]
        return None

    def keep(self, failed: Sequence[FailedEpisode[Any]]) -> None:
        """Episodes in which the game raised, with what was played until then."""
        index = self.trainer.update_index
        told = self.trainer.processes.gather(failure(episode, update=index) for episode in failed)
        for record in told:
            self.files.write(FAILURES, record)

    def _record(self, metrics: Metrics) -> None:
        if self.track is not None:  # before the line is written: a resumed run counts lines
            self.track(metrics, self.trainer.update_index)
        self.files.write(METRICS, metrics)
        self.history.add(dict(metrics))
