"""The state of a training run as tensors and plain data, saved as safetensors and JSON: nothing that can run code."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from algorithms.distributed.processes import has_whole_state
from algorithms.distributed.sharding import gathered, sharded_like
from algorithms.errors import RunFolderError
from lap.model import TrainableModel

TENSORS, VALUES = "training.safetensors", "training.json"


@contextlib.contextmanager
def as_saved() -> Iterator[None]:
    """Within the block, malformed values end in one error.

    Raises:
      RunFolderError: a value is missing, or of another type or size.
    """
    try:
        yield
    except RunFolderError:
        raise
    except (
        LookupError,
        TypeError,
        ValueError,
        ArithmeticError,
        AttributeError,
        OSError,
        RuntimeError,
    ) as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise RunFolderError(f"the saved training is malformed ({reason})") from error


@attrs.frozen(kw_only=True, eq=False)
class TrainingState:
    """Named tensors and plain data; states are parts of larger ones.

    Attributes:
      tensors: not copied, so they change when training continues.
      values: values that JSON can hold.
    """

    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]

    @classmethod
    def of(cls, parts: "Mapping[str, TrainingState]", **values: Any) -> "TrainingState":
        """The state made of parts, and some values of its own."""
        return cls(
            tensors={
                f"{part}/{name}": tensor
                for part, state in parts.items()
                for name, tensor in state.tensors.items()
            },
            values={**values, **{part: state.values for part, state in parts.items()}},
        )

    def part(self, name: str) -> "TrainingState":
        """A part by its name.

        Raises:
          RunFolderError: there is none.
        """
        if not isinstance(self.values.get(name), Mapping):
            raise RunFolderError(f"the saved training has no part {name!r}")
        start = f"{name}/"
        tensors = {
            key.removeprefix(start): tensor
            for key, tensor in self.tensors.items()
            if key.startswith(start)
        }
        return TrainingState(tensors=tensors, values=self.values[name])

    def save(self, folder: Path) -> None:
        """Write two files into a folder."""
        tensors = {name: tensor.detach().contiguous() for name, tensor in self.tensors.items()}
        save_file(tensors, folder / TENSORS)
        (folder / VALUES).write_text(json.dumps(self.values) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "TrainingState":
        """Read what ``save`` wrote, on the CPU.

        Raises:
          RunFolderError: a file is missing or malformed.
        """
        try:
            values = json.loads((folder / VALUES).read_text())
            tensors = load_file(folder / TENSORS)
        except (OSError, ValueError, RecursionError, SafetensorError) as error:
            raise RunFolderError(
                f"no training can be loaded from {str(folder)!r}: {error}"
            ) from error
        if not isinstance(values, dict):
            raise RunFolderError(f"{VALUES} in {str(folder)!r} is not a JSON object")
        return cls(tensors=tensors, values=values)


def model_state(model: TrainableModel, *, keep: bool = True) -> TrainingState:
    """The part of a model that changes while it learns.

    Args:
      model: the model; where processes divide its weights, all call this.
      keep: whether this process wants the tensors.
    """
    return TrainingState(
        tensors=gathered(model.learned_tensors(), keep=keep),
        values={
            "weights_version": model.weights_version,
            "contexts": (),  # in every state since the first format, also of models without a table
            **model.state_values(),
        },
    )


@torch.no_grad()
def load_model_state(model: TrainableModel, state: TrainingState) -> None:
    """Give a model the weights of a state, in place.

    Raises:
      RunFolderError: the state is of another network, or malformed.
    """
    tensors = model.learned_tensors()
    _check_alike(tensors, state.tensors)
    with as_saved():
        version = int(state.values["weights_version"])
        model.load_state_values(state.values)
    for name, tensor in tensors.items():
        tensor.copy_(sharded_like(state.tensors[name], tensor))
    model.weights_version = version


def _check_alike(weights: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    for name in {**weights, **saved}:
        if name not in weights or name not in saved:
            raise RunFolderError(
                f"the saved training belongs to another network: {name!r} is in only one of the two"
            )
        here, there = weights[name], saved[name]
        if (here.shape, here.dtype) != (there.shape, there.dtype):
            raise RunFolderError(
                f"the saved training belongs to another network: {name!r} is {tuple(there.shape)}, {there.dtype} "
                f"(here {tuple(here.shape)}, {here.dtype})"
            )


def optimizer_state(optimizer: torch.optim.Optimizer, *, keep: bool = True) -> TrainingState:
    """The state of an optimiser, its tensors named by parameter and kind.

    The first process gets the whole state of a sharded one, and the others nothing; all must call this.

    Args:
      optimizer: the optimiser.
      keep: whether this process wants the tensors of sharded weights.
    """
    if not has_whole_state(optimizer):
        return TrainingState(tensors={}, values={})
    whole = optimizer.state_dict()
    entries = {
        f"{parameter}/{name}": value
        for parameter, remembered in whole["state"].items()
        for name, value in remembered.items()
    }
    tensors = {key: value for key, value in entries.items() if isinstance(value, Tensor)}
    return TrainingState(
        tensors=gathered(tensors, keep=keep),
        values={
            "numbers": {k: value for k, value in entries.items() if not isinstance(value, Tensor)},
            "groups": [dict(sorted(group.items())) for group in whole["param_groups"]],
        },
    )


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: TrainingState) -> None:
    """Restore the state of an optimiser; tensors are copied.

    Raises:
      RunFolderError: the state is of other parameters.
    """
    remembered: dict[int, dict[str, Any]] = {}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    here = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    with as_saved():
        for key, value in {**state.tensors, **state.values["numbers"]}.items():
            parameter, _, name = key.partition("/")
            here_too = _part(value, parameters[int(parameter)])
            remembered.setdefault(int(parameter), {})[name] = here_too
        groups = [
            {**group, **{name: _like(group.get(name), value) for name, value in saved.items()}}
            for group, saved in zip(here, state.values["groups"], strict=True)
        ]
        optimizer.load_state_dict({"state": remembered, "param_groups": groups})


def _part(value: Any, weight: Tensor) -> Any:
    """The state of an optimiser for a weight, as far as this process holds the weight; tensors are copied."""
    if not isinstance(value, Tensor):
        return value
    return sharded_like(value, weight) if value.shape == weight.shape else value.clone()


def _like(here: Any, saved: Any) -> Any:
    """A value as JSON gave it back, as a tuple where it was one."""
    return tuple(saved) if isinstance(here, tuple) else saved
