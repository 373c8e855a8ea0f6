"""Tic-tac-toe and connect four: the board, the own mark, cells and columns by number."""

from collections.abc import Sequence
from typing import Any

from games.adapters.curated import Curated, Seen
from tsmg import Facts

_MARKS = "XO"


def _cell(planes: Any, marks: str, empty: str) -> str:
    own, other = planes
    return marks[0] if own else marks[1] if other else empty


def _board(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(" ".join(row) for row in rows)


def _marks(seen: Seen) -> str:
    """The own mark and the other's; X moves first."""
    return _MARKS if seen.place == 0 else _MARKS[::-1]


# ---- tic-tac-toe: the environment numbers the cells down the columns, readers along the rows -------


def _tic_tac_toe_number(action: int) -> int:
    column, row = divmod(action, 3)
    return 3 * row + column + 1


def _tic_tac_toe_text(seen: Seen) -> str:
    planes, marks = seen.observation["observation"], _marks(seen)
    rows = [
        [_cell(planes[column][row], marks, str(3 * row + column + 1)) for column in range(3)]
        for row in range(3)
    ]
    return f"{_board(rows)}\nYou are {marks[0]}."


TIC_TAC_TOE = Curated(
    observation_text=_tic_tac_toe_text,
    action_text=lambda raw, agent, action: str(_tic_tac_toe_number(action)),
    rules=lambda raw, agent: (
        "You play tic-tac-toe: three marks in a row, column or diagonal win. The cells have the numbers 1 to 9 in "
        "reading order; free cells show theirs. A move is the number of a free cell."
    ),
    horizon=lambda raw: 9,
    facts=lambda raw: Facts(zero_sum=True, return_bounds=(-1.0, 1.0), longest_game=9),
)


# ---- connect four -----------------------------------------------------------------------------------


def _connect_four_text(seen: Seen) -> str:
    marks = _marks(seen)
    rows = [[_cell(cell, marks, ".") for cell in row] for row in seen.observation["observation"]]
    return f"{_board([list('1234567'), *rows])}\nYou are {marks[0]}."


CONNECT_FOUR = Curated(
    observation_text=_connect_four_text,
    action_text=lambda raw, agent, action: str(action + 1),
    rules=lambda raw, agent: (
        "You play connect four: four marks in a row, column or diagonal win. A mark falls to the lowest free cell of "
        "its column. A move is the number of a column that is not full, 1 to 7 from the left."
    ),
    horizon=lambda raw: 42,
    facts=lambda raw: Facts(zero_sum=True, return_bounds=(-1.0, 1.0), longest_game=42),
)
