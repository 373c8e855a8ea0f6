"""The token batch: which completions are trained on, with which advantage and weight."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs
import numpy as np

from algorithms.method.advantages import Advantage, group_relative_advantages, has_signal
from algorithms.method.episode_sampling import Selected
from algorithms.method.weighting import WeightingKind, token_weights
from tsmg import Completion, Episode, EpisodeGroup


@attrs.frozen(kw_only=True)
class TrainingRow:
    """One completion to learn from.

    Attributes:
      agent: name of the agent whose completion it is.
      completion: the record; its reply ids are trained on as they were sampled.
      advantage: A of this completion, or of each token of its reply.
      weight: w of each of its tokens.
      episode: rows with equal numbers are of one episode, in one role; ``None`` if a row is an episode of its own.
      importance: importance weight of each token of the reply, by which its advantage is multiplied; ``None``: all 1.
      episode_log_ratio: mean log-ratio of the tokens of the whole episode under the current weights; ``None`` if no
        ratio kind needs it.
      value_target: the return from the completion on, which a value head learns; ``None`` if it is not known.
    """

    agent: str
    completion: Completion
    advantage: Advantage
    weight: float
    episode: int | None = None
    importance: tuple[float, ...] | None = None
    episode_log_ratio: float | None = None
    value_target: float | None = None


@attrs.frozen(kw_only=True)
class RoleGroup:
    """One role in one group, the unit within which returns are compared: all that learning needs of the episodes.

    Attributes:
      number: index of the group in its update.
      agent: name of the agent in whose role the episodes are seen.
      returns_G: the return of each episode, penalties included.
      advantages_G: the numbers by which episodes are drawn: whole-episode advantages A_e, or a credit rule's scores.
      credits_G: for each episode, the advantage of each of the agent's completions, or of each of its tokens.
      completions_G: for each episode, the agent's completions; of a branch, those that it does not share.
      rewards_to_go_G: for each of them, the return from its step on, discounted from that step (with a value of what
        follows the end, where a credit rule lets an episode go on); empty unless asked for.
      start: number of the start that a start rule chose for the group; ``None`` if the game drew it.
      opening: what the agent reads first or, if it does not act first, what the first agents read.
      start_weight: w, by which the group's loss is multiplied to follow the game's law of starts.
      successes_G: whether each episode is a success, as far as the game says; empty if no start rule needs it.
      rollout_tokens: how many tokens the agent sampled in episodes of which only the returns are known.
    """

    number: int
    agent: str
    returns_G: tuple[float, ...]
    advantages_G: tuple[float, ...]
    credits_G: tuple[tuple[Advantage, ...], ...]
    completions_G: tuple[tuple[Completion, ...], ...]
    rewards_to_go_G: tuple[tuple[float, ...], ...] = ()
    start: int | None = None
    opening: tuple[str, ...] = ()
    start_weight: float = 1.0
    successes_G: tuple[bool | None, ...] = ()
    rollout_tokens: int = 0

    @classmethod
    def of(
        cls,
        group: EpisodeGroup[Any],
        agent: str,
        *,
        advantages_G: Sequence[float],
        credits_G: Sequence[Sequence[Advantage]] = (),
        to_go: Callable[[Episode[Any], str], list[float]] | None = None,
    ) -> "RoleGroup":
        """One role's view of a group.

        Args:
          group: the episodes.
          agent: name of the agent that learns.
          advantages_G: the numbers by which episodes are drawn.
          credits_G: for each episode, the advantage of each of the agent's completions; may be added later.
          to_go: from an episode and an agent to the return from each step on; ``None`` if it is not asked for.
        """
        own_G = [own_steps(group, agent, e) for e in range(len(group.episodes))]
        place = group.episodes[0].agents.index(agent)
        return cls(
            number=group.episodes[0].key.group,
            agent=agent,
            returns_G=group.returns_G(agent),
            advantages_G=tuple(advantages_G),
            credits_G=tuple(map(tuple, credits_G)),
            rewards_to_go_G=tuple(
                tuple(to_go_T[t] for t, _ in own)
                for episode, own in zip(group.episodes, own_G, strict=True)
                for to_go_T in [to_go(episode, agent)]
            )
            if to_go
            else (),
            completions_G=tuple(tuple(completion for _, completion in own) for own in own_G),
            opening=_opening(group.episodes[0], agent),
            rollout_tokens=sum(rollouts.tokens_N[place] for rollouts in group.rollouts),
        )

    @property
    def has_signal(self) -> bool:
        """Whether some advantage differs from 0."""
        return has_signal(np.array(self.advantages_G))

    @property
    def has_variance(self) -> bool:
        """Whether the returns are not all equal."""
        return bool(group_relative_advantages(self.returns_G, std="none").any())


def _opening(episode: Episode[Any], agent: str) -> tuple[str, ...]:
    """What an agent reads at the first step, or, where it does not act there, what those read who do.

    Starts that only an agent that acts later can tell apart have one opening.
    """
    first = episode.steps[0].agent_steps if episode.steps else ()
    own = [acting for acting in first if acting.agent == agent]
    return tuple(acting.observation.text for acting in own or first)


def places_by_agent(role_groups: Sequence[RoleGroup]) -> dict[str, list[int]]:
    """The places of each agent's groups, agents in the order of their first.

    Args:
      role_groups: the groups of a batch, in their roles.
    """
    places: dict[str, list[int]] = {}
    for n, role_group in enumerate(role_groups):
        places.setdefault(role_group.agent, []).append(n)
    return places


def own_steps(group: EpisodeGroup[Any], agent: str, place: int) -> list[tuple[int, Completion]]:
    """(step, completion) of an agent in an episode of a group; of a branch, those that it does not share.

    Args:
      group: the group.
      agent: the agent whose completions are returned.
      place: of the episode in it.
    """
    origin = group.origins[place] if group.origins else None
    first = 0 if origin is None else origin.step
    return [pair for pair in group.episodes[place].completions(agent) if pair[0] >= first]


def rewards_to_go(episode: Episode[Any], agent: str) -> list[float]:
    """The return from each step on, penalties included, discounted from that step.

    Args:
      episode: the episode.
      agent: whose rewards.
    """
    total, to_go = 0.0, []
    for reward in reversed(episode.rewards_T(agent)):
        total = reward + episode.discount * total
        to_go.append(total)
    return to_go[::-1]


def training_rows(
    role_groups: Sequence[RoleGroup],
    selected: Sequence[Selected],
    *,
    weighting: WeightingKind,
    denominator_episodes: int,
) -> list[TrainingRow]:
    """The completions of the selected episodes, in a fixed order.

    Completions of equal prompt and reply are adjacent, so that a micro-batch computes each only once.

    Args:
      role_groups: the groups of the update, one per role.
      selected: which episodes are trained on; ``group`` indexes ``role_groups``.
      weighting: how tokens are weighted.
      denominator_episodes: D, fixed by configuration.
    """
    completions = [role_groups[s.group].completions_G[s.episode] for s in selected]
    weights = token_weights(
        weighting,
        episode_weights_E=[s.weight for s in selected],
        tokens_per_completion=_trainable_tokens(completions),
        denominator_episodes=denominator_episodes,
        drawn_from=_trainable_tokens([row for group in role_groups for row in group.completions_G])
        if weighting in ("step", "token")
        else None,
    )
    rows = [
        TrainingRow(
            agent=role_groups[s.group].agent,
            completion=completion,
            advantage=advantage,
            weight=weight,
            episode=number,
            value_target=target,
        )
        for number, (s, completions_T, weights_T) in enumerate(
            zip(selected, completions, weights, strict=True)
        )
        for completion, advantage, weight, target in zip(
            completions_T,
            role_groups[s.group].credits_G[s.episode],
            weights_T,
            _targets(role_groups[s.group], s.episode),
            strict=True,
        )
        if any(completion.trainable)
    ]
    return sorted(rows, key=adjacent)


def _targets(role_group: RoleGroup, episode: int) -> Sequence[float | None]:
    """The returns that follow the completions of an episode, as far as they are known."""
    known = role_group.rewards_to_go_G
    return known[episode] if known else [None] * len(role_group.completions_G[episode])


def adjacent(row: TrainingRow) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """The sort key by which rows of equal prompt and reply are adjacent."""
    c = row.completion
    return len(c.prompt_ids), c.prompt_ids, c.reply_ids


def _trainable_tokens(episodes: Sequence[Sequence[Completion]]) -> list[list[int]]:
    return [[sum(completion.trainable) for completion in row] for row in episodes]


def micro_batches(rows: Sequence[TrainingRow], tokens: int) -> Iterator[list[TrainingRow]]:
    """Split sorted rows into micro-batches within a budget of tokens; a longer row is a micro-batch of its own.

    A prompt counts once in a micro-batch, and so does each distinct reply to it, as they are computed. The loss is a
    weighted sum, so the gradients of the micro-batches add up to that of the batch.

    Args:
      rows: as ``training_rows`` sorts them.
      tokens: most tokens of a micro-batch.
    """
    part: list[TrainingRow] = []
    size = 0
    for row in rows:
        cost = _added_tokens(row.completion, part[-1].completion if part else None)
        if part and size + cost > tokens:
            yield part
            part, size, cost = [], 0, _added_tokens(row.completion, None)
        part.append(row)
        size += cost
    if part:
        yield part


def part_of_rows(rows: Sequence[TrainingRow], part: int, parts: int) -> list[TrainingRow]:
    """One of several parts of sorted rows, with about equal numbers of tokens; a part may be empty.

    Args:
      rows: as ``training_rows`` sorts them.
      part: index of the part, from 0.
      parts: number of parts.
    """
    if parts == 1:
        return list(rows)
    costs = [
        _added_tokens(row.completion, before.completion if before else None)
        for before, row in zip((None, *rows), rows, strict=False)
    ]
    starts = itertools.accumulate(costs, initial=0)
    total = max(1, sum(costs))
    return [
        row
        for row, start in zip(rows, starts, strict=False)
        if min(start * parts // total, parts - 1) == part
    ]


def _added_tokens(completion: Completion, before: Completion | None) -> int:
    """Tokens that a completion adds to a micro-batch whose last completion is ``before``."""
    if before is None or completion.prompt_ids != before.prompt_ids:
        return len(completion.prompt_ids) + len(completion.reply_ids)
    return 0 if completion.reply_ids == before.reply_ids else len(completion.reply_ids)
