"""Log-probabilities and entropies of a large vocabulary by few copies of its logits: values and gradients."""

import math

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lap import Message, Prompt, Segment
from lap.agreement import largest_disagreement, mean_disagreement
from lap.engine.sampling import Sampling, entropy
from lap.engine.scoring import _scores_of, _Target
from tests.checkpoints import tiny_model
from tsmg import Stream


def scored(logits, targets):
    return _scores_of(logits, targets, Sampling(temperature=0.7))


@given(
    seed=st.integers(0, 1000),
    targets=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 8)), min_size=1, max_size=9),
    weight=st.sampled_from([0.0, 0.3]),
)
def test_scores_and_gradients_are_those_of_the_plain_formula(seed, targets, weight):
    """Some tokens are impossible by the network itself; several targets share a context."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(4, 10, generator=generator, dtype=torch.float64)
    logits[:, 9] = -torch.inf
    factors = torch.randn(len(targets), generator=generator, dtype=torch.float64)
    found = []
    for plain in (False, True):
        given_logits = logits.clone().requires_grad_()
        rows, tokens = (torch.tensor(part) for part in zip(*targets, strict=True))
        if plain:
            dist = torch.log_softmax(given_logits / 0.7, dim=-1)
            logprobs, entropies = dist[rows, tokens], entropy(dist)[rows]
        else:
            wanted = [_Target(row, token, None) for row, token in targets]
            logprobs, entropies = scored(given_logits, wanted)
        (factors * (logprobs + weight * entropies)).sum().backward()
        found.append((logprobs.detach(), entropies.detach(), given_logits.grad))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_targets_with_a_support_and_without_one_stand_side_by_side():
    """Each under its own distribution: of the kept tokens, or of the whole vocabulary."""
    logits = torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]], dtype=torch.float64).log()
    targets = [
        _Target(0, 1, None),
        _Target(0, 1, (0, 1)),
        _Target(0, 2, (2,)),
        _Target(1, 0, None),
        _Target(1, 0, (0, 2)),
    ]
    logprobs, entropies = _scores_of(0.5 * logits, targets, Sampling(temperature=0.5))
    dists = [(0.1, 0.2, 0.7), (1 / 3, 2 / 3), (1.0,), (0.5, 0.25, 0.25), (2 / 3, 1 / 3)]
    assert logprobs.exp().tolist() == pytest.approx([0.2, 2 / 3, 1.0, 0.5, 2 / 3])
    assert entropies.tolist() == pytest.approx([-sum(p * math.log(p) for p in d) for d in dists])


def test_the_gradient_is_that_of_finite_differences():
    logits = torch.randn(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    targets = [_Target(0, 1, None), _Target(0, 4, None), _Target(2, 1, None)]
    logits.requires_grad_()
    torch.autograd.gradcheck(lambda given: scored(given, targets), [logits])


def test_a_certain_token_has_entropy_0():
    logits = torch.tensor([[0.0, -torch.inf, -1e6]], requires_grad=True)
    logprobs, entropies = scored(logits, [_Target(0, 0, None)])
    (logprobs + entropies).sum().backward()
    assert logprobs.item() == pytest.approx(0) and entropies.item() == pytest.approx(0)
    assert logits.grad.tolist() == [[0.0, 0.0, 0.0]]


def recorded(model, count=12):
    """Replies of six tokens to three prompts, all of them sampled."""
    texts = [f"P F {n % 3}\nF G" for n in range(count)]
    prompts = [Prompt((Message("user", (Segment(text, trusted=False),)),)) for text in texts]
    rngs = [Stream("scoring", n) for n in range(count)]
    return model.sample(prompts, rngs, sampling=Sampling(max_reply_tokens=6))


@pytest.mark.parametrize("layout", ["tree_attention", "packed", "padded"])
def test_tokens_that_were_not_chosen_cost_nothing_and_change_nothing(layout):
    """Values and gradient of the chosen tokens are those of the whole reply; what follows the last is not computed."""
    model = tiny_model(sharp=3.0)
    whole = recorded(model)
    model.layout = layout
    masks = [
        (False, True, False, True, False, False),
        (True, True, False, False, False, False),
        (False,) * 6,
    ]
    part = [attrs.evolve(one, trainable=masks[n // 4]) for n, one in enumerate(whole)]
    passed = []
    layer = model.network.model.layers[0].mlp
    layer.register_forward_pre_hook(lambda module, args: passed.append(args[0][..., 0].numel()))

    def learnt(completions, chosen_B_L):
        model.network.zero_grad()
        scores = model.logprobs(completions, sampling=Sampling())
        kept = [t[chosen_B_L] for t in (scores.logprobs_B_L, scores.entropies_B_L)]
        sum((t * torch.arange(1.0, 1 + len(t))).sum() for t in kept).backward()
        grads = torch.cat([p.grad.flatten() for p in model.network.parameters()])
        return scores, [t.detach() for t in kept], grads

    mask = torch.tensor([one.trainable for one in part])
    _, values, gradient = learnt(whole, mask)
    scores, found, of_part = learnt(part, mask)
    assert torch.equal(scores.mask_B_L, mask)
    assert not scores.logprobs_B_L[~mask].any() and not scores.entropies_B_L[~mask].any()
    for mine, theirs in zip(found, values, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5)
    assert float((of_part - gradient).norm() / gradient.norm()) < 1e-5
    computed = len(passed) // 2
    assert sum(passed[computed:]) < sum(passed[:computed])


def test_a_batch_in_which_nothing_was_chosen_is_scored_all_the_same():
    model = tiny_model(sharp=3.0)
    given_all = [attrs.evolve(one, trainable=(False,) * 6) for one in recorded(model, 2)]
    scores = model.logprobs(given_all, sampling=Sampling())
    assert scores.logprobs_B_L.tolist() == scores.entropies_B_L.tolist() == [[0.0] * 6] * 2
    assert not scores.mask_B_L.any()


@pytest.mark.parametrize("layout", ["tree_attention", "packed", "padded"])
def test_a_reply_without_tokens_is_a_row_of_zeros(layout):
    """Others are scored as without it; a batch of such replies alone has no columns."""
    model = tiny_model(sharp=3.0)
    model.layout = layout
    whole = recorded(model, 3)
    empty = attrs.evolve(whole[1], reply_ids=(), reply_text="", logprobs=(), trainable=())
    scores = model.logprobs([whole[0], empty, whole[2]], sampling=Sampling())
    alone = model.logprobs([whole[0], whole[2]], sampling=Sampling())
    torch.testing.assert_close(scores.logprobs_B_L[[0, 2]], alone.logprobs_B_L, rtol=0, atol=1e-5)
    assert scores.logprobs_B_L[1].tolist() == scores.entropies_B_L[1].tolist() == [0.0] * 6
    assert not scores.mask_B_L[1].any() and scores.mask_B_L[[0, 2]].all()
    none = model.logprobs([empty, empty], sampling=Sampling())
    assert none.logprobs_B_L.shape == none.mask_B_L.shape == (2, 0)
    none.logprobs_B_L.sum().backward()  # as every process of several must
    assert largest_disagreement([empty, empty], none) is None
    assert mean_disagreement([empty, empty], none) == 0.0
