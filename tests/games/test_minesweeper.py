"""Minesweeper: the best chance by a search over knowledge, opening by another flood, and dangers by counting."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import label

from games.minesweeper import (
    CarefulPlayer,
    Field,
    Minesweeper,
    best_chance,
    neighbours,
    opened_by,
    placements,
    possible,
)
from tests.games.beliefs import best_by_search
from tests.strategies import examples
from tsmg import Illegal, InvalidArgumentError, Parsed


@pytest.mark.parametrize(
    ("rows", "columns", "mines", "chance"),
    [(2, 2, 1, Fraction(1, 4)), (2, 3, 2, None), (1, 5, 2, None), (3, 3, 1, Fraction(8, 9))],
)
def test_the_best_chance_is_that_of_a_search_over_all_knowledge(
    rows: int, columns: int, mines: int, chance: Fraction | None
) -> None:
    game = Minesweeper(rows=rows, columns=columns, mines=mines)
    found = best_chance(game)
    assert found == best_by_search(game) and chance in (None, found)


@pytest.mark.slow
def test_the_registered_small_board_is_cleared_in_two_thirds() -> None:
    game = Minesweeper(rows=3, columns=3, mines=2)
    assert best_chance(game) == best_by_search(game) == Fraction(2, 3)


def counts(mines: int, rows: int, columns: int) -> np.ndarray:
    """The mines around each cell, by sums of shifted boards."""
    board = np.array([mines >> n & 1 for n in range(rows * columns)]).reshape(rows, columns)
    padded = np.pad(board, 1)
    shifts = itertools.product((0, 1, 2), repeat=2)
    near = [padded[r : r + rows, c : c + columns] for r, c in shifts if (r, c) != (1, 1)]
    return np.sum(near, axis=0)


def flooded(mines: int, cell: int, rows: int, columns: int) -> int:
    """What opening one cell opens, by connected regions of cells without mines around them."""
    around = counts(mines, rows, columns)
    board = np.array([mines >> n & 1 for n in range(rows * columns)]).reshape(rows, columns)
    regions, _ = label((around == 0) & (board == 0), structure=np.ones((3, 3)))
    here = regions.flat[cell]
    opened = 1 << cell
    if here:
        for r, c in zip(*np.nonzero(regions == here), strict=True):
            for rr, cc in itertools.product(range(r - 1, r + 2), range(c - 1, c + 2)):
                if 0 <= rr < rows and 0 <= cc < columns:
                    opened |= 1 << int(rr * columns + cc)
    return opened


@examples(0.5)
@given(st.integers(0, 2**20 - 1), st.integers(0, 2**20 - 1), st.integers(0, 19))
def test_what_opens_is_the_region_without_mines_around(some: int, more: int, cell: int) -> None:
    mines = some & more & more >> 1  # about an eighth of the cells
    assert opened_by(mines, 0, cell, neighbours(4, 5)) == flooded(mines, cell, 4, 5)


def test_possible_placements_agree_with_every_number() -> None:
    game = Minesweeper(rows=3, columns=4, mines=3)
    state = Field(0b000101000010, 0b000000100101)
    board = counts(state.mines, 3, 4)
    told = [n for n in range(12) if state.opened >> n & 1]
    expected = [
        m
        for m in placements(12, 3)
        if not m & state.opened and all(counts(m, 3, 4).flat[n] == board.flat[n] for n in told)
    ]
    assert list(possible(game, state)) == expected and state.mines in expected
    assert 1 < len(expected) < 84
    closed = game.legal_actions(state, "player")
    danger = {cell: sum(m >> cell & 1 for m in expected) for cell in closed}
    looking = CarefulPlayer(game=game, attention=1.0).action_dist(state, "player").pmf()
    assert set(looking) == {c for c in closed if danger[c] == min(danger.values())}


def test_texts_by_hand() -> None:
    game = Minesweeper(rows=2, columns=3, mines=1)
    assert game.observation_text(Field(0b100, 0b000010), "player") == "# 1 #\n# # #"
    opened = opened_by(0b100, 0, 0, neighbours(2, 3))
    assert opened == 0b011011
    assert game.observation_text(Field(0b100, opened), "player") == ". 1 #\n. 1 #"
    assert (
        game.observation_text(Field(0b100, 0b000100), "player") == "# # *\n# # #\nA mine went off."
    )
    clear = Field(0b100, 0b111011)
    assert game.observation_text(clear, "player") == ". 1 *\n. 1 1\nThe board is clear."
    assert game.read_action(Field(0b100, opened), "player", "2 3") == Parsed(5)
    assert game.read_action(Field(0b100, opened), "player", "1 1") == Illegal("1 1")


def test_the_last_safe_cell_pays_and_a_mine_ends_the_game() -> None:
    game = Minesweeper(rows=2, columns=3, mines=1)
    before = Field(0b100, 0b011011)
    ((after, rewards_N),) = game.transition_dist(before, {"player": 5}).support()
    assert rewards_N == (1.0,) and game.is_terminal(after) and game.is_cleared(after)
    ((after, rewards_N),) = game.transition_dist(before, {"player": 2}).support()
    assert rewards_N == (0.0,) and game.is_terminal(after) and not game.is_cleared(after)


def test_mines_are_hidden() -> None:
    game = Minesweeper(rows=1, columns=4, mines=1)
    states = [
        Field(mines, 0b0001) for mines in (0b0100, 0b1000)
    ]  # both tell nothing of the left end
    assert len({game.information_key(state, "player") for state in states}) == 1
    assert len(game.initial_state_dist().pmf()) == 4


def test_a_player_looks_at_boards_with_a_thousand_open_cells() -> None:
    game = Minesweeper(rows=1, columns=1200, mines=1)
    state = Field(mines=1 << 1180, opened=(1 << 1149) - 1)
    assert len(possible(game, state)) == 50
    assert set(game.scripted_player().action_dist(state, "player").support()) <= {
        *range(1149, 1200)
    }


def test_the_example_of_a_move_is_one() -> None:
    game = Minesweeper(rows=3, columns=1, mines=1)
    assert game.rules_text("player").endswith("such as: 1 1")
    assert game.read_action(Field(mines=4), "player", "1 1") == Parsed(0)


def test_bad_boards_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="'mines' must be below the 4 cells"):
        Minesweeper(rows=2, columns=2, mines=4)
    with pytest.raises(InvalidArgumentError, match="must have at most 20000 placements"):
        Minesweeper(rows=8, columns=8, mines=4)
