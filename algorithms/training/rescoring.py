"""Passes without a gradient over the rows of an update, before a step, for what a loss needs of whole episodes.

Micro-batches split episodes, and so do processes. Ratio kinds and importance weights need only a number per episode,
without a gradient, so it is computed beforehand, from all rows, and written into them.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import attrs
import torch

from algorithms.distributed.processes import Processes
from algorithms.distributed.sharding import Sharding
from algorithms.method.batch import TrainingRow
from algorithms.method.importance import (
    ImportanceRule,
    ImportanceTally,
    importance_weights,
)
from algorithms.training.learner import Learner

Logprobs: TypeAlias = list[tuple[float, ...]]
Rescore: TypeAlias = Callable[[Sequence[TrainingRow]], Logprobs]


@torch.no_grad()
def rescored(
    learners: Sequence[Learner],
    rows: Sequence[TrainingRow],
    sharding: Sharding,
    *,
    token_budget: int,
) -> Logprobs:
    """The log-probability of each token of each row under the current policies, in nats.

    Args:
      learners: the policies that learn.
      rows: this process's rows; all processes call this together.
      sharding: how they are divided.
      token_budget: most tokens of a forward pass.
    """
    found: dict[int, tuple[float, ...]] = {}
    for learner in learners:
        own = [n for n, row in enumerate(rows) if row.agent in learner.agents]
        batches = sharding.micro_batches([rows[n] for n in own], token_budget)
        scored = (logprobs for batch in batches for logprobs in learner.reply_logprobs(batch))
        found.update(zip(own, list(scored), strict=False))  # batches that only pad come last
    return [found[n] for n in range(len(rows))]


def with_importance(
    rows: Sequence[TrainingRow], rule: ImportanceRule, rescore: Rescore, processes: Processes
) -> tuple[list[TrainingRow], ImportanceTally]:
    """Rows whose recorded log-probabilities are the learners', with the importance weights of their tokens.

    Args:
      rows: this process's rows, before the first step on them; all processes call this together.
      rule: how the weights are made.
      rescore: the log-probabilities of rows under the policies as they stand.
      processes: those that have the other rows.

    Returns:
      The rows in their order, and the tally of all processes' weights.

    Theory: Equation 11.5, Equation 11.6.
    """
    logprobs_B = rescore(rows)
    log_ratios_B = _log_ratios(rows, logprobs_B)
    totals_B = _episode_totals(rows, log_ratios_B, processes)
    corrected, tally = [], ImportanceTally()
    for row, logprobs_L, log_ratios_L, (total, _) in zip(
        rows, logprobs_B, log_ratios_B, totals_B, strict=True
    ):
        weights_L = importance_weights(log_ratios_L, level=rule.level, episode_log_ratio=total)
        tally += ImportanceTally.of(weights_L[list(row.completion.trainable)], rule)
        corrected.append(
            attrs.evolve(
                row,
                completion=attrs.evolve(row.completion, logprobs=logprobs_L),
                importance=tuple(rule.limited(weights_L).tolist()),
            )
        )
    return corrected, sum(processes.gather([tally]), start=ImportanceTally())


def with_episode_log_ratios(
    rows: Sequence[TrainingRow], rescore: Rescore, processes: Processes
) -> list[TrainingRow]:
    """Rows with the mean log-ratio of the tokens of their episodes under the current weights.

    Args:
      rows: this process's rows; all processes call this together.
      rescore: the log-probabilities of rows under the policies as they stand.
      processes: those that have the other rows.

    Theory: Equation 11.3.
    """
    totals_B = _episode_totals(rows, _log_ratios(rows, rescore(rows)), processes)
    return [
        attrs.evolve(row, episode_log_ratio=total / max(1, tokens))
        for row, (total, tokens) in zip(rows, totals_B, strict=True)
    ]


def _log_ratios(rows: Sequence[TrainingRow], logprobs_B: Logprobs) -> Logprobs:
    """For each row the log-ratio of each token, now over as recorded; 0 if the policy did not choose it."""
    return [
        tuple(
            now - then if chosen else 0.0
            for now, then, chosen in zip(
                logprobs_L, row.completion.logprobs, row.completion.trainable, strict=True
            )
        )
        for row, logprobs_L in zip(rows, logprobs_B, strict=True)
    ]


def _episode_totals(
    rows: Sequence[TrainingRow], log_ratios_B: Logprobs, processes: Processes
) -> list[tuple[float, int]]:
    """For each row the sum of the log-ratios of its episode, and the number of its tokens, over all processes."""
    own_B = [
        (sum(log_ratios_L), sum(row.completion.trainable))
        for row, log_ratios_L in zip(rows, log_ratios_B, strict=True)
    ]
    totals: dict[int, tuple[float, int]] = {}
    for episode, (part, tokens) in processes.gather(
        [(row.episode, own) for row, own in zip(rows, own_B, strict=True)]
    ):
        if episode is not None:
            total, number = totals.get(episode, (0.0, 0))
            totals[episode] = (total + part, number + tokens)
    return [
        own if row.episode is None else totals[row.episode]
        for row, own in zip(rows, own_B, strict=True)
    ]
