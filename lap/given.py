"""Replies whose beginning is given to the model: which tokens were given and which were sampled."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lap.errors import ModelError
from lap.prompts import Prompt


def rest_of(reply: str, prompt: Prompt) -> str:
    """The part of a reply after its given beginning.

    Raises:
      ModelError: the reply does not begin as the prompt says.
    """
    if not reply.startswith(prompt.prefill):
        raise ModelError(
            f"a reply to this prompt begins with {prompt.prefill!r} ('prefill'; got {reply!r})"
        )
    return reply[len(prompt.prefill) :]


def sampled_flags(given: Sequence[int], reply: Sequence[int]) -> tuple[bool, ...]:
    """For each token of a reply, whether it was sampled rather than given.

    Raises:
      ModelError: the reply does not begin with the given tokens.
    """
    if tuple(reply[: len(given)]) != tuple(given):
        raise ModelError("the reply does not begin as its prompt requires ('prefill')")
    return (False,) * len(given) + (True,) * (len(reply) - len(given))


def with_given_tokens(
    logprobs_P_V: Tensor, given: Sequence[int], prefixes: Sequence[Sequence[int]]
) -> Tensor:
    """Log-probabilities after beginnings of replies, all on the given token where the next one is given.

    Args:
      logprobs_P_V: of a model that is free to say anything. Shape (P, V).
      given: the tokens with which every reply begins.
      prefixes: the beginnings.
    """
    rows = [n for n, prefix in enumerate(prefixes) if len(prefix) < len(given)]
    if not rows:
        return logprobs_P_V
    forced_P_V = logprobs_P_V.clone()
    forced_P_V[rows] = -torch.inf
    forced_P_V[rows, [given[len(prefixes[n])] for n in rows]] = 0.0
    return forced_P_V
