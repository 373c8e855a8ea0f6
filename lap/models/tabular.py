"""A tabular model: one free row of logits per context. It is exact and tiny, and its distribution is explicit.

A context is a prompt's text together with the reply tokens so far. Rows are independent and in float64, so a
reply never depends on which others are sampled beside it, not even in its last bit.
"""

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor

from lap.engine.sampling import (
    Sampling,
    TokenLogprobs,
    entropy,
    pick_tokens,
    support_mask,
    token_logprobs,
)
from lap.errors import ModelError
from lap.given import rest_of, sampled_flags, with_given_tokens
from lap.model import StopCriterion, TrainableModel
from lap.prompts import Prompt
from tsmg import Completion, InvalidArgumentError, Stream

Context = tuple[str, tuple[int, ...]]


@final
class _Table(torch.nn.Module):
    def __init__(self, capacity: int, vocabulary: int) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(torch.zeros(capacity, vocabulary, dtype=torch.float64))


@final
class TabularModel(TrainableModel):
    """A language model whose next-token distributions are the rows of a table.

    A context gets its row when it is first seen; until it is learnt, its distribution is uniform. The vocabulary's last
    token (number ``len(vocabulary)``) ends a reply.

    Args:
      vocabulary: the text of each token; at least one, none empty.
      capacity: how many contexts the table can hold.
      model_id: what the records call it.

    Raises:
      InvalidArgumentError: an empty vocabulary or token, or no capacity.
    """

    def __init__(
        self, vocabulary: Sequence[str], *, capacity: int = 1024, model_id: str = "tabular"
    ) -> None:
        if not vocabulary or "" in vocabulary or capacity < 1:
            raise InvalidArgumentError(
                f"'vocabulary' must hold non-empty tokens (got {vocabulary!r}) "
                f"and 'capacity' at least 1 (got {capacity})"
            )
        self.vocabulary = tuple(vocabulary)
        self.end = len(self.vocabulary)
        self.network = _Table(capacity, len(self.vocabulary) + 1)
        self.model_id = model_id
        self.weights_version = 0
        self._rows: dict[Context, int] = {}

    @property
    def logits(self) -> torch.nn.Parameter:
        """The table. Shape (capacity, len(vocabulary) + 1), float64."""
        return self.network.logits

    @property
    def contexts(self) -> tuple[Context, ...]:
        """The contexts seen so far, in the order of their rows."""
        return tuple(self._rows)

    def state_values(self) -> Mapping[str, object]:
        """The context of each row of the table."""
        return {"contexts": self.contexts}

    def load_state_values(self, values: Mapping[str, Any]) -> None:
        """Assign rows to contexts, in the order in which they were assigned before."""
        for text, prefix in values["contexts"]:
            self.row(text, prefix)

    def row(self, prompt_text: str, prefix: Sequence[int] = ()) -> int:
        """The row of a context, assigned at first sight.

        Raises:
          ModelError: the table is full.
        """
        context = (prompt_text, tuple(prefix))
        if context not in self._rows and len(self._rows) == len(self.logits):
            raise ModelError(f"the table holds at most {len(self.logits)} contexts")
        return self._rows.setdefault(context, len(self._rows))

    def sample(
        self,
        prompts: Sequence[Prompt],
        rngs: Sequence[Stream],
        *,
        sampling: Sampling,
        stop_criterion: StopCriterion | None = None,
    ) -> list[Completion]:
        """One reply per prompt, token by token from the table."""
        pairs = zip(prompts, rngs, strict=True)
        return [self._completion(prompt, rng, sampling, stop_criterion) for prompt, rng in pairs]

    @torch.no_grad()
    def _completion(
        self, prompt: Prompt, rng: Stream, sampling: Sampling, stop_criterion: StopCriterion | None
    ) -> Completion:
        ids = list(self.given_ids(prompt))
        given = len(ids)
        logprobs = [0.0] * given
        support = [(token,) for token in ids]
        finished = False
        while not finished and len(ids) - given < sampling.max_reply_tokens:
            logprobs_V = self.next_logprobs(prompt, [tuple(ids)], sampling=sampling)[0]
            token = int(pick_tokens(logprobs_V[None], [rng.at(len(ids) - given)]))
            support.append(tuple(logprobs_V.isfinite().nonzero()[:, 0].tolist()))
            logprobs.append(float(logprobs_V[token]))
            ids.append(token)
            finished = self.is_end(token) or (
                stop_criterion is not None and stop_criterion(self.text(ids))
            )
        return self.record(
            prompt, ids, logprobs, support if sampling.truncates else None, finished=finished
        )

    def next_logprobs(
        self, prompt: Prompt, prefixes: Sequence[Sequence[int]], *, sampling: Sampling
    ) -> Tensor:
        """Log-probabilities of the next token after each beginning of a reply. Shape (P, V)."""
        rows = [self.row(prompt.text, prefix) for prefix in prefixes]
        logprobs_P_V = token_logprobs(self.logits[rows], sampling)
        return with_given_tokens(logprobs_P_V, self.given_ids(prompt), prefixes)

    def given_ids(self, prompt: Prompt) -> tuple[int, ...]:
        """The tokens with which every reply to the prompt begins."""
        return tuple(self._spelt(prompt.prefill))

    def is_end(self, token: int) -> bool:
        """Whether the token ends a reply."""
        return token == self.end

    def record(
        self,
        prompt: Prompt,
        ids: Sequence[int],
        logprobs: Sequence[float],
        support: Sequence[tuple[int, ...]] | None = None,
        *,
        finished: bool = True,
    ) -> Completion:
        """The record of a reply."""
        return Completion(
            prompt_ids=tuple(prompt.text.encode(errors="surrogatepass")),
            reply_ids=tuple(ids),
            trainable=sampled_flags(self.given_ids(prompt), ids),
            logprobs=tuple(logprobs),
            support=None if support is None else tuple(support),
            finished=finished,
            prompt_text=prompt.text,
            reply_text=self.text(ids),
            model_id=self.model_id,
            weights_version=self.weights_version,
        )

    def written(
        self, prompt: Prompt, reply: str, *, stop_criterion: StopCriterion | None = None
    ) -> Completion:
        """The completion by which a given reply would be recorded; at each place it takes the longest token that fits.

        Raises:
          ModelError: the vocabulary cannot spell the reply.
        """
        rest = rest_of(reply, prompt)
        ids = [*self.given_ids(prompt), *self._spelt(rest)]
        if not (stop_criterion and stop_criterion(reply)):
            ids.append(self.end)
        return self.record(prompt, ids, (0.0,) * len(ids))

    def _spelt(self, reply: str) -> list[int]:
        ids: list[int] = []
        rest = reply
        while rest:
            fitting = [n for n, token in enumerate(self.vocabulary) if rest.startswith(token)]
            if not fitting:
                raise ModelError(f"the vocabulary cannot spell {reply!r}")
            ids.append(max(fitting, key=lambda n: len(self.vocabulary[n])))
            rest = rest[len(self.vocabulary[ids[-1]]) :]
        return ids

    def text(self, ids: Sequence[int]) -> str:
        """The text of token ids; that of the end token is empty."""
        return "".join(self.vocabulary[token] for token in ids if token != self.end)

    def logprobs(self, completions: Sequence[Completion], *, sampling: Sampling) -> TokenLogprobs:
        """Log-probabilities of recorded replies; differentiable in ``logits``."""
        if sampling.is_greedy:
            raise ModelError("temperature 0 is for evaluation only: a point mass has no score")
        width = max((len(completion.reply_ids) for completion in completions), default=0)
        dists = [self._dists(completion, sampling) for completion in completions]

        def padded(rows: list[Tensor]) -> Tensor:
            return torch.stack(
                [torch.nn.functional.pad(row, (0, width - len(row))) for row in rows]
            )

        ids = [torch.tensor(completion.reply_ids) for completion in completions]
        chosen = [
            dist.gather(1, token[:, None])[:, 0] for dist, token in zip(dists, ids, strict=True)
        ]
        masks = [torch.tensor(completion.trainable) for completion in completions]
        return TokenLogprobs(
            logprobs_B_L=padded(chosen),
            entropies_B_L=padded([entropy(dist) for dist in dists]),
            mask_B_L=padded(masks).bool(),
        )

    def _dists(self, completion: Completion, sampling: Sampling) -> Tensor:
        rows = [
            self.row(completion.prompt_text, completion.reply_ids[:l])
            for l in range(len(completion.reply_ids))
        ]
        scaled_L_V = self.logits[rows] / sampling.temperature
        if completion.support is not None:
            kept_L_V = support_mask(completion.support, scaled_L_V.shape[-1])
            scaled_L_V = scaled_L_V.masked_fill(~kept_L_V, -torch.inf)
        return torch.log_softmax(scaled_L_V, dim=-1)
