"""The sampling engine: replies to many prompts, each context of which is computed once.

The next-token logits of a context (a prompt and a prefix of a reply to it) are computed once, however many replies
reach it. Replies draw as long as the logits of their contexts are known. Then one forward pass computes the contexts
that they wait at, from a key-value cache as far as the network has one that can be trusted (``lap.engine.cache``).

A game often has few distinct replies. Once nearly all of them have had the same few prefixes, further prompts are
computed together with these common prefixes, as trees in rows of one pass (``lap.engine.packing``). Most replies are
then drawn without another pass, and one that leaves the common prefixes enters the cache.
"""

import functools
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeAlias, final

import torch
from torch import Tensor

from lap.engine.cache import CacheUse, ContextCache, KeyValueCache, Recomputation
from lap.engine.hidden_states import Layout, causal_network, context_logits, finite
from lap.engine.prefix_tree import Context, Ids, ReplyTree, contexts_of
from lap.engine.sampling import Sampling, pick_tokens, token_logprobs
from tsmg import Stream

LOGIT_CACHE_BYTES = 2**26
"""Bytes of logits that a model with a logit cache holds."""

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
        """The context of its next token."""
        return self.prompt, self.ids


@final
class LogitCache:
    """Next-token logits of contexts, and the texts of replies, for fixed weights.

    Args:
      limit: bytes of logits to hold; beyond it all are dropped except the latest, which are always held.
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
        """Count the prefixes after which replies draw a token."""
        self._draws.update(prefixes)

    def common_prefixes(self) -> list[Ids]:
        """The prefixes after which nearly all tokens were drawn; none if there are many, or nothing was drawn."""
        common = self._draws.most_common(_MAX_COMMON)
        if sum(times for _, times in common) < _COVERAGE * self._draws.total():
            return []
        return [prefix for prefix, _ in common]

    def has_room_for(self, contexts: int, vocabulary: int) -> bool:
        """Whether this many contexts fit at once. Logits are float32."""
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


LogitCaches: TypeAlias = dict[tuple[Ids, Hashable], LogitCache]
"""By the tokens that replies begin with and the criterion that ends them: it is cached whether a reply is complete."""


def logit_caches(limit: int | None = None) -> LogitCaches:
    """Empty logit caches, each of which is created when it is first requested.

    Args:
      limit: how many bytes of logits each of them holds; ``LOGIT_CACHE_BYTES`` unless given.
    """
    return defaultdict(functools.partial(LogitCache, LOGIT_CACHE_BYTES if limit is None else limit))


def decode(
    network: torch.nn.Module,
    replies: Sequence[ReplyState],
    *,
    sampling: Sampling,
    decode_reply: ReplyDecoder,
    budget: int,
    logit_cache: LogitCache,
    layout: Layout,
    cache_use: CacheUse,
) -> None:
    """Sample tokens of replies until each is complete or has reached its greatest length.

    Args:
      network: a causal language model of the transformers library, wrapped or not.
      replies: what to sample, in place; the l-th token of each is picked by ``rng.at(l)`` alone.
      sampling: the distribution to draw from.
      decode_reply: gives the text of a reply, and whether it is complete.
      budget: tokens of a pass in which prompts enter, and of the cache beside them, padding included; a single row
        may have more, and rows part as their replies do.
      logit_cache: the logits that are known under these weights; what is computed is added to it.
      layout: how the network scores contexts without a cache (``lap.engine.hidden_states.find_layout``).
      cache_use: how its cache may be used (``lap.engine.cache.find_cache_use``).

    Raises:
      ModelError: the logits are not finite.
    """
    cache: ContextCache
    if cache_use == "no_cache":
        cache = Recomputation(network, budget, layout)
    else:
        cache = KeyValueCache(network, budget, cache_use)
    common = layout == "tree_attention" and logit_cache.limit > 0
    unfinished = list(replies)
    while unfinished:
        ready = [reply for reply in unfinished if reply.context in logit_cache]
        if ready:
            _draw(ready, sampling, decode_reply, logit_cache)
            limit = sampling.max_reply_tokens
            unfinished = [r for r in unfinished if not (r.finished or len(r.ids) == limit)]
            continue
        wanted = list(dict.fromkeys(reply.context for reply in unfinished))
        trees = _common_trees(network, wanted, budget, logit_cache) if common else []
        if trees:
            logits = finite(network, context_logits(network, trees, "tree_attention"))
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
