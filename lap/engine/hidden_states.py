"""Passes through a network: hidden states and next-token logits at many contexts, each computed once.

Logits are computed at the contexts alone (``lap.engine.prefix_tree``), never for the rest of a prompt. Networks whose
attention takes no mask of tree attention (sliding windows, learnt positions) get a row per reply instead; what a
network can do is found by trying (``find_layout``).
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from lap.engine.packing import PADDING, Batch, reply_batches, tree_batches
from lap.engine.prefix_tree import Ids, ReplyTree
from lap.engine.token_trie import TokenTrie
from lap.engine.trie_attention import attending_in, can_attend_in_tries

Layout = Literal["tree_attention", "packed", "padded"]
"""How contexts are scored: trees that share rows; a row per reply; the same, all by the network's own forward pass."""

_PROBE = 16  # tokens of the prompt that layouts are tried with
_PROBE_TOLERANCE = 1e-3


def context_logits(network: torch.nn.Module, trees: Sequence[ReplyTree], layout: Layout) -> Tensor:
    """Next-token logits at every context of every tree, in order; differentiable.

    Args:
      network: a causal language model of the transformers library, wrapped or not.
      trees: what to score.
      layout: how (see ``find_layout``).

    Returns:
      Shape (sum of the trees' prefixes, V), float32.
    """
    if layout == "padded":
        return _padded_logits(network, trees)
    return head_logits(network, context_states(network, trees, layout))


def context_states(
    network: torch.nn.Module,
    trees: Sequence[ReplyTree],
    layout: Layout,
    *,
    one_pass: bool = False,
) -> Tensor:
    """The last hidden states at every context of every tree, in order; differentiable.

    Args:
      network: a causal language model of the transformers library, wrapped or not.
      trees: what to compute.
      layout: not ``padded``.
      one_pass: whether all rows are padded to the longest, so that they pass through the layers together.

    Returns:
      Shape (sum of the trees' prefixes, width of the network).
    """
    if layout == "tree_attention" and can_attend_in_tries(causal_network(network)):
        return _trie_states(network, TokenTrie.of(trees))
    padding = 1.0 if one_pass else PADDING
    if layout == "tree_attention":
        batches = tree_batches(trees, width=_row_width(network), padding=padding)
    else:
        batches = reply_batches(trees, padding=padding)
    states = torch.cat([_states(network, batch) for batch in batches])
    return states[_order(batches, states.device)]


def head_logits(network: torch.nn.Module, states: Tensor) -> Tensor:
    """The logits that a network's head makes of last hidden states. (n, width) to (n, V), float32."""
    with _decoder_returns(causal_network(network), states[None]):
        nothing = torch.zeros(1, len(states), dtype=torch.long, device=states.device)
        logits: Tensor = network(input_ids=nothing, use_cache=False).logits
    return logits[0].float()


@torch.no_grad()
def find_layout(network: torch.nn.Module, prompt: Ids) -> Layout:
    """The shortest layout in which a network gives the logits that it gives in the layout ``padded``.

    Args:
      network: a causal language model of the transformers library, wrapped or not.
      prompt: ids to try with, at least one; the first few are enough.
    """
    prompt = prompt[:_PROBE]
    a, b = prompt[0], prompt[-1]
    trees = [
        ReplyTree.of(prompt, [(a, b, a), (a, a, b), (b, a, a)]),
        ReplyTree.of((*prompt[:-1], b, a), [(b, a, b)]),
        ReplyTree.of(prompt[: max(1, len(prompt) // 2)], [(b, a, b)]),
    ]
    expected = _padded_logits(network, trees)
    inner = causal_network(network)
    relative = max(_PROBE_TOLERANCE, 8 * torch.finfo(inner.dtype).eps)
    tolerance = relative * float(expected.abs().max().clamp(min=1.0))
    layouts: list[Layout] = ["packed"]
    if _attends_to_everything(inner.config):
        layouts.insert(0, "tree_attention")
    for layout in layouts:
        try:
            logits = context_logits(network, trees, layout)
        except (ValueError, TypeError, RuntimeError, AttributeError, NotImplementedError):
            continue
        if bool((logits - expected).abs().max() <= tolerance):
            return layout
    return "padded"


def causal_network(network: torch.nn.Module) -> PreTrainedModel:
    """The language model of the transformers library inside whatever wraps it (adapters, processes)."""
    return next(module for module in network.modules() if isinstance(module, PreTrainedModel))


def _attends_to_everything(config: PretrainedConfig) -> bool:
    """Whether every layer attends to all tokens before; a short trial cannot tell a window that is longer."""
    layers = getattr(config, "layer_types", None)
    if layers is not None:
        return set(layers) == {"full_attention"}
    return not getattr(config, "sliding_window", None)


def _row_width(network: torch.nn.Module) -> int:
    """Rows are filled up to this length: half the network's width, so that attention stays a small part."""
    embeddings: Any = causal_network(network).get_input_embeddings()
    return max(1, int(embeddings.weight.shape[1]) // 2)


def _padded_logits(network: torch.nn.Module, trees: Sequence[ReplyTree]) -> Tensor:
    """Each reply in a row of one batch, by the network's own forward pass and nothing else."""
    device = causal_network(network).device
    (batch,) = reply_batches(trees, padding=None)
    logits: Tensor = network(
        input_ids=batch.tokens.to(device),
        attention_mask=batch.mask.long().to(device),
        position_ids=batch.positions.to(device),
        use_cache=False,
    ).logits
    places = torch.from_numpy(batch.places).to(device)[_order([batch], device)]
    return logits.flatten(0, 1)[places].float()


def _order(batches: Sequence[Batch], device: torch.device) -> Tensor:
    """The indices that put the contexts of batches, one batch after the other, in the order of the trees."""
    return torch.from_numpy(np.concatenate([b.contexts for b in batches]).argsort()).to(device)


def _states(network: torch.nn.Module, batch: Batch) -> Tensor:
    """The last hidden states of a batch at its contexts. Shape (contexts, width)."""
    inner = causal_network(network)
    if batch.mask.ndim == 4:  # a mask of trees is added to the scores of attention
        zeros = torch.zeros(batch.mask.shape, dtype=inner.dtype)
        mask = zeros.masked_fill_(~batch.mask, torch.finfo(inner.dtype).min)
    else:
        mask = batch.mask.long()
    with _KeptStates(inner) as kept:
        network(
            input_ids=batch.tokens.to(inner.device),
            attention_mask=mask.to(inner.device),
            position_ids=batch.positions.to(inner.device),
            use_cache=False,
        )
    return kept.states.flatten(0, 1)[torch.from_numpy(batch.places).to(inner.device)]


def _trie_states(network: torch.nn.Module, trie: TokenTrie) -> Tensor:
    """The last hidden states of all contexts, in order, by one pass over one row. Shape (contexts, width)."""
    inner = causal_network(network)
    with _KeptStates(inner) as kept, attending_in(inner, trie) as mask:
        network(
            input_ids=torch.from_numpy(trie.tokens)[None].to(inner.device),
            attention_mask=mask,
            position_ids=torch.from_numpy(trie.positions)[None].to(inner.device),
            use_cache=False,
        )
    return kept.states[0, torch.from_numpy(trie.places).to(inner.device)]


class _KeptStates:
    """Within the block, a network's last hidden states are kept, and its head sees the first position alone."""

    states: Tensor

    def __init__(self, network: PreTrainedModel) -> None:
        self.decoder = network.base_model

    def __enter__(self) -> "_KeptStates":
        self.hook = self.decoder.register_forward_hook(self._keep)
        return self

    def __exit__(self, *raised: object) -> None:
        self.hook.remove()

    def _keep(self, module: object, args: object, output: Any) -> Any:
        self.states = output.last_hidden_state
        output.last_hidden_state = self.states[:1, :1]
        return output


@contextlib.contextmanager
def _decoder_returns(network: PreTrainedModel, states: Tensor) -> Iterator[None]:
    """Within the block, a network's decoder computes nothing: its head sees these states."""
    decoder: Any = network.base_model
    output = BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=states)
    decoder.forward = lambda *args, **kwargs: output
    try:
        yield
    finally:
        del decoder.forward
