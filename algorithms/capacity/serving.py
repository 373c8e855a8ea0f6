"""What an inference server holds in the memory of each of its devices while it plays for a run.

The figures are for vLLM with its defaults: its key-value cache has blocks of 16 tokens, at most 8,192 tokens go through
the network at once, and it takes about nine tenths of a device. Its weights and its cache have the same type. There is
room for one set of adapters, since each push replaces the previous one. If a server is sharded over several devices,
each has a part of every matrix and of the heads for keys and values, and all of the adapters.

Source: vLLM 0.32, ``vllm.config`` and ``vllm.engine.arg_utils``, for the defaults.
"""

import math

import attrs

from algorithms.capacity.config import BYTES, CapacityConfig
from algorithms.capacity.estimate import (
    GIGABYTE,
    SPARE,
    CapacityEstimate,
    MemoryItem,
    NetworkSizes,
    cache_bytes,
    passing_bytes,
    short_count,
)
from tsmg import InvalidArgumentError

BLOCK = 16
"""Tokens of a block of the cache; a sequence has whole blocks."""
PASS = 8192
"""Tokens that go through the network at once, at most."""
_LOGIT = (
    16  # bytes: a logit, its log-probability and probability, and the noise that picks, in float32
)


def estimate_server(sizes: NetworkSizes, config: CapacityConfig) -> CapacityEstimate:
    """What a server holds in the memory of each of its devices.

    Args:
      sizes: of the network, with its adapters if these alone are learnt.
      config: the servers, and the settings of the run.

    Raises:
      InvalidArgumentError: the devices of a server do not divide the heads of the network.

    Example:
      >>> sizes = NetworkSizes(
      ...     name="two layers", layers=2, hidden=8, intermediate=32, heads=2, kv_heads=1, head_size=4,
      ...     vocabulary=100, parameters=2_584, linear=2_384, layer=888, ends=800,
      ... )
      >>> run = CapacityConfig(engines=1, groups=1, group_size=4, kept_episodes=4, prompt_tokens=20, max_reply_tokens=4)
      >>> [(item.name, item.size) for item in estimate_server(sizes, run).items]
      [('weights', 10336), ('key-value cache', 8192), ('working space', 4456448)]
    """
    if sizes.heads % config.engine_gpus:
        raise InvalidArgumentError(
            f"'engine_gpus' must divide the heads of the network (got {config.engine_gpus} for {sizes.heads})"
        )
    if sizes.kv_heads % config.engine_gpus and config.engine_gpus % sizes.kv_heads:
        raise InvalidArgumentError(
            f"'engine_gpus' must divide the heads for keys and values, or be a multiple of them (got "
            f"{config.engine_gpus} for {sizes.kv_heads})"
        )
    wide, sequences = BYTES[config.served_dtype], served_sequences(config)
    part = f" / {config.engine_gpus}" if config.engine_gpus > 1 else ""
    weights = math.ceil(sizes.parameters / config.engine_gpus) * wide
    told = f"{short_count(sizes.parameters)} x {wide} B{part}"
    items = [MemoryItem(phase="always", name="weights", size=weights, how=told)]
    if sizes.adapters:
        told = f"{short_count(sizes.adapters)} x {wide} B"
        size = sizes.adapters * wide
        items.append(MemoryItem(phase="always", name="adapters", size=size, how=told))
    token, sequence = _token_bytes(sizes, config), _sequence_bytes(sizes, config)
    told = f"{sequences:,} sequences x {_blocks(config) * BLOCK:,} tokens x {short_count(token)}B"
    size = sequences * sequence
    items.append(MemoryItem(phase="playing", name="key-value cache", size=size, how=told))
    items.append(_working_space(sizes, config))
    return CapacityEstimate(sizes=sizes, config=config, items=tuple(items))


def served_sequences(config: CapacityConfig) -> int:
    """How many replies the fullest server draws at once: as many as it is asked for at once, and no more than it plays.

    Args:
      config: the servers, and the settings of the run.
    """
    from lap.remote.fleet import CONCURRENCY  # noqa: PLC0415 (slow, as in estimate.logits_at_once)

    return min(CONCURRENCY, config.episodes)


def most_sequences(sizes: NetworkSizes, config: CapacityConfig) -> int:
    """How many replies a server has room to draw at once, with a tenth of the memory left free; 0 if not even one.

    Args:
      sizes: of the network.
      config: the servers, and the settings of the run; their number of episodes has no effect.
    """
    always = estimate_server(sizes, config).held("always")
    free = (1 - SPARE) * config.memory * GIGABYTE - always
    sequence = _sequence_bytes(sizes, config)
    beside_a_pass = (free - _passing_bytes(sizes, config)) // sequence
    beside_logits = free // (sequence + sizes.vocabulary * _LOGIT)
    return max(0, int(min(beside_a_pass, beside_logits)))


def _on_device(sizes: NetworkSizes, config: CapacityConfig) -> NetworkSizes:
    """The network of one device: heads for keys and values are divided as far as there are some, and then repeated."""
    return attrs.evolve(
        sizes,
        kv_heads=math.ceil(sizes.kv_heads / config.engine_gpus),
        intermediate=math.ceil(sizes.intermediate / config.engine_gpus),
    )


def _served(config: CapacityConfig) -> CapacityConfig:
    """Settings in which the weights have the server's type."""
    return attrs.evolve(config, dtype=config.served_dtype)


def _token_bytes(sizes: NetworkSizes, config: CapacityConfig) -> int:
    return cache_bytes(_on_device(sizes, config), _served(config))


def _blocks(config: CapacityConfig) -> int:
    return math.ceil(config.row / BLOCK)


def _sequence_bytes(sizes: NetworkSizes, config: CapacityConfig) -> int:
    return _blocks(config) * BLOCK * _token_bytes(sizes, config)


def _passing_bytes(sizes: NetworkSizes, config: CapacityConfig) -> int:
    return PASS * passing_bytes(_on_device(sizes, config), _served(config))


def _working_space(sizes: NetworkSizes, config: CapacityConfig) -> MemoryItem:
    """A pass of the network, or the logits of a step: the one ends before the other begins."""
    logits = served_sequences(config) * sizes.vocabulary
    size, told = logits * _LOGIT, f"{short_count(logits)} logits x {_LOGIT} B"
    if (passing := _passing_bytes(sizes, config)) >= size:
        size, told = passing, f"a pass: {PASS:,} tokens x {short_count(passing / PASS)}B"
    return MemoryItem(phase="playing", name="working space", size=size, how=told)
