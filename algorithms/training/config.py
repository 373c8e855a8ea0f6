"""Settings of a run and of behaviour cloning as plain data; those of the algorithm are in ``method.config``."""

from typing import Literal

import attrs

from algorithms.method.config import one_of, option, within

Tracker = Literal["none", "tensorboard", "wandb", "trackio"]


@attrs.frozen(kw_only=True)
class RunConfig:
    """Settings of a run beside its algorithm's."""

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
        False, "stop where training cannot recover, as where every reply is invalid"
    )
    episodes_logged: int = option(1, "transcripts written per update", within(0))
    tracker: Tracker = option("none", "also log to a tracker, through accelerate", one_of)


@attrs.frozen(kw_only=True)
class CloningConfig:
    """What a behaviour-cloned model is made from, beside the game, the prompt and the parser."""

    width: int = option(128, "width of the network", within(1))
    layers: int = option(4, "layers of the network", within(1))
    heads: int = option(4, "attention heads of a layer", within(1))
    inner: int = option(344, "width of the layers' feed-forward parts", within(1))
    vocabulary: int = option(320, "tokens of the vocabulary, 256 bytes included", within(257))
    context: int = option(1024, "longest prompt and reply together, in tokens", within(1))
    episodes: int = option(2000, "episodes of the player that are cloned", within(1))
    steps: int = option(400, "optimiser steps", within(1))
    batch: int = option(64, "prompts of an optimiser step", within(1))
    learning_rate: float = option(
        2e-3,
        "greatest learning rate; it warms up over 5% and decays to 0 by a cosine",
        within(0.0, above=True),
    )
    seed: int = option(0, "seed of the weights and of the order of the data")
