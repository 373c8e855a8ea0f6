"""The process's global random generators: their states, and how to replace and restore them."""

import contextlib
import functools
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


@functools.cache
def _foreign_states(number: int, *, with_numpy: bool) -> tuple[Any, Any]:
    """Of Python's generator, from which a number was drawn, and of NumPy's."""
    numpy: Any = sys.modules["numpy"] if with_numpy else None
    generator = random.Random(f"foreign {number}")  # noqa: S311
    seed = generator.getrandbits(32)
    return generator.getstate(), numpy and numpy.random.RandomState(seed).get_state()


@contextlib.contextmanager
def foreign_generators(number: int) -> Iterator[None]:
    """Replaces the states of the global generators inside the block, and restores them after it.

    Whatever depends on a global generator differs from one number to another. No usual seed gives
    these states, so that a game which seeds a generator is noticed.
    """
    numpy: Any = sys.modules.get("numpy")
    old, old_numpy = random.getstate(), numpy.random.get_state() if numpy else None
    foreign, foreign_numpy = _foreign_states(number, with_numpy=numpy is not None)
    random.setstate(foreign)
    if numpy:
        numpy.random.set_state(foreign_numpy)
    try:
        yield
    finally:
        random.setstate(old)
        if numpy and old_numpy is not None:
            numpy.random.set_state(old_numpy)
