"""Next-token logits at many contexts, each computed once.

A *context* is a prompt and the beginning of a reply to it. The replies to one prompt form a tree: what they have
in common is common in the tree. A causal network can score the whole tree in one row: the prompt, then the tree's
nodes, each attending to the prompt and to its own ancestors, at the position that it has in its own reply. That is
the same sum as scoring every reply in a row of its own, and much shorter where many replies answer one prompt.

Networks whose attention takes no such mask (sliding windows, learnt positions) get a row per reply instead; which of
the two a network can do is found by trying both once (``supports_trees``).
"""

import functools
from collections.abc import Sequence
from typing import Any, final

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Ids = tuple[int, ...]

_PROBE_TOLERANCE = 1e-3
_SMALL = 15  # nodes of a tree whose padding does not matter


@final
@attrs.frozen
class ReplyTree:
    """One prompt and the beginnings of replies to score after it.

    Attributes:
      prompt: token ids, at least one.
      prefixes: distinct beginnings; the empty one first, every other one after its own parent.
    """

    prompt: Ids
    prefixes: tuple[Ids, ...]

    @classmethod
    def of(cls, prompt: Ids, replies: Sequence[Ids]) -> "ReplyTree":
        """The tree of all beginnings at which a token of these replies was chosen."""
        return cls.upto(prompt, [reply[:-1] for reply in replies])

    @classmethod
    def upto(cls, prompt: Ids, beginnings: Sequence[Ids]) -> "ReplyTree":
        """The tree of these beginnings and of theirs."""
        prefixes = {end[:n]: None for end in beginnings for n in range(len(end) + 1)}
        return cls(prompt, tuple(sorted(prefixes, key=lambda prefix: (len(prefix), prefix))))


def context_logits(network: Any, trees: Sequence[ReplyTree], *, as_trees: bool) -> Tensor:
    """Next-token logits at every context of every tree, in order.

    Args:
      network: a causal language model of the transformers library.
      trees: what to score.
      as_trees: whether to score a tree in one row (see ``supports_trees``).

    Returns:
      Shape (sum of the trees' prefixes, V), float32.
    """
    return _tree_logits(network, trees) if as_trees else _path_logits(network, trees)


@torch.no_grad()
def supports_trees(network: Any, prompt: Ids) -> bool:
    """Whether the network gives the same logits for a tree in one row as for its replies apart."""
    a, b = prompt[0], prompt[-1]
    tree = ReplyTree.of(prompt, [(a, b, a), (a, a, b), (b, a, a)])
    short = ReplyTree.of(prompt[: max(1, len(prompt) // 2)], [(b, a, b)])
    try:
        rows = context_logits(network, [tree, short], as_trees=True)
    except (ValueError, TypeError, RuntimeError, NotImplementedError):
        return False
    apart = context_logits(network, [tree, short], as_trees=False)
    scale = float(apart.abs().max().clamp(min=1.0))
    return bool((rows - apart).abs().max() <= _PROBE_TOLERANCE * scale)


def left_padded(rows: Sequence[Ids]) -> tuple[Tensor, Tensor]:
    """Token ids with padding on the left, and which of them are real (bool). Shapes (B, P)."""
    width = max(len(row) for row in rows)
    ids = torch.tensor([(0,) * (width - len(row)) + row for row in rows])
    real = torch.tensor([[False] * (width - len(row)) + [True] * len(row) for row in rows])
    return ids, real


def right_padded(rows: Sequence[Sequence[Any]], width: int) -> Tensor:
    """Numbers with zeros on the right. Shape (B, width)."""
    return torch.tensor([[*row, *(0,) * (width - len(row))] for row in rows])


def positions(real: Tensor) -> Tensor:
    """Position ids that do not count padding."""
    return (real.cumsum(-1) - 1).clamp(min=0)


def _tree_logits(network: Any, trees: Sequence[ReplyTree]) -> Tensor:
    """One row per tree; trees of alike size in one batch, so that a bushy one does not widen all rows."""
    found: dict[int, Tensor] = {}
    for indices in alike_in_size([len(tree.prefixes) for tree in trees]):
        part = [trees[i] for i in indices]
        logits = torch.split(_batch_of_trees(network, part), [len(t.prefixes) for t in part])
        found.update(zip(indices, logits, strict=True))
    return torch.cat([found[i] for i in range(len(trees))])


def alike_in_size(sizes: Sequence[int]) -> list[list[int]]:
    """Indices in parts: up to 15 all together, beyond that the largest of a part is less than twice the smallest."""
    parts: dict[int, list[int]] = {}
    for index, size in enumerate(sizes):
        parts.setdefault(max(_SMALL, size).bit_length(), []).append(index)
    return list(parts.values())


def _batch_of_trees(network: Any, trees: Sequence[ReplyTree]) -> Tensor:
    """One row per tree: prompt, then nodes, under a mask that lets each see its ancestors alone."""
    device = next(network.parameters()).device
    nodes = [tree.prefixes[1:] for tree in trees]
    width = max(len(row) for row in nodes)
    prompts, real = left_padded([tree.prompt for tree in trees])
    tokens = right_padded([[prefix[-1] for prefix in row] for row in nodes], width).long()
    depths = right_padded([[len(prefix) - 1 for prefix in row] for row in nodes], width).long()
    lengths = real.sum(-1, keepdim=True)
    logits = network(
        input_ids=torch.cat([prompts, tokens], dim=1).to(device),
        attention_mask=_additive(_tree_mask(real, nodes, width), network.dtype).to(device),
        position_ids=torch.cat([positions(real), lengths + depths], dim=1).to(device),
        use_cache=False,
        logits_to_keep=width + 1,
    ).logits
    kept = right_padded([[1] * len(tree.prefixes) for tree in trees], width + 1).bool()
    chosen: Tensor = logits[kept.to(device)].float()
    return chosen


def _tree_mask(real: Tensor, nodes: Sequence[tuple[Ids, ...]], width: int) -> Tensor:
    """Who attends to whom. Bool, shape (B, 1, P + width, P + width)."""
    rows, prompt = real.shape
    mask = np.zeros((rows, prompt + width, prompt + width), dtype=bool)
    mask[:, :, :prompt] = real.numpy()[:, None, :]
    mask[:, :prompt, :prompt] &= np.tri(prompt, dtype=bool)
    mask[:, range(prompt + width), range(prompt + width)] = True  # no row may be empty
    for b, prefixes in enumerate(nodes):
        end = prompt + len(prefixes)
        mask[b, prompt:end, prompt:end] = _ancestors(prefixes)
    return torch.from_numpy(mask)[:, None]


@functools.lru_cache(maxsize=1024)
def _ancestors(prefixes: tuple[Ids, ...]) -> NDArray[np.bool_]:
    """Whether the column's beginning begins the row's. Shape (n, n)."""
    index = {prefix: i for i, prefix in enumerate(prefixes)}
    matrix = np.zeros((len(prefixes), len(prefixes)), dtype=bool)
    for prefix, i in index.items():
        matrix[i, [index[prefix[:n]] for n in range(1, len(prefix) + 1)]] = True
    return matrix


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(mask.shape, dtype=dtype).masked_fill_(~mask, torch.finfo(dtype).min)


def _path_logits(network: Any, trees: Sequence[ReplyTree]) -> Tensor:
    """One row per whole beginning: those that no other beginning of the same tree continues."""
    device = next(network.parameters()).device
    paths = [(t, prefix) for t, tree in enumerate(trees) for prefix in _leaves(tree.prefixes)]
    where = {
        (t, path[:n]): (row, n) for row, (t, path) in enumerate(paths) for n in range(len(path) + 1)
    }
    width = max(len(path) for _, path in paths)
    prompts, real = left_padded([trees[t].prompt for t, _ in paths])
    replies = right_padded([path for _, path in paths], width).long()
    seen = right_padded([[1] * len(path) for _, path in paths], width).bool()
    attention = torch.cat([real, seen], dim=1)
    logits = network(
        input_ids=torch.cat([prompts, replies], dim=1).to(device),
        attention_mask=attention.long().to(device),
        position_ids=positions(attention).to(device),
        use_cache=False,
        logits_to_keep=width + 1,
    ).logits
    places = [where[t, prefix] for t, tree in enumerate(trees) for prefix in tree.prefixes]
    index = torch.tensor(places, device=device)
    chosen: Tensor = logits[index[:, 0], index[:, 1]].float()
    return chosen


def _leaves(prefixes: Sequence[Ids]) -> list[Ids]:
    parents = {prefix[:-1] for prefix in prefixes if prefix}
    return [prefix for prefix in prefixes if prefix not in parents]
