"""Go: the board with coordinates, the last move, and moves such as D4 or pass."""

import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pettingzoo.classic.go import go_base

from games.adapters.curated import Curated, RawEnv, Seen
from tsmg import Facts

Planes = NDArray[Any]

_LETTERS = "ABCDEFGHJKLMNOPQRSTUVWXYZ"
_COLOURS = ("black", "white")
_STONES = "XO"


def _size(raw: RawEnv) -> int:
    return int(raw.observation_space(raw.possible_agents[0])["observation"].shape[0])


def _point(size: int, row: int, column: int) -> str:
    return f"{_LETTERS[column]}{size - row}"


def _move(raw: RawEnv, agent: str, action: int) -> str:
    size = _size(raw)
    return "pass" if action == size * size else _point(size, *divmod(action, size))


def _prepare(raw: RawEnv) -> None:
    """Restore the size of the board: it is kept in a module, where a board of another size overwrites it."""
    if _size(raw) != go_base.N:
        set_size = operator.methodcaller("_overwrite_go_global_variables", board_size=_size(raw))
        set_size(raw)


def _mover(raw: RawEnv) -> int:
    """The place of the agent that moved last: an observation's planes are always that player's view."""
    return 1 - int(raw.possible_agents.index(raw.agent_selection))


def _last_move(planes: Planes, mover: int) -> str:
    new = np.argwhere(planes[..., 0] & ~planes[..., 3])
    if len(new):
        return f"\nLast move: {_COLOURS[mover]} {_point(len(planes), *new[0].tolist())}."
    begun = planes[..., :16].any() or mover == 0
    return f"\nLast move: {_COLOURS[mover]} pass." if begun else ""


def _board(planes: Planes, mover: int) -> str:
    size = len(planes)
    stones = np.full((size, size), ".")
    stones[planes[..., 0]], stones[planes[..., 1]] = _STONES[mover], _STONES[1 - mover]
    rows = [f"{size - row:2} {' '.join(stones[row].tolist())}" for row in range(size)]
    return "\n".join([*rows, f"   {' '.join(_LETTERS[:size])}"])


def _forbidden(planes: Planes, moves: tuple[str, ...]) -> str:
    """Empty points where the rules of ko and suicide forbid a stone."""
    size, legal = len(planes), set(moves)
    empty = np.argwhere(~(planes[..., 0] | planes[..., 1])).tolist()
    points = [_point(size, row, column) for row, column in empty]
    shut = [point for point in points if point not in legal] if moves else []
    return f"\nForbidden: {', '.join(shut)}." if shut else ""


def _text(seen: Seen) -> str:
    planes, mover = seen.observation["observation"], _mover(seen.raw)
    return (
        f"{_board(planes, mover)}{_last_move(planes, mover)}\n"
        f"You are {_COLOURS[seen.place]} ({_STONES[seen.place]}).{_forbidden(planes, seen.moves)}"
    )


def _rules(raw: RawEnv, agent: str) -> str:
    komi = vars(raw)["_komi"]
    return (
        f"You play go on {_size(raw)} x {_size(raw)} points. Black (X) moves first; groups without liberties are "
        "captured. After two passes in a row the game ends, and each side counts its stones and the points that it "
        f"surrounds; white gets {komi:g} more. A move is a free point by column and row, such as D4, or pass."
    )


GO = Curated(
    observation_text=_text,
    action_text=_move,
    rules=_rules,
    horizon=lambda raw: 3 * _size(raw) ** 2,
    facts=lambda raw: Facts(zero_sum=True, return_bounds=(-1.0, 1.0)),
    prepare=_prepare,
)
