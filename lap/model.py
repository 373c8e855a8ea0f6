"""M_theta, the language model of a policy: what every backend offers."""

from collections.abc import Callable, Sequence
from typing import Protocol

import attrs
import torch
from torch import Tensor

from lap.engine.sampling import Sampling
from lap.prompts import Prompt
from tsmg import Completion, Stream

StopCriterion = Callable[[str], bool]


@attrs.frozen(kw_only=True, eq=False)
class TokenLogprobs:
    """What learning needs to know about recorded replies. B calls, L tokens of the longest reply.

    Attributes:
      logprobs_B_L: log-probability of each recorded token under the present weights, in nats; differentiable; 0
        after the end of a reply.
      entropies_B_L: entropy of the distribution that each token was drawn from, in nats; differentiable.
      mask_B_L: True where the policy chose the token: the loss mask.
    """

    logprobs_B_L: Tensor
    entropies_B_L: Tensor
    mask_B_L: Tensor


class LanguageModel(Protocol):
    """A model that replies to prompts and can say how likely its replies were.

    Attributes:
      model_id: what the records call it.
      weights_version: how many optimiser steps its weights have seen.
    """

    model_id: str
    weights_version: int

    def sample(
        self,
        prompts: Sequence[Prompt],
        rngs: Sequence[Stream],
        *,
        sampling: Sampling,
        stop_criterion: StopCriterion | None = None,
    ) -> list[Completion]:
        """One reply per prompt; the l-th token of row b is picked by ``rngs[b].at(l)`` alone.

        Args:
          prompts: what is asked.
          rngs: one stream per prompt.
          sampling: the distribution to sample from.
          stop_criterion: says whether a reply may stop, given its text so far.
        """
        ...

    def logprobs(self, completions: Sequence[Completion], *, sampling: Sampling) -> TokenLogprobs:
        """Log-probabilities of recorded replies under the present weights, differentiable.

        Raises:
          ModelError: the sampling is greedy (a point mass has no score).
        """
        ...


class TrainableModel(LanguageModel, Protocol):
    """A language model with weights to learn.

    Attributes:
      network: the module whose parameters are learnt.
    """

    network: torch.nn.Module

    def written(
        self, prompt: Prompt, reply: str, *, stop_criterion: StopCriterion | None = None
    ) -> Completion:
        """The call by which a given reply would be recorded, in the tokens that the model writes texts in.

        Its log-probabilities are not known, and are 0 in the record.

        Args:
          prompt: what is asked.
          reply: the text.
          stop_criterion: says whether a reply may stop, given its text so far; otherwise it stops with an end token.

        Raises:
          ModelError: the model cannot say the reply.
        """
        ...
