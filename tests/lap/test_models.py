"""Language models: what is sampled is what is recorded is what is learnt from."""

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lap import (
    LanguageAgentPolicy,
    MemorylessPrompt,
    Message,
    ModelError,
    Prompt,
    PromptEncoder,
    Sampling,
    ScriptedModel,
    Segment,
    TabularModel,
    TagParser,
    TransformersModel,
)
from lap.engine.hidden_states import find_layout
from lap.engine.prefix_tree import ReplyTree
from lap.testing import check_model
from tests.checkpoints import tiny_model, tokenizer
from tsmg import InvalidArgumentError, Stream, uniform

PROMPTS = [
    Prompt((Message("user", (Segment(text, trusted=False),)),))
    for text in ("P F\nF G", "F P F\nF F G\nF F F", "P F\nF G", "F F\nP G", "x")
]
SETTINGS = [
    Sampling(temperature=1.0, max_reply_tokens=6),
    Sampling(temperature=0.5, max_reply_tokens=4),
    Sampling(temperature=1.7, max_reply_tokens=5),
    Sampling(top_k=5, max_reply_tokens=4),
    Sampling(top_p=0.8, max_reply_tokens=4),
    Sampling(min_p=0.2, temperature=0.8, max_reply_tokens=4),
]


def rngs(n=5, seed=0):
    return [Stream(seed, "test", i) for i in range(n)]


MAKERS = {
    "transformers": lambda: tiny_model(sharp=3.0),
    "tabular": lambda: TabularModel(("a", "b", "c"), capacity=4000),
}


def recorded(completions):
    width = max(len(c.logprobs) for c in completions)
    return torch.tensor([(*c.logprobs, *(0.0,) * (width - len(c.logprobs))) for c in completions])


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_learnt_logprobs_are_those_sampled_from(make):
    """Ratio 1 to within 1e-5 before any step, for every temperature and truncation."""
    checks = ["recorded_logprobs", "truncation", "masks"]
    check_model(make, samplings=SETTINGS, tolerance=1e-5, checks=checks).raise_if_broken()


@pytest.mark.parametrize("wrong", [Sampling(temperature=1.0), Sampling(temperature=0.5, top_k=0)])
def test_a_trainer_that_forgets_the_sampling_settings_is_noticed(wrong):
    """Negative control: temperature or truncation left out of the learnt distribution."""
    model = tiny_model(sharp=3.0)
    used = Sampling(temperature=0.5, top_k=3, max_reply_tokens=4)
    completions = model.sample(PROMPTS, rngs(), sampling=used)
    forgotten = [attrs.evolve(completion, support=None) for completion in completions]
    scores = model.logprobs(forgotten, sampling=attrs.evolve(wrong, max_reply_tokens=4))
    assert (
        float(((scores.logprobs_B_L.detach() - recorded(completions)).exp() - 1).abs().max()) > 1e-3
    )


def test_tabular_replies_do_not_depend_on_the_batch_at_all():
    together = TabularModel(("a", "b"), capacity=500).sample(PROMPTS, rngs(), sampling=SETTINGS[0])
    model = TabularModel(("a", "b"), capacity=500)
    for i in reversed(range(len(PROMPTS))):
        assert model.sample([PROMPTS[i]], [rngs()[i]], sampling=SETTINGS[0]) == [together[i]]


def test_transformers_replies_do_not_depend_on_the_batch_beyond_rounding():
    """Log-probabilities within 1e-5; tokens equal unless the draw lies within rounding of a boundary."""
    model, sampling = tiny_model(sharp=3.0), SETTINGS[0]
    prompts, streams = PROMPTS * 8, rngs(40)
    together = model.sample(prompts, streams, sampling=sampling)
    different = 0
    for prompt, rng, completion in zip(prompts, streams, together, strict=True):
        (alone,) = model.sample([prompt], [Stream(*rng.key)], sampling=sampling)
        assert alone.prompt_ids == completion.prompt_ids
        for position, (a, b) in enumerate(zip(alone.reply_ids, completion.reply_ids, strict=False)):
            if a != b:
                different += 1
                assert near_boundary(model, completion, position, rng.at(position), sampling)
                break
            assert abs(alone.logprobs[position] - completion.logprobs[position]) < 1e-5
    assert different <= 1


def near_boundary(model, completion, position, draw, sampling):
    cut = attrs.evolve(completion, reply_ids=completion.reply_ids[: position + 1])
    tree = ReplyTree.of(cut.prompt_ids, [cut.reply_ids])
    logits = model.context_logits([tree])[0][-1] / sampling.temperature
    return float((logits.double().softmax(-1).cumsum(-1) - draw).abs().min()) < 1e-5


def spied(monkeypatch, model):
    """The shapes of what goes through the network from now on, once it is known what it can do."""
    model.check_prompts(PROMPTS[:1], sampling=SETTINGS[0])
    shapes = []
    forward = model.network.forward

    def spy(*args, **kwargs):
        shapes.append(tuple(kwargs["input_ids"].shape))
        return forward(*args, **kwargs)

    monkeypatch.setattr(model.network, "forward", spy)
    return shapes


def test_equal_questions_are_computed_once(monkeypatch):
    model = tiny_model()
    shapes = spied(monkeypatch, model)
    completions = model.sample([PROMPTS[0]] * 50, rngs(50), sampling=Sampling(max_reply_tokens=2))
    assert shapes[0][0] == 1 and shapes[1][0] <= 50
    shapes.clear()
    model.logprobs(completions * 3, sampling=Sampling())
    model.logprobs(completions[:3], sampling=Sampling())  # what the network can do is known by now
    assert shapes[-1][0] == 1  # one prompt, one row, whatever the replies


@pytest.mark.parametrize("sampling", SETTINGS, ids=str)
def test_a_model_that_remembers_computes_no_context_twice_and_draws_the_same(monkeypatch, sampling):
    model = tiny_model(sharp=3.0)
    first = model.sample(PROMPTS, rngs(), sampling=sampling)
    again = model.sample(PROMPTS, rngs(seed=1), sampling=sampling)
    view = model.with_logit_cache()
    assert view.sample(PROMPTS, rngs(), sampling=sampling) == first
    shapes = spied(monkeypatch, model)
    assert view.sample(PROMPTS, rngs(), sampling=sampling) == first
    assert shapes == []
    for mine, whole in zip(
        view.sample(PROMPTS, rngs(seed=1), sampling=sampling), again, strict=True
    ):
        assert mine.reply_ids == whole.reply_ids
        assert mine.logprobs == pytest.approx(whole.logprobs, abs=1e-5)


def test_a_view_that_remembers_does_not_outlive_the_weights():
    """Negative control: what is remembered is of the weights that the view was made under."""
    model = tiny_model(sharp=3.0)
    view = model.with_logit_cache()
    before = view.sample(PROMPTS, rngs(), sampling=SETTINGS[0])
    with torch.no_grad():
        model.network.model.norm.weight.mul_(3)
    assert view.sample(PROMPTS, rngs(), sampling=SETTINGS[0]) == before
    assert model.with_logit_cache().sample(PROMPTS, rngs(), sampling=SETTINGS[0]) != before


def test_a_full_memory_forgets_and_draws_the_same(monkeypatch):
    monkeypatch.setattr("lap.engine.decoding.LOGIT_CACHE_BYTES", 20 * 320 * 4)
    model = tiny_model(sharp=3.0)
    expected = model.sample(PROMPTS, rngs(), sampling=SETTINGS[0])
    view = model.with_logit_cache()
    assert [view.sample(PROMPTS, rngs(), sampling=SETTINGS[0]) for _ in range(3)] == [expected] * 3
    assert len(view.memories[()]._rows) <= 20


@pytest.mark.parametrize("budget", [1, 60, 200])
def test_waiting_prompts_enter_as_others_leave(monkeypatch, budget):
    """A small cache: the same replies, never more tokens than it may hold (but for a single row)."""
    prompts = [
        Prompt((Message("user", (Segment("F " * n, trusted=False),)),)) for n in range(1, 30)
    ]
    model = tiny_model(sharp=3.0)
    expected = model.sample(prompts, rngs(29), sampling=SETTINGS[0])
    model.token_budget = budget
    sizes = []
    forward = model.network.forward

    def spy(*args, **kwargs):
        sizes.append(kwargs["attention_mask"].shape)
        return forward(*args, **kwargs)

    monkeypatch.setattr(model.network, "forward", spy)
    completions = model.sample(prompts, rngs(29), sampling=SETTINGS[0])
    for mine, whole in zip(completions, expected, strict=True):
        assert mine.reply_ids == whole.reply_ids
        assert mine.logprobs == pytest.approx(whole.logprobs, abs=1e-5)
    grown = SETTINGS[0].max_reply_tokens
    assert all(rows == 1 or rows * (width - grown) <= budget for rows, width in sizes)


def test_a_common_beginning_is_computed_once(monkeypatch):
    rules = Segment("F " * 40, trusted=True)
    prompts = [
        Prompt((Message("user", (rules, Segment(f"P {'G ' * n}", trusted=False))),))
        for n in range(6)
    ]
    model = tiny_model(sharp=3.0)
    alone = [
        model.sample([p], [r], sampling=SETTINGS[0])[0]
        for p, r in zip(prompts, rngs(6), strict=True)
    ]
    shapes = spied(monkeypatch, model)
    together = model.sample(prompts, rngs(6), sampling=SETTINGS[0])
    assert shapes[0][0] == 1 and shapes[0][1] >= 40 and shapes[1][1] < 20
    for mine, single in zip(together, alone, strict=True):
        assert mine.reply_ids == single.reply_ids
        assert mine.logprobs == pytest.approx(single.logprobs, abs=1e-5)
    shapes.clear()
    model.logprobs(together, sampling=SETTINGS[0])
    tokens = sum(len(c.prompt_ids) for c in together)
    assert shapes[-1][0] * shapes[-1][1] < tokens / 2


@pytest.mark.parametrize("sampling", SETTINGS, ids=str)
def test_scoring_a_tree_in_one_row_equals_scoring_every_reply_apart(sampling):
    """Two implementations agree, in values and in gradients."""
    results = []
    for layout in ("tree_attention", "packed", "padded"):
        model = tiny_model(sharp=3.0)
        completions = model.sample(PROMPTS * 6, rngs(30), sampling=sampling)
        assert find_layout(model.network, completions[0].prompt_ids) == "tree_attention"
        model.layout = layout
        scores = model.logprobs(completions, sampling=sampling)
        weighed = scores.logprobs_B_L * torch.linspace(-1, 1, 30)[:, None]
        (weighed + 0.1 * scores.entropies_B_L).sum().backward()
        gradient = torch.cat([p.grad.flatten() for p in model.network.parameters()])
        results.append((scores.logprobs_B_L.detach(), scores.entropies_B_L.detach(), gradient))
    plain, plain_entropy, plain_gradient = results.pop()
    for logprobs, entropies, gradient in results:
        torch.testing.assert_close(logprobs, plain, rtol=0, atol=1e-5)
        torch.testing.assert_close(entropies, plain_entropy, rtol=0, atol=1e-4)
        assert float((gradient - plain_gradient).norm() / plain_gradient.norm()) < 1e-5


@pytest.mark.parametrize("sampling", SETTINGS, ids=str)
def test_logits_a_few_at_a_time_give_the_same_scores_and_gradients(monkeypatch, sampling):
    """The head of a large vocabulary is applied in parts, and again backwards."""
    results = []
    for at_once in (2**24, 7 * 320):
        monkeypatch.setattr("lap.engine.scoring.LOGITS_AT_ONCE", at_once)
        model = tiny_model(sharp=3.0)
        completions = model.sample(PROMPTS * 6, rngs(30), sampling=sampling)
        model.logprobs(completions[:1], sampling=sampling)  # finds out what the network can do
        widths = []
        hook = model.network.lm_head.register_forward_hook(
            lambda module, args, out, widths=widths: widths.append(out.shape[1])
        )
        scores = model.logprobs(completions, sampling=sampling)
        (scores.logprobs_B_L + 0.1 * scores.entropies_B_L).sum().backward()
        hook.remove()
        gradient = torch.cat([p.grad.flatten() for p in model.network.parameters()])
        results.append((scores.logprobs_B_L.detach(), gradient, max(widths)))
    (whole, whole_gradient, many), (parts, parts_gradient, few) = results
    assert few <= 7 < many
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-5)
    assert float((parts_gradient - whole_gradient).norm() / whole_gradient.norm()) < 1e-5


def test_rows_of_equal_prompt_draw_by_their_own_stream():
    completions = tiny_model().sample([PROMPTS[0]] * 20, rngs(20), sampling=SETTINGS[0])
    assert len({c.reply_ids for c in completions}) > 15


def test_sampled_frequencies_follow_the_recorded_law():
    model = tiny_model(sharp=4.0)
    completions = model.sample(
        [PROMPTS[0]] * 4000, rngs(4000), sampling=Sampling(max_reply_tokens=1)
    )
    seen = {c.reply_ids[0]: c.logprobs[0] for c in completions}
    for token, logprob in seen.items():
        expected = float(torch.tensor(logprob).exp())
        share = sum(c.reply_ids[0] == token for c in completions) / len(completions)
        assert abs(share - expected) < 5 * (expected * (1 - expected) / 4000) ** 0.5 + 1e-3


def test_a_reply_stops_when_the_parser_has_decided_and_a_cut_reply_says_so():
    replies = uniform(("<action>up</action>",))
    assert ScriptedModel(lambda _: replies).sample(PROMPTS[:1], rngs(1), sampling=Sampling())
    model = TabularModel(("<action>", "up", "</action>"), capacity=5000)
    completions = model.sample(PROMPTS * 40, rngs(200), sampling=Sampling(max_reply_tokens=5),
                         stop_criterion=TagParser().is_complete)  # fmt: skip
    for completion in completions:
        ended = completion.reply_ids[-1] == model.end or TagParser().is_complete(
            completion.reply_text
        )
        assert completion.finished == ended
        assert len(completion.reply_ids) <= 5
        if ended:
            assert not TagParser().is_complete(model.text(completion.reply_ids[:-1]))
    assert {completion.finished for completion in completions} == {True, False}


def test_a_reply_ends_at_the_end_token_and_does_not_show_it():
    model = tiny_model()
    end = model.tokenizer.eos_token_id
    model.network.get_output_embeddings().weight.data[end] += 0  # tied: shape it by a bias below
    hook = model.network.lm_head.register_forward_hook(
        lambda module, args, out: out.index_fill(-1, torch.tensor([end]), 50.0)
    )
    (completion,) = model.sample(PROMPTS[:1], rngs(1), sampling=Sampling())
    hook.remove()
    assert completion.reply_ids == (end,) and completion.finished and completion.reply_text == ""


def test_the_loss_mask_of_a_hand_written_reply():
    """Tokens that the policy did not choose (a forced prefix, a tool's answer) and padding carry no loss."""
    model = tiny_model()
    completions = model.sample(PROMPTS[:2], rngs(2), sampling=Sampling(max_reply_tokens=4))
    first = attrs.evolve(completions[0], trainable=(False, True, True, False))
    second = attrs.evolve(
        completions[1],
        reply_ids=completions[1].reply_ids[:2],
        trainable=(True, True),
        logprobs=(0.0, 0.0),
    )
    scores = model.logprobs([first, second], sampling=Sampling())
    assert scores.mask_B_L.tolist() == [[False, True, True, False], [True, True, False, False]]
    assert scores.logprobs_B_L[1, 2:].tolist() == [0, 0]


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_padding_does_not_change_a_row(make):
    """No pad token is needed: a row alone and beside longer ones gives the same log-probabilities."""
    check_model(make, checks=["scoring_independence"]).raise_if_broken()


def keeps_nothing(model):
    """Whether a model answers as one that has had other weights all along, after it got them."""
    other, sampling = tiny_model(seed=1, sharp=3.0), SETTINGS[0]
    before = model.sample(PROMPTS, rngs(), sampling=sampling)
    model.network.load_state_dict(other.network.state_dict())
    after = model.sample(PROMPTS, rngs(), sampling=sampling)
    fresh = other.sample(PROMPTS, rngs(), sampling=sampling)
    assert [c.logprobs for c in before] != [c.logprobs for c in fresh]  # the weights do matter
    return [(c.reply_ids, c.logprobs) for c in after] == [(c.reply_ids, c.logprobs) for c in fresh]


def test_nothing_is_kept_from_older_weights():
    """A model that keeps its replies is rejected by the kit, in its own tests."""
    assert keeps_nothing(tiny_model(sharp=3.0))
    check_model(MAKERS["transformers"], checks=["fresh_weights"]).raise_if_broken()


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_point_mass_has_no_score(make):
    check_model(make, checks=["greedy"]).raise_if_broken()


def test_tabular_gradient_is_the_score_of_a_softmax():
    model = TabularModel(("a", "b"), capacity=4)
    (completion,) = model.sample(PROMPTS[:1], rngs(1), sampling=Sampling(max_reply_tokens=1))
    model.logprobs([completion], sampling=Sampling()).logprobs_B_L.sum().backward()
    expected = torch.full((3,), -1 / 3, dtype=torch.float64)
    expected[completion.reply_ids[0]] += 1
    torch.testing.assert_close(model.logits.grad[0], expected)


def test_errors_name_the_cause(tmp_path):
    with pytest.raises(ModelError, match="there is no checkpoint at"):
        TransformersModel.from_pretrained(tmp_path / "nothing")
    long = Prompt((Message("user", (Segment("F " * 600, trusted=False),)),))
    with pytest.raises(ModelError, match="do not fit the model's context of 512"):
        tiny_model().sample([long], rngs(1), sampling=Sampling())
    with pytest.raises(InvalidArgumentError):
        TabularModel(())
    full = TabularModel(("a",), capacity=1)
    with pytest.raises(ModelError, match="at most 1 context"):
        full.sample(PROMPTS[:2], rngs(2), sampling=Sampling(max_reply_tokens=1))
    with pytest.raises(ModelError, match="do not belong together"):
        TransformersModel(tiny_model("padded").network, tokenizer("llama"))


def test_logits_that_are_not_finite_are_refused():
    model = tiny_model()
    with torch.no_grad():
        model.network.model.norm.weight[0] = float("nan")
    with pytest.raises(ModelError, match="not finite"):
        model.sample(PROMPTS[:1], rngs(1), sampling=Sampling())


@pytest.mark.parametrize("style", ["plain", "chatml"])
def test_a_policy_is_saved_and_loaded_whole(tmp_path, style):
    policy = LanguageAgentPolicy(
        prompt=MemorylessPrompt(with_rules=False),
        model=tiny_model(style),
        parser=TagParser("move", match="last"),
        sampling=Sampling(temperature=0.7, max_reply_tokens=3),
    )
    policy.save_pretrained(tmp_path)
    loaded = LanguageAgentPolicy.from_pretrained(tmp_path)
    assert (loaded.prompt, loaded.parser, loaded.sampling) == (
        policy.prompt,
        policy.parser,
        policy.sampling,
    )
    ours = policy.model.sample(PROMPTS, rngs(), sampling=policy.sampling)
    theirs = loaded.model.sample(PROMPTS, rngs(), sampling=policy.sampling)
    assert [c.reply_ids for c in ours] == [c.reply_ids for c in theirs]
    assert loaded.model.chat == policy.model.chat
    assert [f.name for f in tmp_path.iterdir() if f.suffix in (".bin", ".pt", ".pkl")] == []
    (tmp_path / "policy.json").write_text('{"prompt": {"type": "os.system"}}')
    with pytest.raises(ModelError, match="no policy can be loaded"):
        LanguageAgentPolicy.from_pretrained(tmp_path)


@given(raw=st.binary(max_size=40))
def test_arbitrary_bytes_as_reply_never_raise(raw):
    text = raw.decode("utf-8", errors="surrogateescape")
    model = ScriptedModel(lambda _: text)
    (completion,) = model.sample(PROMPTS[:1], rngs(1), sampling=Sampling())
    TagParser().parse(completion.reply_text)
    PromptEncoder(tokenizer()).encode(
        Prompt((Message("assistant", (Segment(text, trusted=False),)),))
    )
