"""The replies to one prompt, as a tree of their prefixes.

A *context* is a prompt and a prefix of a reply to it, after which the next token is drawn. The replies to one prompt
form a tree, since the prefixes that they share are the same contexts.
"""

from collections.abc import Iterable, Sequence
from typing import final

import attrs

Ids = tuple[int, ...]
"""Token ids."""

Context = tuple[Ids, Ids]
"""The ids of a prompt, and of the reply so far."""


@final
@attrs.frozen
class ReplyTree:
    """One prompt and the prefixes of replies to score after it.

    Attributes:
      prompt: token ids, at least one.
      prefixes: distinct prefixes; the empty one first, every other one after its own parent.
    """

    prompt: Ids
    prefixes: tuple[Ids, ...]

    @classmethod
    def of(cls, prompt: Ids, replies: Sequence[Ids]) -> "ReplyTree":
        """The tree of all prefixes at which a token of these replies was chosen."""
        return cls.of_prefixes(prompt, [reply[:-1] for reply in replies])

    @classmethod
    def of_prefixes(cls, prompt: Ids, prefixes: Sequence[Ids]) -> "ReplyTree":
        """The tree of these prefixes and of all their own prefixes."""
        closed = {prefix[:n]: None for prefix in prefixes for n in range(len(prefix) + 1)}
        return cls(prompt, tuple(sorted(closed, key=lambda prefix: (len(prefix), prefix))))

    @property
    def size(self) -> int:
        """How many tokens are computed for it."""
        return len(self.prompt) + len(self.prefixes) - 1

    @property
    def leaves(self) -> list[Ids]:
        """The prefixes that no other prefix continues."""
        parents = {prefix[:-1] for prefix in self.prefixes if prefix}
        return [prefix for prefix in self.prefixes if prefix not in parents]


def contexts_of(trees: Iterable[ReplyTree]) -> list[Context]:
    """The contexts of several trees, tree after tree, in the order of their prefixes."""
    return [(tree.prompt, prefix) for tree in trees for prefix in tree.prefixes]


def common_prefix_length(a: Ids, b: Ids) -> int:
    """How many tokens two sequences share at their beginning, by comparing halves."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
