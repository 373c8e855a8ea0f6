"""Trees of replies as batches of tokens, with position ids and attention masks. No network is involved.

A causal network can score a whole tree in one row: the prompt, then the tree's nodes, each attending to the prompt
and to its own ancestors, at the position that it has in its own reply. This computes the same as scoring every reply in
a row of its own, with far fewer tokens if many replies answer one prompt.

Several trees can share a row, too. A common prefix of prompts (the same rules, another board) appears once. Trees that
have nothing in common stand side by side and do not attend to each other, so that little of a batch is padding.
"""

import functools
from collections.abc import Sequence
from typing import TypeVar, final

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lap.engine.prefix_tree import Ids, ReplyTree, common_prefix_length

PADDING = 0.1
"""The greatest share of a batch that is padding."""

_MIN_SHARED = 0.5  # least part of a prompt that two prompts must share to be joined

_Piece = tuple[int, list[int]]  # how many tokens, and the indices of the trees
_T = TypeVar("_T")


def left_padded(rows: Sequence[Ids]) -> tuple[Tensor, Tensor]:
    """Token ids with padding on the left, and which of them are real (bool). Shapes (B, P)."""
    width = max(len(row) for row in rows)
    ids = torch.tensor([(0,) * (width - len(row)) + row for row in rows])
    real = torch.tensor([[False] * (width - len(row)) + [True] * len(row) for row in rows])
    return ids, real


def right_padded(rows: Sequence[Sequence[float]], width: int) -> Tensor:
    """Numbers with zeros on the right. Shape (B, width)."""
    return torch.tensor([[*row, *(0,) * (width - len(row))] for row in rows])


def position_ids(real: Tensor) -> Tensor:
    """Position ids that do not count padding. Shape (B, P), as the mask of real tokens."""
    return (real.cumsum(-1) - 1).clamp(min=0)


@final
@attrs.frozen(kw_only=True, eq=False)
class Batch:
    """The input of one pass through a network. B rows, W tokens wide.

    Attributes:
      tokens, positions: shape (B, W), int64.
      mask: which token attends to which, bool, (B, 1, W, W); ``None`` if each attends to all before it, so that
        padding, which stands after a row, does not matter.
      places: where the contexts are, as indices of the flattened batch.
      contexts: which contexts they are, as indices in the order of ``contexts_of``.
    """

    tokens: Tensor
    positions: Tensor
    mask: Tensor | None
    places: NDArray[np.int64]
    contexts: NDArray[np.int64]


@final
@attrs.frozen(kw_only=True, eq=False)
class Row:
    """Trees that share a row, n tokens long.

    Attributes:
      trees: their indices, in the row's order.
      tokens, positions: of each token, int64. Shape (n,).
      mask: which token attends to which. Shape (n, n).
      contexts: where the contexts of the trees are, tree after tree.
    """

    trees: tuple[int, ...]
    tokens: NDArray[np.int64]
    positions: NDArray[np.int64]
    mask: NDArray[np.bool_]
    contexts: NDArray[np.int64]


# ---- trees that share rows (the layout tree_attention) -------------------------------------------------


def tree_batches(
    trees: Sequence[ReplyTree], *, width: int, padding: float = PADDING
) -> list[Batch]:
    """Batches in which trees share rows, with masks of tree attention.

    Args:
      trees: what to arrange.
      width: rows are filled up to it, in tokens, or to the longest piece if that is longer.
      padding: the greatest share of a batch that is padding; 1 for a single batch.
    """
    first = np.cumsum([0, *(len(tree.prefixes) for tree in trees)])
    made = []
    for rows in pack_rows(trees, width=width, padding=padding):
        longest = max(len(row.tokens) for row in rows)
        tokens = np.zeros((len(rows), longest), dtype=np.int64)
        positions = np.zeros((len(rows), longest), dtype=np.int64)
        mask = np.tile(np.eye(longest, dtype=bool), (len(rows), 1, 1))  # no row may be empty
        for b, row in enumerate(rows):
            n = len(row.tokens)
            tokens[b, :n], positions[b, :n], mask[b, :n, :n] = row.tokens, row.positions, row.mask
        members = [t for row in rows for t in row.trees]
        batch = Batch(
            tokens=torch.from_numpy(tokens),
            positions=torch.from_numpy(positions),
            mask=torch.from_numpy(mask)[:, None],
            places=np.concatenate([b * longest + row.contexts for b, row in enumerate(rows)]),
            contexts=np.concatenate([np.arange(first[t], first[t + 1]) for t in members]),
        )
        made.append(batch)
    return made


def pack_rows(
    trees: Sequence[ReplyTree], *, width: int, padding: float = PADDING
) -> list[list[Row]]:
    """Trees in rows, and rows of similar length in batches.

    Trees whose prompts share a prefix are joined. Then the longest piece opens a row, and the longest pieces that
    still fit fill it. A batch is closed before more than a share of it would be padding.

    Args:
      trees: what to arrange.
      width: rows are filled up to it, in tokens, or to the longest piece if that is longer.
      padding: the greatest share of a batch that is padding; 1 for a single batch.
    """
    pieces = sorted(_joined(trees, 4 * width), key=lambda piece: piece[0], reverse=True)
    rows = []
    while pieces:
        limit = max(pieces[0][0], width)
        length, members, left = 0, [], []
        for size, of_piece in pieces:
            if length + size <= limit:
                length += size
                members += of_piece
            else:
                left.append((size, of_piece))
        rows.append(_row(trees, members))
        pieces = left
    longest_first = sorted(rows, key=lambda row: len(row.tokens), reverse=True)
    return _little_padding([(len(row.tokens), row) for row in longest_first], padding)


def _joined(trees: Sequence[ReplyTree], limit: int) -> list[_Piece]:
    """Neighbours in the order of prompts, joined as long as each shares half of its prompt with the one before."""
    order = sorted(range(len(trees)), key=lambda i: (trees[i].prompt, trees[i].prefixes))
    pieces: list[_Piece] = []
    previous: Ids = ()
    for i in order:
        tree = trees[i]
        shared = common_prefix_length(previous, tree.prompt)
        previous = tree.prompt
        if pieces and shared >= _MIN_SHARED * len(tree.prompt):
            size, members = pieces[-1]
            if size + tree.size - shared <= limit:
                pieces[-1] = (size + tree.size - shared, [*members, i])
                continue
        pieces.append((tree.size, [i]))
    return pieces


def _row(trees: Sequence[ReplyTree], members: Sequence[int]) -> Row:
    """Prompts and nodes one after the other; a prompt goes on from what it shares with the one before."""
    size = sum(trees[i].size for i in members)
    mask = np.eye(size, dtype=bool)
    tokens: list[int] = []
    positions: list[int] = []
    contexts: list[int] = []
    path = np.empty(0, dtype=np.int64)
    previous: Ids = ()
    for i in members:
        prompt, nodes = trees[i].prompt, trees[i].prefixes[1:]
        shared = common_prefix_length(previous, prompt)
        own = np.arange(len(tokens), len(tokens) + len(prompt) - shared)
        path = np.concatenate([path[:shared], own])
        mask[np.ix_(own, path)] = np.tri(len(own), len(path), k=shared, dtype=bool)
        tokens += prompt[shared:]
        positions += range(shared, len(prompt))
        grown = np.arange(len(tokens), len(tokens) + len(nodes))
        mask[np.ix_(grown, path)] = True
        mask[np.ix_(grown, grown)] = _ancestor_mask(nodes)
        tokens += [prefix[-1] for prefix in nodes]
        positions += [len(prompt) + len(prefix) - 1 for prefix in nodes]
        contexts += [int(path[-1]), *grown.tolist()]
        previous = prompt
    n = len(tokens)
    return Row(
        trees=tuple(members),
        tokens=np.array(tokens),
        positions=np.array(positions),
        mask=mask[:n, :n],
        contexts=np.array(contexts),
    )


@functools.lru_cache(maxsize=1024)
def _ancestor_mask(prefixes: tuple[Ids, ...]) -> NDArray[np.bool_]:
    """Whether the column's prefix is a prefix of the row's. Shape (n, n)."""
    index = {prefix: i for i, prefix in enumerate(prefixes)}
    matrix = np.zeros((len(prefixes), len(prefixes)), dtype=bool)
    for prefix, i in index.items():
        matrix[i, [index[prefix[:n]] for n in range(1, len(prefix) + 1)]] = True
    return matrix


# ---- a row per reply (the layouts packed and padded) ---------------------------------------------------


def reply_batches(trees: Sequence[ReplyTree], *, padding: float | None = PADDING) -> list[Batch]:
    """Batches with a row for each whole reply, padded on the right.

    Args:
      trees: what to arrange.
      padding: the greatest share of a batch that is padding, where rows of similar length share one; 1 for a single
        batch, the longest row first; ``None`` for a single batch in the order of the trees.
    """
    replies = [(t, leaf) for t, tree in enumerate(trees) for leaf in tree.leaves]
    rows = [(*trees[t].prompt, *leaf) for t, leaf in replies]
    row_of = {(t, leaf[:n]): i for i, (t, leaf) in enumerate(replies) for n in range(len(leaf) + 1)}
    ends_of: list[list[tuple[int, int]]] = [[] for _ in rows]  # tokens up to a context, its index
    numbered = ((t, prefix) for t, tree in enumerate(trees) for prefix in tree.prefixes)
    for index, (t, prefix) in enumerate(numbered):
        ends_of[row_of[t, prefix]].append((len(trees[t].prompt) + len(prefix), index))
    order = list(range(len(rows)))
    if padding is not None:
        order.sort(key=lambda i: len(rows[i]), reverse=True)
        groups = _little_padding([(len(rows[i]), i) for i in order], padding)
    else:
        groups = [order]
    made = []
    for group in groups:
        width = max(len(rows[i]) for i in group)
        tokens = right_padded([rows[i] for i in group], width)
        ends = [(b, *end) for b, i in enumerate(group) for end in ends_of[i]]
        batch = Batch(
            tokens=tokens,
            positions=torch.arange(width).expand(len(group), -1),
            mask=None,
            places=np.array([b * width + end - 1 for b, end, _ in ends]),
            contexts=np.array([index for *_, index in ends]),
        )
        made.append(batch)
    return made


def _little_padding(sized: Sequence[tuple[int, _T]], padding: float) -> list[list[_T]]:
    """Things of a length, the longest first, in batches of which at most this share is padding."""
    groups: list[list[_T]] = []
    longest = filled = 0
    for size, thing in sized:
        if not groups or filled + size < (1 - padding) * (len(groups[-1]) + 1) * longest:
            groups.append([])
            longest, filled = size, 0
        groups[-1].append(thing)
        filled += size
    return groups
