"""All trees of a batch as one row: every token once, attention to ancestors alone, the numbers of each tree alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lap import LoraSettings, Message, Prompt, Sampling, Segment
from lap.engine.hidden_states import context_logits
from lap.engine.prefix_tree import ReplyTree, contexts_of
from lap.engine.token_trie import TokenTrie
from tests.checkpoints import tiny_model
from tests.families import made_of
from tsmg import Stream

IDS = st.lists(st.integers(0, 3), min_size=1, max_size=12).map(tuple)
TREES = st.lists(
    st.builds(ReplyTree.of, IDS, st.lists(IDS, min_size=1, max_size=6)), min_size=1, max_size=12
)
IN_TRIES = ["Llama", "Qwen2", "Qwen3", "Granite", "GPTNeoX", "GPT2"]
RULES = "F P H G " * 12
PROMPTS = [
    Prompt((Message("user", (Segment(rules + board, trusted=False),)),))
    for rules in (RULES, "G H " + RULES)
    for board in ("P F\nF G", "P F\nF H", "F F F\nP H G", "F")
]


def sequences_of(trees):
    return {(*prompt, *prefix) for prompt, prefix in contexts_of(trees)}


@given(trees=TREES, block=st.integers(1, 30))
def test_every_token_that_differs_in_its_past_stands_once(trees, block):
    trie = TokenTrie.of(trees, block=block)
    distinct = {s[:n] for s in sequences_of(trees) for n in range(1, len(s) + 1)}
    assert len(trie.tokens) == len(trie.positions) == len(distinct)


@given(trees=TREES, block=st.integers(1, 30))
def test_a_token_attends_to_its_own_past_and_to_nothing_else(trees, block):
    """What the mask lets a context see, in the order of positions, is the context itself."""
    trie = TokenTrie.of(trees, block=block)
    size = trie.mask.shape[1]
    for place, (prompt, prefix) in zip(trie.places, contexts_of(trees), strict=True):
        seen = trie.keys[place // size][trie.mask[place // size, place % size]]
        in_order = seen[np.argsort(trie.positions[seen])]
        assert tuple(trie.tokens[in_order]) == (*prompt, *prefix)
        assert trie.positions[in_order].tolist() == list(range(len(in_order)))


@given(trees=TREES, block=st.integers(1, 30))
def test_no_row_of_the_mask_is_empty(trees, block):
    assert TokenTrie.of(trees, block=block).mask.any(-1).all()


def test_the_keys_of_long_sequences_stay_few():
    """Blocks grow with what they must attend to: 3 keys a token, not one for each token before."""
    beginning = tuple(range(3000))
    trees = [ReplyTree.of((*beginning, n), [(n, 1), (n, 2)]) for n in range(200)]
    assert TokenTrie.of(trees).keys.size < 4 * len(TokenTrie.of(trees).tokens)


@given(trees=TREES, block=st.integers(1, 30))
def test_a_trie_gives_the_logits_of_each_tree_alone(trees, block):
    model = tiny_model(sharp=3.0)
    alone = torch.cat([context_logits(model.network, [tree], "padded") for tree in trees])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TokenTrie.of.__func__, "__kwdefaults__", {"block": block})
        together = context_logits(model.network, trees, "tree_attention")
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)


def learnt(model, completions, layout):
    """Log-probabilities, entropies and the gradient of both."""
    model.layout = layout
    model.network.zero_grad()
    scores = model.logprobs(completions, sampling=Sampling())
    weighed = scores.logprobs_B_L * torch.linspace(-1, 1, len(completions))[:, None]
    (weighed + 0.1 * scores.entropies_B_L).sum().backward()
    grads = [p.grad.flatten() for p in model.network.parameters() if p.grad is not None]
    return scores.logprobs_B_L.detach(), scores.entropies_B_L.detach(), torch.cat(grads)


def passes(model):
    """The shapes of what goes through a part of the first layer from now on."""
    shapes = []
    layers = next(m for m in model.network.modules() if isinstance(m, torch.nn.ModuleList))
    layers[0].mlp.register_forward_pre_hook(lambda module, args: shapes.append(args[0].shape))
    return shapes


VARIANTS = {
    "whole": lambda model: model,
    "lora": lambda model: model.with_lora(LoraSettings(r=4)),
    "recomputed": lambda model: model.with_recomputation(),
    "lora recomputed": lambda model: model.with_lora(LoraSettings(r=4)).with_recomputation(),
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("family", IN_TRIES)
def test_the_numbers_and_gradients_are_those_of_padded_rows(family, variant):
    if "lora" in variant:
        pytest.importorskip("peft")
        if family == "GPT2":
            pytest.skip("its layers are no linear layers")
    model = VARIANTS[variant](made_of(family))
    rngs = [Stream(0, "trie", i) for i in range(3 * len(PROMPTS))]
    completions = model.sample(PROMPTS * 3, rngs, sampling=Sampling(max_reply_tokens=5))
    if "lora" in variant:  # fresh adapters change nothing, whatever the gradient of half of them
        with torch.no_grad():
            for name, weights in model.network.named_parameters():
                if ".lora_B" in name:
                    weights.normal_(std=0.2)
    shapes = passes(model)
    found = learnt(model, completions, "tree_attention")
    assert len(shapes) == (2 if "recomputed" in variant else 1)
    assert shapes[0][0] == 1
    assert shapes[0][1] < 0.5 * sum(len(prompt) for prompt in {c.prompt_ids for c in completions})
    expected = learnt(model, completions, "padded")
    for mine, theirs in zip(found[:2], expected[:2], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=2e-5)
    assert float((found[2] - expected[2]).norm() / expected[2].norm()) < 1e-5
