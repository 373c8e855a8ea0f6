"""Constrained decoding: by hand, against the free model, and over whole episodes."""

import math
from typing import Any

import attrs
import pytest
import torch
from click.testing import CliRunner
from typeguard import suppress_type_checks

import games
from algorithms import evaluate
from algorithms.cli.main import main
from algorithms.play.rollouts import fixed_starts
from lap import (
    ConstrainedPolicy,
    ContextLengthError,
    LanguageAgentPolicy,
    LastTurnsPrompt,
    MemorylessPrompt,
    ModelError,
    Sampling,
    ScriptedModel,
    TabularModel,
    TagParser,
    WholeReplyParser,
    with_logit_cache,
)
from proofs import InducedPlayer
from proofs.small_games import choice_game, tabular_policy
from tests.checkpoints import tiny_model
from tsmg import (
    AbstractExplicitGame,
    EpisodeKey,
    EpisodeSpec,
    GameLawError,
    Match,
    NotEnumerableError,
    Observation,
    Request,
    Transition,
    deterministic,
    play,
    uniform,
    with_texts,
)


def first_request(game: Any) -> Request:
    return Match.begin(game, EpisodeSpec(key=EpisodeKey(seed=0))).requests[0]


def two_letters() -> tuple[Any, LanguageAgentPolicy[TabularModel]]:
    """Actions "aa", "ab" and "b": the first two share their first token."""
    game = choice_game({"aa": 1.0, "ab": 0.0, "b": 0.5})
    policy = tabular_policy(("a", "b"), dists={"choose": {"a": 0.6, "b": 0.1, "": 0.3}}, tokens=3)
    table = {(0,): (0.2, 0.1, 0.7), (0, 0): (0.0, 0.5, 0.5), (0, 1): (0.25, 0.25, 0.5)}
    table[(1,)] = (0.0, 0.0, 1.0)
    with torch.no_grad():
        for prefix, dist in table.items():
            row = policy.model.row("choose\n", prefix)
            policy.model.logits[row] = torch.tensor(dist, dtype=torch.float64).log()
    return game, policy


def test_the_trie_by_hand() -> None:
    """At the start a : b = 6 : 1; after a, a : b = 2 : 1; ends are certain."""
    game, policy = two_letters()
    found = ConstrainedPolicy(game=game, policy=policy).canonical(first_request(game))
    by_action = {one.action: one for one in found}
    assert {a: one.probability for a, one in by_action.items()} == pytest.approx(
        {"aa": 6 / 7 * 2 / 3, "ab": 6 / 7 * 1 / 3, "b": 1 / 7}
    )
    assert {a: one.mass for a, one in by_action.items()} == pytest.approx(
        {"aa": 0.6 * 0.2 * 0.5, "ab": 0.6 * 0.1 * 0.5, "b": 0.1}
    )
    entropy = ConstrainedPolicy(game=game, policy=policy).action_entropy(first_request(game))
    assert entropy == pytest.approx(-sum(o.probability * math.log(o.probability) for o in found))


def test_it_is_not_the_free_law_given_that_the_reply_is_canonical() -> None:
    """The counterexample: replies that the free model rarely ends keep what led to them."""
    game, policy = two_letters()
    found = ConstrainedPolicy(game=game, policy=policy).canonical(first_request(game))
    total = sum(one.mass for one in found)
    given_canonical = {one.action: one.mass / total for one in found}
    assert abs(given_canonical["aa"] - found[0].probability) > 0.1
    single = choice_game(
        {"a": 1.0, "b": 0.0}
    )  # replies of one token, which no end follows: the same
    short = tabular_policy(("a", "b"), dists={"choose": {"a": 0.6, "b": 0.1, "": 0.3}}, tokens=1)
    dist = ConstrainedPolicy(game=single, policy=short).canonical(first_request(single))
    assert [one.probability for one in dist] == pytest.approx([6 / 7, 1 / 7])


def test_the_mass_is_that_of_the_induced_law() -> None:
    game = games.make("FrozenLake-v0")
    policy = LanguageAgentPolicy(
        prompt=MemorylessPrompt(with_rules=False), model=tiny_model(sharp=2.0), parser=TagParser()
    )
    request = first_request(game)
    found = ConstrainedPolicy(game=game, policy=policy).canonical(request)
    mass = InducedPlayer(game, policy).reply_dist(request.state, "player")
    assert {one.action: one.mass for one in found} == pytest.approx(mass, rel=1e-4)
    assert sum(one.probability for one in found) == pytest.approx(1)


@pytest.mark.parametrize("temperature", [1.0, 0.0])
@suppress_type_checks
def test_whole_episodes_hold_no_invalid_text(temperature: float) -> None:
    """A random network, whose free replies say nothing; greedy play is the same twice."""
    game = games.make("FrozenLake-v0")
    free = LanguageAgentPolicy(
        prompt=LastTurnsPrompt(with_rules=False),
        model=tiny_model(sharp=2.0),
        sampling=Sampling(temperature=temperature),
    )
    specs = fixed_starts(game, 6, seed=0)
    assert evaluate(game, free, specs).invalid_rate > 0.5
    constrained = ConstrainedPolicy(game=game, policy=free)
    assert evaluate(game, constrained, specs).invalid_rate == 0
    one, other = play(game, constrained, specs), play(game, constrained, specs[::-1])[::-1]
    assert [r.steps for r in one] == [r.steps for r in other]  # type: ignore[union-attr]


def test_greedy_play_takes_the_best_token_of_the_trie() -> None:
    """Token by token: "a" first, and then "a", although the free model would have ended the reply."""
    game, policy = two_letters()
    greedy = policy.with_sampling(Sampling(temperature=0.0, max_reply_tokens=3))
    found = ConstrainedPolicy(game=game, policy=greedy).canonical(first_request(game))
    assert {one.action: one.probability for one in found} == {"aa": 1.0, "ab": 0.0, "b": 0.0}
    assert all(one.mass == 0 for one in found)  # the free model says "a", and ends
    narrow = policy.with_sampling(Sampling(top_k=1, max_reply_tokens=3))
    dist = ConstrainedPolicy(game=game, policy=narrow).canonical(first_request(game))
    assert [one.probability for one in dist] == pytest.approx([4 / 7, 2 / 7, 1 / 7])


def test_refusals() -> None:
    game, _ = two_letters()
    request = first_request(game)
    scripted = LanguageAgentPolicy(model=ScriptedModel(lambda prompt: "aa"))
    with pytest.raises(NotEnumerableError, match="ScriptedModel"):
        ConstrainedPolicy(game=game, policy=scripted).canonical(request)
    begun = choice_game({"a": 1.0, "ab": 0.0})
    short = LanguageAgentPolicy(
        prompt=MemorylessPrompt(with_rules=False),
        model=TabularModel(("a", "b")),
        parser=WholeReplyParser(),
    )
    assert ConstrainedPolicy(game=begun, policy=short).canonical(first_request(begun))
    twins = with_texts(begun, action_text=lambda state, agent, action: "a")
    with pytest.raises(GameLawError, match="of another"):
        ConstrainedPolicy(game=twins, policy=short).canonical(first_request(twins))


def test_the_command_line(tmp_path: Any) -> None:
    policy = LanguageAgentPolicy(
        prompt=MemorylessPrompt(with_rules=False), model=tiny_model(sharp=2.0)
    )
    policy.save_pretrained(tmp_path)
    options = ["evaluate", "--game", "FrozenLake-v0", "--episodes", "3", "--model", str(tmp_path)]
    free = CliRunner().invoke(main, options)
    assert free.exit_code == 0 and "invalid 0.0000" not in free.output, free.output
    limited = CliRunner().invoke(main, [*options, "--constrained"])
    assert limited.exit_code == 0 and "invalid 0.0000" in limited.output, limited.output


# ---- many requests at once ------------------------------------------------------------------------------


def lake_requests(count: int) -> tuple[Any, list[Request]]:
    game = games.make("FrozenLake-v0")
    specs = fixed_starts(game, count, seed=0)
    return game, [Match.begin(game, spec).requests[0] for spec in specs]


def lake_policy(**sampling: Any) -> LanguageAgentPolicy[Any]:
    return LanguageAgentPolicy(
        prompt=MemorylessPrompt(with_rules=False),
        model=tiny_model(sharp=2.0),
        sampling=Sampling(**sampling),
    )


@pytest.mark.parametrize("budget", [32_768, 150, 1])
def test_requests_are_computed_together_and_each_is_answered_as_alone(
    monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    """In passes within the model's budget of tokens; drawn by each request's own stream."""
    game, requests = lake_requests(12)
    free = lake_policy(temperature=1.3)
    policy = ConstrainedPolicy(game=game, policy=free)
    alone = [policy.reply([request])[0] for request in requests]
    passes: list[int] = []
    compute = free.model.context_logits

    def counted(trees: Any) -> Any:
        passes.append(sum(tree.size for tree in trees))
        assert len(trees) == 1 or passes[-1] <= budget
        return compute(trees)

    monkeypatch.setattr(free.model, "context_logits", counted)
    monkeypatch.setattr(free.model, "token_budget", budget)
    together = policy.reply([*requests, *requests[::-1]])
    assert len(passes) == {32_768: 1, 1: 12}.get(budget, len(passes))
    assert [r.text for r in together] == [r.text for r in [*alone, *alone[::-1]]]
    assert len({reply.text for reply in alone}) > 1
    for one, other in zip(alone, together, strict=False):
        assert one.completions[0].support == other.completions[0].support
        assert one.completions[0].logprobs == pytest.approx(other.completions[0].logprobs, abs=1e-5)


def test_a_record_holds_what_could_be_drawn() -> None:
    """Its log-probabilities are those under which it is learnt; what was not chosen is not trained on."""
    game, policy = two_letters()
    by_text = {
        one.reply.text: one.reply.completions[0]
        for one in ConstrainedPolicy(game=game, policy=policy).canonical(first_request(game))
    }
    end = policy.model.end
    assert by_text["ab"].support == ((0, 1), (0, 1), (end,))
    assert by_text["ab"].trainable == (True, True, False)
    assert by_text["b"].support == ((0, 1), (end,)) and by_text["b"].trainable == (True, False)
    assert by_text["ab"].logprobs == pytest.approx((math.log(6 / 7), math.log(1 / 3), 0.0))


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_replies_are_scored_as_they_were_drawn(temperature: float) -> None:
    """The learning engine, on the recorded support; without it, the score is another one."""
    game, requests = lake_requests(20)
    free = lake_policy(temperature=temperature)
    replies = ConstrainedPolicy(game=game, policy=free).reply(requests)
    completions = [reply.completions[0] for reply in replies]
    scores = free.model.logprobs(completions, sampling=free.sampling)
    for n, completion in enumerate(completions):
        length = len(completion.reply_ids)
        assert scores.logprobs_B_L[n, :length].tolist() == pytest.approx(
            list(completion.logprobs), abs=1e-5
        )
        assert scores.mask_B_L[n, :length].tolist() == list(completion.trainable)
        assert sum(completion.trainable) == 1
        assert completion.finished
    unsupported = [
        attrs.evolve(one, support=None, trainable=(True,) * len(one.reply_ids))
        for one in completions
    ]
    free_scores = free.model.logprobs(unsupported, sampling=free.sampling)
    assert bool((free_scores.logprobs_B_L[:, 0] < -1).all())


def test_tokens_that_are_given_are_not_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``written`` says that the policy does not choose stays so."""
    game, policy = two_letters()
    write = policy.model.written

    def given(*args: Any, **settings: Any) -> Any:
        written = write(*args, **settings)
        return attrs.evolve(written, trainable=(False, *written.trainable[1:]))

    monkeypatch.setattr(policy.model, "written", given)
    found = ConstrainedPolicy(game=game, policy=policy).canonical(first_request(game))
    masks = {one.reply.text: one.reply.completions[0].trainable for one in found}
    assert masks["ab"] == (False, True, False)
    assert found[0].mass == pytest.approx(0.2 * 0.5)  # of "aa", after the "a" that is given


def test_one_legal_action_needs_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    game = choice_game({"left": 1.0})
    free = lake_policy()
    monkeypatch.setattr(free.model, "context_logits", None)
    (reply,) = ConstrainedPolicy(game=game, policy=free).reply([first_request(game)])
    (completion,) = reply.completions
    assert reply.text == "<action>left</action>"
    assert not any(completion.trainable) and set(completion.logprobs) == {0.0}


@attrs.frozen(kw_only=True)
class Doors(AbstractExplicitGame[int, str]):
    """Two states that read alike, of which the second has another door."""

    agents = ("player",)
    horizon = 1

    def initial_state_dist(self) -> Any:
        return uniform((0, 1))

    def is_terminal(self, state: int) -> bool:
        return state < 0

    def acting_agents(self, state: int) -> tuple[str, ...]:
        return self.agents

    def legal_actions(self, state: int, agent: str) -> tuple[str, ...]:
        return ("left", "right") if state == 0 else ("up",)

    def transition_dist(self, state: int, joint_action: Any) -> Any:
        return deterministic(Transition(-1, (0.0,)))

    def observation_text(self, state: int, agent: str) -> str:
        return "a room"

    def action_text(self, state: int, agent: str, action: str) -> str:
        return action


def test_states_that_read_alike_may_have_different_actions() -> None:
    game, free = Doors(), lake_policy()
    policy = ConstrainedPolicy(game=game, policy=free)
    specs = [EpisodeSpec[Any](key=EpisodeKey(seed=n)) for n in range(20)]
    assert all(episode.invalid_count("player") == 0 for episode in play(game, policy, specs))  # type: ignore[union-attr]


def test_a_view_remembers_and_the_policy_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    game, requests = lake_requests(4)
    free = lake_policy()
    policy = ConstrainedPolicy(game=game, policy=free)
    views = with_logit_cache({"one": policy, "other": policy})
    assert views["one"] is views["other"] is not policy
    first = [reply.text for reply in views["one"].reply(requests)]
    compute = free.model.context_logits
    monkeypatch.setattr(free.model, "context_logits", None)
    assert [reply.text for reply in views["one"].reply(requests)] == first
    with pytest.raises(TypeError):
        policy.reply(requests)
    monkeypatch.setattr(free.model, "context_logits", compute)
    monkeypatch.setattr("lap.constrained._REMEMBERED", 1)
    known = views["one"].memory
    assert known is not None and len(known) == 4
    assert [reply.text for reply in views["one"].reply(requests[:1])] == first[:1]
    assert len(known) == 1  # what was remembered beyond the limit is forgotten
    assert [reply.text for reply in views["one"].reply(requests)] == first


def test_a_prompt_that_is_too_long_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for the longest legal reply is all that is needed, whatever the limit on free replies."""
    game, requests = lake_requests(3)
    free = lake_policy(max_reply_tokens=500)
    policy = ConstrainedPolicy(game=game, policy=free)
    lengths = [
        len(c.prompt_ids) + len(c.reply_ids) for r in policy.reply(requests) for c in r.completions
    ]
    assert len(set(lengths)) == 1
    monkeypatch.setattr(free.model.network.config, "max_position_embeddings", lengths[0])
    assert policy.reply(requests)
    longer = attrs.evolve(
        requests[2],
        history=attrs.evolve(requests[2].history, observation=Observation(text="F" * 80)),
    )
    with pytest.raises(ContextLengthError) as caught:
        policy.reply([*requests[:2], longer])
    assert caught.value.index == 2 and "step 0" in caught.value.__notes__[0]


def test_logits_that_are_no_numbers_are_refused() -> None:
    game, requests = lake_requests(1)
    free = lake_policy()
    with torch.no_grad():
        free.model.network.get_output_embeddings().weight.fill_(math.nan)
    with pytest.raises(ModelError, match="not finite"):
        ConstrainedPolicy(game=game, policy=free).reply(requests)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_one_logit_that_is_not_finite_is_refused(
    value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An infinite one would be a certain token; minus infinity is a token that the network rules out."""
    game, requests = lake_requests(3)
    free = lake_policy()
    policy = ConstrainedPolicy(game=game, policy=free)
    compute = free.model.context_logits
    spoilt = policy.reply(requests[:1])[0].completions[0].support
    assert spoilt is not None
    (choice,) = (tokens for tokens in spoilt if len(tokens) > 1)

    def one_is(number: float) -> Any:
        def logits(trees: Any) -> Any:
            found, row_of = compute(trees)
            found[-1, choice[0]] = number
            return found, row_of

        return logits

    monkeypatch.setattr(free.model, "context_logits", one_is(value))
    with pytest.raises(ModelError, match="not finite"):
        policy.reply(requests)
    monkeypatch.setattr(free.model, "context_logits", one_is(-math.inf))
    assert len(policy.reply(requests)) == 3
