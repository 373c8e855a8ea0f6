"""The exact gradient estimate from a sampler's groups: with importance weights, with ratios to the sampler, or neither.

The sampler differs from the policy that learns by a known perturbation of its logits, or is that policy as it was
before an update. Groups are played by the sampler, and the estimate is for the policy that learns, before its first
step on them:

    sum over the drawn completions of weight times advantage times sum_l w_l score_l

where w is an importance weight; or, without importance weights, what the surrogate of a ratio to the sampler makes of
the advantage, its derivative by the token's log-probability. Expectation and variance are sums over all groups that the
sampler can play, and all draws from them.

Source: ``docs/theory/11_ratios.md`` [ours]; the weights are those of ``algorithms.method.importance``, the ratios those
of ``algorithms.method.ratios``.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, final

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from algorithms import Estimator, MSGRPOConfig
from algorithms.method.advantages import token_advantages
from algorithms.method.clip_range import ClipRange
from algorithms.method.importance import ImportanceRule, importance_weights
from algorithms.method.ratios import RatioKind, ScoredTokens
from algorithms.play.after_episodes import read_at_end
from lap import LanguageAgentPolicy, frozen_copy
from proofs.estimators.batches import Batches, group_classes
from proofs.estimators.multisets import multisets
from proofs.estimators.rule_checks import treats_members_alike
from proofs.exact.gradients import Array, TrajectoryDistribution
from tsmg import AbstractExplicitGame, EpisodeGroup, InvalidArgumentError

_COVERED = 1e-6  # how far the mean weight of an episode may be from 1
_PLAIN = {"starts": "law", "branching": "none", "common_chance": False, "max_plays": 1}
Policy = LanguageAgentPolicy[Any]


@final
@attrs.frozen(kw_only=True)
class RatioToSampler:
    """A ratio kind whose old log-probabilities are the sampler's.

    Attributes:
      kind: its surrogate must be proportional to the size of the advantage, as those of ``RATIOS`` are.
      clip: the range of ratios.
    """

    kind: RatioKind
    clip: ClipRange = attrs.field(factory=ClipRange)


Rule = ImportanceRule | RatioToSampler | None
Rules = Mapping[str, Rule]


def perturbed(policy: Policy, size: float, *, seed: int = 0) -> Policy:
    """A copy of a policy with normally distributed noise in its weights.

    Args:
      policy: a policy with weights; those of a table are logits.
      size: standard deviation of the noise.
      seed: seed of the noise, whose direction does not depend on its size.
    """
    moved = frozen_copy(policy)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in moved.model.network.parameters():
            p.data += size * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    return moved


def stepped(policy: Policy, step_D: Array) -> Policy:
    """A copy of a policy whose weights have taken a step.

    Args:
      policy: whatever has weights.
      step_D: what is added to them, in the order of ``TrajectoryDistribution.gradient_D``. Shape (D,).
    """
    moved = frozen_copy(policy)
    parameters = list(moved.model.network.requires_grad_(True).parameters())
    with torch.no_grad():
        weights_D = parameters_to_vector(parameters)
        vector_to_parameters(weights_D + torch.as_tensor(step_D).to(weights_D), parameters)
    return moved


@final
@attrs.frozen(kw_only=True, eq=False, slots=False)
class OffPolicy:
    """One agent's groups are played by a sampler, and another policy learns from them.

    Attributes:
      learner: the trajectory distribution of the policy that learns, and its gradient.
      sampler: that of the policy that plays.

    Theory: Theorem 11.1, Equation 11.5.
    """

    learner: TrajectoryDistribution
    sampler: TrajectoryDistribution

    @classmethod
    def of(
        cls, game: AbstractExplicitGame[Any, Any], learner: Policy, sampler: Policy
    ) -> "OffPolicy":
        """The learner and the sampler on a game with one agent.

        Raises:
          InvalidArgumentError: there are several agents, or the sampler never gives some reply of the policy that
            learns, so that no weights correct for it.
        """
        if len(game.agents) != 1:
            raise InvalidArgumentError(f"'game' must have one agent (got {len(game.agents)})")
        pair = cls(
            learner=TrajectoryDistribution.of(game, learner),
            sampler=TrajectoryDistribution.of(game, sampler),
        )
        covered = float(pair.sampler.probabilities_E @ np.exp(pair.log_ratios_E))
        if abs(covered - 1) > _COVERED:
            raise InvalidArgumentError(
                f"'sampler' must be able to say all that 'learner' may say: it plays {covered:.6f} of what that plays"
            )
        return pair

    @property
    def _agent(self) -> str:
        return self.sampler.game.agents[0]

    @cached_property
    def _tokens_C(self) -> list[tuple[Array, Array]]:
        """For each completion of the sampler: the log-ratios of its tokens, and their scores. Shapes (L,), (L, D)."""
        policy, parameters = self.learner.learner(self._agent), self.learner.parameters
        completions = [completion for _, completion in self.sampler.completions]
        scored = policy.model.logprobs(completions, sampling=policy.sampling)
        found = []
        sampled_B_L = scored.logprobs_B_L * scored.mask_B_L  # given tokens are no actions
        for completion, logprobs_L in zip(completions, sampled_B_L, strict=True):
            grads = [
                torch.autograd.grad(logprob, parameters, retain_graph=True)
                for logprob in logprobs_L[: len(completion.reply_ids)]
            ]
            scores_L_D = torch.stack([torch.cat([g.flatten() for g in grad]) for grad in grads])
            now_L = logprobs_L[: len(completion.reply_ids)].detach().double().numpy()
            found.append((now_L - np.array(completion.logprobs), scores_L_D.double().numpy()))
        return found

    @cached_property
    def _numbers_E(self) -> list[list[int]]:
        """The numbers of the completions of each trajectory."""
        return [
            [
                self.sampler.completion_number(self._agent, completion)
                for _, completion in trajectory.episode.completions(self._agent)
            ]
            for trajectory in self.sampler.trajectories
        ]

    @cached_property
    def log_ratios_E(self) -> Array:
        """Log p - log q of the replies of each of the sampler's trajectories, in nats. Shape (E,)."""
        return np.array(
            [sum(self._tokens_C[c][0].sum() for c in numbers) for numbers in self._numbers_E]
        )

    def _weighted_scores_P_D(self, rule: Rule, sign: int) -> Array:
        """W times the score of each token of each trajectory; the sign of advantages matters to ratios alone.

        Shape (P, D).
        """
        return np.concatenate(
            [
                _token_weights(rule, sign, log_ratios_L, episode)[:, None] * scores_L_D
                for numbers in self._numbers_E
                for episode in [np.concatenate([self._tokens_C[c][0] for c in numbers])]
                for log_ratios_L, scores_L_D in (self._tokens_C[c] for c in numbers)
            ]
        )

    def analyse(self, config: MSGRPOConfig, rules: Rules) -> dict[str, "OffPolicyFigures"]:
        """Expectation and variance of the estimate of one group, under each rule.

        Args:
          config: the estimator's settings, for one group a batch; its own importance weights and ratio kind have no
            effect.
          rules: importance weights or ratios, by name; ``None`` for neither.

        Raises:
          InvalidArgumentError: as ``GroupDraws.of`` does.
        """
        return self.figures(GroupDraws.of(self.sampler, config), rules)

    def figures(self, draws: "GroupDraws", rules: Rules) -> dict[str, "OffPolicyFigures"]:
        """The same from draws that were listed before, which several policies on one game can share.

        Args:
          draws: of the game's trajectories.
          rules: importance weights or ratios, by name; ``None`` for neither.
        """
        p_B = draws.chances_B * self.sampler.probabilities_E[draws.members_B_G].prod(-1)
        return {name: self._figures_of(draws, p_B, rule) for name, rule in rules.items()}

    def _figures_of(self, draws: "GroupDraws", p_B: Array, rule: Rule) -> "OffPolicyFigures":
        """The moments of the estimate over batches of these probabilities."""
        c_B_P = draws.coefficients_B_P
        sides = {1: c_B_P}
        if isinstance(rule, RatioToSampler):  # whose clipping depends on the advantage's sign
            sides = {1: np.maximum(c_B_P, 0), -1: np.minimum(c_B_P, 0)}
        estimates_B_D = np.sum(
            [side @ self._weighted_scores_P_D(rule, sign) for sign, side in sides.items()], axis=0
        )
        mean_D = p_B @ estimates_B_D
        return OffPolicyFigures(
            mean_D=mean_D,
            variance=float(p_B @ np.square(estimates_B_D - mean_D).sum(-1)),
            gradient_D=self.learner.gradient_D,
        )


@final
@attrs.frozen(kw_only=True, eq=False)
class GroupDraws:
    """Every group with every draw from it, and its coefficients: everything that does not depend on the policies.

    Axes: ``_B`` groups with a draw, ``_G`` members, ``_P`` tokens of all trajectories, in their order.

    Attributes:
      members_B_G: the numbers of the members' trajectories.
      chances_B: the number of orders of the members, times the probability of the draw.
      coefficients_B_P: weight times advantage of each token, summed over the drawn members.
    """

    members_B_G: NDArray[np.int64]
    chances_B: Array
    coefficients_B_P: Array

    @classmethod
    def of(cls, dist: TrajectoryDistribution, config: MSGRPOConfig) -> "GroupDraws":
        """The draws from all groups of a game's trajectories.

        Args:
          dist: the distribution whose trajectories may be in a group.
          config: the estimator's settings, for one group a batch.

        Raises:
          InvalidArgumentError: several groups, or groups that share one of several starts; groups that are played
            again, or are not played whole, independently and on the game's own starts; or a rule depends on the order
            of a group's members.
        """
        _check_groups(dist, config)
        (agent,) = dist.game.agents
        estimator = Estimator.of(config, dist.game.facts)
        estimator.bind(read_at_end(dist.game, {agent: dist.learner(agent)}))
        classes = group_classes(dist, "nothing")
        if not treats_members_alike(
            Batches(dist=dist, estimator=estimator, config=config, classes=classes)
        ):
            raise InvalidArgumentError(
                "the rules of 'config' must not depend on the order of a group's members, since groups are listed in "
                "one order only"
            )
        episodes = [trajectory.episode for trajectory in dist.trajectories]
        places: dict[tuple[int, int], slice] = {}  # of what is said twice, the last one
        tokens = 0
        for e, episode in enumerate(episodes):
            for _, completion in episode.completions(agent):
                length = len(completion.reply_ids)
                places[e, id(completion)] = slice(tokens, tokens + length)
                tokens += length
        found = []
        for members, orders in multisets(len(episodes), config.group_size):
            group = EpisodeGroup(episodes=tuple(episodes[e] for e in members))
            roles = estimator.role_groups([group], [agent])
            roles = estimator.over_batch(
                estimator.passed(roles)
            )  # none, if the group does not pass
            for selected, chance in estimator.draw_dist(roles).enumerate():
                coefficients_P = np.zeros(tokens)
                for row in estimator.rows(roles, selected, asked=1):
                    trajectory = members[selected[row.episode or 0].episode]
                    advantages = token_advantages(row.advantage, len(row.completion.reply_ids))
                    place = places[trajectory, id(row.completion)]
                    coefficients_P[place] += row.weight * np.array(advantages)
                found.append((members, orders * float(chance), coefficients_P))
        members_B, chances_B, coefficients_B = zip(*found, strict=True)
        return cls(
            members_B_G=np.array(members_B),
            chances_B=np.array(chances_B),
            coefficients_B_P=np.stack(coefficients_B),
        )


def _check_groups(dist: TrajectoryDistribution, config: MSGRPOConfig) -> None:
    """Refuse settings under which a group is something else than independent episodes of the sampler, each whole."""
    starts = {trajectory.start for trajectory in dist.trajectories}
    if config.groups != 1 or (len(starts) > 1 and config.group_on != "nothing"):
        raise InvalidArgumentError(
            "the analysis is of one group, in a game with one start or with 'group_on' nothing"
        )
    for setting, only in _PLAIN.items():
        if (value := getattr(config, setting)) != only:
            raise InvalidArgumentError(
                f"{setting!r} must be {only!r}, since the analysis is of independent whole episodes that are played "
                f"once, on the game's own starts (got {value!r})"
            )


def _token_weights(rule: Rule, sign: int, log_ratios_L: Array, episode: Array) -> Array:
    """The weight of each token of a completion.

    Args:
      rule: of the weights.
      sign: of the tokens' advantages, 1 or -1.
      log_ratios_L: log p - log q of the completion's tokens, in nats. Shape (L,).
      episode: those of all of its episode's tokens. Shape (tokens of the episode,).
    """
    if rule is None:
        return np.ones_like(log_ratios_L)
    if isinstance(rule, ImportanceRule):
        total = float(episode.sum())
        return rule.limited(
            importance_weights(log_ratios_L.tolist(), level=rule.level, episode_log_ratio=total)
        )
    logprobs_B_L = torch.as_tensor(log_ratios_L)[None].requires_grad_()  # the sampler's are 0
    tokens = ScoredTokens(
        logprobs_B_L=logprobs_B_L,
        old_logprobs_B_L=torch.zeros_like(logprobs_B_L),
        mask_B_L=torch.ones_like(logprobs_B_L, dtype=torch.bool),
        advantages_B_L=torch.full_like(logprobs_B_L, sign),
        episodes_B=torch.zeros(1, dtype=torch.int64),
        episode_log_ratios_B=torch.tensor([episode.mean()]),
    )
    surrogates_B_L = rule.kind(tokens, rule.clip).values_B_L
    (weights_B_L,) = torch.autograd.grad(surrogates_B_L.sum(), logprobs_B_L)
    return sign * weights_B_L[0].numpy()


@final
@attrs.frozen(kw_only=True, eq=False)
class OffPolicyFigures:
    """Expectation and variance of an estimate of the learner's gradient from the sampler's groups.

    Attributes:
      mean_D: the expected estimate. Shape (D,).
      variance: the trace of its covariance.
      gradient_D: the true gradient of the policy that learns. Shape (D,).
    """

    mean_D: Array
    variance: float
    gradient_D: Array

    @property
    def relative_bias(self) -> float:
        """The norm of the bias over that of the true gradient."""
        return float(
            np.linalg.norm(self.mean_D - self.gradient_D) / np.linalg.norm(self.gradient_D)
        )
