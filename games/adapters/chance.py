"""Fresh chance for generators that environments keep."""

from typing import Any

import numpy as np


def is_generator(value: Any) -> bool:
    """Whether it is one of NumPy's generators."""
    return isinstance(value, np.random.Generator | np.random.RandomState)


def renew(generator: Any, seed: int) -> None:
    """Set a generator anew, in place: parts of the environment may share it."""
    if isinstance(generator, np.random.RandomState):
        generator.seed(seed)
    else:
        generator.bit_generator.state = type(generator.bit_generator)(seed).state
