"""The fit: its loss is the cross-entropy by hand, whatever the micro-batches, and it goes on bit for bit."""

import attrs
import pytest
import torch

from algorithms.cloning.demonstrations import Demonstration
from algorithms.cloning.fit import Fit, WrittenReplies, cross_entropies, divergence
from algorithms.errors import RunFolderError
from lap import (
    Message,
    ModelError,
    Prompt,
    Sampling,
    Segment,
    TabularModel,
    TagParser,
    WholeReplyParser,
)
from tests.checkpoints import tiny_model

PARSER, PLAIN = TagParser(), Sampling()


def prompt(text):
    return Prompt((Message("user", (Segment(text, trusted=False),)),))


SHOWN = [
    Demonstration(
        prompt=prompt("P F\nF G"),
        reply_dist=(("<action>down</action>", 0.75), ("<action>right</action>", 0.25)),
    ),
    Demonstration(prompt=prompt("F P\nF G"), reply_dist=(("<action>down</action>", 1.0),)),
    Demonstration(
        prompt=prompt("F F\nP G"),
        reply_dist=(("<action>up</action>", 0.5), ("<action>right</action>", 0.5)),
    ),
]


def a_fit(model=None, **changed):
    settings = {
        "steps": 6, "batch": 4, "learning_rate": 1e-2, "seed": 3, "token_budget": 4096, **changed,
    }  # fmt: skip
    return Fit(model or tiny_model(), SHOWN, parser=PARSER, **settings)


@torch.no_grad()
def by_hand(model, shown):
    """E over prompts and replies of -log M(reply | prompt), from next-token logits of one row at a time."""
    total = 0.0
    for one in shown:
        for reply, p in one.reply_dist:
            written = model.written(one.prompt, reply, stop_criterion=PARSER.is_complete)
            ids = torch.tensor([[*written.prompt_ids, *written.reply_ids]])
            logprobs = model.network(input_ids=ids).logits[0].log_softmax(-1)
            first = len(written.prompt_ids) - 1
            for n, token in enumerate(written.reply_ids):
                total -= p * float(logprobs[first + n, token]) / len(shown)
    return total


def losses(model, shown, token_budget=4096):
    rows = WrittenReplies(model, PARSER).rows(shown)
    return [float(part.detach()) for part in cross_entropies(model, rows, token_budget)]


def test_the_loss_is_the_cross_entropy_of_whole_replies():
    model = tiny_model(sharp=3.0)
    assert sum(losses(model, SHOWN)) == pytest.approx(by_hand(model, SHOWN), rel=1e-5)
    twice = [SHOWN[0], *SHOWN]  # a prompt that is drawn twice counts twice
    assert sum(losses(model, twice)) == pytest.approx(by_hand(model, twice), rel=1e-5)


def test_the_divergence_is_the_cross_entropy_less_the_entropy():
    model = tiny_model(sharp=3.0)
    entropy = -(0.75 * torch.tensor(0.75).log() + 0.25 * torch.tensor(0.25).log())
    entropy = float(entropy + torch.tensor(2.0).log()) / 3
    found = divergence(model, WrittenReplies(model, PARSER), SHOWN, token_budget=64)
    assert found == pytest.approx(by_hand(model, SHOWN) - entropy, rel=1e-5)


def gradient(token_budget):
    model = tiny_model(sharp=3.0)
    rows = WrittenReplies(model, PARSER).rows(SHOWN)
    parts = list(cross_entropies(model, rows, token_budget))
    sum(parts).backward()
    return len(parts), torch.cat([p.grad.flatten() for p in model.network.parameters()])


def test_micro_batches_change_the_gradient_by_rounding_alone():
    (one, whole), (several, parts) = gradient(4096), gradient(30)
    assert (one, several > 1) == (1, True)
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-6)


def test_given_tokens_carry_no_loss(monkeypatch):
    """Where a reply is begun for the model, only what it chooses itself is learnt."""
    model = tiny_model(sharp=3.0)
    rows = WrittenReplies(model, PARSER).rows(SHOWN)
    first = sum(
        -row.weight
        * float(model.logprobs([row.completion], sampling=PLAIN).logprobs_B_L.detach()[0, 0])
        for row in rows
    )
    assert first > 0.1
    written = model.written

    def begun(*arguments, **settings):
        whole = written(*arguments, **settings)
        return attrs.evolve(whole, trainable=(False, *whole.trainable[1:]))

    monkeypatch.setattr(model, "written", begun)
    expected = by_hand(tiny_model(sharp=3.0), SHOWN) - first
    assert sum(losses(model, SHOWN)) == pytest.approx(expected, rel=1e-4)


def test_replies_of_equal_tokens_are_one_and_impossible_ones_none():
    model = tiny_model()
    same = Demonstration(
        prompt=SHOWN[0].prompt,
        reply_dist=(("<action>up</action>", 0.25), ("<action>up</action>", 0.75), ("x", 0.0)),
    )
    ((completion, p),) = WrittenReplies(model, PARSER).dist(same)
    assert (completion.reply_text, p) == ("<action>up</action>", 1.0)


def test_a_fit_goes_on_bit_for_bit(tmp_path):
    whole = a_fit()
    at_once = [whole.step() for _ in range(6)]
    first = a_fit()
    before = [first.step() for _ in range(3)]
    first.state({}).save(tmp_path)
    second = a_fit(tiny_model(seed=1))
    second.load_state(type(first.state({})).load(tmp_path))
    assert before + [second.step() for _ in range(3)] == at_once
    pairs = zip(whole.model.network.parameters(), second.model.network.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_the_state_of_another_network_is_refused(tmp_path):
    a_fit().state({}).save(tmp_path)
    state = type(a_fit().state({})).load(tmp_path)
    with pytest.raises(RunFolderError, match="another network"):
        a_fit(tiny_model("chatml")).load_state(state)


def test_the_learning_rate_warms_up_and_decays():
    fit = a_fit(steps=40)
    rates = []
    for _ in range(40):
        fit.step()
        rates.append(fit._optimizer.param_groups[0]["lr"] / 1e-2)
    assert rates[:2] == [0.5, 1.0] and rates == sorted(rates[:2]) + sorted(rates[2:], reverse=True)
    assert rates[-1] < 0.01


def test_any_trainable_model_is_fitted():
    """The fit asks for ``written`` and ``logprobs`` alone: a table of logits learns a distribution exactly."""
    shown = [
        Demonstration(prompt=prompt(text), reply_dist=(("heads", p), ("tails", 1 - p)))
        for text, p in (("a", 0.8), ("b", 0.3))
    ]
    model = TabularModel(("heads", "tails"), capacity=10)
    fit = Fit(
        model, shown, parser=WholeReplyParser(),
        steps=100, batch=2, learning_rate=0.3, seed=0, token_budget=4096,
    )  # fmt: skip
    assert fit.divergence(shown) > 0.3
    for _ in range(100):
        fit.step()
    assert fit.divergence(shown) < 0.05


def test_a_gradient_that_is_not_finite_stops_the_fit():
    fit = a_fit()
    with torch.no_grad():
        fit.model.network.model.norm.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        fit.step()
