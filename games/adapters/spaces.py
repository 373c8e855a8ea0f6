"""Values of Gymnasium's spaces as plain values and as text.

A *plain* value is immutable and hashable: numbers, strings, and tuples of them (a dictionary becomes a tuple of its
values, in the space's own order). Its text is that of JSON, which every space but a Box can be read back from.
"""

import itertools
import json
import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import iterate

from tsmg import GameLawError, InvalidArgumentError

DIGITS = 4

AnySpace: TypeAlias = spaces.Space[Any]
Native: TypeAlias = Any
"""A value in the form of its own space, whatever type that is."""


def plain(space: AnySpace, value: Native) -> Hashable:
    """The plain form of a value of the space."""
    if isinstance(space, spaces.Discrete):
        return _integer(np.asarray(value).item())
    if isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary | spaces.Box):
        numbers: Hashable = _nested(np.asarray(value).tolist())
        return numbers
    if isinstance(space, spaces.Text):
        return str(value)
    if isinstance(space, spaces.Tuple):
        return tuple(plain(s, v) for s, v in zip(space.spaces, value, strict=True))
    if isinstance(space, spaces.Dict):
        return tuple(plain(s, value[name]) for name, s in space.spaces.items())
    if isinstance(space, spaces.Sequence):
        return tuple(plain(space.feature_space, v) for v in _items(space, value))
    if isinstance(space, spaces.OneOf):
        index = int(value[0])
        return index, plain(space.spaces[index], value[1])
    if isinstance(value, str):
        return str(value)
    raise InvalidArgumentError(
        f"'observation_text' must be given: text cannot show values of {space!r} (got None)"
    )


def checked(space: AnySpace, value: Native, name: str) -> Hashable:
    """The plain form of an observation.

    Args:
      space: the space that it should be in; of numbers of another type only the value matters.
      value: the observation.
      name: whose observation it is, for messages.

    Raises:
      GameLawError: it is not in the space.
    """
    try:
        shown = plain(space, value)
        native(space, shown)
    except InvalidArgumentError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
        raise GameLawError(
            f"{name}: the observation {value!r:.200} is not in {space!r:.200}; pass 'observation_text' to allow it"
        ) from error
    return shown


def native(space: AnySpace, value: Hashable) -> Native:
    """The space's own form of a plain value.

    Raises:
      ValueError, TypeError: it is not a value of the space.
    """
    made = _native(space, value)
    if not space.contains(made):
        raise ValueError(f"{value!r} is not in {space!r}")
    return made


def _integers(space: spaces.MultiDiscrete | spaces.MultiBinary, value: Any) -> Native:
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        raise ValueError(f"{value!r} must be integers")
    made = array.astype(space.dtype)
    if not np.array_equal(made, array):  # too great for the type, which would wrap it
        raise ValueError(f"{value!r} is not in {space!r}")
    return made


def _native(space: AnySpace, value: Any) -> Native:
    if isinstance(space, spaces.Discrete):
        return _integer(value)
    if isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary):
        return _integers(space, value)
    if isinstance(space, spaces.Box):
        return np.asarray(value, dtype=space.dtype).reshape(space.shape)
    if isinstance(space, spaces.Tuple):
        return tuple(_native(s, v) for s, v in zip(space.spaces, value, strict=True))
    if isinstance(space, spaces.Dict):
        pairs = zip(space.spaces.items(), value, strict=True)
        return {name: _native(s, v) for (name, s), v in pairs}
    if isinstance(space, spaces.Sequence):
        return tuple(_native(space.feature_space, v) for v in value)
    if isinstance(space, spaces.OneOf):
        part, inner = value
        return np.int64(part), _native(_part(space.spaces, part), inner)
    if isinstance(value, str):
        return value
    raise InvalidArgumentError(f"'space' must be one that text can name (got {space!r})")


def _part(parts: Sequence[AnySpace], index: object) -> AnySpace:
    if not 0 <= _integer(index) < len(parts):
        raise ValueError(f"{index} is no part of {parts!r}")
    return parts[_integer(index)]


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} must be an integer")
    return value


def _items(space: spaces.Sequence, value: Native) -> Native:
    if not space.stack:
        return value
    return list(iterate(space.stacked_feature_space, value))


def _nested(value: Any) -> Hashable:
    return tuple(_nested(v) for v in value) if isinstance(value, list) else value


def nameable(space: AnySpace) -> bool:
    """Whether text can name every value: there is no Box (or foreign space) in it."""
    if isinstance(space, spaces.Tuple | spaces.OneOf):
        return all(map(nameable, space.spaces))
    if isinstance(space, spaces.Dict):
        return all(map(nameable, space.spaces.values()))
    if isinstance(space, spaces.Sequence):
        return not space.stack and nameable(space.feature_space)
    return isinstance(
        space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary | spaces.Text
    )


def count(space: AnySpace) -> float:
    """The number of values of a space; infinity if they cannot be listed."""
    if isinstance(space, spaces.Discrete):
        return float(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return float(np.prod(space.nvec.astype(float)))
    if isinstance(space, spaces.MultiBinary):
        bits = math.prod(space.shape)
        return 2.0**bits if bits <= 1023 else math.inf
    if isinstance(space, spaces.Tuple):
        return float(math.prod(map(count, space.spaces)))
    if isinstance(space, spaces.Dict):
        return float(math.prod(map(count, space.spaces.values())))
    if isinstance(space, spaces.OneOf):
        return float(sum(map(count, space.spaces)))
    return math.inf


def values(space: AnySpace) -> Iterator[Hashable]:
    """All plain values of a finite space, in order."""
    if isinstance(space, spaces.Discrete):
        yield from range(int(space.start), int(space.start) + int(space.n))
    elif isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary):
        yield from _grids(space)
    elif isinstance(space, spaces.Tuple):
        yield from itertools.product(*map(values, space.spaces))
    elif isinstance(space, spaces.Dict):
        yield from itertools.product(*map(values, space.spaces.values()))
    elif isinstance(space, spaces.OneOf):
        for index, part in enumerate(space.spaces):
            yield from ((index, value) for value in values(part))
    else:
        raise InvalidArgumentError(f"'space' must be finite (got {space!r})")


def _grids(space: spaces.MultiDiscrete | spaces.MultiBinary) -> Iterator[Hashable]:
    if isinstance(space, spaces.MultiBinary):
        starts, sizes = np.zeros(space.shape, int), np.full(space.shape, 2)
    else:
        starts, sizes = space.start, space.nvec
    ranges = [range(int(a), int(a) + int(n)) for a, n in zip(starts.flat, sizes.flat, strict=True)]
    for choice in itertools.product(*ranges):
        yield _nested(np.array(choice).reshape(space.shape).tolist())


def text(space: AnySpace, value: Any) -> str:
    """The text of a plain value: the names of a dictionary's parts, and numbers to four significant digits."""
    if isinstance(space, spaces.Dict):
        parts = zip(space.spaces.items(), value, strict=True)
        return "\n".join(f"{name}: {_inline(s, v)}" for (name, s), v in parts)
    return _inline(space, value)


def labelled(space: AnySpace, labels: Sequence[str], name: str) -> Callable[[Native], str]:
    """A writer of vectors: a line for each number, with its name.

    Args:
      space: of the observations.
      labels: a name for each number of an observation, in order.
      name: whose observations they are, for messages.

    Raises:
      InvalidArgumentError: observations are not vectors of as many numbers, or two names are equal.
    """
    shape = getattr(space, "shape", None)
    if shape != (len(labels),) or len(set(labels)) != len(labels):
        raise InvalidArgumentError(
            f"'labels' must be different names, one for each number of a vector: observations of {name} are in "
            f"{space!r:.80} (got {list(labels)!r:.200})"
        )

    def write(value: Native) -> str:
        numbers: Any = checked(space, value, name)
        return "\n".join(
            f"{label}: {_numbers(n)}" for label, n in zip(labels, numbers, strict=True)
        )

    return write


def _inline(space: AnySpace, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(space, spaces.Dict):
        parts = zip(space.spaces.items(), value, strict=True)
        return "{" + ", ".join(f"{name}: {_inline(s, v)}" for (name, s), v in parts) + "}"
    if isinstance(space, spaces.Tuple):
        members = zip(space.spaces, value, strict=True)
        return "(" + ", ".join(_inline(s, v) for s, v in members) + ")"
    if isinstance(space, spaces.Sequence):
        return "[" + ", ".join(_inline(space.feature_space, v) for v in value) + "]"
    if isinstance(space, spaces.OneOf):
        return f"{value[0]}: {_inline(space.spaces[value[0]], value[1])}"
    return _numbers(value)


def _numbers(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_numbers, value)) + "]"
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else str(value)


def action_text(space: AnySpace, value: object) -> str:
    """The canonical text of a plain action; ``read`` finds the action in it again."""
    return str(value) if isinstance(space, spaces.Text) else json.dumps(value)


def read(space: AnySpace, text: str) -> Hashable:
    """The plain value that a text names.

    Raises:
      ValueError, TypeError, RecursionError: it names no value of the space.
    """
    value = text if isinstance(space, spaces.Text) else _nested(json.loads(text.strip()))
    native(space, value)
    return value
