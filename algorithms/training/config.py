"""Settings of a run as plain data; the algorithm's are in ``method.config``, those of cloning in ``cloning.config``."""

from typing import Literal

import attrs

from algorithms.method.settings import one_of, option, within

Tracker = Literal["none", "tensorboard", "wandb", "trackio"]


@attrs.frozen(kw_only=True)
class RunConfig:
    """Settings of a run besides those of its algorithm."""

    evaluate_every: int = option(50, "updates between evaluations", within(1))
    evaluation_episodes: int = option(100, "episodes of each evaluation", within(1))
    final_episodes: int = option(300, "episodes of the first and the last evaluation", within(1))
    evaluation_seed: int = option(0, "seed of the evaluation episodes, the same for every run")
    checkpoint_every: int = option(100, "updates between checkpoints", within(1))
    keep_checkpoints: int = option(2, "how many checkpoints are kept, the newest ones", within(1))
    keep_best: bool = option(
        True, "also keep the policy of the best evaluation, by its sampled return"
    )
    step_deadline: float = option(
        0.0,
        "seconds that a game may take for a step before the episode counts as failed; 0 for no limit",
        within(0.0),
    )
    stop_on_collapse: bool = option(
        False, "stop if training cannot recover, for example if every reply is invalid"
    )
    episodes_logged: int = option(1, "transcripts written per update", within(0))
    tracker: Tracker = option("none", "also log to a tracker, through accelerate", one_of)
