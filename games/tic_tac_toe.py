"""Tic-tac-toe: three in a row on a board of nine cells."""

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
    Transition,
    deterministic,
    uniform,
)
from tsmg.invalid import AbstractInvalidRule, Forfeit

_LINES = (
    *((r, r + 1, r + 2) for r in (0, 3, 6)),
    *((c, c + 3, c + 6) for c in (0, 1, 2)),
    (0, 4, 8),
    (2, 4, 6),
)
_AGENTS = ("x", "o")
_MARKS = "XO"
_EMPTY = "." * 9
_WINS = {"X": (1.0, -1.0), "O": (-1.0, 1.0)}
_NOTHING = (0.0, 0.0)


@functools.lru_cache(maxsize=8192)
def winner(board: str) -> str:
    """``"X"``, ``"O"``, or ``""``; a board is nine of ``X``, ``O`` and ``.`` in reading order."""
    for a, b, c in _LINES:
        if board[a] == board[b] == board[c] != ".":
            return board[a]
    return ""


@functools.lru_cache(maxsize=8192)
def mover(board: str) -> int:
    """The player whose turn it is: 0 for X, 1 for O."""
    return board.count("X") - board.count("O")


def _marked(board: str, cell: int) -> str:
    return f"{board[: cell - 1]}{_MARKS[mover(board)]}{board[cell:]}"


@functools.lru_cache(maxsize=8192)
def _acting(board: str) -> tuple[str, ...]:
    return () if _is_over(board) else (_AGENTS[mover(board)],)


def _is_over(board: str) -> bool:
    return bool(winner(board)) or "." not in board


@functools.lru_cache(maxsize=8192)
def value(board: str) -> int:
    """The return of X under best play of both from this board: 1, 0 or -1; by exhaustive search."""
    if _is_over(board):
        return int(_WINS[winner(board)][0]) if winner(board) else 0
    values = [value(_marked(board, cell)) for cell in free_cells(board)]
    return min(values) if mover(board) else max(values)


@functools.lru_cache(maxsize=8192)
def free_cells(board: str) -> tuple[int, ...]:
    """The numbers of the free cells, 1 to 9 in reading order."""
    return tuple(i + 1 for i, mark in enumerate(board) if mark == ".")


@final
@attrs.frozen(kw_only=True)
class TicTacToe(AbstractExplicitGame[str, int]):
    """Place marks in turn; three in a row win.

    Agents: ``x`` (first) and ``o``, in turn.
    States: a board as nine letters.
    Actions: the numbers of the free cells, 1 to 9.
    Observation text: the board, free cells by their numbers, and the reader's mark.
    Action text: the cell's number.
    Rewards: 1 to the winner and -1 to the loser, at the end.
    Invalid rule: forfeit, at a penalty of 1.

    Attributes:
      horizon: time limit H, in steps.
    """

    horizon: int = integer_field("horizon", default=9, least=1)
    invalid_rule: AbstractInvalidRule = Forfeit(penalty=1.0)
    facts: Facts = Facts(
        zero_sum=True,
        perfect_information=True,
        text_separates_states=True,
        stochastic_start=False,
        stochastic_transitions=False,
        return_bounds=(-1.0, 1.0),
        longest_game=9,
    )

    agents = _AGENTS

    def initial_state_dist(self) -> Distribution[str]:
        return deterministic(_EMPTY)

    def is_terminal(self, state: str) -> bool:
        return _is_over(state)

    def acting_agents(self, state: str) -> tuple[str, ...]:
        return _acting(state)

    def legal_actions(self, state: str, agent: str) -> tuple[int, ...]:
        return free_cells(state) if agent in _acting(state) else ()

    def transition_dist(
        self, state: str, joint_action: Mapping[str, int]
    ) -> Distribution[Transition[str]]:
        return _transition_dist(state, joint_action[_AGENTS[mover(state)]])

    def observation_text(self, state: str, agent: str) -> str:
        return _text(state, agent)

    def action_text(self, state: str, agent: str, action: int) -> str:
        return str(action)

    def rules_text(self, agent: str) -> str:
        return (
            "You play tic-tac-toe: three marks in a row, column or diagonal win. The cells have the "
            "numbers 1 to 9 in reading order; free cells show theirs. A move is the number of a free "
            "cell."
        )

    def scripted_player(self) -> "MyopicTicTacToe":
        """A player that looks one move ahead, and not always."""
        return MyopicTicTacToe()

    def success(self, episode: Episode[str], agent: str) -> bool | None:
        """Not losing."""
        if episode.ending is not Ending.TERMINATED:
            return None
        return episode.episode_return(agent, penalties=False) >= 0


@functools.lru_cache(maxsize=32_768)
def _transition_dist(board: str, cell: int) -> Distribution[Transition[str]]:
    after = _marked(board, cell)
    return deterministic(Transition(after, _WINS.get(winner(after), _NOTHING)))


@functools.lru_cache(maxsize=16_384)
def _text(board: str, agent: str) -> str:
    shown = [mark if mark != "." else str(i + 1) for i, mark in enumerate(board)]
    rows = "\n".join(" ".join(shown[r : r + 3]) for r in (0, 3, 6))
    own = _MARKS[_AGENTS.index(agent)]
    if not _is_over(board):
        return f"{rows}\nYou are {own}."
    result = {"": "It is a draw.", own: "You won."}.get(winner(board), "You lost.")
    return f"{rows}\nYou are {own}. {result}"


@final
@attrs.frozen
class PerfectTicTacToe(AbstractPlayer[str, int]):
    """Plays uniformly among the moves of the best value: an equilibrium of the game."""

    def action_dist(self, state: str, agent: str) -> Distribution[int]:
        values = {cell: value(_marked(state, cell)) for cell in free_cells(state)}
        best = min(values.values()) if mover(state) else max(values.values())
        return uniform([cell for cell, v in values.items() if v == best])


@final
@attrs.frozen(kw_only=True)
class MyopicTicTacToe(AbstractPlayer[str, int]):
    """Sometimes looks one move ahead: wins at once if it can, otherwise takes a cell where the other would win.

    Attributes:
      attention: probability that it looks, in [0, 1]; otherwise it moves at random.
    """

    attention: float = probability_field("attention", default=0.4)

    def action_dist(self, state: str, agent: str) -> Distribution[int]:
        return _myopic_dist(state, self.attention)


@functools.lru_cache(maxsize=16_384)
def _myopic_dist(board: str, attention: float) -> Distribution[int]:
    free = free_cells(board)
    mine, yours = _MARKS[mover(board)], _MARKS[1 - mover(board)]
    wins, blocks = (
        [cell for cell in free if winner(f"{board[: cell - 1]}{mark}{board[cell:]}")]
        for mark in (mine, yours)
    )
    dist = attentive(attention, uniform(wins or blocks or free), uniform(free))
    return Finite(dist.pmf())
