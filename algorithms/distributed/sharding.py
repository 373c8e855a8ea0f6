"""Weights divided among processes by torch's ``fully_shard``: each holds a part of every layer.

While a policy plays its layers are whole, since how many passes that takes is another number in each process. While it
learns a layer is gathered where it is computed with, and its gradients are summed and divided at once; all processes
then make as many passes. Embeddings, norms and the head stay whole.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from accelerate.utils import reduce
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers.modeling_layers import GradientCheckpointingLayer

from algorithms.distributed.processes import lets_go
from tsmg import InvalidArgumentError


def layers_of(network: torch.nn.Module) -> list[torch.nn.Module]:
    """The layers of a network of the transformers library.

    Raises:
      InvalidArgumentError: it has none that can be told apart.
    """
    layers = [m for m in network.modules() if isinstance(m, GradientCheckpointingLayer)]
    if not layers:
        raise InvalidArgumentError(
            f"'sharding' fsdp wants a network of layers (got {type(network).__name__})"
        )
    return list(layers)


def shard(network: torch.nn.Module, count: int) -> None:
    """Leave to each process its part of every layer, in place.

    Args:
      network: of the transformers library, with the same weights in all processes.
      count: of the processes.

    Raises:
      InvalidArgumentError: it has no layers that can be told apart.
    """
    layers = layers_of(network)
    mesh = init_device_mesh(next(network.parameters()).device.type, (count,))
    lets_go(mesh, lambda one: vars(one).clear())  # torch's caches keep it alive
    divided: list[Any] = [fully_shard(layer, mesh=mesh) for layer in layers]
    rest = {p for p in network.parameters() if not isinstance(p, DTensor)}
    fully_shard(network, mesh=mesh, ignored_params=rest)
    for before, layer in zip((divided[0], *divided), divided, strict=False):
        # named, since by default the order of the last passes counts, and these differ while playing
        layer.set_modules_to_backward_prefetch([before])
        layer.set_gradient_divide_factor(1.0)  # gradients are those of parts of one sum
        layer.set_force_sum_reduction_for_comms(True)


@contextlib.contextmanager
def unsharded(networks: Sequence[torch.nn.Module]) -> Iterator[None]:
    """Within the block every process holds all weights of those of the networks that are divided."""
    for network in networks:
        _gather(network)
    try:
        yield
    finally:
        for network in networks:
            _let_go(network)


def _gather(network: torch.nn.Module) -> None:
    for module in _divided_modules(network):
        module.set_reshard_after_forward(False, recurse=False)
        module.unshard()


def _let_go(network: torch.nn.Module) -> None:
    for module in _divided_modules(network):
        module.reshard()
        module.set_reshard_after_forward(True, recurse=False)


def _divided_modules(network: torch.nn.Module) -> list[FSDPModule]:
    return [m for m in network.modules() if isinstance(m, FSDPModule) and m is not network]


def is_sharded(tensor: Tensor) -> bool:
    """Whether a process holds a part of it alone."""
    return isinstance(tensor, DTensor)


def gathered(tensors: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Tensors of which some are divided, whole and on the CPU where they were; all processes call this.

    Args:
      tensors: by name.
      keep: whether this process wants them; it gets nothing otherwise.
    """
    found = {}
    for name, tensor in tensors.items():  # one after the other: a device need not hold all of them
        complete = tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor
        if keep:
            found[name] = complete
    return found


def sharded_like(tensor: Tensor, like: Tensor) -> Tensor:
    """This process's part of a whole tensor, as another one is divided; always a copy."""
    if not isinstance(like, DTensor):
        return tensor.clone()
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)


def clip_gradients(parameters: Sequence[torch.nn.Parameter], most: float) -> float:
    """Scale gradients, of which some are divided, to a norm of at most so much; returns the norm before."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    parts = [g.to_local() for g in gradients if isinstance(g, DTensor)]
    others = [g for g in gradients if not isinstance(g, DTensor)]
    squares = reduce(_squares(parts, gradients[0].device), "sum") + _squares(
        others, gradients[0].device
    )
    norm = squares.sqrt()
    factor = (most / (norm + 1e-6)).clamp(max=1.0)
    for gradient in (*parts, *others):
        gradient.mul_(factor.to(gradient.dtype))
    return float(norm)


def _squares(tensors: Sequence[Tensor], device: torch.device) -> Tensor:
    found = torch.zeros((), device=device)
    for tensor in tensors:
        found += tensor.float().square().sum()
    return found
