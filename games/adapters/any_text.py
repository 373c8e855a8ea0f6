"""A space of texts with arbitrary characters, which Gymnasium does not have."""

import string
from typing import Any, final

import numpy as np
from gymnasium import spaces

_LONGEST_SAMPLE = 64
_PRINTABLE = "\n" + "".join(c for c in string.printable if c.isprintable())


@final
class AnyText(spaces.Text):
    """Texts of arbitrary characters up to a length.

    A ``Text`` admits a listed set of characters, and all of Unicode cannot be listed: replies and observations (which
    may quote other players) would not be members. Here every string up to the length is a member; the listed
    characters (printable ASCII and the line break) are those of samples, which have up to 64 characters.

    Args:
      max_length: the greatest length, in characters.
    """

    def __init__(self, max_length: int) -> None:
        super().__init__(max_length, min_length=0, charset=_PRINTABLE)

    def contains(self, x: Any) -> bool:
        return isinstance(x, str) and len(x) <= self.max_length

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        if mask is None and probability is None:
            longest = min(self.max_length, _LONGEST_SAMPLE)
            mask = (int(self.np_random.integers(longest + 1)), None)
        return super().sample(mask, probability)

    def character_index(self, char: str) -> np.int32:
        """The character's place in the list, for flattened texts; that of ``?`` for an unlisted one."""
        return super().character_index(char if char in self.character_set else "?")

    def __repr__(self) -> str:
        return f"AnyText({self.max_length})"
