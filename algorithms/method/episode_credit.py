"""Credit rules of published methods that give all of an episode's completions one advantage.

Each follows the source that it names; what the source leaves open, or what games of many steps add, is marked [ours].
``docs/reference/methods.md`` has them in a table, with the settings that make a method of them.

Example:
  >>> import functools, games, lap, tsmg
  >>> game = games.make("LineWalk-v0", length=4, horizon=4)
  >>> policy = lap.LanguageAgentPolicy(
  ...     model=lap.TabularModel(("left", "right")),
  ...     parser=lap.WholeReplyParser(),
  ...     sampling=lap.Sampling(max_reply_tokens=1),
  ... )
  >>> specs = [tsmg.EpisodeSpec(key=tsmg.EpisodeKey(seed=2, episode=e)) for e in range(4)]
  >>> group = tsmg.EpisodeGroup(episodes=tuple(tsmg.play(game, policy, specs)))
  >>> group.returns_G("walker"), [len(episode.steps) for episode in group.episodes]
  ((0.0, 0.0, 1.0, 1.0), [4, 3, 2, 4])
  >>> over_episodes(group, "walker", [1.0, 2.0, 3.0, 4.0])[2]
  [3.0, 3.0]
  >>> relative = functools.partial(group_relative_advantages, std="none")
  >>> [credits_T[0] for credits_T in max_variance_credit(group, "walker", kept=2, relative=relative)]
  [-0.5, -0.5, 0.5, 0.5]
  >>> [credits_T[0] for credits_T in mean_divided_credit(group, "walker", eps=0.0)]
  [-1.0, -1.0, 1.0, 1.0]
  >>> [credits_T[0] for credits_T in length_gated_credit(group, "walker", relative=relative)]
  [-0.5, -0.5, 0.5, 0.5]
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, final

import attrs
import numpy as np
from numpy.typing import NDArray

from algorithms.method.advantages import group_relative_advantages, without_noise
from algorithms.method.batch import RoleGroup
from algorithms.method.max_variance import max_variance_returns
from tsmg import Ending, EpisodeGroup

Group = EpisodeGroup[Any]  # of a game with states of any type
GATE = 0.1


class Relative(Protocol):
    """``group_relative_advantages`` with its settings."""

    def __call__(self, returns_G: Sequence[float]) -> NDArray[np.float64]:
        """The advantage of each return."""
        ...


def over_episodes(group: Group, agent: str, advantages_G: Sequence[float]) -> list[list[float]]:
    """Each episode's advantage for each of the agent's completions in it.

    Source: arXiv:2508.10839 (whole-episode credit) [paper].
    """
    return [
        [float(advantage) for _ in episode.completions(agent)]
        for episode, advantage in zip(group.episodes, advantages_G, strict=True)
    ]


def max_variance_credit(
    group: Group, agent: str, *, kept: int, relative: Relative
) -> list[list[float]]:
    """A_e = (R_e - mean_S) / (std_S + eps): relative to the K episodes S whose returns vary most (PODS).

    Episodes whose return is not among theirs get 0; ``max_variance_draw`` does not draw them.

    Source: PODS, arXiv:2504.13818: S has the greatest variance of all sets of K, and GRPO's advantages are those within
    it. Which of several such sets is taken is ours [ours].

    Args:
      group: the episodes.
      agent: whose returns are compared.
      kept: K, at least 2.
      relative: compares the returns of S.
    """
    returns_G = without_noise(group.returns_G(agent))
    chosen = max_variance_returns(returns_G, kept)
    by_return = dict(zip(chosen, relative(chosen).tolist(), strict=True))
    return over_episodes(group, agent, [by_return.get(r, 0.0) for r in returns_G])


def mean_divided_credit(group: Group, agent: str, *, eps: float) -> list[list[float]]:
    """A_e = (R_e - mean R) / (mean |R| + eps): what is rare in a group counts by how rare it is (MaxRL).

    Source: MaxRL, arXiv:2602.02710 and its public code, for returns of success (1) and failure (0), where mean |R| is
    the success rate. That returns below 0 enter the divisor by their size is ours: a divisor below 0 would turn the
    gradient round [ours].

    Args:
      group: the episodes.
      agent: whose returns are compared.
      eps: added to the divisor; 1e-6 in the source.
    """
    returns_G = group.returns_G(agent)
    size = math.fsum(map(abs, returns_G)) / len(returns_G) + eps
    centred_G = group_relative_advantages(returns_G, std="none")
    return over_episodes(group, agent, [a / size if a else 0.0 for a in centred_G.tolist()])


def length_gated_credit(group: Group, agent: str, *, relative: Relative) -> list[list[float]]:
    """The episode's advantage, times 0.1 unless the longest good episode is longer than the mean bad one (ADORA).

    A length is the number of tokens that the agent sampled. Bad episodes that were cut off at the time limit are left
    out of the mean, and without any bad one the factor is 1.

    Source: ADORA, arXiv:2602.10019, by its public code (``compute_grpo_outcome_advantage_ADORA``), where a reply is
    good if it is right. In a game an episode is good if its return is above the group's mean [ours].

    Args:
      group: the episodes.
      agent: the agent whose returns are compared and whose tokens are counted.
      relative: compares the returns.
    """
    returns_G = group.returns_G(agent)
    above_G = group_relative_advantages(returns_G, std="none") > 0
    lengths_G = [
        sum(sum(completion.trainable) for _, completion in episode.completions(agent))
        for episode in group.episodes
    ]
    good = [length for length, above in zip(lengths_G, above_G, strict=True) if above]
    bad = [
        length
        for length, above, episode in zip(lengths_G, above_G, group.episodes, strict=True)
        if not above and episode.ending is not Ending.TRUNCATED
    ]
    passes = not bad or max(good, default=-math.inf) > math.fsum(bad) / len(bad)
    factor = 1.0 if passes else GATE
    return over_episodes(group, agent, (factor * relative(returns_G)).tolist())


@final
@attrs.frozen(kw_only=True)
class PolicyFiltration:
    """The episode's advantage; episodes are drawn by the size of their return, not of their advantage (PF-PPO).

    Drawn with replacement from the batch with probability proportional to |R_e|^p, p being ``alpha``.

    Source: PF-PPO, arXiv:2409.06957, by verl's ``compute_pf_ppo_reweight_data`` (method "pow", p = 2). The source's
    advantages are a critic's; those of the group are ours [ours].

    Attributes:
      relative: compares the returns.
    """

    relative: Relative

    def __call__(self, group: Group, agent: str) -> list[list[float]]:
        """The episode's advantage for each completion."""
        return over_episodes(group, agent, self.relative(group.returns_G(agent)).tolist())

    def scores(self, group: Group, agent: str) -> tuple[float, ...]:
        """The returns."""
        return group.returns_G(agent)


@final
@attrs.define(kw_only=True, eq=False)
class RoleBaseline:
    """A_e = R_e - b, with b a moving average of the returns of that role (role-conditioned advantage estimation).

    With every episode b becomes decay * b + (1 - decay) * R, from 0 on. An episode is compared with the b before it.

    Source: SPIRAL, arXiv:2506.24119 (RAE), by its public code. There b moves between the episodes of an update; here it
    moves after the update, by its episodes in their order, so that an update's advantages do not depend on the order in
    which it was played [ours]. A run has one game, so that a role is an agent.

    Attributes:
      decay: in [0, 1].
    """

    decay: float
    _baselines: dict[str, float] = attrs.field(factory=dict, init=False)

    def __call__(self, group: Group, agent: str) -> list[list[float]]:
        """The episode's advantage for each completion."""
        return over_episodes(group, agent, self.scores(group, agent))

    def scores(self, group: Group, agent: str) -> list[float]:
        """The advantages, by which episodes are drawn."""
        baseline = self._baselines.get(agent, 0.0)
        return [r - baseline for r in group.returns_G(agent)]

    def observe(self, role_groups: Sequence[RoleGroup]) -> None:
        """Move the averages by the returns of an update."""
        for role_group in role_groups:
            for r in role_group.returns_G:
                before = self._baselines.get(role_group.agent, 0.0)
                self._baselines[role_group.agent] = self.decay * before + (1 - self.decay) * r

    def state(self) -> Mapping[str, float]:
        """The average of each agent."""
        return dict(self._baselines)

    def load_state(self, state: Mapping[str, float]) -> None:
        """Continue from these averages."""
        self._baselines = dict(state)
