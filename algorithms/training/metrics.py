"""The figures of an update and of an evaluation, as the flat metrics that runs record."""

import math
from collections.abc import Mapping, Sequence
from typing import final

import attrs
import numpy as np
from torch import Tensor

from algorithms.method.batch import RoleGroup
from algorithms.method.clip_range import ClipRange
from algorithms.method.episode_sampling import Selected, effective_sample_size
from algorithms.method.losses import LossTerms
from algorithms.play.evaluation import Evaluation, Outcome, mean, summarise
from algorithms.play.rollouts import Rollouts
from algorithms.training.health_metrics import RatioTail

Metrics = dict[str, float | None]


@attrs.frozen(kw_only=True)
class Update:
    """The results of one update.

    Attributes:
      metrics: of all processes, the same in each, and reproducible.
      seconds: the time that this process took, in s; not reproducible.
      rollouts: the episodes that this process played.
      notes: messages for the user.
    """

    metrics: Metrics
    seconds: Metrics
    rollouts: Rollouts
    notes: tuple[str, ...] = ()

    @property
    def index(self) -> int:
        """The number of updates done, including this one."""
        return int(self.metrics["update"] or 0)

    @property
    def total_seconds(self) -> float:
        """The total time that this process took, in s."""
        return sum(seconds or 0.0 for seconds in self.seconds.values())


@final
class TokenTally:
    """Sums over the tokens of a batch, collected micro-batch by micro-batch.

    Attributes:
      tail: collects their ratios, too; ``None`` if that is not needed.
      values: how many values a value head learns.
      squared_errors: the sum of theirs.
    """

    def __init__(self) -> None:
        self.tokens = 0
        self.sums: dict[str, float] = {"clip_ratio": 0.0, "kl": 0.0, "entropy": 0.0, "loss": 0.0}
        self.ratio_deviation = 0.0
        self.tail: RatioTail | None = None
        self.values, self.squared_errors = 0, 0.0

    def add(self, terms: LossTerms, entropy: Tensor) -> None:
        """Count a micro-batch.

        Args:
          terms: its loss terms.
          entropy: the sum of the entropies of its tokens, in nats. Shape ().
        """
        tokens = int(terms.tokens)
        found = float(terms.ratio_max_deviation)
        self.ratio_deviation = float(np.maximum(self.ratio_deviation, found))  # NaN stays
        self.tokens += tokens
        self.sums["clip_ratio"] += float(terms.clip_ratio) * tokens
        self.sums["kl"] += float(terms.kl) * tokens
        self.sums["entropy"] += float(entropy)
        self.sums["loss"] += float(terms.loss.detach())
        if terms.squared_errors is not None:
            self.values += len(terms.squared_errors)
            self.squared_errors += float(terms.squared_errors.double().sum())
        if self.tail is not None:
            self.tail.add(terms.scored)

    @classmethod
    def total(cls, tallies: Sequence["TokenTally"]) -> "TokenTally":
        """The sum over several processes."""
        total = cls()
        for tally in tallies:
            total.tokens += tally.tokens
            total.sums = {name: total.sums[name] + tally.sums[name] for name in total.sums}
            found = np.maximum(total.ratio_deviation, tally.ratio_deviation)
            total.ratio_deviation = float(found)
            total.values += tally.values
            total.squared_errors += tally.squared_errors
        tails = [tally.tail for tally in tallies if tally.tail is not None]
        total.tail = RatioTail.total(tails) if tails else None
        return total

    def metrics(self, *, grad_norm: float, clip: ClipRange) -> Metrics:
        """Means over tokens, the loss, the norm of its gradient, and the tail of the ratios if it was requested."""
        n = max(1, self.tokens)
        return {
            **{name: self.sums[name] / n for name in ("clip_ratio", "kl", "entropy")},
            "loss": self.sums["loss"],
            **({"value_error": self.squared_errors / self.values} if self.values else {}),
            "grad_norm": grad_norm,
            "ratio_max_deviation": self.ratio_deviation,
            "trained_tokens": float(self.tokens),
            **(self.tail.metrics(clip) if self.tail else {}),
        }


def play_metrics(
    outcomes: Sequence[Outcome],
    role_groups: Sequence[RoleGroup],
    selected: Sequence[Selected],
) -> Metrics:
    """Metrics of the episodes of an update, in the roles that learn.

    Args:
      outcomes: of each episode in each role.
      role_groups: the groups in their roles.
      selected: the episodes that were drawn to train on.
    """
    summary = summarise(outcomes)
    completions = [
        completion
        for role_group in role_groups
        for completions_T in role_group.completions_G
        for completion in completions_T
    ]
    stds = [float(np.std(role_group.returns_G)) for role_group in role_groups]
    zero_variance = sum(not role_group.has_variance for role_group in role_groups)
    weights = [episode.weight for episode in selected]
    return {
        "reward": summary.reward,
        **_by_agent("reward", summary),
        "reward_std": mean(stds),
        "frac_reward_zero_std": zero_variance / len(role_groups) if role_groups else None,
        "success_rate": _defined(summary.success_rate),
        "invalid_rate": summary.invalid_rate,
        "episode_length": summary.episode_length,
        **_measured(summary, "game/"),
        "reply_length": mean(float(len(completion.reply_ids)) for completion in completions),
        "generated_tokens": float(
            sum(len(completion.reply_ids) for completion in completions)
            + sum(role_group.rollout_tokens for role_group in role_groups)
        ),
        "cut_rate": mean(float(not completion.finished) for completion in completions),
        "kept_episodes": float(len(selected)),
        "kept_effective_sample_size": effective_sample_size(weights) if weights else 0.0,
    }


def evaluation_metrics(evaluation: Evaluation, prefix: str) -> Metrics:
    """An evaluation as metrics, each name with a prefix."""
    return {
        f"{prefix}/reward": evaluation.reward,
        **_by_agent(f"{prefix}/reward", evaluation),
        f"{prefix}/success_rate": _defined(evaluation.success_rate),
        f"{prefix}/invalid_rate": evaluation.invalid_rate,
        f"{prefix}/episode_length": evaluation.episode_length,
        **_measured(evaluation, f"{prefix}/game/"),
        f"{prefix}/failed_episodes": float(evaluation.failures),
    }


def recorded_evaluation(metrics: Mapping[str, float | None], prefix: str) -> Evaluation:
    """The evaluation with these metrics (the inverse of ``evaluation_metrics``), without its episodes.

    Args:
      metrics: a line of ``metrics.jsonl``.
      prefix: as for ``evaluation_metrics``.
    """

    def number(name: str) -> float:
        value = metrics.get(name)
        return math.nan if value is None else float(value)

    roles, game = f"{prefix}/reward/", f"{prefix}/game/"
    return Evaluation(
        episodes=(),
        reward=number(f"{prefix}/reward"),
        reward_by_agent={
            name.removeprefix(roles): number(name) for name in metrics if name.startswith(roles)
        },
        success_rate=number(f"{prefix}/success_rate"),
        invalid_rate=number(f"{prefix}/invalid_rate"),
        episode_length=number(f"{prefix}/episode_length"),
        measured={
            name.removeprefix(game): (value,)
            for name, value in metrics.items()
            if name.startswith(game) and value is not None
        },
        failures=int(metrics.get(f"{prefix}/failed_episodes") or 0),
    )


def _by_agent(name: str, evaluation: Evaluation) -> Metrics:
    """The return of each role, where there are several."""
    rewards = evaluation.reward_by_agent
    return {f"{name}/{agent}": rewards[agent] for agent in rewards if len(rewards) > 1}


def _measured(evaluation: Evaluation, prefix: str) -> Metrics:
    """What the game measures, each name with a prefix."""
    return {f"{prefix}{name}": value for name, value in evaluation.metrics.items()}


def _defined(rate: float) -> float | None:
    return None if math.isnan(rate) else rate
