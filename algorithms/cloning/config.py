"""Settings of behaviour cloning as plain data."""

from typing import Final, Literal

import attrs

from algorithms.method.settings import Validator, one_of, option, within
from tsmg import InvalidArgumentError

DESCRIBED: Final = "clone.json"
"""The file in a cloning's folder that says what is cloned, and how."""

Learnt = Literal["fresh network", "adapters", "whole weights"]
"""What is fitted: a network with random weights, adapters of a checkpoint, or all weights of a checkpoint."""

SIZES: Final = ("width", "layers", "heads", "inner", "vocabulary", "context")
"""The settings of ``CloningConfig`` that are sizes of the network."""

Replies = Literal["canonical", "literal"]


@attrs.frozen(kw_only=True)
class CloningConfig:
    """What a behaviour-cloned model is made from, besides the game, the prompt and the parser."""

    width: int = option(128, "width of the network", within(1))
    layers: int = option(4, "layers of the network", within(1))
    heads: int = option(4, "attention heads of a layer", within(1))
    inner: int = option(344, "width of the layers' feed-forward parts", within(1))
    vocabulary: int = option(320, "tokens of the vocabulary, 256 bytes included", within(257))
    context: int = option(1024, "longest prompt and reply together, in tokens", within(1))
    episodes: int = option(2000, "episodes of the player that are cloned", within(1))
    steps: int = option(400, "optimiser steps; 0 leaves the weights random", within(0))
    batch: int = option(64, "prompts of an optimiser step", within(1))
    learning_rate: float = option(
        2e-3,
        "greatest learning rate; it warms up over 5% and decays to 0 by a cosine",
        within(0.0, above=True),
    )
    seed: int = option(0, "seed of the weights and of the order of the data")

    def __attrs_post_init__(self) -> None:
        if self.width % (2 * self.heads):  # rotary embeddings turn pairs of numbers
            raise InvalidArgumentError(
                f"'width' must be a multiple of twice 'heads' (got width {self.width}, heads {self.heads})"
            )


def _unset_or(rule: Validator) -> Validator:
    def check(instance: object, attribute: "attrs.Attribute[object]", value: object) -> None:
        if value is not None:
            rule(instance, attribute, value)

    return check


@attrs.frozen(kw_only=True)
class FitConfig:
    """How a model is fitted to demonstrations; defaults of unset fields depend on what is fitted (``resolved``)."""

    steps: int | None = option(
        None,
        "maximum number of optimiser steps; unset: 400 for a fresh network, 150 for a checkpoint",
        _unset_or(within(1)),
    )
    batch: int | None = option(
        None,
        "prompts per optimiser step; unset: 64 for a fresh network, 24 for a checkpoint",
        _unset_or(within(1)),
    )
    learning_rate: float | None = option(
        None,
        "greatest learning rate of AdamW, which warms up over 5% of the steps and decays to 0 by a cosine; unset: 3e-4 "
        "for adapters of a checkpoint, 5e-5 for all its weights, 2e-3 for a fresh network",
        _unset_or(within(0.0, above=True)),
    )
    episodes: int | None = option(
        None,
        "episodes to play for cloning; unset: 2000 of a player, 500 of a policy",
        _unset_or(within(1)),
    )
    replies: Replies = option(
        "canonical",
        "how recorded replies are cloned; canonical: what the parser read, in its own format; literal: word for word, "
        "including the thoughts before the action",
        one_of,
    )
    seed: int = option(0, "seed of new weights, of the episodes and of the order of the data")
    measure_every: int = option(
        20, "steps between measurements on held-out prompts, each with a checkpoint", within(1)
    )
    measured_prompts: int = option(64, "held-out prompts per measurement", within(1))
    patience: int = option(
        5,
        "stop after this many measurements in a row that did not lower the best divergence by --min-improvement",
        within(1),
    )
    min_improvement: float = option(
        2e-3, "nats per reply that count as an improvement", within(0.0)
    )
    token_budget: int = option(
        4096,
        "maximum number of tokens in a forward pass, each distinct prompt counted once",
        within(1),
    )

    def resolved(self, learnt: Learnt) -> "FitConfig":
        """The settings with every unset one but ``episodes`` replaced by what suits what is fitted.

        Example:
          >>> FitConfig(steps=10).resolved("adapters").learning_rate
          0.0003
        """
        is_fresh = learnt == "fresh network"
        return attrs.evolve(
            self,
            steps=self.steps or (400 if is_fresh else 150),
            batch=self.batch or (64 if is_fresh else 24),
            learning_rate=self.learning_rate or _LEARNING_RATES[learnt],
        )


_LEARNING_RATES: Final[dict[Learnt, float]] = {
    "fresh network": 2e-3,
    "adapters": 3e-4,
    "whole weights": 5e-5,
}
