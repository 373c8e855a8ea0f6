"""Credit rules of groups whose episodes begin in the middle of others (``algorithms.method.branching``).

    vine    A_t = r_t + gamma V(s_{t+1}) - V(s_t), V being the mean return of K rollouts from a state, and 0 at the end
    tree    A_e = R_e relative to all episodes of the group, plus R_e relative to those of its tree

With several agents, or between an agent's turns, r_t is all that the agent earns until its next decision, discounted
from t, and V(s_{t+1}) is of the state of that decision. Advantages are discounted from the episode's start, so that
their expected gradient is that of the discounted return.

The rollouts from a state are independent of what is replied there: whatever K is, the expected gradient of ``vine`` is
the true one (``tsmg prove --only branching``). The episode itself is not among them.

Example:
  >>> import games, lap, tsmg
  >>> from tsmg import BranchPoint, StateRollouts
  >>> game = games.make("LineWalk-v0", length=4, horizon=4)
  >>> policy = lap.LanguageAgentPolicy(
  ...     model=lap.TabularModel(("left", "right")),
  ...     parser=lap.WholeReplyParser(),
  ...     sampling=lap.Sampling(max_reply_tokens=1),
  ... )
  >>> specs = [tsmg.EpisodeSpec(key=tsmg.EpisodeKey(seed=2, episode=2))]
  >>> episodes = tuple(tsmg.play(game, policy, specs))
  >>> episodes[0].rewards_T("walker")
  (0.0, 1.0)
  >>> found = [((1.0,), (0.0,)), ((1.0,), (1.0,))]
  >>> rollouts = [StateRollouts(point=BranchPoint(episode=0, step=t), returns_K_N=paid, tokens_N=(5,))
  ...     for t, paid in enumerate(found)]
  >>> vine_credit(tsmg.EpisodeGroup(episodes=episodes, rollouts=tuple(rollouts)), "walker")
  [[0.5, 0.0]]
  >>> def centred(returns):
  ...     return np.array(returns) - np.mean(returns)
  >>> origins = (None, BranchPoint(episode=0, step=1))
  >>> tree_credit(tsmg.EpisodeGroup(episodes=episodes * 2, origins=origins), "walker", relative=centred)
  [[0.0, 0.0], [0.0, 0.0]]
"""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from algorithms.method.batch import rewards_to_go
from algorithms.method.branching import tree_numbers
from algorithms.method.episode_credit import Group, Relative, over_episodes
from tsmg import Episode, InvalidArgumentError, situations


def vine_credit(group: Group, agent: str) -> list[list[float]]:
    """What a reply earned until the agent's next one, and how much better the state is then, by rollouts.

    Source: VinePPO, arXiv:2410.01679, by its public code, where rewards are not discounted. Discounts, and what is
    earned between an agent's turns, are ours [ours].

    Args:
      group: the episodes, with rollouts from every state in which the agent replied.
      agent: whose replies.

    Raises:
      InvalidArgumentError: there are no rollouts from one of these states.
    """
    numbers = situations(group.episodes)
    n = group.episodes[0].agents.index(agent)
    values = {
        numbers[found.point.episode][found.point.step]: math.fsum(
            returns_N[n] for returns_N in found.returns_K_N
        )
        / len(found.returns_K_N)
        for found in group.rollouts
    }
    return [
        _vine(episode, agent, row, values)
        for episode, row in zip(group.episodes, numbers, strict=True)
    ]


def _vine(
    episode: Episode[object], agent: str, numbers: Sequence[int], values: Mapping[int, float]
) -> list[float]:
    """The advantages of an agent's completions in an episode, whose steps have these situations."""
    steps = [t for t, _ in episode.completions(agent)]
    decisions = list(dict.fromkeys(steps))
    missing = [t for t in decisions if numbers[t] not in values]
    if missing:
        raise InvalidArgumentError(
            f"'credit' 'vine' needs rollouts from every step of {agent!r}, as 'branching' 'vine' plays them (none from "
            f"step {missing[0]})"
        )
    to_go = [*rewards_to_go(episode, agent), 0.0]
    advantages = {}
    for t, following in itertools.zip_longest(decisions, decisions[1:]):
        after = len(episode.steps) if following is None else following
        between = episode.discount ** (after - t)
        earned = to_go[t] - between * to_go[after]
        value_after = 0.0 if following is None else values[numbers[after]]
        gained = earned + between * value_after - values[numbers[t]]
        advantages[t] = episode.discount**t * gained
    return [advantages[t] for t in steps]


def tree_credit(group: Group, agent: str, *, relative: Relative) -> list[list[float]]:
    """The episode's advantage in the group, plus that in its tree, for each of its completions.

    Shared completions have the sum of the advantages of all episodes that share them
    (``algorithms.method.branching.shared_once``).

    Source: Tree-GRPO, arXiv:2509.21240, by its public code (``adv_estimator=tree``), where an episode that is alone in
    its tree has its return as the second part; here it has 0 [ours].

    Args:
      group: trees of episodes.
      agent: whose returns are compared.
      relative: compares them.

    Raises:
      InvalidArgumentError: the group does not consist of trees.
    """
    if not group.origins:
        raise InvalidArgumentError(
            "'credit' 'tree' needs groups that consist of trees, as 'branching' 'tree' plays them"
        )
    returns_G = group.returns_G(agent)
    members: dict[int, list[int]] = {}
    for e, tree in enumerate(tree_numbers(group)):
        members.setdefault(tree, []).append(e)
    within_G: NDArray[np.float64] = np.zeros(len(returns_G))
    for alike in members.values():
        if len(alike) > 1:
            within_G[alike] = relative([returns_G[e] for e in alike])
    return over_episodes(group, agent, (relative(returns_G) + within_G).tolist())
