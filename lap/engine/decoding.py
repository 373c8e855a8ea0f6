"""The sampling engine: replies to many prompts, from one key-value cache.

A *context* is a prompt and the beginning of a reply to it; its next-token logits are computed once, however many
replies come by. Replies draw as long as the logits of their contexts are known. Then one forward pass computes the
contexts that they wait at: those that go on from a row of the cache, by one token; others, as whole rows that enter
the cache beside them as room allows. Rows that no reply waits for leave it.

What prompts have in common at their beginning is computed once for all rows that enter together.

Replies of a game are often few. Once nearly all of them have taken the same few ways, further prompts are computed
together with these ways, as trees in rows of one pass (``lap.engine.contexts``): most replies are then drawn without
another pass, and one that goes its own way enters the cache.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, final

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from lap.engine.contexts import (
    Ids,
    ReplyTree,
    causal_network,
    context_logits,
    in_common,
    left_padded,
    positions,
)
from lap.engine.sampling import Sampling, pick_tokens, token_logprobs
from lap.errors import ModelError
from tsmg import Stream

Context = tuple[Ids, Ids]
"""The ids of a prompt, and of the reply so far."""

_SHARED = 16  # a beginning that is shorter is not worth a forward pass of its own
_WAYS = 16  # so many beginnings of replies are worth computing beside a prompt
_COVERED = 0.95  # least share of the draws at which they must have been
_LONG = 512  # a prompt of more tokens is cheaper in the cache, without a mask of its own


class Judge(Protocol):
    """Says of the ids of a reply what they spell, and whether it is over."""

    def __call__(self, ids: Ids) -> tuple[str, bool]:
        """The text, and whether the reply ends here."""
        ...


@final
class ReplyState:
    """One reply while it grows.

    Args:
      prompt: ids of the prompt.
      rng: its stream.
    """

    __slots__ = ("finished", "ids", "logprobs", "prompt", "rng", "support", "text")

    def __init__(self, prompt: Ids, rng: Stream) -> None:
        self.prompt = prompt
        self.rng = rng
        self.ids: Ids = ()
        self.logprobs: list[float] = []
        self.support: list[tuple[int, ...]] = []
        self.text = ""
        self.finished = False

    @property
    def context(self) -> Context:
        """Where its next token is drawn."""
        return self.prompt, self.ids


@final
class LogitCache:
    """Next-token logits of contexts, and what replies spell, under one and the same weights.

    Args:
      limit: bytes of logits to hold; when they are full all are forgotten but the latest, which are always held.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.judged: dict[Ids, tuple[str, bool]] = {}
        self._draws: Counter[Ids] = Counter()
        self._rows: dict[Context, int] = {}
        self._table = torch.empty(0, 0)

    def __contains__(self, context: Context) -> bool:
        return context in self._rows

    def drawn(self, beginnings: Iterable[Ids]) -> None:
        """Note where replies draw a token."""
        self._draws.update(beginnings)

    def ways(self) -> list[Ids]:
        """The beginnings at which nearly all tokens were drawn; none where they are many, or nothing was drawn."""
        common = self._draws.most_common(_WAYS)
        if sum(times for _, times in common) < _COVERED * self._draws.total():
            return []
        return [beginning for beginning, _ in common]

    def holds(self, contexts: int, vocabulary: int) -> bool:
        """Whether so many contexts fit at once. Logits are float32."""
        return contexts * vocabulary * 4 <= self.limit

    def add(self, contexts: Sequence[Context], logits: Tensor) -> None:
        """Hold the logits of further contexts. Shape (len(contexts), V)."""
        used = len(self._rows)
        size = (used + len(contexts)) * logits.shape[1] * logits.element_size()
        if not used or size > self.limit:
            used, self._rows, self._table = 0, {}, logits
        else:
            self._reserve(used + len(contexts))
            self._table[used : used + len(contexts)] = logits
        self._rows.update((context, used + n) for n, context in enumerate(contexts))

    def _reserve(self, rows: int) -> None:
        held = len(self._table)
        if rows > held:
            more = self._table.new_empty(max(rows, 2 * held) - held, self._table.shape[1])
            self._table = torch.cat([self._table, more])

    def logits(self, contexts: Iterable[Context]) -> Tensor:
        """The logits of contexts that are held. Shape (contexts, V), float32."""
        return self._table[[self._rows[context] for context in contexts]]


def decode(
    network: Any,
    replies: Sequence[ReplyState],
    *,
    sampling: Sampling,
    judge: Judge,
    budget: int,
    memory: LogitCache,
    trees: bool = False,
) -> None:
    """Let replies grow until each is over.

    Args:
      network: a causal language model of the transformers library, wrapped or not.
      replies: what to grow, in place; the l-th token of each is picked by ``rng.at(l)`` alone.
      sampling: the distribution to draw from.
      judge: says what a reply spells and whether it is over.
      budget: tokens of a pass in which prompts enter, and of the cache beside them, padding included; a single row
        may have more, and rows part as their replies do.
      memory: what is known under these weights; it learns what is computed.
      trees: whether the network can score trees in shared rows (the layout ``trees`` of ``lap.engine.contexts``).

    Raises:
      ModelError: the logits are not finite.
    """
    cache = _Cache(network, budget)
    growing = list(replies)
    while growing:
        ready = [reply for reply in growing if reply.context in memory]
        if ready:
            _draw(ready, sampling, judge, memory)
            growing = [r for r in growing if not _is_over(r, sampling)]
            continue
        wanted = list(dict.fromkeys(reply.context for reply in growing))
        likely = _likely(network, wanted, budget, memory) if trees else []
        if likely:
            logits = _finite(network, context_logits(network, likely, "tree_attention"))
            memory.add([(t.prompt, beginning) for t in likely for beginning in t.prefixes], logits)
        else:
            memory.add(*cache.compute(wanted))


def _likely(
    network: Any, wanted: Sequence[Context], budget: int, memory: LogitCache
) -> list[ReplyTree]:
    """Prompts that nothing is known of yet, each with the ways that replies usually take; as far as there is room."""
    ways = memory.ways()
    vocabulary = causal_network(network).config.get_text_config().vocab_size
    found: list[ReplyTree] = []
    size = contexts = 0
    for prompt, begun in wanted if ways else ():
        if begun or len(prompt) > _LONG:
            continue
        tree = ReplyTree.upto(prompt, ways)
        size, contexts = size + tree.size, contexts + len(tree.prefixes)
        if size > budget or not memory.holds(contexts, vocabulary):
            break
        found.append(tree)
    return found


def _is_over(reply: ReplyState, sampling: Sampling) -> bool:
    return reply.finished or len(reply.ids) == sampling.max_reply_tokens


def _draw(
    replies: Sequence[ReplyState], sampling: Sampling, judge: Judge, memory: LogitCache
) -> None:
    """One token for each reply, from the distribution at its context."""
    memory.drawn(reply.ids for reply in replies)
    row_of: dict[Context, int] = {}
    rows = [row_of.setdefault(reply.context, len(row_of)) for reply in replies]
    logprobs_U_V = token_logprobs(memory.logits(row_of), sampling)
    draws = [reply.rng.at(len(reply.ids)) for reply in replies]
    tokens = pick_tokens(logprobs_U_V, draws, rows)
    logprobs = logprobs_U_V[rows, tokens].tolist()
    supports = _supports(logprobs_U_V) if sampling.truncates else [()] * len(row_of)
    for reply, row, token, logprob in zip(replies, rows, tokens.tolist(), logprobs, strict=True):
        reply.ids = (*reply.ids, token)
        reply.logprobs.append(logprob)
        reply.support.append(supports[row])
        if reply.ids not in memory.judged:
            memory.judged[reply.ids] = judge(reply.ids)
        reply.text, reply.finished = memory.judged[reply.ids]


def _supports(logprobs_U_V: Tensor) -> list[tuple[int, ...]]:
    return [tuple(logprobs_V.isfinite().nonzero()[:, 0].tolist()) for logprobs_V in logprobs_U_V]


@final
class _Cache:
    """A key-value cache whose rows are contexts."""

    def __init__(self, network: Any, budget: int) -> None:
        inner = causal_network(network)
        self.network = network
        self.config = inner.config
        self.device = inner.device
        self.budget = budget
        self.rows: dict[Context, int] = {}
        self.real = torch.zeros(0, 0, dtype=torch.long, device=self.device)
        self.states: Any = None

    def compute(self, wanted: Sequence[Context]) -> tuple[list[Context], Tensor]:
        """Logits of some of the contexts that are wanted, at least of one: which, and what they are."""
        children = [context for context in wanted if _parent(context) in self.rows]
        others = [context for context in wanted if _parent(context) not in self.rows]
        logits = [self._extend(children)] if children else []
        entering = self._entering(others, beside=len(children))
        if entering:
            logits.append(self._enter(entering, beside=bool(children)))
        computed = [*children, *entering]
        self.rows = {context: row for row, context in enumerate(computed)}
        return computed, torch.cat(logits)

    def _extend(self, children: Sequence[Context]) -> Tensor:
        """Append a token to rows of the cache; rows that no child goes on from leave."""
        parents = torch.tensor([self.rows[_parent(c)] for c in children], device=self.device)
        tokens = torch.tensor([[ids[-1]] for _, ids in children], device=self.device)
        self.states.batch_select_indices(parents)
        self.real = _with_ones(self.real[parents])
        return self._forward(tokens, self.real, self.states)

    def _entering(self, others: Sequence[Context], *, beside: int) -> list[Context]:
        """Those for which there is room: all, or as many as fill half the budget, or one if nothing else goes on."""
        if beside and not self._is_mergeable():
            return []
        width = self.real.shape[1] if beside else 0
        fitting: list[Context] = []
        for context in others:
            width = max(width, len(context[0]) + len(context[1]))
            if (beside + len(fitting) + 1) * width > self.budget and (beside or fitting):
                break
            fitting.append(context)
        enough = len(fitting) == len(others) or 2 * len(fitting) * width >= self.budget
        return fitting if enough or not beside else []

    def _enter(self, contexts: Sequence[Context], *, beside: bool) -> Tensor:
        """Whole rows, beside those in the cache or instead of them."""
        ids = [(*prompt, *begun) for prompt, begun in contexts]
        states = DynamicCache(config=self.config)
        shared = _beginning(ids)
        real = torch.ones(1, shared, dtype=torch.long, device=self.device)
        if shared:
            first = torch.tensor([ids[0][:shared]], device=self.device)
            self._forward(first, real, states)
            states.batch_repeat_interleave(len(ids))
        tokens, rest = left_padded([row[shared:] for row in ids])
        real = torch.cat([real.expand(len(ids), -1), rest.long().to(self.device)], dim=1)
        logits = self._forward(tokens.to(self.device), real, states)
        if beside:
            self._merge(states, real)
        else:
            self.states, self.real = states, real
        return logits

    def _is_mergeable(self) -> bool:
        """Whether rows can be put beside each other: not where layers keep a window of the past, or a summary."""
        return all(type(layer) is DynamicLayer for layer in self.states.layers)

    def _merge(self, states: Any, real: Tensor) -> None:
        width = max(self.real.shape[1], real.shape[1])
        for ours, theirs in zip(self.states.layers, states.layers, strict=True):
            ours.keys = torch.cat([_widened(ours.keys, width), _widened(theirs.keys, width)])
            ours.values = torch.cat([_widened(ours.values, width), _widened(theirs.values, width)])
        pair = (_widened(part[..., None], width)[..., 0] for part in (self.real, real))
        self.real = torch.cat(list(pair))

    def _forward(self, tokens: Tensor, real: Tensor, states: Any) -> Tensor:
        logits: Tensor = self.network(
            input_ids=tokens,
            attention_mask=real,
            position_ids=positions(real)[:, -tokens.shape[1] :],
            past_key_values=states,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        return _finite(self.network, logits).float()


def _finite(network: Any, logits: Tensor) -> Tensor:
    """These logits, if they are finite."""
    if not bool(torch.isfinite(logits).all()):
        name = str(getattr(causal_network(network).config, "name_or_path", ""))
        raise ModelError(f"the logits of {name!r} are not finite")
    return logits


def _parent(context: Context) -> Context:
    """The context one token before; a prompt has none, which no row is."""
    prompt, begun = context
    return (prompt, begun[:-1]) if begun else ((), ())


def _beginning(rows: Sequence[Ids]) -> int:
    """How many tokens to compute once for all rows: what is common, if it is worth it; each row keeps one."""
    if len(rows) == 1:
        return 0
    first, last = min(rows), max(rows)
    shared = min(in_common(first, last), min(map(len, rows)) - 1)
    return shared if shared >= _SHARED else 0


def _with_ones(real: Tensor) -> Tensor:
    return torch.cat([real, torch.ones_like(real[:, :1])], dim=1)


def _widened(rows: Tensor, width: int) -> Tensor:
    """Zeros to the left of the second axis from behind, up to a width."""
    missing = width - rows.shape[-2]
    return torch.nn.functional.pad(rows, (0, 0, missing, 0)) if missing else rows
