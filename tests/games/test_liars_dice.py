"""Liar's dice: its value and OpenSpiel's by linear programmes over both trees, and chances by counting dice."""

import itertools
from fractions import Fraction
from typing import Any

import pytest

from games.kuhn_poker import KuhnPoker
from games.liars_dice import Bid, LiarsDice, PlausibleBidder, Table, all_bids
from tests.games.sequence_form import Chance, End, Move, game_value
from tsmg import (
    AbstractExplicitGame,
    Episode,
    EpisodeKey,
    EpisodeSpec,
    Illegal,
    InvalidArgumentError,
    Parsed,
    PlayerPolicy,
    play,
)


def native_value(game: AbstractExplicitGame[Any, Any]) -> float:
    """The value to the first agent, by the game's own laws and information keys."""

    def node_of(at: Any) -> Chance | Move | End:
        if at is None:
            starts = game.initial_state_dist().pmf()
            return Chance(tuple((float(p), (state, 0.0)) for state, p in starts.items()))
        state, gain = at
        if game.is_terminal(state):
            return End(gain)
        (agent,) = game.acting_agents(state)
        children = {}
        for action in game.legal_actions(state, agent) or ():
            ((after, rewards_N),) = game.transition_dist(state, {agent: action}).support()
            children[action] = (after, gain + rewards_N[0])
        return Move(game.agents.index(agent), game.information_key(state, agent), children)

    return game_value(None, node_of)


def open_spiel_value(name: str) -> float:
    """The value to the first player of a game of OpenSpiel."""
    pyspiel = pytest.importorskip("pyspiel")

    def node_of(state: Any) -> Chance | Move | End:
        if state.is_terminal():
            return End(state.returns()[0])
        if state.is_chance_node():
            return Chance(tuple((p, state.child(a)) for a, p in state.chance_outcomes()))
        children = {a: state.child(a) for a in state.legal_actions()}
        return Move(state.current_player(), state.information_state_string(), children)

    return game_value(pyspiel.load_game(name).new_initial_state(), node_of)


def test_the_programme_finds_the_value_of_kuhn_poker() -> None:
    assert native_value(KuhnPoker()) == pytest.approx(-1 / 18)


@pytest.mark.parametrize(
    ("faces", "value"),
    [(2, 1 / 2), (3, 1 / 9), (4, 1 / 16)],
)
def test_the_value_is_that_of_open_spiels_game(faces: int, value: float) -> None:
    name = f"liars_dice(players=2,numdice=1,dice_sides={faces})"
    assert open_spiel_value(name) == pytest.approx(value)
    assert native_value(LiarsDice(faces=faces)) == pytest.approx(value)
    assert native_value(LiarsDice(faces=faces, wild=False)) != pytest.approx(value)


@pytest.mark.parametrize("wild", [True, False])
def test_bids_and_their_chances_are_those_of_a_count(wild: bool) -> None:
    game = LiarsDice(dice=2, faces=4, wild=wild)
    rolls = list(itertools.product(range(1, 5), repeat=2))
    for own in [(1, 3), (2, 2), (3, 4), (4, 4)]:
        for bid in game.bids:
            shown = [
                sum(die == bid.face or (wild and die == 4) for die in own + other)
                for other in rolls
            ]
            assert game.truth(own, bid) == Fraction(sum(n >= bid.number for n in shown), len(rolls))
            for other, n in zip(rolls, shown, strict=True):
                assert game.is_true((own, other), bid) == (n >= bid.number)


def test_bids_rise_by_dice_and_then_by_faces() -> None:
    assert all_bids(2, 3) == ((1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3))
    game, table = LiarsDice(faces=3), Table(((1,), (3,)), (Bid(1, 3),))
    assert game.legal_actions(table, "second") == (Bid(2, 1), Bid(2, 2), Bid(2, 3), "liar")
    assert game.legal_actions(Table(((1,), (3,))), "first") == all_bids(2, 3)
    assert game.legal_actions(Table(table.dice, (*table.bids, Bid(2, 3))), "first") == ("liar",)


@pytest.mark.parametrize(
    ("bids", "rewards"),
    [
        (((1, 3),), (1.0, -1.0)),  # first bid, and it is true
        (((2, 2),), (-1.0, 1.0)),
        (((1, 1), (1, 2)), (1.0, -1.0)),  # second bid a lie
        (((1, 1), (2, 3)), (1.0, -1.0)),
        (((1, 1), (1, 3)), (-1.0, 1.0)),
    ],
)
def test_the_last_bidder_wins_with_a_true_bid(bids: Any, rewards: tuple[float, float]) -> None:
    game = LiarsDice(faces=4, wild=False)
    table = Table(((3,), (4,)), tuple(Bid(*bid) for bid in bids))
    (agent,) = game.acting_agents(table)
    ((after, rewards_N),) = game.transition_dist(table, {agent: "liar"}).support()
    assert rewards_N == rewards and game.is_terminal(after)


def test_texts_by_hand() -> None:
    game, table = LiarsDice(dice=2), Table(((2, 5), (1, 6)), (Bid(1, 5), Bid(2, 5)))
    assert game.observation_text(table, "first") == (
        "You are first. Your dice: 2 5.\nBids so far: first 1 x 5, second 2 x 5."
    )
    assert game.read_action(table, "first", " 3 X 1\n") == Parsed(Bid(3, 1))
    assert game.read_action(table, "first", "Liar") == Parsed("liar")
    for text in ("2 x 5", "5 x 1", "3x1", "lie", ""):
        assert game.read_action(table, "first", text) == Illegal(text)
    called = Table(table.dice, table.bids, is_called=True)
    assert game.observation_text(called, "second").endswith(
        "The last bid was called. The other player's dice: 2 5. It was true."
    )


@pytest.mark.parametrize(("faces", "said"), [(2, "2 x 2"), (6, "2 x 3")])
def test_the_example_of_a_bid_is_one(faces: int, said: str) -> None:
    game = LiarsDice(faces=faces)
    assert f"A move is a bid such as {said}, or: liar" in game.rules_text("first")
    assert isinstance(game.read_action(Table(((1,), (2,))), "first", said), Parsed)


def test_dice_are_hidden_until_the_call() -> None:
    game = LiarsDice(faces=3)
    tables = [Table(((2,), (other,)), (Bid(1, 2),)) for other in (1, 2, 3)]
    assert len({game.observation_text(table, "first") for table in tables}) == 1
    assert len({game.information_key(table, "first") for table in tables}) == 1
    called = [Table(table.dice, table.bids, is_called=True) for table in tables]
    assert len({game.information_key(table, "first") for table in called}) == 3


def test_the_plausible_bidder_doubts_and_bids_what_it_holds() -> None:
    game = LiarsDice(dice=1, faces=6)
    player = PlausibleBidder(game=game, attention=1.0)
    assert player.action_dist(Table(((4,), (1,))), "first").pmf() == {Bid(1, 4): 1}
    doubted = Table(((4,), (1,)), (Bid(1, 3), Bid(2, 5)))
    assert player.action_dist(doubted, "first").pmf() == {"liar": 1}
    believed = Table(((4,), (4,)), (Bid(1, 4),))
    assert "liar" not in player.action_dist(believed, "second").pmf()


def test_one_wins_and_the_other_does_not() -> None:
    game = LiarsDice()
    policy = PlayerPolicy(game, PlausibleBidder(game=game))
    (record,) = play(game, policy, [EpisodeSpec(key=EpisodeKey(seed=1))])
    assert isinstance(record, Episode)
    assert {game.success(record, agent) for agent in game.agents} == {True, False}
    winner = max(game.agents, key=record.episode_return)
    assert game.success(record, winner)


def test_too_many_rolls_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="must be at most 10,000"):
        LiarsDice(dice=6)
