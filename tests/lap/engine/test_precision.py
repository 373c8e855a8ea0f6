"""Options that trade memory or precision for speed: what is sampled from is still what is learnt from."""

import pytest
import torch

from lap import Message, Prompt, Sampling, Segment, TransformersModel
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


def ratio_deviation(model, calls):
    scores = model.logprobs(calls, sampling=SAMPLING)
    recorded = [
        [*c.logprobs, *(0.0,) * (scores.mask_B_L.shape[1] - len(c.logprobs))] for c in calls
    ]
    return float((scores.logprobs_B_L.detach() - torch.tensor(recorded)).expm1().abs().max())


def gradient(model, calls):
    model.network.zero_grad()
    model.logprobs(calls, sampling=SAMPLING).logprobs_B_L.sum().backward()
    return torch.cat([p.grad.flatten().float() for p in model.network.parameters()])


def test_recomputed_activations_give_the_same_gradient_and_are_fewer():
    model = tiny_model(sharp=3.0)
    calls = sampled(model)
    kept, expected = held(model, calls), gradient(model, calls)
    frugal = tiny_model(sharp=3.0).with_recomputation()
    assert sampled(frugal) == calls  # the cache still works
    torch.testing.assert_close(gradient(frugal, calls), expected)
    assert held(frugal, calls) < kept / 2


def held(model, calls):
    """Numbers that are kept for the way back."""
    kept = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        scores = model.logprobs(calls, sampling=SAMPLING)
    assert scores.logprobs_B_L.requires_grad
    return sum(kept.values())


def test_weights_in_float32_that_compute_in_bfloat16():
    model = tiny_model(sharp=3.0)
    model.autocast = torch.bfloat16
    calls = sampled(model)
    assert {p.dtype for p in model.network.parameters()} == {torch.float32}
    assert ratio_deviation(model, calls) < 0.1
    exact = tiny_model(sharp=3.0)
    assert ratio_deviation(exact, calls) > 1e-4  # the law is another one, if not by much
    a, b = gradient(model, calls), gradient(exact, calls)
    assert float(torch.nn.functional.cosine_similarity(a, b, dim=0)) > 0.98


def test_weights_in_bfloat16(tmp_path):
    tiny_model(sharp=3.0).save_pretrained(tmp_path)
    model = TransformersModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {p.dtype for p in model.network.parameters()} == {torch.bfloat16}
    calls = sampled(model)
    assert ratio_deviation(model, calls) < 0.1
    adapted = model.with_lora()
    assert {p.dtype for p in adapted.network.parameters() if p.requires_grad} == {torch.float32}
    assert ratio_deviation(adapted, calls) < 0.1


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_compiled_layers_learn_by_the_same_law_and_gradient():
    model = tiny_model(sharp=3.0)
    calls = sampled(model)
    expected = gradient(model, calls)
    compiled = tiny_model(sharp=3.0).compiled()
    compiled.layout = model.layout
    difference = gradient(compiled, calls) - expected
    assert float(difference.norm() / expected.norm()) < 1e-4
