"""Errors of run folders and of runs that stop."""

from tsmg import TSMGError


class RunFolderError(TSMGError, OSError):
    """A run folder or checkpoint is missing, incomplete or foreign."""


class RunStoppedError(TSMGError, RuntimeError):
    """A run was stopped before its end, and can be resumed; the message says how.

    Attributes:
      signal: the number of the signal that asked for it; 0 if none did.
    """

    signal: int = 0
