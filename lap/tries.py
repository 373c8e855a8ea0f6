"""The legal actions' replies to a prompt as a trie, and the probabilities of drawing along it.

Only prefixes at which several tokens can follow are computed, and what leads to them; the tries of many prompts share
passes.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, final, runtime_checkable

import attrs
import torch
from torch import Tensor

from lap.engine.prefix_tree import Context, Ids, ReplyTree
from lap.engine.sampling import Sampling
from lap.errors import ModelError
from lap.model import EnumerableModel, StopCriterion
from lap.prompts import Prompt
from tsmg import Completion, Finite, GameLawError

_CONTEXTS_AT_ONCE = 256  # whose logits are held at once


@runtime_checkable
class WritingModel(EnumerableModel, Protocol):
    """A model with accessible distributions that can write a given reply (``lap.model.TrainableModel``)."""

    def written(
        self, prompt: Prompt, reply: str, *, stop_criterion: StopCriterion | None = None
    ) -> Completion:
        """The completion by which a given reply would be recorded."""
        ...

    def check_prompts(self, prompts: Sequence[Prompt], *, sampling: Sampling) -> None:
        """Refuse prompts that leave no room for the longest reply."""
        ...


@runtime_checkable
class _ContextModel(Protocol):
    """A model that computes the contexts of many prompts together."""

    token_budget: int

    def context_logits(self, trees: Sequence[ReplyTree]) -> tuple[Tensor, dict[Context, int]]: ...


@final
@attrs.frozen(kw_only=True, eq=False)
class Trie:
    """The replies that can be given to one prompt, one of which is drawn token by token.

    Attributes:
      prompt: the prompt.
      replies: the record of each, as it would be written; without log-probabilities.
      children: the tokens that can follow each prefix, in ascending order.

    Theory: Definition 14.1.
    """

    prompt: Prompt
    replies: tuple[Completion, ...]
    children: Mapping[Ids, tuple[int, ...]]

    @classmethod
    def of(
        cls,
        model: WritingModel,
        prompt: Prompt,
        replies: Sequence[str],
        *,
        stop_criterion: StopCriterion,
    ) -> "Trie":
        """The trie of given replies, in the tokens in which a model writes them.

        Raises:
          GameLawError: one reply equals another one, or is its beginning.
        """
        written = [model.written(prompt, text, stop_criterion=stop_criterion) for text in replies]
        ids = [reply.reply_ids for reply in written]
        whole = set(ids)
        if len(whole) < len(ids) or any(row[:n] in whole for row in ids for n in range(len(row))):
            raise GameLawError(
                "the reply of one action equals that of another, or is its beginning"
            )
        children: dict[Ids, set[int]] = {}
        for row in ids:
            for n, token in enumerate(row):
                children.setdefault(row[:n], set()).add(token)
        return cls(
            prompt=prompt,
            replies=tuple(attrs.evolve(x, reply_text=model.text(x.reply_ids)) for x in written),
            children={prefix: tuple(sorted(tokens)) for prefix, tokens in children.items()},
        )

    @property
    def branches(self) -> list[Ids]:
        """The prefixes at which a token is chosen."""
        return [prefix for prefix, tokens in self.children.items() if len(tokens) > 1]

    @property
    def tree(self) -> ReplyTree:
        """The contexts that are computed to draw from it."""
        return ReplyTree.of_prefixes(self.replies[0].prompt_ids, self.branches)

    def decoding(self, scores_C: Tensor, *, greedy: bool) -> "Decoding":
        """The probabilities of constrained decoding.

        Args:
          scores_C: what ``branch_scores`` gives.
          greedy: whether the most probable token is always taken.
        """
        logprobs: dict[tuple[Ids, int], float] = {}
        start = 0
        for prefix in self.branches:
            tokens = self.children[prefix]
            scores_B = scores_C[start : start + len(tokens)]
            start += len(tokens)
            if greedy:
                logprobs_B = torch.full_like(scores_B, -math.inf)
                logprobs_B[scores_B.argmax()] = 0.0
            else:
                logprobs_B = torch.log_softmax(scores_B, dim=-1)
            logprobs |= zip(((prefix, token) for token in tokens), logprobs_B.tolist(), strict=True)
        rows = tuple(
            tuple(logprobs.get((ids[:n], token), 0.0) for n, token in enumerate(ids))
            for ids in (reply.reply_ids for reply in self.replies)
        )
        dist = Finite([(number, math.exp(math.fsum(row))) for number, row in enumerate(rows)])
        return Decoding(trie=self, logprobs=rows, dist=dist)


@final
@attrs.frozen(kw_only=True, eq=False)
class Decoding:
    """A trie with the probabilities of drawing along it.

    Attributes:
      trie: the trie.
      logprobs: of each token of each reply, in nats; 0 if only one token can follow.
      dist: of the reply, by its number.
    """

    trie: Trie
    logprobs: tuple[tuple[float, ...], ...]
    dist: Finite[int]

    def record(self, number: int) -> Completion:
        """The record of a reply that was drawn, with its support; only what was chosen is trainable."""
        written = self.trie.replies[number]
        ids = written.reply_ids
        support = tuple(self.trie.children[ids[:n]] for n in range(len(ids)))
        could_be = zip(written.trainable, support, strict=True)
        return attrs.evolve(
            written,
            logprobs=self.logprobs[number],
            support=support,
            trainable=tuple(is_ours and len(kept) > 1 for is_ours, kept in could_be),
        )


def branch_scores(
    model: WritingModel, tries: Sequence[Trie], *, temperature: float
) -> list[Tensor]:
    """For each trie, the scores of its branches' children, one branch after the other.

    Args:
      model: the model.
      tries: to be computed together as far as its budget of tokens allows.
      temperature: divides the logits; above 0.

    Returns:
      Log-probabilities at the temperature, up to a constant for each branch. Shape (children of branches,), float64.

    Raises:
      ModelError: the logits are not finite.
    """
    choosing = [trie for trie in tries if trie.branches]
    if isinstance(model, _ContextModel):
        parts = _passes(choosing, model.token_budget)
        scores = [row_C / temperature for part in parts for row_C in _part_scores(model, part)]
    else:
        sampling = Sampling(temperature=temperature)
        scores = [_looked_up(model, trie, sampling) for trie in choosing]
    if not all(bool((row_C < math.inf).all()) for row_C in scores):  # as NaN is not, either
        raise ModelError(f"the logits of {model.model_id!r} are not finite")
    found = iter(scores)
    nothing = torch.empty(0, dtype=torch.float64)
    return [next(found) if trie.branches else nothing for trie in tries]


def _looked_up(model: WritingModel, trie: Trie, sampling: Sampling) -> Tensor:
    """The same for one trie, of a model that computes one prompt at a time."""
    dists_P_V = model.next_logprobs(trie.prompt, trie.branches, sampling=sampling)
    rows = zip(dists_P_V, trie.branches, strict=True)
    return torch.cat([dist_V[list(trie.children[prefix])] for dist_V, prefix in rows]).double()


def _part_scores(model: _ContextModel, tries: Sequence[Trie]) -> list[Tensor]:
    """The logits of branches' children, from one pass. Shape (children of branches,) for each trie, float64."""
    logits, row_of = model.context_logits([trie.tree for trie in tries])
    rows: list[int] = []
    tokens: list[int] = []
    ends = [0]
    for trie in tries:
        for prefix in trie.branches:
            rows += [row_of[trie.replies[0].prompt_ids, prefix]] * len(trie.children[prefix])
            tokens += trie.children[prefix]
        ends.append(len(tokens))
    scores = logits[rows, tokens].double().cpu()
    return [scores[start:end] for start, end in itertools.pairwise(ends)]


def _passes(tries: Sequence[Trie], budget: int) -> Iterator[list[Trie]]:
    """Tries in parts, each within a number of tokens and of contexts, or of one trie."""
    part: list[Trie] = []
    tokens = contexts = 0
    for trie in tries:
        tree = trie.tree
        tokens, contexts = tokens + tree.size, contexts + len(tree.prefixes)
        if part and (tokens > budget or contexts > _CONTEXTS_AT_ONCE):
            yield part
            part, tokens, contexts = [], tree.size, len(tree.prefixes)
        part.append(trie)
    if part:
        yield part
