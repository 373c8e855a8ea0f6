"""All trees of a batch as one trie: each distinct token in its context appears once, in one row without padding.

What prompts have in common at their beginning, or further on, is computed once, and so are replies to one prompt. The
tokens are in the order of a depth-first walk, so a token attends to a path, that of its ancestors. Attention is
computed for some neighbouring tokens at a time (a *block*), whose keys are the path to the first of them and the block
itself. No network is involved.
"""

from collections.abc import Sequence
from typing import final

import attrs
import numpy as np
from numpy.typing import NDArray

from lap.engine.prefix_tree import Ids, ReplyTree, common_prefix_length

BLOCK = 64
"""The least number of tokens whose attention is computed together."""


@final
@attrs.frozen(kw_only=True, eq=False)
class TokenTrie:
    """The tokens of a trie in the order of a depth-first walk, and what each attends to. T tokens, B blocks.

    Attributes:
      tokens: token ids. Shape (T,).
      positions: the position of each token in its own sequence. Shape (T,).
      keys: for each block the tokens that it attends to, as indices: the path to its first token, then the block
        itself; padded with zeros. Shape (B, path + block).
      mask: which key each token of a block attends to; a row that is padding attends to one. Shape
        (B, block, path + block).
      places: where the contexts of the trees are, in the order of ``contexts_of``.
    """

    tokens: NDArray[np.int64]
    positions: NDArray[np.int64]
    keys: NDArray[np.int64]
    mask: NDArray[np.bool_]
    places: NDArray[np.int64]

    @classmethod
    def of(cls, trees: Sequence[ReplyTree], *, block: int = BLOCK) -> "TokenTrie":
        """The trie of all prompts and of the replies to them.

        Args:
          trees: what to arrange, at least one.
          block: the least number of tokens of a block. Where sequences are long a block has half the length of the
            longest, so that keys, which blocks hold each for itself, stay a small multiple of the tokens.
        """
        tokens, positions, places = _walk(trees)
        size = min(len(tokens), max(block, (int(positions.max()) + 1) // 2))
        keys, mask = _blocks(positions, size)
        return cls(tokens=tokens, positions=positions, keys=keys, mask=mask, places=places)


def _walk(
    trees: Sequence[ReplyTree],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Tokens, their positions, and the places of contexts; the walk is that of the sorted sequences."""
    numbers: list[dict[Ids, int]] = []  # of each tree, the contexts' numbers
    sequences: list[tuple[Ids, int]] = []  # whole sequences, and the index of their tree
    count = 0
    for t, tree in enumerate(trees):
        numbers.append({prefix: count + n for n, prefix in enumerate(tree.prefixes)})
        count += len(tree.prefixes)
        sequences += [((*tree.prompt, *leaf), t) for leaf in tree.leaves]
    tokens: list[int] = []
    positions: list[int] = []
    places = np.empty(count, dtype=np.int64)
    path: list[int] = []
    previous: Ids = ()
    for sequence, t in sorted(sequences):
        shared = common_prefix_length(previous, sequence)
        path[shared:] = range(len(tokens), len(tokens) + len(sequence) - shared)
        tokens += sequence[shared:]
        positions += range(shared, len(sequence))
        start = len(trees[t].prompt)
        for end in range(start, len(sequence) + 1):
            places[numbers[t][sequence[start:end]]] = path[end - 1]
        previous = sequence
    return np.array(tokens), np.array(positions), places


def _blocks(positions: NDArray[np.int64], size: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The keys and masks of blocks of a size; the last one may have padding."""
    starts = range(0, len(positions), size)
    longest = max(int(positions[start]) for start in starts)
    keys = np.zeros((len(starts), longest + size), dtype=np.int64)
    mask = np.zeros((len(starts), size, longest + size), dtype=bool)
    mask[:, np.arange(size), longest + np.arange(size)] = True
    # the tokens on the way to the present one
    path = np.empty(int(positions.max()) + 1, dtype=np.int64)
    for b, start in enumerate(starts):
        depths = positions[start : start + size]
        n, depth = len(depths), int(depths[0])
        keys[b, :depth] = path[:depth]
        keys[b, longest : longest + n] = np.arange(start, start + n)
        lowest = np.minimum.accumulate(depths)  # what is as deep, or deeper, was left by then
        mask[b, :n, :depth] = np.arange(depth) < lowest[:, None]
        mask[b, :n, longest : longest + n] = _ancestors(depths)
        for token, at in enumerate(depths.tolist(), start):
            path[at] = token
    return keys, mask


def _ancestors(depths: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the column's token is the row's or an ancestor of it, in a walk past these depths. Shape (n, n)."""
    n = len(depths)
    ahead = np.triu(np.ones((n, n), dtype=bool), k=1)  # the column is after the row
    deep = np.where(ahead, depths, np.iinfo(np.int64).max)
    lowest = np.minimum.accumulate(deep, axis=1)  # between the row, without it, and the column
    between: NDArray[np.bool_] = (lowest > depths[:, None]) & np.tri(n, dtype=bool).T
    return between.T
