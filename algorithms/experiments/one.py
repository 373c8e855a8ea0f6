"""One run of an experiment, as a process of its own: ``python -m algorithms.experiments.one FILE PLACE FOLDER``."""

import sys
from pathlib import Path
from typing import Any

import attrs

import lap
from algorithms.evaluation import Evaluation, evaluate
from algorithms.experiments.plan import Experiment, Job, jobs, read_experiment
from algorithms.ms_grpo import Update, evaluation_metrics
from algorithms.optimum import OptimalPlayer
from algorithms.options import make_game, split_game
from algorithms.references import reference_figures
from algorithms.rollouts import fixed_starts
from algorithms.tracking import EVALUATIONS, METRICS, RunFolder, evaluation_record
from algorithms.training import run_training
from lap.policy import POLICY_FILE
from tsmg import AbstractGame, InvalidArgumentError, with_player

Game = AbstractGame[Any, Any]


def main(file: str, place: str, folder: str) -> None:
    """Do the run of an experiment whose place is given.

    Args:
      file: the experiment's.
      place: the run's, below the experiment's folder.
      folder: where to; must be new.

    Raises:
      InvalidArgumentError: the experiment has no such run.
    """
    experiment = read_experiment(file)
    job = next((job for job in jobs(experiment) if str(job.place) == place), None)
    if job is None:
        raise InvalidArgumentError(f"{file!r} has no run {place!r}")
    if job.arm.kind == "train":
        train(experiment, job, Path(folder))
    else:
        evaluate_alone(experiment, job, Path(folder))


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
        recipe = lap.SeedRecipe(**{**job.arm.recipe, "seed": job.seed})
        return lap.seed_policy(game, recipe=recipe)
    if (Path(name) / POLICY_FILE).is_file():
        return lap.LanguageAgentPolicy.from_pretrained(name)
    return lap.LanguageAgentPolicy(model=lap.TransformersModel.from_pretrained(name))


def _described(experiment: Experiment, job: Job) -> dict[str, Any]:
    return {
        "title": f"{experiment.title} ({experiment.scale})",
        "scenario": job.scenario.name,
        "arm": job.arm.name,
        "experiment": experiment.scale,
        "game": job.scenario.game,
        "game_settings": dict(job.scenario.settings),
        "horizon": job.scenario.horizon,
        "held_out": job.scenario.held_out,
        "model": job.arm.model or "seed model",
        "recipe": dict(job.arm.recipe),
        "player": job.arm.player,
        "player_settings": dict(job.arm.player_settings),
    }


class _Quiet:
    """Says nothing: the process's output is a log."""

    def update(self, update: Update) -> None:
        pass

    def evaluated(self, update: int, sampled: Evaluation, greedy: Evaluation) -> None:
        pass

    def told(self, text: str) -> None:
        pass


def train(experiment: Experiment, job: Job, folder: Path) -> None:
    """Train and evaluate, as ``tsmg train`` does."""
    training, evaluation = games_of(job)
    run_training(
        game=training,
        evaluation_game=evaluation,
        policy=policy_of(training, job),
        config=experiment.config(job),
        run=experiment.run,
        folder=folder,
        described=_described(experiment, job),
        reporter=_Quiet(),
    )


def evaluate_alone(experiment: Experiment, job: Job, folder: Path) -> None:
    """Evaluate a policy that is not trained, at the temperature that does best on other episodes."""
    training, game = games_of(job)
    config = experiment.config(job)
    policy = policy_of(training, job)
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
        "run": attrs.asdict(run),
        "decoding": {"temperature": chosen, "tried": {str(t): r for t, r in tried.items()}},
        "references": reference_figures(
            game, fixed_starts(game, run.final_episodes, seed=run.evaluation_seed)
        ),
    }
    with RunFolder(folder) as files:
        files.write_config(described)
        metrics = {
            **evaluation_metrics(sampled, "eval"),
            **evaluation_metrics(greedy, "eval_greedy"),
        }
        files.write(METRICS, {"update": 0.0, **metrics})
        files.write(EVALUATIONS, evaluation_record(0, sampled, greedy))


if __name__ == "__main__":
    main(*sys.argv[1:])
