"""What fits on a device, which limit comes first, and the settings under which a run fits."""

from collections.abc import Callable, Iterator
from typing import get_args

import attrs

from algorithms.capacity.config import CapacityConfig, Dtype
from algorithms.capacity.estimate import (
    GATHERED,
    GIGABYTE,
    SPARE,
    CapacityEstimate,
    NetworkSizes,
    cache_bytes,
    estimate_capacity,
    passing_bytes,
    played_logit_bytes,
)
from algorithms.method.config import Sharding


@attrs.frozen(kw_only=True)
class Advice:
    """Settings under which a run fits, and the estimate of its memory under them.

    Attributes:
      options: the options of the command line to give in addition.
      estimate: what the run takes with them.
    """

    options: tuple[str, ...]
    estimate: CapacityEstimate


def largest_token_budget(sizes: NetworkSizes, config: CapacityConfig) -> int:
    """The greatest token budget that fits, up to all that a device learns from; 0 if none does.

    Args:
      sizes: of the network.
      config: the settings; their token budget has no effect.
    """
    return _greatest(
        lambda n: estimate_capacity(sizes, attrs.evolve(config, token_budget=n)).fits,
        config.learnt_tokens,
    )


def most_rows(sizes: NetworkSizes, config: CapacityConfig) -> int:
    """How many replies a device can hold in its key-value cache at once; 0 if not even one.

    Args:
      sizes: of the network.
      config: the settings; their number of episodes has no effect.
    """
    estimate = estimate_capacity(sizes, config)
    free = (1 - SPARE) * config.memory * GIGABYTE - estimate.held("always")
    free -= sum(i.size for i in estimate.items if i.phase == "playing" and i.name == GATHERED)
    row, entering = config.row * cache_bytes(sizes, config), passing_bytes(sizes, config)

    def fits(rows: int) -> bool:
        work = max(
            min(rows * config.prompt_tokens, config.entering) * entering,
            played_logit_bytes(rows * sizes.vocabulary, config),
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


def first_limit(estimate: CapacityEstimate) -> str:
    """The limit that a run of this kind reaches first as it grows, in one sentence.

    Args:
      estimate: of the run's memory.
    """
    config, own = estimate.config, estimate.held("always") / GIGABYTE
    if own > config.memory * (1 - SPARE):
        return (
            f"The weights come first: what is always held takes {own:.1f} GB of {config.memory:g}."
        )
    players = config.engines or config.devices
    if estimate.fits and config.groups < players:
        return (
            f"The groups come first: groups are dealt whole, and with {config.groups} of them "
            f"{players - config.groups} of {players} {'servers' if config.engines else 'devices'} play nothing."
        )
    most = max(
        (i for i in estimate.items if i.phase == estimate.fullest), key=lambda item: item.size
    )
    return f"{estimate.fullest.capitalize()} comes first, by its {most.name}: {most.how}."


def advise(
    sizes: NetworkSizes, config: CapacityConfig, *, adapted: NetworkSizes | None = None
) -> Advice | None:
    """The smallest change of settings under which a run fits; None if it fits, or if no change helps.

    It tries a smaller token budget, recomputation, sharded moments (``zero1``), sharded layers (``fsdp``) and adapters
    (with weights in bfloat16, too), alone and together. Changes that do not affect what is learnt come first.

    Args:
      sizes: of the network as it is to be learnt.
      config: the settings.
      adapted: the network with adapters; these are not advised if it is left out.
    """
    if estimate_capacity(sizes, config).fits:
        return None
    for changes, changed, network in _changes(sizes, config, adapted):
        budget = largest_token_budget(network, changed)
        if budget < min(changed.row, changed.token_budget):
            continue
        smaller = budget < min(changed.token_budget, changed.learnt_tokens)
        fitting = attrs.evolve(changed, token_budget=min(budget, changed.token_budget))
        options = (*changes, f"--token-budget {budget}") if smaller else changes
        estimate = estimate_capacity(network, fitting)
        if estimate.fits:
            return Advice(options=options, estimate=estimate)
    return None


def _changes(
    sizes: NetworkSizes, config: CapacityConfig, adapted: NetworkSizes | None
) -> Iterator[tuple[tuple[str, ...], CapacityConfig, NetworkSizes]]:
    """The changes to try: options, settings and network."""
    shardings: tuple[Sharding, ...] = get_args(Sharding)
    further = shardings[shardings.index(config.sharding) + 1 :] if config.devices > 1 else ()
    for learning, network, dtype in _learnable(sizes, config, adapted):
        for sharding in (config.sharding, *further):
            for recompute in sorted({config.recompute, True}):
                changed = attrs.evolve(config, sharding=sharding, recompute=recompute, dtype=dtype)
                again = ("--recompute",) if recompute != config.recompute else ()
                sharded = (f"--sharding {sharding}",) if sharding != config.sharding else ()
                yield (*sharded, *learning, *again), changed, network


def _learnable(
    sizes: NetworkSizes, config: CapacityConfig, adapted: NetworkSizes | None
) -> Iterator[tuple[tuple[str, ...], NetworkSizes, Dtype]]:
    """What can be learnt, all weights or adapters, and the type of the weights: options, network and type."""
    yield (), sizes, config.dtype
    with_adapters = sizes if sizes.adapters else adapted
    if with_adapters is None:
        return
    options = () if sizes.adapters else ("--lora r=16",)
    if options:
        yield options, with_adapters, config.dtype
    if config.dtype != "bfloat16":
        yield (*options, "--dtype bfloat16"), with_adapters, "bfloat16"
