"""A whole run: policy, trainer, evaluations, checkpoints, run folder and picture."""

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from algorithms.analysis.plots import plot_run
from algorithms.distributed.processes import make_accelerator
from algorithms.errors import RunFolderError
from algorithms.play.baselines import baseline_figures
from algorithms.play.evaluation import Evaluation
from algorithms.play.rollouts import fixed_starts
from algorithms.play.step_deadline import with_step_deadline
from algorithms.runs.checkpoints import START, ResumePoint, has_start, resume_point
from algorithms.runs.reader import flat
from algorithms.runs.records import read_config, read_lines
from algorithms.runs.schema import check_resumable
from algorithms.runs.writer import METRICS, NullRunFolder, RunFolder, check_new, versions
from algorithms.training.engines import may_have_moved
from algorithms.training.first_update import Situation
from algorithms.training.interruption import Interruption
from algorithms.training.metrics import Metrics
from algorithms.training.quiet import without_progress_bars
from algorithms.training.reporter import Reporter, SilentReporter
from algorithms.training.run_loop import EvaluationPair, History, RunLoop, write_policy
from algorithms.training.snapshot import load_training_state
from algorithms.training.spec import RunParts, RunSpec
from algorithms.training.tracking import tracker
from algorithms.training.trainer import MSGRPOTrainer
from lap import LanguageAgentPolicy
from tsmg import FailedEpisode, InvalidArgumentError, TooManyFailuresError

_EPISODES_AT_THE_END = 10  # of the last evaluation, as transcripts
_ABSENT: Final = object()

Config = Mapping[str, Any]


@attrs.frozen(kw_only=True)
class Result:
    """The result of a run.

    Attributes:
      sampled, greedy: the last evaluation, at the training temperature and greedy.
      start_sampled, start_greedy: the same before training; without its episodes if the run was resumed.
      free: of a constrained policy, the last evaluation without the constraint, sampled and greedy.
      ceiling: the exact optimum of the evaluation's starts, if it can be computed.
      folder: the run folder.
    """

    sampled: Evaluation
    greedy: Evaluation
    start_sampled: Evaluation
    start_greedy: Evaluation
    ceiling: float | None
    folder: Path
    free: EvaluationPair | None = None


def run_training(
    spec: RunSpec,
    folder: str | Path,
    *,
    parts: RunParts | None = None,
    reporter: Reporter | None = None,
    track: Callable[[Metrics, int], None] | None = None,
    resume: bool = False,
) -> Result:
    """Train, evaluate, record and draw.

    The first SIGTERM or SIGINT lets the current update end, writes a checkpoint and stops the run; the second one ends
    the process. Of several processes that a launcher of ``accelerate`` started, the first one writes and reports, and a
    signal to any of them stops all; all need to read the run folder to resume.

    Args:
      spec: of the run.
      folder: the run folder; must be new, or hold the run that is resumed.
      parts: games, policy, matchups and rules to use instead of those that the spec names; ``config.json`` then says
        so (``given_parts``), and the run can be resumed only from Python, with the same parts.
      reporter: receives every update and evaluation; silent by default.
      track: also given every metric record (for trackers).
      resume: continue from the newest complete checkpoint of the run in the folder, with the same settings and the
        policy that it started from (the one in ``start/``, which is loaded unless parts are given).

    Raises:
      InvalidArgumentError: the spec names no such game, policy or player, or settings do not fit together.
      ModelError: there is no such checkpoint, it cannot be loaded, or an engine does not serve it.
      RunFolderError: the folder holds a run already; to resume: it holds none, or one of other settings or another
        reference policy; a file cannot be written.
      RunStoppedError: a signal stopped the run, or a collapse with ``stop_on_collapse``.
      TooManyFailuresError: more episodes failed than the configuration accepts; they are in ``failures.jsonl``.
    """
    recorded = read_config(folder) if resume else None
    if recorded is None:
        check_new(folder)
    else:
        check_resumable(recorded, folder, has_parts=parts is not None)
    with without_progress_bars():
        made = parts or _built_parts(spec, Path(folder), reporter, resume=resume)
        trainer = _trainer(spec, made)
        config = _config(spec, made, trainer, is_given=parts is not None)
        if recorded is not None:
            check_same_run(recorded, config, folder)
        return _recorded_run(spec, made, trainer, config, recorded, Path(folder), reporter, track)


def _built_parts(
    spec: RunSpec, folder: Path, reporter: Reporter | None, *, resume: bool
) -> RunParts:
    """The parts that the spec names; the policy is that of ``start/`` where a resumed run has saved it."""
    saved = folder / START if resume and has_start(folder) else None
    with make_accelerator().local_main_process_first():  # what it makes or fetches, the others find
        return spec.build(report=reporter.progress if reporter else None, saved=saved)


def _trainer(spec: RunSpec, parts: RunParts) -> MSGRPOTrainer:
    seconds = spec.run.step_deadline
    training_game, evaluation_game = (
        with_step_deadline(game, seconds) if seconds else game
        for game in (parts.training_game, parts.evaluation_game)
    )
    return MSGRPOTrainer(
        game=training_game,
        policy=parts.policy,
        config=spec.algorithm,
        evaluation_game=evaluation_game,
        matchups=parts.matchups,
        constrained=spec.policy.constrained,
        estimator=parts.estimator,
        ratio=parts.ratio,
    )


def _recorded_run(
    spec: RunSpec,
    parts: RunParts,
    trainer: MSGRPOTrainer,
    config: Config,
    recorded: Config | None,
    folder: Path,
    reporter: Reporter | None,
    track: Callable[[Metrics, int], None] | None,
) -> Result:
    """The run, with what it writes down; ``recorded`` is the configuration of one that is resumed."""
    is_first = trainer.processes.is_first
    reporter = reporter if reporter is not None and is_first else SilentReporter()
    point = _loaded_point(trainer, folder, recorded, reporter) if recorded is not None else None
    baselines = (recorded or {}).get("baselines") or _baselines(spec, parts, trainer)
    tracked = _lines_beyond(folder, point)
    track = track or tracker(spec.run.tracker, folder, flat(config["spec"]))
    opened = RunFolder if is_first else NullRunFolder
    trainer.processes.gather([])  # nothing is written before all have read
    with (
        Interruption() as interruption,
        opened(folder, kept=point.lines if point else None) as files,
    ):
        if point is None:
            files.write_config({**config, "baselines": baselines})
        if trainer.processes.broadcast(trainer.update_index == 0 and not has_start(files.path)):
            write_policy(trainer, files.path / START)
        records = list(read_lines(files.path / METRICS)) if is_first else []
        loop = RunLoop(
            trainer=trainer,
            run=spec.run,
            files=files,
            reporter=reporter,
            track=_skipping(track, tracked) if track and is_first else None,
            interruption=interruption,
            history=History(trainer.processes.broadcast(records)),
            situation=Situation.of(spec, is_given="given_parts" in config),
        )
        start, end, free = _whole_loop(loop)
        loop.record_episodes(parts.evaluation_game, end[0].episodes[:_EPISODES_AT_THE_END])
    if is_first:
        plot_run(files.path, ceiling=baselines.get("optimum"), title=_title(spec, config))
    return Result(
        sampled=end[0],
        greedy=end[1],
        start_sampled=start[0],
        start_greedy=start[1],
        ceiling=baselines.get("optimum"),
        folder=files.path,
        free=free,
    )


def _title(spec: RunSpec, config: Config) -> str:
    """Of the picture: that of the spec, unless it has no label of it and names another game than was given."""
    given = config.get("given_parts")
    return str(given["game"]) if given and "title" not in spec.labels else spec.title


def _baselines(spec: RunSpec, parts: RunParts, trainer: MSGRPOTrainer) -> dict[str, Any]:
    """What the last evaluation is held against, on the same episodes."""
    game = trainer.evaluation_game
    episodes = fixed_starts(game, spec.run.final_episodes, seed=spec.run.evaluation_seed)
    return baseline_figures(game, episodes, matchups=parts.matchups)


def _config(
    spec: RunSpec, parts: RunParts, trainer: MSGRPOTrainer, *, is_given: bool
) -> dict[str, Any]:
    """What determines the run, for ``config.json``: the spec with every ``auto`` resolved, and what is beside it."""
    resolved = attrs.evolve(spec, algorithm=trainer.config)
    if is_given:
        return {"spec": resolved.to_json(), "given_parts": parts.described()}
    if not parts.evaluation_game.facts.start_is_instance:
        resolved = attrs.evolve(resolved, game=attrs.evolve(spec.game, held_out=0.0))
    policy = parts.policy
    beside = (
        {"prompt": repr(policy.prompt), "parser": repr(policy.parser)}
        if isinstance(policy, LanguageAgentPolicy)
        else {}
    )
    return {"spec": resolved.to_json(), **beside}


def check_same_run(recorded: Config, config: Config, folder: str | Path) -> None:
    """Check that a run continues with the settings that it began with.

    Args:
      recorded: ``config.json``.
      config: the configuration now.
      folder: the run folder, for messages.

    Raises:
      RunFolderError: a setting differs; the message names the first one.
    """
    try:
        spec = RunSpec.from_json(recorded["spec"], source=f"the run in {str(folder)!r}").to_json()
    except InvalidArgumentError as error:
        raise RunFolderError(str(error)) from error
    there, here = (
        flat({**found, "given_parts": whole.get("given_parts", {})})
        for found, whole in ((spec, recorded), (config["spec"], config))
    )
    for name in sorted(there.keys() | here.keys()):
        if name.startswith("labels"):  # they compute nothing
            continue
        old, new = there.get(name, _ABSENT), here.get(name, _ABSENT)
        if old != new and not may_have_moved(name, old, new):
            raise RunFolderError(
                f"a resumed run keeps its settings: {name!r} is {_shown(old)} in {str(folder)!r} (got {_shown(new)})"
            )


def _shown(value: object) -> str:
    return "not set" if value is _ABSENT else repr(value)


def _loaded_point(
    trainer: MSGRPOTrainer, folder: str | Path, recorded: Config, reporter: Reporter
) -> ResumePoint:
    """Where the run goes on, its state in the trainer."""
    point = resume_point(Path(folder))
    if point.training is not None:
        load_training_state(trainer, point.training)
    for reason in point.skipped:
        reporter.message(f"skipped a checkpoint: {reason}")
    if recorded.get("versions") != versions():
        reporter.message(
            "the run began under other versions or on another machine: numbers may differ"
        )
    reporter.message(f"resumed after update {point.update}")
    return point


def _whole_loop(loop: RunLoop) -> tuple[EvaluationPair, EvaluationPair, EvaluationPair | None]:
    """The evaluations that ``RunLoop.all`` gives; errors say what is saved and what to do."""
    try:
        return loop.all()
    except TooManyFailuresError as error:
        loop.record_failures([e for e in error.failed if isinstance(e, FailedEpisode)])
        raise
    except RunFolderError as error:
        raise RunFolderError(
            f"{error}; earlier checkpoints are intact: once there is room, continue with: "
            f"tsmg train --resume {loop.files.path}"
        ) from error


def _lines_beyond(folder: str | Path, point: ResumePoint | None) -> int:
    """How many metric records were written after the checkpoint: they will be made, and written, again."""
    file = Path(folder) / METRICS
    if point is None or not file.is_file():
        return 0
    return file.read_bytes()[point.lines.get(METRICS, 0) :].count(b"\n")


def _skipping(track: Callable[[Metrics, int], None], count: int) -> Callable[[Metrics, int], None]:
    """The tracker without its first calls: it received these records before the run was resumed."""
    calls = itertools.count()

    def rest(metrics: Metrics, update: int) -> None:
        if next(calls) >= count:
            track(metrics, update)

    return rest
