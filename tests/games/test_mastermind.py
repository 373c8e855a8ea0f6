"""Mastermind: answers by another count, consistent codes, and Knuth's published bound and mean."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from games.mastermind import (
    Answer,
    Board,
    ConsistentPlayer,
    Mastermind,
    MinimaxPlayer,
    answers,
    codes,
    possible,
)
from tests.strategies import examples
from tsmg import Illegal, InvalidArgumentError, Parsed


def struck_out(code: str, guess: str) -> Answer:
    """The answer as a person finds it: strike out what is in place, then pair the rest off."""
    rest, others = [], []
    for a, b in zip(code, guess, strict=True):
        if a != b:
            rest.append(a)
            others.append(b)
    pairs = 0
    for symbol in others:
        if symbol in rest:
            rest.remove(symbol)
            pairs += 1
    return Answer(len(code) - len(others), pairs)


@examples(0.3)
@given(*[st.text("1234", min_size=4, max_size=4)] * 2)
def test_answers_are_those_of_striking_out(code: str, guess: str) -> None:
    assert answers(guess, (code,)) == (struck_out(code, guess),) == answers(code, (guess,))


def _greedy(code: str, guess: str) -> Answer:
    """A wrong answer: a symbol of the code may be counted twice."""
    placed = sum(a == b for a, b in zip(code, guess, strict=True))
    return Answer(placed, sum(symbol in code for symbol in guess) - placed)


def test_counting_a_symbol_twice_is_noticed() -> None:
    assert _greedy("1122", "1113") != struck_out("1122", "1113") == Answer(2, 0)


def test_possible_codes_agree_with_every_answer() -> None:
    board = Board("3142", ("1122", "3344"))
    left = possible(4, 4, board.told)
    assert left == tuple(
        code
        for code in codes(4, 4)
        if [struck_out(code, g) for g in board.guesses] == [a for _, a in board.told]
    )
    assert "3142" in left


def guesses(game: Mastermind, code: str) -> int:
    """How many guesses Knuth's player needs."""
    player, board = MinimaxPlayer(pegs=game.pegs, colours=game.colours), Board(code)
    while not game.is_terminal(board):
        guess = player.action_dist(board, "player").support()[0]
        ((board, _),) = game.transition_dist(board, {"player": guess}).support()
    assert board.guesses[-1] == code
    return len(board.guesses)


@pytest.mark.slow
def test_knuths_player_needs_what_knuth_published() -> None:
    """At most five guesses, 5801/1296 in the mean; by number of guesses: 1, 6, 62, 533 and 694 codes.

    Source: D. E. Knuth, "The computer as Master Mind", Journal of Recreational Mathematics 9, 1976-77.
    """
    count = Counter(guesses(Mastermind(), code) for code in codes(4, 6))
    assert count == {1: 1, 2: 6, 3: 62, 4: 533, 5: 694}
    assert sum(n * number for n, number in count.items()) == 5801


def test_the_small_game_is_always_found_in_time() -> None:
    game = Mastermind(pegs=3, colours=4, guesses=6)
    assert max(guesses(game, code) for code in codes(3, 4)) <= 5


def test_texts_by_hand() -> None:
    game, board = Mastermind(guesses=3), Board("1234", ("1143",))
    assert (
        game.observation_text(board, "player")
        == "Guess 1: 1143, 1 in place, 2 misplaced.\nNow: guess 2 of 3."
    )
    assert game.read_action(board, "player", " 6666\n") == Parsed("6666")
    assert game.read_action(board, "player", "\u200b1213\u200b ") == Parsed("1213")
    for text in ("1237", "123", "12345", "", "1 2 3 4"):
        assert game.read_action(board, "player", text) == Illegal(text)
    over = Board("1234", ("1143", "1234"))
    assert game.observation_text(over, "player").endswith("The code was 1234.")
    assert game.read_action(over, "player", "1111") == Illegal("1111")


def test_the_code_is_hidden_until_the_end() -> None:
    game = Mastermind(pegs=2, colours=3, guesses=2)
    same = [Board(code, ("12",)) for code in ("13", "32")]
    assert len({game.observation_text(b, "player") for b in same}) == 1
    assert len({game.information_key(b, "player") for b in same}) == 1


def test_the_consistent_player_guesses_what_is_possible() -> None:
    board = Board("3142", ("1122", "3344"))
    looking = ConsistentPlayer(pegs=4, colours=4, attention=1.0).action_dist(board, "player")
    assert set(looking.support()) == set(possible(4, 4, board.told))
    mediocre = ConsistentPlayer(pegs=4, colours=4).action_dist(board, "player").pmf()
    assert sum(mediocre.values()) == 1 and len(mediocre) == 256


def test_too_many_codes_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="'colours' must be at most 9"):
        Mastermind(pegs=5, colours=9)
