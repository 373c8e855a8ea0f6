"""The key-value cache of the sampling engine, and for which rows each network's cache is correct.

A forward pass computes contexts. Those that extend a row of the cache cost one token; others are whole rows, which
enter the cache as room allows. Rows that no reply waits for leave it. A common beginning of entering rows is computed
once for all of them.

Rows of different lengths need padding, and padding must not change a row. It does not if every layer attends to all
previous tokens by their position ids. A sliding window counts padding in the middle of a row, and a recurrent state
takes in whatever a row holds, so the caches of such networks hold padding only before a row, or none. A network whose
cache gives wrong logits even then, or that has no such cache, computes whole rows at every token.
"""

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, final

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from lap.engine.hidden_states import (
    FORWARD_ERRORS,
    Layout,
    agrees,
    attends_to_everything,
    causal_network,
    context_logits,
    finite,
    unpadded_logits,
)
from lap.engine.packing import left_padded, position_ids
from lap.engine.prefix_tree import Context, Ids, ReplyTree, common_prefix_length, contexts_of

CacheUse = Literal[
    "padding_anywhere", "padding_before", "equal_lengths", "entering_whole", "no_cache"
]
"""What rows a cache holds at once: any; any, padded before their first token; those of one length; those of one length,
and without computing a common beginning once; or none."""

_MIN_SHARED = 16  # a common beginning that is shorter is not worth a forward pass of its own
_PROBE = _MIN_SHARED + 4  # tokens that prompts share when uses of a cache are tried
# uses without padding, as recurrent states need
_STATES: tuple[CacheUse, ...] = ("equal_lengths", "entering_whole")
# kinds of layers, by name, since earlier versions of the library lack the last
_UNBOUNDED, _PADDED_BEFORE = "DynamicLayer", ("DynamicSlidingWindowLayer", "DummyLayer")
_TOLERANCE = 1e-3
_STATES_TOLERANCE = 1e-5  # a state is off by little where single tokens are computed in another way
_NO_LIMIT = 2**62
_LOGITS_AT_ONCE = 2**26  # where a network gives logits at every token


class ContextCache(ABC):
    """Computes logits of contexts, reusing those that it computed last."""

    @abstractmethod
    def compute(self, wanted: Sequence[Context]) -> tuple[list[Context], Tensor]:
        """The logits of at least one of the wanted contexts, and which contexts these are.

        Raises:
          ModelError: the logits are not finite.
        """


@final
class Recomputation(ContextCache):
    """No cache: whole rows at every token.

    Args:
      network: a causal language model of the transformers library, wrapped or not.
      budget: tokens of a pass; a single row may have more.
      layout: how contexts are computed.
    """

    def __init__(self, network: torch.nn.Module, budget: int, layout: Layout) -> None:
        self.network = network
        self.budget = budget
        self.layout = layout
        if layout == "padded":
            config = causal_network(network).config.get_text_config(decoder=True)
            self.budget = min(budget, _LOGITS_AT_ONCE // config.vocab_size)

    def compute(self, wanted: Sequence[Context]) -> tuple[list[Context], Tensor]:
        computed = _fitting(wanted, self.budget)
        rows = [ReplyTree.of_prefixes((*prompt, *prefix), [()]) for prompt, prefix in computed]
        return computed, finite(self.network, context_logits(self.network, rows, self.layout))


@final
class KeyValueCache(ContextCache):
    """A key-value cache whose rows are contexts.

    Args:
      network: a causal language model of the transformers library, wrapped or not.
      budget: tokens of a pass in which rows enter, and of the cache beside them, padding included; a single row may
        have more.
      use: which rows it may hold at once; not ``no_cache``.
    """

    def __init__(self, network: torch.nn.Module, budget: int, use: CacheUse) -> None:
        inner = causal_network(network)
        self.network = network
        self.config = inner.config
        self.device = inner.device
        self.budget = budget
        self.use = use
        arguments = inspect.signature(inner.forward).parameters
        self.states_name = "cache_params" if "cache_params" in arguments else "past_key_values"
        self.rows: dict[Context, int] = {}
        self.real = torch.zeros(0, 0, dtype=torch.long, device=self.device)
        self.states = DynamicCache(config=self.config)

    def compute(self, wanted: Sequence[Context]) -> tuple[list[Context], Tensor]:
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
        parents = [self.rows[_parent(c)] for c in children]
        tokens = torch.tensor([[ids[-1]] for _, ids in children], device=self.device)
        if parents != list(range(len(self.real))):  # else all rows go on, and need not be copied
            self.states.reorder_cache(torch.tensor(parents, device=self.device))
            self.real = self.real[parents]
        self.real = torch.cat([self.real, torch.ones_like(self.real[:, :1])], dim=1)
        return self._forward(tokens, self.real, self.states)

    def _entering(self, others: Sequence[Context], *, beside: int) -> list[Context]:
        """Those for which there is room: all, or as many as fill half the budget, or one if nothing else goes on."""
        if self.use != "padding_anywhere":
            if beside:
                return []
            if self.use != "padding_before":
                others = [context for context in others if _size(context) == _size(others[0])]
        width = self.real.shape[1] if beside else 0
        fitting = _fitting(others, self.budget, beside=beside, width=width)
        width = max([width, *map(_size, fitting)])
        enough = len(fitting) == len(others) or 2 * len(fitting) * width >= self.budget
        return fitting if enough or not beside else []

    def _enter(self, contexts: Sequence[Context], *, beside: bool) -> Tensor:
        """Whole rows, beside those in the cache or instead of them."""
        ids = [(*prompt, *prefix) for prompt, prefix in contexts]
        states = DynamicCache(config=self.config)
        shared = self._shared_length(ids)
        real = torch.ones(1, shared, dtype=torch.long, device=self.device)
        if shared:
            first = torch.tensor([ids[0][:shared]], device=self.device)
            self._forward(first, real, states)
            states.reorder_cache(torch.zeros(len(ids), dtype=torch.long, device=self.device))
        tokens, rest = left_padded([row[shared:] for row in ids])
        real = torch.cat([real.expand(len(ids), -1), rest.long().to(self.device)], dim=1)
        logits = self._forward(tokens.to(self.device), real, states)
        if beside:
            self._merge(states, real)
        else:
            self.states, self.real = states, real
        return logits

    def _shared_length(self, rows: Sequence[Ids]) -> int:
        """How many tokens to compute once for all rows: what they share, if it is worth it; each row keeps one."""
        lengths = set(map(len, rows))
        if len(rows) == 1 or self.use == "entering_whole":
            return 0
        if len(lengths) > 1 and self.use != "padding_anywhere":
            return 0
        shared = min(common_prefix_length(min(rows), max(rows)), min(lengths) - 1)
        return shared if shared >= _MIN_SHARED else 0

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
        inputs: dict[str, Any] = {"input_ids": tokens, self.states_name: states}
        if self.use not in _STATES:
            inputs["attention_mask"] = real
            inputs["position_ids"] = position_ids(real)[:, -tokens.shape[1] :]
        logits: Tensor = self.network(**inputs, use_cache=True, logits_to_keep=1).logits[:, -1]
        return finite(self.network, logits).float()


@torch.no_grad()
def find_cache_use(network: torch.nn.Module, prompt: Ids, layout: Layout) -> CacheUse:
    """The least restricted use of its cache with which a network gives the same logits as without one.

    Args:
      network: a causal language model of the transformers library, wrapped or not.
      prompt: ids to try with, at least one; the first few are enough.
      layout: how contexts are computed; a network that follows masks and positions of trees follows those of padding.
    """
    if layout == "tree_attention":
        return "padding_anywhere"
    shared = (prompt * _PROBE)[:_PROBE]
    a = shared[0]
    b = next((token for token in shared if token != a), a)
    first = [(*shared, a), (*shared, b), (*shared, b, a, a, b)]
    trees = [ReplyTree.of_prefixes(ids, [(a,), (b, a)]) for ids in [*first, shared[:5]]]
    expected = torch.cat([unpadded_logits(network, tree) for tree in trees])
    contexts = contexts_of(trees)
    steps = [[context for context in contexts if len(context[1]) == n] for n in range(3)]
    late = steps[0].pop()  # a prompt that enters beside what goes on
    steps[1].insert(0, late)
    for use in _uses(network):
        compute = functools.partial(_logits_by, network, use, steps, contexts)
        tolerance = _STATES_TOLERANCE if use in _STATES else _TOLERANCE
        if agrees(network, compute, expected, tolerance=tolerance):
            return use
    return "no_cache"


def _uses(network: torch.nn.Module) -> list[CacheUse]:
    """The uses to try, the freest first; a short trial cannot tell a window that is longer."""
    config = causal_network(network).config
    try:
        kinds = {type(layer).__name__ for layer in DynamicCache(config=config).layers}
    except FORWARD_ERRORS:
        return []
    uses: list[CacheUse] = [*_STATES]
    layer_types = getattr(config.get_text_config(decoder=True), "layer_types", None) or ()
    if kinds <= {_UNBOUNDED, *_PADDED_BEFORE} and "chunked_attention" not in layer_types:
        uses.insert(0, "padding_before")
    if attends_to_everything(config) and kinds <= {_UNBOUNDED}:
        uses.insert(0, "padding_anywhere")
    return uses


def _logits_by(
    network: torch.nn.Module,
    use: CacheUse,
    steps: Sequence[Sequence[Context]],
    contexts: Sequence[Context],
) -> Tensor:
    """The logits of contexts, some of which are wanted at each step. Shape (len(contexts), V)."""
    cache = KeyValueCache(network, _NO_LIMIT, use)
    found: dict[Context, Tensor] = {}
    for wanted in steps:
        while waiting := [context for context in wanted if context not in found]:
            computed, logits = cache.compute(waiting)
            found.update(zip(computed, logits, strict=True))
    return torch.stack([found[context] for context in contexts])


def _fitting(
    contexts: Sequence[Context], budget: int, *, beside: int = 0, width: int = 0
) -> list[Context]:
    """As many contexts, the first ones, as have room beside rows of a width; at least one if there are none."""
    fitting: list[Context] = []
    for context in contexts:
        width = max(width, _size(context))
        if (beside + len(fitting) + 1) * width > budget and (beside or fitting):
            break
        fitting.append(context)
    return fitting


def _size(context: Context) -> int:
    return len(context[0]) + len(context[1])


def _parent(context: Context) -> Context:
    """The context one token before; a prompt has none, which no row is."""
    prompt, prefix = context
    return (prompt, prefix[:-1]) if prefix else ((), ())


def _widened(rows: Tensor, width: int) -> Tensor:
    """Zeros before the entries of the last axis but one, up to a width."""
    missing = width - rows.shape[-2]
    return torch.nn.functional.pad(rows, (0, 0, missing, 0)) if missing else rows
