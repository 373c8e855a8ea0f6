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
from algorithms.cli.options import make_game, split_game
from algorithms.experiments.spec import Experiment, Job, jobs, read_experiment
from algorithms.play.baselines import baseline_figures
from algorithms.play.evaluation import Evaluation, evaluate
from algorithms.play.optimum import OptimalPlayer
from algorithms.play.rollouts import fixed_starts
from algorithms.runs.atomic import write_whole_folder
from algorithms.runs.checkpoints import START, checkpoint_folder, has_start
from algorithms.runs.writer import EVALUATIONS, METRICS, RunFolder, evaluation_record
from algorithms.training.cloning import cloned_policy, divergence_from_player
from algorithms.training.config import CloningConfig
from algorithms.training.metrics import evaluation_metrics
from algorithms.training.run import SilentReporter, run_training
from lap.policy import POLICY_FILE
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


def games_of(job: Job) -> tuple[Game, Game]:
    """What is trained on (its scripted player is the one to be cloned), and what is evaluated on."""
    settings = [f"{name}={value!r}" for name, value in job.scenario.settings.items()]
    game = make_game(job.scenario.game, settings, job.scenario.horizon)
    player = _player(game, job)
    cloned = game if player is None else with_player(game, player)
    share = job.scenario.held_out
    return split_game(cloned, share)[0], split_game(game, share)[1]


def _player(game: Game, job: Job) -> Any:
    if job.arm.player == "optimal":
        return OptimalPlayer(game)
    own: Any = game.scripted_player()
    if not job.arm.player_settings:
        return None
    if own is None:
        raise InvalidArgumentError(f"{game.name} has no scripted player for 'player_settings'")
    try:
        return attrs.evolve(own, **job.arm.player_settings)
    except TypeError as error:
        raise InvalidArgumentError(f"arm {job.arm.name!r}, 'player_settings': {error}") from error


def policy_of(game: Game, job: Job) -> lap.LanguageAgentPolicy[Any]:
    """The policy that a run begins with: a checkpoint, or a clone made with the run's seed."""
    name = job.arm.model
    if name is None:
        config = CloningConfig(**{**job.arm.recipe, "seed": job.seed})
        return cloned_policy(game, config=config)
    if (Path(name) / POLICY_FILE).is_file():
        return _saved(Path(name))
    return lap.LanguageAgentPolicy(model=lap.TransformersModel.from_pretrained(name))


def _saved(folder: Path) -> lap.LanguageAgentPolicy[Any]:
    return lap.LanguageAgentPolicy.from_pretrained(folder)


def policy_made_in(experiment: Experiment, job: Job, folder: Path) -> lap.LanguageAgentPolicy[Any]:
    """The policy that a whole run ended with.

    Args:
      experiment: whose.
      job: the run.
      folder: of the run.
    """
    trained = checkpoint_folder(folder, experiment.config(job).updates)
    return _saved(trained if job.trains else folder / START)


def _cloning(training: Game, evaluation: Game, job: Job, policy: Any) -> dict[str, Any]:
    """How far a clone is from its player on starts that neither met."""
    if job.source is not None or job.arm.model is not None:
        return {}
    player: Any = training.scripted_player()
    divergence = divergence_from_player(policy, with_player(evaluation, player))
    return {"cloning": {"divergence": divergence}}


def _described(experiment: Experiment, job: Job) -> dict[str, Any]:
    return {
        "title": f"{experiment.title} ({experiment.scale})",
        "scenario": job.scenario.name,
        "trained_on": job.scenario.trained_on or job.scenario.name,
        "arm": job.arm.name,
        "experiment": experiment.scale,
        "game": job.scenario.game,
        "game_settings": dict(job.scenario.settings),
        "horizon": job.scenario.horizon,
        "held_out": job.scenario.held_out,
        "model": job.arm.model or "behaviour-cloned model",
        "recipe": dict(job.arm.recipe),
        "player": job.arm.player,
        "player_settings": dict(job.arm.player_settings),
    }


def train(experiment: Experiment, job: Job, folder: Path) -> None:
    """Train and evaluate, as ``tsmg train`` does; go on with what was stopped."""
    training, evaluation = games_of(job)
    resume = has_start(folder)
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    run_training(
        game=training,
        evaluation_game=evaluation,
        policy=_saved(folder / START) if resume else policy_of(training, job),
        config=experiment.config(job),
        run=experiment.run,
        folder=folder,
        described=_described(experiment, job),
        reporter=SilentReporter(),
        resume=resume,
    )


def evaluate_alone(experiment: Experiment, job: Job, folder: Path, *, root: Path) -> None:
    """Evaluate a policy that is not trained here, at the temperature that does best on other episodes."""
    training, game = games_of(job)
    config = experiment.config(job)
    policy = (
        policy_of(training, job)
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
    described = {
        **_described(experiment, job),
        "algorithm": {**attrs.asdict(config), "updates": 0},
        "trained_updates": config.updates if job.arm.kind == "train" else 0,
        "run": attrs.asdict(run),
        **_cloning(training, game, job, policy),
        "decoding": {"temperature": chosen, "tried": {str(t): r for t, r in tried.items()}},
        "references": baseline_figures(
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
