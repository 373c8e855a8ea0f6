"""Minesweeper: open every cell without a mine; an open cell shows how many mines are around it.

Source: R. Kaye, "Minesweeper is NP-complete", 2000 (rules; a player knows which placements agree with every number).
"""

import functools
import itertools
import math
from collections import defaultdict
from collections.abc import Mapping
from fractions import Fraction
from typing import final

import attrs

from games.arguments import integer_field, probability_field
from games.attention import attentive
from games.wording import counted
from tsmg import (
    AbstractExplicitGame,
    AbstractPlayer,
    Distribution,
    Episode,
    Facts,
    Finite,
    InvalidArgumentError,
    Transition,
    deterministic,
    uniform,
)
from tsmg.invalid import AbstractInvalidRule, StandStill

_AGENT = "player"
_MOST_PLACEMENTS = 20_000

Cells = int
"""A set of cells, as the bits of a number in reading order."""


@final
@attrs.frozen(cache_hash=True)
class Field:
    """Where the mines are, and which cells are open."""

    mines: Cells
    opened: Cells = 0


@functools.lru_cache(maxsize=64)
def neighbours(rows: int, columns: int) -> tuple[Cells, ...]:
    """For each cell the up to eight cells around it."""

    def around(cell: int) -> Cells:
        row, column = divmod(cell, columns)
        near = itertools.product((row - 1, row, row + 1), (column - 1, column, column + 1))
        inside = (r * columns + c for r, c in near if 0 <= r < rows and 0 <= c < columns)
        return sum(1 << other for other in inside if other != cell)

    return tuple(around(cell) for cell in range(rows * columns))


def _members(cells: Cells) -> list[int]:
    return [n for n in range(cells.bit_length()) if cells >> n & 1]


@functools.lru_cache(maxsize=16)
def placements(cells: int, mines: int) -> tuple[Cells, ...]:
    """Every placement of a number of mines."""
    return tuple(
        sum(1 << n for n in chosen) for chosen in itertools.combinations(range(cells), mines)
    )


def opened_by(mines: Cells, opened: Cells, cell: int, around: tuple[Cells, ...]) -> Cells:
    """The cells that are open after one is opened: around a cell without mines near it all others open, too.

    Args:
      mines: where they are.
      opened: the cells that are open before.
      cell: the cell.
      around: the cells around each cell (``neighbours``).
    """
    opened |= 1 << cell
    frontier = [] if mines >> cell & 1 or mines & around[cell] else [cell]
    while frontier:
        new = around[frontier.pop()] & ~opened
        opened |= new
        frontier += [other for other in _members(new) if not mines & around[other]]
    return opened


@final
@attrs.frozen(kw_only=True)
class Minesweeper(AbstractExplicitGame[Field, int]):
    """Open every cell without a mine; an open cell tells how many mines are around it.

    Agents: one, ``player``.
    States: where the mines are, and which cells are open.
    Actions: the closed cells.
    Observation text: the board: ``#`` is closed, a number counts the mines around, ``.`` is none; at the end all mines.
    Action text: row and column, such as ``2 3``.
    Rewards: 1 once every cell without a mine is open, else 0.
    Invalid rule: nothing is opened (a step passes).
    Exact values: ``games.minesweeper.best_chance`` of small boards; a best player clears 2 x 2 cells with one mine with
    probability 1/4, and 3 x 3 cells with one or two mines with 8/9 or 2/3.

    Every placement of the mines is equally likely, and the first cell may have one.

    Attributes:
      rows, columns: size of the board.
      mines: how many there are; at most 20,000 placements.

    Source: R. Kaye, 2000.
    """

    rows: int = integer_field("rows", default=4, least=1)
    columns: int = integer_field("columns", default=4, least=1)
    mines: int = integer_field("mines", default=3, least=1)
    invalid_rule: AbstractInvalidRule = attrs.field(factory=StandStill)
    horizon: int = attrs.field(init=False)
    facts: Facts = Facts(
        perfect_information=False,
        text_separates_states=False,
        stochastic_start=True,
        stochastic_transitions=False,
        return_bounds=(0.0, 1.0),
    )

    agents = (_AGENT,)

    @horizon.default
    def _every_cell(self) -> int:
        return self.cells

    def __attrs_post_init__(self) -> None:
        if self.mines >= self.cells:
            raise InvalidArgumentError(
                f"'mines' must be below the {self.cells} cells (got {self.mines})"
            )
        if (count := math.comb(self.cells, self.mines)) > _MOST_PLACEMENTS:
            raise InvalidArgumentError(
                f"'mines' must have at most {_MOST_PLACEMENTS} placements on the board (got {count})"
            )

    @property
    def cells(self) -> int:
        """Number of cells."""
        return self.rows * self.columns

    def initial_state_dist(self) -> Distribution[Field]:
        return _fields(self.cells, self.mines)

    def is_cleared(self, state: Field) -> bool:
        """Whether all cells are open but those with mines."""
        return state.opened | state.mines == (1 << self.cells) - 1 and not self.is_lost(state)

    def is_lost(self, state: Field) -> bool:
        """Whether a mine is open."""
        return bool(state.opened & state.mines)

    def is_terminal(self, state: Field) -> bool:
        return self.is_lost(state) or self.is_cleared(state)

    def acting_agents(self, state: Field) -> tuple[str, ...]:
        return () if self.is_terminal(state) else self.agents

    def legal_actions(self, state: Field, agent: str) -> tuple[int, ...]:
        if self.is_terminal(state):
            return ()
        return tuple(cell for cell in range(self.cells) if not state.opened >> cell & 1)

    def transition_dist(
        self, state: Field, joint_action: Mapping[str, int]
    ) -> Distribution[Transition[Field]]:
        around = neighbours(self.rows, self.columns)
        opened = opened_by(state.mines, state.opened, joint_action[_AGENT], around)
        after = Field(state.mines, opened)
        return deterministic(Transition(after, (float(self.is_cleared(after)),)))

    def observation_text(self, state: Field, agent: str) -> str:
        around, is_over = neighbours(self.rows, self.columns), self.is_terminal(state)

        def mark(cell: int) -> str:
            if state.mines >> cell & 1 and (is_over or state.opened >> cell & 1):
                return "*"
            if not state.opened >> cell & 1:
                return "#"
            return str((state.mines & around[cell]).bit_count() or ".")

        marks = [mark(cell) for cell in range(self.cells)]
        rows = (marks[i : i + self.columns] for i in range(0, self.cells, self.columns))
        board = "\n".join(" ".join(row) for row in rows)
        if not is_over:
            return board
        return f"{board}\n{'A mine went off.' if self.is_lost(state) else 'The board is clear.'}"

    def action_text(self, state: Field, agent: str, action: int) -> str:
        row, column = divmod(action, self.columns)
        return f"{row + 1} {column + 1}"

    def rules_text(self, agent: str) -> str:
        return (
            f"{counted(self.mines, 'mine')} {'is' if self.mines == 1 else 'are'} hidden on a board of {self.rows} rows "
            f"and {self.columns} columns. Open every other cell. # is a closed cell. A number says how many of the "
            "cells around it, up to eight, have a mine. A dot says that none has, and all cells around a dot open by "
            "themselves. Opening a mine loses the game. A move is a row and a column, such as: "
            f"1 {min(2, self.columns)}"
        )

    def success(self, episode: Episode[Field], agent: str) -> bool:
        """Every cell without a mine is open."""
        return self.is_cleared(episode.final_state.state)

    def scripted_player(self) -> "CarefulPlayer":
        return CarefulPlayer(game=self)


@functools.lru_cache(maxsize=16)
def _fields(cells: int, mines: int) -> Distribution[Field]:
    return uniform(Field(placed) for placed in placements(cells, mines))


@functools.lru_cache(maxsize=65_536)
def _agreeing(
    rows: int, columns: int, mines: int, told: tuple[tuple[int, int], ...]
) -> tuple[Cells, ...]:
    """The placements that agree with what open cells tell, as (cell, mines around it)."""
    left, around = placements(rows * columns, mines), neighbours(rows, columns)
    for cell, number in told:
        left = tuple(
            placed
            for placed in left
            if not placed >> cell & 1 and (placed & around[cell]).bit_count() == number
        )
    return left


def possible(game: Minesweeper, state: Field) -> tuple[Cells, ...]:
    """The placements that agree with every open number.

    Args:
      game: the game.
      state: a state in which no mine is open.
    """
    around = neighbours(game.rows, game.columns)
    told = tuple(
        (cell, (state.mines & around[cell]).bit_count()) for cell in _members(state.opened)
    )
    return _agreeing(game.rows, game.columns, game.mines, told)


def best_chance(game: Minesweeper) -> Fraction:
    """The greatest probability of clearing the board, by a search over all that a player can know.

    Args:
      game: a game with a small board.

    Example:
      >>> best_chance(Minesweeper(rows=1, columns=3, mines=1))  # the middle tells nothing, a corner may tell all
      Fraction(2, 3)
    """
    every = placements(game.cells, game.mines)
    return Fraction(_clearable(game, 0, every), len(every))


@functools.lru_cache(maxsize=262_144)
def _clearable(game: Minesweeper, opened: Cells, left: tuple[Cells, ...]) -> int:
    """How many of the placements that are possible a best player clears.

    A cell that is safe in all of them is opened first: it costs nothing, and may tell something.
    """
    if len(left) == 1:
        return 1
    closed = [cell for cell in range(game.cells) if not opened >> cell & 1]
    safe = [cell for cell in closed if not any(mines >> cell & 1 for mines in left)]
    around = neighbours(game.rows, game.columns)

    def cleared(cell: int) -> int:
        seen: dict[tuple[Cells, tuple[int, ...]], list[Cells]] = defaultdict(list)
        for mines in left:
            if not mines >> cell & 1:
                now = opened_by(mines, opened, cell, around)
                numbers = tuple((mines & around[n]).bit_count() for n in _members(now))
                seen[now, numbers].append(mines)
        return sum(_clearable(game, now, tuple(rest)) for (now, _), rest in seen.items())

    return max(map(cleared, safe[:1] or closed))


@final
@attrs.frozen(kw_only=True)
class CarefulPlayer(AbstractPlayer[Field, int]):
    """Sometimes opens a cell that is least likely to have a mine; otherwise any closed cell.

    Attributes:
      game: the game.
      attention: probability that it looks, in [0, 1].
    """

    game: Minesweeper
    attention: float = probability_field("attention", default=0.8)

    def action_dist(self, state: Field, agent: str) -> Distribution[int]:
        left = possible(self.game, state)
        closed = self.game.legal_actions(state, agent)
        danger = {cell: sum(mines >> cell & 1 for mines in left) for cell in closed}
        safest = uniform([cell for cell in closed if danger[cell] == min(danger.values())])
        return Finite(attentive(self.attention, safest, uniform(closed)).pmf())
