"""The distribution of whole replies: every reply that a model can give, with its probability.

M(y | x) = prod_l M(y_l | x, y_<l), over the strings y of at most L tokens. Small vocabularies only: the replies are
listed, for exact statements about a policy.
"""

import math

import torch

from lap.engine.sampling import Sampling
from lap.model import EnumerableModel, PrefillingModel, StopCriterion
from lap.prompts import Prompt
from tsmg import Completion, Finite, NotEnumerableError

REPLY_LIMIT = 10_000


# Token ids so far, their log-probabilities, and the support that each was chosen from.
_Begun = tuple[tuple[int, ...], tuple[float, ...], tuple[tuple[int, ...], ...]]


@torch.no_grad()
def reply_dist(
    model: EnumerableModel,
    prompt: Prompt,
    *,
    sampling: Sampling,
    stop_criterion: StopCriterion | None = None,
    limit: int = REPLY_LIMIT,
) -> Finite[Completion]:
    """The distribution of the model's reply, over the records that sampling would make.

    Args:
      model: the model that replies.
      prompt: the prompt.
      sampling: the distribution of each token, and where replies are cut.
      stop_criterion: says whether a reply may stop, given its text so far.
      limit: the greatest number of replies to list.

    Raises:
      NotEnumerableError: there are more replies; the message says how many were found, and at which length.

    Example:
      >>> from lap import TabularModel
      >>> dist = reply_dist(TabularModel(("a", "b")), Prompt(()), sampling=Sampling(max_reply_tokens=1))
      >>> sorted((completion.reply_text, round(p, 4)) for completion, p in dist.enumerate())
      [('', 0.3333), ('a', 0.3333), ('b', 0.3333)]

    Theory: Equation 3.1.
    """
    found: list[tuple[Completion, float]] = []
    given = model.given_ids(prompt) if isinstance(model, PrefillingModel) else ()
    growing: list[_Begun] = [(given, (0.0,) * len(given), tuple((token,) for token in given))]
    for length in range(1, sampling.max_reply_tokens + 1):
        logprobs_P_V = model.next_logprobs(
            prompt, [ids for ids, _, _ in growing], sampling=sampling
        )
        logprobs_P_V = torch.log_softmax(
            logprobs_P_V.double(), dim=-1
        )  # sums to 1 beyond float32, too
        longer: list[_Begun] = []
        for (ids, logprobs, support), logprobs_V in zip(growing, logprobs_P_V, strict=True):
            kept = tuple(logprobs_V.isfinite().nonzero()[:, 0].tolist())
            supports = (*support, kept)
            for token in kept:
                grown = (*ids, token), (*logprobs, float(logprobs_V[token])), supports
                over = model.is_end(token) or bool(
                    stop_criterion and stop_criterion(model.text(grown[0]))
                )
                if not over and length < sampling.max_reply_tokens:
                    longer.append(grown)
                    continue
                completion = model.record(
                    prompt, *grown[:2], supports if sampling.truncates else None, finished=over
                )
                found.append((completion, math.exp(math.fsum(grown[1]))))
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
