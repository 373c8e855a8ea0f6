"""Constrained decoding: by hand, against the free model, and over whole episodes."""

import math
from typing import Any

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
    LanguageAgentPolicy,
    LastTurnsPrompt,
    MemorylessPrompt,
    Sampling,
    ScriptedModel,
    TabularModel,
    TagParser,
    WholeReplyParser,
)
from proofs import InducedPlayer
from proofs.small_games import choice_game, tabular_policy
from tests.checkpoints import tiny_model
from tsmg import (
    EpisodeKey,
    EpisodeSpec,
    GameLawError,
    Match,
    NotEnumerableError,
    Request,
    play,
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
