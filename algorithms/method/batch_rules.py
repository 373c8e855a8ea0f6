"""Batch rules: how advantages are compared over the groups of a batch, after each group's own comparison.

A batch is all groups of an update, including those of other processes. Agents are compared separately.
"""

import functools
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from algorithms.method.advantages import (
    Advantage,
    beyond_noise,
    mapped,
    mean_and_std,
    token_advantages,
)
from algorithms.method.batch import RoleGroup, places_by_agent
from algorithms.method.risk_bundles import RiskBundles
from algorithms.method.rules import BatchRule, made_rule
from algorithms.method.surprise import surprise_modulated

Credits = tuple[tuple[Advantage, ...], ...]


def whitened(role_groups: Sequence[RoleGroup], *, eps: float) -> list[Credits]:
    """Advantages minus their mean, divided by their standard deviation (of the population, plus eps).

    Mean and deviation are over the trained tokens of the agent in the batch.

    Source: REINFORCE++, arXiv:2501.03262, by the code of its authors (OpenRLHF), which does not add eps, but takes a
    variance of at least 1e-8. Without any variance, advantages are 0.

    Args:
      role_groups: the groups of a batch, in their roles.
      eps: added to the deviation.
    """
    moments = {
        agent: mean_and_std([a for role_group in own for a in _trained_tokens(role_group)])
        for agent, own in _by_agent(role_groups).items()
    }

    def changed(role_group: RoleGroup) -> Credits:
        mean, std = moments[role_group.agent]
        return _mapped(role_group.credits_G, lambda a: (a - mean) / (std + eps) if std else 0.0)

    return [changed(role_group) for role_group in role_groups]


def over_return_std(role_groups: Sequence[RoleGroup], *, eps: float) -> list[Credits]:
    """Advantages divided by the standard deviation of all returns of the batch (of the sample, plus eps).

    Source: Lite PPO, arXiv:2508.08221, by the code of its authors (ROLL): the mean of the group, and the deviation of
    the batch, of the returns themselves. A batch without any variance is left as it is.

    Args:
      role_groups: the groups of a batch, in their roles.
      eps: added to the deviation.
    """
    returns = {
        agent: [r for g in own for r in g.returns_G]
        for agent, own in _by_agent(role_groups).items()
    }
    stds = {agent: beyond_noise(float(np.std(own, ddof=1)), own) for agent, own in returns.items()}

    def changed(role_group: RoleGroup) -> Credits:
        std = stds[role_group.agent]
        return _mapped(role_group.credits_G, lambda a: a / (std + eps) if std else a)

    return [changed(role_group) for role_group in role_groups]


def _whitened_parts(eps: float) -> BatchRule:
    """``algorithms.method.whitened_parts.WhitenedParts``, whose module imports torch."""
    rule: BatchRule = importlib.import_module("algorithms.method.whitened_parts").WhitenedParts(eps)
    return rule


BATCH_RULES: Mapping[str, Callable[[float], BatchRule | None]] = {
    "none": lambda eps: None,
    "whitened": lambda eps: functools.partial(whitened, eps=eps),
    "whitened_parts": _whitened_parts,
    "return_std": lambda eps: functools.partial(over_return_std, eps=eps),
    "surprise": lambda eps: surprise_modulated,
    "risk": lambda eps: RiskBundles(),
}
"""Each makes its rule from the number that is added to a standard deviation."""


def find_batch_rule(setting: str, *, eps: float) -> BatchRule | None:
    """A batch rule by its setting.

    Args:
      setting: a name, or ``module:object``.
      eps: what named rules add to a standard deviation.

    Raises:
      InvalidArgumentError: nothing has the name, or the module has no such rule.
    """
    return made_rule(setting, BATCH_RULES, eps, option="batch_rule")


def _by_agent(role_groups: Sequence[RoleGroup]) -> dict[str, list[RoleGroup]]:
    places = places_by_agent(role_groups)
    return {agent: [role_groups[n] for n in own] for agent, own in places.items()}


def _trained_tokens(role_group: RoleGroup) -> Iterator[float]:
    for credits_T, completions_T in zip(
        role_group.credits_G, role_group.completions_G, strict=True
    ):
        for credit, completion in zip(credits_T, completions_T, strict=True):
            advantages = token_advantages(credit, len(completion.reply_ids))
            yield from (
                a for a, sampled in zip(advantages, completion.trainable, strict=True) if sampled
            )


def _mapped(credits_G: Credits, change: Callable[[float], float]) -> Credits:
    """Each advantage changed, of whole completions or of tokens."""
    return tuple(tuple(mapped(a, change) for a in credits_T) for credits_T in credits_G)
