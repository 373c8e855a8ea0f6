"""Recovery of a learning pass that runs out of memory."""

from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")

_MESSAGES = (
    "out of memory",
    "defaultcpuallocator: can't allocate memory",
    "not enough memory",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on a device or on the CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(message in text for message in _MESSAGES)


def with_halved_batches(attempt: Callable[[int], T], size: int, *, retry: bool = True) -> T:
    """Attempt something in parts of a size; if memory runs out, repeat it in parts of half the size.

    Memory may run out in the middle of a backward pass, when only some gradients were added, so nothing of a failed
    attempt may be kept.

    Args:
      attempt: does it, from its beginning, given the size.
      size: the greatest size of a part; at least 1.
      retry: whether to try again at all.

    Returns:
      What the attempt returned.

    Raises:
      RuntimeError: memory ran out with parts of size 1, or another error of the attempt.
    """
    while True:
        try:
            return attempt(size)
        except (RuntimeError, MemoryError) as error:
            if not retry or size == 1 or not is_out_of_memory(error):
                raise
        size //= 2  # outside of the handler, which keeps the failed attempt's tensors alive
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def memory_notes(before: int, after: int) -> tuple[str, ...]:
    """What a run should report if memory ran out.

    Args:
      before: the token budget before learning.
      after: the token budget that fitted.
    """
    if before == after:
        return ()
    return (
        f"memory ran out while learning: 'token_budget' is {after} instead of {before} from here on",
    )
