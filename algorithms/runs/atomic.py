"""Files and folders that are complete or absent: written under another name, synchronised to the disk, renamed."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from algorithms.errors import RunFolderError

MANIFEST = "manifest.json"
_UNFINISHED = ".unfinished-"


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Says of an error of the operating system which path was written.

    Raises:
      RunFolderError: there was one.
    """
    try:
        yield
    except OSError as error:
        raise RunFolderError(f"cannot write {str(path)!r}: {error}") from error


def write_whole_file(file: Path, text: str) -> None:
    """Write a file under a name of this process's own, synchronise it to the disk, rename it.

    Raises:
      RunFolderError: it cannot be written.
    """
    work = file.with_name(f"{_UNFINISHED}{os.getpid()}-{file.name}")
    with writing(file):
        work.write_text(text)
        sync(work)
        work.replace(file)
        sync(file.parent)


def write_whole_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Write a folder under another name, with a manifest of its files, synchronise it to the disk, rename it.

    An existing folder in its place stays until the new one is complete. The next attempt removes the remains of one
    that was killed.

    Args:
      folder: its final path.
      write: writes the files into a folder that it is given.

    Raises:
      RunFolderError: it cannot be written.
    """
    work = folder.with_name(_UNFINISHED + folder.name)
    with _written_or_removed(folder, work):
        _remove(work)
        work.mkdir(parents=True)
        write(work)
        (work / MANIFEST).write_text(json.dumps(_listed(work), indent=2) + "\n")
        for path in sorted(work.rglob("*")):
            sync(path)
        sync(work)
        _remove(folder)
        work.rename(folder)
        sync(folder.parent)


@contextlib.contextmanager
def _written_or_removed(folder: Path, work: Path) -> Iterator[None]:
    try:
        yield
    except RunFolderError:
        raise
    except Exception as error:  # several libraries write here, and each has errors of its own
        _remove(work)
        reason = str(error).strip().partition("\n")[0]
        raise RunFolderError(f"cannot write {str(folder)!r}: {reason}") from error


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def corruption_reason(folder: Path) -> str | None:
    """Why a folder differs from what ``write_whole_folder`` wrote; ``None`` if it does not.

    Args:
      folder: with a manifest; every file's size and hash are compared with it.
    """
    try:
        listed: Any = json.loads((folder / MANIFEST).read_text())
        for name, wanted in listed.items():
            file = folder / name
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != wanted["bytes"]:
                return f"{name} has {file.stat().st_size} bytes instead of {wanted['bytes']}"
            if file_hash(file) != wanted["sha256"]:
                return f"{name} is not what was written"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{MANIFEST} is missing or malformed ({error})"
    return None


def _listed(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and hash of every file in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        file.relative_to(folder).as_posix(): {
            "bytes": file.stat().st_size,
            "sha256": file_hash(file),
        }
        for file in files
    }


def file_hash(file: Path) -> str:
    """A hash of a file's content."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Synchronise a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
