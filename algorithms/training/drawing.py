"""Which episodes of an update are trained on."""

from collections.abc import Sequence

import attrs

from algorithms.method.batch import RoleGroup
from algorithms.method.config import MSGRPOConfig
from algorithms.method.episode_sampling import Selected
from algorithms.method.estimator import Estimator
from tsmg import EpisodeKey, Purpose


def draw_episodes(
    estimator: Estimator, role_groups: Sequence[RoleGroup], *, seed: int, update: int
) -> list[Selected]:
    """Draw the episodes to train on, with one random stream per role and group.

    Args:
      estimator: draws.
      role_groups: the groups in their roles.
      seed: the seed of the run.
      update: the number of the update; both key the streams.
    """
    key = EpisodeKey(seed=seed, update=update)
    rngs = [
        attrs.evolve(key, group=n).shared().stream(Purpose.SUB_SAMPLE, agent=role_group.agent)
        for n, role_group in enumerate(role_groups)
    ]
    return estimator.draw(role_groups, rngs)


def zero_variance_episodes(
    config: MSGRPOConfig, role_groups: Sequence[RoleGroup], drawn: Sequence[Selected]
) -> list[Selected]:
    """Episodes of zero-variance groups, for the regularisers: the first ``kept_episodes`` of each; all are alike.

    Args:
      config: the settings of the regularisers.
      role_groups: the groups in their roles.
      drawn: the episodes that were drawn; if the draw does not depend on advantages, it includes these groups already.
    """
    c = config
    if c.zero_variance_groups == "skipped" or not (c.entropy_coefficient or c.kl_coefficient):
        return []
    drawn_groups = {episode.group for episode in drawn}
    return [
        Selected(group=n, episode=episode, weight=1.0)
        for n, role_group in enumerate(role_groups)
        if not role_group.has_signal and n not in drawn_groups
        for episode in range(c.kept_episodes)
    ]
