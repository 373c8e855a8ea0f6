"""Policies, models, games and records are pickled and copied: they behave alike, and remember nothing."""

import copy
import pickle

import pytest
import torch

import games
import tsmg
from algorithms.training.past_opponents import PastOpponents
from lap import (
    LanguageAgentPolicy,
    LoraSettings,
    MemorylessPrompt,
    Sampling,
    TabularModel,
    TransformersModel,
    with_logit_cache,
)
from tests.checkpoints import tiny_model
from tests.lap.test_lora import PROMPTS, SAMPLING, learnt_model, logprobs, rngs

WAYS = {"pickle": lambda x: pickle.loads(pickle.dumps(x)), "deepcopy": copy.deepcopy}

MODELS = {
    "plain": lambda: tiny_model(sharp=3.0),
    "chat": lambda: tiny_model("chatml", sharp=3.0),
    "adapters": learnt_model,
    "adapters off": lambda: learnt_model().without_adapters(),
    "reference": lambda: learnt_model().reference_model(),
    "recomputing": lambda: tiny_model(sharp=3.0).with_lora(LoraSettings(r=2)).with_recomputation(),
    "caching": lambda: tiny_model(sharp=3.0).with_logit_cache(),
}


@pytest.fixture(params=WAYS)
def copied(request):
    return WAYS[request.param]


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_a_model_is_the_same_model(make, copied):
    model = make()
    completions = model.sample(PROMPTS, rngs(), sampling=SAMPLING)
    again = copied(model)
    assert isinstance(again, TransformersModel)
    assert again.digest() == model.digest()
    assert torch.equal(logprobs(again, completions), logprobs(model, completions))
    assert again.sample(PROMPTS, rngs(), sampling=SAMPLING) == completions
    trainable = [p.requires_grad for p in model.network.parameters()]
    assert [p.requires_grad for p in again.network.parameters()] == trainable
    assert {p.data_ptr() for p in again.network.parameters()}.isdisjoint(
        p.data_ptr() for p in model.network.parameters()
    )


def test_what_was_remembered_is_left_out(copied):
    model = tiny_model(sharp=3.0).with_logit_cache()
    model.sample(PROMPTS[:1], rngs()[:1], sampling=SAMPLING)  # also finds out the layout
    small = len(pickle.dumps(model))
    model.sample(PROMPTS, rngs(), sampling=SAMPLING)
    assert len(pickle.dumps(model)) == small
    again = copied(model)
    assert model.memories and again.memories == {}
    assert again.encoder.encode.cache_info().currsize == 0
    assert model.encoder.encode.cache_info().currsize > 0
    assert again.encoder.encode.__wrapped__.__self__ is again.encoder


def test_a_view_of_a_model_shares_its_weights_and_a_copy_of_a_view_its_own():
    model = tiny_model()
    view = model.with_logit_cache()
    assert view.network is model.network and model.memories is None
    assert view.frozen_copy().memories is not view.memories  # logits of other weights, before long


def policies():
    prompt = MemorylessPrompt(with_rules=False)
    plain = LanguageAgentPolicy(
        model=tiny_model(sharp=3.0), prompt=prompt, sampling=Sampling(max_reply_tokens=4)
    )
    table = TabularModel(("left", "right"), capacity=50)
    with torch.no_grad():
        table.logits.normal_(generator=torch.Generator().manual_seed(0))
    tabular = LanguageAgentPolicy(model=table, prompt=prompt, sampling=Sampling(max_reply_tokens=2))
    return {
        "transformers": plain,
        "cached": with_logit_cache({"walker": plain})["walker"],
        "tabular": tabular,
        "past opponents": PastOpponents(tabular),
        "uniform": tsmg.PlayerPolicy(GAME, tsmg.UniformPlayer(GAME)),
    }


GAME = games.make("LineWalk-v0")


@pytest.mark.parametrize("name", policies())
def test_a_policy_plays_the_same_episodes_and_records_are_equal(name, copied):
    policy = policies()[name]
    specs = [tsmg.EpisodeSpec(key=tsmg.EpisodeKey(seed=0, group=n)) for n in range(3)]
    episodes = tsmg.play(GAME, policy, specs)
    group = tsmg.EpisodeGroup(episodes=tuple(episodes))
    assert copied(group) == group
    assert tsmg.play(copied(GAME), copied(policy), specs) == episodes


@pytest.mark.parametrize("game", [registered.id for registered in tsmg.registered()])
def test_episodes_of_every_game_are_equal(game, copied):
    made = games.make(game)
    player = made.scripted_player() or tsmg.UniformPlayer(made)
    spec = tsmg.EpisodeSpec(key=tsmg.EpisodeKey(seed=0))
    (episode,) = tsmg.play(made, tsmg.PlayerPolicy(made, player), [spec])
    assert copied(episode) == episode


def test_a_stream_goes_on_where_it_was(copied):
    stream = tsmg.Stream(0, "x")
    stream.random()
    again = copied(stream)
    assert again.key == stream.key
    assert [again.random() for _ in range(20)] == [stream.random() for _ in range(20)]
