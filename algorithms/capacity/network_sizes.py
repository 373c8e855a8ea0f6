"""The sizes of a network, counted on one that is built without its weights (torch's ``meta`` device)."""

from pathlib import Path

import attrs
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
)
from transformers.modeling_layers import GradientCheckpointingLayer

from algorithms.capacity.estimate import NetworkSizes
from lap import ModelError
from lap.lora import LoraSettings, add_adapters
from tsmg import InvalidArgumentError

_SHAPE = ("layers", "hidden", "heads", "kv_heads", "intermediate", "vocabulary")
_NEEDED = (
    "num_hidden_layers",
    "hidden_size",
    "num_attention_heads",
    "intermediate_size",
    "vocab_size",
)
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")


def read_network(folder: str | Path) -> PretrainedConfig:
    """The configuration of a checkpoint in a local folder; no weights and no code of it are loaded.

    Args:
      folder: holds ``config.json``.

    Raises:
      ModelError: there is none, or the transformers library does not know its architecture.
    """
    if not (Path(folder) / "config.json").is_file():
        raise ModelError(f"no checkpoint at {str(folder)!r} (there is no config.json)")
    try:
        return AutoConfig.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(f"cannot read a network from {str(folder)!r}: {reason}") from error


def parse_shape(text: str) -> Qwen2Config:
    """The configuration of a network of Qwen2's architecture of a given shape.

    Args:
      text: ``layers=..,hidden=..,heads=..,kv_heads=..,intermediate=..,vocabulary=..``, and ``tied=yes`` where the
        head has the embedding's weights.

    Raises:
      InvalidArgumentError: a size is missing, unknown, no whole number of at least 1, or does not divide another.
    """
    given = dict(part.partition("=")[::2] for part in text.split(","))
    if missing := [name for name in _SHAPE if name not in given]:
        raise InvalidArgumentError(f"'shape' must say {', '.join(missing)} (got {text!r})")
    if unknown := sorted(set(given) - {*_SHAPE, "tied"}):
        raise InvalidArgumentError(f"'shape' has no {', '.join(unknown)} (got {text!r})")
    size = {name: _count(name, given[name]) for name in _SHAPE}
    if size["hidden"] % size["heads"] or size["heads"] % size["kv_heads"]:
        raise InvalidArgumentError(
            f"'heads' must divide 'hidden', and 'kv_heads' must divide 'heads' (got {text!r})"
        )
    return Qwen2Config(
        num_hidden_layers=size["layers"],
        hidden_size=size["hidden"],
        num_attention_heads=size["heads"],
        num_key_value_heads=size["kv_heads"],
        intermediate_size=size["intermediate"],
        vocab_size=size["vocabulary"],
        tie_word_embeddings=_yes(given.get("tied", "no")),
    )


def _count(name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise InvalidArgumentError(f"{name!r} must be a whole number of at least 1 (got {text!r})")
    return int(text)


def _yes(text: str) -> bool:
    if text not in ("yes", "no"):
        raise InvalidArgumentError(f"'tied' must be yes or no (got {text!r})")
    return text == "yes"


def count_network(
    config: PretrainedConfig, *, name: str, lora: LoraSettings | None = None
) -> NetworkSizes:
    """The sizes of the network that a configuration describes.

    Args:
      config: of a causal language model of the transformers library.
      name: of the network in the estimate.
      lora: the adapters that are learnt in place of the weights, if any.

    Raises:
      ModelError: the network is no causal language model, the figures of a layer do not hold for it, or no layer takes
        the adapters.
    """
    _check(config, name)
    try:
        with torch.device("meta"):
            network = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except ValueError as error:
        reason = str(error).partition("\n")[0]
        raise ModelError(
            f"cannot estimate {name!r}: it is no causal language model: {reason}"
        ) from error
    sizes = _counted(network, config, name)
    if lora is None:
        return sizes
    adapted = add_adapters(network, lora, seed=0)
    ranks = sum(m.out_features for n, m in adapted.named_modules() if _is_first(n, m))
    return attrs.evolve(
        sizes,
        adapters=sum(p.numel() for p in adapted.parameters() if p.requires_grad),
        ranks=ranks / sizes.layers,
    )


def _check(config: PretrainedConfig, name: str) -> None:
    """Refuse what the arithmetic of a layer does not hold for."""
    if missing := [field for field in _NEEDED if not getattr(config, field, None)]:
        raise ModelError(f"cannot estimate {name!r}: its configuration has no {missing[0]!r}")
    if any((getattr(config, field, None) or 0) > 1 for field in _EXPERTS):
        raise ModelError(f"cannot estimate {name!r}: it has experts, whose activations are unknown")


def _counted(network: PreTrainedModel, config: PretrainedConfig, name: str) -> NetworkSizes:
    """The sizes of a network without adapters."""
    modules = list(network.modules())
    heads = config.num_attention_heads
    ends = (network.get_input_embeddings(), network.get_output_embeddings())
    weights = {id(end.weight): end.weight for end in ends}  # tied ones once
    return NetworkSizes(
        name=name,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        heads=heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_size=getattr(config, "head_dim", None) or config.hidden_size // heads,
        vocabulary=config.vocab_size,
        parameters=_numbers(network),
        linear=sum(m.weight.numel() for m in modules if isinstance(m, torch.nn.Linear)),
        layer=max(
            (_numbers(m) for m in modules if isinstance(m, GradientCheckpointingLayer)), default=0
        ),
        ends=sum(weight.numel() for weight in weights.values()),
    )


def _numbers(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _is_first(name: str, module: object) -> bool:
    """Whether a module is the first of an adapter's two matrices, whose output has its rank."""
    return isinstance(module, torch.nn.Linear) and ".lora_A." in name
