"""Networks of other families: the distribution that is sampled from is learnt, by the shortest way each can go."""

import pytest
import torch
import transformers

from lap import Message, Prompt, Sampling, Segment, TransformersModel
from lap.engine.hidden_states import find_layout
from tests.checkpoints import tokenizer
from tsmg import Stream

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
}
FAMILIES = {
    "Llama": (SMALL, "tree_attention"),
    "Qwen3": ({**SMALL, "head_dim": 16}, "tree_attention"),
    "Granite": ({**SMALL, "logits_scaling": 3.0, "embedding_multiplier": 2.0}, "tree_attention"),
    "Mistral": ({**SMALL, "sliding_window": 8}, "packed"),
    "Gemma2": (
        {**SMALL, "head_dim": 16, "sliding_window": 8, "final_logit_softcapping": 5.0},
        "packed",
    ),
    "GPT2": (
        {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 256, "initializer_range": 0.2},
        "tree_attention",
    ),
}
PROMPTS = [
    Prompt((Message("user", (Segment(text, trusted=False),)),))
    for text in ("P F\nF G", "F P F\nF F G\nF F F\nF H F", "P F\nF G", "F F\nP G", "x")
]


def model(family):
    settings, _ = FAMILIES[family]
    made = tokenizer("plain")
    config = getattr(transformers, f"{family}Config")(
        vocab_size=len(made), eos_token_id=made.eos_token_id, bos_token_id=None, pad_token_id=None,
        **settings,
    )  # fmt: skip
    name = f"{family}LMHeadModel" if family == "GPT2" else f"{family}ForCausalLM"
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        network = getattr(transformers, name)(config)
    return TransformersModel(network, made, model_id=family)


def sampled(model, sampling):
    rngs = [Stream(0, "family", i) for i in range(15)]
    return model.sample(PROMPTS * 3, rngs, sampling=sampling)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "sampling", [Sampling(max_reply_tokens=12), Sampling(max_reply_tokens=5, top_p=0.7)], ids=str
)
def test_sampled_and_learnt_law_agree(family, sampling):
    network = model(family)
    completions = sampled(network, sampling)
    scores = network.logprobs(completions, sampling=sampling)
    width = scores.mask_B_L.shape[1]
    recorded = torch.tensor(
        [[*c.logprobs, *(0.0,) * (width - len(c.logprobs))] for c in completions]
    )
    torch.testing.assert_close(scores.logprobs_B_L.detach(), recorded, rtol=0, atol=1e-5)
    assert network.layout == FAMILIES[family][1]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_padded_layout_gives_the_same_gradient(family):
    gradients = []
    for layout in (None, "padded"):
        network = model(family)
        completions = sampled(network, Sampling(max_reply_tokens=12))
        network.layout = layout or find_layout(network.network, completions[0].prompt_ids)
        network.logprobs(completions, sampling=Sampling()).logprobs_B_L.sum().backward()
        grads = [p.grad.flatten() for p in network.network.parameters() if p.grad is not None]
        gradients.append(torch.cat(grads))
    assert float((gradients[0] - gradients[1]).norm() / gradients[1].norm()) < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_all_completions_can_pass_through_the_layers_at_once(family):
    """As processes do that divide the layers: however long the completions are, one pass."""
    network = model(family)
    completions = sampled(network, Sampling(max_reply_tokens=12))
    completions += network.sample(PROMPTS[:1], [Stream(1)], sampling=Sampling(max_reply_tokens=40))
    many = network.logprobs(completions, sampling=Sampling())
    inner = next(m for m in network.network.modules() if isinstance(m, torch.nn.ModuleList))[0]
    passes = []
    inner.register_forward_hook(lambda *_: passes.append(1))
    network.one_pass = True
    once = network.logprobs(completions, sampling=Sampling())
    assert len(passes) == 1
    network.one_pass = False
    network.logprobs(completions, sampling=Sampling())
    assert (len(passes) == 2) == (network.layout == "tree_attention")  # a trie is one row
    torch.testing.assert_close(once.logprobs_B_L, many.logprobs_B_L, rtol=0, atol=2e-5)
    torch.testing.assert_close(once.entropies_B_L, many.entropies_B_L, rtol=0, atol=2e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_small_cache_and_a_logit_cache_change_nothing(family):
    network = model(family)
    completions = sampled(network, Sampling(max_reply_tokens=12))
    network.token_budget = 40
    again = sampled(network.with_logit_cache(), Sampling(max_reply_tokens=12))
    assert [c.reply_ids for c in again] == [c.reply_ids for c in completions]
