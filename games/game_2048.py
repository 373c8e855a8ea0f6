"""2048: slide tiles on a board; equal tiles that meet merge into one with twice their number.

Source: G. Cirulli, "2048", 2014 (rules); J. Lees-Miller, "The mathematics of 2048: optimal play with Markov decision
processes", 2018 (small boards).
"""

import functools
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import NamedTuple, final

import attrs

from games.arguments import integer, integer_field, probability_field
from games.attention import attentive
from tsmg import (
    AbstractExplicitGame,
    AbstractPlayer,
    Distribution,
    Episode,
    Facts,
    Finite,
    InvalidArgumentError,
    Transition,
    product,
    uniform,
)
from tsmg.invalid import AbstractInvalidRule, StandStill

_AGENT = "player"

DIRECTIONS = ("up", "down", "left", "right")
FOUR = Fraction(1, 10)
"""The probability that a new tile is a 4; else it is a 2."""

Row = tuple[int, ...]
Board = tuple[Row, ...]
"""The tiles' numbers row by row, the top row first; 0 is an empty cell."""


class Slid(NamedTuple):
    """A board after a slide and before a new tile comes, and the sum of the tiles that merged."""

    board: Board
    score: int


@functools.lru_cache(maxsize=65_536)
def slide_row(row: Row) -> tuple[Row, int]:
    """A row after its tiles were slid to the left, and the sum of the tiles that merged.

    A tile merges once in a slide, and the leftmost pairs merge first.

    Example:
      >>> slide_row((2, 2, 4, 0)), slide_row((0, 2, 2, 2))
      (((4, 4, 0, 0), 4), ((4, 2, 0, 0), 4))
    """
    tiles = [tile for tile in row if tile]
    slid: list[int] = []
    score = 0
    while tiles:
        tile = tiles.pop(0)
        if tiles and tiles[0] == tile:
            tile += tiles.pop(0)
            score += tile
        slid.append(tile)
    return (*slid, *[0] * (len(row) - len(slid))), score


def _turned(board: Board) -> Board:
    return tuple(zip(*board, strict=True))


def _mirrored(board: Board) -> Board:
    return tuple(row[::-1] for row in board)


_Turn = Callable[[Board], Board]
_TURNS: Mapping[str, tuple[_Turn, _Turn]] = {
    "left": (tuple, tuple),
    "right": (_mirrored, _mirrored),
    "up": (_turned, _turned),
    "down": (lambda board: _mirrored(_turned(board)), lambda board: _turned(_mirrored(board))),
}
"""For each direction, how a board is turned so that its tiles slide to the left, and how it is turned back."""


@functools.lru_cache(maxsize=65_536)
def slides(board: Board) -> Mapping[str, Slid]:
    """The slides that change a board, by direction."""
    found = {}
    for direction in DIRECTIONS:
        turn, back = _TURNS[direction]
        rows = [slide_row(row) for row in turn(board)]
        after = back(tuple(row for row, _ in rows))
        if after != board:
            found[direction] = Slid(after, sum(score for _, score in rows))
    return found


_TILES: Distribution[int] = Finite({2: 1 - FOUR, 4: FOUR})


@functools.lru_cache(maxsize=64)
def _index_and_tile(empty: int) -> Distribution[tuple[int, ...]]:
    return product([uniform(range(empty)), _TILES])


def with_tile(board: Board) -> Distribution[Board]:
    """The distribution of a board with a new tile on a uniformly random empty cell."""
    empty = [(r, c) for r, row in enumerate(board) for c, tile in enumerate(row) if not tile]

    def put(drawn: tuple[int, ...]) -> Board:
        index, tile = drawn
        r, c = empty[index]
        row = (*board[r][:c], tile, *board[r][c + 1 :])
        return (*board[:r], row, *board[r + 1 :])

    return _index_and_tile(len(empty)).map(put)


def _to_target(value: object) -> int:
    target = integer("target", value, least=0)
    if target and (target < 8 or target & (target - 1)):
        raise InvalidArgumentError(f"'target' must be 0 or a power of 2 from 8 on (got {target})")
    return target


@final
@attrs.frozen(kw_only=True)
class Game2048(AbstractExplicitGame[Board, str]):
    """Slide tiles together; equal tiles that meet merge into one with twice their number.

    Agents: one, ``player``.
    States: the tiles.
    Actions: the directions in which something moves.
    Observation text: the board, row by row; a dot is an empty cell.
    Action text: the direction's name.
    Rewards: the sum of the tiles that merged; with a target, 1 once a tile has it, else 0.
    Invalid rule: nothing moves (a step passes).
    Metrics: largest_tile.
    Exact values: on 2 x 2 cells a best player reaches the tile 32 in about 8% of the games, and no greater one; small
    boards are solved by ``games.game_2048.best_value``.

    Attributes:
      rows, columns: size of the board; at least two cells.
      target: a tile that ends the game; 0 for none, and then merged tiles are rewarded.
      horizon: time limit H, in steps.

    Source: G. Cirulli, 2014; J. Lees-Miller, 2018.
    """

    rows: int = integer_field("rows", default=4, least=1)
    columns: int = integer_field("columns", default=4, least=2)
    target: int = attrs.field(default=0, converter=_to_target)
    horizon: int = integer_field("horizon", default=100, least=1)
    invalid_rule: AbstractInvalidRule = attrs.field(factory=StandStill)
    facts: Facts = attrs.field(init=False)

    agents = (_AGENT,)

    @facts.default
    def _declare(self) -> Facts:
        return Facts(
            perfect_information=True,
            text_separates_states=True,
            stochastic_start=True,
            stochastic_transitions=True,
            return_bounds=(0.0, 1.0) if self.target else None,
        )

    def initial_state_dist(self) -> Distribution[Board]:
        empty = ((0,) * self.columns,) * self.rows
        return with_tile(empty).bind(with_tile)

    def is_won(self, state: Board) -> bool:
        """Whether a tile has the target."""
        return bool(self.target) and max(map(max, state)) >= self.target

    def is_terminal(self, state: Board) -> bool:
        return not slides(state) or self.is_won(state)

    def acting_agents(self, state: Board) -> tuple[str, ...]:
        return () if self.is_terminal(state) else self.agents

    def legal_actions(self, state: Board, agent: str) -> tuple[str, ...]:
        return () if self.is_terminal(state) else tuple(slides(state))

    def transition_dist(
        self, state: Board, joint_action: Mapping[str, str]
    ) -> Distribution[Transition[Board]]:
        board, score = slides(state)[joint_action[_AGENT]]
        reward = float(self.is_won(board) if self.target else score)
        return with_tile(board).map(lambda after: Transition(after, (reward,)))

    def observation_text(self, state: Board, agent: str) -> str:
        lines = [" ".join(str(tile or ".") for tile in row) for row in state]
        if self.is_won(state):
            lines.append(f"You have made {self.target}.")
        elif self.is_terminal(state):
            lines.append("Nothing can move any more.")
        return "\n".join(lines)

    def action_text(self, state: Board, agent: str, action: str) -> str:
        return action

    def rules_text(self, agent: str) -> str:
        aim = (
            f"Make a tile of {self.target}."
            if self.target
            else "Each merge scores the number on the new tile."
        )
        return (
            "Slide all tiles of a board as far as they go. Two equal tiles that meet merge into one with twice their "
            "number; a tile merges at most once per slide. Then a new tile, a 2 or sometimes a 4, appears on an empty "
            f"cell (a dot). {aim} The game is over when no tile can move. A move is one of: {', '.join(DIRECTIONS)}; "
            "it must move at least one tile."
        )

    def success(self, episode: Episode[Board], agent: str) -> bool | None:
        """A tile has the target; not defined if there is none."""
        return self.is_won(episode.final_state.state) if self.target else None

    def metrics(self, episode: Episode[Board], agent: str) -> Mapping[str, float]:
        """The ``largest_tile`` at the end."""
        return {"largest_tile": float(max(map(max, episode.final_state.state)))}

    def scripted_player(self) -> "RoomyPlayer":
        return RoomyPlayer()


@functools.lru_cache(maxsize=262_144)
def best_value(game: Game2048, board: Board) -> float:
    """The greatest expected return from a board, without a time limit, exact up to rounding.

    The sum of the tiles grows with every step, so the recursion ends; rotated and mirrored boards count as one.

    Args:
      game: the game; large boards take too long.
      board: where to start.

    Source: J. Lees-Miller, 2018.

    Example:
      >>> best_value(Game2048(rows=1, columns=2), ((2, 2),))  # a 4, and one time in ten another one to merge with
      4.8
    """
    if game.is_terminal(board):
        return 0.0
    worths = []
    for after, score in slides(board).values():
        if game.is_won(after):
            worths.append(1.0)
            continue
        later = sum(
            float(p) * best_value(game, smallest(b)) for b, p in with_tile(after).enumerate()
        )
        worths.append((0 if game.target else score) + later)
    return max(worths)


def smallest(board: Board) -> Board:
    """The smallest of the rotations and reflections of a board."""
    found = [board, board[::-1], _mirrored(board), _mirrored(board[::-1])]
    if len(board) == len(board[0]):
        found += [_turned(one) for one in found]
    return min(found)


@final
@attrs.frozen(kw_only=True)
class RoomyPlayer(AbstractPlayer[Board, str]):
    """Sometimes slides in a direction that empties the most cells; otherwise in any direction.

    Attributes:
      attention: probability that it looks, in [0, 1].
    """

    attention: float = probability_field("attention", default=0.7)

    def action_dist(self, state: Board, agent: str) -> Distribution[str]:
        legal = slides(state)
        room = {d: sum(row.count(0) for row in slid.board) for d, slid in legal.items()}
        best = [d for d in legal if room[d] == max(room.values())]
        return Finite(attentive(self.attention, uniform(best), uniform(legal)).pmf())
