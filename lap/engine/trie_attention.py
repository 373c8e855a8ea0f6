"""Attention along a trie of tokens, for any network whose attention can be replaced.

Everything else in a network treats each token by itself, so a trie (``lap.engine.token_trie``) passes through the
layers as one row. Networks of the transformers library look their attention up by a name in their configuration;
within a pass over a trie that name is ours. Keys and values are gathered for each block of queries, forward and again
backward, and not kept in between.
"""

import contextlib
import functools
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, final

import attrs
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface, PretrainedConfig, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from lap.engine.token_trie import TokenTrie

_NAME = "tsmg_token_trie"
_PLAIN = "sdpa"  # the attention that ours refines
_NAMED = "_attn_implementation"  # where a configuration names the attention
_COMPILED = "_compiled_call_impl"  # of a module that is compiled


@final
@attrs.frozen(kw_only=True, eq=False)
class _Pass:
    """A pass over a trie: the configuration that names the attention; the keys and the mask of blocks."""

    config: PretrainedConfig
    keys: Tensor
    mask: Tensor


_current: ContextVar[_Pass | None] = ContextVar("pass over a trie", default=None)


def can_attend_in_tries(network: PreTrainedModel) -> bool:
    """Whether a network looks its attention up by name, and uses the ordinary one."""
    compiled = any(getattr(module, _COMPILED) is not None for module in network.modules())
    named = getattr(network.config.get_text_config(), _NAMED)
    return bool(network.is_backend_compatible()) and named == _PLAIN and not compiled


@contextlib.contextmanager
def attending_in(network: PreTrainedModel, trie: TokenTrie) -> Iterator[Tensor]:
    """Within the block, a network attends along a trie.

    Yields the mask to pass to it, which only says that no mask is needed.
    """
    device = network.device
    over = _Pass(
        config=network.config.get_text_config(),
        keys=torch.from_numpy(trie.keys).to(device),
        mask=torch.from_numpy(trie.mask)[:, None].to(device),
    )
    with _attending(over):
        yield torch.zeros(1, 1, 1, 1, device=device)


def recomputation_contexts() -> tuple[Any, Any]:
    """What activations are computed in, and computed again in: the ``context_fn`` of torch's ``checkpoint``."""
    over = _current.get()
    again = contextlib.nullcontext() if over is None else _attending(over)
    return contextlib.nullcontext(), again


@contextlib.contextmanager
def _attending(over: _Pass) -> Iterator[None]:
    before = getattr(over.config, _NAMED)
    token = _current.set(over)
    setattr(over.config, _NAMED, _NAME)
    try:
        yield
    finally:
        setattr(over.config, _NAMED, before)
        _current.reset(token)


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """The attention of one layer over the row of a trie. Heads stand before tokens, and after them in the output."""
    over = _current.get()
    if over is None:
        raise RuntimeError("attention along a trie can only be used in passes over a trie")
    attend = functools.partial(_attend_in_blocks, module, over, options)
    if torch.is_grad_enabled() and (query.requires_grad or key.requires_grad):
        recompute: Any = functools.partial(
            checkpoint, attend, use_reentrant=False, preserve_rng_state=False
        )
        return recompute(query, key, value), None
    return attend(query, key, value), None


def _attend_in_blocks(
    module: torch.nn.Module,
    over: _Pass,
    options: dict[str, Any],
    query: Tensor,
    key: Tensor,
    value: Tensor,
) -> Tensor:
    blocks, _, size, _ = over.mask.shape
    _, heads, length, width = query.shape
    rows = pad(query[0], (0, 0, 0, blocks * size - length))
    queries = rows.view(heads, blocks, size, width).transpose(0, 1)
    attended, _ = sdpa_attention_forward(
        module,
        queries,
        _gathered(key, over.keys),
        _gathered(value, over.keys),
        over.mask,
        **options,
    )
    row: Tensor = attended.reshape(1, blocks * size, heads, -1)
    return row[:, :length]


def _gathered(of_tokens: Tensor, keys: Tensor) -> Tensor:
    """Keys or values of the tokens that each block attends to. (1, heads, T, width) to (B, heads, K, width)."""
    rows = of_tokens[0].transpose(0, 1).index_select(0, keys.flatten())
    return rows.view(*keys.shape, *rows.shape[1:]).transpose(1, 2)


AttentionInterface.register(_NAME, _attend)
