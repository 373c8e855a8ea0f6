"""Running an experiment: every run in a process and a folder of its own; finished runs are not repeated."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

import attrs

from algorithms.errors import RunFolderError
from algorithms.experiments.spec import Experiment, Job
from algorithms.runs.reader import read_run

UNFINISHED = ".part"
"""Suffix of the folder of a run until it is finished; training that was stopped is resumed in it."""
# One thread per run: results depend on the number of threads, and parallel runs would compete for the cores.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


@attrs.frozen(kw_only=True)
class Done:
    """A run that has ended.

    Attributes:
      job: the run.
      error: the last line of its output, its exit code and its log; empty if it succeeded.
    """

    job: Job
    error: str = ""


def is_done(folder: Path) -> bool:
    """Whether a folder holds a finished run."""
    try:
        return read_run(folder).is_finished
    except RunFolderError:
        return False


def run_jobs(
    experiment: Experiment,
    todo: Sequence[Job],
    output: str | Path,
    *,
    parallel: int = 1,
    report: Callable[[Done], None] = lambda done: None,
) -> list[Done]:
    """Execute the runs that are not done yet; a failure does not stop the others.

    A run that needs the policy of another one starts after it, and occupies no slot while it waits. Runs that start
    from the same clone are not started in parallel while others are ready, since each would make the clone.

    Args:
      experiment: the declaration.
      todo: the runs.
      output: the folder of the experiment; each run has its folder below, and its log in ``logs``.
      parallel: number of runs in parallel.
      report: called with each run when it ends.
    """
    root = Path(output)
    left = [job for job in todo if not is_done(root / job.place)]
    running: dict[Future[Done], Job] = {}
    ended: list[Done] = []
    with ThreadPoolExecutor(max_workers=parallel) as pool:
        while left or running:
            while len(running) < parallel and (job := _next(left, list(running.values()))):
                left.remove(job)
                running[pool.submit(_run, experiment, job, root)] = job
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                del running[future]
                ended.append(future.result())
                report(ended[-1])
    return ended


def _next(left: Sequence[Job], running: Sequence[Job]) -> Job | None:
    """The run to start next: one that waits for no other, if possible one whose clone is not being made."""
    awaited = {job.place for job in (*left, *running)}
    ready = [job for job in left if job.source is None or job.source.place not in awaited]
    clones = [job.clone for job in running if job.clone is not None]
    return min(ready, key=lambda job: job.clone in clones, default=None)


def _run(experiment: Experiment, job: Job, output: Path) -> Done:
    """One run in a process of its own; its folder takes its final name when it is finished."""
    if job.source is not None and not is_done(output / job.source.place):
        return Done(
            job=job,
            error=f"{str(output / job.source.place)!r} is not finished, and this run needs its policy",
        )
    folder = output / job.place
    if folder.exists():
        return Done(job=job, error=f"{str(folder)!r} does not hold a finished run; move it away")
    work = folder.with_name(folder.name + UNFINISHED)
    log = output / "logs" / f"{str(job.place).replace(os.sep, '-')}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "algorithms.experiments.worker",
        experiment.source,
        str(output),
        str(job.place),
        str(work),
    ]
    with log.open("a") as out:
        ended = subprocess.run(  # noqa: S603 - this interpreter, a module of this package
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **_ENVIRONMENT},
            check=False,
        )
    if ended.returncode:
        lines = log.read_text(errors="replace").strip().splitlines() or ["no output"]
        return Done(job=job, error=f"{lines[-1]} (exit code {ended.returncode}; {str(log)!r})")
    work.rename(folder)
    return Done(job=job)


def estimated_seconds(experiment: Experiment, job: Job, output: str | Path) -> tuple[float, bool]:
    """How long a run will take, in s, and whether that was measured here: on a finished run of its scenario and arm.

    Args:
      experiment: the declaration, with durations that were measured elsewhere.
      job: the run.
      output: the folder of the experiment, where finished runs are searched.
    """
    run, config = experiment.run, experiment.run_spec(job).algorithm
    per_update, is_measured = _seconds_per_update(experiment, job, Path(output))
    between = (config.updates - 1) // run.evaluate_every if job.trains else 0
    ends = 2 if job.trains else 1
    episodes = 2 * (ends * run.final_episodes + between * run.evaluation_episodes)
    episodes += experiment.measures.decoding_episodes * len(job.arm.decoding)
    factor = job.arm.factor * job.scenario.factor
    seconds = episodes * experiment.cost.seconds_per_episode * factor
    if job.source is None:
        seconds += job.arm.cloning_seconds * job.scenario.factor
    return seconds + (config.updates * per_update if job.trains else 0.0), is_measured


def _seconds_per_update(experiment: Experiment, job: Job, output: Path) -> tuple[float, bool]:
    folder = output / job.place.parent
    for path in sorted(folder.glob("*")) if folder.is_dir() else ():
        try:
            run = read_run(path)
        except RunFolderError:
            continue
        if run.is_finished and run.updates and run.seconds > 0:
            return run.seconds / len(run.updates), True
    return experiment.cost.seconds_per_update * job.arm.factor * job.scenario.factor, False
