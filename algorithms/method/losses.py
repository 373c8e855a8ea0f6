"""The clipped policy loss of MS-GRPO, as pure functions of tensors.

Axes: ``_B`` rows of a batch, one a completion; ``_L`` tokens of a reply, padded. Source: the objective
is reconstructed [ours] from arXiv:2508.10839 and GRPO (arXiv:2402.03300): a surrogate (``ratios``), and the k3
estimate of the KL divergence.
"""

import math

import attrs
import torch
from torch import Tensor

from algorithms.method.clip_range import ClipRange
from algorithms.method.ratios import (
    RatioKind,
    ScoredTokens,
    Surrogate,
    TokenRatio,
    bounded,
    check_matrix,
    check_shapes,
)
from algorithms.method.rules import rule_name
from tsmg import InvalidArgumentError, ShapeError


@attrs.frozen(kw_only=True, eq=False)
class LossTerms:
    """A loss and the figures to log. All but the last two are tensors of shape (); only the loss has a gradient.

    Attributes:
      loss: to be minimised; losses of mini-batches add up.
      clip_ratio: share of the tokens at which clipping changed the surrogate.
      kl: mean k3 estimate over the tokens, in nats; 0 without a reference.
      ratio_max_deviation: the largest |rho - 1| of a token, whatever the ratio kind; 0 to within rounding in the
        first pass of every update.
      tokens: how many tokens count, to pool the two means over mini-batches.
      scored: the scored tokens themselves.
      squared_errors: of the values that a value head learns, shape (n,); ``None`` without a head.
    """

    loss: Tensor
    clip_ratio: Tensor
    kl: Tensor
    ratio_max_deviation: Tensor
    tokens: Tensor
    scored: ScoredTokens
    squared_errors: Tensor | None = None


def kl_k3(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """The k3 estimate of KL(M_theta || M_ref) at each token.

    It is exp(d) - d - 1 with d = log M_ref - log M_theta.
    At least 0 for every token, and unbiased for tokens that M_theta sampled, if it can sample all
    that M_ref can. Its gradient, for such tokens, is on average the gradient of the *other*
    divergence, KL(M_ref || M_theta) (the distribution of the tokens is not differentiated).
    Source: Schulman, "Approximating KL divergence" (2020); in GRPO, arXiv:2402.03300.

    Args:
      logprobs: log M_theta, in nats. Any shape.
      reference_logprobs: log M_ref, in nats; no gradient flows into it. The same shape.

    Returns:
      k3, in nats. The same shape.

    Raises:
      ShapeError: the shapes differ.

    Example:
      >>> kl_k3(torch.tensor([0.0]), torch.tensor([0.0])).item()
      0.0

    Theory: Theorem 12.1, Equation 5.6, Equation 12.1.
    """
    check_shapes(logprobs, reference_logprobs=reference_logprobs)
    d = bounded(reference_logprobs.detach() - logprobs)
    return torch.expm1(d) - d


def policy_loss(
    *,
    logprobs_B_L: Tensor,
    old_logprobs_B_L: Tensor,
    mask_B_L: Tensor,
    advantages_B_L: Tensor,
    weights_B: Tensor,
    clip: ClipRange,
    ratio: RatioKind = TokenRatio(),  # noqa: B008 - a frozen value
    episodes_B: Tensor | None = None,
    episode_log_ratios_B: Tensor | None = None,
    entropies_B_L: Tensor | None = None,
    entropy_coefficient: float = 0.0,
    reference_logprobs_B_L: Tensor | None = None,
    kl_coefficient: float = 0.0,
) -> LossTerms:
    """The loss, - sum_{b,l} w_b mask_{b,l} (surrogate - beta KL + eta entropy).

    A plain sum: every denominator is in the weights (``weighting.token_weights``), so that the
    losses of mini-batches add up to the loss of the whole batch, however it is split.

    Args:
      logprobs_B_L: log M_theta of the tokens as sampled, in nats. Shape (B, L).
      old_logprobs_B_L: log M_old, as recorded when the tokens were sampled. Shape (B, L).
      mask_B_L: True at the tokens that the policy chose; elsewhere (prompt, environment, padding)
        all other tensors may hold anything, NaN included. Shape (B, L), bool.
      advantages_B_L: A of each token; under whole-episode credit it is that of the episode at every step and
        token, A_{e,t,l} = A_e [paper]. Shape (B, L).
      weights_B: w of each row. Shape (B,).
      clip: the range of ratios.
      ratio: the ratio kind, which makes the surrogate.
      episodes_B: rows with equal numbers are completions of one episode; each row is an episode of its own unless
        given. Shape (B,), int64.
      episode_log_ratios_B: the mean log-ratio of each row's episode, for ratio kinds that look at whole episodes;
        computed from the rows, which must then hold whole episodes, unless given. Shape (B,).
      entropies_B_L: entropy of M_theta at each token, in nats, with its gradient. Shape (B, L).
      entropy_coefficient: eta; 0 for none.
      reference_logprobs_B_L: log M_ref, in nats. Shape (B, L).
      kl_coefficient: beta; 0 for none (with a reference, the KL is then only logged).

    Returns:
      The loss, in the unit of advantage times weight, and what to log.

    Raises:
      ShapeError: a shape does not fit.
      InvalidArgumentError: the mask is not bool, a coefficient is given without the tensor that it multiplies, or the
        ratio kind returns something else than a surrogate of tensors with a gradient.

    Example:
      >>> logprobs = torch.tensor([[-1.0, -2.0]])
      >>> terms = policy_loss(logprobs_B_L=logprobs, old_logprobs_B_L=logprobs,
      ...     mask_B_L=torch.tensor([[True, False]]), advantages_B_L=torch.full((1, 2), 3.0),
      ...     weights_B=torch.tensor([0.5]), clip=ClipRange())
      >>> terms.loss.item(), terms.tokens.item()
      (-1.5, 1)

    Theory: Equation 5.5, Equation 5.8.
    """
    check_matrix(logprobs_B_L)
    check_shapes(
        logprobs_B_L,
        old_logprobs_B_L=old_logprobs_B_L,
        mask_B_L=mask_B_L,
        advantages_B_L=advantages_B_L,
        weights_B=weights_B,
        entropies_B_L=entropies_B_L,
        reference_logprobs_B_L=reference_logprobs_B_L,
    )
    _check_mask(mask_B_L)
    _check_coefficients(entropy_coefficient, entropies_B_L, kl_coefficient, reference_logprobs_B_L)
    logprobs_B_L = _visible(logprobs_B_L, mask_B_L)
    tokens = ScoredTokens(
        logprobs_B_L=logprobs_B_L,
        old_logprobs_B_L=_visible(old_logprobs_B_L, mask_B_L).detach().to(logprobs_B_L),
        mask_B_L=mask_B_L,
        advantages_B_L=_visible(advantages_B_L.detach().to(logprobs_B_L), mask_B_L),
        episodes_B=torch.arange(len(logprobs_B_L)) if episodes_B is None else episodes_B,
        episode_log_ratios_B=episode_log_ratios_B,
    )
    surrogate = _checked(ratio(tokens, clip), tokens, ratio)
    kl_B_L = _kl_to(reference_logprobs_B_L, logprobs_B_L, mask_B_L)
    objective_B_L = surrogate.values_B_L - kl_coefficient * kl_B_L
    if entropies_B_L is not None:
        objective_B_L = objective_B_L + entropy_coefficient * _visible(entropies_B_L, mask_B_L)
    return LossTerms(
        loss=-(weights_B.detach().to(logprobs_B_L)[:, None] * mask_B_L * objective_B_L).sum(),
        clip_ratio=_mean(surrogate.clipped_B_L, mask_B_L),
        kl=_mean(kl_B_L.detach(), mask_B_L),
        ratio_max_deviation=_largest((tokens.log_ratios_B_L.detach().exp() - 1).abs()),
        tokens=mask_B_L.sum(),
        scored=tokens,
    )


def value_loss(
    *, values_B_L: Tensor, targets_B: Tensor, mask_B_L: Tensor, weights_B: Tensor
) -> tuple[Tensor, Tensor]:
    """The loss of a value head, sum_{b,l} w_b mask_{b,l} (V - R)^2 / 2.

    Source: TRL's first PPO trainer (half the squared error, a mean over tokens); its weights are the policy's [ours].

    Args:
      values_B_L: V of the place before each token. Shape (B, L).
      targets_B: R, the return that followed each row. Shape (B,).
      mask_B_L: True at the places that are learnt. Shape (B, L), bool.
      weights_B: w of each row, as for ``policy_loss``. Shape (B,).

    Returns:
      The loss, in the unit of weight times squared return, shape (); and the squared errors of the n values that are
      learnt, without a gradient, shape (n,).

    Raises:
      ShapeError: a shape does not fit.
      InvalidArgumentError: the mask is not bool.

    Example:
      >>> value_loss(values_B_L=torch.tensor([[1.0, 3.0]]), targets_B=torch.tensor([3.0]),
      ...     mask_B_L=torch.tensor([[True, True]]), weights_B=torch.tensor([0.5]))
      (tensor(1.), tensor([4., 0.]))
    """
    check_matrix(values_B_L)
    check_shapes(values_B_L, mask_B_L=mask_B_L, targets_B=targets_B, weights_B=weights_B)
    _check_mask(mask_B_L)
    errors_B_L = _visible(values_B_L - targets_B.detach().to(values_B_L)[:, None], mask_B_L)
    squares_B_L = errors_B_L.square()
    loss = (weights_B.detach().to(values_B_L)[:, None] * squares_B_L).sum() / 2
    return loss, squares_B_L.detach()[mask_B_L]


def _checked(surrogate: object, tokens: ScoredTokens, ratio: RatioKind) -> Surrogate:
    """What a ratio kind made of the tokens, if it is a surrogate of every token, with its gradient."""
    if not isinstance(surrogate, Surrogate):
        raise InvalidArgumentError(
            f"{rule_name(ratio)} must return a Surrogate (got {surrogate!r:.100})"
        )
    parts: dict[str, object] = attrs.asdict(surrogate, recurse=False)
    for name, part in parts.items():
        if not isinstance(part, Tensor):
            raise InvalidArgumentError(
                f"{rule_name(ratio)} must return a Surrogate whose '{name}' is a tensor (got {type(part).__name__})"
            )
        if part.shape != tokens.mask_B_L.shape:
            raise ShapeError(
                f"{rule_name(ratio)} must return a Surrogate whose '{name}' has shape {tuple(tokens.mask_B_L.shape)} "
                f"(got {tuple(part.shape)})"
            )
    learns = torch.is_grad_enabled() and tokens.logprobs_B_L.requires_grad
    if learns and not surrogate.values_B_L.requires_grad and _has_signal(tokens):
        raise InvalidArgumentError(
            f"{rule_name(ratio)} must return a Surrogate whose 'values_B_L' have a gradient, that of the "
            "log-probabilities of its tokens (got values without one)"
        )
    return surrogate


def _has_signal(tokens: ScoredTokens) -> bool:
    """Whether a token has an advantage; without one, a surrogate may well be constant."""
    return bool((tokens.mask_B_L & (tokens.advantages_B_L != 0)).any())


def _kl_to(reference_B_L: Tensor | None, logprobs_B_L: Tensor, mask_B_L: Tensor) -> Tensor:
    """The KL to the reference policy at each token; 0 without one."""
    if reference_B_L is None:
        return torch.zeros_like(logprobs_B_L)
    return kl_k3(logprobs_B_L, _visible(reference_B_L, mask_B_L).to(logprobs_B_L))


def _visible(values_B_L: Tensor, mask_B_L: Tensor) -> Tensor:
    """The values under the mask, 0 elsewhere: NaN in padding reaches neither loss nor gradient."""
    return values_B_L.masked_fill(~mask_B_L, 0.0)


def _mean(values_B_L: Tensor, mask_B_L: Tensor) -> Tensor:
    """The mean over the tokens under the mask; 0 if there is none."""
    return (values_B_L * mask_B_L).sum() / mask_B_L.sum().clamp(min=1)


def _largest(values: Tensor) -> Tensor:
    return values.max() if values.numel() else values.sum()


def _check_coefficients(
    entropy: float, entropies: Tensor | None, kl: float, reference: Tensor | None
) -> None:
    for name, value, needs, tensor in (
        ("entropy_coefficient", entropy, "entropies_B_L", entropies),
        ("kl_coefficient", kl, "reference_logprobs_B_L", reference),
    ):
        if not math.isfinite(value):
            raise InvalidArgumentError(f"'{name}' must be finite (got {value})")
        if value and tensor is None:
            raise InvalidArgumentError(f"'{name}' must be 0 without '{needs}' (got {value})")


def _check_mask(mask_B_L: Tensor) -> None:
    if mask_B_L.dtype != torch.bool:
        raise InvalidArgumentError(f"'mask_B_L' must be of dtype bool (got {mask_B_L.dtype})")
