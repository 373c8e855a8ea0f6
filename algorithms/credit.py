"""Credit rules: from a group of episodes to an advantage per (episode, agent, call)."""

from collections.abc import Sequence
from typing import Any, Protocol

from algorithms.advantages import StdKind, group_relative_advantages
from tsmg import EpisodeGroup


class CreditRule(Protocol):
    """How a group's rewards become advantages of single calls."""

    def __call__(
        self, group: EpisodeGroup[Any], agent: str, advantages_G: Sequence[float]
    ) -> list[list[float]]:
        """One advantage per call of each episode, given the whole-episode advantages."""
        ...


def episode_advantages(
    group: EpisodeGroup[Any], agent: str, *, std: StdKind, eps: float
) -> list[float]:
    """A_e of one role in a group: the return, penalties included, relative to the group's mean.

    Source: arXiv:2508.10839 (the whole cumulative episode reward, relative to the group) [paper]; std and eps
    are options [ours].
    """
    advantages_G = group_relative_advantages(group.returns_G(agent), std=std, eps=eps)
    return [float(advantage) for advantage in advantages_G]


def whole_episode_credit(
    group: EpisodeGroup[Any], agent: str, advantages_G: Sequence[float]
) -> list[list[float]]:
    """A_{e,t,l} = A_e: the whole episode's advantage for every step and token.

    Source: arXiv:2508.10839 [paper].
    """
    return [
        [advantage] * sum(1 for _ in episode.calls(agent))
        for episode, advantage in zip(group.episodes, advantages_G, strict=True)
    ]
