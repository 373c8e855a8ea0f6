"""The process's global random generators: their states, and how to replace and restore them."""

import contextlib
import random
import sys
from collections.abc import Iterator, Mapping
from typing import Any


def global_states() -> Mapping[str, object]:
    """The state of every global generator; of NumPy and torch only where they are loaded."""
    states: dict[str, object] = {"random": random.getstate()}
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None:
        name, words, *rest = numpy.random.get_state()
        states["numpy.random"] = (name, words.tobytes(), *rest)
    if torch is not None:
        states["torch"] = torch.get_rng_state().numpy().tobytes()
    return states


@contextlib.contextmanager
def foreign_generators(number: int) -> Iterator[None]:
    """Replaces the states of the global generators inside the block, and restores them after it.

    Whatever depends on a global generator differs from one number to another. No usual seed gives
    these states, so that a game which seeds a generator is noticed.
    """
    numpy: Any = sys.modules.get("numpy")
    old, old_numpy = random.getstate(), numpy.random.get_state() if numpy else None
    random.seed(f"foreign {number}")
    if numpy:
        numpy.random.seed(random.getrandbits(32))
    try:
        yield
    finally:
        random.setstate(old)
        if numpy and old_numpy is not None:
            numpy.random.set_state(old_numpy)
