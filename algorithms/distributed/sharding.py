"""What several processes shard, behind one object that shards nothing if there is only one process.

``zero1`` divides the moments of the optimiser. ``fsdp`` also divides the weights and gradients of layers by torch's
``fully_shard``: each process holds a shard of every layer. While a policy plays its layers are whole, since the number
of forward passes differs between processes. While it learns, a layer is gathered where it is computed with, and its
gradients are reduced and scattered at once; all processes then make equally many passes, which
``Sharding.micro_batches`` sees to. Embeddings, norms and the head stay whole.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

import attrs
import torch
from accelerate.utils import reduce
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from algorithms.distributed.processes import (
    Processes,
    before_leaving,
    make_accelerator,
    sharded_optimizer,
)
from algorithms.method.batch import TrainingRow, micro_batches, part_of_rows
from algorithms.method.config import Sharding as ShardingKind
from lap.model import ShardableModel, TrainableModel
from tsmg import InvalidArgumentError


@final
class Sharding:
    """How weights, batches and the optimiser are divided among processes; one process alone holds and does all.

    Args:
      kind: what is divided; one process divides nothing whatever it says.

    Attributes:
      processes: this process among those that train together.
      kind: as given, ``none`` for one process.
    """

    def __init__(self, kind: ShardingKind) -> None:
        self._accelerator = make_accelerator()
        self.processes = Processes.of(self._accelerator)
        self.kind: ShardingKind = kind if self.processes.count > 1 else "none"

    @property
    def divides_weights(self) -> bool:
        """Whether a process holds shards of the layers, and not all of them."""
        return self.kind == "fsdp"

    def place(self, models: Sequence[TrainableModel]) -> None:
        """Bring networks to this process's device, with equal weights in all processes.

        Raises:
          InvalidArgumentError: there are several, and a model has a state beside its weights, which would differ.
        """
        for model in {id(model): model for model in models}.values():
            if self.processes.count > 1 and model.state_values():
                raise InvalidArgumentError(
                    f"{type(model).__name__} has a state beside its weights and learns in a single process"
                )
            # gradients are summed by ``reduce_gradients``, not by a wrapper of the network
            model.network = self._accelerator.prepare_model(model.network, evaluation_mode=True)
            self.processes.broadcast_weights(model.network)

    def divide(self, models: Sequence[TrainableModel]) -> None:
        """Leave each process its shards of the models' layers, if that is requested.

        Raises:
          InvalidArgumentError: a model has no layers that can be told apart; nothing was changed then.
        """
        if not self.divides_weights:
            return
        whole = [shardable(model) for model in models]
        for model in whole:
            model.use_one_pass()
        for model in whole:
            if not any(is_sharded(p) for p in model.network.parameters()):  # a reference may share
                shard(model.network, model.layers(), self.processes.count)

    @contextlib.contextmanager
    def whole(self, models: Sequence[TrainableModel]) -> Iterator[None]:
        """Within the block, every process holds all weights of the models."""
        modules = [
            module
            for network in {id(model.network): model.network for model in models}.values()
            for module in network.modules()
            if isinstance(module, FSDPModule) and module is not network
        ]
        for module in modules:
            module.set_reshard_after_forward(False, recurse=False)
            module.unshard()
        try:
            yield
        finally:
            for module in modules:
                module.reshard()
                module.set_reshard_after_forward(True, recurse=False)

    def adamw(
        self, parameters: Sequence[torch.nn.Parameter], learning_rate: float
    ) -> torch.optim.Optimizer:
        """AdamW without weight decay; its moments are sharded if that is requested."""
        if self.kind == "zero1":
            optimizer = torch.optim.AdamW
            return sharded_optimizer(parameters, optimizer, lr=learning_rate, weight_decay=0.0)
        # weights of which some are shards cannot be stepped together
        foreach = False if self.divides_weights else None
        return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0, foreach=foreach)

    def share(self, rows: Sequence[TrainingRow]) -> list[TrainingRow]:
        """The rows that this process learns from; all processes have the same rows and split them alike."""
        return part_of_rows(rows, self.processes.index, self.processes.count)

    def micro_batches(
        self, rows: Sequence[TrainingRow], token_budget: int
    ) -> list[list[TrainingRow]]:
        """This process's rows in batches that a forward pass takes; equally many in all processes that divide weights.

        Args:
          rows: this process's, sorted.
          token_budget: most tokens of a batch.

        Returns:
          The batches; then, where another process has more, batches of one row without a token to learn from.
        """
        batches = list(micro_batches(rows, token_budget))
        if not self.divides_weights:
            return batches
        everyones = self.processes.gather([(len(batches), list(rows[:1]))])
        most = max(count for count, _ in everyones)
        padding = next((_masked(first[0]) for _, first in everyones if first), None)
        return [*batches, *([padding] for _ in range(most - len(batches)) if padding)]

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss to the ``grad`` of the weights."""
        self._accelerator.backward(loss)

    def reduce_gradients(
        self, parameters: Sequence[torch.nn.Parameter], max_grad_norm: float
    ) -> float:
        """Sum the gradients over all processes and scale them down to a norm.

        Args:
          parameters: all that are learnt.
          max_grad_norm: the greatest norm that is not scaled down.

        Returns:
          The norm of the summed gradient before it was scaled.
        """
        self.processes.sum_gradients([p for p in parameters if not is_sharded(p)])
        if self.divides_weights:
            return clip_gradients(parameters, max_grad_norm)
        return float(self._accelerator.clip_grad_norm_(parameters, max_grad_norm))

    def whole_weights(
        self, network: torch.nn.Module, *, everywhere: bool = False
    ) -> dict[str, Tensor] | None:
        """The weights of a network of which this process may hold shards; ``None`` if the network holds them all.

        Args:
          network: the network; all processes call this together.
          everywhere: whether other processes than the first want the weights; they get nothing otherwise.
        """
        if not self.divides_weights:
            return None
        return gathered(network.state_dict(), keep=everywhere or self.processes.is_first)

    @property
    def keeps_state(self) -> bool:
        """Whether this process keeps gathered tensors: the first one does, and all do where none is divided."""
        return self.processes.is_first or not self.divides_weights


def _masked(row: TrainingRow) -> TrainingRow:
    """A row whose pass costs what the row's does, and adds nothing to gradient or figures."""
    untrainable = (False,) * len(row.completion.reply_ids)
    completion = attrs.evolve(row.completion, trainable=untrainable)
    return attrs.evolve(row, completion=completion, weight=0.0)


def shardable(model: object) -> ShardableModel:
    """A model whose layers can be sharded.

    Raises:
      InvalidArgumentError: it has no layers that can be told apart.
    """
    if not isinstance(model, ShardableModel) or not model.layers():
        network = model.network if isinstance(model, ShardableModel) else model
        raise InvalidArgumentError(
            f"'sharding' fsdp needs a network with layers (got {type(network).__name__})"
        )
    return model


def shard(network: torch.nn.Module, layers: Sequence[torch.nn.Module], count: int) -> None:
    """Leave to each process its shard of every layer, in place.

    Args:
      network: the whole network, with the same weights in all processes.
      layers: its layers, in order.
      count: the number of processes.
    """
    mesh = init_device_mesh(next(network.parameters()).device.type, (count,))
    before_leaving(mesh, lambda held: vars(held).clear())  # torch's caches keep it alive
    sharded: list[Any] = [fully_shard(layer, mesh=mesh) for layer in layers]
    rest = {p for p in network.parameters() if not isinstance(p, DTensor)}
    fully_shard(network, mesh=mesh, ignored_params=rest)
    for before, layer in zip((sharded[0], *sharded), sharded, strict=False):
        # named, since by default the order of the last passes counts, and these differ while playing
        layer.set_modules_to_backward_prefetch([before])
        layer.set_gradient_divide_factor(1.0)  # gradients are those of parts of one sum
        layer.set_force_sum_reduction_for_comms(True)


def is_sharded(tensor: Tensor) -> bool:
    """Whether a process holds only a shard of a tensor."""
    return isinstance(tensor, DTensor)


def gathered(tensors: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Tensors of which some are sharded, whole; on the CPU those that were sharded. All processes call this.

    Args:
      tensors: by name.
      keep: whether this process wants them; it gets nothing otherwise.
    """
    kept = {}
    for name, tensor in tensors.items():  # one after the other: a device need not hold all of them
        complete = tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor
        if keep:
            kept[name] = complete
    return kept


def sharded_like(tensor: Tensor, like: Tensor) -> Tensor:
    """This process's shard of a whole tensor, as another one is sharded; always a copy."""
    if not isinstance(like, DTensor):
        return tensor.clone()
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)


def clip_gradients(parameters: Sequence[torch.nn.Parameter], max_norm: float) -> float:
    """Scale gradients, of which some are sharded, down to a norm; returns the norm before."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    shards = [g.to_local() for g in gradients if isinstance(g, DTensor)]
    others = [g for g in gradients if not isinstance(g, DTensor)]
    device = gradients[0].device
    squares = reduce(_squares(shards, device), "sum") + _squares(others, device)
    norm = squares.sqrt()
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    for gradient in (*shards, *others):
        gradient.mul_(factor.to(gradient.dtype))
    return float(norm)


def _squares(tensors: Sequence[Tensor], device: torch.device) -> Tensor:
    total = torch.zeros((), device=device)
    for tensor in tensors:
        total += tensor.float().square().sum()
    return total
