"""Clipping at the first step, and bias of the estimates k1, k2 and k3 of the KL divergence.

With d = log M_ref - log M_theta of a token that M_theta sampled: k1 = -d, k2 = d^2 / 2, k3 = exp(d) - d - 1.
"""

from collections.abc import Callable
from typing import final

import attrs
import numpy as np
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from algorithms import ClipRange, policy_loss
from algorithms.method.losses import kl_k3
from proofs.statement import Array, Sides, statement

KLEstimate = Callable[[Tensor, Tensor], Tensor]
_CLIP = 0.2


@final
@attrs.frozen(kw_only=True, eq=False)
class Logits:
    """Logits of theta and of the reference over one vocabulary. Both of shape (V,)."""

    logits_V: tuple[float, ...]
    reference_V: tuple[float, ...]

    @property
    def p_V(self) -> Array:
        """M_theta, without torch."""
        return _softmax(np.array(self.logits_V))

    @property
    def q_V(self) -> Array:
        """M_ref, without torch."""
        return _softmax(np.array(self.reference_V))

    @property
    def kl(self) -> float:
        """KL(M_theta || M_ref) by its definition."""
        return float(self.p_V @ np.log(self.p_V / self.q_V))

    @property
    def kl_gradient_V(self) -> Array:
        """The gradient of KL(M_theta || M_ref) in the logits, p (log(p / q) - KL)."""
        gradient_V: Array = self.p_V * (np.log(self.p_V / self.q_V) - self.kl)
        return gradient_V

    @property
    def reverse_kl_gradient_V(self) -> Array:
        """The gradient of KL(M_ref || M_theta) in the logits, p - q."""
        gradient_V: Array = self.p_V - self.q_V
        return gradient_V


@final
@attrs.frozen(kw_only=True, eq=False)
class Tokens:
    """Rows of tokens sampled from a table of logits; ``_S`` prompts, ``_V`` words.

    Attributes:
      logits_S_V: the table.
      prompts_B_L, words_B_L: which row of the table each token was sampled from, and which word it is.
      mask_B_L: which tokens count.
      advantages_B, weights_B: A and w of each row.
    """

    logits_S_V: Array
    prompts_B_L: NDArray[np.int64]
    words_B_L: NDArray[np.int64]
    mask_B_L: NDArray[np.bool_]
    advantages_B: Array
    weights_B: Array

    @classmethod
    def drawn(cls, seed: int) -> "Tokens":
        """Four rows of three tokens, over three prompts and four words."""
        rng = np.random.default_rng(seed)
        return cls(
            logits_S_V=rng.normal(size=(3, 4)),
            prompts_B_L=rng.integers(3, size=(4, 3)),
            words_B_L=rng.integers(4, size=(4, 3)),
            mask_B_L=rng.random((4, 3)) < 0.7,
            advantages_B=rng.normal(size=4),
            weights_B=rng.random(4),
        )


def _softmax(logits_V: Array) -> Array:
    exp_V = np.exp(logits_V)
    softmax_V: Array = exp_V / exp_V.sum()
    return softmax_V


# ---- clipping --------------------------------------------------------------------------------


def _weights_have_moved(case: Tokens) -> Sides:
    """The weights have moved since the tokens were sampled, so that ratios leave the clip range."""
    return _loss_gradient(case, -case.logits_S_V), _score_sum(case)


@statement(
    routes=("automatic differentiation of the loss", "the sum of w A score by hand"),
    example=Tokens.drawn(1),
    cases=st.integers(0, 10_000).map(Tokens.drawn),
    wrong=_weights_have_moved,
)
def clipping_is_inactive_at_the_first_step(case: Tokens) -> Sides:
    """If the weights have not moved since the tokens were sampled, the loss has the gradient - sum w A score.

    The ratio is 1 at each token, inside of every clip range.

    Assumes: one step a batch, no KL and no entropy term.
    Source: a standard fact of the clipped surrogate (PPO, arXiv:1707.06347).

    Theory: Equation 5.8.
    """
    return _loss_gradient(case, case.logits_S_V), _score_sum(case)


def _loss_gradient(case: Tokens, old_S_V: Array) -> Array:
    """The gradient of the library's loss in the table, by automatic differentiation. Shape (S V,)."""
    prompts_B_L, words_B_L = torch.from_numpy(case.prompts_B_L), torch.from_numpy(case.words_B_L)
    logits_S_V = torch.from_numpy(case.logits_S_V).clone().requires_grad_()
    old = torch.from_numpy(old_S_V).log_softmax(-1)[prompts_B_L, words_B_L]
    terms = policy_loss(
        logprobs_B_L=logits_S_V.log_softmax(-1)[prompts_B_L, words_B_L],
        old_logprobs_B_L=old,
        mask_B_L=torch.from_numpy(case.mask_B_L),
        advantages_B_L=torch.from_numpy(case.advantages_B)[:, None].expand(old.shape),
        weights_B=torch.from_numpy(case.weights_B),
        clip=ClipRange(low=_CLIP, high=_CLIP),
    )
    return _gradient(terms.loss, logits_S_V).ravel()


def _score_sum(case: Tokens) -> Array:
    """Minus the sum over tokens of w A (onehot - p). Shape (S V,)."""
    total_S_V = np.zeros_like(case.logits_S_V)
    for place in map(tuple, np.argwhere(case.mask_B_L)):
        b, prompt, word = place[0], case.prompts_B_L[place], case.words_B_L[place]
        score_V = np.eye(total_S_V.shape[1])[word] - _softmax(case.logits_S_V[prompt])
        total_S_V[prompt] -= case.weights_B[b] * case.advantages_B[b] * score_V
    return total_S_V.ravel()


# ---- the KL divergence -----------------------------------------------------------------------

_LOGIT = st.floats(-3.0, 3.0)
_LOGITS = st.lists(st.tuples(_LOGIT, _LOGIT), min_size=2, max_size=5).map(
    lambda pairs: Logits(
        logits_V=tuple(logit for logit, _ in pairs), reference_V=tuple(logit for _, logit in pairs)
    )
)
_EXAMPLE = Logits(logits_V=(1.0, 0.0, -1.0), reference_V=(-0.5, 0.5, 0.5))


def _half_the_square(case: Logits) -> Sides:
    """k2, half the squared log-ratio."""
    return _value(case, _k2), case.kl


@statement(
    routes=("the mean over all tokens", "the definition of the divergence"),
    example=_EXAMPLE,
    cases=_LOGITS,
    wrong=_half_the_square,
)
def k3_has_the_right_value(case: Logits) -> Sides:
    """The mean of k3 over tokens of M_theta is KL(M_theta || M_ref).

    Assumes: the tokens are sampled from M_theta itself; the reference gives every token a positive probability.
    Source: Schulman, "Approximating KL divergence" (2020).

    Theory: Theorem 12.1, Equation 12.2.
    """
    return _value(case, kl_k3), case.kl


_MEANS = (
    "automatic differentiation of the mean over all tokens",
    "closed form in the two distributions",
)


def _gradient_of_its_value(case: Logits) -> Sides:
    """The gradient of KL(M_theta || M_ref), whose value k3 has."""
    return _mean_gradient(case, kl_k3), case.kl_gradient_V


@statement(
    routes=_MEANS,
    example=_EXAMPLE,
    cases=_LOGITS,
    wrong=_gradient_of_its_value,
)
def k3_has_the_gradient_of_the_other_divergence(case: Logits) -> Sides:
    """The mean of the gradient of k3 over tokens of M_theta is the gradient of KL(M_ref || M_theta).

    The distribution of the tokens is not differentiated, as in a loss over sampled tokens.

    Assumes: as for the value of k3. Source: Schulman, "Approximating KL divergence" (2020); the gradient is a standard
    fact.

    Theory: Theorem 12.1, Equation 12.3.
    """
    return _mean_gradient(case, kl_k3), case.reverse_kl_gradient_V


def _k3_for_k1(case: Logits) -> Sides:
    """k3, which has a gradient."""
    return _value_and_gradient(case, kl_k3), [case.kl, *np.zeros(len(case.logits_V))]


@statement(
    routes=_MEANS,
    example=_EXAMPLE,
    cases=_LOGITS,
    wrong=_k3_for_k1,
)
def k1_has_the_right_value_and_no_gradient(case: Logits) -> Sides:
    """The mean of k1 over tokens of M_theta is KL(M_theta || M_ref), and the mean of its gradient is 0.

    Each side holds the value, then the gradient: the gradient of k1 is a score, whose mean is 0.

    Assumes: as for the value of k3. Source: Schulman, "Approximating KL divergence" (2020); the gradient is a standard
    fact.

    Theory: Theorem 12.1, Equation 12.2, Equation 12.3.
    """
    return _value_and_gradient(case, _k1), [case.kl, *np.zeros(len(case.logits_V))]


def _gradient_of_k3(case: Logits) -> Sides:
    """The gradient of k3."""
    error = _value(case, _k2) - case.kl
    return [error, *_mean_gradient(case, kl_k3)], [_error_of_k2(case), *case.kl_gradient_V]


@statement(
    routes=_MEANS,
    example=_EXAMPLE,
    cases=_LOGITS,
    shows=lambda side: bool(abs(side[0]) > 1e-2),
    wrong=_gradient_of_k3,
)
def k2_has_a_wrong_value_and_the_right_gradient(case: Logits) -> Sides:
    """At a token, the mean gradient of k2 is that of KL(M_theta || M_ref), and the mean of k2 is not its value.

    Each side holds how far the mean of k2 is from the KL divergence, then the gradient. Over a sequence the sum
    has another mean gradient: what a token does to the contexts of later ones is left out.

    Assumes: as for the value of k3. Source: Schulman, "Approximating KL divergence" (2020); the gradient is a standard
    fact.

    Theory: Theorem 12.1, Equation 12.2, Equation 12.3.
    """
    error, *gradient_V = _value_and_gradient(case, _k2)
    return [error - case.kl, *gradient_V], [_error_of_k2(case), *case.kl_gradient_V]


def _without_the_score(case: Logits) -> Sides:
    """The gradient of k1 itself, without the score term."""
    return _mean_gradient(case, _k1), case.kl_gradient_V


@statement(
    routes=_MEANS,
    example=_EXAMPLE,
    cases=_LOGITS,
    wrong=_without_the_score,
)
def k1_as_a_reward_has_the_right_gradient(case: Logits) -> Sides:
    """The mean of k1 times the score, with no gradient through k1, is the gradient of KL(M_theta || M_ref).

    So a penalty of k1 in the reward is right where k1 in the loss is not: in the loss, the score term is missing.

    Assumes: as for the value of k3. Source: a standard fact (the policy gradient of a reward).

    Theory: Theorem 12.1.
    """
    return _mean_gradient(case, _k1_times_logprob), case.kl_gradient_V


def _k1(logprobs_V: Tensor, reference_V: Tensor) -> Tensor:
    return logprobs_V - reference_V


def _k2(logprobs_V: Tensor, reference_V: Tensor) -> Tensor:
    return (logprobs_V - reference_V) ** 2 / 2


def _k1_times_logprob(logprobs_V: Tensor, reference_V: Tensor) -> Tensor:
    """A function whose gradient is k1 times the score."""
    return _k1(logprobs_V, reference_V).detach() * logprobs_V


def _value(case: Logits, estimate: KLEstimate) -> float:
    """The mean of an estimate over tokens of M_theta."""
    return _mean(case, estimate)[0].item()


def _mean_gradient(case: Logits, estimate: KLEstimate) -> Array:
    """The mean of its gradient in the logits, the distribution of the tokens not differentiated. Shape (V,)."""
    return _gradient(*_mean(case, estimate))


def _value_and_gradient(case: Logits, estimate: KLEstimate) -> list[float]:
    return [_value(case, estimate), *_mean_gradient(case, estimate)]


def _mean(case: Logits, estimate: KLEstimate) -> tuple[Tensor, Tensor]:
    """The mean of an estimate over tokens of M_theta, and the logits that it is a function of."""
    logits_V = torch.tensor(case.logits_V, dtype=torch.float64, requires_grad=True)
    reference_V = torch.tensor(case.reference_V, dtype=torch.float64).log_softmax(-1)
    logprobs_V = logits_V.log_softmax(-1)
    return (logprobs_V.detach().exp() * estimate(logprobs_V, reference_V)).sum(), logits_V


def _gradient(value: Tensor, logits: Tensor) -> Array:
    (gradient,) = torch.autograd.grad(value, (logits,))
    array: Array = gradient.numpy(force=True)
    return array


def _error_of_k2(case: Logits) -> float:
    """The mean of d^2 / 2 - d, term by term."""
    pairs = zip(case.p_V.tolist(), case.q_V.tolist(), strict=True)
    return float(sum(p * (np.log(p / q) ** 2 / 2 - np.log(p / q)) for p, q in pairs))
