"""Evaluation on fixed episodes: the same starts and the same chance for every policy and update."""

import math
from collections.abc import Sequence
from typing import Any

import attrs

from tsmg import AbstractGame, AgentPolicy, Episode, EpisodePlan, TooManyFailuresError, play


@attrs.frozen(kw_only=True)
class Evaluation:
    """How a policy did.

    Attributes:
      episodes: the records.
      reward: mean return of the agent, penalties left out.
      success_rate: share of successes among episodes that define one; NaN if none does.
      invalid_rate: share of the agent's texts that named no legal action.
      episode_length: mean number of steps.
    """

    episodes: tuple[Episode[Any], ...]
    reward: float
    success_rate: float
    invalid_rate: float
    episode_length: float


def evaluate(
    game: AbstractGame[Any, Any],
    policy: AgentPolicy,
    plans: Sequence[EpisodePlan[Any]],
    *,
    agent: str | None = None,
) -> Evaluation:
    """Play fixed episodes and summarise them for one agent (the first unless named).

    Raises:
      TooManyFailuresError: an episode failed.
    """
    records = play(game, policy, plans)
    episodes = tuple(record for record in records if isinstance(record, Episode))
    if len(episodes) < len(records):
        first = next(record for record in records if not isinstance(record, Episode))
        raise TooManyFailuresError(
            f"{len(records) - len(episodes)} evaluation episodes failed; the first: {first.error}"
        )
    return summarise(game, episodes, agent or game.agents[0])


def summarise(
    game: AbstractGame[Any, Any], episodes: Sequence[Episode[Any]], agent: str
) -> Evaluation:
    """The summary of some episodes for one agent."""
    successes = [s for e in episodes if (s := game.success(e, agent)) is not None]
    texts = sum(len(e.agent_steps(agent)) for e in episodes)
    invalid = sum(e.invalid_count(agent) for e in episodes)
    return Evaluation(
        episodes=tuple(episodes),
        reward=mean(e.episode_return(agent, penalties=False) for e in episodes),
        success_rate=mean(map(float, successes)),
        invalid_rate=invalid / texts if texts else 0.0,
        episode_length=mean(float(len(e.steps)) for e in episodes),
    )


def mean(values: Any) -> float:
    """The mean of some numbers; NaN if there are none."""
    numbers = list(values)
    return math.fsum(numbers) / len(numbers) if numbers else math.nan
