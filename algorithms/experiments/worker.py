"""One run of an experiment, in a process of its own.

``python -m algorithms.experiments.worker FILE ROOT PLACE FOLDER``
"""

import functools
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import attrs
import torch

import lap
from algorithms.cloning.divergence import divergence_from_player
from algorithms.experiments.spec import Experiment, Job, jobs, read_experiment
from algorithms.method.config import MSGRPOConfig
from algorithms.play.baselines import baseline_figures
from algorithms.play.evaluation import Evaluation, evaluate
from algorithms.play.rollouts import fixed_starts
from algorithms.play.step_deadline import with_step_deadline
from algorithms.runs.atomic import write_whole_folder
from algorithms.runs.checkpoints import START, checkpoint_folder, has_start
from algorithms.runs.writer import EVALUATIONS, METRICS, RunFolder, evaluation_record
from algorithms.training.game_spec import Game
from algorithms.training.learner import reply_sampling
from algorithms.training.metrics import evaluation_metrics
from algorithms.training.run import run_training
from tsmg import InvalidArgumentError, with_player

Policy = lap.LanguageAgentPolicy[Any]


def main(file: str, root: str, place: str, folder: str) -> None:
    """Do one run of an experiment.

    Args:
      file: the declaration of the experiment.
      root: the folder of the experiment, which holds the policies that other runs made.
      place: the path of the run below the folder of the experiment.
      folder: the folder to write; training that was stopped in it is resumed, and anything else in it is replaced.

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
        evaluate_only(experiment, job, Path(folder), root=Path(root))
    print(f"{place}: {time.process_time():.0f} s of one core")  # noqa: T201 - the process's output is a log


def train(experiment: Experiment, job: Job, folder: Path) -> None:
    """Train and evaluate, as ``tsmg train`` does; training that was stopped is resumed."""
    resume = has_start(folder)
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    run_training(experiment.run_spec(job), folder, resume=resume)


def evaluate_only(experiment: Experiment, job: Job, folder: Path, *, root: Path) -> None:
    """Evaluate a policy without training it, at the temperature that does best on other episodes."""
    spec = experiment.run_spec(job)
    training_game, game = spec.games()
    if spec.run.step_deadline:
        game = with_step_deadline(game, spec.run.step_deadline)
    if job.source is None:
        policy = spec.policy.build(training_game, seed=job.seed)
    else:
        policy = final_policy(experiment, job.source, root / job.source.place)
    config, run = spec.algorithm, spec.run
    play = functools.partial(
        _evaluation,
        game,
        policy,
        spec.policy.constrained,
        config,
    )
    temperature, tried = config.temperature, {}
    if job.arm.decoding:
        temperature = job.arm.decoding[0]
    if len(job.arm.decoding) > 1:
        episodes, seed = experiment.measures.decoding_episodes, run.evaluation_seed + 1
        tried = {t: play(t, episodes, seed).reward for t in job.arm.decoding}
        temperature = max(tried, key=tried.__getitem__)
    sampled, greedy = (play(t, run.final_episodes, run.evaluation_seed) for t in (temperature, 0.0))
    starts = fixed_starts(game, run.final_episodes, seed=run.evaluation_seed)
    described: dict[str, Any] = {
        "spec": {**spec.to_json(), "algorithm": {**attrs.asdict(config), "updates": 0}},
        "trained_updates": config.updates if job.arm.kind == "train" else 0,
        "decoding": {"temperature": temperature, "tried": {str(t): r for t, r in tried.items()}},
        "baselines": baseline_figures(game, starts),
    }
    if job.clone is not None:  # how far it is from its player on starts that neither met
        player: Any = training_game.scripted_player()
        divergence = divergence_from_player(policy, with_player(game, player))
        described["cloning"] = {"divergence": divergence}
    _write_evaluation(
        folder, described, sampled, greedy, policy=policy if job.source is None else None
    )


def final_policy(experiment: Experiment, job: Job, folder: Path) -> Policy:
    """The policy that a finished run ended with.

    Args:
      experiment: the declaration.
      job: the run.
      folder: the folder of the run.
    """
    trained = checkpoint_folder(folder, experiment.run_spec(job).algorithm.updates)
    return lap.LanguageAgentPolicy.from_pretrained(trained if job.trains else folder / START)


def _evaluation(
    game: Game,
    policy: Policy,
    constrained: bool,
    config: MSGRPOConfig,
    temperature: float,
    episodes: int,
    seed: int,
) -> Evaluation:
    sampling = attrs.evolve(reply_sampling(config), temperature=temperature)
    sampled = policy.with_sampling(sampling)
    return evaluate(
        game,
        lap.ConstrainedPolicy(game=game, policy=sampled) if constrained else sampled,
        fixed_starts(game, episodes, seed=seed),
        max_failure_rate=config.max_failure_rate,
    )


def _write_evaluation(
    folder: Path,
    described: dict[str, Any],
    sampled: Evaluation,
    greedy: Evaluation,
    *,
    policy: Policy | None,
) -> None:
    """The run folder of an evaluation without training; the policy is saved in it unless another run has it."""
    shutil.rmtree(folder, ignore_errors=True)
    with RunFolder(folder) as files:
        files.write_config(described)
        if policy is not None:
            write_whole_folder(files.path / START, policy.save_pretrained)
        metrics = {
            **evaluation_metrics(sampled, "eval"),
            **evaluation_metrics(greedy, "eval_greedy"),
        }
        files.write(METRICS, {"update": 0.0, **metrics})
        files.write(EVALUATIONS, evaluation_record(0, sampled, greedy))


if __name__ == "__main__":
    main(*sys.argv[1:])
