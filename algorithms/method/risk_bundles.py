"""A batch rule that emphasises the lower part of the distribution of returns, over bundles of groups (RiskPO)."""

import math
from collections.abc import Mapping, Sequence
from typing import final

import attrs
import numpy as np

from algorithms.method.batch import RoleGroup, places_by_agent

LEVELS = (0.2, 0.9)  # alpha and beta
BUNDLE = 5
TAIL = 1.5
STEP = 0.1


def risk_advantage(score: float, low: float, high: float) -> float:
    """(omega C + A) / (omega + 1): how far a score is in the middle and in the lower tail of its distribution.

        A = ((s - q_a)+ - (s - q_b)+ + q_a - q_b) / (b - a),  C = - (q_a - s)+ / a

    with a = 0.2, b = 0.9 and omega = 1.5. At most 0: 0 for a score of at least q_b.

    Source: RiskPO, arXiv:2510.00911, by its public code.

    Args:
      score: s.
      low: q_a, the quantile of level a.
      high: q_b.

    Example:
      >>> [round(risk_advantage(s, 1.0, 3.0), 3) for s in (0.0, 1.0, 2.0, 3.0, 9.0)]
      [-4.143, -1.143, -0.571, 0.0, 0.0]
    """
    a, b = LEVELS
    middle = (max(score - low, 0.0) - max(score - high, 0.0) + low - high) / (b - a)
    tail = -max(low - score, 0.0) / a
    return (TAIL * tail + middle) / (TAIL + 1)


@final
@attrs.define(eq=False)
class RiskBundles:
    """Advantages by risk: the score of a bundle of episodes counts, and low scores count most.

    Five consecutive groups in one role are a bundle. Its score s_j is the sum of the returns of their episodes
    number j, and all of these get ``risk_advantage(s_j)``. The quantiles are tracked: those of the first update's
    scores, then q + 0.1 (level - share of the scores below q) after every update. Until then the bundle's own quantiles
    are used.

    Source: RiskPO, arXiv:2510.00911, by its public code with the levels of its script for MATH, which divides by
    standard deviations besides; left out here [ours]. The code means to track the quantiles, but drops them after each
    batch, so that each bundle has its own; here they are tracked [ours]. A bundle that the batch leaves incomplete
    counts as if it had five groups of its mean, and episodes that have no counterpart in each group of their bundle
    get 0 [ours].
    """

    _quantiles: dict[str, tuple[float, float]] = attrs.field(factory=dict, init=False)

    def __call__(self, role_groups: Sequence[RoleGroup]) -> list[list[list[float]]]:
        """The new advantages; those of the groups' own comparison are not looked at."""
        advantages = [[0.0] * len(role_group.returns_G) for role_group in role_groups]
        for agent, bundle in _bundles(role_groups):
            scores = _scores([role_groups[n] for n in bundle])
            low, high = self._quantiles.get(agent) or _quantiles_of(scores)
            for n in bundle:
                advantages[n][: len(scores)] = [risk_advantage(s, low, high) for s in scores]
        return [
            [[a] * len(row) for a, row in zip(of_group, g.completions_G, strict=True)]
            for of_group, g in zip(advantages, role_groups, strict=True)
        ]

    def observe(self, role_groups: Sequence[RoleGroup]) -> None:
        """Move the quantiles by the scores of an update."""
        scores: dict[str, list[float]] = {}
        for agent, bundle in _bundles(role_groups):
            scores.setdefault(agent, []).extend(_scores([role_groups[n] for n in bundle]))
        for agent, own in scores.items():
            before = self._quantiles.get(agent)
            if before is None:
                self._quantiles[agent] = _quantiles_of(own)
                continue
            below = [sum(s < q for s in own) / len(own) for q in before]
            low, high = (
                q + STEP * (level - share)
                for q, level, share in zip(before, LEVELS, below, strict=True)
            )
            self._quantiles[agent] = low, high

    def state(self) -> Mapping[str, list[float]]:
        """The quantiles of each agent."""
        return {agent: list(quantiles) for agent, quantiles in self._quantiles.items()}

    def load_state(self, state: Mapping[str, Sequence[float]]) -> None:
        """Continue from these quantiles."""
        self._quantiles = {agent: (low, high) for agent, (low, high) in state.items()}


def _bundles(role_groups: Sequence[RoleGroup]) -> list[tuple[str, list[int]]]:
    """The places of the groups of each bundle, with their agent."""
    return [
        (agent, own[i : i + BUNDLE])
        for agent, own in places_by_agent(role_groups).items()
        for i in range(0, len(own), BUNDLE)
    ]


def _scores(bundle: Sequence[RoleGroup]) -> list[float]:
    """The scores of a bundle: the sums over five groups, or what five groups like these would have."""
    together = zip(*(role_group.returns_G for role_group in bundle), strict=False)
    return [math.fsum(returns) * (BUNDLE / len(bundle)) for returns in together]


def _quantiles_of(scores: Sequence[float]) -> tuple[float, float]:
    low, high = np.quantile(scores, LEVELS).tolist()
    return low, high
