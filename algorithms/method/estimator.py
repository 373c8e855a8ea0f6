"""The gradient estimator of a run: from groups of episodes to weighted calls, step by step.

    groups --role_groups--> advantages --draw--> kept episodes --rows--> calls, each with advantage and weight

The trainer draws from it; the estimator laboratory of ``proofs`` puts it through its whole distribution.
"""

from collections.abc import Sequence
from typing import Any, final

import attrs
import numpy as np

from algorithms.method.advantages import StdKind
from algorithms.method.batch import RoleGroup, TrainingRow, training_rows
from algorithms.method.config import GroupOn, MSGRPOConfig, resolved_group_on, resolved_std
from algorithms.method.credit import CreditRule, credit_rule, episode_advantages
from algorithms.method.episode_sampling import (
    SamplingRule,
    Selected,
    denominator_episodes,
    select_episodes,
    selection_dist,
)
from tsmg import Distribution, EpisodeGroup, Facts, Stream


@final
@attrs.frozen
class Estimator:
    """What the settings make of groups of episodes.

    Attributes:
      config: the settings, with every ``auto`` replaced by what it came to.
      group_on: what the members of a group share.
      std: what advantages are divided by.
      credit: the credit rule; that of the settings, or one of the user's own.
    """

    config: MSGRPOConfig
    group_on: GroupOn
    std: StdKind
    credit: CreditRule

    @classmethod
    def of(
        cls, config: MSGRPOConfig, facts: Facts, *, credit: CreditRule | None = None
    ) -> "Estimator":
        """The estimator of these settings in a game of these facts."""
        group_on, std = resolved_group_on(config, facts), resolved_std(config, facts)
        rule = credit_rule(config.credit, std=std, eps=config.eps, baseline=config.baseline)
        settled = attrs.evolve(config, group_on=group_on, std=std)
        return cls(settled, group_on, std, credit or rule)

    def role_groups(
        self, groups: Sequence[EpisodeGroup[Any]], agents: Sequence[str]
    ) -> list[RoleGroup]:
        """Each group in each role that learns, with the advantages of its episodes and of their calls."""
        return [self._role_group(group, agent) for group in groups for agent in agents]

    def _role_group(self, group: EpisodeGroup[Any], agent: str) -> RoleGroup:
        c = self.config
        whole = episode_advantages(group, agent, std=self.std, eps=c.eps, baseline=c.baseline)
        credits_G = self.credit(group, agent)
        return RoleGroup.of(group, agent, advantages_G=tuple(whole), credits_G=credits_G)

    def draw(self, role_groups: Sequence[RoleGroup], rngs: Sequence[Stream]) -> list[Selected]:
        """The episodes to train on, drawn with one stream per role and group."""
        return select_episodes(_advantages(role_groups), self._sampling, rngs=rngs)

    def draw_dist(self, role_groups: Sequence[RoleGroup]) -> Distribution[tuple[Selected, ...]]:
        """The distribution of ``draw``."""
        return selection_dist(_advantages(role_groups), self._sampling)

    def rows(
        self, role_groups: Sequence[RoleGroup], selected: Sequence[Selected], *, asked: int
    ) -> list[TrainingRow]:
        """The calls to learn from.

        Args:
          role_groups: the groups in their roles.
          selected: which episodes are trained on.
          asked: how many roles of groups were asked for: the denominator, whatever was drawn or failed.
        """
        c = self.config
        return training_rows(
            role_groups,
            selected,
            weighting=c.weighting,
            denominator_episodes=denominator_episodes(
                c.sampling, groups=asked, group_size=c.group_size, kept=c.kept_episodes
            ),
        )

    @property
    def _sampling(self) -> SamplingRule:
        c = self.config
        return SamplingRule(
            kind=c.sampling,
            kept=c.kept_episodes,
            alpha=c.alpha,
            replacement=c.replacement,
            scope=c.scope,
            corrected=c.corrected,
        )


def _advantages(role_groups: Sequence[RoleGroup]) -> list[Any]:
    return [np.array(role_group.advantages_G) for role_group in role_groups]
