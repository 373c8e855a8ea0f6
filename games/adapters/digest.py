"""A digest of what an environment shows, by which replays are compared."""

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np


def digest(value: object) -> bytes:
    """A short value that differs between observations, however large they are; NaN is equal to itself."""
    state = hashlib.blake2b(digest_size=16)
    for part in _parts(value):
        state.update(part)
    return state.digest()


def _parts(value: object) -> Iterable[bytes]:
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        yield f"{value.dtype}{value.shape}".encode()
        yield value.tobytes()
    elif isinstance(value, Mapping):
        yield f"{{{len(value)}".encode()
        for name, part in value.items():
            yield repr(name).encode()
            yield from _parts(part)
    elif isinstance(value, list | tuple):
        yield f"({len(value)}".encode()
        for part in value:
            yield from _parts(part)
    elif hasattr(value, "tolist") and not isinstance(value, np.generic):
        # an array of objects or of another library, which repr abbreviates
        yield f"[{getattr(value, 'shape', ())}".encode()
        yield from _parts(value.tolist())
    else:
        yield f"{value!r};".encode()
