"""The distribution that is sampled from: temperature, truncation, inversion."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lap import Sampling
from lap.engine.sampling import entropy, kept_support, pick_tokens, token_logprobs
from tsmg import InvalidArgumentError

LOGITS = st.lists(st.integers(-50, 50).map(lambda n: n / 10), min_size=3, max_size=8).map(
    lambda x: torch.tensor([x])
)


@given(logits=LOGITS, temperature=st.floats(0.1, 3))
def test_the_law_is_the_softmax_of_scaled_logits(logits, temperature):
    dist = token_logprobs(logits, Sampling(temperature=temperature)).exp()
    weights = [math.exp(x / temperature) for x in logits[0].tolist()]
    torch.testing.assert_close(
        dist[0], torch.tensor([w / sum(weights) for w in weights]), rtol=1e-4, atol=1e-6
    )


@given(logits=LOGITS, uniform=st.floats(0, 1, exclude_max=True))
def test_inversion_picks_the_interval_that_the_draw_falls_in(logits, uniform):
    dist = token_logprobs(logits, Sampling())
    probabilities = dist.double().exp()[0]
    token = int(pick_tokens(dist, [uniform]))
    below = float(probabilities[:token].sum())
    scaled = uniform * float(probabilities.sum())
    assert below - 1e-12 <= scaled <= below + float(probabilities[token]) + 1e-12


@pytest.mark.parametrize("token", [1, 17, 500, 999])
def test_inversion_tells_tokens_apart_that_float32_cannot(token):
    """After a token of weight 1, a thousand of weight 2e-9 each: sums in float32 go up once in sixty of them."""
    dist = torch.tensor([[0.0, *[-20.0] * 1000]])
    weight = math.exp(-20)
    assert int(pick_tokens(dist, [(1 + (token - 0.5) * weight) / (1 + 1000 * weight)])) == token


def test_many_draws_are_picked_some_at_a_time(monkeypatch):
    """Each from its own distribution, by its own number."""
    dists = torch.randn(3, 8, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    uniforms, rows = [n / 11 for n in range(11)], [n % 3 for n in range(11)]
    expected = [int(pick_tokens(dists[[row]], [u])) for u, row in zip(uniforms, rows, strict=True)]
    for at_once in (1, 4, 100):
        monkeypatch.setattr("lap.engine.sampling._PICKED_AT_ONCE", at_once * 8)
        assert pick_tokens(dists, uniforms, rows).tolist() == expected
    assert len(set(expected)) > 3


def test_extreme_draws_stay_inside_the_support():
    dist = token_logprobs(torch.tensor([[0.0, -50.0, 1.0, 0.5]]), Sampling(top_k=2))
    assert int(pick_tokens(dist, [0.0])) == 2
    assert int(pick_tokens(dist, [1 - 2**-53])) == 3


@given(logits=LOGITS, k=st.integers(1, 5), p=st.floats(0.05, 1), m=st.floats(0, 0.9))
def test_truncation_keeps_the_most_probable_and_obeys_each_rule(logits, k, p, m):
    sampling = Sampling(top_k=k, top_p=p, min_p=m)
    kept = kept_support(logits, sampling)[0]
    dist = torch.softmax(logits, -1)[0]
    assert kept[int(dist.argmax())]
    assert int(kept.sum()) <= k
    assert float(dist[kept].min()) >= float(dist[~kept].max()) if (~kept).any() else True


def test_top_p_by_hand():
    logits = torch.tensor([[0.5, 0.3, 0.2]]).log()
    assert kept_support(logits, Sampling(top_p=0.5))[0].tolist() == [True, False, False]
    assert kept_support(logits, Sampling(top_p=0.6))[0].tolist() == [True, True, False]
    assert kept_support(logits, Sampling(min_p=0.5))[0].tolist() == [True, True, False]


def test_each_rule_looks_at_what_the_one_before_it_left():
    """Of 0.5, 0.3 and 0.2 the first two are 5/8 and 3/8 among themselves, so that 5/8 alone is a nucleus of 0.6."""
    logits = torch.tensor([[0.2, 0.5, 0.3]]).log()
    assert kept_support(logits, Sampling(top_k=2, top_p=0.6))[0].tolist() == [False, True, False]
    assert kept_support(logits, Sampling(top_k=2, top_p=0.63))[0].tolist() == [False, True, True]
    assert kept_support(logits, Sampling(top_k=2, min_p=0.5))[0].tolist() == [False, True, True]


def test_greedy_is_a_point_mass_and_entropy_is_right():
    dist = token_logprobs(torch.tensor([[0.0, 2.0, 1.0]]), Sampling(temperature=0))
    assert dist.exp().tolist() == [[0, 1, 0]]
    assert entropy(dist).tolist() == [0]
    uniform = token_logprobs(torch.zeros(1, 4), Sampling())
    assert float(entropy(uniform)) == pytest.approx(math.log(4))


@pytest.mark.parametrize(
    "arguments",
    [
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"max_reply_tokens": 0},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"min_p": 1.0},
    ],
)
def test_bad_settings_are_refused_by_name(arguments):
    with pytest.raises(InvalidArgumentError, match=next(iter(arguments))):
        Sampling(**arguments)
