"""Play on servers and learning here are one policy: right servers are used, wrong ones are found before they play."""

import threading
import time
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from lap import ModelError, Prompt, Sampling, TagParser
from lap.lora import is_adapter
from lap.prompts import Message, Segment
from lap.remote.client import EngineError, ServerDownError
from lap.remote.split import SplitModel
from lap.remote.weights import WeightsFolder
from tests.engine_server import FakeEngine, serving, split_policy
from tsmg import Completion, EpisodeKey, Purpose, Stream

pytest.importorskip("peft")

SAMPLING = Sampling(max_reply_tokens=6)


@pytest.fixture
def model(tiny_checkpoint: Path, engine: FakeEngine) -> SplitModel:
    return split_policy(tiny_checkpoint, [engine]).model


def prompts(count: int = 4) -> list[Prompt]:
    texts = [f"P F F{' H' * n}\nF" for n in range(count)]
    return [Prompt((Message("user", (Segment(text, trusted=False),)),)) for text in texts]


def streams(count: int = 4, *, seed: int = 0) -> list[Stream]:
    keys = [EpisodeKey(seed=seed, group=n // 2, episode=n) for n in range(count)]
    return [key.stream(Purpose.POLICY, step=0, agent="player") for key in keys]


def sampled(model: SplitModel, count: int = 4, **settings: Any) -> list[Completion]:
    sampling = attrs.evolve(SAMPLING, **settings)
    return model.sample(prompts(count), streams(count), sampling=sampling)


def learn(model: SplitModel, *, scale: float = 0.3) -> None:
    """An update: what is learnt changes, and the version counts it."""
    generator = torch.Generator().manual_seed(model.weights_version)
    learnt = [(n, p) for n, p in model.network.named_parameters() if p.requires_grad]
    assert all(is_adapter(name) for name, _ in learnt) == model.learner.has_adapters
    with torch.no_grad():
        for _, parameter in learnt:
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    model.weights_version += 1


def largest_difference(model: SplitModel, completions: list[Completion]) -> float:
    with torch.no_grad():
        scores = model.logprobs(completions, sampling=SAMPLING)
    return max(
        abs(completion.logprobs[l] - float(scores.logprobs_B_L[b, l]))
        for b, completion in enumerate(completions)
        for l in range(len(completion.logprobs))
        if completion.trainable[l]
    )


# ---- right servers ---------------------------------------------------------------------------


@pytest.mark.parametrize("lora", [True, False])
def test_after_every_push_the_servers_play_what_is_learnt(
    tiny_checkpoint: Path, engine: FakeEngine, lora: bool
) -> None:
    model = split_policy(tiny_checkpoint, [engine], lora=lora).model
    if not lora:
        model.network.requires_grad_(True)
    seen = []
    for version in range(3):
        assert model.push() < 1e-4
        assert model.pushed_version == version
        completions = sampled(model)
        assert {c.weights_version for c in completions} == {version}
        assert {c.model_id for c in completions} == {model.learner.model_id}
        assert largest_difference(model, completions) < 1e-4
        seen.append([c.logprobs for c in completions])
        learn(model)
    assert seen[0] != seen[1] != seen[2]


def test_a_push_is_made_once_and_old_weights_are_removed(
    tiny_checkpoint: Path, engine: FakeEngine, model: SplitModel, tmp_path: Path
) -> None:
    first = model.push()
    asked = len(engine.asked)
    assert model.push() == first and len(engine.asked) == asked
    learn(model)
    model.push()
    assert len(engine.adapters) == 1
    names = [body["lora_name"] for body in engine.bodies("/v1/load_lora_adapter")]
    assert len(set(names)) == 2 and all(name.startswith("tsmg-") for name in names)
    written = Path(engine.bodies("/v1/load_lora_adapter")[-1]["lora_path"])
    assert [path.name for path in written.parent.iterdir()] == ["version-000001"]


def test_whole_weights_are_pushed_and_what_was_cached_is_forgotten(
    tiny_checkpoint: Path, engine: FakeEngine
) -> None:
    model = split_policy(tiny_checkpoint, [engine], lora=False).model
    model.push()
    paths = [path for path, _ in engine.asked]
    assert paths.index("/collective_rpc") < paths.index("/reset_prefix_cache")
    assert "/v1/load_lora_adapter" not in paths
    engine.keeps_cache = True
    learn(model)
    with pytest.raises(EngineError, match="keeps what it computed with the previous weights"):
        model.push()


def test_replies_of_other_weights_are_refused(engine: FakeEngine, model: SplitModel) -> None:
    with pytest.raises(EngineError, match="weights of version None, and the learner those of 0"):
        sampled(model)
    model.push()
    learn(model)
    with pytest.raises(EngineError, match="weights of version 0, and the learner those of 1"):
        sampled(model)
    engine.stale = True
    with pytest.raises(EngineError):
        model.push()
    with pytest.raises(EngineError, match="weights of version None"):
        sampled(model)


def test_copies_play_here(engine: FakeEngine, model: SplitModel) -> None:
    model.push()
    asked = len(engine.asked)
    frozen, reference = model.frozen_copy(), model.reference_model()
    before = [c.reply_ids for c in sampled(frozen)]
    learn(model)
    assert [c.reply_ids for c in sampled(frozen)] == before
    assert frozen.push() == 0.0 and reference.take_notes() == []
    assert len(engine.asked) == asked
    assert frozen.digest() != model.digest()


def test_it_is_saved_as_the_learner_is(model: SplitModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    assert (tmp_path / "adapter_config.json").is_file()
    assert model.backend == "transformers"
    assert model.loading_settings() == model.learner.loading_settings()


# ---- servers that are wrong ------------------------------------------------------------------

FAULTS: dict[str, dict[str, Any]] = {
    "stale weights": {"stale": True},
    "exchanged rows": {"swaps": True},
    "another temperature": {"heat": 1.5},
    "shifted tokens": {"shift": 1},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_canary_finds_a_server_that_plays_something_else(
    fault: str, engine: FakeEngine, model: SplitModel
) -> None:
    model.push()
    learn(model)
    vars(engine).update(FAULTS[fault])
    with pytest.raises(EngineError, match="does not play the policy that learns") as caught:
        model.push()
    told = str(caught.value)
    for part in (engine.url, "version 1 token", "(id ", "there and", "here", "explains 0.001"):
        assert part in told, told
    assert model.pushed_version is None


def test_in_a_coarse_type_the_canary_finds_stale_weights_by_the_mean(tiny_checkpoint: Path) -> None:
    """No token is off by 1 nat, which a single one may be by rounding; but most are off by more than that explains."""
    with serving(tiny_checkpoint) as (engine,):
        model = split_policy(tiny_checkpoint, [engine]).model
        model.network.to(torch.bfloat16)
        assert model.push() <= 1.0
        learn(model, scale=0.01)
        engine.stale = True
        with pytest.raises(EngineError, match="does not play the policy that learns") as caught:
            model.push()
        told = str(caught.value)
        assert "the mean difference over tokens is 0." in told and "bfloat16 explains 0.1:" in told


def test_the_canary_names_both_log_probabilities(engine: FakeEngine, model: SplitModel) -> None:
    engine.heat = 2.0
    with pytest.raises(EngineError) as caught:
        model.push()
    told = str(caught.value)
    there, here = (
        float(told.partition(before)[2].split()[0])
        for before in ("has the log-probability ", "there and ")
    )
    size = float(told.partition("the difference is ")[2].split(",")[0])
    assert abs(there - here) == pytest.approx(size, rel=0.1) and size > 0.1


def test_the_canary_asks_what_was_played_last_at_its_temperature(
    engine: FakeEngine, model: SplitModel
) -> None:
    sampling = attrs.evolve(SAMPLING, temperature=0.7)
    model.check_prompts(prompts(1), sampling=sampling)
    model.push()
    checked = [body for body in engine.bodies("/v1/completions") if body["max_tokens"] == 6]
    assert len(checked) == 8 and {body["temperature"] for body in checked} == {0.7}
    expected = list(model.learner.encoder.encode(prompts(1)[0])[0])
    assert sum(body["prompt"] == expected for body in checked) == 1
    assert len({tuple(body["prompt"]) for body in checked}) == 8
    model.sample(prompts(), streams(), sampling=Sampling(temperature=0.0, max_reply_tokens=2))
    learn(model)
    asked = len(engine.bodies("/v1/completions"))
    model.push()
    assert {b["temperature"] for b in engine.bodies("/v1/completions")[asked:]} == {0.7}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"says_text": True}, "text in place of token ids"),
        ({"says_model": "other"}, "the model 'other' where"),
        ({"context": 8}, "tokens, for the reason 'length'"),
        ({"statuses": {"/v1/completions": (200, "not json")}}, "something other than JSON"),
        (
            {"statuses": {"/v1/completions": (400, {"error": {"message": "bad seed"}})}},
            "400: bad seed",
        ),
    ],
)
def test_what_is_no_reply_stops_in_one_sentence(
    engine: FakeEngine, model: SplitModel, fault: dict[str, Any], message: str
) -> None:
    model.push()
    vars(engine).update(fault)
    with pytest.raises(EngineError, match=message) as caught:
        sampled(model)
    assert engine.url in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"token_ids": []}, "0 of 6 tokens"),
        ({"token_ids": [1, True]}, "text in place"),
        ({"token_ids": [1] * 7}, "7 of 6 tokens"),
        ({"logprobs": None}, "no log-probability for each"),
        ({"logprobs": {"token_logprobs": [-1.0]}}, "no log-probability for each"),
        ({"logprobs": {"token_logprobs": [-1.0, float("nan")]}}, "no log-probability for each"),
        ({"finish_reason": "abort"}, "for the reason 'abort'"),
        ({"finish_reason": "length"}, "2 of 6 tokens, for the reason 'length'"),
        ({"prompt_token_ids": [1]}, "a reply to another prompt"),
    ],
)
def test_every_field_of_an_answer_is_checked(
    engine: FakeEngine, model: SplitModel, choice: dict[str, Any], message: str
) -> None:
    model.push()
    (name,) = engine.adapters
    right = {
        "token_ids": [1, 2],
        "logprobs": {"token_logprobs": [-1.0, -2.0]},
        "finish_reason": "stop",
    }
    ids = choice.get("token_ids", [1, 2])
    scores = {"token_logprobs": [-1.0] * len(ids)}
    made = {**right, "logprobs": scores, **choice}
    engine.statuses["/v1/completions"] = (200, {"model": name, "choices": [made]})
    with pytest.raises(EngineError, match=message):
        sampled(model, 1)


# ---- the reply ends where the policy's does ---------------------------------------------------


def test_draws_follow_the_streams(engine: FakeEngine, model: SplitModel) -> None:
    """The same seeds give the same replies, alone and beside others; the seeds are the streams'."""
    model.push()
    together = sampled(model)
    alone = [
        model.sample([prompt], [stream], sampling=SAMPLING)[0]
        for prompt, stream in zip(prompts(), streams(), strict=True)
    ]
    assert [c.reply_ids for c in alone] == [c.reply_ids for c in together]
    others = model.sample(prompts(), streams(seed=1), sampling=SAMPLING)
    assert [c.reply_ids for c in others] != [c.reply_ids for c in together]
    sent = {body["seed"] for body in engine.bodies("/v1/completions")[-4:]}
    assert sent == {int(stream.at(0) * 2**53) for stream in streams(seed=1)}


def test_a_reply_is_cut_where_the_criterion_first_holds(
    engine: FakeEngine, model: SplitModel
) -> None:
    model.push()
    whole = sampled(model, max_reply_tokens=12)
    for long in whole:
        text = model.learner.text(long.reply_ids)
        wanted = text[: len(text) // 2 + 1]
        lengths = [l for l in range(1, 13) if wanted in model.learner.text(long.reply_ids[:l])]
        n = whole.index(long)
        (cut,) = model.sample(
            prompts()[n : n + 1],
            streams()[n : n + 1],
            sampling=attrs.evolve(SAMPLING, max_reply_tokens=12),
            stop_criterion=lambda said, wanted=wanted: wanted in said,  # type: ignore[misc]
        )
        assert len(cut.reply_ids) == lengths[0] == len(cut.logprobs) and cut.finished
        assert cut.reply_ids == long.reply_ids[: lengths[0]]
        assert cut.reply_text == model.learner.text(cut.reply_ids)


def test_a_server_that_stops_too_early_is_asked_for_more(
    tiny_checkpoint: Path, engine: FakeEngine
) -> None:
    """The parser's stop comes in a reply that it does not complete: the rest is drawn with another seed."""
    policy = split_policy(tiny_checkpoint, [engine])
    model = policy.model
    assert model.sampler is not None and model.sampler._stops == ("</action>",)
    model.sampler._stops = ("a", "e", "t", "F", " ")  # most replies hold one of them
    model.push()
    asked = len(engine.bodies("/v1/completions"))
    completions = sampled(model, 8, max_reply_tokens=10)
    bodies = engine.bodies("/v1/completions")[asked:]
    assert len(bodies) > 8 and len({body["seed"] for body in bodies}) == len(bodies)
    for completion in completions:
        assert len(completion.reply_ids) == 10 or completion.finished
        assert completion.finished == (completion.reply_ids[-1] in model.sampler._end_ids)
    assert largest_difference(model, completions) < 1e-4
    more = [body for body in bodies if body["max_tokens"] < 10]
    assert all(len(body["prompt"]) + body["max_tokens"] <= 40 for body in more)


def test_an_end_token_ends_a_reply(model: SplitModel, engine: FakeEngine) -> None:
    model.push()
    assert model.sampler is not None
    (first,) = sampled(model, 1)
    model.sampler._end_ids = frozenset({first.reply_ids[2]})
    (ended,) = sampled(model, 1)
    end = first.reply_ids.index(first.reply_ids[2]) + 1
    assert ended.finished and ended.reply_ids == first.reply_ids[:end]
    assert engine.bodies("/v1/completions")[-1]["stop_token_ids"] == [first.reply_ids[2]]
    assert not first.finished or first.reply_ids[-1] == model.learner.tokenizer.eos_token_id


def test_a_given_beginning_is_recorded_as_given(model: SplitModel, engine: FakeEngine) -> None:
    model.push()
    asked = [attrs.evolve(prompt, prefill="<action>") for prompt in prompts()]
    completions = model.sample(asked, streams(), sampling=SAMPLING)
    given = model.given_ids(asked[0])
    for completion in completions:
        assert completion.reply_ids[: len(given)] == given
        assert completion.trainable == (False,) * len(given) + (True,) * 6
        assert completion.logprobs[: len(given)] == (0.0,) * len(given)
        assert completion.reply_text.startswith("<action>")
    assert largest_difference(model, completions) < 1e-4
    bodies = engine.bodies("/v1/completions")[-4:]
    bodies = [body for body in bodies if body["max_tokens"] == 6]
    assert bodies and all(tuple(b["prompt"][-len(given) :]) == given for b in bodies)


def test_greedy_replies_have_no_log_probability(model: SplitModel) -> None:
    model.push()
    first, second = sampled(model, temperature=0.0), sampled(model, temperature=0.0)
    assert [c.reply_ids for c in first] == [c.reply_ids for c in second]
    assert {value for c in first for value in c.logprobs} == {0.0}


def test_nothing_is_left_to_a_servers_defaults(model: SplitModel, engine: FakeEngine) -> None:
    """Checkpoints bring defaults of their own, a penalty for repetitions among them."""
    model.push()
    body = engine.bodies("/v1/completions")[-1]
    neutral = {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "n": 1}
    assert body.items() >= {**neutral, "presence_penalty": 0.0, "frequency_penalty": 0.0}.items()
    assert body["stop"] == ["</action>"] and body["return_token_ids"] is True


def test_what_cannot_be_learnt_from_is_refused(model: SplitModel) -> None:
    model.push()
    for truncating in ({"top_k": 3}, {"top_p": 0.5}, {"min_p": 0.1}):
        with pytest.raises(ModelError, match="leave 'top_k', 'top_p' and 'min_p' out"):
            sampled(model, **truncating)  # type: ignore[arg-type]
    assert model.sampler is not None
    with pytest.raises(ModelError, match="cannot be trained"):
        model.sampler.logprobs([], sampling=SAMPLING)


def test_the_shortest_context_holds(tiny_checkpoint: Path) -> None:
    with serving(tiny_checkpoint, context=12) as engines:
        model = split_policy(tiny_checkpoint, engines).model
        assert model.sampler is not None and model.sampler.context_length == 12
        with pytest.raises(ModelError, match="do not fit the model's context of 12"):
            model.check_prompts(prompts(), sampling=SAMPLING)


# ---- several servers, and those that fail ----------------------------------------------------


def test_whole_groups_are_dealt_and_two_servers_reply_as_one(tiny_checkpoint: Path) -> None:
    with serving(tiny_checkpoint, 3) as engines:
        single = split_policy(tiny_checkpoint, engines[:1]).model
        double = split_policy(tiny_checkpoint, engines[1:]).model
        single.push()
        double.push()
        begun = [len(engine.bodies("/v1/completions")) for engine in engines]
        one, two = sampled(single, 8), sampled(double, 8)
        assert [c.reply_ids for c in one] == [c.reply_ids for c in two]
        shares = [
            {b["seed"] for b in engine.bodies("/v1/completions")[first:] if b["max_tokens"] == 6}
            for engine, first in zip(engines[1:], begun[1:], strict=True)
        ]
        seeds = [int(stream.at(0) * 2**53) for stream in streams(8)]
        assert shares == [{seeds[n] for n in rows} for rows in ((0, 1, 4, 5), (2, 3, 6, 7))]


@pytest.mark.parametrize("fault", ["dies", "hangs", "answers 500"])
def test_the_groups_of_a_server_that_fails_are_dealt_again(
    tiny_checkpoint: Path, fault: str
) -> None:
    with serving(tiny_checkpoint, 2) as engines:
        model = split_policy(tiny_checkpoint, engines).model
        model.push()
        expected = [c.reply_ids for c in sampled(model, 12)]
        assert model.take_notes() == []
        if fault == "dies":
            engines[0].lives = engines[0].replies + 2  # in the middle of its groups
        elif fault == "hangs":
            engines[0].hangs = 30.0
            assert model.sampler is not None
            client = model.sampler.fleet.servers[0]._client
            client._timeout = 0.5
            client.close()
        else:
            engines[0].statuses["/v1/completions"] = (500, {"error": {"message": "dead"}})
        assert [c.reply_ids for c in sampled(model, 12)] == expected
        (note,) = model.take_notes()
        assert engines[0].url in note and "it is no longer used" in note
        asked = len(engines[0].bodies("/v1/completions"))
        if fault != "answers 500":  # that one says that it is well
            learn(model)
            model.push()
        sampled(model, 12)
        assert len(engines[0].bodies("/v1/completions")) == asked
        engines[1].lives = 0
        with pytest.raises(EngineError, match="no engine is left to play on") as caught:
            sampled(model, 12)
        assert all(engine.url in str(caught.value) for engine in engines)


def test_a_server_that_comes_back_gets_the_weights_and_is_checked(tiny_checkpoint: Path) -> None:
    with serving(tiny_checkpoint, 2) as engines:
        model = split_policy(tiny_checkpoint, engines).model
        model.push()
        engines[0].lives = 0
        sampled(model)
        learn(model)
        model.push()  # without it
        assert len(model.take_notes()) == 1
        engines[0].lives, engines[0].adapters = 10**9, {}
        learn(model)
        model.push()
        assert model.take_notes() == [f"the engine at {engines[0].url} answers again"]
        asked = len(engines[0].bodies("/v1/completions"))
        assert largest_difference(model, sampled(model)) < 1e-4
        assert len(engines[0].bodies("/v1/completions")) > asked


def test_a_server_that_fails_while_weights_are_pushed(tiny_checkpoint: Path) -> None:
    with serving(tiny_checkpoint, 2) as engines:
        model = split_policy(tiny_checkpoint, engines).model
        model.push()
        learn(model)
        engines[1].lives = 0
        model.push()
        assert len(model.take_notes()) == 1 and largest_difference(model, sampled(model)) < 1e-4
        engines[0].lives = 0
        learn(model)
        with pytest.raises(EngineError, match="no engine is left"):
            model.push()


def test_a_server_that_fails_while_old_adapters_are_unloaded(tiny_checkpoint: Path) -> None:
    with serving(tiny_checkpoint, 2) as engines:
        model = split_policy(tiny_checkpoint, engines).model
        model.push()
        learn(model)
        engines[1].statuses["/v1/unload_lora_adapter"] = (503, {"error": {"message": "dead"}})
        model.push()
        (note,) = model.take_notes()
        assert engines[1].url in note and "it is no longer used" in note
        asked = len(engines[1].bodies("/v1/completions"))
        assert model.pushed_version == 1 and largest_difference(model, sampled(model)) < 1e-4
        assert len(engines[1].bodies("/v1/completions")) == asked


@pytest.mark.parametrize("fault", ["hangs", "answers 503"])
def test_a_server_that_is_well_but_slow_has_not_refused_the_adapters(
    tiny_checkpoint: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Only 500 speaks of the adapters' rank; here the server is down, and with it all that there are."""
    model = split_policy(tiny_checkpoint, [engine]).model
    if fault == "hangs":
        load = engine.load
        monkeypatch.setattr(engine, "load", lambda *given: time.sleep(1.0) or load(*given))
        assert model.sampler is not None
        model.sampler.fleet.servers[0]._client._timeout = 0.2
        model.sampler.fleet.servers[0].close()
    else:
        engine.statuses["/v1/load_lora_adapter"] = (503, {"error": {"message": "busy"}})
    with pytest.raises(EngineError, match="no engine is left to play on") as caught:
        model.push()
    assert "--max-lora-rank" not in str(caught.value)


def test_many_threads_that_find_a_server_down_tell_it_once(
    engine: FakeEngine, model: SplitModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert model.sampler is not None
    fleet, barrier = model.sampler.fleet, threading.Barrier(8)

    class Slow(str):  # who looks at it lets the others look first
        __slots__ = ()

        def __str__(self) -> str:
            time.sleep(0.01)
            return "down"

    def drop() -> None:
        barrier.wait()
        fleet.drop(fleet.servers[0], ServerDownError(Slow()))

    threads = [threading.Thread(target=drop) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fleet.take_notes()) == 1 and fleet.take_notes() == []


def test_what_passes_is_tried_again_with_the_same_seed(
    model: SplitModel, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.push()
    expected = [c.reply_ids for c in sampled(model, 1)]
    answer, failures = engine.answer, iter([503, 429])

    def busy(path: str, body: dict[str, Any], headers: dict[str, str]) -> tuple[int, Any]:
        status = next(failures, 0) if path == "/v1/completions" else 0
        given = answer(path, body, headers)
        return (status, {"error": {"message": "busy"}}) if status else given

    monkeypatch.setattr(engine, "answer", busy)
    asked = len(engine.bodies("/v1/completions"))
    assert [c.reply_ids for c in sampled(model, 1)] == expected
    bodies = engine.bodies("/v1/completions")[asked:]
    assert len(bodies) == 3 and len({body["seed"] for body in bodies}) == 1


# ---- what is refused before a run -------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("tokenizer_shift", r"the ids \[1, 2, 3\] and so on are"),
        ("control_shift", r"the control tokens '<\|endoftext\|>' have other ids"),
    ],
)
def test_another_tokenizer_is_refused(
    tiny_checkpoint: Path, engine: FakeEngine, fault: str, message: str
) -> None:
    vars(engine)[fault] = 1
    with pytest.raises(EngineError, match=f"has another tokenizer: {message}"):
        split_policy(tiny_checkpoint, [engine])


@pytest.mark.parametrize(
    ("statuses", "message"),
    [
        ({"/v1/models": (404, {"detail": "Not Found"})}, "it is not a completions server"),
        ({"/v1/models": (401, {"error": "Unauthorized"})}, "or it needs a key"),
        ({"/v1/models": (200, {"data": []})}, "serves no model: name one as"),
        ({"/tokenize": (200, {"tokens": "abc"})}, "does not say how it tokenizes"),
        ({"/detokenize": (200, {})}, "does not say what token ids stand for"),
    ],
)
def test_what_is_no_server_of_completions_is_refused(
    tiny_checkpoint: Path, engine: FakeEngine, statuses: dict[str, Any], message: str
) -> None:
    engine.statuses = statuses
    with pytest.raises(EngineError, match=message):
        split_policy(tiny_checkpoint, [engine])


@pytest.mark.parametrize(
    ("lora", "path", "status", "message"),
    [
        (True, "/v1/load_lora_adapter", 404, "start it with --enable-lora, with VLLM_ALLOW"),
        (True, "/v1/load_lora_adapter", 500, "--max-lora-rank of at least"),
        (False, "/collective_rpc", 404, "VLLM_SERVER_DEV_MODE=1"),
    ],
)
def test_a_server_that_takes_no_weights_is_refused(
    tiny_checkpoint: Path, engine: FakeEngine, lora: bool, path: str, status: int, message: str
) -> None:
    engine.statuses[path] = (status, {"detail": "Not Found"})
    model = split_policy(tiny_checkpoint, [engine], lora=lora).model
    with pytest.raises(EngineError, match=message):
        model.push()


def test_a_model_of_another_kind_is_refused(tiny_checkpoint: Path, engine: FakeEngine) -> None:
    from lap import TabularModel
    from lap.remote.connect import on_engines

    policy = split_policy(tiny_checkpoint, [engine])
    assert policy.model.sampler is not None
    other = attrs.evolve(policy, model=TabularModel(("a", "b")))  # type: ignore[type-var]
    with pytest.raises(ModelError, match="plays checkpoints of transformers"):
        on_engines(other, policy.model.sampler.fleet)


def test_the_key_is_sent_and_no_more(
    tiny_checkpoint: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    split_policy(tiny_checkpoint, [engine]).model.push()
    assert all("Authorization" not in body["headers"] for _, body in engine.asked)
    monkeypatch.setenv("TSMG_ENGINE_KEY", "secret")
    asked = len(engine.asked)
    split_policy(tiny_checkpoint, [engine]).model.push()
    sent = engine.asked[asked:]
    assert sent and all(b["headers"]["Authorization"] == "Bearer secret" for _, b in sent)


def test_a_version_has_its_name_when_it_is_whole(tmp_path: Path) -> None:
    folder, seen = WeightsFolder(tmp_path), []

    def save(place: Path, *, text: str = "1") -> None:
        (place / text).write_text(text)
        seen.append([path.name for path in tmp_path.iterdir()])

    def fails(place: Path) -> None:
        save(place)
        raise OSError("disk full")

    written = folder.write(7, save)
    assert written == tmp_path / "version-000007" and [p.name for p in written.iterdir()] == ["1"]
    with pytest.raises(EngineError, match="disk full"):
        folder.write(8, fails)
    assert seen[0] == [".unfinished-version-000007"] and "version-000008" not in seen[1]
    assert not (tmp_path / "version-000008").exists()
    for version in (7, 8):  # again, as a resumed run does
        place = folder.write(version, lambda place: save(place, text="2"))
        assert [path.name for path in place.iterdir()] == ["2"]


def test_only_what_was_written_here_is_removed(tmp_path: Path) -> None:
    for name in ("version-000000", "version-of-mine", ".unfinished-mine"):
        (tmp_path / name).mkdir()
    folder = WeightsFolder(tmp_path)

    def fails(place: Path) -> None:
        (place / "part").write_text("")
        raise OSError("disk full")

    with pytest.raises(EngineError, match="disk full"):
        folder.write(1, fails)
    for version in (2, 3):
        folder.write(version, lambda place: None)
    folder.remove_all_but(3)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"version-000000", "version-of-mine", ".unfinished-mine", "version-000003"}
    folder.write(4, lambda place: None)
    folder.remove_all_but(4)
    assert "version-000003" not in {path.name for path in tmp_path.iterdir()}


def test_weights_that_cannot_be_written(
    tiny_checkpoint: Path, engine: FakeEngine, tmp_path: Path
) -> None:
    from lap.remote.connect import on_engines

    policy = split_policy(tiny_checkpoint, [engine])
    file = tmp_path / "file"
    file.write_text("")
    assert policy.model.sampler is not None
    learner = attrs.evolve(policy, model=policy.model.learner)
    blocked = on_engines(learner, policy.model.sampler.fleet, folder=file)
    with pytest.raises(EngineError, match="weights for the engine cannot be written to"):
        blocked.model.push()


# ---- stops of parsers -------------------------------------------------------------------------


@pytest.mark.parametrize("after", ["", "</think>"])
def test_a_complete_reply_holds_a_stop(after: str) -> None:
    parser = TagParser("act", after=after)
    reply = f"{after}go <act>up</act> now"
    complete = [reply[:l] for l in range(len(reply) + 1) if parser.is_complete(reply[:l])]
    assert complete and all(any(stop in one for stop in parser.stops()) for one in complete)
    assert TagParser("act", match="last").stops() == ()
