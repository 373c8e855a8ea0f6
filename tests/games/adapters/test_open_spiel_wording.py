"""Wordings of OpenSpiel's games: against the package itself, in played games and by the rules that they state."""

import functools
import re
from typing import Any

import pyspiel
import pytest

import games
from games.adapters.open_spiel_game import OpenSpielGame
from games.adapters.open_spiel_wording import WORDINGS, Wording, wording_of
from tests.benchmarks.open_spiel_games import faults_of, played
from tsmg import Episode
from tsmg.testing import check_game

MATRICES = ("matrix_mp", "matrix_pd", "matrix_rps")
NAMES = (*WORDINGS, *MATRICES)
SMALLER: dict[str, dict[str, Any]] = {
    "go": {"board_size": 5},
    "hex": {"board_size": 4},
    "y": {"board_size": 5},
}
"""Smaller boards, so that a played game is short."""


@functools.cache
def played_game(name: str) -> tuple[OpenSpielGame, tuple[Episode[Any], ...]]:
    game = games.from_open_spiel(name, **SMALLER.get(name, {}))
    found = [played(game, seed) for seed in range(2)]
    assert all(isinstance(episode, Episode) for episode in found)
    return game, tuple(episode for episode in found if isinstance(episode, Episode))


def texts(game: OpenSpielGame, episodes: tuple[Episode[Any], ...]) -> str:
    """All that is read in some episodes, the legal actions left out."""
    read = (a.observation.text for e in episodes for step in e.steps for a in step.agent_steps)
    return "\n".join(text.partition("Legal actions:")[0] for text in read)


def test_there_are_twenty() -> None:
    assert len(NAMES) >= 20


@pytest.mark.parametrize("name", NAMES)
def test_the_legend_is_of_marks_that_are_shown_and_play_agrees_with_openspiel(name: str) -> None:
    game, episodes = played_game(name)
    assert game.wording is not None
    shown = texts(game, episodes)
    assert [mark for mark in game.wording.legend if mark not in shown] == []
    for episode in episodes:
        assert list(faults_of(game, episode)) == []
    rules = game.rules_text("player_0")
    assert "{" not in rules and len(rules) > 100
    assert all(f"{mark} {meaning}" in rules for mark, meaning in game.wording.legend.items())


@pytest.mark.parametrize("name", NAMES)
def test_actions_read_as_words_without_openspiels_numbers(name: str) -> None:
    _, episodes = played_game(name)
    replies = {a.reply.text for e in episodes for step in e.steps for a in step.agent_steps}
    raw = r"\[P\d|player=|Player \d|pile:|^\d+ - |;$|\]$(?<!\d\])|^\("
    assert [text for text in replies if re.search(raw, text)] == []


@pytest.mark.parametrize("name", ["liars_dice", "matrix_rps"])
def test_the_kit_passes(name: str) -> None:
    game, _ = played_game(name)
    check_game(game, max_examples=2, max_steps=4).raise_if_broken()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_kit_passes_for_every_game(name: str) -> None:
    game, _ = played_game(name)
    check_game(game, max_examples=5, max_steps=10).raise_if_broken()


def test_what_a_row_fixes_decides_whether_it_is_used() -> None:
    wild = games.from_open_spiel("liars_dice", bidding_rule="reset-quantity")
    assert wild.wording is None and wild.rules_text("player_0") == "You play Liars Dice."
    assert wording_of("liars_dice", {"bidding_rule": "reset-face"}) is WORDINGS["liars_dice"]
    three = games.from_open_spiel("kuhn_poker", players=3).rules_text("player_0")
    assert "Poker with 3 players" in three


def test_another_text_of_openspiel_has_no_legend_and_no_replacements() -> None:
    game = games.from_open_spiel("kuhn_poker", text="observation")
    state = game.initial_state_dist().support()[0]
    raw = state.node.observation_string(0)
    assert raw in game.observation_text(state, "player_0")
    assert "How to read" not in game.rules_text("player_0")
    assert "How to read" in games.from_open_spiel("kuhn_poker").rules_text("player_0")
    assert games.from_open_spiel("kuhn_poker", rules="").rules_text("player_0").endswith("Poker.")


def test_matrix_games_tell_their_payoffs() -> None:
    rules = games.from_open_spiel("matrix_pd").rules_text("player_0")
    game = pyspiel.load_matrix_game("matrix_pd")
    assert (
        f"Cooperate and Defect: {game.row_utility(0, 1):g} and {game.col_utility(0, 1):g};" in rules
    )


def test_replacements_are_made_in_order_and_on_every_line() -> None:
    wording = Wording(rules="{n} dice", text=((r"^a", "b"), (r"^b", "c")), actions=((r"^x", ""),))
    assert wording.reworded_text("a\nb\nda") == "c\nc\nda"
    assert wording.reworded_action("xx") == "x"
    assert wording.rules_text({"n": 7.5}) == "7.5 dice"


# ---- the rules, where they say what might be thought otherwise ------------------------------------


def returns_after(name: str, *actions: int, **parameters: Any) -> list[float]:
    node = pyspiel.load_game(name, parameters).new_initial_state()
    for action in actions:
        node.apply_action(action)
    assert node.is_terminal()
    return list(node.returns())


def test_in_leduc_poker_the_rank_is_half_of_the_number() -> None:
    """Cards 1 and 4, then 0 is open: the same rank as 1, so player_0 wins though 4 is of a higher rank."""
    call, raise_ = 1, 2
    assert returns_after("leduc_poker", 1, 4, call, call, 0, raise_, call) == [5.0, -5.0]
    assert returns_after("leduc_poker", 2, 4, raise_, call, 0, call, call) == [-3.0, 3.0]


def test_in_liars_dice_the_highest_side_counts_as_any() -> None:
    roll_6, roll_2, bid_2_2, liar = 5, 1, 7, 12
    assert returns_after("liars_dice", roll_6, roll_2, bid_2_2, liar) == [1.0, -1.0]
    assert returns_after("liars_dice", 4, roll_2, bid_2_2, liar) == [-1.0, 1.0]


def test_in_hex_player_0_connects_the_top_with_the_bottom() -> None:
    """On two by two cells: the left column is filled from a1 to a2; cell numbers go row by row."""
    assert returns_after("hex", 0, 1, 2, board_size=2) == [1.0, -1.0]


def test_in_oshi_zumo_the_higher_bid_of_player_0_pushes_to_the_right() -> None:
    game = games.from_open_spiel("oshi_zumo")
    state = game.initial_state_dist().support()[0]
    (pushed,) = game.transition_dist(state, {"player_0": 2, "player_1": 1}).support()
    assert "Coins: 48 49, Field: #....W..#" in game.observation_text(pushed.state, "player_0")
    assert game.action_text(state, "player_1", 7) == "bid 7"


def test_in_nim_who_takes_the_last_object_loses() -> None:
    game = games.from_open_spiel("nim", pile_sizes="2")
    state = game.initial_state_dist().support()[0]
    assert game.observation_text(state, "player_0").startswith(
        "You are player_0.\nplayer_0 is to move. Piles: 2"
    )
    texts_ = {
        game.action_text(state, "player_0", a): a for a in game.legal_actions(state, "player_0")
    }
    (end,) = game.transition_dist(state, {"player_0": texts_["take 2 from pile 1"]}).support()
    assert end.rewards_N == (-1.0, 1.0)


def test_in_breakthrough_player_0_begins_and_moves_downwards() -> None:
    game = games.from_open_spiel("breakthrough")
    state = game.initial_state_dist().support()[0]
    assert game.acting_agents(state) == ("player_0",)
    assert "a7a6" in game.observation_text(state, "player_0")
    assert "8bbbbbbbb" in game.observation_text(state, "player_0")
