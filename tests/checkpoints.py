"""Small random checkpoints that the tests make themselves."""

import functools

import torch
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from lap import TransformersModel
from lap.models.small import make_tokenizer

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA = (
    "{{ '<|begin_of_text|>' }}{% for message in messages %}"
    "<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
    "{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
CHATML_SPECIAL = ("<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>")
LLAMA_SPECIAL = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
TEXTS = (
    "P F F F\nF H F H\nF F F H\nH F F G\n",
    *(f"<action>{move}</action>" for move in ("left", "down", "right", "up")),
    "Reply with your action between tags, like this",
)


@functools.cache
def tokenizer(style: str = "plain") -> PreTrainedTokenizerFast:
    """A byte-level tokenizer: plain, or with a ChatML or Llama-3 style template."""
    made = make_tokenizer(TEXTS, 320)
    if style == "chatml":
        # as in Qwen: turn markers are special, tool markers are added but not special
        made.add_special_tokens({"additional_special_tokens": list(CHATML_SPECIAL[:2])})
        made.add_tokens(list(CHATML_SPECIAL[2:]))
        made.chat_template = CHATML
    if style == "llama":
        made.add_special_tokens({"additional_special_tokens": list(LLAMA_SPECIAL)})
        made.chat_template = LLAMA
    return made


def tiny_model(style: str = "plain", *, seed: int = 0, sharp: float = 1.0) -> TransformersModel:
    """A random two-layer network of width 32; ``sharp`` scales its weights, for peaked distributions."""
    made = tokenizer(style)
    config = Qwen2Config(
        vocab_size=len(made),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        eos_token_id=made.eos_token_id,
        bos_token_id=None,
        initializer_range=0.1 * sharp,
    )
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        network = Qwen2ForCausalLM(config)
    return TransformersModel(network, made, model_id=f"tiny-{style}")
