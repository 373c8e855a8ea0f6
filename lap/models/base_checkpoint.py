"""The checkpoint that saved adapters belong to: recorded beside them by its place and its content, and found again.

A checkpoint in a local folder or file is recorded in three ways: by its absolute path, in the adapters' own
configuration, where other programs look; by its path relative to the adapters' folder, so that both can be moved
together; and by a hash of its configuration and weights, so that another one in its place is noticed. A name on a hub
is recorded unchanged.
"""

import functools
import hashlib
import json
import os
from pathlib import Path
from typing import Any, final

import attrs

from lap.errors import ModelError
from lap.lora import ADAPTER_FILE, has_adapters, plain_settings

_NAME = "base_model_name_or_path"
BASE_FILE = "base_checkpoint.json"
_WEIGHTS = "model*.safetensors"  # all of them, where there are several


@final
@attrs.frozen
class BaseCheckpoint:
    """A checkpoint, as adapters know it.

    Attributes:
      name: its absolute path, or its name on a hub; ``None`` of a network that was not loaded.
      digest: a hash of its configuration and weights; ``None`` if it is not in a local folder or file.
    """

    name: str | None = None
    digest: str | None = None

    @classmethod
    def of(cls, name: str | Path) -> "BaseCheckpoint":
        """The checkpoint with a name, or in a folder or file, as it is now."""
        path = Path(name).resolve()
        return cls(str(path), checkpoint_digest(path)) if path.exists() else cls(str(name))

    def save(self, folder: str | Path) -> None:
        """Write the name into the configuration of the adapters, and the rest into a file beside it."""
        file = Path(folder) / ADAPTER_FILE
        settings = {**json.loads(file.read_text()), _NAME: self.name}
        file.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
        if self.name is None or self.digest is None:
            return
        recorded = {"path_from_here": _path_from(folder, self.name), "digest": self.digest}
        (Path(folder) / BASE_FILE).write_text(json.dumps(recorded, indent=2) + "\n")


def base_of(network: Any) -> BaseCheckpoint:
    """The checkpoint that a network with adapters was loaded from, as it is now; nothing for one without adapters."""
    name: str = getattr(network.config, "name_or_path", "") if has_adapters(network) else ""
    return BaseCheckpoint.of(name) if name else BaseCheckpoint()


def find_base(folder: str | Path) -> str:
    """The place or the name of the checkpoint that saved adapters belong to.

    Raises:
      ModelError: they are no plain LoRA adapters in safetensors, belong to no checkpoint, or to one that is not there
        any more or is another one now.
    """
    name = plain_settings(folder).get(_NAME)
    if not isinstance(name, str) or (Path(name) / ADAPTER_FILE).is_file():
        raise ModelError(f"the adapters in {str(folder)!r} belong to no checkpoint (got {name!r})")
    path_from_here, digest = _recorded(Path(folder))
    places = [Path(name), *([Path(folder) / path_from_here] if path_from_here else [])]
    found = [BaseCheckpoint.of(place) for place in places if place.exists()]
    for base in found:
        if digest in (None, base.digest):
            return str(base.name)
    if found:
        raise ModelError(
            f"the adapters in {str(folder)!r} belong to a different checkpoint from the one now at "
            f"{found[0].name!r}: its configuration or weights have changed"
        )
    if digest is not None or is_path(name):
        raise ModelError(
            f"the adapters in {str(folder)!r} belong to the checkpoint {name!r}, which is missing; put it back, or "
            f"write its new path into {ADAPTER_FILE} as {_NAME!r}"
        )
    return name


def is_path(name: str) -> bool:
    """Whether a name can only be that of a local folder or file, and not one on a hub."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or name.endswith(".gguf")


def checkpoint_digest(path: Path) -> str:
    """A hash of all bytes of a checkpoint's configuration and weights."""
    files = sorted([path / "config.json", *path.glob(_WEIGHTS)]) if path.is_dir() else [path]
    there = [file for file in files if file.is_file()]
    stats = [file.stat() for file in there]
    return _digest(tuple(there), tuple((stat.st_size, stat.st_mtime_ns) for stat in stats))


@functools.lru_cache(maxsize=8)
def _digest(files: tuple[Path, ...], stats: tuple[tuple[int, int], ...]) -> str:
    """A hash of files, whose sizes and times say whether they may have changed since they were hashed before."""
    digest = hashlib.blake2b(digest_size=32)
    for file, (size, _) in zip(files, stats, strict=True):
        name = file.name if len(files) > 1 else ""  # a single file may have been renamed
        digest.update(f"{name} {size}\n".encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "blake2b").digest())
    return digest.hexdigest()


def _recorded(folder: Path) -> tuple[str | None, str | None]:
    """The path from the adapters' folder and the digest that ``save`` wrote; nothing where other programs saved."""
    file = folder / BASE_FILE
    if not file.is_file():
        return None, None
    try:
        recorded: Any = json.loads(file.read_text())
        path, digest = recorded["path_from_here"], recorded["digest"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{BASE_FILE} in {str(folder)!r} is malformed: {error!r}") from error
    if not isinstance(path, str | None) or not isinstance(digest, str):
        raise ModelError(f"{BASE_FILE} in {str(folder)!r} is malformed")
    return path, digest


def _path_from(folder: str | Path, name: str) -> str | None:
    try:
        return os.path.relpath(name, Path(folder).resolve())
    except ValueError:  # on another drive
        return None
