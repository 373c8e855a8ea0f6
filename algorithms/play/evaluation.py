"""Evaluation on fixed episodes: the same starts and the same chance for every policy and update."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from algorithms.distributed.processes import ALONE, Processes
from algorithms.play.matchups import AbstractMatchups, SelfPlay, distinct_matchups
from algorithms.play.rollouts import check_failures, play_checked
from lap import with_logit_cache
from tsmg import AbstractGame, AgentPolicy, Episode, EpisodeSpec, FailedEpisode


@attrs.frozen(kw_only=True)
class Outcome:
    """How an episode went for one agent, without the episode.

    Attributes:
      agent: who.
      reward: its return, penalties left out.
      success: whether it succeeded; ``None`` if the game defines no success.
      texts: how many texts it wrote.
      invalid: how many of them named no legal action.
      steps: of the episode.
      metrics: the game's metrics of the episode, by name.
    """

    agent: str
    reward: float
    success: bool | None
    texts: int
    invalid: int
    steps: int
    metrics: Mapping[str, float] = attrs.field(factory=dict)

    @classmethod
    def of(cls, game: AbstractGame[Any, Any], episode: Episode[Any], agent: str) -> "Outcome":
        """The outcome of an episode for an agent.

        Args:
          game: defines success and metrics.
          episode: the record.
          agent: who.
        """
        return cls(
            agent=agent,
            reward=episode.episode_return(agent, penalties=False),
            success=game.success(episode, agent),
            texts=len(episode.agent_steps(agent)),
            invalid=episode.invalid_count(agent),
            steps=len(episode.steps),
            metrics=dict(game.metrics(episode, agent)),
        )


@attrs.frozen(kw_only=True)
class Evaluation:
    """The results of a policy, in one role or several.

    Attributes:
      episodes: the records, as far as this process played them; an episode that is looked at in two roles is there
        twice.
      reward: mean return, penalties left out.
      reward_by_agent: the same for each role.
      success_rate: share of successes among episodes that define one; NaN if none does.
      invalid_rate: share of the texts that named no legal action.
      episode_length: mean number of steps.
      failed: the episodes in which the game raised, as far as this process played them; no figure counts them.
      failures: the number of failed episodes in all processes.
      returns: of each episode in each role, penalties left out.
      successes: the same; ``None`` if the game defines none.
      texts: for each of them, how many texts were written.
      invalid_texts: for each of them, how many texts named no legal action.
      starts: for each of them, a hash of its place and of what the agents read first in it.
      measured: for each of them, the game's metrics by name; ``None`` if an episode has no such figure.
    """

    episodes: tuple[Episode[Any], ...]
    reward: float
    reward_by_agent: Mapping[str, float]
    success_rate: float
    invalid_rate: float
    episode_length: float
    failed: tuple[FailedEpisode[Any], ...] = ()
    failures: int = 0
    returns: tuple[float, ...] = ()
    successes: tuple[bool | None, ...] = ()
    texts: tuple[int, ...] = ()
    invalid_texts: tuple[int, ...] = ()
    starts: tuple[str, ...] = ()
    measured: Mapping[str, tuple[float | None, ...]] = attrs.field(factory=dict)

    @property
    def metrics(self) -> Mapping[str, float]:
        """The game's metrics, by name: the mean over the episodes that have the figure."""
        return {
            name: mean(value for value in values if value is not None)
            for name, values in self.measured.items()
        }


def evaluate(
    game: AbstractGame[Any, Any],
    policy: AgentPolicy | Mapping[str, AgentPolicy],
    specs: Sequence[EpisodeSpec[Any]],
    *,
    matchups: AbstractMatchups | None = None,
    max_failure_rate: float = 0.0,
    processes: Processes = ALONE,
) -> Evaluation:
    """Play fixed episodes and summarise them for the agents that learn.

    Args:
      game: what is played.
      policy: the policy that learns; or one per agent.
      specs: the episodes; the matchups counts them as it counts groups.
      matchups: who plays whom; all agents learn unless given.
      max_failure_rate: the greatest share of failed episodes that is accepted.
      processes: the processes that share the work; each arrives at the same figures.

    Raises:
      TooManyFailuresError: more episodes failed.
    """
    learning = policy if isinstance(policy, Mapping) else dict.fromkeys(game.agents, policy)
    roles: list[tuple[tuple[int, ...], Episode[Any], str]] = []  # with their places in the whole
    failed: list[FailedEpisode[Any]] = []
    for c, (matchup, numbers) in enumerate(
        distinct_matchups(matchups or SelfPlay(), learning, len(specs))
    ):
        mine = processes.scatter(numbers)
        records = play_checked(game, with_logit_cache(matchup.policies), [specs[n] for n in mine])
        failed += [record for record in records if isinstance(record, FailedEpisode)]
        roles += [
            ((c, a, n), record, agent)
            for a, agent in enumerate(matchup.learners)
            for n, record in zip(mine, records, strict=True)
            if isinstance(record, Episode)
        ]
    errors = processes.gather(episode.error for episode in failed)
    failures = check_failures(failed, len(specs), max_failure_rate, errors=errors)
    told = sorted(
        processes.gather(
            (place, _start_mark(episode), Outcome.of(game, episode, agent))
            for place, episode, agent in roles
        ),
        key=lambda one: one[0],
    )
    return attrs.evolve(
        summarise([outcome for _, _, outcome in told]),
        episodes=tuple(episode for _, episode, _ in roles),
        failed=tuple(failed),
        failures=failures,
        starts=tuple(mark for _, mark, _ in told),
    )


def summarise(outcomes: Sequence[Outcome]) -> Evaluation:
    """The figures of some outcomes."""
    by_agent: dict[str, list[float]] = {}
    for outcome in outcomes:
        by_agent.setdefault(outcome.agent, []).append(outcome.reward)
    texts = sum(outcome.texts for outcome in outcomes)
    return Evaluation(
        episodes=(),
        reward=mean(outcome.reward for outcome in outcomes),
        reward_by_agent={agent: mean(values) for agent, values in by_agent.items()},
        success_rate=mean(float(o.success) for o in outcomes if o.success is not None),
        invalid_rate=sum(outcome.invalid for outcome in outcomes) / texts if texts else 0.0,
        episode_length=mean(float(outcome.steps) for outcome in outcomes),
        returns=tuple(outcome.reward for outcome in outcomes),
        successes=tuple(outcome.success for outcome in outcomes),
        texts=tuple(outcome.texts for outcome in outcomes),
        invalid_texts=tuple(outcome.invalid for outcome in outcomes),
        measured={
            name: tuple(outcome.metrics.get(name) for outcome in outcomes)
            for name in dict.fromkeys(name for outcome in outcomes for name in outcome.metrics)
        },
    )


def _start_mark(episode: Episode[Any]) -> str:
    place = [episode.key.seed, episode.key.group]
    read = [a.observation.text for step in episode.steps[:1] for a in step.agent_steps]
    return hashlib.blake2b(json.dumps(place + read).encode(), digest_size=6).hexdigest()


def mean(values: Any) -> float:
    """The mean of some numbers; NaN if there are none."""
    numbers = list(values)
    return math.fsum(numbers) / len(numbers) if numbers else math.nan
