"""Checkpoints in one file, as llama.cpp has them (GGUF): de-quantised; tokenizer and chat template are in the file."""

import contextlib
import importlib.util
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from lap.errors import ModelError

_MAGIC = b"GGUF"


def is_gguf(name: str | Path) -> bool:
    """Whether a name belongs to a GGUF file, judged by its suffix or its first bytes."""
    path = Path(name)
    return path.suffix.lower() == ".gguf" or (path.is_file() and _begins_as_gguf(path))


def _begins_as_gguf(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(_MAGIC)) == _MAGIC


def load_gguf_network(file: str | Path, *, dtype: torch.dtype) -> Any:
    """The network in a file, which is then trained and saved like any other.

    Args:
      file: the path.
      dtype: the type that weights are de-quantised to.

    Raises:
      ModelError: there is no such file, it is not a GGUF file, its architecture is unknown, it is broken, or the
        package gguf is not installed.
    """
    with _alone(file) as source, contextlib.redirect_stderr(io.StringIO()):  # progress bars
        network = AutoModelForCausalLM.from_pretrained(**source, **_densely(), dtype=dtype)
    network.name_or_path = network.config.name_or_path = str(Path(file).resolve())
    return network


def load_gguf_tokenizer(file: str | Path) -> Any:
    """The tokenizer in a file, with its chat template if there is one.

    Raises:
      ModelError: as for the network.
    """
    with _alone(file) as source:
        tokenizer = AutoTokenizer.from_pretrained(**source)
    tokenizer.name_or_path = str(Path(file).resolve())
    return tokenizer


@contextlib.contextmanager
def _alone(file: str | Path) -> Iterator[dict[str, Any]]:
    """Within the block, what names the file alone in a folder: what lies beside it is not the model's."""
    path = Path(file)
    _check_gguf(path)
    with tempfile.TemporaryDirectory() as folder:
        alone = Path(folder) / "model.gguf"
        alone.symlink_to(path.resolve())
        try:
            yield {"pretrained_model_name_or_path": folder, "gguf_file": alone.name}
        except Exception as error:  # each architecture has a reader of its own
            raise ModelError(_reason(path, error)) from error


def _check_gguf(path: Path) -> None:
    if not path.is_file():
        raise ModelError(f"there is no GGUF file {str(path)!r}")
    if not _begins_as_gguf(path):
        raise ModelError(f"{str(path)!r} is not a GGUF file (its first bytes are not {_MAGIC!r})")
    if importlib.util.find_spec("gguf") is None:
        raise ModelError("a GGUF file needs the package gguf: pip install 'tsmg[gguf]'")


def _densely() -> dict[str, Any]:
    """What asks for weights that are not left in their quantised blocks, for they could be neither learnt nor saved.

    Older versions of the library know nothing else.
    """
    config = getattr(transformers, "GgufConfig", None)
    return {} if config is None else {"quantization_config": config(dequantize=True)}


def _reason(path: Path, error: Exception) -> str:
    """Why a file cannot be read; the readers tell unknown architectures by their name, and all else by what broke."""
    said = f"{type(error).__name__}: {error}".strip().partition("\n")[0]
    if "architecture" in said and "support" in said:
        return f"cannot load the GGUF file {str(path)!r}: {error}".partition("\n")[0]
    return f"the GGUF file {str(path)!r} is broken, or of a kind that cannot be read ({said})"
