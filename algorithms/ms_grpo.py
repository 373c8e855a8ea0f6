"""MS-GRPO: Multi-Step Group-Relative Policy Optimization, reconstructed from arXiv:2508.10839.

The paper's body was not at hand, only its abstract and first page. How this file differs, or may differ, from it:

1. The whole-episode return of each step, relative to the group, is the paper's; dividing by the group's standard
   deviation (population, with eps) is assumed here, and ``std="none"`` switches it off.
2. Episodes to train on are drawn by absolute advantage, as the paper says. That the draw is proportional to
   |A|, without replacement and within a group is assumed; exponent, replacement, scope and correction are options.
3. Each token's term is weighted by 1 / (groups * kept episodes) (``weighting="constant"``), a denominator that does not
   depend on what was drawn. The paper's weighting is unknown; ``episode``, ``step`` and ``token`` are options.
4. The discount is the game's own (1 unless it says otherwise).
5. The surrogate is clipped as in PPO. One pass over the batch is the default, and then the clip is never active.
6. The KL term to the starting model (k3 estimate) is off by default; a small entropy bonus (0.02) is ours.
7. AdamW with gradient clipping and a linear decay of the learning rate are ours.
8. With several agents, groups and baselines are per role.

This module only composes: ``rollouts`` plays, ``credit`` compares, ``episode_sampling`` draws, ``batch`` gathers,
``losses`` scores, and one optimiser step follows.
"""

import copy
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import torch
from accelerate import Accelerator

from algorithms.batch import RoleGroup, TrainingRow, micro_batches, training_rows
from algorithms.config import MSGRPOConfig
from algorithms.credit import episode_advantages, whole_episode_credit
from algorithms.episode_sampling import (
    Selected,
    denominator_episodes,
    effective_sample_size,
    select_episodes,
)
from algorithms.evaluation import Evaluation, evaluate, mean, summarise
from algorithms.losses import LossTerms, kl_k3, policy_loss
from algorithms.rollouts import Rollouts, collect_groups, fixed_starts
from lap import LanguageAgentPolicy, Sampling, TokenLogprobs, TrainableModel
from tsmg import AbstractGame, Call, EpisodeKey, ModelError, Purpose, step_limit

Metrics = dict[str, float | None]
_KL_ROWS = (
    64  # calls per update on which the KL to the start is measured when the loss does without
)


@attrs.frozen(kw_only=True)
class Update:
    """What one update did: metrics (reproducible), seconds (not), and the episodes played."""

    metrics: Metrics
    seconds: Metrics
    rollouts: Rollouts


class MSGRPOTrainer:
    """Post-trains a language-agent policy on a game.

    Args:
      game: what is trained on.
      policy: prompt, model and parser; its sampling settings are replaced by the configuration's.
      config: the settings.
      evaluation_game: what ``evaluate`` plays; the training game unless given (a held-out part, say).

    Raises:
      InvalidArgumentError: the game has no time limit.
      ModelError: several processes, which this version does not serve.

    Attributes:
      policy: the policy as it stands.
      update_index: how many updates were done.
    """

    def __init__(
        self,
        *,
        game: AbstractGame[Any, Any],
        policy: LanguageAgentPolicy[Any],
        config: MSGRPOConfig | None = None,
        evaluation_game: AbstractGame[Any, Any] | None = None,
    ) -> None:
        step_limit(game)
        self.game = game
        self.evaluation_game = evaluation_game or game
        self.config = config or MSGRPOConfig()
        self.policy = policy.with_sampling(
            Sampling(
                temperature=self.config.temperature, max_reply_tokens=self.config.max_reply_tokens
            )
        )
        self.update_index = 0
        self.accelerator = Accelerator()
        if self.accelerator.num_processes > 1:
            raise ModelError(
                "training on several processes is not supported yet; start one process"
            )
        model: TrainableModel = policy.model
        self._reference: Any = copy.copy(model)
        self._reference.network = copy.deepcopy(model.network).requires_grad_(False)
        optimizer = torch.optim.AdamW(
            model.network.parameters(), lr=self.config.learning_rate, weight_decay=0.0
        )
        model.network, self.optimizer = self.accelerator.prepare(model.network, optimizer)

    def train(self) -> list[Metrics]:
        """Do all updates that are left; returns their metrics."""
        return [self.update().metrics for _ in range(self.update_index, self.config.updates)]

    def evaluate(
        self, episodes: int = 300, *, temperature: float | None = None, seed: int = 0
    ) -> Evaluation:
        """Play fixed episodes with the policy as it stands.

        Args:
          episodes: how many.
          temperature: the training temperature unless given; 0 is greedy.
          seed: of the evaluation; the same seed gives the same starts to every policy.
        """
        sampling = self.policy.sampling
        if temperature is not None:
            sampling = attrs.evolve(sampling, temperature=temperature)
        plans = fixed_starts(self.evaluation_game, episodes, seed=seed)
        return evaluate(self.evaluation_game, self.policy.with_sampling(sampling), plans)

    def update(self) -> Update:
        """Play, compare, draw, learn: one update of the policy."""
        c = self.config
        started = time.perf_counter()
        rollouts = collect_groups(
            self.game,
            self.policy,
            seed=c.seed,
            update=self.update_index,
            groups=c.groups,
            group_size=c.group_size,
            group_on=c.group_on,
            common_chance=c.common_chance,
            max_failure_rate=c.max_failure_rate,
        )
        played = time.perf_counter()
        role_groups = self._role_groups(rollouts)
        selected = self._select(role_groups)
        rows = training_rows(
            role_groups,
            selected,
            credit=whole_episode_credit,
            weighting=c.weighting,
            denominator_episodes=denominator_episodes(
                c.sampling,
                groups=c.groups * len(self.game.agents),
                group_size=c.group_size,
                kept=c.kept_episodes,
            ),
        )
        learnt = self._learn(rows)
        self.update_index += 1
        self.policy.model.weights_version = self.update_index
        done = time.perf_counter()
        metrics = {
            "update": float(self.update_index),
            **_play_metrics(self.game, rollouts, role_groups, selected),
            **learnt,
        }
        return Update(
            metrics=metrics,
            seconds={"seconds_playing": played - started, "seconds_learning": done - played},
            rollouts=rollouts,
        )

    def _role_groups(self, rollouts: Rollouts) -> list[RoleGroup]:
        return [
            RoleGroup(
                group=group,
                agent=agent,
                advantages_G=tuple(
                    episode_advantages(group, agent, std=self.config.std, eps=self.config.eps)
                ),
            )
            for group in rollouts.groups
            for agent in self.game.agents
        ]

    def _select(self, role_groups: Sequence[RoleGroup]) -> list[Selected]:
        c = self.config
        key = EpisodeKey(seed=c.seed, update=self.update_index)
        return select_episodes(
            [np.array(role_group.advantages_G) for role_group in role_groups],
            kind=c.sampling,
            kept=c.kept_episodes,
            alpha=c.alpha,
            replacement=c.replacement,
            scope=c.scope,
            corrected=c.corrected,
            rngs=[
                attrs.evolve(key, group=i).shared().stream(Purpose.SUB_SAMPLE, agent=r.agent)
                for i, r in enumerate(role_groups)
            ],
        )

    def _learn(self, rows: Sequence[TrainingRow]) -> Metrics:
        """One optimiser step per epoch, on the whole batch by parts."""
        lr = self._learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        tally = _Tally()
        measured: Metrics = {}  # before the step: the recorded log-probabilities are of these weights
        for _ in range(self.config.epochs):
            if not rows:
                break
            self.optimizer.zero_grad()
            for part in micro_batches(rows, self.config.micro_batch):
                terms, entropies = self._terms(part)
                self.accelerator.backward(terms.loss)
                tally.add(terms, entropies)
            norm = self.accelerator.clip_grad_norm_(
                self.policy.model.network.parameters(), self.config.max_grad_norm
            )
            if not math.isfinite(float(norm)):
                raise ModelError(
                    f"the gradient at update {self.update_index} is not finite; "
                    "a lower learning rate or a float32 model may help"
                )
            tally.grad_norm = float(norm)
            self.optimizer.step()
        if rows and not self.config.kl_coefficient:
            measured["kl"] = self._measured_kl(rows)
        return {**tally.metrics(), **measured, "learning_rate": lr}

    def _terms(self, part: Sequence[TrainingRow]) -> tuple[LossTerms, torch.Tensor]:
        c = self.config
        calls = [row.call for row in part]
        scores = self.policy.model.logprobs(calls, sampling=self.policy.sampling)
        reference = self._reference_scores(calls).logprobs_B_L if c.kl_coefficient else None
        terms = policy_loss(
            logprobs_B_L=scores.logprobs_B_L,
            old_logprobs_B_L=recorded_logprobs(calls).to(scores.logprobs_B_L.device),
            mask_B_L=scores.mask_B_L,
            advantages_B=torch.tensor([row.advantage for row in part]),
            weights_B=torch.tensor([row.weight for row in part]),
            clip=c.clip,
            entropies_B_L=scores.entropies_B_L,
            entropy_coefficient=c.entropy_coefficient,
            reference_logprobs_B_L=reference,
            kl_coefficient=c.kl_coefficient,
        )
        return terms, scores.entropies_B_L.detach()[scores.mask_B_L].double().sum()

    @torch.no_grad()
    def _reference_scores(self, calls: Sequence[Call]) -> TokenLogprobs:
        scores: TokenLogprobs = self._reference.logprobs(calls, sampling=self.policy.sampling)
        return scores

    def _measured_kl(self, rows: Sequence[TrainingRow]) -> float:
        """The k3 estimate of the KL to the starting model, on an even sample of the batch."""
        calls = [row.call for row in rows[:: max(1, len(rows) // _KL_ROWS)]]
        scores = self._reference_scores(calls)
        old = recorded_logprobs(calls).to(scores.logprobs_B_L.device)
        return float(kl_k3(old, scores.logprobs_B_L)[scores.mask_B_L].mean())

    def _learning_rate(self) -> float:
        if self.config.schedule == "constant":
            return self.config.learning_rate
        return self.config.learning_rate * (1 - self.update_index / self.config.updates)


def recorded_logprobs(calls: Sequence[Call]) -> torch.Tensor:
    """The log M_old of the tokens as sampled, 0 after the end of a reply. Shape (B, L), float32."""
    width = max(len(call.logprobs) for call in calls)
    return torch.tensor(
        [(*call.logprobs, *(0.0,) * (width - len(call.logprobs))) for call in calls]
    )


class _Tally:
    """Token means over the parts of a batch."""

    def __init__(self) -> None:
        self.tokens = 0
        self.sums: dict[str, float] = {"clip_ratio": 0.0, "kl": 0.0, "entropy": 0.0, "loss": 0.0}
        self.ratio_deviation = 0.0
        self.grad_norm = 0.0

    def add(self, terms: LossTerms, entropies: torch.Tensor) -> None:
        tokens = int(terms.tokens)
        self.ratio_deviation = max(self.ratio_deviation, float(terms.ratio_max_deviation))
        self.tokens += tokens
        self.sums["clip_ratio"] += float(terms.clip_ratio) * tokens
        self.sums["kl"] += float(terms.kl) * tokens
        self.sums["entropy"] += float(entropies)
        self.sums["loss"] += float(terms.loss.detach())

    def metrics(self) -> Metrics:
        n = max(1, self.tokens)
        means = {name: self.sums[name] / n for name in ("clip_ratio", "kl", "entropy")}
        return {
            **means,
            "loss": self.sums["loss"],
            "grad_norm": self.grad_norm,
            "ratio_max_deviation": self.ratio_deviation,
            "trained_tokens": float(self.tokens),
        }


def _play_metrics(
    game: AbstractGame[Any, Any],
    rollouts: Rollouts,
    role_groups: Sequence[RoleGroup],
    selected: Sequence[Selected],
) -> Metrics:
    """What an update's episodes were like; for several agents, ``reward`` is that of the first."""
    agent = game.agents[0]
    episodes = [episode for group in rollouts.groups for episode in group.episodes]
    summary = summarise(game, episodes, agent)
    calls = [call for episode in episodes for a in game.agents for _, call in episode.calls(a)]
    stds = [float(np.std(group.returns_G(agent))) for group in rollouts.groups]
    silent = sum(not role_group.has_signal for role_group in role_groups)
    return {
        "reward": summary.reward,
        "reward_std": mean(stds),
        "frac_reward_zero_std": silent / len(role_groups) if role_groups else None,
        "success_rate": None if math.isnan(summary.success_rate) else summary.success_rate,
        "invalid_rate": summary.invalid_rate,
        "episode_length": summary.episode_length,
        "reply_length": mean(float(len(call.reply_ids)) for call in calls),
        "cut_rate": mean(float(not call.finished) for call in calls),
        "kept_episodes": float(len(selected)),
        "kept_effective_sample_size": effective_sample_size([s.weight for s in selected])
        if selected
        else 0.0,
        "failed_episodes": float(len(rollouts.failed)),
    }


def evaluation_metrics(evaluation: Evaluation, prefix: str) -> Mapping[str, float | None]:
    """An evaluation as metrics, each name with a prefix."""
    success = evaluation.success_rate
    return {
        f"{prefix}/reward": evaluation.reward,
        f"{prefix}/success_rate": None if math.isnan(success) else success,
        f"{prefix}/invalid_rate": evaluation.invalid_rate,
        f"{prefix}/episode_length": evaluation.episode_length,
    }
