"""TextArena's side of ``native_against_textarena.py``: runs in an environment that has TextArena and nothing of ours.

Reads lines of an id, a number of players and seconds; plays the environment at random for so long, by moves that its
texts allow as far as that can be read; answers with the microseconds of a text and the share of games that an invalid
one ended. Games are planned first, and played again while the time is taken.
"""

import random
import re
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import textarena

QUOTED = re.compile(r"'(\[[^'\]]+\])'")
FACES = 6


def one_of(*texts: str) -> Callable[[str, list[str]], str]:
    """Any of some texts."""
    return lambda read, said: random.choice(texts)


def each_once(*texts: str) -> Callable[[str, list[str]], str]:
    """Any of some texts that nobody said in this game."""

    def choose(read: str, said: list[str]) -> str:
        return random.choice([text for text in texts if text not in said] or texts)

    return choose


def quoted(after: str) -> Callable[[str, list[str]], str]:
    """Any text that stands in quotation marks and brackets after these words."""

    def choose(read: str, said: list[str]) -> str:
        return random.choice(QUOTED.findall(read.rpartition(after)[2]) or ["[0]"])

    return choose


def hanoi(read: str, said: list[str]) -> str:
    rows = dict(re.findall(r"([ABC]): \[([\d, ]*)\]", read))
    top = {peg: int((disks.split(",")[-1] or "9").strip() or 9) for peg, disks in rows.items()}
    moves = [f"[{a} {b}]" for a in top for b in top if top[a] < top[b]]
    return random.choice(moves or ["[A C]"])


def nim(read: str, said: list[str]) -> str:
    piles = dict(re.findall(r"pile (\d): (\d+)", read))  # the last board
    moves = [f"[{pile} {n}]" for pile, most in piles.items() for n in range(1, int(most) + 1)]
    return random.choice(moves or ["[0 1]"])


def mastermind(read: str, said: list[str]) -> str:
    return f"[{' '.join(random.sample('123456', 4))}]"


def liars_dice(read: str, said: list[str]) -> str:
    """A bid by one more, or a call after half of the bids."""
    last = said[-1] if said else ""
    found = re.fullmatch(r"\[Bid: (\d+), (\d+)\]", last)
    if found is None:
        return f"[Bid: 1, {random.randint(1, FACES)}]"
    return "[Call]" if random.random() < 0.5 else f"[Bid: {int(found[1]) + 1}, {found[2]}]"


def ultimatum(read: str, said: list[str]) -> str:
    is_answer = bool(said) and said[-1].startswith("[Offer")
    return (
        random.choice(("[Accept]", "[Reject]"))
        if is_answer
        else f"[Offer: ${random.randint(0, 10)}]"
    )


def negotiation(read: str, said: list[str]) -> str:
    is_answer = bool(said) and said[-1].startswith("[Offer")
    return random.choice(("[Accept]", "[Deny]")) if is_answer else "[Offer: 1 Wood -> 1 Sheep]"


def mafia(read: str, said: list[str]) -> str:
    names = re.findall(r"\[(\d+)\]", read.rpartition("alid")[2]) or ["0", "1", "2"]
    return f"[{random.choice(names)}]"


CELLS = [f"[{row} {column}]" for row in range(8) for column in range(8)]
FOUR = one_of("[up]", "[down]", "[left]", "[right]")
PLAYERS: dict[str, Callable[[str, list[str]], str]] = {
    "2048": FOUR,
    "Bandit": one_of("[red]", "[blue]", "[green]", "[yellow]", "[purple]"),
    "Blackjack": one_of("[Hit]", "[Stand]"),
    "ConnectFour": one_of(*(f"[col {n}]" for n in range(7))),
    "FrozenLake": FOUR,
    "GameOfPureStrategy": quoted("remaining hand"),
    "IteratedMatchingPennies": one_of("[heads]", "[tails]"),
    "IteratedPrisonersDilemma": one_of("[Cooperate]", "[Defect]"),
    "IteratedRockPaperScissors": one_of("[rock]", "[paper]", "[scissors]"),
    "IteratedStagHunt": one_of("[stag]", "[hare]"),
    "IteratedUltimatumGame": ultimatum,
    "KuhnPoker": quoted("vailable actions"),
    "LiarsDice": liars_dice,
    "LightsOut": one_of(*(f"[{row} {column}]" for row in range(5) for column in range(5))),
    "Mastermind": mastermind,
    "Minesweeper": each_once(*CELLS),
    "Nim": nim,
    "PublicGoodsGame": one_of(*(f"{{nothing}} [{n}]" for n in range(21))),
    "SecretMafia": mafia,
    "SimpleBlindAuction": one_of("[Bid on Item 0: 50]", "[Bid on Item 3: 75]"),
    "SimpleNegotiation": negotiation,
    "Snake": FOUR,
    "Sokoban": FOUR,
    "TicTacToe": each_once(*(f"[{n}]" for n in range(9))),
    "TowerOfHanoi": hanoi,
}


def play(id: str, players: int, seconds: float) -> tuple[float, float]:
    """Microseconds of a text, and the share of games that an invalid one ended."""
    env = textarena.make(id)
    spent, texts, games, invalid = 0.0, 0, 0, 0
    while spent < seconds:
        plans = []
        for seed in range(games, games + 5):
            plans.append(plan(env, id, players, seed))
            infos = getattr(env.state, "game_info", None) or {}
            invalid += any(info.get("invalid_move") for info in infos.values())
        start = time.process_time()
        texts += sum(replay(env, players, games + n, said) for n, said in enumerate(plans))
        spent += time.process_time() - start
        games += len(plans)
    return 1e6 * spent / texts, invalid / games


def plan(env: Any, id: str, players: int, seed: int) -> list[str]:
    """What is said in a game of random play; what chooses leaves the environment's generator alone."""
    random.seed(seed)
    env.reset(num_players=players, seed=seed)
    choose, choices = PLAYERS[id.partition("-")[0]], random.Random(seed)
    done, said = False, []
    while not done:
        _, observation = env.get_observation()
        state = random.getstate()
        random.setstate(choices.getstate())
        text = choose(as_text(observation), said)
        choices.setstate(random.getstate())
        random.setstate(state)
        done, _ = env.step(action=text)
        said.append(text)
    return said


def replay(env: Any, players: int, seed: int, said: list[str]) -> int:
    """Play a planned game again; how many texts it took."""
    random.seed(seed)
    env.reset(num_players=players, seed=seed)
    for n, text in enumerate(said, start=1):
        env.get_observation()
        done, _ = env.step(action=text)
        if done:
            return n
    return len(said)


def as_text(observation: Any) -> str:
    """The last messages of what a player is shown."""
    if isinstance(observation, str):
        return observation
    return "\n".join(str(message[1]) for message in observation[-4:])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        asked, number, limit = line.split()
        try:
            print(*play(asked, int(number), float(limit)), flush=True)
        except BaseException as error:  # noqa: BLE001 - the table says what went wrong
            print("failed", type(error).__name__, " ".join(str(error).split())[:100], flush=True)
