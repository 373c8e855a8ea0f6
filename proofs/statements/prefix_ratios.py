"""Prefix ratios: what a token's weight must be if another policy sampled the tokens before it."""

import itertools
import math
from functools import cached_property
from itertools import pairwise
from typing import TypeAlias, final

import attrs
import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from algorithms.method.clip_range import ClipRange
from algorithms.method.ratios import RATIOS, ScoredTokens
from lap import TokenLogprobs
from proofs.estimators.off_policy import OffPolicy, perturbed
from proofs.exact.gradients import Array, TrajectoryDistribution
from proofs.small_games import choice_game, tabular_policy
from proofs.statement import Sides, statement
from proofs.statements.cases import BY_AUTODIFF, SEEDS
from tsmg import Completion

_BY_SURROGATE = "the slope of the trainer's surrogate over all replies of the sampler"
Ids: TypeAlias = tuple[int, ...]
_NO_LIMIT = ClipRange(low=math.inf, high=math.inf)


@final
@attrs.frozen(kw_only=True, eq=False, slots=False)
class Spelt:
    """One choice among all replies of so many letters, by a learner of random logits and a sampler near it.

    Attributes:
      letters: how many letters each reply has.
      seed: of the learner's logits.
      noise: standard deviation of the sampler's logits around the learner's.
    """

    letters: int
    seed: int
    noise: float = 0.7

    @cached_property
    def pair(self) -> OffPolicy:
        """The two policies on the game, whose returns are unlike for all replies."""
        replies = ["".join(found) for found in itertools.product("ab", repeat=self.letters)]
        game = choice_game({reply: float(n * n % 5) for n, reply in enumerate(replies)})
        policy = tabular_policy(("a", "b"), capacity=2**self.letters, tokens=self.letters)
        generator = torch.Generator().manual_seed(self.seed)
        with torch.no_grad():
            policy.model.logits.normal_(generator=generator)
            policy.model.logits[:, -1] = -math.inf  # never ends a reply early
        return OffPolicy.of(game, policy, perturbed(policy, self.noise, seed=self.seed + 1))

    @cached_property
    def replies(self) -> list[Completion]:
        """Every reply, as the sampler gives it."""
        return [completion for _, completion in self.pair.sampler.completions]

    def masses(self, dist: TrajectoryDistribution) -> dict[Ids, tuple[float, float]]:
        """For each beginning of a reply: its probability under a policy, and the mean return over these replies."""
        found: dict[Ids, tuple[float, float]] = {}
        for trajectory in dist.trajectories:
            ((_, reply),) = trajectory.episode.completions("player")
            paid, p = trajectory.episode.episode_return("player"), float(trajectory.probability)
            for n in range(self.letters + 1):
                mass, total = found.get(reply.reply_ids[:n], (0.0, 0.0))
                found[reply.reply_ids[:n]] = mass + p, total + p * paid
        return found

    @cached_property
    def advantages_B_L(self) -> Array:
        """The advantage of each letter under the learner: what it adds to the mean return. Shape (B, L)."""
        masses = self.masses(self.pair.learner)
        worth = {ids: total / mass for ids, (mass, total) in masses.items()}
        return np.array([np.diff([worth[i] for i in _beginnings(r)]) for r in self.replies])

    @cached_property
    def ratios_B_L(self) -> Array:
        """The learner's probability of each letter, given those before it, over the sampler's. Shape (B, L)."""
        here, there = self.masses(self.pair.learner), self.masses(self.pair.sampler)
        return np.array(
            [
                [here[b][0] / here[a][0] * there[a][0] / there[b][0] for a, b in pairwise(found)]
                for found in map(_beginnings, self.replies)
            ]
        )

    def surrogate_slope_D(self, kind: str) -> Array:
        """The mean over the sampler's replies of a ratio kind's surrogate, differentiated. Shape (D,)."""
        logprobs_B_L = self._logprobs_B_L()
        tokens = ScoredTokens(
            logprobs_B_L=logprobs_B_L,
            old_logprobs_B_L=torch.tensor([r.logprobs for r in self.replies], dtype=torch.float64),
            mask_B_L=torch.ones_like(logprobs_B_L).bool(),
            advantages_B_L=torch.from_numpy(self.advantages_B_L),
            episodes_B=torch.arange(len(self.replies)),
        )
        chances_B = torch.from_numpy(self.pair.sampler.probabilities_E)
        values_B_L = RATIOS[kind](tokens, _NO_LIMIT).values_B_L
        return self._slope_D((chances_B[:, None] * values_B_L).sum())

    def weighted_scores_D(self, weights_B_L: Array) -> Array:
        """The sum of the scores of all letters with these weights. Shape (D,)."""
        return self._slope_D((torch.from_numpy(weights_B_L) * self._logprobs_B_L()).sum())

    def _logprobs_B_L(self) -> Tensor:
        policy = self.pair.learner.learner("player")
        scored: TokenLogprobs = policy.model.logprobs(self.replies, sampling=policy.sampling)
        return scored.logprobs_B_L

    def _slope_D(self, value: Tensor) -> Array:
        slopes = torch.autograd.grad(value, self.pair.learner.parameters)
        slope_D: Array = torch.cat([slope.flatten() for slope in slopes]).numpy()
        return slope_D


def _beginnings(reply: Completion) -> list[Ids]:
    return [reply.reply_ids[:n] for n in range(len(reply.reply_ids) + 1)]


def _spelt(letters: int) -> st.SearchStrategy[Spelt]:
    return st.builds(Spelt, letters=st.just(letters), seed=SEEDS)


def _own_ratios(case: Spelt) -> Sides:
    """Each letter is weighted by its own ratio alone, as in CISPO."""
    return case.surrogate_slope_D("cispo"), case.pair.learner.autodiff_gradient_D()


@statement(
    routes=(_BY_SURROGATE, BY_AUTODIFF),
    example=Spelt(letters=2, seed=0),
    cases=_spelt(2),
    sweep=30,
    wrong=_own_ratios,
)
def least_prefix_ratios_are_exact_for_two_tokens(case: Spelt) -> Sides:
    """With the learner's own advantages, rho_l times the least ratio before it gives the gradient of two-token replies.

    By the policy gradient theorem the gradient is the sum over l of E[A_l score_l] under the learner. Under the sampler
    the weight is the prefix ratio rho_1 .. rho_l: how likely the learner comes there, over how likely the sampler. Of
    two ratios the product is the second times the least of the first.

    Assumes: no clip; one step; advantages of the policy that learns, which returns under the sampler are not.
    Source: the policy gradient theorem; MinPRO, arXiv:2601.22718, by summaries; reconstructed.

    Theory: Theorem 11.4, Equation 11.11.
    """
    return case.surrogate_slope_D("minpro"), case.pair.learner.autodiff_gradient_D()


def _taken_for_exact(case: Spelt) -> Sides:
    """Nothing is taken to be missing."""
    return case.surrogate_slope_D("minpro"), case.pair.learner.autodiff_gradient_D()


@statement(
    routes=(
        _BY_SURROGATE,
        "autodiff of the value, and what the third letters lack by the learner's replies",
    ),
    example=Spelt(letters=3, seed=0),
    cases=_spelt(3),
    sweep=30,
    wrong=_taken_for_exact,
)
def least_prefix_ratios_leave_out_the_greater_of_two(case: Spelt) -> Sides:
    """In replies of three tokens, the third token's weight is the exact one over the greater of the two ratios before.

    So the bias is the sum of E[(1 / max(rho_1, rho_2) - 1) A_3 score_3] under the learner: where a letter was likelier
    than with the sampler, what follows counts too little, and where both were less likely, too much.

    Assumes: as above.
    Source: reconstructed [ours].

    Theory: Equation 11.12.
    """
    learner = case.pair.learner
    masses = case.masses(learner)
    chances_B = np.array([masses[reply.reply_ids][0] for reply in case.replies])
    lacking_B_L = np.zeros_like(case.ratios_B_L)
    lacking_B_L[:, 2] = 1 / case.ratios_B_L[:, :2].max(-1) - 1
    missing_D = case.weighted_scores_D(chances_B[:, None] * case.advantages_B_L * lacking_B_L)
    return case.surrogate_slope_D("minpro"), learner.autodiff_gradient_D() + missing_D
