"""The sampling engine: replies to many prompts, from one key-value cache.

The next-token logits of a context (a prompt and a prefix of a reply to it) are computed once, however many replies
reach it. Replies draw as long as the logits of their contexts are known. Then one forward pass computes the contexts
that they wait at: those that go on from a row of the key-value cache, by one token; others, as whole rows that enter
the cache beside them as room allows. Rows that no reply waits for leave it.

What prompts have in common at their beginning is computed once for all rows that enter together.

Replies of a game are often few. Once nearly all of them have had the same few prefixes, further prompts are computed
together with these common prefixes, as trees in rows of one pass (``lap.engine.packing``): most replies are then
drawn without another pass, and one that leaves the common prefixes enters the cache.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, final

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from lap.engine.hidden_states import causal_network, context_logits
from lap.engine.packing import left_padded, position_ids
from lap.engine.prefix_tree import Context, Ids, ReplyTree, common_prefix_length, contexts_of
from lap.engine.sampling import Sampling, pick_tokens, token_logprobs
from lap.errors import ModelError
from tsmg import Stream

LOGIT_CACHE_BYTES = 2**26
"""Bytes of logits that a model with a logit cache holds."""

_MIN_SHARED = 16  # a common beginning that is shorter is not worth a forward pass of its own
_MAX_COMMON = 16  # so many prefixes of replies are worth computing beside a prompt
_COVERAGE = 0.95  # least share of the draws at which they must have been
_LONG_PROMPT = 512  # a prompt of more tokens is cheaper in the cache, without a mask of its own

ReplyDecoder = Callable[[Ids], tuple[str, bool]]
"""From the ids of a reply so far to its text, and whether the reply is complete."""


@final
class ReplyState:
    """One reply while it is sampled.

    Args:
      prompt: ids of the prompt.
      rng: the stream that its tokens are drawn from.
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
    """Next-token logits of contexts, and what replies decode to, under one and the same weights.

    Args:
      limit: bytes of logits to hold; when they are full all are forgotten but the latest, which are always held.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.decoded: dict[Ids, tuple[str, bool]] = {}
        self._draws: Counter[Ids] = Counter()
        self._rows: dict[Context, int] = {}
        self._table = torch.empty(0, 0)

    def __contains__(self, context: Context) -> bool:
        return context in self._rows

    def count_draws(self, prefixes: Iterable[Ids]) -> None:
        """Note the prefixes after which replies draw a token."""
        self._draws.update(prefixes)

    def common_prefixes(self) -> list[Ids]:
        """The prefixes after which nearly all tokens were drawn; none where they are many, or nothing was drawn."""
        common = self._draws.most_common(_MAX_COMMON)
        if sum(times for _, times in common) < _COVERAGE * self._draws.total():
            return []
        return [prefix for prefix, _ in common]

    def has_room_for(self, contexts: int, vocabulary: int) -> bool:
        """Whether so many contexts fit at once. Logits are float32."""
        return contexts * vocabulary * 4 <= self.limit

    def add(self, contexts: Sequence[Context], logits: Tensor) -> None:
        """Hold the logits of further contexts. Shape (len(contexts), V)."""
        used = len(self._rows)
        needed = used + len(contexts)
        if not used or needed * logits.shape[1] * logits.element_size() > self.limit:
            used, self._rows, self._table = 0, {}, logits
        else:
            held = len(self._table)
            if needed > held:
                more = self._table.new_empty(max(needed, 2 * held) - held, logits.shape[1])
                self._table = torch.cat([self._table, more])
            self._table[used:needed] = logits
        self._rows.update((context, used + n) for n, context in enumerate(contexts))

    def logits(self, contexts: Iterable[Context]) -> Tensor:
        """The logits of contexts that are held. Shape (contexts, V), float32."""
        return self._table[[self._rows[context] for context in contexts]]


def decode(
    network: torch.nn.Module,
    replies: Sequence[ReplyState],
    *,
    sampling: Sampling,
    decode_reply: ReplyDecoder,
    budget: int,
    logit_cache: LogitCache,
    tree_attention: bool = False,
) -> None:
    """Sample tokens of replies until each is complete or has its greatest length.

    Args:
      network: a causal language model of the transformers library, wrapped or not.
      replies: what to sample, in place; the l-th token of each is picked by ``rng.at(l)`` alone.
      sampling: the distribution to draw from.
      decode_reply: gives the text of a reply, and whether it is complete.
      budget: tokens of a pass in which prompts enter, and of the cache beside them, padding included; a single row
        may have more, and rows part as their replies do.
      logit_cache: the logits that are known under these weights; what is computed is added to it.
      tree_attention: whether the network can score trees in shared rows (``lap.engine.hidden_states.Layout``).

    Raises:
      ModelError: the logits are not finite.
    """
    cache = _KeyValueCache(network, budget)
    unfinished = list(replies)
    while unfinished:
        ready = [reply for reply in unfinished if reply.context in logit_cache]
        if ready:
            _draw(ready, sampling, decode_reply, logit_cache)
            limit = sampling.max_reply_tokens
            unfinished = [r for r in unfinished if not (r.finished or len(r.ids) == limit)]
            continue
        wanted = list(dict.fromkeys(reply.context for reply in unfinished))
        trees = _common_trees(network, wanted, budget, logit_cache) if tree_attention else []
        if trees:
            logits = _finite(network, context_logits(network, trees, "tree_attention"))
            logit_cache.add(contexts_of(trees), logits)
        else:
            logit_cache.add(*cache.compute(wanted))


def _common_trees(
    network: torch.nn.Module, wanted: Sequence[Context], budget: int, logit_cache: LogitCache
) -> list[ReplyTree]:
    """New prompts, each with the prefixes that are common to most replies; as far as there is room."""
    common = logit_cache.common_prefixes()
    vocabulary = causal_network(network).config.get_text_config().vocab_size
    trees: list[ReplyTree] = []
    size = contexts = 0
    for prompt, prefix in wanted if common else ():
        if prefix or len(prompt) > _LONG_PROMPT:
            continue
        tree = ReplyTree.of_prefixes(prompt, common)
        size, contexts = size + tree.size, contexts + len(tree.prefixes)
        if size > budget or not logit_cache.has_room_for(contexts, vocabulary):
            break
        trees.append(tree)
    return trees


def _draw(
    replies: Sequence[ReplyState],
    sampling: Sampling,
    decode_reply: ReplyDecoder,
    logit_cache: LogitCache,
) -> None:
    """One token for each reply, from the distribution at its context."""
    logit_cache.count_draws(reply.ids for reply in replies)
    row_of: dict[Context, int] = {}
    rows = [row_of.setdefault(reply.context, len(row_of)) for reply in replies]
    logprobs_U_V = token_logprobs(logit_cache.logits(row_of), sampling)
    draws = [reply.rng.at(len(reply.ids)) for reply in replies]
    tokens = pick_tokens(logprobs_U_V, draws, rows)
    logprobs = logprobs_U_V[rows, tokens].tolist()
    supports: list[tuple[int, ...]] = [()] * len(row_of)
    if sampling.truncates:
        supports = [tuple(row_V.isfinite().nonzero()[:, 0].tolist()) for row_V in logprobs_U_V]
    for reply, row, token, logprob in zip(replies, rows, tokens.tolist(), logprobs, strict=True):
        reply.ids = (*reply.ids, token)
        reply.logprobs.append(logprob)
        reply.support.append(supports[row])
        if reply.ids not in logit_cache.decoded:
            logit_cache.decoded[reply.ids] = decode_reply(reply.ids)
        reply.text, reply.finished = logit_cache.decoded[reply.ids]


@final
class _KeyValueCache:
    """A key-value cache whose rows are contexts."""

    def __init__(self, network: torch.nn.Module, budget: int) -> None:
        inner = causal_network(network)
        self.network = network
        self.config = inner.config
        self.device = inner.device
        self.budget = budget
        self.rows: dict[Context, int] = {}
        self.real = torch.zeros(0, 0, dtype=torch.long, device=self.device)
        self.states = DynamicCache(config=self.config)

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
        real = self.real[parents]
        self.real = torch.cat([real, torch.ones_like(real[:, :1])], dim=1)
        return self._forward(tokens, self.real, self.states)

    def _entering(self, others: Sequence[Context], *, beside: int) -> list[Context]:
        """Those for which there is room: all, or as many as fill half the budget, or one if nothing else goes on."""
        # Rows cannot be put beside others where layers keep a window of the past, or a summary.
        if beside and not all(type(layer) is DynamicLayer for layer in self.states.layers):
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
        ids = [(*prompt, *prefix) for prompt, prefix in contexts]
        states = DynamicCache(config=self.config)
        shared = _shared_length(ids)
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

    def _merge(self, states: DynamicCache, real: Tensor) -> None:
        """Put further rows below those of the cache; the narrower ones get padding on the left."""
        width = max(self.real.shape[1], real.shape[1])
        layers: Any = zip(self.states.layers, states.layers, strict=True)
        for ours, theirs in layers:
            ours.keys = torch.cat([_widened(ours.keys, width), _widened(theirs.keys, width)])
            ours.values = torch.cat([_widened(ours.values, width), _widened(theirs.values, width)])
        pair = [_widened(part[..., None], width)[..., 0] for part in (self.real, real)]
        self.real = torch.cat(pair)

    def _forward(self, tokens: Tensor, real: Tensor, states: DynamicCache) -> Tensor:
        """The logits after the last token of each row; the states of the tokens enter the cache. Shape (B, V)."""
        logits: Tensor = self.network(
            input_ids=tokens,
            attention_mask=real,
            position_ids=position_ids(real)[:, -tokens.shape[1] :],
            past_key_values=states,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        return _finite(self.network, logits).float()


def _finite(network: torch.nn.Module, logits: Tensor) -> Tensor:
    """These logits, if they are finite."""
    if not bool(torch.isfinite(logits).all()):
        name = str(getattr(causal_network(network).config, "name_or_path", ""))
        raise ModelError(f"the logits of {name!r} are not finite")
    return logits


def _parent(context: Context) -> Context:
    """The context one token before; a prompt has none, which no row is."""
    prompt, prefix = context
    return (prompt, prefix[:-1]) if prefix else ((), ())


def _shared_length(rows: Sequence[Ids]) -> int:
    """How many tokens to compute once for all rows: what they share, if it is worth it; each row keeps one."""
    if len(rows) == 1:
        return 0
    first, last = min(rows), max(rows)
    shared = min(common_prefix_length(first, last), min(map(len, rows)) - 1)
    return shared if shared >= _MIN_SHARED else 0


def _widened(rows: Tensor, width: int) -> Tensor:
    """Zeros before the entries of the last axis but one, up to a width."""
    missing = width - rows.shape[-2]
    return torch.nn.functional.pad(rows, (0, 0, missing, 0)) if missing else rows
