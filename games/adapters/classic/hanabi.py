"""Hanabi: fireworks, the others' cards, and what hints say about every card, in words.

Texts are made from the engine's own observation of the agent, in which the agent's cards are hidden.
"""

import re
from collections.abc import Iterable

from games.adapters import chance
from games.adapters.curated import Curated, RawEnv, Seen
from tsmg import Facts

_COLOURS = {"R": "red", "Y": "yellow", "G": "green", "W": "white", "B": "blue"}
_MOVE = re.compile(r"\((Discard|Play) (\d+)\)|\(Reveal player \+(\d+) (?:color|rank) (\w)\)")
_STATE = re.compile(
    r"Life tokens: (?P<lives>\d+)\nInfo tokens: (?P<hints>\d+)\nFireworks: (?P<fireworks>[^\n]*)\n"
    r"Hands:\n(?P<hands>.*)Deck size: (?P<deck>\d+)\nDiscards:(?P<discards>[^\n]*)",
    re.DOTALL,
)


def _card(code: str) -> str:
    return f"{_COLOURS[code[0]]} {code[1]}"


def _cards(codes: Iterable[str]) -> str:
    return ", ".join(map(_card, codes)) or "none"


def _possible(raw: RawEnv, letters: str) -> str:
    """What a card can be according to the hints, from the letters of its possible colours and ranks."""
    config = raw.hanabi_env.config
    colours = [_COLOURS[c] for c in letters if c in _COLOURS]
    ranks = [c for c in letters if c not in _COLOURS]
    colour = "any colour" if len(colours) == config["colors"] else "/".join(colours)
    rank = "any rank" if len(ranks) == config["ranks"] else "/".join(ranks)
    return f"{colour}, {rank}"


def _held(raw: RawEnv, line: str, number: int) -> str:
    """One card of a hand: what the reader sees of it, and what its holder knows."""
    shown, _, knowledge = line.partition(" || ")
    known = _possible(raw, knowledge.partition("|")[2]) if knowledge else "unknown"
    if shown.startswith("XX"):
        return f"  card {number}: {known}"
    return f"  card {number}: {_card(shown)} (told: {known})"


def _hands(seen: Seen, hands: str) -> Iterable[str]:
    names = (
        "Your hand, as far as you have been told",
        *(f"Hand of {other}" for other in seen.others),
    )
    for name, hand in zip(names, hands.split("-----\n"), strict=True):
        yield f"{name}:"
        lines = [line for line in hand.splitlines() if line and line != "Cur player"]
        yield from (_held(seen.raw, line, i + 1) for i, line in enumerate(lines))


def _text(seen: Seen) -> str:
    shown = _STATE.match(seen.raw.hanabi_env.game_state.observation_string(seen.place))
    if shown is None:
        return "Nothing to see."
    fireworks = ", ".join(f"{_card(code)}" for code in shown["fireworks"].split())
    lines = [
        f"You are {seen.agent}. Lives: {shown['lives']}. Hints: {shown['hints']}. Cards in the deck: {shown['deck']}.",
        f"Fireworks: {fireworks}.",
        *_hands(seen, shown["hands"]),
        f"Discarded: {_cards(shown['discards'].split())}.",
    ]
    return "\n".join(lines) + seen.moves_text()


def _move(raw: RawEnv, agent: str, action: int) -> str:
    agents = raw.possible_agents
    place = agents.index(agent)
    move = raw.hanabi_env.game_state.action_to_string(place, action)
    verb, card, offset, hint = _MOVE.fullmatch(move).groups()  # type: ignore[union-attr]
    if verb:
        return f"{verb.lower()} card {int(card) + 1}"
    return f"tell {agents[(place + int(offset)) % len(agents)]} {_COLOURS.get(hint, hint)}"


def _deck(raw: RawEnv) -> int:
    """The number of cards: of each colour three of the lowest rank, one of the highest, two of the others."""
    config = raw.hanabi_env.config
    return int(config["colors"] * 2 * config["ranks"])


def _rules(raw: RawEnv, agent: str) -> str:
    config = raw.hanabi_env.config
    return (
        "You play Hanabi together with the others: build one firework per colour, ranks rising from 1 to "
        f"{config['ranks']}. You see everybody's cards but your own. A turn is to play a card (one that does not fit "
        "costs a life), to discard a card (which regains a hint), or to spend a hint to tell another player which of "
        "their cards have a certain colour or rank. The reward is the change in the total of all fireworks; that total "
        "is lost with the last life. "
        "Examples of moves: play card 1, discard card 2, tell player_1 red, tell player_0 3."
    )


def _renew(raw: RawEnv, seed: int) -> None:
    """The wrapper's generator, from which cards are drawn when they are needed, is seeded anew."""
    chance.renew(raw.hanabi_env.np_random, seed)


HANABI = Curated(
    observation_text=_text,
    action_text=_move,
    rules=_rules,
    horizon=lambda raw: 2 * _deck(raw) + int(raw.hanabi_env.config["max_information_tokens"]),
    facts=lambda raw: Facts(perfect_information=False, stochastic_start=True),
    renew=_renew,
)
