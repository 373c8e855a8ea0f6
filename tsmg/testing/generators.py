"""The process's global random generators: seen, set apart and given back."""

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
    """Other states of the global generators inside, the old ones again after.

    What depends on a global generator differs from one number to another; and no usual seed gives
    these states, so a game that sets its own is noticed.
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
