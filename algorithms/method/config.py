"""Configuration as plain data: attrs fields that carry their own help text and rule.

Nothing slow is imported here, so that the command line can refuse bad settings at once.
"""

import numbers
import typing
import warnings
from collections.abc import Callable
from typing import Any, Literal

import attrs

from algorithms.method.advantages import BaselineKind, StdKind
from algorithms.method.credit import CreditKind
from algorithms.method.episode_sampling import SamplingKind, Scope
from algorithms.method.weighting import WeightingKind
from tsmg import Facts, InvalidArgumentError

Sharding = Literal["none", "zero1", "fsdp"]
Schedule = Literal["linear", "constant"]
GroupOn = Literal["initial_state", "initial_information", "nothing"]
Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def option(default: Any, help: str, validator: Validator | None = None) -> Any:
    """A configuration field with its default, its help text and its rule."""
    return attrs.field(default=default, validator=validator, metadata={"help": help})


def within(least: float, most: float = float("inf"), *, above: bool = False) -> Validator:
    """A number of at least (or above) ``least`` and at most ``most``."""

    def check(instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        kind = numbers.Integral if type(attribute.default) is int else numbers.Real
        fits = isinstance(value, kind) and not isinstance(value, bool)
        if not (fits and (least < value if above else least <= value) and value <= most):
            rule = f"above {least}" if above else f"at least {least}"
            limit = "" if most == float("inf") else f" and at most {most}"
            raise InvalidArgumentError(f"{attribute.name!r} must be {rule}{limit} (got {value!r})")

    return check


def one_of(instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    """One of the names that the field's type lists."""
    names = choices(type(instance), attribute.name)
    if value not in names:
        raise InvalidArgumentError(
            f"{attribute.name!r} must be one of {', '.join(names)} (got {value!r})"
        )


def choices(config: type, name: str) -> tuple[str, ...]:
    """The names that a ``Literal`` field allows; none for other types."""
    hint = typing.get_type_hints(config)[name]
    return typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()


@attrs.frozen(kw_only=True)
class MSGRPOConfig:
    """Settings of MS-GRPO; every field has its help text, which the command line shows."""

    updates: int = option(200, "optimiser updates", within(1))
    groups: int = option(32, "groups of episodes per update", within(1))
    group_size: int = option(16, "episodes per group, G", within(2))
    kept_episodes: int = option(8, "episodes per group to train on, K", within(1))
    seed: int = option(0, "seed of every draw of the run")
    learning_rate: float = option(6e-4, "greatest learning rate", within(0.0, above=True))
    schedule: Schedule = option(
        "linear", "course of the learning rate: linear decay to 0, or constant", one_of
    )
    max_grad_norm: float = option(
        10.0, "gradients are scaled down to this norm", within(0.0, above=True)
    )
    temperature: float = option(1.0, "sampling temperature while training", within(0.0, above=True))
    top_k: int = option(0, "most probable tokens that are kept in sampling; 0: all", within(0))
    top_p: float = option(
        1.0, "least probability that is kept in sampling", within(0.0, 1.0, above=True)
    )
    min_p: float = option(
        0.0,
        "least probability of a kept token, relative to the most probable one",
        within(0.0, 1.0),
    )
    max_reply_tokens: int = option(16, "where a reply is cut, in tokens", within(1))
    std: Literal[StdKind, "auto"] = option(
        "auto",
        "standard deviation that advantages are divided by; auto: none where a group shares what its agents "
        "cannot see, else population",
        one_of,
    )
    eps: float = option(1e-4, "added to the standard deviation", within(0.0))
    baseline: BaselineKind = option(
        "mean",
        "what returns are compared with: the group's mean, that of the others, or nothing",
        one_of,
    )
    credit: CreditKind = option(
        "episode",
        "what a call is credited with: the whole episode, the reward-to-go, the same among equal turns, or the "
        "episode and the reward-to-go among equal observations",
        one_of,
    )
    sampling: SamplingKind = option(
        "aaw", "episodes to train on: by absolute advantage, uniform, or all", one_of
    )
    alpha: float = option(1.0, "exponent of |A| in the sampling", within(0.0))
    replacement: bool = option(False, "draw episodes with replacement")
    scope: Scope = option("group", "draw within each group or over the batch", one_of)
    corrected: bool = option(False, "divide by the inclusion probabilities")
    weighting: WeightingKind = option("constant", "how tokens are weighted in the loss", one_of)
    clip: float = option(0.2, "clip range c of the ratio", within(0.0, above=True))
    kl_coefficient: float = option(
        0.03, "beta, greatest weight of the KL to the reference policy", within(0.0)
    )
    entropy_coefficient: float = option(
        0.0, "eta, greatest weight of the entropy bonus", within(0.0)
    )
    regulariser_schedule: Schedule = option(
        "linear",
        "course of the weights of KL and entropy: linear decay to 0, or constant",
        one_of,
    )
    zero_variance_groups: Literal["regularised", "skipped"] = option(
        "regularised",
        "groups whose returns are all equal: kept for the entropy and KL terms alone, or skipped",
        one_of,
    )
    epochs: int = option(1, "passes over each batch", within(1))
    group_on: Literal[GroupOn, "auto"] = option(
        "auto",
        "what the members of a group share; auto: nothing in games of hidden information, else the initial state",
        one_of,
    )
    common_chance: bool = option(False, "members of a group share the game's chance draws")
    token_budget: int = option(
        4096, "most tokens in a forward pass while learning, each prompt counted once", within(1)
    )
    sharding: Sharding = option(
        "none",
        "what several processes divide among them: nothing, the optimiser's moments (zero1), or also the weights and "
        "gradients of layers (fsdp)",
        one_of,
    )
    max_failure_rate: float = option(0.1, "accepted share of failed episodes", within(0.0, 1.0))

    def __attrs_post_init__(self) -> None:
        if self.sampling != "all" and self.kept_episodes > self.group_size:
            raise InvalidArgumentError(
                f"'kept_episodes' must be at most 'group_size' "
                f"(got {self.kept_episodes} > {self.group_size})"
            )


def resolved_group_on(config: MSGRPOConfig, facts: Facts) -> GroupOn:
    """What the members of a group share in a game of these facts."""
    if config.group_on != "auto":
        return config.group_on
    return "nothing" if facts.perfect_information is False else "initial_state"


def resolved_std(config: MSGRPOConfig, facts: Facts) -> StdKind:
    """The standard deviation that advantages are divided by in a game of these facts.

    Where a group shares what its agents cannot see (the cards, the chance), dividing can reverse which action is
    better: two such groups differ in their spread for reasons that no agent can act on. A choice to divide there is
    carried out with a warning.
    """
    hidden = facts.perfect_information is False
    shares = config.common_chance or (
        hidden and resolved_group_on(config, facts) == "initial_state"
    )
    if config.std == "auto":
        return "none" if shares else "population"
    if shares and config.std != "none":
        warnings.warn(
            f"'std' is {config.std!r} although the members of a group share what agents cannot see; "
            "this can reverse which action is better ('none' cannot)",
            stacklevel=3,
        )
    return config.std
