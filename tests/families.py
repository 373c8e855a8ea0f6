"""Tiny random networks of many families, each with what is hard about it: windows, states, experts, scaled heads."""

import functools
from typing import Any

import attrs
import torch
import transformers

from lap import TransformersModel
from tests.checkpoints import tokenizer

WINDOW = 24  # tokens; shorter than the prompts of ``lap.testing``


@attrs.frozen
class Family:
    """A configuration, and the ways in which its networks are scored and sampled.

    Attributes:
      layout, cache_use: what ``lap.engine`` finds.
      settings: beside those that all share.
      name: of its classes, if it is not the key.
    """

    layout: str
    cache_use: str
    settings: dict[str, Any] = attrs.field(factory=dict)
    name: str = ""


_SHARED = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "bos_token_id": None,
    "pad_token_id": None,
}
_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
_MAMBA = {
    "mamba_d_ssm": 64,
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_n_groups": 1,
    "mamba_d_state": 8,
    "mamba_chunk_size": 16,
}
_LATENT = {
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "num_key_value_heads": 2,
}
_full = functools.partial(Family, "tree_attention", "padding_anywhere")
_windows = functools.partial(Family, "packed", "padding_before")
_states = functools.partial(Family, "packed", "equal_lengths")
_SOME_WINDOWS = ["sliding_attention", "full_attention", "sliding_attention"]

FAMILIES = {
    "Llama": _full(),
    "Qwen2": _full({"tie_word_embeddings": True}),
    "Qwen2-windows": _windows(
        {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}, "Qwen2"
    ),
    "Qwen3": _full({"head_dim": 16, "attention_bias": True}),
    "Qwen3Moe": _full({"head_dim": 16, "num_experts": 4, **_EXPERTS}),
    "Granite": _full({"logits_scaling": 3.0, "embedding_multiplier": 2.0}),
    "Mistral": _windows({"sliding_window": WINDOW}),
    "Phi3": _windows({"sliding_window": WINDOW}),
    "Gemma2": _windows(
        {"head_dim": 16, "sliding_window": WINDOW, "final_logit_softcapping": 5.0, "attn_logit_softcapping": 5.0}
    ),
    "Gemma3": _windows(
        {"head_dim": 16, "sliding_window": WINDOW, "layer_types": _SOME_WINDOWS}, "Gemma3"
    ),
    "Olmo2": _full(),
    "SmolLM3": _full({"no_rope_layer_interval": 2}),
    "SmolLM3-windows": _windows(
        {"use_sliding_window": True, "sliding_window": WINDOW, "layer_types": _SOME_WINDOWS}, "SmolLM3"
    ),
    "DeepseekV3": _full(
        {"n_routed_experts": 4, "n_group": 2, "topk_group": 1, "first_k_dense_replace": 1, **_EXPERTS, **_LATENT}
    ),
    "GptOss": _windows({"head_dim": 16, "sliding_window": WINDOW, "num_local_experts": 4, **_EXPERTS}),
    "GPTNeoX": _full(),
    "GPT2": _full({"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 256}),
    "Bloom": Family("packed", "padding_anywhere", {"n_layer": 2, "n_head": 2}),
    "Mpt": _windows({"d_model": 32, "n_heads": 2, "n_layers": 2, "max_seq_len": 256}),
    "GPTNeo": _windows(
        {"num_hidden_layers": 2, "attention_types": [[["global", "local"], 1]], "window_size": WINDOW}
    ),
    "Llama4": Family(
        "padded", "equal_lengths",
        {"head_dim": 16, "attention_chunk_size": WINDOW, "num_local_experts": 2, "intermediate_size_mlp": 64},
    ),
    "Lfm2": _states({"layer_types": ["conv", "full_attention", "conv"], "block_multiple_of": 16}),
    "FalconH1": _states({**_MAMBA, "lm_head_multiplier": 0.5}),
    "Mamba2": _states(
        {"head_dim": 16, "num_heads": 4, "state_size": 8, "n_groups": 2, "chunk_size": 16, "num_hidden_layers": 2}
    ),
    "Mamba": Family("packed", "entering_whole", {"state_size": 8, "num_hidden_layers": 2}),
    "RecurrentGemma": Family(
        "packed", "no_cache", {"attention_window_size": WINDOW, "lru_width": 32, "head_dim": 16}
    ),
}  # fmt: skip
SLOW = ("FalconH1", "Mamba2", "Mamba", "RecurrentGemma")
"""Families whose passes take long without the kernels that they are made for."""


def made_of(family: str) -> TransformersModel:
    """A model of a family; each time the same."""
    transformers.logging.set_verbosity_error()
    described, spelt = FAMILIES[family], tokenizer("plain")
    name = described.name or family
    special = {
        "GPT2": ("GPT2Config", "GPT2LMHeadModel"),
        "Gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM"),
        "Llama4": ("Llama4TextConfig", "Llama4ForCausalLM"),
    }
    config_name, network_name = special.get(name, (f"{name}Config", f"{name}ForCausalLM"))
    settings = {**_SHARED, **described.settings}
    config = getattr(transformers, config_name)(
        vocab_size=len(spelt), eos_token_id=spelt.eos_token_id, **settings
    )
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        network = getattr(transformers, network_name)(config)
        for parameter in network.parameters():  # some begin with a narrower range of their own
            if parameter.ndim > 1 and float(parameter.detach().std()) < 0.15:
                torch.nn.init.normal_(parameter, std=0.2)
    return TransformersModel(network, spelt, model_id=family)
