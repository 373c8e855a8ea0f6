"""Several processes that train one policy: each plays and learns its share, and gathers what all must know.

Every process holds the whole policy and makes the same decisions from the same figures. An update therefore does not
depend on the number of processes, except for the order in which floating-point numbers are summed. ``accelerate``
starts the processes and numbers them.
"""

import atexit
import gc
import itertools
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar, final

import attrs
import torch
from accelerate import Accelerator
from accelerate.utils import (
    DistributedType,
    broadcast,
    broadcast_object_list,
    gather_object,
    reduce,
)

from tsmg import InvalidArgumentError

with warnings.catch_warnings():  # of another thing there, which is old
    warnings.simplefilter("ignore", DeprecationWarning)
    # before there is a process group: what is imported later keeps it alive, see _leave
    from torch.distributed.optim import ZeroRedundancyOptimizer

T = TypeVar("T")

_SHARDING_LAUNCHERS = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)
_BUCKET = 2**24  # numbers that are summed in one call


def make_accelerator() -> Accelerator:
    """The accelerator of this process; without a device, several processes are several CPU processes.

    When the process ends it leaves the process group by itself.

    Raises:
      InvalidArgumentError: the launcher was asked to shard weights, which training does not support.
    """
    accelerator = Accelerator(cpu=not torch.accelerator.is_available())
    if accelerator.distributed_type in _SHARDING_LAUNCHERS:
        raise InvalidArgumentError(
            f"training does not support {accelerator.distributed_type.value}: launch with --multi_gpu alone; "
            "'sharding' fsdp shards the weights of layers"
        )
    if accelerator.num_processes > 1:
        atexit.register(_leave)
    return accelerator


def sharded_optimizer(
    parameters: Sequence[torch.nn.Parameter],
    optimizer: type[torch.optim.Optimizer],
    **settings: Any,
) -> torch.optim.Optimizer:
    """An optimiser of which each process holds the state for its share of the weights, and steps these for all."""
    sharded: Any = ZeroRedundancyOptimizer(parameters, optimizer, **settings)
    before_leaving(sharded, lambda optimizer: setattr(optimizer, "process_group", None))
    result: torch.optim.Optimizer = sharded
    return result


def has_whole_state(optimizer: torch.optim.Optimizer) -> bool:
    """Whether this process knows an optimiser's whole state.

    The state of a sharded one is gathered in the first process, so all must call this.
    """
    if not isinstance(optimizer, ZeroRedundancyOptimizer):
        return True
    optimizer.consolidate_state_dict(to=0)
    return bool(optimizer.rank == 0)


_holders: list[tuple[weakref.ref[Any], Callable[[Any], None]]] = []


def before_leaving(holder: T, release: Callable[[T], None]) -> None:
    """Have an object release the process group before this process leaves it.

    Args:
      holder: an object that refers to the group; it is not kept alive by this.
      release: called with it, if it is still alive then.
    """
    _holders.append((weakref.ref(holder), release))


def _leave() -> None:
    """Stop the threads that communicate: one that is still alive at the end can abort a finished process.

    These threads live as long as anything holds the group.
    """
    gc.collect()
    for reference, release in _holders:
        holder = reference()
        if holder is not None:
            release(holder)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@final
@attrs.frozen(kw_only=True)
class Processes:
    """This process, among those that train together. All of them must call the same methods in the same order.

    Attributes:
      index: the rank of this process, from 0.
      count: the number of processes.
    """

    index: int = 0
    count: int = 1

    @classmethod
    def of(cls, accelerator: Accelerator) -> "Processes":
        """As the launcher started them."""
        return cls(index=accelerator.process_index, count=accelerator.num_processes)

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and reports."""
        return self.index == 0

    def scatter(self, items: Sequence[T]) -> list[T]:
        """This process's share of the items; every item is in the share of one process.

        Example:
          >>> [Processes(index=n, count=2).scatter("abcde") for n in (0, 1)]
          [['a', 'c', 'e'], ['b', 'd']]
        """
        return list(items[self.index :: self.count])

    def gather(self, items: Iterable[T]) -> list[T]:
        """The items of all processes in the order of the processes; on every process."""
        mine = list(items)
        return mine if self.count == 1 else list(gather_object(mine))

    def broadcast(self, value: T) -> T:
        """The value of the first process, on every process."""
        if self.count == 1:
            return value
        values: list[T] = broadcast_object_list([value])
        return values[0]

    def broadcast_weights(self, network: torch.nn.Module) -> None:
        """Give every process the first one's weights."""
        if self.count > 1:
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.copy_(broadcast(parameter.detach()))

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Replace every ``grad`` by its sum over all processes; one that is missing counts as 0."""
        if self.count == 1:
            return
        for bucket in _buckets(parameters):
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
            total = reduce(torch.cat([gradient.reshape(-1) for gradient in gradients]), "sum")
            parts = total.split([parameter.numel() for parameter in bucket])
            for parameter, part in zip(bucket, parts, strict=True):
                parameter.grad = part.view_as(parameter)


ALONE = Processes()
"""One process, whatever a launcher started."""


def _buckets(parameters: Sequence[torch.nn.Parameter]) -> Iterator[list[torch.nn.Parameter]]:
    """Parameters of one type that are summed together, in their order."""
    for _, alike in itertools.groupby(parameters, lambda p: (p.dtype, p.device)):
        bucket: list[torch.nn.Parameter] = []
        size = 0
        for parameter in alike:
            if bucket and size + parameter.numel() > _BUCKET:
                yield bucket
                bucket, size = [], 0
            bucket.append(parameter)
            size += parameter.numel()
        yield bucket
