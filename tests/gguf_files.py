"""Small GGUF files that the tests write themselves, each with the ordinary checkpoint that it must equal."""

import json
from pathlib import Path

import gguf
import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lap.models.small import make_tokenizer
from tests.checkpoints import CHATML, CHATML_SPECIAL, TEXTS

_LAYER = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}  # fmt: skip


def llama_tokenizer() -> PreTrainedTokenizerFast:
    made = make_tokenizer(TEXTS, 320)
    made.add_special_tokens({"additional_special_tokens": list(CHATML_SPECIAL[:2])})
    made.chat_template = CHATML
    return made


def llama(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Two layers of width 64, so that rows can be quantised in blocks of 32."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        rope_theta=10_000.0,
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
        eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
        bos_token_id=None,
        initializer_range=0.2,
    )
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval()


def write_gguf(
    file: Path,
    network: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    *,
    architecture: str = "llama",
    quantised: bool = False,
) -> None:
    """Write a network as llama.cpp's converter does; of quantised linear layers it gets the rounded weights, too."""
    config = network.config
    writer = gguf.GGUFWriter(str(file), architecture)
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    _write_tokenizer(writer, tokenizer)
    for name, weight in _tensors(network).items():
        if quantised and weight.ndim == 2:
            kind = gguf.GGMLQuantizationType.Q8_0
            blocks = gguf.quantize(weight, kind)
            _round(network, name, gguf.dequantize(blocks, kind))
            writer.add_tensor(name, blocks, raw_dtype=kind)
        else:
            writer.add_tensor(name, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_tokenizer(writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerFast) -> None:
    made = json.loads(tokenizer.backend_tokenizer.to_str())
    special = {token["id"] for token in made["added_tokens"]}
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if n in special else 1 for n in range(len(tokens))])
    writer.add_token_merges([" ".join(pair) for pair in made["model"]["merges"]])
    writer.add_eos_token_id(tokenizer.convert_tokens_to_ids("<|im_end|>"))
    writer.add_chat_template(tokenizer.chat_template)


def _tensors(network: LlamaForCausalLM) -> dict[str, np.ndarray]:
    config, weights = network.config, network.state_dict()
    named = {
        "token_embd.weight": weights["model.embed_tokens.weight"],
        "output_norm.weight": weights["model.norm.weight"],
        "output.weight": weights["lm_head.weight"],
    }
    for layer in range(config.num_hidden_layers):
        for short, long in _LAYER.items():
            weight = weights[f"model.layers.{layer}.{long}.weight"]
            if short in ("attn_q", "attn_k"):
                heads = (
                    config.num_attention_heads if short == "attn_q" else config.num_key_value_heads
                )
                weight = _interleaved(weight, heads)
            named[f"blk.{layer}.{short}.weight"] = weight
    return {name: weight.contiguous().numpy() for name, weight in named.items()}


def _interleaved(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """The rows in the order of llama.cpp's rotary embedding."""
    rows, columns = weight.shape
    return weight.view(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _halves(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """The inverse of ``_interleaved``."""
    rows, columns = weight.shape
    return weight.view(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


@torch.no_grad()
def _round(network: LlamaForCausalLM, name: str, values: np.ndarray) -> None:
    config, weight = network.config, torch.from_numpy(values)
    if name.startswith("blk."):
        _, layer, short, _ = name.split(".")
        heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
        weight = _halves(weight, heads[short]) if short in heads else weight
        name = f"model.layers.{layer}.{_LAYER[short]}.weight"
    else:
        name = {"token_embd.weight": "model.embed_tokens.weight"}.get(name, "lm_head.weight")
    network.get_parameter(name).copy_(weight)
