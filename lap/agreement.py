"""Whether what was recorded of sampled tokens is what a model scores them with: the same weights give the same numbers.

Nothing but rounding may lie between the two. Where more does, an engine computes something else than it says.
"""

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor

from lap.engine.sampling import TokenLogprobs
from tsmg import Completion

# Greatest |log ratio| that rounding explains, in nats; docs/faults.md says what was measured.
LOGPROB_TOLERANCES = {
    torch.float64: 1e-3,
    torch.float32: 1e-3,
    torch.float16: 0.125,
    torch.bfloat16: 1.0,
}


@attrs.frozen(kw_only=True)
class Disagreement:
    """A token whose recorded log-probability is not the one that it is scored with.

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
        """|log ratio|, in nats."""
        return abs(self.scored - self.recorded)


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
      ``None`` where no token was sampled.
    """
    scored_B_L = scores.logprobs_B_L.detach()
    recorded_B_L = recorded_logprobs(completions).to(scored_B_L)
    distance_B_L = (scored_B_L - recorded_B_L).abs().nan_to_num(torch.inf, posinf=torch.inf)
    distance_B_L = distance_B_L.masked_fill(~scores.mask_B_L, -1.0)
    b, token = divmod(int(distance_B_L.argmax()), distance_B_L.shape[1])
    if distance_B_L[b, token] < 0:
        return None
    return Disagreement(
        token=completions[b].reply_ids[token],
        position=token,
        reply=completions[b].reply_text,
        recorded=float(recorded_B_L[b, token]),
        scored=float(scored_B_L[b, token]),
    )
