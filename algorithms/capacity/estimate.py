"""What a training run holds in the memory of each device, by arithmetic alone.

The three phases of an update follow each other and never hold their memory at the same time: replies are sampled,
completions are learnt from, and the optimiser steps. The peak of a run is what it always holds plus the largest of the
three. The sizes of a network are counted by ``algorithms.capacity.network_sizes``.

The figures of a layer hold for a decoder with a gated feed-forward part, such as Qwen, Llama and Mistral have, and an
attention kernel that keeps no matrix of tokens by tokens. The libraries themselves, a device's context, and memory that
an allocator holds without using it are not counted.
"""

import math
from collections.abc import Iterator
from typing import Literal

import attrs

from algorithms.capacity.config import BYTES, CapacityConfig

Phase = Literal["always", "playing", "learning", "stepping"]

GIGABYTE = 10**9
SPARE = 0.1
"""The share of a device's memory that advice on what fits leaves free for what is not counted."""
GATHERED = "gathered weights"

# Bytes of a logit that is learnt from: it, the distribution and their gradients, eight numbers of float32, and a mask.
_LEARNT_LOGIT = 33
_PLAYED_LOGIT = 16  # bytes: a distribution in float64 and its cumulative sums
_PICKED_LOGIT = 8  # bytes more for the distributions that tokens are picked from at once


@attrs.frozen(kw_only=True)
class NetworkSizes:
    """What the arithmetic needs to know of a network; counts are of numbers, not of bytes.

    Attributes:
      name: what it is called.
      layers, hidden, intermediate: decoder layers, width, and width of the feed-forward part.
      heads, kv_heads, head_size: of the attention.
      vocabulary: V, tokens of the head.
      parameters: all weights, tied ones once; adapters not counted.
      linear: weights of linear layers, the head's among them.
      layer: weights of the largest decoder layer.
      ends: weights of the embedding and of the head, tied ones once.
      adapters: weights of adapters; 0 if all weights are learnt.
      ranks: numbers that the adapters of a layer keep for a token, the ranks of all of them together.
    """

    name: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    parameters: int
    linear: int
    layer: int
    ends: int
    adapters: int = 0
    ranks: float = 0.0

    @property
    def learnt(self) -> int:
        """Weights that are learnt: the adapters' if there are some."""
        return self.adapters or self.parameters


@attrs.frozen(kw_only=True)
class MemoryItem:
    """Something that takes memory on each device.

    Attributes:
      phase: when it is held.
      name: what it is.
      size: in bytes.
      how: how the size comes about.
    """

    phase: Phase
    name: str
    size: int
    how: str


@attrs.frozen(kw_only=True)
class CapacityEstimate:
    """What a run holds on its fullest device, or a server on each of its own.

    Attributes:
      sizes: of the network.
      config: its devices and settings.
      items: what takes memory.
    """

    sizes: NetworkSizes
    config: CapacityConfig
    items: tuple[MemoryItem, ...]

    def held(self, phase: Phase) -> int:
        """The bytes of one phase, in addition to what is always held."""
        return sum(item.size for item in self.items if item.phase == phase)

    @property
    def fullest(self) -> Phase:
        """The phase of an update that holds the most memory."""
        phases: tuple[Phase, ...] = ("playing", "learning", "stepping")
        return max(phases, key=self.held)

    @property
    def total(self) -> int:
        """The most bytes that are held at once."""
        return self.held("always") + self.held(self.fullest)

    @property
    def left(self) -> float:
        """What is left of a device's memory, in bytes; negative if the run does not fit."""
        return self.config.memory * GIGABYTE - self.total

    @property
    def fits(self) -> bool:
        """Whether the device has that much, and a tenth of its memory to spare."""
        return self.left >= SPARE * self.config.memory * GIGABYTE


def estimate_capacity(sizes: NetworkSizes, config: CapacityConfig) -> CapacityEstimate:
    """What a run holds in the memory of each device; where engines play, the device that learns plays nothing.

    Args:
      sizes: of the network, with its adapters if these alone are learnt.
      config: the devices and the settings.

    Example:
      >>> sizes = NetworkSizes(
      ...     name="two layers", layers=2, hidden=8, intermediate=32, heads=2, kv_heads=1, head_size=4,
      ...     vocabulary=100, parameters=2_584, linear=2_384, layer=888, ends=800,
      ... )
      >>> [(item.name, item.size) for item in estimate_capacity(sizes, CapacityConfig()).items][:3]
      [('weights', 10336), ('reference', 10336), ('gradients', 10336)]
    """
    playing = () if config.engines else tuple(_playing(sizes, config))
    items = (*_static(sizes, config), *playing, *_learning(sizes, config))
    return CapacityEstimate(sizes=sizes, config=config, items=(*items, _stepping(sizes, config)))


# ---- what is always held ------------------------------------------------------------------------


def _static(sizes: NetworkSizes, config: CapacityConfig) -> Iterator[MemoryItem]:
    """Weights, what the KL is measured against, gradients and moments."""

    def item(name: str, size: int, how: str) -> MemoryItem:
        return MemoryItem(phase="always", name=name, size=size, how=how)

    def held(count: int, in_layers: int) -> int:
        """How many of so many weights a device holds, of which some are in layers."""
        return count - in_layers + math.ceil(in_layers / config.devices) if sharded else count

    sharded = config.shards_layers
    base, adapters = (
        held(sizes.parameters, sizes.layers * sizes.layer),
        held(*2 * (sizes.adapters,)),
    )
    trained, learnt, wide = adapters or base, _learnt_bytes(sizes, config), config.weight_bytes
    layers = f", layers / {config.devices}" if sharded else ""
    how = f"{short_count(sizes.parameters)} x {wide} B"
    if sizes.adapters:
        how = f"{how} + {short_count(sizes.adapters)} x 4 B"
    yield item("weights", base * wide + adapters * 4, how + layers)
    if not sizes.adapters:
        yield item("reference", base * wide, "a frozen copy, for the KL" + layers)
    yield item("gradients", trained * learnt, f"{short_count(sizes.learnt)} x {learnt} B" + layers)
    moment = _moment_bytes(sizes, config)
    how = f"2 x {short_count(sizes.learnt)} x {moment} B"
    if config.sharding == "zero1" and config.devices > 1:
        share = math.ceil(2 * sizes.learnt * moment / config.devices)
        yield item("moments", share, f"{how} / {config.devices}")
    else:
        yield item("moments", 2 * trained * moment, how + layers)


def _gathered(
    sizes: NetworkSizes, config: CapacityConfig, layers: int, phase: Phase
) -> Iterator[MemoryItem]:
    """Of layers that are divided: the other devices' parts, of as many layers as are whole at once."""
    if config.shards_layers:
        adapters = 4 * sizes.adapters / max(1, sizes.layers)
        others = 1 - 1 / config.devices
        size = math.ceil(layers * (sizes.layer * config.weight_bytes + adapters) * others)
        how = f"{layers} layers, the others' parts"
        yield MemoryItem(phase=phase, name=GATHERED, size=size, how=how)


def _learnt_bytes(sizes: NetworkSizes, config: CapacityConfig) -> int:
    """Adapters are in float32 whatever the weights are in."""
    return 4 if sizes.adapters else config.weight_bytes


def _moment_bytes(sizes: NetworkSizes, config: CapacityConfig) -> int:
    """Bytes of one of the optimiser's two moments of a weight."""
    if config.optimizer_dtype == "learnt":
        return _learnt_bytes(sizes, config)
    return BYTES[config.optimizer_dtype]


def short_count(count: float) -> str:
    """A count in at most four digits before its unit.

    Args:
      count: at least 0.

    Example:
      >>> short_count(494_032_768)
      '494 M'
    """
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.4g} {unit}"
    return f"{count:g}"


# ---- playing ------------------------------------------------------------------------------------


def _playing(sizes: NetworkSizes, config: CapacityConfig) -> Iterator[MemoryItem]:
    rows, token = config.cached_rows, cache_bytes(sizes, config)
    yield MemoryItem(
        phase="playing",
        name="key-value cache",
        size=rows * config.row * token,
        how=f"{rows:,} rows x {config.row:,} tokens x {short_count(token)}B",
    )
    entering = config.entering * passing_bytes(sizes, config)
    logits = played_logit_bytes(rows * sizes.vocabulary, config)
    how = (
        f"{short_count(rows * sizes.vocabulary)} logits x {logits / rows / sizes.vocabulary:.3g} B"
        if logits > entering
        else f"a pass: {config.entering:,} tokens x {short_count(entering / config.entering)}B"
    )
    yield MemoryItem(phase="playing", name="working space", size=max(entering, logits), how=how)
    yield from _gathered(sizes, config, sizes.layers, "playing")


def cache_bytes(sizes: NetworkSizes, config: CapacityConfig) -> int:
    """Bytes of the key-value cache for a token: keys and values of every layer, in the type of the weights.

    Args:
      sizes: of the network.
      config: the settings.
    """
    return 2 * sizes.layers * sizes.kv_heads * sizes.head_size * config.weight_bytes


def passing_bytes(sizes: NetworkSizes, config: CapacityConfig) -> int:
    """The most that a forward pass holds for a token beside the cache: three times the feed-forward width.

    Args:
      sizes: of the network.
      config: the settings.
    """
    return 3 * sizes.intermediate * config.compute_bytes + 5 * sizes.hidden * config.weight_bytes


def played_logit_bytes(count: int, config: CapacityConfig) -> int:
    """Bytes for the logits of a step and, as far as they are cached, of earlier steps, in float32.

    Args:
      count: how many logits a step has, over all rows.
      config: the settings.
    """
    from lap.engine.decoding import LOGIT_CACHE_BYTES  # noqa: PLC0415 (as in logits_at_once)

    cached = max(4 * count, min(LOGIT_CACHE_BYTES, 4 * count * config.max_reply_tokens))
    return count * _PLAYED_LOGIT + min(count, logits_at_once()) * _PICKED_LOGIT + cached


# ---- learning -----------------------------------------------------------------------------------


def _learning(sizes: NetworkSizes, config: CapacityConfig) -> Iterator[MemoryItem]:
    whole = layer_bytes(sizes, config)
    token = sizes.hidden * config.weight_bytes if config.recompute else whole
    yield MemoryItem(
        phase="learning",
        name="activations",
        size=round(config.part * (sizes.layers * token + _kept_bytes(sizes, config)))
        + _mask(sizes, config),
        how=f"{config.part:,} tokens x {sizes.layers} layers x {short_count(token)}B",
    )
    copies = _copied(sizes, config)
    if copies:
        how = f"{short_count(copies / 2)} x 2 B, to compute with"
        yield MemoryItem(phase="learning", name="weights in bfloat16", size=copies, how=how)
    logits = learnt_logits(sizes, config) * _LEARNT_LOGIT
    again = round(
        config.part * (_returning_bytes(sizes, config) + (whole if config.recompute else 0))
    )
    how = (
        f"{short_count(learnt_logits(sizes, config))} logits x {_LEARNT_LOGIT} B"
        if logits > again
        else f"a layer and back: {config.part:,} tokens x {short_count(again / config.part)}B"
    )
    yield MemoryItem(phase="learning", name="working space", size=max(logits, again), how=how)
    yield from _gathered(sizes, config, min(2, sizes.layers), "learning")


def layer_bytes(sizes: NetworkSizes, config: CapacityConfig) -> float:
    """Bytes that a decoder layer keeps for a token until gradients have come back.

    With width h, attention width a (heads times their size) and feed-forward width i, in numbers: the inputs of both
    norms, 2 h in float32, and what they scale, 2 h, unless the scales are frozen; the inputs of linear layers, 2 h +
    i; queries, keys, values and what attention makes of them, 4 a; the gate before and after its nonlinearity and the
    other branch, 3 i; and for each adapter its rank. Where inputs are converted to another type first, each linear
    layer keeps its own: 5 h + i, and a for the one after attention if it has an adapter.

    Args:
      sizes: of the network.
      config: the settings.
    """
    h, i, attention = sizes.hidden, sizes.intermediate, sizes.heads * sizes.head_size
    computed = config.compute_bytes
    norms = 2 * h * 4 + (0 if sizes.adapters else 2 * h * config.weight_bytes)
    if config.dtype == "mixed" or (config.dtype == "bfloat16" and sizes.adapters):
        own = attention if sizes.adapters else 0
        inputs = (5 * h + own + i) * (2 if config.dtype == "mixed" else 4)
    else:
        inputs = (2 * h + i) * computed
    ranks = sizes.ranks * (2 if config.dtype == "mixed" else 4)
    return norms + inputs + (4 * attention + 3 * i) * computed + ranks


def _kept_bytes(sizes: NetworkSizes, config: CapacityConfig) -> int:
    """Bytes for a token at the ends of the network: the last norm's input, and what it scales."""
    return sizes.hidden * (4 + (0 if sizes.adapters else config.weight_bytes))


def _mask(sizes: NetworkSizes, config: CapacityConfig) -> int:
    """Bytes of who attends to whom: a row of it for each token, as long as a row of the batch."""
    width = min(config.part, max(sizes.hidden // 2, config.row))
    converted = 2 * (1 if config.recompute else sizes.layers) if config.dtype == "mixed" else 0
    return config.part * width * (config.weight_bytes + converted)


def _copied(sizes: NetworkSizes, config: CapacityConfig) -> int:
    """Bytes of weights converted for computing: all of linear layers, which are kept while all weights are learnt.

    A layer's alone, where they are made again: frozen or sharded weights, and recomputation.
    """
    if config.dtype != "mixed":
        return 0
    passing = config.recompute and (sizes.adapters or config.shards_layers)
    return 2 * (sizes.layer if passing else sizes.linear)


def logits_at_once() -> int:
    """How many logits the engine holds at once. The engine is imported here, which keeps the command line quick."""
    from lap.engine.scoring import LOGITS_AT_ONCE  # noqa: PLC0415

    return LOGITS_AT_ONCE


def learnt_logits(sizes: NetworkSizes, config: CapacityConfig) -> int:
    """How many logits the learning pass holds at once.

    Args:
      sizes: of the network.
      config: the settings.
    """
    return min(config.part, max(1, logits_at_once() // sizes.vocabulary)) * sizes.vocabulary


def _returning_bytes(sizes: NetworkSizes, config: CapacityConfig) -> int:
    """Bytes for a token of the gradients on their way through a layer."""
    return 3 * sizes.intermediate * config.compute_bytes + 2 * sizes.hidden * config.weight_bytes


def _stepping(sizes: NetworkSizes, config: CapacityConfig) -> MemoryItem:
    """On accelerators AdamW holds the roots of all second moments at once; where layers are divided, of one weight."""
    count, how = sizes.learnt, "roots of second moments"
    if config.shards_layers:
        count, how = min(count, max(sizes.ends, sizes.layer)), f"{how} of one weight at most"
    elif config.sharding == "zero1":
        count = math.ceil(count / config.devices)
    size = count * _moment_bytes(sizes, config)
    return MemoryItem(phase="stepping", name="working space", size=size, how=how)
