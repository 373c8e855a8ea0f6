"""Evaluation on fixed episodes: the same starts and the same chance for every policy and update."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from algorithms.casting import AbstractCasting, SelfPlay, casts
from algorithms.rollouts import accepted_failures, play_checked
from lap import remembering
from tsmg import AbstractGame, AgentPolicy, Episode, EpisodePlan, FailedEpisode

# An episode, and the agent as which it is looked at.
Role = tuple[Episode[Any], str]


@attrs.frozen(kw_only=True)
class Evaluation:
    """How a policy did, in one role or several.

    Attributes:
      episodes: the records; an episode that is looked at in two roles is there twice.
      reward: mean return, penalties left out.
      reward_by_agent: the same for each role.
      success_rate: share of successes among episodes that define one; NaN if none does.
      invalid_rate: share of the texts that named no legal action.
      episode_length: mean number of steps.
      failed: the episodes in which the game raised; no figure counts them.
      returns: of each of ``episodes``, penalties left out.
      successes: of each of ``episodes``; ``None`` where the game defines none.
    """

    episodes: tuple[Episode[Any], ...]
    reward: float
    reward_by_agent: Mapping[str, float]
    success_rate: float
    invalid_rate: float
    episode_length: float
    failed: tuple[FailedEpisode[Any], ...] = ()
    returns: tuple[float, ...] = ()
    successes: tuple[bool | None, ...] = ()


def evaluate(
    game: AbstractGame[Any, Any],
    policy: AgentPolicy | Mapping[str, AgentPolicy],
    plans: Sequence[EpisodePlan[Any]],
    *,
    casting: AbstractCasting | None = None,
    max_failure_rate: float = 0.0,
) -> Evaluation:
    """Play fixed episodes and summarise them for the agents that learn.

    Args:
      game: what is played.
      policy: the policy that learns; or one per agent.
      plans: the episodes; the casting counts them as it counts groups.
      casting: who plays whom; all agents learn unless given.
      max_failure_rate: the greatest share of failed episodes that is accepted.

    Raises:
      TooManyFailuresError: more episodes failed.
    """
    learning = policy if isinstance(policy, Mapping) else dict.fromkeys(game.agents, policy)
    roles: list[Role] = []
    failed: list[FailedEpisode[Any]] = []
    for cast, numbers in casts(casting or SelfPlay(), learning, len(plans)):
        records = play_checked(game, remembering(cast.policies), [plans[n] for n in numbers])
        failed += accepted_failures(records, max_failure_rate)
        played = [record for record in records if isinstance(record, Episode)]
        roles += [(episode, agent) for agent in cast.learners for episode in played]
    return attrs.evolve(summarise(game, roles), failed=tuple(failed))


def summarise(game: AbstractGame[Any, Any], roles: Sequence[Role]) -> Evaluation:
    """The summary of some episodes, each looked at in one role."""
    returns = [episode.episode_return(agent, penalties=False) for episode, agent in roles]
    by_agent: dict[str, list[float]] = {}
    for (_, agent), value in zip(roles, returns, strict=True):
        by_agent.setdefault(agent, []).append(value)
    successes = [game.success(episode, agent) for episode, agent in roles]
    texts = sum(len(e.agent_steps(agent)) for e, agent in roles)
    invalid = sum(e.invalid_count(agent) for e, agent in roles)
    return Evaluation(
        episodes=tuple(episode for episode, _ in roles),
        reward=mean(returns),
        reward_by_agent={agent: mean(values) for agent, values in by_agent.items()},
        success_rate=mean(float(success) for success in successes if success is not None),
        invalid_rate=invalid / texts if texts else 0.0,
        episode_length=mean(float(len(e.steps)) for e, _ in roles),
        returns=tuple(returns),
        successes=tuple(successes),
    )


def mean(values: Any) -> float:
    """The mean of some numbers; NaN if there are none."""
    numbers = list(values)
    return math.fsum(numbers) / len(numbers) if numbers else math.nan
