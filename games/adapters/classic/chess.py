"""Chess: the board with files and ranks, its FEN, and moves in UCI notation."""

from pettingzoo.classic.chess import chess_utils

from games.adapters.curated import Curated, RawEnv, Seen
from tsmg import Facts

_COLOURS = ("white", "black")
_CASES = ("capital", "small")
_LONGEST = 500


def _uci(raw: RawEnv, agent: str, action: int) -> str:
    """The environment mirrors black's moves, and leaves out that a pawn becomes a queen."""
    place = raw.possible_agents.index(agent)
    return str(chess_utils.action_to_move(raw.board, action, place).uci())


def _text(seen: Seen) -> str:
    board = seen.raw.board
    lines = str(board).split("\n")
    ranks = [f"{8 - i} {line}" for i, line in enumerate(lines)]
    check = " You are in check." if seen.moves and board.is_check() else ""
    return (
        "\n".join([*ranks, "  a b c d e f g h"]) + f"\nFEN: {board.fen()}"
        f"\nYou are {_COLOURS[seen.place]} ({_CASES[seen.place]} letters).{check}{seen.moves_text()}"
    )


CHESS = Curated(
    observation_text=_text,
    action_text=_uci,
    rules=lambda raw, agent: (
        "You play chess. A win is worth 1, a loss -1, a draw 0. The game is a draw when neither side has enough "
        "pieces to win, and as soon as a player could claim a draw: after a third repetition, or fifty moves without a "
        "capture or a pawn move. A move is written "
        "in UCI notation: the square that a piece leaves and the square that it goes to, such as e2e4; castling is the "
        "king's move, such as e1g1; a promotion has the letter of the new piece, such as e7e8q."
    ),
    horizon=lambda raw: _LONGEST,
    facts=lambda raw: Facts(zero_sum=True, return_bounds=(-1.0, 1.0)),
)
