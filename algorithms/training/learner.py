"""A policy that learns: how its recorded completions are scored, compared with a reference, and turned into a loss."""

import functools
from collections.abc import Mapping, Sequence

import attrs
import torch
from torch import Tensor

from algorithms.distributed.sharding import Sharding
from algorithms.method.advantages import token_advantages
from algorithms.method.batch import TrainingRow
from algorithms.method.config import MSGRPOConfig
from algorithms.method.losses import LossTerms, kl_k3, policy_loss, value_loss
from algorithms.method.ratios import RatioKind, TokenRatio
from algorithms.method.value_functions import ValueHead
from algorithms.play.evaluation import mean
from lap import LanguageAgentPolicy, Sampling, TokenLogprobs
from lap.agreement import recorded_logprobs
from lap.model import TrainableModel, ValuedModel
from lap.policy import reference_policy
from tsmg import Completion

TrainablePolicy = LanguageAgentPolicy[TrainableModel]

# The KL is measured on the completions of at least so many prompts of an update (all, if there are fewer) and of less
# than twice as many. All completions of a prompt cost little more than one of them.
_KL_PROMPTS = 16


@attrs.frozen(kw_only=True, eq=False)
class Learner:
    """A policy that learns, and its reference policy.

    Attributes:
      policy: the policy in its current state.
      reference: the policy that training started from.
      agents: names of the agents that the policy plays.
      value_head: reads the network's last hidden states, and learns with it; ``None`` without one.

    Theory: Equation 12.4.
    """

    policy: TrainablePolicy
    reference: TrainablePolicy
    agents: tuple[str, ...]
    value_head: ValueHead | None = None

    @functools.cached_property
    def reference_digest(self) -> str:
        """A hash of the weights that training started from."""
        return self.reference.model.digest()

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """The parameters that are learnt."""
        learnt = [p for p in self.policy.model.network.parameters() if p.requires_grad]
        return [*learnt, *(self.value_head.parameters() if self.value_head else ())]

    def own(self, rows: Sequence[TrainingRow]) -> list[TrainingRow]:
        """The rows of the agents that this policy plays, in their order."""
        return [row for row in rows if row.agent in self.agents]

    def loss(
        self,
        rows: Sequence[TrainingRow],
        config: MSGRPOConfig,
        *,
        regularisation: float,
        ratio: RatioKind = TokenRatio(),  # noqa: B008 - a frozen value
    ) -> tuple[LossTerms, Tensor]:
        """The loss of a micro-batch, a weighted sum over its tokens.

        Policy and reference policy are both scored under the distribution that was sampled from: at the training
        temperature, on the recorded support.

        Args:
          rows: the micro-batch, of this policy's agents.
          config: the settings of the loss.
          regularisation: the factor of both regularisers, from their schedule.
          ratio: the ratio kind; rows know what it needs of their episodes.

        Returns:
          The loss terms, and the sum of the entropies of the tokens, in nats.
        """
        completions = [row.completion for row in rows]
        scores = self.scores(completions)
        reference = self.reference_scores(completions) if config.kl_coefficient > 0 else None
        terms = policy_loss(
            logprobs_B_L=scores.logprobs_B_L,
            old_logprobs_B_L=recorded_logprobs(completions).to(scores.logprobs_B_L.device),
            mask_B_L=scores.mask_B_L,
            advantages_B_L=advantages_of(rows, like=scores.logprobs_B_L),
            weights_B=torch.tensor([row.weight for row in rows]),
            clip=config.clip_range,
            ratio=ratio,
            episodes_B=torch.tensor(
                [-b if r.episode is None else r.episode for b, r in enumerate(rows, 1)]
            ),
            episode_log_ratios_B=episode_log_ratios_of(rows),
            entropies_B_L=scores.entropies_B_L,
            entropy_coefficient=config.entropy_coefficient * regularisation,
            reference_logprobs_B_L=reference.logprobs_B_L if reference else None,
            kl_coefficient=config.kl_coefficient * regularisation,
        )
        if self.value_head is not None:
            loss, squared_errors = self._value_loss(self.value_head, rows, scores)
            loss = terms.loss + config.value_coefficient * loss
            terms = attrs.evolve(terms, loss=loss, squared_errors=squared_errors)
        return terms, scores.entropies_B_L.detach()[scores.mask_B_L].double().sum()

    @staticmethod
    def _value_loss(
        head: ValueHead, rows: Sequence[TrainingRow], scores: TokenLogprobs
    ) -> tuple[Tensor, Tensor]:
        """``value_loss`` of the head on rows whose values are scored."""
        assert scores.values_B_L is not None  # noqa: S101 - there is a head
        mask_B_L = scores.mask_B_L
        if head.of_turns:
            mask_B_L = mask_B_L & (mask_B_L.cumsum(1) == 1)
        return value_loss(
            values_B_L=scores.values_B_L,
            targets_B=torch.tensor([row.value_target for row in rows]),
            mask_B_L=mask_B_L,
            weights_B=torch.tensor([row.weight for row in rows]),
        )

    def scores(self, completions: Sequence[Completion]) -> TokenLogprobs:
        """The scores of completions under the current policy; with values if it has a value head."""
        model: TrainableModel | ValuedModel = self.policy.model
        sampling = self.policy.sampling
        if self.value_head is None or not isinstance(model, ValuedModel):
            return model.logprobs(completions, sampling=sampling)
        return model.logprobs(completions, sampling=sampling, value_head=self.value_head)

    def reply_logprobs(self, rows: Sequence[TrainingRow]) -> list[tuple[float, ...]]:
        """The log-probability of each token of the replies under the current policy, in nats."""
        completions = [row.completion for row in rows]
        scores = self.policy.model.logprobs(completions, sampling=self.policy.sampling)
        return [
            tuple(logprobs_L[: len(completion.reply_ids)])
            for completion, logprobs_L in zip(
                completions, scores.logprobs_B_L.tolist(), strict=True
            )
        ]

    @torch.no_grad()
    def reference_scores(self, completions: Sequence[Completion]) -> TokenLogprobs:
        """The scores of completions under the reference policy."""
        return self.reference.model.logprobs(completions, sampling=self.policy.sampling)


def advantages_of(rows: Sequence[TrainingRow], *, like: Tensor) -> Tensor:
    """The advantage of each token, times its importance weight where there is one. Shape (B, L).

    Args:
      rows: the rows.
      like: a tensor of that shape.
    """
    whole = [
        row.advantage for row in rows if isinstance(row.advantage, float) and not row.importance
    ]
    if len(whole) == len(rows):
        return torch.tensor(whole)[:, None].expand(like.shape)
    advantages_B_L = torch.zeros(like.shape)
    for b, row in enumerate(rows):
        tokens = len(row.completion.reply_ids)
        advantages_L = torch.tensor(token_advantages(row.advantage, tokens))
        if row.importance is not None:
            advantages_L = advantages_L * torch.tensor(row.importance)
        advantages_B_L[b, :tokens] = advantages_L
    return advantages_B_L


def episode_log_ratios_of(rows: Sequence[TrainingRow]) -> Tensor | None:
    """The mean log-ratio of each row's episode, if the rows know it. Shape (B,)."""
    known = [row.episode_log_ratio for row in rows if row.episode_log_ratio is not None]
    return torch.tensor(known) if len(known) == len(rows) else None


def learners_of(policies: Mapping[str, TrainablePolicy]) -> tuple[Learner, ...]:
    """One learner per distinct policy, each with its reference policy.

    Args:
      policies: the policy of each agent; agents with the same policy share its weights.
    """
    agents: dict[int, list[str]] = {}
    for agent, policy in policies.items():
        agents.setdefault(id(policy), []).append(agent)
    return tuple(
        Learner(
            policy=policies[names[0]],
            reference=reference_policy(policies[names[0]]),
            agents=tuple(names),
        )
        for names in agents.values()
    )


def with_sampling(
    policies: Mapping[str, TrainablePolicy], sampling: Sampling, agents: Sequence[str]
) -> dict[str, TrainablePolicy]:
    """The policies under one sampling distribution; shared policies stay shared.

    Args:
      policies: by agent.
      sampling: the distribution.
      agents: the agents of the game, in whose order the policies are returned.
    """
    distinct = {id(policy): policy.with_sampling(sampling) for policy in policies.values()}
    return {agent: distinct[id(policies[agent])] for agent in agents if agent in policies}


def reply_sampling(config: MSGRPOConfig) -> Sampling:
    """The distribution that replies are drawn from while training."""
    return Sampling(
        temperature=config.temperature,
        max_reply_tokens=config.max_reply_tokens,
        top_k=config.top_k,
        top_p=config.top_p,
        min_p=config.min_p,
    )


def measured_kl(
    learners: Sequence[Learner], rows: Sequence[TrainingRow], sharding: Sharding
) -> float:
    """The KL to the reference policies, measured if the loss has no such term (which would compute it).

    Args:
      learners: the policies.
      rows: all rows of the update, as they were drawn; their recorded log-probabilities are those before the step.
      sharding: how the weights and rows are divided.

    Returns:
      The mean k3 estimate over the tokens of an even sample of prompts, in nats.
    """
    prompts = list(dict.fromkeys(row.completion.prompt_ids for row in rows))
    sampled = set(prompts[:: max(1, len(prompts) // _KL_PROMPTS)])
    share = sharding.share([row for row in rows if row.completion.prompt_ids in sampled])
    kls: list[float] = []
    with sharding.whole([learner.reference.model for learner in learners]):
        for learner in learners:
            completions = [row.completion for row in learner.own(share)]
            if completions:
                scores = learner.reference_scores(completions)
                old = recorded_logprobs(completions).to(scores.logprobs_B_L.device)
                kls += kl_k3(old, scores.logprobs_B_L)[scores.mask_B_L].tolist()
    return mean(sharding.processes.gather(kls))
