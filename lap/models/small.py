"""Small networks with random weights, and tokenizers for them: ordinary checkpoints that are created in a moment."""

from collections.abc import Iterable

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

END = "<|endoftext|>"
# Tags, words and blanks are whole; capitals and digits stand alone, so that a grid's cells stay apart.
_SPLIT = r"</?\w+>| ?[A-Z]?[a-z]+| ?[A-Z]| ?[0-9]|\s| ?[^\sA-Za-z0-9]"


def make_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on texts; it can encode any string.

    Args:
      texts: what it is trained on.
      vocabulary: the greatest number of tokens, the 256 bytes and the end token included.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, clean_up_tokenization_spaces=False
    )


def small_network(
    tokenizer: PreTrainedTokenizerFast,
    *,
    width: int,
    layers: int,
    heads: int,
    inner: int,
    context: int,
    seed: int = 0,
) -> Qwen2ForCausalLM:
    """A network of Qwen2's architecture with random weights; the random state of torch is left as it was.

    Args:
      tokenizer: its vocabulary and its end token are the network's.
      width: of the hidden states; ``heads`` must divide it.
      layers: number of decoder layers.
      heads: attention heads of a layer.
      inner: width of the layers' feed-forward parts.
      context: longest prompt and reply together, in tokens.
      seed: of the weights.
    """
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=context,
        initializer_range=width**-0.5,  # 0.02 is for wide networks: this one would start blind
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return Qwen2ForCausalLM(config)
