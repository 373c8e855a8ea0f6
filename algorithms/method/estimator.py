"""The gradient estimator of a run: from groups of episodes to weighted completions, step by step.

    groups --role_groups--> advantages --draw--> kept episodes --rows--> completions, each with advantage and weight

The trainer draws from it; the estimator laboratory of ``proofs`` enumerates its distribution.
"""

import warnings
from collections.abc import Sequence
from typing import final

import attrs
import numpy as np
from numpy.typing import NDArray

from algorithms.method.advantages import BaselineKind, StdKind
from algorithms.method.batch import RoleGroup, TrainingRow, training_rows
from algorithms.method.config import (
    GroupOn,
    MSGRPOConfig,
    bias_warnings,
    resolved_group_on,
    resolved_std,
)
from algorithms.method.credit import CreditRule, Group, credit_rule, episode_advantages
from algorithms.method.episode_sampling import (
    SamplingRule,
    Selected,
    denominator_episodes,
    select_episodes,
    selection_dist,
)
from algorithms.method.first_draw import gradient_sizes
from algorithms.method.weighting import WeightingKind
from tsmg import Distribution, Facts, Stream


@final
@attrs.frozen(kw_only=True)
class Estimator:
    """How groups of episodes become weighted completions.

    Attributes:
      group_on: what the members of a group share.
      common_chance: whether they also share the game's chance draws.
      group_size: G, how many members a group has.
      std: what advantages are divided by.
      eps: what is added to it.
      baseline: what is subtracted from returns.
      credit: the credit rule: one of the named ones, or the user's own.
      sampling: which episodes are trained on.
      weighting: how tokens are weighted.
    """

    group_on: GroupOn
    common_chance: bool
    group_size: int
    std: StdKind
    eps: float
    baseline: BaselineKind
    credit: CreditRule
    sampling: SamplingRule
    weighting: WeightingKind

    @classmethod
    def of(
        cls, config: MSGRPOConfig, facts: Facts, *, credit: CreditRule | None = None
    ) -> "Estimator":
        """The estimator of a configuration, with every ``auto`` resolved; warns of ``bias_warnings``.

        Args:
          config: the settings.
          facts: facts of the game that is played.
          credit: a credit rule in place of the one that the settings name.
        """
        for warning in bias_warnings(config, facts):
            warnings.warn(warning, stacklevel=2)
        std = resolved_std(config, facts)
        return cls(
            group_on=resolved_group_on(config, facts),
            common_chance=config.common_chance,
            group_size=config.group_size,
            std=std,
            eps=config.eps,
            baseline=config.baseline,
            credit=credit
            or credit_rule(config.credit, std=std, eps=config.eps, baseline=config.baseline),
            sampling=SamplingRule(
                kind=config.sampling,
                kept=config.kept_episodes,
                alpha=config.alpha,
                floor=config.floor,
                replacement=config.replacement,
                scope=config.scope,
                corrected=config.corrected,
            ),
            weighting=config.weighting,
        )

    def role_groups(self, groups: Sequence[Group], agents: Sequence[str]) -> list[RoleGroup]:
        """Each group in each role that learns, with the advantages of its episodes and of their completions.

        Args:
          groups: groups of played episodes.
          agents: names of the agents that learn.
        """
        return [
            RoleGroup.of(
                group,
                agent,
                advantages_G=episode_advantages(
                    group, agent, std=self.std, eps=self.eps, baseline=self.baseline
                ),
                credits_G=self.credit(group, agent),
            )
            for group in groups
            for agent in agents
        ]

    def draw(self, role_groups: Sequence[RoleGroup], rngs: Sequence[Stream]) -> list[Selected]:
        """The episodes to train on, drawn with one stream per role and group."""
        return select_episodes(self._drawn_by(role_groups), self.sampling, rngs=rngs)

    def draw_dist(self, role_groups: Sequence[RoleGroup]) -> Distribution[tuple[Selected, ...]]:
        """The distribution of ``draw``."""
        return selection_dist(self._drawn_by(role_groups), self.sampling)

    def _drawn_by(self, role_groups: Sequence[RoleGroup]) -> list[NDArray[np.float64]]:
        """What the probabilities of each group's episodes follow from; with "optimal" from their credit itself."""
        if self.sampling.kind != "optimal":
            return [np.array(role_group.advantages_G) for role_group in role_groups]
        return [
            gradient_sizes(role_group.credits_G, role_group.completions_G, weighting=self.weighting)
            for role_group in role_groups
        ]

    def rows(
        self, role_groups: Sequence[RoleGroup], selected: Sequence[Selected], *, asked: int
    ) -> list[TrainingRow]:
        """The completions to learn from.

        Args:
          role_groups: the groups in their roles.
          selected: which episodes are trained on.
          asked: how many (group, role) pairs were planned: the denominator, whatever was drawn or failed.
        """
        return training_rows(
            role_groups,
            selected,
            weighting=self.weighting,
            denominator_episodes=denominator_episodes(
                self.sampling.kind,
                groups=asked,
                group_size=self.group_size,
                kept=self.sampling.kept,
            ),
        )
