"""Every error that the library raises on purpose, under one root.

Each class also inherits the standard error that it refines, so ``except ValueError`` keeps
working, and takes its whole message as its one argument, so it survives a pickle.
"""


class TSMGError(Exception):
    """Root of the library's errors."""


class InvalidArgumentError(TSMGError, ValueError):
    """An argument breaks its rule; the message says name, rule and value."""


class ShapeError(InvalidArgumentError):
    """An array has the wrong shape."""


class NoSignalError(TSMGError, ValueError):
    """Every advantage of a group is 0, so that the group carries no gradient."""


class NotEnumerableError(TSMGError, TypeError):
    """A distribution cannot be enumerated: it can only be sampled, or it has too many outcomes."""


class UnknownGameError(TSMGError, LookupError):
    """No game is registered under this id."""


class MissingPackageError(TSMGError, ImportError):
    """An optional package is needed but not installed; the message says which one, and how to install it."""


class GameLawError(TSMGError, RuntimeError):
    """A game violates a requirement of its interface; the message says which, and where if that is known."""


class GameDeadlineError(TSMGError, TimeoutError):
    """A game exceeded the time limit of one step."""


class NoReplyError(TSMGError, RuntimeError):
    """A policy cannot reply to one of its requests; the episode that asked fails, and the others continue.

    Attributes:
      index: the index of that request in the batch.
    """

    index: int = 0


class TooManyFailuresError(TSMGError, RuntimeError):
    """More episodes failed than the stated rate allows.

    Attributes:
      failed: the records of the failures, as far as they were played.
    """

    failed: tuple[object, ...] = ()


class ConformanceError(TSMGError, AssertionError):
    """A game breaks rules of the conformance kit; the message lists each with its shortest script."""
