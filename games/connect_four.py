"""Connect four: drop pieces into columns; four in a line win. Boards of any size, and lines of any length."""

import functools
from collections.abc import Mapping
from typing import final

import attrs

from games.arguments import integer_field, probability_field
from games.attention import attentive
from tsmg import (
    AbstractExplicitGame,
    AbstractPlayer,
    Distribution,
    Ending,
    Episode,
    Facts,
    Finite,
    InvalidArgumentError,
    Transition,
    deterministic,
    uniform,
)
from tsmg.invalid import AbstractInvalidRule, Forfeit

_AGENTS = ("x", "o")
_MARKS = "XO"
_BITS = {mark: str.maketrans({**dict.fromkeys("XO.|", "0"), mark: "1"}) for mark in _MARKS}
_PAYOFFS = {"X": (1.0, -1.0), "O": (-1.0, 1.0), "": (0.0, 0.0)}

Columns = tuple[str, ...]
"""The pieces of each column, from the bottom to the top."""


@final
@attrs.frozen(cache_hash=True)
class Shape:
    """The size of a board, and how many pieces in a line win."""

    rows: int
    columns: int
    line: int


def mover(board: Columns) -> int:
    """The player whose turn it is: 0 for X, 1 for O."""
    return sum(map(len, board)) % 2


def dropped(board: Columns, column: int) -> Columns:
    """The board after the player to move dropped a piece into a column."""
    return (*board[:column], board[column] + _MARKS[mover(board)], *board[column + 1 :])


@functools.lru_cache(maxsize=262_144)
def winner(shape: Shape, board: Columns) -> str:
    """``"X"``, ``"O"``, or ``""`` if nobody has a line."""
    cells = "|".join([column.ljust(shape.rows, ".") for column in board])
    for mark in _MARKS:
        bits = int(cells.translate(_BITS[mark]), 2)
        for step in (
            1,
            shape.rows,
            shape.rows + 1,
            shape.rows + 2,
        ):  # a column, diagonal, row, diagonal
            ends = bits  # the cells that a line of so many pieces ends on; the gap between columns has none
            for _ in range(shape.line - 1):
                ends = bits & (ends >> step)
            if ends:
                return mark
    return ""


def open_columns(shape: Shape, board: Columns) -> tuple[int, ...]:
    """The columns that are not full."""
    rows = shape.rows
    return tuple([c for c, column in enumerate(board) if len(column) < rows])


@functools.lru_cache(maxsize=64)
def _numbers(columns: int) -> str:
    """The line beneath the board."""
    width = len(str(columns))
    return " ".join(str(column).rjust(width) for column in range(1, columns + 1))


@functools.lru_cache(maxsize=1_048_576)
def value(shape: Shape, board: Columns) -> int:
    """The return of X under best play of both from this board: 1, 0 or -1; by exhaustive search.

    A board of 4 x 4 has 161,029 positions and takes some seconds; one of 6 x 7 has 4.5e12 and never ends.
    """
    won = winner(shape, board)
    columns = open_columns(shape, board)
    if won or not columns:
        return int(_PAYOFFS[won][0])
    best = -1 if mover(board) else 1
    values = []
    for column in columns:
        values.append(value(shape, dropped(board, column)))
        if values[-1] == best:
            break
    return min(values) if mover(board) else max(values)


@final
@attrs.frozen(kw_only=True)
class ConnectFour(AbstractExplicitGame[Columns, int]):
    """Drop pieces into columns in turn; a line of four wins.

    Agents: ``x`` (first) and ``o``, in turn.
    States: the pieces of each column, from the bottom to the top.
    Actions: the columns that are not full.
    Observation text: the board, the numbers of the columns below it, and the reader's mark.
    Action text: the column's number, from 1.
    Rewards: 1 to the winner and -1 to the loser, at the end.
    Invalid rule: forfeit, at a penalty of 1.
    Exact values: ``games.connect_four.value``, on small boards.

    Attributes:
      rows: number of rows.
      columns: number of columns.
      line: how many pieces in a row, column or diagonal win.
    """

    rows: int = integer_field("rows", default=6, least=1)
    columns: int = integer_field("columns", default=7, least=1)
    line: int = integer_field("line", default=4, least=2)
    invalid_rule: AbstractInvalidRule = Forfeit(penalty=1.0)
    horizon: int = attrs.field(init=False)
    facts: Facts = attrs.field(init=False)
    shape: Shape = attrs.field(init=False, repr=False)

    agents = _AGENTS

    @horizon.default
    def _cells(self) -> int:
        return self.rows * self.columns

    @facts.default
    def _declare(self) -> Facts:
        return Facts(
            zero_sum=True,
            perfect_information=True,
            text_separates_states=True,
            stochastic_start=False,
            stochastic_transitions=False,
            return_bounds=(-1.0, 1.0),
            longest_game=self.rows * self.columns,
        )

    @shape.default
    def _shape(self) -> Shape:
        return Shape(self.rows, self.columns, self.line)

    def __attrs_post_init__(self) -> None:
        if self.line > max(self.rows, self.columns):
            raise InvalidArgumentError(
                f"'line' must fit on the board of {self.rows} x {self.columns} (got {self.line})"
            )

    def initial_state_dist(self) -> Distribution[Columns]:
        return deterministic(("",) * self.columns)

    def is_terminal(self, state: Columns) -> bool:
        return bool(winner(self.shape, state)) or min(map(len, state)) == self.rows

    def acting_agents(self, state: Columns) -> tuple[str, ...]:
        return () if self.is_terminal(state) else (_AGENTS[mover(state)],)

    def legal_actions(self, state: Columns, agent: str) -> tuple[int, ...]:
        return open_columns(self.shape, state) if agent in self.acting_agents(state) else ()

    def transition_dist(
        self, state: Columns, joint_action: Mapping[str, int]
    ) -> Distribution[Transition[Columns]]:
        after = dropped(state, joint_action[_AGENTS[mover(state)]])
        return deterministic(Transition(after, _PAYOFFS[winner(self.shape, after)]))

    def observation_text(self, state: Columns, agent: str) -> str:
        filled = [column.ljust(self.rows, ".") for column in state]
        blank = " " * len(str(self.columns))  # cells are as wide as the greatest number
        lines = [blank[1:] + blank.join(row) for row in zip(*filled, strict=True)]
        lines = [*reversed(lines), _numbers(self.columns)]
        own = _MARKS[_AGENTS.index(agent)]
        told = f"You are {own}."
        if self.is_terminal(state):
            result = {"": "It is a draw.", own: "You won."}
            told = f"{told} {result.get(winner(self.shape, state), 'You lost.')}"
        return "\n".join([*lines, told])

    def action_text(self, state: Columns, agent: str, action: int) -> str:
        return str(action + 1)

    def rules_text(self, agent: str) -> str:
        return (
            "Two players, X and O, take turns to drop pieces into columns; a piece falls to the lowest free cell of "
            f"its column. A line of {self.line} own pieces in a row, column or diagonal wins. The numbers of the "
            "columns are below the board. A move is the number of a column that is not full."
        )

    def success(self, episode: Episode[Columns], agent: str) -> bool | None:
        """Not losing."""
        if episode.ending is not Ending.TERMINATED:
            return None
        return episode.episode_return(agent, penalties=False) >= 0

    def scripted_player(self) -> "MyopicConnectFour":
        return MyopicConnectFour(shape=self.shape)


@final
@attrs.frozen(kw_only=True)
class MyopicConnectFour(AbstractPlayer[Columns, int]):
    """Sometimes looks one move ahead: wins at once if it can, otherwise drops where the other would win.

    Attributes:
      shape: the board's size and the length of a line.
      attention: probability that it looks, in [0, 1]; otherwise it moves at random.
    """

    shape: Shape
    attention: float = probability_field("attention", default=0.4)

    def action_dist(self, state: Columns, agent: str) -> Distribution[int]:
        free = open_columns(self.shape, state)
        mine, yours = _MARKS[mover(state)], _MARKS[1 - mover(state)]
        wins, blocks = (
            [
                c
                for c in free
                if winner(self.shape, (*state[:c], state[c] + mark, *state[c + 1 :])) == mark
            ]
            for mark in (mine, yours)
        )
        looking = uniform(wins or blocks or free)
        return Finite(attentive(self.attention, looking, uniform(free)).pmf())
