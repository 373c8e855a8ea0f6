"""Options that trade memory or precision for speed: what is sampled from is still what is learnt from."""

import pytest
import torch

from lap import Message, Prompt, Sampling, Segment, TransformersModel
from lap.engine.hidden_states import agrees
from lap.engine.prefix_tree import ReplyTree
from tests.checkpoints import tiny_model
from tsmg import Stream

PROMPTS = [
    Prompt((Message("user", (Segment(text, trusted=False),)),))
    for text in ("P F\nF G", "F P F\nF F G", "x")
]
SAMPLING = Sampling(max_reply_tokens=5)


def sampled(model):
    return model.sample(
        PROMPTS * 4, [Stream(0, "precision", i) for i in range(12)], sampling=SAMPLING
    )


def ratio_deviation(model, completions):
    scores = model.logprobs(completions, sampling=SAMPLING)
    recorded = [
        [*c.logprobs, *(0.0,) * (scores.mask_B_L.shape[1] - len(c.logprobs))] for c in completions
    ]
    return float((scores.logprobs_B_L.detach() - torch.tensor(recorded)).expm1().abs().max())


def gradient(model, completions):
    model.network.zero_grad()
    model.logprobs(completions, sampling=SAMPLING).logprobs_B_L.sum().backward()
    return torch.cat([p.grad.flatten().float() for p in model.network.parameters()])


def test_recomputed_activations_give_the_same_gradient_and_are_fewer():
    model = tiny_model(sharp=3.0)
    completions = sampled(model)
    kept, expected = held(model, completions), gradient(model, completions)
    frugal = tiny_model(sharp=3.0).with_recomputation()
    assert sampled(frugal) == completions  # the cache still works
    torch.testing.assert_close(gradient(frugal, completions), expected)
    assert held(frugal, completions) < kept / 2


def held(model, completions):
    """Numbers that are kept for the way back."""
    kept = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        scores = model.logprobs(completions, sampling=SAMPLING)
    assert scores.logprobs_B_L.requires_grad
    return sum(kept.values())


def test_weights_in_float32_that_compute_in_bfloat16():
    model = tiny_model(sharp=3.0)
    model.autocast = torch.bfloat16
    completions = sampled(model)
    assert {p.dtype for p in model.network.parameters()} == {torch.float32}
    assert ratio_deviation(model, completions) < 0.1
    exact = tiny_model(sharp=3.0)
    assert (
        ratio_deviation(exact, completions) > 1e-4
    )  # the distribution is another one, if not by much
    a, b = gradient(model, completions), gradient(exact, completions)
    assert float(torch.nn.functional.cosine_similarity(a, b, dim=0)) > 0.98


def test_the_head_keeps_the_precision_of_its_weights():
    """In bfloat16 a logit of 16 has steps of 1/8, and two passes whose states hardly differ do not agree."""
    model = tiny_model(sharp=3.0)
    model.autocast = torch.bfloat16
    completions = sampled(model)
    logits, _ = model.context_logits(
        [ReplyTree.of(c.prompt_ids, [c.reply_ids]) for c in completions]
    )
    rounded = logits.bfloat16().float()
    assert float((logits != rounded).float().mean()) > 0.9


def test_weights_in_bfloat16(tmp_path):
    tiny_model(sharp=3.0).save_pretrained(tmp_path)
    model = TransformersModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {p.dtype for p in model.network.parameters()} == {torch.bfloat16}
    completions = sampled(model)
    assert ratio_deviation(model, completions) < 0.1
    adapted = model.with_lora()
    assert {p.dtype for p in adapted.network.parameters() if p.requires_grad} == {torch.float32}
    assert ratio_deviation(adapted, completions) < 0.1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_compiled_layers_learn_by_the_same_law_and_gradient():
    model = tiny_model(sharp=3.0)
    completions = sampled(model)
    expected = gradient(model, completions)
    compiled = tiny_model(sharp=3.0).compiled()
    compiled.layout = model.layout
    difference = gradient(compiled, completions) - expected
    assert float(difference.norm() / expected.norm()) < 1e-4


@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float32, 1e-3), (torch.bfloat16, 0.0625)])
def test_logits_agree_to_within_the_rounding_of_the_networks_type(dtype, allowed):
    """Relative to the greatest of them, and to 1 where all are smaller."""
    network = tiny_model().network.to(dtype)
    for greatest in (100.0, 1.0, 0.01):
        expected = torch.tensor([[greatest, -greatest / 2, 0.0]])
        error = allowed * max(greatest, 1.0)
        assert agrees(network, lambda: expected + 0.9 * error, expected)  # noqa: B023
        assert not agrees(network, lambda: expected + 1.1 * error, expected)  # noqa: B023
