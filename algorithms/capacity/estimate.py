"""What a training run holds in the memory of each device, by arithmetic alone.

Three phases of an update follow each other and never hold their memory together: replies are played, calls are learnt
from, the optimiser steps. What a run takes at most is what it always holds and the largest of the three. Nothing here
needs torch; the sizes of a network are counted by ``algorithms.capacity.network_sizes``.

The figures of a layer hold for a decoder with a gated feed-forward part, such as Qwen, Llama and Mistral have, and an
attention kernel that keeps no matrix of tokens by tokens. Not counted are the libraries themselves, what a device's
context takes, and memory that an allocator holds without using it.
"""

import math
from collections.abc import Callable, Iterator
from typing import Literal, get_args

import attrs

from algorithms.method.config import MSGRPOConfig, Sharding, one_of, option, within
from tsmg import InvalidArgumentError

Dtype = Literal["float32", "bfloat16", "mixed"]
Phase = Literal["always", "playing", "learning", "stepping"]

GIGABYTE = 10**9
LOGITS_AT_ONCE = 2**24
"""How many logits the learning pass holds at once (``lap.engine.scoring``)."""
SPARE = 0.1
"""The share of a device's memory that is left free, where it is asked what fits, for what is not counted."""

_BYTES = {"float32": 4, "bfloat16": 2, "mixed": 4}
_LEARNT_LOGIT = (
    33  # bytes: logits, distribution and their gradients, eight numbers of float32, and a mask
)
_PLAYED_LOGIT = 16  # bytes: a distribution in float64 and its cumulative sums
_PICKED_LOGIT = 8  # bytes more for the distributions that tokens are picked from at once
_REMEMBERED = 2**26  # bytes of logits that are remembered while playing
_DEFAULT = {field.name: field.default for field in attrs.fields(MSGRPOConfig)}


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


@attrs.frozen(kw_only=True)
class CapacityConfig:
    """The devices and the settings of a run that is planned; every field has its help text."""

    gpus: int = option(1, "devices of a node", within(1))
    memory: float = option(80.0, "memory of a device in GB, of 10^9 bytes", within(0.0, above=True))
    nodes: int = option(1, "nodes, of equal devices", within(1))
    sharding: Sharding = option(
        "none",
        "what is divided among the devices: nothing; moments (zero1); also gradients and weights of layers, which are "
        "whole while playing (fsdp)",
        one_of,
    )
    dtype: Dtype = option(
        "float32", "type of the weights; mixed: float32, computed with in bfloat16", one_of
    )
    optimizer_dtype: Literal["learnt", "float32", "bfloat16"] = option(
        "learnt", "type of the optimiser's two moments; learnt: that of what is learnt", one_of
    )
    recompute: bool = option(False, "keep one state a layer and token, and compute the rest again")
    token_budget: int = option(
        _DEFAULT["token_budget"], "most tokens in a forward pass while learning", within(1)
    )
    cache_tokens: int = option(
        32_768,
        "tokens of prompts that enter the key-value cache at once: the token_budget of the model",
        within(1),
    )
    groups: int = option(_DEFAULT["groups"], "groups of episodes per update", within(1))
    group_size: int = option(_DEFAULT["group_size"], "episodes per group", within(2))
    kept_episodes: int = option(
        _DEFAULT["kept_episodes"], "episodes per group to train on", within(1)
    )
    horizon: int = option(16, "calls of an episode, as many as its steps", within(1))
    prompt_tokens: int = option(512, "tokens of a prompt", within(1))
    max_reply_tokens: int = option(
        _DEFAULT["max_reply_tokens"], "tokens of a reply; each is planned as this long", within(1)
    )

    def __attrs_post_init__(self) -> None:
        if self.kept_episodes > self.group_size:
            raise InvalidArgumentError(
                f"'kept_episodes' must be at most 'group_size' "
                f"(got {self.kept_episodes} > {self.group_size})"
            )

    @property
    def devices(self) -> int:
        """Devices of all nodes; each has a process of its own."""
        return self.gpus * self.nodes

    @property
    def row(self) -> int:
        """Tokens of a prompt and a reply, the last of which is never computed with."""
        return self.prompt_tokens + self.max_reply_tokens - 1

    @property
    def episodes(self) -> int:
        """Episodes that the fullest device plays at once: groups are dealt whole."""
        return math.ceil(self.groups / self.devices) * self.group_size

    @property
    def cached_rows(self) -> int:
        """Rows of the cache: prompts enter as far as there is room, and each may part into a row per member."""
        prompts = max(1, self.cache_tokens // self.prompt_tokens)
        return min(self.episodes, prompts * self.group_size)

    @property
    def entering(self) -> int:
        """Tokens of prompts that go through the network at once while playing."""
        prompts = max(1, self.cache_tokens // self.prompt_tokens)
        return min(self.episodes, prompts) * self.prompt_tokens

    @property
    def learnt_completions(self) -> int:
        """Calls of an update that are learnt from, on all devices."""
        return self.groups * self.kept_episodes * self.horizon

    @property
    def learnt_tokens(self) -> int:
        """Tokens of the calls that the fullest device learns from, each prompt counted with each of its replies."""
        return math.ceil(self.learnt_completions / self.devices) * self.row

    @property
    def part(self) -> int:
        """Tokens of a micro-batch: one row at least, and no more than there are."""
        return min(max(self.token_budget, self.row), self.learnt_tokens)


@attrs.frozen(kw_only=True)
class Item:
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
class Plan:
    """What a run holds on its fullest device.

    Attributes:
      sizes: of the network.
      run: its devices and settings.
      items: what takes memory.
    """

    sizes: NetworkSizes
    run: CapacityConfig
    items: tuple[Item, ...]

    def held(self, phase: Phase) -> int:
        """The bytes of one phase, without what is always held."""
        return sum(item.size for item in self.items if item.phase == phase)

    @property
    def fullest(self) -> Phase:
        """The phase of an update that holds most."""
        phases: tuple[Phase, ...] = ("playing", "learning", "stepping")
        return max(phases, key=self.held)

    @property
    def total(self) -> int:
        """The most bytes that are held at once."""
        return self.held("always") + self.held(self.fullest)

    @property
    def left(self) -> float:
        """What is left of a device's memory, in bytes; negative if the run does not fit."""
        return self.run.memory * GIGABYTE - self.total

    @property
    def fits(self) -> bool:
        """Whether the device has that much, and a tenth of its memory to spare."""
        return self.left >= SPARE * self.run.memory * GIGABYTE


@attrs.frozen(kw_only=True)
class Advice:
    """Settings under which a run fits, and its plan under them.

    Attributes:
      options: the options of the command line to give in addition.
      plan: what the run takes with them.
    """

    options: tuple[str, ...]
    plan: Plan


def estimate_capacity(sizes: NetworkSizes, run: CapacityConfig) -> Plan:
    """What a run holds in the memory of each device.

    Args:
      sizes: of the network, with its adapters if these alone are learnt.
      run: the devices and the settings.

    Example:
      >>> sizes = NetworkSizes(
      ...     name="two layers", layers=2, hidden=8, intermediate=32, heads=2, kv_heads=1, head_size=4,
      ...     vocabulary=100, parameters=2_584, linear=2_384, layer=888, ends=800,
      ... )
      >>> [(item.name, item.size) for item in estimate_capacity(sizes, CapacityConfig()).items][:3]
      [('weights', 10336), ('reference', 10336), ('gradients', 10336)]
    """
    items = (*_static(sizes, run), *_playing(sizes, run), *_learning(sizes, run))
    return Plan(sizes=sizes, run=run, items=(*items, _stepping(sizes, run)))


# ---- what is always held ------------------------------------------------------------------------


def _static(sizes: NetworkSizes, run: CapacityConfig) -> Iterator[Item]:
    """Weights, what the KL is measured against, gradients and moments."""
    wide, learnt, count = _BYTES[run.dtype], _learnt_bytes(sizes, run), _learnt(sizes)
    inside = sizes.layers * sizes.layer
    base, adapters = (
        _held(run, sizes.parameters, inside),
        _held(run, sizes.adapters, sizes.adapters),
    )
    trained, how = adapters if sizes.adapters else base, f"{_short(sizes.parameters)} x {wide} B"
    if sizes.adapters:
        how = f"{how} + {_short(sizes.adapters)} x 4 B"
    layers = f", layers / {run.devices}" if _divides_layers(run) else ""
    yield _always("weights", base * wide + adapters * 4, how + layers)
    if not sizes.adapters:
        yield _always("reference", base * wide, "a frozen copy, for the KL" + layers)
    yield _always("gradients", trained * learnt, f"{_short(count)} x {learnt} B" + layers)
    moment = _moment_bytes(sizes, run)
    told = f"2 x {_short(count)} x {moment} B"
    if run.sharding == "zero1" and run.devices > 1:
        share = math.ceil(2 * count * moment / run.devices)
        yield _always("moments", share, f"{told} / {run.devices}")
    else:
        yield _always("moments", 2 * trained * moment, told + layers)


def _divides_layers(run: CapacityConfig) -> bool:
    return run.sharding == "fsdp" and run.devices > 1


def _held(run: CapacityConfig, count: int, inside: int) -> int:
    """How many of so many weights a device holds, of which some are in layers."""
    return count - inside + math.ceil(inside / run.devices) if _divides_layers(run) else count


def _always(name: str, size: int, how: str) -> Item:
    return Item(phase="always", name=name, size=size, how=how)


def _gathered(
    sizes: NetworkSizes, run: CapacityConfig, layers: int, phase: Phase
) -> Iterator[Item]:
    """Of layers that are divided: the other devices' parts, of as many layers as are whole at once."""
    if _divides_layers(run):
        wide, adapters = _BYTES[run.dtype], 4 * sizes.adapters / max(1, sizes.layers)
        others = 1 - 1 / run.devices
        size = math.ceil(layers * (sizes.layer * wide + adapters) * others)
        yield Item(
            phase=phase,
            name="gathered weights",
            size=size,
            how=f"{layers} layers, the others' parts",
        )


def _learnt(sizes: NetworkSizes) -> int:
    return sizes.adapters or sizes.parameters


def _learnt_bytes(sizes: NetworkSizes, run: CapacityConfig) -> int:
    """Adapters are in float32 whatever the weights are in."""
    return 4 if sizes.adapters else _BYTES[run.dtype]


def _moment_bytes(sizes: NetworkSizes, run: CapacityConfig) -> int:
    if run.optimizer_dtype == "learnt":
        return _learnt_bytes(sizes, run)
    return _BYTES[run.optimizer_dtype]


def _short(count: float) -> str:
    """A count in at most three digits before its unit."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.4g} {unit}"
    return f"{count:g}"


# ---- playing ------------------------------------------------------------------------------------


def _playing(sizes: NetworkSizes, run: CapacityConfig) -> Iterator[Item]:
    rows, token = run.cached_rows, cache_bytes(sizes, run)
    yield Item(
        phase="playing",
        name="key-value cache",
        size=rows * run.row * token,
        how=f"{rows:,} rows x {run.row:,} tokens x {_short(token)}B",
    )
    entering = run.entering * _passing_bytes(sizes, run)
    logits = _played_logits(rows * sizes.vocabulary, run)
    how = (
        f"{_short(rows * sizes.vocabulary)} logits x {logits / rows / sizes.vocabulary:.3g} B"
        if logits > entering
        else f"a pass: {run.entering:,} tokens x {_short(entering / run.entering)}B"
    )
    yield Item(phase="playing", name="working space", size=max(entering, logits), how=how)
    yield from _gathered(sizes, run, sizes.layers, "playing")


def cache_bytes(sizes: NetworkSizes, run: CapacityConfig) -> int:
    """Bytes of the key-value cache for a token: keys and values of every layer, in the type of the weights."""
    return 2 * sizes.layers * sizes.kv_heads * sizes.head_size * _BYTES[run.dtype]


def _passing_bytes(sizes: NetworkSizes, run: CapacityConfig) -> int:
    """The most that a forward pass holds for a token beside the cache: three times the feed-forward width."""
    return 3 * sizes.intermediate * _computed(run) + 5 * sizes.hidden * _BYTES[run.dtype]


def _played_logits(count: int, run: CapacityConfig) -> int:
    """Bytes for the logits of a step: they, and those of earlier steps as far as they are remembered, in float32."""
    remembered = max(4 * count, min(_REMEMBERED, 4 * count * run.max_reply_tokens))
    return count * _PLAYED_LOGIT + min(count, LOGITS_AT_ONCE) * _PICKED_LOGIT + remembered


def _computed(run: CapacityConfig) -> int:
    """Bytes of a number in the type that is computed in."""
    return 4 if run.dtype == "float32" else 2


# ---- learning -----------------------------------------------------------------------------------


def _learning(sizes: NetworkSizes, run: CapacityConfig) -> Iterator[Item]:
    whole = layer_bytes(sizes, run)
    token = sizes.hidden * _BYTES[run.dtype] if run.recompute else whole
    yield Item(
        phase="learning",
        name="activations",
        size=round(run.part * (sizes.layers * token + _kept_bytes(sizes, run))) + _mask(sizes, run),
        how=f"{run.part:,} tokens x {sizes.layers} layers x {_short(token)}B",
    )
    copies = _copied(sizes, run)
    if copies:
        how = f"{_short(copies / 2)} x 2 B, to compute with"
        yield Item(phase="learning", name="weights in bfloat16", size=copies, how=how)
    logits = learnt_logits(sizes, run) * _LEARNT_LOGIT
    again = round(run.part * (_returning_bytes(sizes, run) + (whole if run.recompute else 0)))
    how = (
        f"{_short(learnt_logits(sizes, run))} logits x {_LEARNT_LOGIT} B"
        if logits > again
        else f"a layer and back: {run.part:,} tokens x {_short(again / run.part)}B"
    )
    yield Item(phase="learning", name="working space", size=max(logits, again), how=how)
    yield from _gathered(sizes, run, min(2, sizes.layers), "learning")


def layer_bytes(sizes: NetworkSizes, run: CapacityConfig) -> float:
    """Bytes that a decoder layer keeps for a token until gradients have come back.

    With width h, attention width a (heads times their size) and feed-forward width i, in numbers: the inputs of both
    norms, 2 h in float32, and what they scale, 2 h, unless the scales are frozen; the inputs of linear layers, 2 h +
    i; queries, keys, values and what attention makes of them, 4 a; the gate before and after its nonlinearity and the
    other branch, 3 i; and for each adapter its rank. Where inputs are converted to another type first, each linear
    layer keeps its own: 5 h + i, and a for the one after attention if it has an adapter.

    Args:
      sizes: of the network.
      run: the settings.
    """
    h, i, attention = sizes.hidden, sizes.intermediate, sizes.heads * sizes.head_size
    computed = _computed(run)
    norms = 2 * h * 4 + (0 if sizes.adapters else 2 * h * _BYTES[run.dtype])
    if run.dtype == "mixed" or (run.dtype == "bfloat16" and sizes.adapters):
        own = attention if sizes.adapters else 0
        inputs = (5 * h + own + i) * (2 if run.dtype == "mixed" else 4)
    else:
        inputs = (2 * h + i) * computed
    ranks = sizes.ranks * (2 if run.dtype == "mixed" else 4)
    return norms + inputs + (4 * attention + 3 * i) * computed + ranks


def _kept_bytes(sizes: NetworkSizes, run: CapacityConfig) -> int:
    """Bytes for a token at the ends of the network: the last norm's input, and what it scales."""
    return sizes.hidden * (4 + (0 if sizes.adapters else _BYTES[run.dtype]))


def _mask(sizes: NetworkSizes, run: CapacityConfig) -> int:
    """Bytes of who attends to whom: a row of it for each token, as long as a row of the batch."""
    width = min(run.part, max(sizes.hidden // 2, run.row))
    converted = 2 * (1 if run.recompute else sizes.layers) if run.dtype == "mixed" else 0
    return run.part * width * (_BYTES[run.dtype] + converted)


def _copied(sizes: NetworkSizes, run: CapacityConfig) -> int:
    """Bytes of weights converted for computing: all of linear layers, which are kept while all weights are learnt.

    A layer's alone, where they are made again: frozen or sharded weights, and recomputation.
    """
    if run.dtype != "mixed":
        return 0
    passing = run.recompute and (sizes.adapters or _divides_layers(run))
    return 2 * (sizes.layer if passing else sizes.linear)


def learnt_logits(sizes: NetworkSizes, run: CapacityConfig) -> int:
    """How many logits the learning pass holds at once.

    Args:
      sizes: of the network.
      run: the settings.
    """
    return min(run.part, max(1, LOGITS_AT_ONCE // sizes.vocabulary)) * sizes.vocabulary


def _returning_bytes(sizes: NetworkSizes, run: CapacityConfig) -> int:
    """Bytes for a token of the gradients on their way through a layer."""
    return 3 * sizes.intermediate * _computed(run) + 2 * sizes.hidden * _BYTES[run.dtype]


def _stepping(sizes: NetworkSizes, run: CapacityConfig) -> Item:
    """On accelerators AdamW holds the roots of all second moments at once; where layers are divided, of one weight."""
    count, how = _learnt(sizes), "roots of second moments"
    if _divides_layers(run):
        count, how = min(count, max(sizes.ends, sizes.layer)), f"{how} of one weight at most"
    elif run.sharding == "zero1":
        count = math.ceil(count / run.devices)
    size = count * _moment_bytes(sizes, run)
    return Item(phase="stepping", name="working space", size=size, how=how)


# ---- what fits ----------------------------------------------------------------------------------


def largest_token_budget(sizes: NetworkSizes, run: CapacityConfig) -> int:
    """The greatest token budget that fits, up to all that a device learns from; 0 if none does.

    Args:
      sizes: of the network.
      run: its own token budget is not looked at.
    """
    return _greatest(
        lambda n: estimate_capacity(sizes, attrs.evolve(run, token_budget=n)).fits,
        run.learnt_tokens,
    )


def most_rows(sizes: NetworkSizes, run: CapacityConfig) -> int:
    """How many replies a device can hold in its key-value cache at once; 0 if not even one.

    Args:
      sizes: of the network.
      run: its own number of episodes is not looked at.
    """
    free = (1 - SPARE) * run.memory * GIGABYTE - estimate_capacity(sizes, run).held("always")
    row, entering = run.row * cache_bytes(sizes, run), _passing_bytes(sizes, run)

    def fits(rows: int) -> bool:
        work = max(
            min(rows * run.prompt_tokens, run.entering) * entering,
            _played_logits(rows * sizes.vocabulary, run),
        )
        return rows * row + work <= free

    return _greatest(fits, 1 + max(0, int(free)) // row)


def _greatest(fits: Callable[[int], bool], most: int) -> int:
    """The greatest number up to a limit that fits, where all smaller ones do; 0 if none does."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def first_limit(plan: Plan) -> str:
    """The limit that comes first as a run of this kind grows, in one sentence."""
    run, own = plan.run, plan.held("always") / GIGABYTE
    if own > run.memory * (1 - SPARE):
        return f"The weights come first: what is always held takes {own:.1f} GB of {run.memory:g}."
    if plan.fits and run.groups < run.devices:
        return (
            f"The groups come first: groups are dealt whole, and with {run.groups} of them "
            f"{run.devices - run.groups} of {run.devices} devices play nothing."
        )
    most = max((i for i in plan.items if i.phase == plan.fullest), key=lambda item: item.size)
    return f"{plan.fullest.capitalize()} comes first, by its {most.name}: {most.how}."


def advice(
    sizes: NetworkSizes, run: CapacityConfig, *, adapted: NetworkSizes | None = None
) -> Advice | None:
    """The smallest change of settings under which a run fits; None if it fits, or if no change helps.

    Tried are a smaller token budget, recomputation, divided moments (``zero1``) and adapters (with weights in bfloat16,
    too), alone and together, in this order: what changes nothing that is learnt comes first.

    Args:
      sizes: of the network as it is to be learnt.
      run: the settings.
      adapted: the network with adapters; these are not advised if it is left out.
    """
    if estimate_capacity(sizes, run).fits:
        return None
    for options, changed, network in _changes(sizes, run, adapted):
        budget = largest_token_budget(network, changed)
        if budget < min(changed.row, changed.token_budget):
            continue
        smaller = budget < changed.token_budget
        told = (*options, f"--token-budget {budget}") if smaller else options
        lowered = attrs.evolve(changed, token_budget=budget) if smaller else changed
        fitting = estimate_capacity(network, lowered)
        if fitting.fits:
            return Advice(options=told, plan=fitting)
    return None


def _changes(
    sizes: NetworkSizes, run: CapacityConfig, adapted: NetworkSizes | None
) -> Iterator[tuple[tuple[str, ...], CapacityConfig, NetworkSizes]]:
    """The changes to try: options, settings and network."""
    ways: tuple[Sharding, ...] = get_args(Sharding)
    divided = ways[ways.index(run.sharding) + 1 :] if run.devices > 1 else ()
    for learning, network, dtype in _ways(sizes, run, adapted):
        for sharding in (run.sharding, *divided):
            for recompute in sorted({run.recompute, True}):
                changed = attrs.evolve(run, sharding=sharding, recompute=recompute, dtype=dtype)
                again = ("--recompute",) if recompute != run.recompute else ()
                sharded = (f"--sharding {sharding}",) if sharding != run.sharding else ()
                yield (*sharded, *learning, *again), changed, network


def _ways(
    sizes: NetworkSizes, run: CapacityConfig, adapted: NetworkSizes | None
) -> Iterator[tuple[tuple[str, ...], NetworkSizes, Dtype]]:
    """What can be learnt, all weights or adapters, and the type of the weights: options, network and type."""
    yield (), sizes, run.dtype
    small = sizes if sizes.adapters else adapted
    if small is None:
        return
    options = () if sizes.adapters else ("--lora r=16",)
    if options:
        yield options, small, run.dtype
    if run.dtype != "bfloat16":
        yield (*options, "--dtype bfloat16"), small, "bfloat16"
