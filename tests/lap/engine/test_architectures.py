"""Networks of other families: the distribution that is sampled from is learnt, by the shortest way each can go."""

import pytest
import torch
import transformers

from lap import Message, ModelError, Prompt, Sampling, Segment, TransformersModel
from lap.engine import cache
from lap.engine.hidden_states import any_prompt
from lap.testing import check_model
from lap.testing.playing import MIXED_PROMPTS
from tests.checkpoints import tokenizer
from tests.families import FAMILIES, SLOW, made_of
from tsmg import Stream

PROMPTS = [
    Prompt((Message("user", (Segment(text, trusted=False),)),))
    for text in ("P F\nF G", "F P F\nF F G\nF F F\nF H F", "P F\nF G", "F F\nP G", "x")
]
ALL = [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in FAMILIES]
FEW = ["Llama", "Qwen3", "Granite", "Qwen3Moe", "Mistral", "Gemma2", "GPT2", "Lfm2"]
PLAYING = ["recorded_logprobs", "mixed_prompts"]
OF_NETWORKS = [*PLAYING, "batch_independence", "scoring_independence", "logit_cache", "gradients"]


def sampled(model, sampling, prompts=PROMPTS * 3):
    rngs = [Stream(0, "family", i) for i in range(len(prompts))]
    return model.sample(prompts, rngs, sampling=sampling)


def plain_logprobs(model, completion):
    """Of a reply's tokens, by one pass of its row alone: no cache, no padding, no mask."""
    ids = [*completion.prompt_ids, *completion.reply_ids]
    with torch.no_grad():
        logits = model.network(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    rows = logits[len(completion.prompt_ids) - 1 : -1].log_softmax(-1)
    return rows.gather(1, torch.tensor(completion.reply_ids)[:, None])[:, 0]


@pytest.mark.parametrize("family", ALL)
def test_tokens_are_drawn_and_learnt_by_the_law_of_each_row_alone(family):
    """Prompts of different lengths, common beginnings, two turns of history, more tokens than a window holds."""
    model = made_of(family)
    completions = sampled(model, Sampling(max_reply_tokens=6), MIXED_PROMPTS)
    assert (model.layout, model.cache_use) == (FAMILIES[family].layout, FAMILIES[family].cache_use)
    with torch.no_grad():
        learnt = model.logprobs(completions, sampling=Sampling()).logprobs_B_L
    for completion, row in zip(completions, learnt, strict=True):
        plain = plain_logprobs(model, completion)
        recorded = torch.tensor(completion.logprobs)
        torch.testing.assert_close(recorded, plain, rtol=0, atol=1e-5)
        torch.testing.assert_close(row[: len(plain)], plain, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_passes_the_kit(family):
    checks = PLAYING if family in SLOW else OF_NETWORKS
    samplings = [Sampling(max_reply_tokens=6), Sampling(max_reply_tokens=4, top_p=0.7)]
    check_model(lambda: made_of(family), samplings=samplings, checks=checks).raise_if_broken()


def test_padding_in_mid_row_is_noticed_where_there_are_windows():
    """Negative control: a cache that is used as one without windows draws by another law."""
    model = made_of("Gemma2")
    model.cache_use = "padding_anywhere"
    assert check_model(lambda: model, checks=["mixed_prompts"]).failed == ("mixed_prompts",)


@pytest.mark.parametrize("use", ["equal_lengths", "entering_whole", "no_cache"])
@pytest.mark.parametrize("family", ["Llama", "Gemma2"])
def test_the_ways_of_recurrent_networks_are_right_for_others_too(family, use):
    def make():
        model = made_of(family)
        model.cache_use = use
        return model

    check_model(make, samplings=[Sampling(max_reply_tokens=6)], checks=PLAYING).raise_if_broken()


def test_a_state_that_is_off_by_little_is_not_trusted(monkeypatch):
    """Zamba 2 clamps steps of single tokens otherwise than those of a whole row, which shows in the fourth digit."""
    model = made_of("Lfm2")
    forward = cache.KeyValueCache._forward
    monkeypatch.setattr(
        cache.KeyValueCache, "_forward",
        lambda *given: forward(*given) * (1 + 1e-4 * (given[1].shape[1] == 1)),
    )  # fmt: skip
    assert model.resolved_cache_use() == "no_cache"


def test_networks_are_tried_with_ordinary_tokens_and_not_with_control_tokens():
    """With the lowest ids, SmolLM2's logits in bfloat16 were off by 10 of 36, and its cache was not trusted."""
    model = made_of("Llama")
    rows = len(model.network.get_input_embeddings().weight)
    prompt = any_prompt(model.network)
    assert min(prompt) >= rows // 40 and max(prompt) < rows
    assert len(set(prompt)) == len(prompt) == 20


def test_a_network_that_sees_what_comes_after_is_refused_before_a_run():
    made = tokenizer("plain")
    config = transformers.BertConfig(
        vocab_size=len(made), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, is_decoder=False, initializer_range=0.5,
    )  # fmt: skip
    model = TransformersModel(transformers.BertLMHeadModel(config), made)
    with pytest.raises(ModelError, match="BertLMHeadModel is not a causal language model"):
        model.check_prompts(PROMPTS[:1], sampling=Sampling(max_reply_tokens=4))


def test_a_network_that_cannot_be_run_is_refused_before_a_run(monkeypatch):
    model = made_of("Llama")

    def fails(*args, **kwargs):
        raise RuntimeError("no kernel for this device")

    monkeypatch.setattr(model.network.model, "forward", fails)
    with pytest.raises(ModelError, match="LlamaForCausalLM cannot be run: no kernel"):
        model.check_prompts(PROMPTS[:1], sampling=Sampling(max_reply_tokens=4))


@pytest.mark.parametrize("family", FEW)
def test_the_padded_layout_gives_the_same_gradient(family):
    gradients = []
    for layout in (None, "padded"):
        network = made_of(family)
        completions = sampled(network, Sampling(max_reply_tokens=12))
        network.layout = layout or network.resolved_layout()
        network.logprobs(completions, sampling=Sampling()).logprobs_B_L.sum().backward()
        grads = [p.grad.flatten() for p in network.network.parameters() if p.grad is not None]
        gradients.append(torch.cat(grads))
    assert float((gradients[0] - gradients[1]).norm() / gradients[1].norm()) < 1e-5


@pytest.mark.parametrize("family", FEW)
def test_all_completions_can_pass_through_the_layers_at_once(family):
    """As processes do that divide the layers: however long the completions are, one pass."""
    network = made_of(family)
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


@pytest.mark.parametrize("family", FEW)
def test_a_small_cache_and_a_logit_cache_change_nothing(family):
    network = made_of(family)
    completions = sampled(network, Sampling(max_reply_tokens=12))
    network.token_budget = 40
    again = sampled(network.with_logit_cache(), Sampling(max_reply_tokens=12))
    assert [c.reply_ids for c in again] == [c.reply_ids for c in completions]
