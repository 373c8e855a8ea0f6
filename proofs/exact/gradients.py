"""The trajectory distribution of a finite game under finite policies, its expected returns and their exact gradient.

With V_i the expected return of agent i, the true gradient is the sum over the agents that learn of grad V_i in the
weights of agent i's own replies, the others held fixed. (If agents share weights this is not the gradient of the summed
returns, which vanishes in a zero-sum game.) It is computed by two routes:

    score sum      sum over trajectories of p R_i times the sum over agent i's completions of grad log M(reply | prompt)
    autodiff       of V_i, where the probability of each trajectory is a product of the model's own probabilities

Both are in float64 if the model is.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeAlias, final

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lap import LanguageAgentPolicy, frozen_copy
from lap.model import TrainableModel
from proofs.exact.enumeration import (
    TRAJECTORY_LIMIT,
    ExactPolicy,
    Policies,
    Trajectory,
    expected_return,
    trajectories,
)
from tsmg import AbstractExplicitGame, Completion, InvalidArgumentError, Start

Array = NDArray[np.float64]
TrainablePolicy: TypeAlias = LanguageAgentPolicy[Any]  # of whatever model can be trained


@final
@attrs.frozen(kw_only=True, eq=False, slots=False)
class TrajectoryDistribution:
    """Every trajectory with its probability, and the gradient of that probability in the learners' weights.

    Axes: ``_E`` trajectories, ``_C`` distinct completions of learners, ``_D`` weights of all learners' models, in the
    order of the agents.

    Attributes:
      game: an explicit game with finite distributions.
      policies: the policy of each agent.
      learners: the agents whose weights are learnt.
      trajectories: all trajectories of positive probability.

    Example:
      >>> import games, lap
      >>> game = games.make("BernoulliBandit-v0", means=(0.25, 0.75), pulls=1)
      >>> policy = lap.LanguageAgentPolicy(model=lap.TabularModel(("1", "2"), capacity=1),
      ...     parser=lap.WholeReplyParser(), sampling=lap.Sampling(max_reply_tokens=1))
      >>> dist = TrajectoryDistribution.of(game, policy)
      >>> round(dist.expected_return("player"), 6)  # (1/4 + 3/4 + 0) / 3: a third of the replies is empty
      0.333333
      >>> dist.gradient_D.round(6).tolist()
      [-0.027778, 0.138889, -0.111111]

    Theory: Theorem 5.1, Equation 4.3, Equation 5.1.
    """

    game: AbstractExplicitGame[Any, Any]
    policies: Mapping[str, ExactPolicy]
    learners: tuple[str, ...]
    trajectories: tuple[Trajectory, ...]

    @classmethod
    def of(
        cls,
        game: AbstractExplicitGame[Any, Any],
        policies: Policies,
        *,
        learners: Sequence[str] | None = None,
        starts: Sequence[Start[Any]] | None = None,
        limit: int = TRAJECTORY_LIMIT,
    ) -> "TrajectoryDistribution":
        """The trajectory distribution of a game under policies; see ``trajectories`` for further errors.

        Args:
          game: an explicit game with finite distributions.
          policies: one for all agents, or one per agent.
          learners: names of the agents that learn; all that have a language-agent policy unless given.
          starts: where to begin, each equally likely; the game's own initial distribution unless given.
          limit: greatest number of trajectories.

        Raises:
          InvalidArgumentError: no agent learns, or a learner's policy is no language-agent policy.
        """
        by_agent = (
            policies if isinstance(policies, Mapping) else dict.fromkeys(game.agents, policies)
        )
        able = [a for a in game.agents if isinstance(by_agent.get(a), LanguageAgentPolicy)]
        wanted = able if learners is None else list(learners)
        if not wanted or not set(wanted) <= set(able):
            raise InvalidArgumentError(
                f"'learners' must name agents with a language-agent policy (got {wanted} of {able})"
            )
        ordered = tuple(agent for agent in game.agents if agent in wanted)
        return cls(
            game=game,
            policies=by_agent,
            learners=ordered,
            trajectories=trajectories(game, policies, starts=starts, limit=limit),
        )

    @cached_property
    def probabilities_E(self) -> Array:
        """The probability of each trajectory. Shape (E,)."""
        return np.array([float(trajectory.probability) for trajectory in self.trajectories])

    def returns_E(self, agent: str) -> Array:
        """The agent's return in each trajectory, penalties included. Shape (E,)."""
        return np.array(
            [trajectory.episode.episode_return(agent) for trajectory in self.trajectories]
        )

    def expected_return(self, agent: str) -> float:
        """V_i, the agent's expected return, penalties included."""
        return float(self.probabilities_E @ self.returns_E(agent))

    @cached_property
    def completions(self) -> tuple[tuple[str, Completion], ...]:
        """(agent, completion): the distinct completions of learners, shared where a policy is shared. Length C."""
        return tuple(self._numbering[0])

    def completion_number(self, agent: str, completion: Completion) -> int:
        """The index in ``completions`` of a completion in one of the trajectories."""
        return self._numbering[1][id(self.policies[agent]), id(completion)]

    @cached_property
    def _numbering(self) -> tuple[list[tuple[str, Completion]], dict[tuple[int, int], int]]:
        """The distinct completions; and the number of each recorded one by its identity, since hashing is slow."""
        completions: list[tuple[str, Completion]] = []
        by_value: dict[tuple[int, Completion], int] = {}
        by_identity: dict[tuple[int, int], int] = {}
        for trajectory in self.trajectories:
            for agent in self.learners:
                policy = id(self.policies[agent])
                for _, completion in trajectory.episode.completions(agent):
                    if (policy, id(completion)) in by_identity:
                        continue
                    number = by_value.setdefault((policy, completion), len(completions))
                    by_identity[policy, id(completion)] = number
                    if number == len(completions):
                        completions.append((agent, completion))
        return completions, by_identity

    def counts_E_C(self, agent: str) -> Array:
        """How often each completion of the agent occurs in each trajectory. Shape (E, C)."""
        counts = np.zeros((len(self.trajectories), len(self.completions)))
        for e, trajectory in enumerate(self.trajectories):
            for _, completion in trajectory.episode.completions(agent):
                counts[e, self.completion_number(agent, completion)] += 1
        return counts

    @cached_property
    def models(self) -> tuple[TrainableModel, ...]:
        """The distinct models that learn, in the order of the agents."""
        models = [self.learner(agent).model for agent in self.learners]
        return tuple({id(model): model for model in models}.values())

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """The parameters that hold the D weights, in order."""
        return [p for model in self.models for p in model.network.parameters()]

    @cached_property
    def scores_C_D(self) -> Array:
        """The gradient of each completion's log-probability, over the tokens that the policy chose. Shape (C, D).

        Theory: Equation 3.4, Equation 3.5.
        """
        parameters = self.parameters
        logprobs_C = self._logprobs_C()
        rows: list[Tensor] = [_flat_gradient(logprob, parameters) for logprob in logprobs_C]
        scores_C_D: Array = torch.stack(rows).numpy(force=True)
        return scores_C_D

    @cached_property
    def token_scores_K_D(self) -> Array:
        """The gradient of the log-probability of each token of the distinct completions. Shape (K, D).

        One completion after the other, with all its tokens (0 of given ones); its rows, ``token_numbers``, add up to
        its row of ``scores_C_D``.
        """
        logprobs: dict[int, Tensor] = {}
        for numbers, chosen_B_L in self._chosen_logprobs():
            for number, logprobs_L in zip(numbers, chosen_B_L, strict=True):
                logprobs |= zip(
                    self.token_numbers[number], logprobs_L, strict=False
                )  # then padding
        rows = [_flat_gradient(logprobs[k], self.parameters) for k in range(len(logprobs))]
        scores_K_D: Array = torch.stack(rows).numpy(force=True)
        return scores_K_D

    @cached_property
    def token_numbers(self) -> tuple[range, ...]:
        """The rows of ``token_scores_K_D`` that are tokens of each distinct completion. Length C."""
        ends = [0, *itertools.accumulate(len(c.reply_ids) for _, c in self.completions)]
        return tuple(range(start, end) for start, end in itertools.pairwise(ends))

    def role_gradient_D(self, agent: str) -> Array:
        """The gradient of the agent's expected return in its own replies' weights: the score sum. Shape (D,).

        Theory: Equation 4.3, Equation 5.1.
        """
        weighted_E = self.probabilities_E * self.returns_E(agent)
        gradient_D: Array = weighted_E @ self.counts_E_C(agent) @ self.scores_C_D
        return gradient_D

    @cached_property
    def gradient_D(self) -> Array:
        """The sum over the learners of ``role_gradient_D``. Shape (D,).

        Theory: Theorem 5.1, Definition 4.1, Equation 4.3.
        """
        roles: Array = np.stack([self.role_gradient_D(agent) for agent in self.learners])
        total_D: Array = roles.sum(axis=0)
        return total_D

    def autodiff_gradient_D(self) -> Array:
        """The same by automatic differentiation of each learner's expected return. Shape (D,)."""
        roles = [self.expectation_gradient_D(a, self.returns_E(a)) for a in self.learners]
        total_D: Array = np.stack(roles).sum(axis=0)
        return total_D

    def expectation_gradient_D(self, agent: str, values_E: Array) -> Array:
        """The gradient of the mean of a value over trajectories in one learner's own replies' weights, by autodiff.

        Args:
          agent: the learner; the other agents' probabilities are held fixed.
          values_E: value of each trajectory. Shape (E,).

        Returns:
          Shape (D,).
        """
        n = self.game.agents.index(agent)
        others_E = [
            float(trajectory.chance)
            * float(np.prod([float(p) for m, p in enumerate(trajectory.replies_N) if m != n]))
            for trajectory in self.trajectories
        ]
        own_E = (torch.from_numpy(self.counts_E_C(agent)) @ self._logprobs_C().double()).exp()
        others = torch.tensor(others_E, dtype=torch.float64)
        mean = (others * own_E * torch.from_numpy(values_E)).sum()
        gradient_D: Array = _flat_gradient(mean, self.parameters).numpy(force=True)
        return gradient_D

    def learner(self, agent: str) -> TrainablePolicy:
        """The policy of an agent that learns."""
        policy = self.policies[agent]
        assert isinstance(policy, LanguageAgentPolicy)  # noqa: S101 - checked in ``of``
        return policy

    def _logprobs_C(self) -> Tensor:
        """Differentiable log-probabilities of the distinct completions. Shape (C,)."""
        logprobs: dict[int, Tensor] = {}
        for numbers, chosen_B_L in self._chosen_logprobs():
            logprobs |= zip(numbers, chosen_B_L.sum(-1), strict=True)
        return torch.stack([logprobs[number] for number in range(len(self.completions))])

    def _chosen_logprobs(self) -> Iterator[tuple[list[int], Tensor]]:
        """For each model, numbers of its completions, and the log-probabilities of their tokens; 0 of given ones."""
        owners: dict[int, list[int]] = {}
        for number, (agent, _) in enumerate(self.completions):
            owners.setdefault(id(self.policies[agent]), []).append(number)
        for numbers in owners.values():
            policy = self.learner(self.completions[numbers[0]][0])
            scores = policy.model.logprobs(
                [self.completions[c][1] for c in numbers], sampling=policy.sampling
            )
            yield numbers, scores.logprobs_B_L * scores.mask_B_L


def _flat_gradient(value: Tensor, parameters: Sequence[torch.nn.Parameter]) -> Tensor:
    """The gradient in all parameters, zeros where they play no part. Shape (D,), float64."""
    grads = torch.autograd.grad(
        value, parameters, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return torch.cat([grad.double().flatten() for grad in grads])


def central_differences(
    dist: TrajectoryDistribution, *, step: float = 1e-5, starts: Sequence[Start[Any]] | None = None
) -> Array:
    """The gradient by enumerating again with each weight slightly increased, then decreased. Shape (D,).

    Independent of scores and of automatic differentiation; slow, and for models in float64 only. The error is of the
    order of ``step`` squared plus rounding divided by ``step``.

    Args:
      dist: the trajectory distribution; its models' weights are changed and restored.
      step: h of (V(theta + h) - V(theta - h)) / 2 h.
      starts: those with which the distribution was made.
    """
    parts = []
    for model in dist.models:
        gradient = np.zeros(sum(p.numel() for p in model.network.parameters()))
        for agent in dist.learners:
            if dist.learner(agent).model is model:
                gradient += _differences(dist, agent, step, starts)
        parts.append(gradient)
    return np.concatenate(parts)


def _differences(
    dist: TrajectoryDistribution, agent: str, step: float, starts: Sequence[Start[Any]] | None
) -> Array:
    """The central differences of one agent's value in its own weights, the others' copies held fixed."""
    policy = dist.learner(agent)
    moved = frozen_copy(policy)
    policies = {**dist.policies, agent: moved}

    def value() -> float:
        return expected_return(trajectories(dist.game, policies, starts=starts), agent)

    differences = []
    for p in moved.model.network.parameters():
        flat = p.data.view(-1)
        for d in range(flat.numel()):
            kept = float(flat[d])
            flat[d] = kept + step
            above = value()
            flat[d] = kept - step
            below = value()
            flat[d] = kept
            differences.append((above - below) / (2 * step))
    return np.array(differences)
