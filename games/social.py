"""Social metrics of an episode of several agents: efficiency, equality, sustainability and peace.

Source: J. Perolat, J. Z. Leibo, V. Zambaldi, C. Beattie, K. Tuyls, T. Graepel, "A multi-agent reinforcement learning
model of common-pool resource appropriation", 2017.
"""

import itertools
from collections.abc import Sequence
from typing import Any

from tsmg import Episode


def efficiency(rewards_N_T: Sequence[Sequence[float]]) -> float | None:
    """U: the rewards of all agents together, per step.

    Args:
      rewards_N_T: the rewards of each agent at each step. Shape (N, T).

    Returns:
      The efficiency; ``None`` if there is no step. Unit: reward per step.

    Source: J. Perolat et al., 2017.

    Example:
      >>> efficiency([(1, 0, 1, 0), (0, 0, 1, 0)])
      0.75
    """
    steps = len(rewards_N_T[0])
    return sum(map(sum, rewards_N_T)) / steps if steps else None


def equality(returns_N: Sequence[float]) -> float | None:
    """E: 1 minus the Gini coefficient of the returns.

    Args:
      returns_N: the return of each agent. Shape (N,), at least 0; unit: reward.

    Returns:
      From 1/N, if one agent has everything, to 1, if all have the same; ``None`` if nobody has anything, or
      a return is negative.

    Source: J. Perolat et al., 2017.

    Example:
      >>> equality([2, 2, 2]), equality([3, 1])
      (1.0, 0.75)
    """
    if sum(returns_N) <= 0 or min(returns_N) < 0:
        return None
    differences = sum(abs(a - b) for a, b in itertools.combinations(returns_N, 2))
    return 1 - differences / (len(returns_N) * sum(returns_N))


def equality_metric(returns_N: Sequence[float]) -> dict[str, float]:
    """``equality`` by its name, for a game's metrics; empty if it is not defined.

    Args:
      returns_N: the return of each agent. Shape (N,); unit: reward.

    Source: J. Perolat et al., 2017.

    Example:
      >>> equality_metric([3, 1]), equality_metric([0, 0])
      ({'equality': 0.75}, {})
    """
    found = equality(returns_N)
    return {} if found is None else {"equality": found}


def sustainability(rewards_N_T: Sequence[Sequence[float]]) -> float | None:
    """S: the mean time at which an agent gets its rewards, averaged over the agents that get any.

    Args:
      rewards_N_T: the rewards of each agent at each step. Shape (N, T).

    Returns:
      The time, where the first step is 1; ``None`` if nobody gets anything. Unit: steps.

    Source: J. Perolat et al., 2017.

    Example:
      >>> sustainability([(1, 0, 0, 1), (0, 0, 0, 1), (0, 0, 0, 0)])
      3.25
    """
    times_N = [[t for t, reward in enumerate(row, start=1) if reward > 0] for row in rewards_N_T]
    means = [sum(times) / len(times) for times in times_N if times]
    return sum(means) / len(means) if means else None


def peace(idle_T: Sequence[int], agents: int) -> float | None:
    """P: the mean number of agents that are not timed out.

    Args:
      idle_T: how many agents are timed out at each step. Shape (T,).
      agents: how many there are.

    Returns:
      From 0 to the number of agents; ``None`` if there is no step.

    Source: J. Perolat et al., 2017.

    Example:
      >>> peace([0, 1, 1, 0], agents=2)
      1.5
    """
    return agents - sum(idle_T) / len(idle_T) if idle_T else None


def social_metrics(
    episode: Episode[Any], *, idle_T: Sequence[int] | None = None
) -> dict[str, float]:
    """The social metrics of an episode, by name; those that are not defined for it are left out.

    Args:
      episode: the record; penalties for invalid texts are left out.
      idle_T: how many agents are timed out at each step; ``None`` if agents never are. Shape (T,).
    """
    rewards_N_T = [episode.rewards_T(agent, penalties=False) for agent in episode.agents]
    found = {
        "efficiency": efficiency(rewards_N_T),
        "equality": equality([sum(rewards_T) for rewards_T in rewards_N_T]),
        "sustainability": sustainability(rewards_N_T),
        "peace": None if idle_T is None else peace(idle_T, len(episode.agents)),
    }
    return {name: value for name, value in found.items() if value is not None}
