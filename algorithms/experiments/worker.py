"""One run of an experiment, as a process of its own.

``python -m algorithms.experiments.worker FILE ROOT PLACE FOLDER``
"""

import shutil
import sys
import time
from pathlib import Path
from typing import Any

import attrs
import torch

import lap
from algorithms.experiments.spec import Experiment, Job, jobs, read_experiment
from algorithms.play.baselines import baseline_figures
from algorithms.play.evaluation import Evaluation, evaluate
from algorithms.play.rollouts import fixed_starts
from algorithms.runs.atomic import write_whole_folder
from algorithms.runs.checkpoints import START, checkpoint_folder, has_start
from algorithms.runs.writer import EVALUATIONS, METRICS, RunFolder, evaluation_record
from algorithms.training.cloning import divergence_from_player
from algorithms.training.config import CloningConfig
from algorithms.training.run import run_training
from algorithms.training.spec import GameSpec, PolicySpec, RunSpec
from algorithms.training.trainer import evaluation_metrics
from tsmg import AbstractGame, InvalidArgumentError, with_player

Game = AbstractGame[Any, Any]


def main(file: str, root: str, place: str, folder: str) -> None:
    """Do the run of an experiment whose place is given.

    Args:
      file: the experiment's.
      root: the experiment's folder, where the run finds a policy that another run made.
      place: the run's, below the experiment's folder.
      folder: where to; training that was stopped there goes on, and all else begins anew.

    Raises:
      InvalidArgumentError: the experiment has no such run.
    """
    experiment = read_experiment(file)
    job = next((job for job in jobs(experiment) if str(job.place) == place), None)
    if job is None:
        raise InvalidArgumentError(f"{file!r} has no run {place!r}")
    torch.set_num_threads(1)
    if job.trains:
        train(experiment, job, Path(folder))
    else:
        evaluate_alone(experiment, job, Path(folder), root=Path(root))
    print(f"{place}: {time.process_time():.0f} s of one core")  # noqa: T201 - the process's output is a log


def spec_of(experiment: Experiment, job: Job) -> RunSpec:
    """The run as a value."""
    scenario, arm = job.scenario, job.arm
    return RunSpec(
        game=GameSpec(
            id=scenario.game,
            arguments=scenario.settings,
            horizon=scenario.horizon,
            held_out=scenario.held_out,
        ),
        policy=PolicySpec(
            model=arm.model,
            player=arm.player,
            player_arguments=arm.player_settings,
            cloning=CloningConfig(**{**arm.recipe, "seed": job.seed})
            if arm.model is None
            else None,
        ),
        algorithm=experiment.config(job),
        run=experiment.run,
        threads=1,
        labels={
            "title": f"{experiment.title} ({experiment.scale})",
            "scenario": scenario.name,
            "trained_on": scenario.trained_on or scenario.name,
            "arm": arm.name,
            "experiment": experiment.scale,
        },
    )


def policy_made_in(experiment: Experiment, job: Job, folder: Path) -> lap.LanguageAgentPolicy[Any]:
    """The policy that a whole run ended with.

    Args:
      experiment: whose.
      job: the run.
      folder: of the run.
    """
    trained = checkpoint_folder(folder, experiment.config(job).updates)
    return lap.LanguageAgentPolicy.from_pretrained(trained if job.trains else folder / START)


def _cloning(training: Game, evaluation: Game, job: Job, policy: Any) -> dict[str, Any]:
    """How far a clone is from its player on starts that neither met."""
    if job.source is not None or job.arm.model is not None:
        return {}
    player: Any = training.scripted_player()
    divergence = divergence_from_player(policy, with_player(evaluation, player))
    return {"cloning": {"divergence": divergence}}


def train(experiment: Experiment, job: Job, folder: Path) -> None:
    """Train and evaluate, as ``tsmg train`` does; go on with what was stopped."""
    resume = has_start(folder)
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    run_training(spec_of(experiment, job), folder, resume=resume)


def evaluate_alone(experiment: Experiment, job: Job, folder: Path, *, root: Path) -> None:
    """Evaluate a policy that is not trained here, at the temperature that does best on other episodes."""
    spec = spec_of(experiment, job)
    training, game = spec.games()
    config = spec.algorithm
    policy = (
        spec.policy.build(training, seed=job.seed)
        if job.source is None
        else policy_made_in(experiment, job.source, root / job.source.place)
    )
    settings = attrs.evolve(policy.sampling, max_reply_tokens=config.max_reply_tokens)

    def at(temperature: float, episodes: int, seed: int) -> Evaluation:
        player = policy.with_sampling(attrs.evolve(settings, temperature=temperature))
        return evaluate(
            game,
            player,
            fixed_starts(game, episodes, seed=seed),
            max_failure_rate=config.max_failure_rate,
        )

    run = experiment.run
    choices = job.arm.decoding or (config.temperature,)
    tried = {
        t: at(t, experiment.decoding_episodes, run.evaluation_seed + 1).reward
        for t in (choices if len(choices) > 1 else ())
    }
    chosen = max(tried, key=tried.__getitem__) if tried else choices[0]
    sampled, greedy = (at(t, run.final_episodes, run.evaluation_seed) for t in (chosen, 0.0))
    described: dict[str, Any] = {
        "spec": {**spec.to_json(), "algorithm": {**attrs.asdict(config), "updates": 0}},
        "trained_updates": config.updates if job.arm.kind == "train" else 0,
        **_cloning(training, game, job, policy),
        "decoding": {"temperature": chosen, "tried": {str(t): r for t, r in tried.items()}},
        "baselines": baseline_figures(
            game, fixed_starts(game, run.final_episodes, seed=run.evaluation_seed)
        ),
    }
    shutil.rmtree(folder, ignore_errors=True)
    with RunFolder(folder) as files:
        files.write_config(described)
        if job.source is None:
            write_whole_folder(files.path / START, policy.save_pretrained)
        metrics = {
            **evaluation_metrics(sampled, "eval"),
            **evaluation_metrics(greedy, "eval_greedy"),
        }
        files.write(METRICS, {"update": 0.0, **metrics})
        files.write(EVALUATIONS, evaluation_record(0, sampled, greedy))


if __name__ == "__main__":
    main(*sys.argv[1:])
