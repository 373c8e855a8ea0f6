"""Connect four: lines against a plain search, OpenSpiel's board, and published values and counts."""

import random

import pytest

from games import connect_four
from games.connect_four import (
    Columns,
    ConnectFour,
    MyopicConnectFour,
    Shape,
    dropped,
    value,
    winner,
)
from tsmg import InvalidArgumentError, Stream


def plain_winner(shape: Shape, board: Columns) -> set[str]:
    """Everyone with a line, by looking at every set of cells that makes one."""
    at = {(c, r): mark for c, column in enumerate(board) for r, mark in enumerate(column)}
    found = set()
    for c in range(shape.columns):
        for r in range(shape.rows):
            for dc in (-1, 0, 1):
                for dr in (-1, 0, 1):
                    if (dc, dr) != (0, 0):
                        line = {at.get((c + k * dc, r + k * dr), "") for k in range(shape.line)}
                        found |= line if len(line) == 1 else set()
    return found - {""}


def random_boards(game: ConnectFour, count: int) -> list[Columns]:
    """Boards that random play comes to."""
    boards = []
    rng = Stream("boards")
    for _ in range(count):
        (state,) = game.initial_state_dist().support()
        while not game.is_terminal(state):
            boards.append(state)
            (agent,) = game.acting_agents(state)
            legal = game.legal_actions(state, agent)
            action = legal[rng.integer(len(legal))]
            state = game.transition_dist(state, {agent: action}).support()[0].state
        boards.append(state)
    return boards


@pytest.mark.parametrize("shape", [(6, 7, 4), (4, 4, 3), (3, 5, 3), (5, 2, 4)])
def test_lines_are_those_of_a_plain_search(shape: tuple[int, int, int]) -> None:
    rows, columns, line = shape
    game = ConnectFour(rows=rows, columns=columns, line=line)
    for board in random_boards(game, 40):
        won = winner(game.shape, board)
        assert plain_winner(game.shape, board) == ({won} if won else set())


def test_it_is_openspiels_game() -> None:
    spiel = pytest.importorskip("pyspiel").load_game("connect_four")
    game = ConnectFour()
    rng = random.Random(0)
    for _ in range(25):
        theirs, (ours,) = spiel.new_initial_state(), game.initial_state_dist().support()
        returns = [0.0, 0.0]
        while not theirs.is_terminal():
            (agent,) = game.acting_agents(ours)
            assert game.legal_actions(ours, agent) == tuple(theirs.legal_actions())
            column = rng.choice(theirs.legal_actions())
            theirs.apply_action(column)
            ((ours, returns_N),) = game.transition_dist(ours, {agent: column}).support()
            returns = [a + b for a, b in zip(returns, returns_N, strict=True)]
        assert game.is_terminal(ours) and returns == theirs.returns()


def brute(shape: Shape, board: Columns) -> int:
    """The value without pruning and memory."""
    won = winner(shape, board)
    free = [c for c in range(shape.columns) if len(board[c]) < shape.rows]
    if won or not free:
        return {"X": 1, "O": -1, "": 0}[won]
    values = [brute(shape, dropped(board, c)) for c in free]
    return min(values) if connect_four.mover(board) else max(values)


@pytest.mark.parametrize("shape", [Shape(2, 3, 2), Shape(3, 3, 3), Shape(2, 4, 3)])
def test_values_are_those_of_the_whole_tree(shape: Shape) -> None:
    empty = ("",) * shape.columns
    assert value(shape, empty) == brute(shape, empty)


def test_a_line_of_three_on_4_x_4_is_won_by_the_first_player_who_takes_care() -> None:
    shape = Shape(4, 4, 3)
    assert value(shape, ("",) * 4) == 1
    assert value(shape, ("XOX", "O", "OX", "X")) == brute(shape, ("XOX", "O", "OX", "X"))


@pytest.mark.slow
def test_four_by_four_has_the_published_value_and_number_of_positions() -> None:
    """A draw, with 161,029 positions: J. Tromp, "John's Connect Four Playground" (its table of board sizes)."""
    shape = Shape(4, 4, 4)
    assert value(shape, ("",) * 4) == 0
    seen, waiting = {("",) * 4}, [("",) * 4]
    while waiting:
        board = waiting.pop()
        if not winner(shape, board):
            for column in connect_four.open_columns(shape, board):
                after = dropped(board, column)
                if after not in seen:
                    seen.add(after)
                    waiting.append(after)
    assert len(seen) == 161_029


def test_texts_by_hand() -> None:
    game = ConnectFour(rows=2, columns=3, line=3)
    assert game.observation_text(("XO", "", "X"), "o") == "O . .\nX . X\n1 2 3\nYou are O."
    wide = ConnectFour(rows=1, columns=10).observation_text(("",) * 9 + ("X",), "o")
    board, numbers, _ = wide.splitlines()
    assert numbers == " 1  2  3  4  5  6  7  8  9 10"
    assert board == " ".join([" ."] * 9 + [" X"])
    over = ("XO", "XO", "X")
    assert game.observation_text(over, "x").endswith("You are X. You won.")
    assert game.observation_text(over, "o").endswith("You are O. You lost.")
    assert game.acting_agents(over) == () == game.legal_actions(over, "o")


def test_the_myopic_player_wins_or_blocks() -> None:
    shape = ConnectFour().shape
    looking = MyopicConnectFour(shape=shape, attention=1.0)
    wins: Columns = ("XXX", "OOO", "", "", "", "", "")
    assert looking.action_dist(wins, "x").pmf() == {0: 1}
    blocks: Columns = ("XXX", "O", "O", "", "", "", "")
    assert looking.action_dist(blocks, "o").pmf() == {0: 1}
    assert ConnectFour().scripted_player() == MyopicConnectFour(shape=shape)


def test_a_line_fits_on_the_board() -> None:
    with pytest.raises(InvalidArgumentError, match="'line' must fit"):
        ConnectFour(rows=3, columns=3, line=4)
