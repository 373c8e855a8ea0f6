"""Common prefixes of replies: computed beside a prompt, and drawn by the same distribution as without."""

import attrs
import pytest
import torch

import lap.engine.decoding
from lap import Message, ModelError, Prompt, Sampling, Segment
from lap.engine.decoding import LogitCache
from tests.checkpoints import tiny_model
from tsmg import Stream

SAMPLING = Sampling(max_reply_tokens=5)


def prompts(first: int, count: int) -> list[Prompt]:
    texts = (f"P F {n}\nF H {n % 3}\n" for n in range(first, first + count))
    return [Prompt((Message("user", (Segment(text, trusted=False),)),)) for text in texts]


def streams(count: int, *, first: int = 0) -> list[Stream]:
    return [Stream("ways", first + n) for n in range(count)]


def sampled(model, times: int, count: int = 24, *, sampling: Sampling = SAMPLING):
    """The completions of several batches of prompts that all differ."""
    return [
        completion
        for t in range(times)
        for completion in model.sample(
            prompts(t * count, count), streams(count, first=t * count), sampling=sampling
        )
    ]


@pytest.fixture
def tree_passes(monkeypatch):
    """How many prompts each pass of trees had, and how many prefixes each had."""
    seen = []
    common_trees = lap.engine.decoding._common_trees

    def spied(*arguments):
        trees = common_trees(*arguments)
        seen.append([len(tree.prefixes) for tree in trees])
        return trees

    monkeypatch.setattr(lap.engine.decoding, "_common_trees", spied)
    return seen


def check_alike(found, expected):
    for mine, whole in zip(found, expected, strict=True):
        assert mine.reply_ids == whole.reply_ids
        assert mine.logprobs == pytest.approx(whole.logprobs, abs=1e-5)


@pytest.mark.parametrize("few", [True, False])
def test_common_prefixes_change_no_distribution_and_no_draw(tree_passes, few):
    """Where replies are few, their prefixes are soon known; where they are many, none is common."""
    model = tiny_model(sharp=6.0 if few else 1.0)
    sampling = attrs.evolve(SAMPLING, max_reply_tokens=2 if few else 5)
    plain = sampled(model, 5, sampling=sampling)
    assert tree_passes == []  # without a logit cache no prefixes are counted
    check_alike(sampled(model.with_logit_cache(), 5, sampling=sampling), plain)
    assert any(tree_passes) == few


def test_a_reply_that_leaves_the_common_prefixes_is_drawn_all_the_same(tree_passes, monkeypatch):
    """Only the commonest prefixes are kept; nearly every reply leaves them somewhere."""
    model = tiny_model(sharp=3.0)
    plain = sampled(model, 4)
    monkeypatch.setattr(lap.engine.decoding, "_COVERAGE", 0.0)
    monkeypatch.setattr(lap.engine.decoding, "_MAX_COMMON", 3)
    found = sampled(model.with_logit_cache(), 4)
    assert {size for sizes in tree_passes for size in sizes} <= {2, 3, 4} and any(tree_passes)
    check_alike(found, plain)
    assert (
        len({completion.reply_ids[:2] for completion in found}) > 4
    )  # more than there are common prefixes
    learnt = model.logprobs(found, sampling=SAMPLING).logprobs_B_L
    for completion, row in zip(found, learnt, strict=True):
        assert row[: len(completion.logprobs)].tolist() == pytest.approx(
            completion.logprobs, abs=1e-5
        )


@pytest.mark.parametrize("budget", [1, 120])
def test_prompts_beyond_the_budget_wait(tree_passes, monkeypatch, budget):
    monkeypatch.setattr(lap.engine.decoding, "_COVERAGE", 0.0)
    model = tiny_model(sharp=3.0)
    plain = sampled(model, 3)
    view = model.with_logit_cache()
    view.token_budget = budget
    check_alike(sampled(view, 3), plain)
    assert all(len(sizes) < 24 for sizes in tree_passes)


def test_long_prompts_and_a_small_logit_cache_use_the_key_value_cache(tree_passes, monkeypatch):
    monkeypatch.setattr(lap.engine.decoding, "_COVERAGE", 0.0)
    model = tiny_model(sharp=6.0)
    monkeypatch.setattr(lap.engine.decoding, "_LONG_PROMPT", 4)
    sampled(model.with_logit_cache(), 2)
    assert not any(tree_passes)
    monkeypatch.setattr(lap.engine.decoding, "_LONG_PROMPT", 512)
    monkeypatch.setattr("lap.engine.decoding.LOGIT_CACHE_BYTES", 2 * 320 * 4)
    sampled(model.with_logit_cache(), 2)
    assert not any(tree_passes)


def test_a_full_logit_cache_forgets_all_but_the_latest():
    """Three contexts fit; five at once are held all the same."""
    cache = LogitCache(3 * 8 * 4)

    def add(*prompts: int) -> None:
        contexts = [((n,), ()) for n in prompts]
        cache.add(contexts, torch.full((len(contexts), 8), float(prompts[0])))

    def held() -> set[int]:
        return {n for n in range(9) if ((n,), ()) in cache}

    add(0, 1)
    add(2)
    assert held() == {0, 1, 2}
    add(3)
    assert held() == {3}
    add(4, 5, 6, 7, 8)
    assert held() == {4, 5, 6, 7, 8}


def test_common_prefixes_are_those_of_nearly_all_draws():
    cache = LogitCache(10**6)
    assert cache.common_prefixes() == []
    cache.count_draws([()] * 100 + [(1,)] * 60 + [(2,)] * 35)
    assert cache.common_prefixes() == [(), (1,), (2,)]
    cache.count_draws((3, n) for n in range(200))
    assert cache.common_prefixes() == []


def test_logits_that_are_not_finite_are_refused_in_passes_of_trees_too(tree_passes, monkeypatch):
    monkeypatch.setattr(lap.engine.decoding, "_COVERAGE", 0.0)
    model = tiny_model(sharp=6.0)
    view = model.with_logit_cache()
    sampled(view, 1)
    with torch.no_grad():
        model.network.model.norm.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        view.sample(prompts(1000, 4), streams(4), sampling=SAMPLING)
    assert tree_passes[-1]


def test_a_reply_is_as_complete_as_its_own_criterion_says():
    """What is remembered of replies under one criterion says nothing of another."""
    model = tiny_model().with_logit_cache()

    def lengths(criterion):
        found = model.sample(prompts(0, 8), streams(8), sampling=SAMPLING, stop_criterion=criterion)
        return [len(completion.reply_ids) for completion in found]

    whole = lengths(None)
    assert max(whole) > 1
    assert lengths(lambda text: True) == [1] * 8
    assert lengths(None) == whole
