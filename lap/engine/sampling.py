"""The distribution that tokens are sampled from: temperature and truncation are part of the model M_theta.

Learning uses the same distribution: the same temperature, and where truncation (top-k, top-p, min-p) kept only some
tokens, the same kept set, recorded with the completion and held fixed.
"""

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from tsmg import InvalidArgumentError

_PICKED_AT_ONCE = 2**24  # entries of cumulative distributions that are copied at once


def _ruled(default: float, rule: str, fits: Callable[[Any], bool]) -> Any:
    """A field with its default, which also says whether it is a whole number, and its rule."""
    kind = numbers.Integral if isinstance(default, int) else numbers.Real

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, kind) or not fits(value):
            raise InvalidArgumentError(f"{attribute.name!r} must be {rule} (got {value!r})")

    return attrs.field(default=default, validator=check)


@attrs.frozen(kw_only=True)
class Sampling:
    """How replies are sampled.

    Attributes:
      temperature: divides the logits; 0 is greedy and for evaluation only.
      max_reply_tokens: L, where a reply is cut.
      top_k: how many tokens are kept; 0 keeps all.
      top_p: least total probability that is kept, in (0, 1]; 1 keeps all.
      min_p: least probability of a kept token, relative to the most probable one, in [0, 1).
    """

    temperature: float = _ruled(1.0, "finite and >= 0", lambda value: 0 <= value < math.inf)
    max_reply_tokens: int = _ruled(16, "at least 1", lambda value: value >= 1)
    top_k: int = _ruled(0, "at least 0", lambda value: value >= 0)
    top_p: float = _ruled(1.0, "in (0, 1]", lambda value: 0 < value <= 1)
    min_p: float = _ruled(0.0, "in [0, 1)", lambda value: 0 <= value < 1)

    @property
    def is_greedy(self) -> bool:
        """Whether the most probable token is always taken."""
        return self.temperature == 0

    @property
    def truncates(self) -> bool:
        """Whether some tokens may be cut from the support."""
        return self.top_k > 0 or self.top_p < 1 or self.min_p > 0


@attrs.frozen(kw_only=True, eq=False)
class TokenLogprobs:
    """What learning needs to know about recorded replies. B completions, L tokens of the longest reply.

    Attributes:
      logprobs_B_L: log-probability of each recorded token under the present weights, in nats; differentiable; 0
        after the end of a reply. Where the mask is False within a reply, a model may leave it 0.
      entropies_B_L: entropy of the distribution that each token was drawn from, in nats; differentiable.
      mask_B_L: True where the policy chose the token: the loss mask.
      values_B_L: value of the place before each token that is scored, differentiable; that of the prompt, in a column
        of its own if need be, for a reply without tokens; ``None`` without a value head.
    """

    logprobs_B_L: Tensor
    entropies_B_L: Tensor
    mask_B_L: Tensor
    values_B_L: Tensor | None = None


def token_logprobs(logits_B_V: Tensor, sampling: Sampling) -> Tensor:
    """Log-probabilities of the distribution that is sampled from; -inf for tokens outside the kept support.

    Args:
      logits_B_V: the model's logits. Shape (B, V).
      sampling: the settings. Temperature 0 gives the point mass on the first greatest logit.

    Returns:
      Shape (B, V), in nats.
    """
    if sampling.is_greedy:
        logprobs_B_V = torch.full_like(logits_B_V, -torch.inf)
        return logprobs_B_V.scatter_(-1, logits_B_V.argmax(-1, keepdim=True), 0.0)
    scaled_B_V = logits_B_V / sampling.temperature
    if sampling.truncates:
        scaled_B_V = scaled_B_V.masked_fill(~kept_support(scaled_B_V, sampling), -torch.inf)
    return torch.log_softmax(scaled_B_V, dim=-1)


def kept_support(scaled_B_V: Tensor, sampling: Sampling) -> Tensor:
    """Which tokens truncation keeps: top-k, then top-p, then min-p; the most probable one is always kept.

    Args:
      scaled_B_V: logits divided by the temperature. Shape (B, V).
      sampling: the settings.

    Returns:
      Boolean, shape (B, V).
    """
    sorted_B_V, order_B_V = scaled_B_V.sort(dim=-1, descending=True, stable=True)
    rank_V = torch.arange(scaled_B_V.shape[-1], device=scaled_B_V.device)
    kept_B_V = torch.ones_like(sorted_B_V, dtype=torch.bool)
    if sampling.top_k > 0:
        kept_B_V &= rank_V < sampling.top_k
    probabilities_B_V = torch.softmax(sorted_B_V.masked_fill(~kept_B_V, -torch.inf), dim=-1)
    if sampling.top_p < 1:
        before_B_V = probabilities_B_V.cumsum(-1) - probabilities_B_V
        kept_B_V &= before_B_V < sampling.top_p
    kept_B_V &= probabilities_B_V >= sampling.min_p * probabilities_B_V[..., :1]
    kept_B_V[..., 0] = True
    return torch.zeros_like(kept_B_V).scatter_(-1, order_B_V, kept_B_V)


def pick_tokens(
    logprobs_U_V: Tensor, uniforms_B: Sequence[float], rows_B: Sequence[int] | None = None
) -> Tensor:
    """The tokens that uniform draws pick by inversion of the cumulative distribution, in float64.

    Args:
      logprobs_U_V: log-probabilities. Shape (U, V).
      uniforms_B: draws in [0, 1).
      rows_B: index of the distribution for each draw; the b-th draw is from the b-th distribution unless given.

    Returns:
      Token ids. Shape (B,), int64; always inside the support.
    """
    cumulative_U_V = logprobs_U_V.double().exp().cumsum(-1)
    rows = torch.arange(len(logprobs_U_V)) if rows_B is None else torch.tensor(rows_B)
    rows_B1 = rows.to(logprobs_U_V.device)[:, None]
    uniforms = torch.tensor(uniforms_B, dtype=torch.float64, device=logprobs_U_V.device)
    thresholds_B1 = uniforms[:, None] * cumulative_U_V[rows_B1[:, 0], -1:]
    at_once = max(1, _PICKED_AT_ONCE // logprobs_U_V.shape[-1])
    parts = [slice(b, b + at_once) for b in range(0, len(uniforms), at_once)]
    tokens_B = [
        torch.searchsorted(cumulative_U_V[rows_B1[part, 0]], thresholds_B1[part], right=True)[:, 0]
        for part in parts
    ]
    return torch.cat(tokens_B).clamp_(max=logprobs_U_V.shape[-1] - 1)


def support_mask(support_L: Sequence[Sequence[int]], vocabulary: int) -> Tensor:
    """The recorded support of a reply as a mask. Boolean, shape (L, V)."""
    mask_L_V = torch.zeros(len(support_L), vocabulary, dtype=torch.bool)
    for row_V, kept in zip(mask_L_V, support_L, strict=True):
        row_V[list(kept)] = True
    return mask_L_V


def entropy(logprobs_L_V: Tensor) -> Tensor:
    """Entropy of each distribution in nats, differentiable beside tokens outside the support. (..., V) to (...)."""
    outside = logprobs_L_V.isneginf()
    logprobs = logprobs_L_V.masked_fill(outside, 0.0)
    return -(logprobs.exp() * logprobs).masked_fill(outside, 0.0).sum(-1)
