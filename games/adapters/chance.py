"""Fresh chance for generators that environments keep."""

import numpy as np


def is_generator(value: object) -> bool:
    """Whether it is one of NumPy's generators."""
    return isinstance(value, np.random.Generator | np.random.RandomState)


def renew(generator: np.random.Generator | np.random.RandomState, seed: int) -> None:
    """Seed a generator anew, in place, since parts of the environment may share it."""
    if isinstance(generator, np.random.RandomState):
        generator.seed(seed)
    else:
        generator.bit_generator.state = type(generator.bit_generator)(seed).state
