"""Group filters: which groups of a batch are learnt from.

The loss is conditioned on passing: it is a mean over the groups that passed. If further groups are played until enough
have passed (``max_plays``), starts that are nearly always won or lost count less than their share.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from algorithms.method.batch import RoleGroup
from algorithms.method.rules import GroupFilter, made_rule

_ROUNDING = 1e-9  # 0.29 of 100 groups are 29


def with_signal(role_groups: Sequence[RoleGroup]) -> list[bool]:
    """Groups whose returns are not all equal.

    Source: dynamic sampling of DAPO, arXiv:2503.14476.
    """
    return [role_group.has_variance for role_group in role_groups]


def of_greatest_variance(role_groups: Sequence[RoleGroup], *, share: float) -> list[bool]:
    """The share of the groups whose returns vary most, rounded down; at least one, and the first among equals.

    Source: StarPO-S, arXiv:2504.20073 (uncertainty-based filtering), by RAGEN's code: a share, rounded down, of the
    groups in the order of the standard deviation of their returns; its order of equal ones is not defined. Agents are
    filtered together [ours].

    Args:
      role_groups: the groups of a batch, in their roles.
      share: in (0, 1].

    Example:
      >>> def group(*returns_G):
      ...     empty_G = ((),) * len(returns_G)
      ...     return RoleGroup(number=0, agent="player", returns_G=returns_G, advantages_G=returns_G,
      ...         credits_G=empty_G, completions_G=empty_G)
      >>> of_greatest_variance([group(0.0, 0.0), group(0.0, 2.0), group(0.0, 1.0)], share=0.5)
      [False, True, False]
    """
    stds = [float(np.std(role_group.returns_G)) for role_group in role_groups]
    order = sorted(range(len(stds)), key=lambda n: -stds[n])
    kept = set(order[: max(1, math.floor(share * len(stds) + _ROUNDING))])
    return [n in kept for n in range(len(stds))]


GROUP_FILTERS: Mapping[str, Callable[[float], GroupFilter | None]] = {
    "all": lambda share: None,
    "signal": lambda share: with_signal,
    "variance": lambda share: functools.partial(of_greatest_variance, share=share),
}
"""Each makes its filter from the share that "variance" keeps."""


def find_group_filter(setting: str, *, share: float) -> GroupFilter | None:
    """A group filter by its setting.

    Args:
      setting: a name, or ``module:object``.
      share: what "variance" keeps.

    Raises:
      InvalidArgumentError: nothing has the name, or the module has no such rule.
    """
    return made_rule(setting, GROUP_FILTERS, share, option="group_filter")
