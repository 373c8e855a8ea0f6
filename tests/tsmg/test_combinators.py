"""Games made of games: what a combinator changes, and that it changes nothing else."""

import hashlib
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from typeguard import suppress_type_checks

import games
from games.frozen_lake import OBSERVATION_TEXTS, FrozenLake
from tests.strategies import SOUND_GAMES, Coins, Countdown, Drift, specs, uniform_policy
from tsmg import (
    AbstractExplicitGame,
    AbstractGame,
    Facts,
    Forfeit,
    Illegal,
    InvalidArgumentError,
    Parsed,
    Stream,
    UniformPlayer,
    combinators,
    play,
    split_starts,
    with_horizon,
    with_invalid_rule,
    with_player,
    with_texts,
)

LAKE = FrozenLake(size=3, frozen_probability=0.5)
Split = Callable[[Any, Any], Any]


# ---- split_starts ----------------------------------------------------------------------------


@suppress_type_checks
def is_a_partition(split: Split, game: FrozenLake) -> bool:
    """The parts are disjoint, cover all starts, and have the distribution of the starts, conditioned."""
    whole = game.initial_state_dist().pmf()
    parts = [split(game, part).initial_state_dist().pmf() for part in ("train", "held_out")]
    disjoint = not set(parts[0]) & set(parts[1])
    covering = set(parts[0]) | set(parts[1]) == set(whole)
    weights = [sum(whole[s] for s in part) for part in parts]
    conditional = all(
        p * weight == whole[s]
        for part, weight in zip(parts, weights, strict=True)
        for s, p in part.items()
    )
    return disjoint and covering and conditional


def test_the_parts_are_a_partition() -> None:
    assert is_a_partition(split_starts, LAKE)


def test_parts_that_overlap_are_noticed() -> None:
    def split(game: Any, part: str) -> Any:
        return split_starts(game, part, held_out=0.5 if part == "train" else 0.7)  # type: ignore[arg-type]

    assert not is_a_partition(split, LAKE)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_the_share_is_held_out(share: float) -> None:
    game = split_starts(Drift(), "held_out", held_out=share)
    held = [s for s in range(2000) if game.changes.starts(s)]  # type: ignore[attr-defined]
    assert len(held) / 2000 == pytest.approx(share, abs=0.05)


@suppress_type_checks
def agree_on_every_start(games: list[AbstractGame[Any, Any]]) -> bool:
    """The games hold out the same instances."""
    starts = FrozenLake().initial_state_dist()
    sample = [starts.sample(Stream("agree", i)) for i in range(60)]
    first, *others = [[game.changes.starts(s) for s in sample] for game in games]  # type: ignore[attr-defined]
    return any(first) and not all(first) and all(other == first for other in others)


def test_every_style_rule_and_horizon_holds_out_the_same() -> None:
    variants: list[AbstractGame[Any, Any]] = [
        *(FrozenLake(observation=style) for style in OBSERVATION_TEXTS),
        FrozenLake(slippery=True, horizon=3),
        with_texts(FrozenLake(), observation_text=lambda state, agent: "blind"),
        with_horizon(with_invalid_rule(FrozenLake(), Forfeit()), 5),
    ]
    assert agree_on_every_start([split_starts(game, "held_out") for game in variants])


def test_a_split_by_what_is_seen_is_noticed() -> None:
    def by_text(game: FrozenLake) -> AbstractGame[Any, Any]:
        def starts(state: Any) -> bool:
            text = game.observation_text(state, "player")
            return hashlib.blake2b(text.encode(), digest_size=1).digest()[0] < 128

        return combinators._derive(game, combinators._Changes(starts=starts))

    styles = [FrozenLake(observation=style) for style in OBSERVATION_TEXTS]
    assert not agree_on_every_start([by_text(game) for game in styles])


def test_samplers_stay_in_their_part() -> None:
    for game in (FrozenLake(), Drift()):
        parts = [split_starts(game, "train"), split_starts(game, "held_out")]
        drawn = [{part.sample_initial_state(Stream(i)) for i in range(40)} for part in parts]
        assert not drawn[0] & drawn[1]
        assert len(drawn[0]) > len(drawn[1]) > 1


def test_impossible_splits_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for share in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(InvalidArgumentError, match=r"'held_out' must be in \(0, 1\)"):
            split_starts(LAKE, "train", held_out=share)
    with pytest.raises(InvalidArgumentError, match=r"'part' must be .* \(got 'heldout'\)"):
        split_starts(LAKE, "heldout")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="only starts that are instances"):
        split_starts(FrozenLake(map=("SF", "FG")), "train")
    monkeypatch.setattr(combinators, "_REJECTION_LIMIT", 20)
    with pytest.raises(InvalidArgumentError, match="Drift: no start found in 20 draws"):
        split_starts(Drift(), "held_out", held_out=1e-12).sample_initial_state(Stream(0))


# ---- the other combinators -------------------------------------------------------------------


def differs_only_in(game: AbstractGame[Any, Any], derived: Any, *names: str) -> bool:
    """A derived game has all properties of its origin but the named ones, and plays like it."""
    plain = ("name", "agents", "discount", "horizon", "invalid_rule", "facts")
    state = game.sample_initial_state(Stream("same"))
    agent = game.agents[0]
    action = (game.legal_actions(state, agent) or (None,))[0]
    questions: dict[str, tuple[Any, ...]] = {
        "is_terminal": (state,),
        "acting_agents": (state,),
        "legal_actions": (state, agent),
        "observation_text": (state, agent),
        "action_text": (state, agent, action),
        "rules_text": (agent,),
        "noop_action": (state, agent),
        "is_out": (state, agent),
        "instance_key": (state,),
        "information_key": (state, agent),
    }
    same = {name: getattr(game, name) == getattr(derived, name) for name in plain}
    for name, arguments in questions.items():
        same[name] = getattr(game, name)(*arguments) == getattr(derived, name)(*arguments)
    return {name for name, equal in same.items() if not equal} == set(names)


@pytest.mark.parametrize("game", SOUND_GAMES, ids=lambda game: game.name)
def test_a_combinator_changes_only_what_it_says(game: AbstractGame[Any, Any]) -> None:
    blind = with_texts(game, observation_text=lambda state, agent: "dark")
    assert differs_only_in(game, with_horizon(game, 77), "horizon")
    assert differs_only_in(game, with_invalid_rule(game, Forfeit()), "invalid_rule")
    assert differs_only_in(game, with_texts(game, rules_text=lambda agent: "Go!"), "rules_text")
    assert not differs_only_in(game, blind)
    for derived in (blind, with_horizon(game, 77)):
        assert isinstance(derived, AbstractExplicitGame) == isinstance(game, AbstractExplicitGame)


@pytest.mark.parametrize("game", SOUND_GAMES, ids=lambda game: game.name)
def test_derived_games_play_as_their_origin(game: AbstractGame[Any, Any]) -> None:
    derived = with_invalid_rule(with_horizon(game, 3), game.invalid_rule)
    short = play(derived, uniform_policy(derived), specs(4))
    long = play(game, uniform_policy(game), specs(4))
    assert all(len(episode.steps) <= 3 for episode in short)
    assert [episode.steps for episode in short] == [episode.steps[:3] for episode in long]


def test_a_part_of_the_starts_does_not_say_that_it_has_several() -> None:
    part = split_starts(games.make("ScatteredHanoi-v0", disks=1), "train", held_out=0.3)
    assert len(part.initial_state_dist().support()) == 1  # type: ignore[attr-defined]
    assert part.facts.stochastic_start is None


def test_laws_are_those_of_the_origin() -> None:
    derived: Any = with_horizon(Coins(), 2)
    joint = {"even": "Heads", "odd": "Tails"}
    assert derived.transition_dist((), joint).pmf() == Coins().transition_dist((), joint).pmf()
    assert derived.initial_state_dist().pmf() == {(): 1}
    with pytest.raises(InvalidArgumentError, match="'horizon' must be at least 1"):
        with_horizon(Coins(), 0)


@pytest.mark.parametrize("game", SOUND_GAMES, ids=lambda game: game.name)
def test_another_player_changes_nothing_else(game: AbstractGame[Any, Any]) -> None:
    player = UniformPlayer(game)
    derived = with_player(game, player)
    assert derived.scripted_player() is player is not game.scripted_player()
    assert with_horizon(derived, 3).scripted_player() is player
    assert differs_only_in(game, derived)


def test_new_texts_are_read_back() -> None:
    words = {1: "one", 2: "two"}
    game = with_texts(
        Countdown(),
        observation_text=lambda state, agent: f"{agent}: {state[0]}",
        action_text=lambda state, agent, action: words[action],
    )
    assert game.observation_text((5, 0), "first") == "first: 5"
    assert game.read_action((5, 0), "first", " Two ") == Parsed(2)
    assert game.read_action((5, 0), "first", "take 2") == Illegal("take 2")
    # an observation text alone leaves the game's own reading in place
    same = with_texts(Countdown(), observation_text=lambda state, agent: "?")
    assert same.read_action((5, 0), "first", "take 2") == Parsed(2)
    last = with_texts(Countdown(), read_action=lambda state, agent, text: Parsed(len(text)))
    assert last.read_action((5, 0), "first", "xx") == Parsed(2)


def test_facts_about_texts_are_not_kept_for_other_texts() -> None:
    def text(state: Any, agent: str) -> str:
        return "dark"

    assert LAKE.facts.perfect_information
    assert LAKE.facts.text_separates_states
    blind = with_texts(LAKE, observation_text=text).facts
    assert (blind.perfect_information, blind.text_separates_states) == (None, None)
    told = with_texts(LAKE, observation_text=text, text_separates_states=True).facts
    assert (told.perfect_information, told.text_separates_states) == (True, True)
    assert attrs.evolve(blind, perfect_information=True, text_separates_states=True) == LAKE.facts
    assert with_texts(LAKE, rules_text=str).facts == LAKE.facts
    assert with_texts(Countdown(), observation_text=text).facts == Facts(zero_sum=True)


def test_starts_of_any_text_can_be_held_out():
    """A text may hold half of a surrogate pair; the split of other texts is what it was."""

    @attrs.frozen(kw_only=True)
    class Halved(Drift):
        def instance_key(self, start):
            return "\ud800" + str(start)

    for part in ("train", "held_out"):
        assert split_starts(Halved(), part, held_out=0.5).sample_initial_state(Stream(0)) >= 0
