"""Leduc and Texas hold'em: cards and moves by name, the chips of all agents, and the moves so far.

The environments' observations do not say which cards are the agent's own; their engine's view of the same player (its
``raw_obs``) does, and shows nothing of the other hands.
"""

from collections.abc import Callable, Sequence
from typing import Any, SupportsInt

from games.adapters import chance
from games.adapters.curated import Curated, RawEnv, Seen
from tsmg import Facts

_RANKS = {
    "A": "ace", "2": "two", "3": "three", "4": "four", "5": "five", "6": "six", "7": "seven", "8": "eight",
    "9": "nine", "T": "ten", "J": "jack", "Q": "queen", "K": "king",
}  # fmt: skip
_SUITS = {"S": "spades", "H": "hearts", "D": "diamonds", "C": "clubs"}
_LIMIT_MOVES = ("call", "raise", "fold", "check")
_NO_LIMIT_MOVES = ("fold", "call", "raise half the pot", "raise the pot", "go all in")


def _card(code: str) -> str:
    return f"{_RANKS[code[1]]} of {_SUITS[code[0]]}"


def _cards(codes: Sequence[str]) -> str:
    return ", ".join(map(_card, codes)) or "none yet"


def _chips(agents: Sequence[str], chips: Sequence[SupportsInt]) -> str:
    return ", ".join(f"{agent} {int(n)}" for agent, n in zip(agents, chips, strict=True))


def _done(agents: Sequence[str], record: Sequence[tuple[int, Any]]) -> str:
    """The moves so far; the engine records them by name, or by number where there is no limit."""
    moves = [
        f"{agents[place]} {move if isinstance(move, str) else _NO_LIMIT_MOVES[move.value]}"
        for place, move in record
    ]
    return ", ".join(moves) or "nothing"


def _own(seen: Seen) -> tuple[Any, Any]:
    """The engine's view of the agent, and the moves of all so far."""
    state = seen.raw.env.get_state(seen.place)
    return state["raw_obs"], state["action_record"]


def _text(seen: Seen) -> str:
    view, record = _own(seen)
    hand, table = view["hand"], view.get("public_cards")
    if table is None:
        hand, table = [hand], [view["public_card"]] if view["public_card"] else []
    agents = seen.raw.possible_agents
    lines = [
        f"You are {seen.agent}. Your cards: {_cards(hand)}.",
        f"Cards on the table: {_cards(table)}.",
        f"Chips put in: {_chips(agents, view['all_chips'])}.",
    ]
    if "stakes" in view:
        lines.append(f"Chips left: {_chips(agents, view['stakes'])}.")
    lines.append(f"Done so far: {_done(agents, record)}.")
    return "\n".join(lines) + seen.moves_text()


def _limit_move(raw: RawEnv, agent: str, action: int) -> str:
    return _LIMIT_MOVES[action]


def _no_limit_move(raw: RawEnv, agent: str, action: int) -> str:
    return _NO_LIMIT_MOVES[action]


def _deal_anew(raw: RawEnv, seed: int) -> None:
    """Shuffle the cards that no agent has seen: their order is chance that has not happened yet."""
    dealer = raw.env.game.dealer
    chance.renew(dealer.np_random, seed)
    dealer.shuffle()


def _facts(raw: RawEnv) -> Facts:
    two = len(raw.possible_agents) == 2
    return Facts(zero_sum=True if two else None, perfect_information=False, stochastic_start=True)


def _poker(
    moves: Callable[[RawEnv, str, int], str], *, rules: str, steps_per_agent: int
) -> Curated:
    return Curated(
        observation_text=_text,
        action_text=moves,
        rules=lambda raw, agent: rules,
        horizon=lambda raw: steps_per_agent * len(raw.possible_agents),
        facts=_facts,
        renew=_deal_anew,
    )


LEDUC = _poker(
    _limit_move,
    rules=(
        "You play Leduc hold'em with six cards: jack, queen and king of two suits. Each of two players holds one card; "
        "after a round of betting one card is laid on the table, and a second round follows. A pair with the card on "
        "the table wins; otherwise the higher card does. Raises are 2 chips in the first round and 4 in the second, at "
        "most two per round. Rewards are chips won or lost, divided by 2. A move is one of: call, raise, fold, check."
    ),
    steps_per_agent=6,
)
TEXAS = _poker(
    _limit_move,
    rules=(
        "You play Texas hold'em with fixed bets. Every player holds two cards. After rounds of betting, three cards, "
        "one card and one more are laid on the table, and the best five of seven cards win. Raises are 2 chips in the "
        "first two rounds and 4 in the others, at most four per round. Rewards are chips won or lost, divided by 2. A "
        "move is one of: call, raise, fold, check."
    ),
    steps_per_agent=30,
)
TEXAS_NO_LIMIT = _poker(
    _no_limit_move,
    rules=(
        "You play Texas hold'em without a limit, with 100 chips each. Every player holds two cards. After rounds of "
        "betting, three cards, one card and one more are laid on the table, and the best five of seven cards win. "
        "Rewards are chips won or lost. A move is one of: fold, call (a check, if there is nothing to pay), raise half "
        "the pot, raise the pot, go all in."
    ),
    steps_per_agent=60,
)
