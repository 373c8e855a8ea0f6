"""Weights in version-numbered folders, on a disk that learner and servers share; each folder is complete or absent."""

import shutil
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import final

from lap.remote.client import EngineError

_UNFINISHED = ".unfinished-"


@final
class WeightsFolder:
    """Where weights are written for servers to read.

    Args:
      path: the folder, of one run alone, since what has the name of a version there is replaced; a temporary one
        unless given, which goes with this object.

    Attributes:
      path: the folder.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        if path is None:
            path = tempfile.mkdtemp(prefix="tsmg-engine-")
            weakref.finalize(self, shutil.rmtree, path, ignore_errors=True)
        self.path = Path(path).absolute()
        self._written: set[Path] = set()

    def write(self, version: int, save: Callable[[Path], None]) -> Path:
        """Write the weights of a version; what is not whole has another name.

        Args:
          version: their number.
          save: writes files into a folder that it is given.

        Returns:
          The folder of the version.

        Raises:
          EngineError: it cannot be written.
        """
        folder = self._folder(version)
        work = folder.with_name(_UNFINISHED + folder.name)
        try:
            for old in (work, folder):
                if old.exists():
                    shutil.rmtree(old)
            work.mkdir(parents=True)
            self._written |= {work, folder}
            save(work)
            work.rename(folder)
        except Exception as error:  # several libraries write here, and each has errors of its own
            reason = str(error).strip().partition("\n")[0]
            raise EngineError(
                f"weights for the engine cannot be written to {str(self.path)!r}: {reason}"
            ) from error
        return folder

    def remove_all_but(self, version: int) -> None:
        """Remove what this object wrote of other versions, whole or not."""
        kept = self._folder(version)
        for folder in self._written - {kept}:
            shutil.rmtree(folder, ignore_errors=True)
        self._written &= {kept}

    def _folder(self, version: int) -> Path:
        return self.path / f"version-{version:06d}"
