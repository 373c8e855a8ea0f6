"""Ratio kinds: from the current and the recorded log-probabilities of tokens to the surrogate of every token.

A ratio kind determines over what a probability ratio extends (a token, a completion, an episode) and what clipping
does. At the first optimiser step on a batch all ratios are 1, and all kinds here have the same gradient.

Axes: ``_B`` rows of a batch, one a completion; ``_L`` tokens of a reply, padded.

Source: the kinds name theirs. In all of them the denominators (such as GSPO's 1 / |y|) belong to the weights of the
rows (``weighting.token_weights``), so that the losses of micro-batches add up [ours].
"""

import math
from collections.abc import Mapping
from typing import Protocol, final, runtime_checkable

import attrs
import torch
from torch import Tensor

from algorithms.method.clip_range import LOG_RATIO_LIMIT, ClipRange
from algorithms.method.rules import StatefulRule, find_rule
from tsmg import InvalidArgumentError, ShapeError


@final
@attrs.frozen(kw_only=True, eq=False)
class ScoredTokens:
    """The tokens of which a ratio kind makes surrogates.

    Attributes:
      logprobs_B_L: log M_theta of the tokens as sampled, in nats, with its gradient; 0 outside of the mask.
      old_logprobs_B_L: log M_old, without a gradient; 0 outside of the mask.
      mask_B_L: True at the tokens that the policy chose.
      advantages_B_L: A of each token.
      episodes_B: rows with equal numbers are completions of one episode. Shape (B,), int64.
      episode_log_ratios_B: for each row, the mean log-ratio of the tokens of its whole episode, without a gradient;
        ``None`` if the rows hold every completion of their episodes, from which it then follows.
    """

    logprobs_B_L: Tensor
    old_logprobs_B_L: Tensor
    mask_B_L: Tensor
    advantages_B_L: Tensor
    episodes_B: Tensor
    episode_log_ratios_B: Tensor | None = None

    def __attrs_post_init__(self) -> None:
        check_matrix(self.logprobs_B_L)
        check_shapes(
            self.logprobs_B_L,
            old_logprobs_B_L=self.old_logprobs_B_L,
            mask_B_L=self.mask_B_L,
            advantages_B_L=self.advantages_B_L,
            episodes_B=self.episodes_B,
            episode_log_ratios_B=self.episode_log_ratios_B,
        )

    @property
    def log_ratios_B_L(self) -> Tensor:
        """Log M_theta - log M_old of every token, in nats; 0 outside of the mask. Shape (B, L)."""
        return bounded(self.logprobs_B_L - self.old_logprobs_B_L.detach())

    def mean_log_ratios_B(self) -> Tensor:
        """The mean log-ratio of the tokens of each row, without a gradient. Shape (B,)."""
        sums_B = self._log_ratio_sums_B()
        return sums_B / self.mask_B_L.sum(-1).clamp(min=1)

    def episode_mean_log_ratios_B(self) -> Tensor:
        """The mean log-ratio of the tokens of each row's episode, without a gradient. Shape (B,)."""
        if self.episode_log_ratios_B is not None:
            return self.episode_log_ratios_B.detach().to(self.logprobs_B_L)
        sums_B = self._log_ratio_sums_B()
        _, place_B = torch.unique(self.episodes_B, return_inverse=True)
        place_B = place_B.to(sums_B.device)
        sums_E, tokens_E = torch.zeros_like(sums_B), torch.zeros_like(sums_B)
        sums_E.index_add_(0, place_B, sums_B)
        tokens_E.index_add_(0, place_B, self.mask_B_L.sum(-1).to(sums_B))
        return (sums_E / tokens_E.clamp(min=1))[place_B]

    def _log_ratio_sums_B(self) -> Tensor:
        return ((self.logprobs_B_L - self.old_logprobs_B_L).detach() * self.mask_B_L).sum(-1)


@final
@attrs.frozen(kw_only=True, eq=False)
class Surrogate:
    """The surrogate of every token. The loss adds these up, under the mask, with a minus and the weights of the rows.

    Attributes:
      values_B_L: the surrogate, with its gradient; unit: that of the advantage. Shape (B, L).
      clipped_B_L: where clipping changed it, bool. Shape (B, L).
    """

    values_B_L: Tensor
    clipped_B_L: Tensor


@runtime_checkable
class RatioKind(Protocol):
    """A ratio kind: one of ``RATIOS``, or the user's own.

    Rows are scored in micro-batches, which split episodes. A kind that looks at whole episodes says so; the trainer
    then computes the log-ratios of the episodes in a pass of its own before each step, without a gradient.
    """

    @property
    def whole_episodes(self) -> bool:
        """Whether ``episode_mean_log_ratios_B`` is used."""
        ...

    def __call__(self, tokens: ScoredTokens, clip: ClipRange) -> Surrogate:
        """The surrogate of every token.

        Args:
          tokens: their log-probabilities, advantages and episodes.
          clip: the range of ratios.
        """
        ...


@final
@attrs.frozen
class TokenRatio:
    """A ratio of each token: min(rho A, clip(rho) A), rho = M_theta(token) / M_old(token).

    Source: PPO, arXiv:1707.06347; in GRPO, arXiv:2402.03300.

    Example:
      >>> tokens = ScoredTokens(logprobs_B_L=torch.tensor([[0.5, 1.5]]).log(), old_logprobs_B_L=torch.zeros(1, 2),
      ...     mask_B_L=torch.ones(1, 2).bool(), advantages_B_L=torch.ones(1, 2), episodes_B=torch.tensor([0]))
      >>> TokenRatio()(tokens, ClipRange()).values_B_L
      tensor([[0.5000, 1.2000]])

    Theory: Equation 11.1.
    """

    whole_episodes: bool = attrs.field(default=False, init=False)

    def __call__(self, tokens: ScoredTokens, clip: ClipRange) -> Surrogate:
        return clipped(tokens.log_ratios_B_L.exp(), tokens.advantages_B_L, clip)


@final
@attrs.frozen
class SequenceRatio:
    """One ratio for a whole sequence, the geometric mean of its tokens': min(s A, clip(s) A).

    With s = exp(mean of log M_theta - log M_old over the sequence), each token's ratio is sg[s] M_theta / sg[M_theta]:
    its value is s, and its gradient s times that of the token's log-probability. Advantages may therefore differ by
    token.

    Source: GSPO and GSPO-token, arXiv:2507.18071 (also ``compute_policy_loss_gspo`` of verl). There a sequence is the
    reply to a prompt; here that is the completion of one step. The whole episode as a sequence, the tokens of all
    completions of one agent in it, is [ours].

    Attributes:
      whole_episodes: whether a sequence is an episode, rather than a completion.

    Example:
      >>> tokens = ScoredTokens(logprobs_B_L=torch.tensor([[0.5, 2.0], [4.0, 4.0]]).log(),
      ...     old_logprobs_B_L=torch.zeros(2, 2), mask_B_L=torch.ones(2, 2).bool(),
      ...     advantages_B_L=torch.ones(2, 2), episodes_B=torch.tensor([0, 0]))
      >>> no_limit = ClipRange(low=1.0, high=float("inf"))
      >>> SequenceRatio()(tokens, no_limit).values_B_L.tolist()
      [[1.0, 1.0], [4.0, 4.0]]
      >>> SequenceRatio(whole_episodes=True)(tokens, no_limit).values_B_L.tolist()
      [[2.0, 2.0], [2.0, 2.0]]

    Theory: Equation 11.2, Equation 11.3.
    """

    whole_episodes: bool = False

    def __call__(self, tokens: ScoredTokens, clip: ClipRange) -> Surrogate:
        means_B = (
            tokens.episode_mean_log_ratios_B()
            if self.whole_episodes
            else tokens.mean_log_ratios_B()
        )
        of_one_B_L = tokens.logprobs_B_L - tokens.logprobs_B_L.detach()  # 0, with a gradient
        ratio_B_L = bounded(means_B[:, None] + of_one_B_L).exp()
        return clipped(ratio_B_L, tokens.advantages_B_L, clip)


@final
@attrs.frozen
class ClippedWeight:
    """A clipped ratio as the weight of each token's log-probability: sg[clip(rho)] A log M_theta.

    No token loses its gradient; the weight of those whose ratio has left the range is limited, whatever the sign of A.
    Source: CISPO, arXiv:2506.13585, equations 4 and 5 (also ``compute_policy_loss_cispo`` of verl). There is no lower
    limit in the paper's own runs: ``clip_low`` infinite.

    Example:
      >>> tokens = ScoredTokens(logprobs_B_L=torch.tensor([[1.5]]).log(), old_logprobs_B_L=torch.zeros(1, 1),
      ...     mask_B_L=torch.ones(1, 1).bool(), advantages_B_L=torch.ones(1, 1), episodes_B=torch.tensor([0]))
      >>> round(ClippedWeight()(tokens, ClipRange()).values_B_L.item(), 4)  # 1.2 log 1.5
      0.4866

    Theory: Equation 11.4.
    """

    whole_episodes: bool = attrs.field(default=False, init=False)

    def __call__(self, tokens: ScoredTokens, clip: ClipRange) -> Surrogate:
        return clipped_weight(tokens.log_ratios_B_L.detach().exp(), tokens, clip)


@final
@attrs.frozen
class LeastPrefixWeight:
    """A clipped weight of each token, its ratio times the least of those before it: sg[clip(m rho)] A log M_theta.

    m = min(rho_1 .. rho_{l-1}) over the tokens that the policy chose before it in the reply, and 1 before the first.
    The exact weight is the prefix ratio rho_1 ... rho_l, whose variance grows with the length; m rho is that of up to
    two tokens, and stands for it in longer replies. If an earlier token has become unlikely, the tokens after it count
    little.

    Source: MinPRO, arXiv:2601.22718, by two public summaries that write out the objective. That m is 1 before the first
    token, and a reply the sequence, is ours [ours].

    Example:
      >>> tokens = ScoredTokens(logprobs_B_L=torch.tensor([[0.5, 1.5, 1.0]]).log(), old_logprobs_B_L=torch.zeros(1, 3),
      ...     mask_B_L=torch.ones(1, 3).bool(), advantages_B_L=torch.ones(1, 3), episodes_B=torch.tensor([0]))
      >>> no_limit = ClipRange(low=float("inf"), high=float("inf"))
      >>> values_B_L = LeastPrefixWeight()(tokens, no_limit).values_B_L
      >>> (values_B_L[0, :2] / tokens.logprobs_B_L[0, :2]).tolist()  # 1/2, and 1/2 times 3/2
      [0.5, 0.75]

    Theory: Equation 11.10.
    """

    whole_episodes: bool = attrs.field(default=False, init=False)

    def __call__(self, tokens: ScoredTokens, clip: ClipRange) -> Surrogate:
        log_ratios_B_L = tokens.log_ratios_B_L.detach()
        chosen_B_L = log_ratios_B_L.masked_fill(~tokens.mask_B_L, math.inf)
        least_B_L = chosen_B_L.cummin(-1).values.roll(1, -1)
        least_B_L[:, :1] = math.inf
        least_B_L = least_B_L.masked_fill(least_B_L == math.inf, 0.0)  # no token before: 1
        ratio_B_L = bounded(least_B_L + log_ratios_B_L).exp()
        return clipped_weight(ratio_B_L, tokens, clip)


RATIOS: Mapping[str, RatioKind] = {
    "token": TokenRatio(),
    "gspo": SequenceRatio(),
    "gspo-episode": SequenceRatio(whole_episodes=True),
    "cispo": ClippedWeight(),
    "minpro": LeastPrefixWeight(),
}
"""The ratio kinds by name."""


def find_ratio(setting: str) -> RatioKind:
    """A ratio kind by its name, or by ``module:object`` for the user's own.

    Raises:
      InvalidArgumentError: there is no such kind.

    Example:
      >>> find_ratio("gspo")
      SequenceRatio(whole_episodes=False)
    """
    return checked_ratio(find_rule(setting, RATIOS, option="ratio"))


def checked_ratio(ratio: object) -> RatioKind:
    """An object, if it is a ratio kind.

    Raises:
      InvalidArgumentError: it is something else, or has a state, which nothing would save.

    Example:
      >>> checked_ratio(TokenRatio())
      TokenRatio(whole_episodes=False)
    """
    if not isinstance(ratio, RatioKind):
        raise InvalidArgumentError(
            f"'ratio' must be a ratio kind, which has 'whole_episodes' (got {ratio!r:.100})"
        )
    if isinstance(ratio, StatefulRule):
        raise InvalidArgumentError(
            f"'ratio' must have no state, since it is called again for every micro-batch (got {ratio!r:.100})"
        )
    return ratio


def clipped(ratio_B_L: Tensor, advantages_B_L: Tensor, clip: ClipRange) -> Surrogate:
    """The pessimistic surrogate min(rho A, clip(rho) A): clipped where rho has left the range in the direction of A.

    Args:
      ratio_B_L: rho, with its gradient. Shape (B, L).
      advantages_B_L: A. The same shape.
      clip: the range.

    Example:
      >>> clipped(torch.tensor([[2.0, 2.0]]), torch.tensor([[1.0, -1.0]]), ClipRange()).values_B_L
      tensor([[ 1.2000, -2.0000]])

    Theory: Equation 5.5, Equation 11.1.
    """
    least, greatest = clip.limits
    limited_B_L = ratio_B_L.clamp(least, greatest)
    found_B_L = ratio_B_L.detach()
    return Surrogate(
        values_B_L=torch.minimum(ratio_B_L * advantages_B_L, limited_B_L * advantages_B_L),
        clipped_B_L=((advantages_B_L > 0) & (found_B_L > greatest))
        | ((advantages_B_L < 0) & (found_B_L < least)),
    )


def clipped_weight(ratio_B_L: Tensor, tokens: ScoredTokens, clip: ClipRange) -> Surrogate:
    """The surrogate clip(rho) A log M_theta, whose weight is held constant.

    Args:
      ratio_B_L: rho, without a gradient. Shape (B, L).
      tokens: their log-probabilities and advantages.
      clip: the range.

    Example:
      >>> tokens = ScoredTokens(logprobs_B_L=torch.full((1, 1), -2.0), old_logprobs_B_L=torch.zeros(1, 1),
      ...     mask_B_L=torch.ones(1, 1).bool(), advantages_B_L=torch.ones(1, 1), episodes_B=torch.tensor([0]))
      >>> clipped_weight(torch.full((1, 1), 0.5), tokens, ClipRange()).values_B_L  # 0.8 times -2
      tensor([[-1.6000]])

    Theory: Equation 11.4.
    """
    weight_B_L = ratio_B_L.clamp(*clip.limits)
    return Surrogate(
        values_B_L=weight_B_L * tokens.advantages_B_L * tokens.logprobs_B_L,
        clipped_B_L=weight_B_L != ratio_B_L,
    )


def bounded(log_ratio: Tensor) -> Tensor:
    """Log-ratios limited to ``LOG_RATIO_LIMIT``.

    Example:
      >>> bounded(torch.tensor([-30.0, 0.5])).tolist()
      [-20.0, 0.5]
    """
    return log_ratio.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)


def check_matrix(logprobs_B_L: Tensor) -> None:
    """Refuse log-probabilities without two axes.

    Example:
      >>> check_matrix(torch.zeros(2, 3)) is None
      True
    """
    if logprobs_B_L.ndim != 2:
        raise ShapeError(
            f"'logprobs_B_L' must have two axes, rows and tokens (got {tuple(logprobs_B_L.shape)})"
        )


def check_shapes(logprobs: Tensor, **others: Tensor | None) -> None:
    """Every tensor must have the shape of the log-probabilities; one named ``*_B``, only their rows.

    Example:
      >>> check_shapes(torch.zeros(2, 3), weights_B=torch.zeros(2)) is None
      True
    """
    for name, tensor in others.items():
        expected = logprobs.shape[:1] if name.endswith("_B") else logprobs.shape
        if tensor is not None and tensor.shape != expected:
            raise ShapeError(
                f"'{name}' must have shape {tuple(expected)} (got {tuple(tensor.shape)})"
            )
