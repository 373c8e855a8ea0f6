"""Whether recorded log-probabilities of sampled tokens agree with a model's scores: equal weights give equal numbers.

The two may differ by rounding only. If they differ by more, an engine does not compute what it reports.
"""

import math
from collections.abc import Sequence

import attrs
import torch
from torch import Tensor

from lap.engine.sampling import TokenLogprobs
from tsmg import Completion

# Greatest |log ratio| that rounding explains, in nats; docs/reference/faults.md says what was measured.
LOGPROB_TOLERANCES = {
    torch.float64: 1e-3,
    torch.float32: 1e-3,
    torch.float16: 0.125,
    torch.bfloat16: 1.0,
}

# Greatest mean |log ratio| over tokens that rounding explains, in nats; docs/how_to/endpoints.md has what was measured.
MEAN_LOGPROB_TOLERANCES = {
    torch.float64: 1e-4,
    torch.float32: 1e-4,
    torch.float16: 0.02,
    torch.bfloat16: 0.1,
}
_FEW = 32  # tokens; the mean of fewer is left to chance


@attrs.frozen(kw_only=True)
class Disagreement:
    """A token whose recorded log-probability differs from the one with which it is scored.

    Attributes:
      token: its id.
      position: its index in the reply.
      reply: the text of the reply.
      recorded, scored: the two log-probabilities, in nats.
    """

    token: int
    position: int
    reply: str
    recorded: float
    scored: float

    @property
    def size(self) -> float:
        """|log ratio|, in nats; infinite if it is not a number, so that it is the greatest."""
        size = abs(self.scored - self.recorded)
        return math.inf if math.isnan(size) else size


def recorded_logprobs(completions: Sequence[Completion]) -> Tensor:
    """The log M_old of the tokens as sampled, 0 after the end of a reply. Shape (B, L), float32."""
    width = max(len(completion.logprobs) for completion in completions)
    return torch.tensor(
        [
            (*completion.logprobs, *(0.0,) * (width - len(completion.logprobs)))
            for completion in completions
        ]
    )


def largest_disagreement(
    completions: Sequence[Completion], scores: TokenLogprobs
) -> Disagreement | None:
    """The sampled token with the greatest |log ratio|; one that is not finite counts as the greatest.

    Args:
      completions: the records, at least one.
      scores: what a model says of them.

    Returns:
      ``None`` if no token was sampled.
    """
    if not scores.mask_B_L.any():
        return None
    distance_B_L = _distances(completions, scores).masked_fill(~scores.mask_B_L, -1.0)
    b, token = divmod(int(distance_B_L.argmax()), distance_B_L.shape[1])
    return Disagreement(
        token=completions[b].reply_ids[token],
        position=token,
        reply=completions[b].reply_text,
        recorded=float(recorded_logprobs(completions[b : b + 1])[0, token]),
        scored=float(scores.logprobs_B_L[b, token]),
    )


def mean_disagreement(completions: Sequence[Completion], scores: TokenLogprobs) -> float:
    """The mean |log ratio| over sampled tokens, in nats; infinite if one is not finite.

    Other weights change most tokens, whereas rounding changes only few of them by much, so the mean says more than the
    greatest. Fewer than 32 tokens are counted as 32, of which the others agree, since a single token must not decide.

    Args:
      completions: the records, at least one.
      scores: what a model says of them.
    """
    distances = _distances(completions, scores)[scores.mask_B_L]
    return float(distances.sum()) / max(_FEW, len(distances))


def _distances(completions: Sequence[Completion], scores: TokenLogprobs) -> Tensor:
    """|log ratio| of every token, in nats; infinite if it is not finite. Shape (B, L)."""
    scored_B_L = scores.logprobs_B_L.detach()
    distance_B_L = (scored_B_L - recorded_logprobs(completions).to(scored_B_L)).abs()
    return distance_B_L.nan_to_num(torch.inf, posinf=torch.inf)
