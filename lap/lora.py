"""LoRA: low-rank adapters are trained, and the checkpoint's own weights do not change.

The adapters are those of the peft library (the extra ``lora``). Source: Hu et al., "LoRA: Low-Rank Adaptation of Large
Language Models", arXiv:2106.09685.
"""

import contextlib
import copy
import json
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, final

import attrs
import torch
from torch import Tensor

from lap.errors import ModelError
from tsmg import InvalidArgumentError

ADAPTER_FILE = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"
_FOREIGN = ("auto_mapping", "megatron_config")  # they name modules, which peft imports
_LISTS = ("exclude_modules", "target_modules")  # as texts they are patterns, which can take forever
# peft takes each entry of these for a pattern, in a list, too
_PATTERNS = ("alpha_pattern", "layers_pattern", "modules_to_save", "rank_pattern")
_PLAIN = re.compile(r"[\w.]+")
_LEARNT = (".lora_", ".modules_to_save.", ".trainable_tokens_")
_ZERO = (".lora_B.", ".lora_embedding_A.")  # the factors that begin as 0
_RANDOM = (".lora_A.", ".lora_embedding_B.")


def _whole(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidArgumentError(f"{name!r} must be a whole number (got {text!r})") from None


@final
@attrs.frozen(kw_only=True)
class LoraSettings:
    """The shape of the adapters.

    Attributes:
      r: their rank, at least 1.
      alpha: their outputs are scaled by alpha / r; twice r unless given.
      targets: names of the layers that get one; all linear layers but the head unless given.
    """

    r: int = attrs.field(default=16)
    alpha: int | None = attrs.field(default=None)
    targets: tuple[str, ...] = ()

    @r.validator
    def _check_r(self, attribute: "attrs.Attribute[int]", value: Any) -> None:
        if not isinstance(value, int) or value < 1:
            raise InvalidArgumentError(f"'r' must be at least 1 (got {value!r})")

    @alpha.validator
    def _check_alpha(self, attribute: "attrs.Attribute[int]", value: Any) -> None:
        if value is not None and (not isinstance(value, int) or value < 1):
            raise InvalidArgumentError(f"'alpha' must be at least 1 (got {value!r})")

    @classmethod
    def parse(cls, text: str) -> "LoraSettings":
        """The settings that a text names.

        Raises:
          InvalidArgumentError: another name, or a bad value.

        Example:
          >>> LoraSettings.parse("r=8,alpha=32,targets=q_proj+v_proj")
          LoraSettings(r=8, alpha=32, targets=('q_proj', 'v_proj'))
        """
        values: dict[str, Any] = {}
        for part in filter(None, text.split(",")):
            name, _, value = part.partition("=")
            if name not in ("r", "alpha", "targets") or not value:
                raise InvalidArgumentError(
                    f"LoRA takes r=N, alpha=N and targets=NAME+NAME (got {part!r})"
                )
            values[name] = tuple(value.split("+")) if name == "targets" else _whole(name, value)
        return cls(**values)


def add_adapters(network: Any, settings: LoraSettings, *, seed: int) -> Any:
    """The network with new adapters, which have no effect yet; its own weights are frozen.

    Raises:
      ModelError: peft is not installed, or no layer has one of the names.
    """
    peft = _peft()
    config = peft.LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha or 2 * settings.r,
        target_modules=list(settings.targets) or "all-linear",
        task_type="CAUSAL_LM",
    )
    try:
        with torch.random.fork_rng(devices=()), _without_notices():
            torch.manual_seed(seed)
            return peft.get_peft_model(network, config)
    except ValueError as error:
        raise ModelError(f"no adapters can be added: {error}") from error


def load_adapters(network: Any, folder: str | Path) -> Any:
    """The network with saved adapters, ready for further training.

    Raises:
      ModelError: they are no plain LoRA adapters in safetensors.
    """
    plain_settings(folder)
    with _without_notices():
        return _peft().PeftModel.from_pretrained(network, str(folder), is_trainable=True)


def save_adapters(
    network: Any,
    folder: str | Path,
    *,
    weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Save the adapters (safetensors) and their settings.

    Args:
      network: it has adapters.
      folder: where to.
      weights: all of them by name, if the network holds only parts of them.
    """
    adapted = next(module for module in network.modules() if hasattr(module, "peft_config"))
    adapted.save_pretrained(str(folder), save_embedding_layers=False, state_dict=weights)


def plain_settings(folder: str | Path) -> dict[str, Any]:
    """The settings of saved adapters; those of an untrusted source may name a module to import, or be a pickle.

    Raises:
      ModelError: they are no plain LoRA adapters in safetensors.
    """
    try:
        settings: Any = json.loads((Path(folder) / ADAPTER_FILE).read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{ADAPTER_FILE} in {str(folder)!r} cannot be read: {error}") from error
    if not isinstance(settings, dict) or settings.get("peft_type") != "LORA":
        raise ModelError(
            f"{ADAPTER_FILE} in {str(folder)!r} is not a configuration of LoRA adapters"
        )
    if any(settings.get(name) for name in _FOREIGN):
        raise ModelError(
            f"{ADAPTER_FILE} in {str(folder)!r} is not a configuration of plain LoRA adapters"
        )
    if any(isinstance(settings.get(name), str) for name in _LISTS):
        raise ModelError(f"{ADAPTER_FILE} in {str(folder)!r} must list layers, not describe them")
    for name in _PATTERNS:
        named = settings.get(name) or ()
        entries = [named] if isinstance(named, str) else named
        if not all(isinstance(one, str) and _PLAIN.fullmatch(one) for one in entries):
            raise ModelError(
                f"{ADAPTER_FILE} in {str(folder)!r} must name layers in {name!r}, not describe them"
            )
    if not (Path(folder) / _WEIGHTS).is_file():
        raise ModelError(f"there is no {_WEIGHTS} in {str(folder)!r}; other formats can run code")
    return settings


def has_adapters(network: Any) -> bool:
    """Whether the network has adapters."""
    return any(hasattr(module, "peft_config") for module in network.modules())


def is_adapter(name: str) -> bool:
    """Whether a weight of this name is trained with the adapters, as part of one or in place of a base weight."""
    return any(part in name for part in _LEARNT)


def adapters_at_start(network: Any) -> "AdaptersOff | AdaptersFrozen":
    """The network as it is now, whatever its adapters learn later; without them if they have no effect yet."""
    return AdaptersOff(network) if _are_fresh(network) else AdaptersFrozen(network)


def weights_in_use(network: torch.nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a network on which its passes depend, without adapters that are off or replaced.

    Args:
      network: the network.
      tensors: all its weights, by name.
    """
    replaced = isinstance(network, AdaptersOff | AdaptersFrozen)
    return {name: t for name, t in tensors.items() if not (replaced and is_adapter(name))}


def _are_fresh(network: Any) -> bool:
    """Whether one factor of each product is 0, as it begins."""
    learnt = {name: p for name, p in network.named_parameters() if is_adapter(name)}
    factors = {name: p for name, p in learnt.items() if any(part in name for part in _ZERO)}
    others = learnt.keys() - factors.keys()
    return all(any(part in name for part in _RANDOM) for name in others) and not any(
        bool(factor.any()) for factor in factors.values()
    )


@final
class AdaptersOff(torch.nn.Module):
    """A network as it was before it got adapters; the weights are the same objects."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The forward pass of the network without its adapters."""
        adapted = next(m for m in self.network.modules() if hasattr(m, "disable_adapter"))
        with adapted.disable_adapter():
            return self.network(*args, **kwargs)


@final
class AdaptersFrozen(torch.nn.Module):
    """A network whose adapters are as they are now, whatever they learn later; other weights are the same objects.

    The modules that hold trained weights are replaced by copies during a pass. The copies are not part of the network:
    they are neither trained nor saved with it, and each process has them whole if its layers are sharded.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        places = [
            name
            for name, module in network.named_modules()
            if any(is_adapter(f"{name}.{own}") for own, _ in module.named_parameters(recurse=False))
        ]
        pairs = [name.rpartition(".")[::2] for name in places]
        self.places = [(network.get_submodule(parent), child) for parent, child in pairs]
        learnt = [network.get_submodule(name) for name in places]
        self.copies = torch.nn.ModuleList(copy.deepcopy(learnt)).requires_grad_(False)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The forward pass of the network with the copies in the places of its adapters."""
        learnt = [getattr(parent, child) for parent, child in self.places]
        self._put(self.copies)
        try:
            return self.network(*args, **kwargs)
        finally:
            self._put(learnt)

    def _put(self, modules: Iterable[torch.nn.Module]) -> None:
        for (parent, child), module in zip(self.places, modules, strict=True):
            parent.add_module(child, module)


def merged(network: Any) -> Any:
    """The network with its adapters folded into its weights; the adapted network must not be used any more."""
    whole = network.merge_and_unload()
    whole.config.name_or_path = whole.name_or_path = ""
    return whole


@contextlib.contextmanager
def _without_notices() -> Iterator[None]:
    """Without peft's use of names that transformers is about to drop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def _peft() -> Any:
    try:
        import peft  # noqa: PLC0415 - an optional package
    except ImportError as error:
        raise ModelError("LoRA needs the package peft: pip install 'tsmg[lora]'") from error
    return peft
