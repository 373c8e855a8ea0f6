"""Checkpoints of the transformers library, as network and tokenizer; safetensors alone, and no remote code."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from lap.errors import ModelError
from lap.lora import ADAPTER_FILE, load_adapters
from lap.models.base_checkpoint import find_base, is_path
from lap.models.gguf import is_gguf, load_gguf_network, load_gguf_tokenizer
from lap.models.hub import is_in_cache_alone, quiet_hub


def load_checkpoint(name: str | Path, *, dtype: torch.dtype) -> tuple[Any, Any]:
    """Load network and tokenizer.

    Args:
      name: name or folder of a checkpoint, a GGUF file, or the folder of adapters that name one of these as their base.
      dtype: the type of the weights.

    Returns:
      The network on this process's device, with its adapters if there are some, and the tokenizer.
    """
    adapted = (Path(name) / ADAPTER_FILE).is_file()
    base, cached = find_checkpoint(name)
    tokenizer = load_tokenizer(str(name), local_files_only=cached and not adapted)
    network = _load_network(base, dtype=dtype, local_files_only=cached)
    whole = load_adapters(network, name) if adapted else network
    return whole.to(own_device()), tokenizer


def find_checkpoint(name: str | Path) -> tuple[str, bool]:
    """Find a checkpoint without loading it; the hub is asked for one that is in no local folder.

    Args:
      name: as for ``load_checkpoint``.

    Returns:
      The place or the name of its network, which for adapters is that of their base; and whether it must be read from
      the hub's cache, since the hub cannot be reached.

    Raises:
      ModelError: there is no such checkpoint.
    """
    base = find_base(name) if (Path(name) / ADAPTER_FILE).is_file() else str(name)
    if Path(base).exists():
        return base, False
    if is_path(base):
        raise ModelError(f"there is no checkpoint at {base!r}")
    return base, is_in_cache_alone(base)


def own_device() -> torch.device:
    """The accelerator of this process, or the CPU if there is none; each process of a launcher has one of its own."""
    kind = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if kind is None:
        return torch.device("cpu")
    return torch.device(kind.type, int(os.environ.get("LOCAL_RANK", "0")))


def _load_network(name: str, *, dtype: torch.dtype, local_files_only: bool) -> Any:
    if is_gguf(name):
        return load_gguf_network(name, dtype=dtype)
    return AutoModelForCausalLM.from_pretrained(
        name,
        dtype=dtype,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=local_files_only,
    )


def load_tokenizer(name: str, *, local_files_only: bool = False) -> Any:
    """The tokenizer as the checkpoint declares it.

    If a checkpoint declares the generic class, ``AutoTokenizer`` decides by the model's architecture, and replaces the
    tokenizer's own splitting rules by the architecture's.

    Args:
      name: name or folder of a checkpoint, or a GGUF file.
      local_files_only: whether a named checkpoint is read from the hub's cache alone.
    """
    if is_gguf(name):
        return load_gguf_tokenizer(name)
    here = {"local_files_only": local_files_only}
    declared = get_tokenizer_config(name, **here).get("tokenizer_class")
    generic = declared in ("PreTrainedTokenizerFast", "TokenizersBackend")
    loader = PreTrainedTokenizerFast if generic else AutoTokenizer
    return loader.from_pretrained(name, trust_remote_code=False, **here)


def end_ids(network: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end a reply: those of the generation settings and of the tokenizer."""
    declared = getattr(getattr(network, "generation_config", None), "eos_token_id", None)
    ends = declared if isinstance(declared, list) else [declared]
    return frozenset(i for i in (*ends, tokenizer.eos_token_id) if i is not None)


@contextlib.contextmanager
def loading(name: str | Path) -> Iterator[None]:
    """Within the block, any exception of the libraries that read a checkpoint becomes one error, and the hub is quiet.

    Raises:
      ModelError: the checkpoint cannot be loaded.
    """
    try:
        with quiet_hub():
            yield
    except ModelError:
        raise
    except Exception as error:  # several libraries read here, and each has errors of its own
        reason = f"{type(error).__name__}: {error}".strip().partition("\n")[0]
        raise ModelError(f"cannot load a model from {str(name)!r}: {reason}") from error
