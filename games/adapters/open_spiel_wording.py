"""Rules, legends and readable words for the games of OpenSpiel that its own programs use most; pure data.

The rules hold for the parameters that a row names in braces, and for the values of those that it fixes; under other
values the game is shown as OpenSpiel shows it. OpenSpiel itself is not imported.
"""

import functools
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

Replacement = tuple[str, str]
"""A regular expression, and what replaces what it matches."""


class Wording(NamedTuple):
    """How one game is worded.

    Attributes:
      rules: in plain English; parameters of the game stand in braces.
      legend: each mark of the text that an agent reads, and what it means.
      text: replacements in that text, in order; they must keep different texts different.
      actions: replacements in the texts of actions.
      fixed: parameters that the rules hold for; under other values there is no wording.
    """

    rules: str
    legend: Mapping[str, str] = {}
    text: tuple[Replacement, ...] = ()
    actions: tuple[Replacement, ...] = ()
    fixed: Mapping[str, object] = {}

    def rules_text(self, parameters: Mapping[str, object]) -> str:
        """The rules of a game with these parameters, and the legend.

        Args:
          parameters: as the game states them.
        """
        known = {name: _singular(value) for name, value in parameters.items()}
        marks = "; ".join(f"{mark} {meaning}" for mark, meaning in self.legend.items())
        legend = f" How to read the text: {marks}." if marks else ""
        return self.rules.format_map(known) + legend

    def reworded_text(self, text: str) -> str:
        """What an agent reads, after the replacements."""
        return _replaced(text, self.text)

    def reworded_action(self, text: str) -> str:
        """The text of an action, after the replacements."""
        return _replaced(text, self.actions)


def _singular(value: object) -> object:
    """A number as a sentence has it."""
    return f"{value:g}" if isinstance(value, float) else value


@functools.lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.MULTILINE)


def _replaced(text: str, replacements: tuple[Replacement, ...]) -> str:
    for pattern, replacement in replacements:
        text = _compiled(pattern).sub(replacement, text)
    return text


def wording_of(name: str, parameters: Mapping[str, object]) -> Wording | None:
    """The wording of a game; ``None`` if there is none for it, or none for its parameters.

    Args:
      name: OpenSpiel's short name.
      parameters: as the game states them.
    """
    wording = MATRIX if name.startswith("matrix_") else WORDINGS.get(name)
    if wording is None:
        return None
    fits = all(parameters.get(key, value) == value for key, value in wording.fixed.items())
    return wording if fits else None


_AT_ONCE: Final = (
    (r"^Non-terminal$", "Nobody has chosen yet."),
    (r"^Terminal\. History string: ", "The game is over. Numbers of the actions: "),
)
_BID: Final = ((r"^\[P\d+\]Bid: ", "bid "),)

MATRIX: Final = Wording(
    rules="Both players choose once, at the same time, and are paid according to this table.",
    text=_AT_ONCE,
)
"""The wording of all matrix games, whose payoffs are read from OpenSpiel and stand after the rules."""

WORDINGS: Final[Mapping[str, Wording]] = {
    "kuhn_poker": Wording(
        rules="Poker with {players} players and one card more than there are players, numbered from 0; each is dealt "
        "one card. All put 1 into the pot. In turn you pass or bet 1 more. Once somebody has bet, each of the others "
        "either bets as well, to stay in, or passes, to give up. The highest card of those who stayed in wins the pot.",
        legend={"Moves so far": "are in the order of play, p for a pass and b for a bet"},
        text=((r"^(\d+)([pb]*)$", r"Your card: \1. Moves so far: \2"), (r"far: $", "far: none")),
    ),
    "leduc_poker": Wording(
        rules="Poker with {players} players and two suits of one rank more than there are players. Cards are numbered "
        "from 0: the rank is half the number, rounded down. All put 1 into the pot and get a private card; there are "
        "two rounds of betting, and after the first, one card is turned up for all to see. Call to bet as much as the "
        "others (nothing, if nobody raised), raise by 2 in the first round and by 4 in the second, at most twice in a "
        "round, or fold to give up. A private card with the rank of the open card wins; otherwise the higher rank "
        "does, and players with equal cards share the pot.",
        legend={
            "Observer": "is your number",
            "Private": "is your card",
            "Public": "is the open card, once there is one",
            "Player": "is whose turn it is",
            "Pot": "is what all have bet",
            "Money": "is what each player has left, in the order of the players",
            "Round1": "are the moves of the first round: 0 fold, 1 call, 2 raise",
            "Round2": "are those of the second",
        },
        fixed={"action_mapping": False, "suit_isomorphism": False},
    ),
    "tic_tac_toe": Wording(
        rules="Two players take turns to mark the empty cells of a board of three by three. Three of your own marks in "
        "a row, a column or a diagonal win; a full board without such a line is a draw. A move names the row and the "
        "column, counted from 0 at the top left.",
        legend={
            "x": "is a mark of player_0, who begins",
            "o": "is one of player_1",
            ".": "is an empty cell",
        },
    ),
    "connect_four": Wording(
        rules="Two players take turns to drop discs into {columns} columns of {rows} cells; a disc falls to the lowest "
        "empty cell. {x_in_row} of your own discs side by side in a row, a column or a diagonal win; a full board "
        "without such a line is a draw. A move names the column, counted from 0 at the left.",
        legend={
            "x": "is a disc of player_0, who begins",
            "o": "is one of player_1",
            ".": "is an empty cell",
        },
    ),
    "goofspiel": Wording(
        rules="Each player has the cards 1 to {num_cards}. In each round a point card is turned up, and all players "
        "bid one of their own cards at the same time; a card that was bid is gone. The highest bid wins the points; if "
        "it is tied, nobody does. Whoever has the most points at the end wins.",
        legend={
            "Current point card": "is what is bid for now",
            "Remaining Point Cards": "are those to come, in ascending order, without spaces between them",
            "P0 hand": "are the cards that player_0 still has, and so on",
            "Win sequence": "are the numbers of the players who won the rounds so far, -3 for a tie",
            "Points": "are those of each player",
        },
        actions=_BID,
        fixed={"imp_info": False, "returns_type": "win_loss", "num_turns": -1, "egocentric": False},
    ),
    "catch": Wording(
        rules="A ball falls straight down by one row at every step. Move the paddle in the bottom row left or right, "
        "or stay; a ball that lands on the paddle pays 1, and a ball that does not costs 1.",
        legend={"o": "is the ball", "x": "is the paddle", ".": "is an empty cell"},
    ),
    "breakthrough": Wording(
        rules="Two players take turns to move one piece by one cell: straight or diagonally forward onto an empty "
        "cell, or diagonally forward onto a piece of the other player, which is captured. The first player to reach "
        "the other's home row, or to capture every piece, wins. player_0 moves downwards and begins. A move names the "
        "cell that is left and the cell that is entered; * marks a capture.",
        legend={"b": "is a piece of player_0", "w": "is one of player_1", ".": "is an empty cell"},
    ),
    "blotto": Wording(
        rules="Each player divides {coins} coins among {fields} fields, all at the same time. Whoever puts the most "
        "coins on a field wins it, and whoever wins the most fields wins the game. A move lists the coins on each "
        "field.",
        text=_AT_ONCE,
        fixed={"players": 2},
    ),
    "universal_poker": Wording(
        rules="Poker with {numPlayers} players: private cards, {numRounds} rounds of betting, and cards turned up for "
        "all to see between the rounds. Call to put in as much as the others, bet to raise, go all in, or fold to give "
        "up. The best hand of private and open cards wins the pot; returns are chips won or lost.",
        legend={
            "Round": "is the present one, from 0",
            "Player": "is whose turn it is",
            "Pot": "is what all have bet",
            "Money": "are the chips that each player has left",
            "Private": "are your cards, rank and suit",
            "Public": "are the open cards",
            "Sequences": "are the moves so far: c call, f fold, r raise to that many chips",
        },
        actions=((r"^player=\d+ move=AllIn$", "all in"), (r"^player=\d+ move=", "")),
    ),
    "liars_dice": Wording(
        rules="Each of {players} players rolls {numdice} dice with {dice_sides} sides and sees only their own. In turn "
        "you make a higher bid or say Liar. The bid 2-3 claims that at least two of all the dice show a 3, where the "
        "highest side counts as any. A bid is higher if it names more dice, or as many dice and a higher side. After "
        "Liar the dice are shown: if the last bid was true, its bidder wins and the caller loses; otherwise the caller "
        "wins and the bidder loses.",
        legend={
            "Your dice": "stand in ascending order, without spaces between them",
            "Bids so far": "are the oldest first",
        },
        text=((r"^(\d+)(.*)$", r"Your dice: \1. Bids so far:\2"), (r"far:$", "far: none")),
        fixed={"bidding_rule": "reset-face"},
    ),
    "y": Wording(
        rules="Two players take turns to put a stone onto an empty cell of a triangle with {board_size} cells on each "
        "side. The first to have a connected group that touches all three sides wins; corners belong to two sides. A "
        "move names the column by a letter and the row by a number.",
        legend={
            "O": "is a stone of player_0, who begins",
            "@": "is one of player_1",
            "[": "and ] mark the last stone",
        },
        fixed={"ansi_color_output": False},
    ),
    "chess": Wording(
        rules="The usual rules of chess; player_1 has the white pieces and begins. Moves are in algebraic notation: "
        "Nf3 is a knight to f3, exd5 a pawn of the e-file that captures on d5, O-O castling. A draw pays 0.",
        legend={
            "/": "divides the rows of the board, the eighth one first, from the a-file to the h-file; capitals are "
            "white pieces, small letters are black ones, and a digit is that many empty cells",
            "w": "(or b) after the board is whose turn it is; then come the castling rights, the square for a capture "
            "en passant, and the numbers of half-moves without progress and of the move",
        },
        fixed={"chess960": False},
    ),
    "pig": Wording(
        rules="Roll a die with {diceoutcomes} sides as often as you like: each roll is added to the total of your "
        "turn, but a 1 loses that total and ends the turn. Stop to add the total to your score and end the turn. The "
        "first of {players} players with a score of {winscore} wins.",
        legend={
            "Scores": "are those of the players, in their order",
            "Turn total": "is what would be lost by a 1",
            "Current player": "is whose turn it is",
        },
        fixed={"piglet": False},
    ),
    "go": Wording(
        rules="Two players take turns to put a stone onto an empty point of a board of {board_size} by {board_size}, "
        "or pass. Connected stones without an empty point beside them are removed. Two passes in a row end the game; "
        "then each player's stones and the empty points that only these surround are counted, and {komi} is added for "
        "white. A stone that repeats an earlier board ends it as a draw. player_0 has black and begins, without a "
        "handicap.",
        legend={
            "X": "is a black stone",
            "O": "is a white one",
            "+": "is an empty point",
            "to_play": "is whose turn it is, B or W",
        },
        actions=((r"^[BW] ", ""), (r"^PASS$", "pass")),
        fixed={"handicap": 0},
    ),
    "oshi_zumo": Wording(
        rules="Two players with {coins} coins each push a wrestler along a field of cells. In each round both bid some "
        "of their coins at the same time; coins that were bid are gone. The higher bid pushes the wrestler by one "
        "cell: player_0 to the right, player_1 to the left. Whoever pushes it off the field wins. When no coins are "
        "left, the player on whose side the wrestler is loses; if it is in the middle, the game is a draw. The left "
        "half is player_0's side.",
        legend={
            "Coins": "are what each player has left",
            "W": "is the wrestler",
            ".": "is a cell of the field",
            "#": "is off the field",
        },
        actions=_BID,
        fixed={"alesia": False},
    ),
    "backgammon": Wording(
        rules="The usual rules of backgammon, without doubling. A move lists what each die does: 13/9 is a checker "
        "from point 13 to point 9, counted from the mover's own side, Bar/20 one that enters again, Off one that is "
        "borne off, 8/4/2 one that moves twice; * marks a hit. The first to bear off all checkers wins.",
        legend={
            "x": "is a checker of player_0, and a number stands for that many at a point",
            "o": "is one of player_1",
            "Turn": "is whose turn it is",
            "Dice": "are the two dice, without a space between them",
            "Bar": "are checkers that were hit",
            "Scores": "are the checkers that each has borne off",
        },
        actions=((r"^\d+ - ", ""),),
        fixed={"hyper_backgammon": False, "scoring_type": "winloss_scoring"},
    ),
    "hanabi": Wording(
        rules="All players build fireworks together, one for each colour, from rank 1 upwards, and each sees the "
        "others' cards but not their own. In turn, play a card (the next one of its firework pays 1 to all, any other "
        "costs a life), discard one (an information token comes back), or reveal all cards of one colour or rank in "
        "another hand (which costs a token). Cards are counted from 0, the oldest first. The game ends when all "
        "fireworks are complete, when each player has had one turn after the deck became empty, or with the last life, "
        "which loses everything that was paid.",
        legend={
            "Life tokens": "are the lives left",
            "Info tokens": "are those for hints",
            "Fireworks": "are the highest card of each colour",
            "Cur player": "stands above the hand of whose turn it is",
            "XX": "is a card that you do not see; after || is what was revealed of a card, and after | what it can be",
            "Deck size": "are the cards to be drawn",
            "Discards": "are the cards that are out of the game",
        },
        actions=(
            (r"^\((.*)\)$", r"\1"),
            (r"^Reveal player \+(\d+) colou?r (\w)$", r"reveal colour \2 to player +\1"),
            (r"^Reveal player \+(\d+) rank (\d)$", r"reveal rank \2 to player +\1"),
            (r"^Play ", "play card "),
            (r"^Discard ", "discard card "),
        ),
        fixed={"observation_type": "card_knowledge"},
    ),
    "first_sealed_auction": Wording(
        rules="An item is sold to one of {players} bidders. Only you know what it is worth to you, at most "
        "{max_value}. All bid once, unseen by the others. The highest bid wins; chance decides between equal bids. The "
        "winner gets what the item is worth to them minus the bid, and all others get nothing.",
        text=(
            (r"^p\d+ val (\d+)(?: bid (\d+))?$", r"Its worth to you: \1. Your bid: \2"),
            (r"bid: $", "bid: none yet"),
        ),
        actions=((r"^Player \d+ bid: ", "bid "),),
    ),
    "hex": Wording(
        rules="Two players take turns to put a stone onto an empty cell of a board of hexagons. player_0 connects the "
        "top side with the bottom side, player_1 the left side with the right side; whoever does so first wins. A cell "
        "touches those left and right of it, above and above right, below and below left. A move names the column by a "
        "letter and the row by a number, from the top left.",
        legend={
            "x": "is a stone of player_0, who begins",
            "o": "is one of player_1",
            ".": "is an empty cell",
        },
        fixed={"swap": False, "string_rep": "standard"},
    ),
    "nim": Wording(
        rules="Two players take turns to remove at least one object from one of the piles, which are numbered from 1. "
        "Whoever takes the last object of all loses.",
        legend={"Piles": "are the objects left in each"},
        text=((r"^\((\d+)\): ", r"player_\1 is to move. Piles: "),),
        actions=((r"^pile:(\d+), take:(\d+);$", r"take \2 from pile \1"),),
        fixed={"is_misere": True},
    ),
}
"""OpenSpiel's short name to the wording."""
