"""The law of whole replies: every reply that a model can give, with its probability.

M(y | x) = prod_l M(y_l | x, y_<l), over the strings y of at most L tokens. Small vocabularies only: the replies are
listed, for exact statements about a policy.
"""

import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from lap.engine.sampling import Sampling
from lap.model import Decided
from lap.prompts import Prompt
from tsmg import Call, Finite, NotEnumerableError

REPLY_LIMIT = 10_000


@runtime_checkable
class ListableModel(Protocol):
    """A model whose replies can be listed, token by token."""

    def next_logprobs(
        self, prompt: Prompt, prefixes: Sequence[Sequence[int]], *, sampling: Sampling
    ) -> Tensor:
        """Log-probabilities of the next token after each beginning of a reply. Shape (P, V)."""
        ...

    def is_end(self, token: int) -> bool:
        """Whether the token ends a reply."""
        ...

    def text(self, ids: Sequence[int]) -> str:
        """The string that token ids stand for."""
        ...

    def record(
        self,
        prompt: Prompt,
        ids: Sequence[int],
        logprobs: Sequence[float],
        support: Sequence[tuple[int, ...]] | None = None,
        *,
        finished: bool = True,
    ) -> Call:
        """The record of a reply."""
        ...


# Token ids so far, their log-probabilities, and the support that each was chosen from.
_Begun = tuple[tuple[int, ...], tuple[float, ...], tuple[tuple[int, ...], ...]]


@torch.no_grad()
def reply_dist(
    model: ListableModel,
    prompt: Prompt,
    *,
    sampling: Sampling,
    decided: Decided | None = None,
    limit: int = REPLY_LIMIT,
) -> Finite[Call]:
    """The law of the model's reply, as the records that sampling would make.

    Args:
      model: whose replies.
      prompt: what is asked.
      sampling: the law of each token, and where replies are cut.
      decided: says whether a reply may stop, given its text so far.
      limit: how many replies are listed at most.

    Raises:
      NotEnumerableError: there are more replies; the message says how many were found, and at which length.

    Example:
      >>> from lap import TabularModel
      >>> law = reply_dist(TabularModel(("a", "b")), Prompt(()), sampling=Sampling(max_reply_tokens=1))
      >>> sorted((call.reply_text, round(p, 4)) for call, p in law.atoms())
      [('', 0.3333), ('a', 0.3333), ('b', 0.3333)]
    """
    found: list[tuple[Call, float]] = []
    growing: list[_Begun] = [((), (), ())]
    for length in range(1, sampling.max_reply_tokens + 1):
        law_P_V = model.next_logprobs(prompt, [ids for ids, _, _ in growing], sampling=sampling)
        law_P_V = torch.log_softmax(law_P_V.double(), dim=-1)  # sums to 1 beyond float32, too
        longer: list[_Begun] = []
        for (ids, logprobs, support), law_V in zip(growing, law_P_V, strict=True):
            kept = tuple(law_V.isfinite().nonzero()[:, 0].tolist())
            supports = (*support, kept)
            for token in kept:
                grown = (*ids, token), (*logprobs, float(law_V[token])), supports
                over = model.is_end(token) or bool(decided and decided(model.text(grown[0])))
                if not over and length < sampling.max_reply_tokens:
                    longer.append(grown)
                    continue
                call = model.record(
                    prompt, *grown[:2], supports if sampling.truncates else None, finished=over
                )
                found.append((call, math.exp(math.fsum(grown[1]))))
            if len(found) + len(longer) > limit:
                raise NotEnumerableError(
                    f"the model has more than {limit} replies: {len(found) + len(longer)} with "
                    f"{length} of {sampling.max_reply_tokens} tokens; a smaller vocabulary or a "
                    "smaller 'max_reply_tokens' is needed"
                )
        growing = longer
        if not growing:
            break
    return Finite(found)
