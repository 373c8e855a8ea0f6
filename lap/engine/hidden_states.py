"""Passes through a network: hidden states and next-token logits at many contexts, each computed once.

Logits are computed only at the contexts (``lap.engine.prefix_tree``), never for the rest of a prompt. Networks that do
not support a mask of tree attention (sliding windows, recurrent states) get a row per reply instead. A few trial passes
determine what a network can do (``find_layout``).
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
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
from lap.errors import ModelError

Layout = Literal["tree_attention", "packed", "padded"]
"""How contexts are scored: trees that share rows; a row per reply; the same, all by the network's own forward pass."""

_PROBE = 16  # tokens of the prompt that layouts are tried with
_TRIED = 20  # tokens of the prompt that a network is tried with where none is given

FORWARD_ERRORS = (
    ValueError,
    TypeError,
    RuntimeError,
    AttributeError,
    NotImplementedError,
    KeyError,
)
"""What a network's forward pass raises if the network cannot do what is tried."""


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
    """The logits that a network's head computes from last hidden states. (n, width) to (n, V), float32.

    The head computes in the type of its weights, also where the layers compute in another one: in bfloat16 a logit of
    16 has steps of 1/8, so that states which hardly differ would have probabilities that do.
    """
    inner = causal_network(network)
    states = states.to(inner.get_output_embeddings().weight.dtype)
    with _own_type(network), _decoder_returns(inner, states[None]):
        nothing = torch.zeros(1, len(states), dtype=torch.long, device=states.device)
        logits: Tensor = network(input_ids=nothing, use_cache=False).logits
    return logits[0].float()


@torch.no_grad()
def find_layout(network: torch.nn.Module, prompt: Ids) -> Layout:
    """The most compact layout in which a network gives the same logits as for each row alone.

    Args:
      network: a causal language model of the transformers library, wrapped or not.
      prompt: ids to try with, at least one; the first few are enough.

    Raises:
      ModelError: the network cannot be run at all, or its logits depend on what comes after a token.
    """
    prompt = prompt[:_PROBE]
    a, b = prompt[0], prompt[-1]
    trees = [
        ReplyTree.of(prompt, [(a, b, a), (a, a, b), (b, a, a)]),
        ReplyTree.of((*prompt[:-1], b, a), [(b, a, b)]),
        ReplyTree.of(prompt[: max(1, len(prompt) // 2)], [(b, a, b)]),
    ]
    inner = causal_network(network)
    try:
        expected = torch.cat([unpadded_logits(network, tree) for tree in trees])
    except FORWARD_ERRORS as error:
        raise ModelError(f"{type(inner).__name__} cannot be run: {error}") from error
    finite(network, expected)
    layouts: list[Layout] = ["packed", "padded"]
    if attends_to_everything(inner.config):
        layouts.insert(0, "tree_attention")
    for layout in layouts:
        compute = functools.partial(context_logits, network, trees, layout)
        if agrees(network, compute, expected):
            return layout
    raise ModelError(
        f"{type(inner).__name__} is not a causal language model, so replies cannot be sampled: "
        "its logits at a token depend on what comes after it"
    )


def unpadded_logits(network: torch.nn.Module, tree: ReplyTree) -> Tensor:
    """The logits at a tree's contexts, by the network's own passes of rows of one length. Shape (prefixes, V)."""
    logits: dict[Ids, Tensor] = {}
    with _own_type(network):
        for length in sorted({len(prefix) for prefix in tree.prefixes}):
            prefixes = [prefix for prefix in tree.prefixes if len(prefix) == length]
            rows = [(*tree.prompt, *prefix) for prefix in prefixes]
            tokens = torch.tensor(rows, device=causal_network(network).device)
            of_rows = network(input_ids=tokens, use_cache=False).logits[:, -1].float()
            logits.update(zip(prefixes, of_rows, strict=True))
    return torch.stack([logits[prefix] for prefix in tree.prefixes])


def agrees(
    network: torch.nn.Module,
    compute: Callable[[], Tensor],
    expected: Tensor,
    *,
    tolerance: float = 1e-3,
) -> bool:
    """Whether a network computes what is expected, up to its type's rounding; False if it fails.

    Args:
      network: a causal language model of the transformers library, wrapped or not.
      compute: gives the logits.
      expected: what they should be.
      tolerance: how far they may be from it, relative to the greatest, unless the type rounds by more.
    """
    try:
        with _own_type(network):
            difference = float((compute() - expected).abs().max())
    except FORWARD_ERRORS:
        return False
    relative = max(tolerance, 8 * torch.finfo(causal_network(network).dtype).eps)
    return difference <= relative * float(expected.abs().max().clamp(min=1.0))


def _own_type(network: torch.nn.Module) -> torch.autocast:
    """Within the block, in no other type than that of the network's weights."""
    return torch.autocast(causal_network(network).device.type, enabled=False)


def finite(network: torch.nn.Module, logits: Tensor) -> Tensor:
    """These logits.

    Raises:
      ModelError: they are not finite.
    """
    if not bool(torch.isfinite(logits).all()):
        name = str(getattr(causal_network(network).config, "name_or_path", ""))
        raise ModelError(f"the logits of {name!r} are not finite")
    return logits


def any_prompt(network: torch.nn.Module) -> Ids:
    """Ids to try a network with, evenly spaced over its vocabulary; all different, if it has as many.

    The lowest ids would not do: most are control tokens, after which the states of a pretrained network are so large
    that in bfloat16 two ways to compute the same logits do not agree.
    """
    embeddings: Any = causal_network(network).get_input_embeddings()
    return tuple((2 * n + 1) * len(embeddings.weight) // (2 * _TRIED) for n in range(_TRIED))


def causal_network(network: torch.nn.Module) -> PreTrainedModel:
    """The language model of the transformers library inside whatever wraps it (adapters, processes)."""
    return next(module for module in network.modules() if isinstance(module, PreTrainedModel))


def attends_to_everything(config: PretrainedConfig) -> bool:
    """Whether every layer attends to all previous tokens; a short trial cannot detect a window that is longer."""
    text = config.get_text_config(decoder=True)
    layers = getattr(text, "layer_types", None)
    if layers is not None:
        return set(layers) == {"full_attention"}
    return not any(value for name, value in text.to_dict().items() if "window" in name)


def _row_width(network: torch.nn.Module) -> int:
    """Rows are filled up to this length: half the network's width, so that attention stays a small part."""
    embeddings: Any = causal_network(network).get_input_embeddings()
    return max(1, int(embeddings.weight.shape[1]) // 2)


def _padded_logits(network: torch.nn.Module, trees: Sequence[ReplyTree]) -> Tensor:
    """Each reply in a row of one batch, by the network's own forward pass of these tokens and nothing else."""
    device = causal_network(network).device
    (batch,) = reply_batches(trees, padding=None)
    logits: Tensor = network(input_ids=batch.tokens.to(device), use_cache=False).logits
    places = torch.from_numpy(batch.places).to(device)[_order([batch], device)]
    return logits.flatten(0, 1)[places].float()


def _order(batches: Sequence[Batch], device: torch.device) -> Tensor:
    """The indices that put the contexts of batches, one batch after the other, in the order of the trees."""
    return torch.from_numpy(np.concatenate([b.contexts for b in batches]).argsort()).to(device)


def _states(network: torch.nn.Module, batch: Batch) -> Tensor:
    """The last hidden states of a batch at its contexts. Shape (contexts, width)."""
    inner = causal_network(network)
    mask = None  # what comes after a token does not matter to it
    if batch.mask is not None:  # a mask of trees is added to the scores of attention
        attended = batch.mask.to(inner.device)
        zeros = torch.zeros(attended.shape, dtype=inner.dtype, device=inner.device)
        mask = zeros.masked_fill_(~attended, torch.finfo(inner.dtype).min)
    with _KeptStates(inner) as kept:
        network(
            input_ids=batch.tokens.to(inner.device),
            attention_mask=mask,
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
    output: Any = BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=states)
    # networks with experts, and recurrent ones, read fields of their own
    for field in ("router_logits", "cache_params", "state"):
        setattr(output, field, None)
    decoder.forward = lambda *args, **kwargs: output
    try:
        yield
    finally:
        del decoder.forward
