"""Our games beside TextArena's of the same name, with all texts, in one run; the table of docs/reference/engine.md.

    python -m venv /tmp/textarena && /tmp/textarena/bin/pip install textarena numpy
    python tests/benchmarks/native_against_textarena.py --textarena /tmp/textarena/bin/python [--seconds 0.3]

A text is what one agent says once: its observation is read, and its text is read and carried out; starts of episodes
are part of it. Episodes are planned at random first, by texts that are valid as far as TextArena's can be read, and
played again while the time is taken. Both sides take turns, and a figure is the least of the repetitions, since other
work on the machine only adds to it. TextArena is taken without its wrappers (``-raw``), which only write more text.
The bar: 100,000 texts a second (10 microseconds), or as fast as TextArena.
"""

import argparse
import subprocess
import time
from pathlib import Path
from typing import Any

import games
from tsmg import AnyGame, Stream, step_limit

OTHER_SIDE = Path(__file__).with_name("textarena_players.py")
BAR = 10.0  # microseconds of a text
PAIRS = (
    ("BernoulliBandit-v0", "Bandit-v0-raw", 1),
    ("Blackjack-v0", "Blackjack-v0-raw", 1),
    ("ConnectFour-v0", "ConnectFour-v0-raw", 2),
    ("FirstPriceAuction-v0", "SimpleBlindAuction-v0-raw", 2),
    ("FrozenLake-v0", "FrozenLake-v0-raw", 1),
    ("Game2048-v0", "2048-v0-raw", 1),
    ("Goofspiel-v0", "GameOfPureStrategy-v0-raw", 2),
    ("Hanoi-v0", "TowerOfHanoi-v0-raw", 1),
    ("KuhnPoker-v0", "KuhnPoker-v0-raw", 2),
    ("LargeLightsOut-v0", "LightsOut-v0-raw", 1),
    ("LiarsDice-v0", "LiarsDice-v0-raw", 2),
    ("Mastermind-v0", "Mastermind-v0-raw", 1),
    ("MatchingPennies-v0", "IteratedMatchingPennies-v0-raw", 2),
    ("Minesweeper-v0", "Minesweeper-v0-raw", 1),
    ("Negotiation-v0", "SimpleNegotiation-v0-raw", 2),
    ("Nim-v0", "Nim-v0-raw", 2),
    ("PrisonersDilemma-v0", "IteratedPrisonersDilemma-v0-raw", 2),
    ("PublicGoods-v0", "PublicGoodsGame-v0-raw", 3),
    ("RockPaperScissors-v0", "IteratedRockPaperScissors-v0-raw", 2),
    ("SnakeDuel-v0", "Snake-v0-raw", 2),
    ("Sokoban-v0", "Sokoban-v0-raw", 1),
    ("StagHunt-v0", "IteratedStagHunt-v0-raw", 2),
    ("TicTacToe-v0", "TicTacToe-v0-raw", 2),
    ("TwentyQuestions-v0", "TwentyQuestions-v0-raw", 1),
    ("Ultimatum-v0", "IteratedUltimatumGame-v0-raw", 2),
    ("Werewolf-v0", "SecretMafia-v0-raw", 6),
    ("Wordle-v0", "Wordle-v0-raw", 1),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--textarena", help="a Python that has it; unset: our side alone")
    parser.add_argument("--seconds", type=float, default=0.1, help="of each side and repetition")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--only", default="", help="a part of our ids")
    arguments = parser.parse_args()
    print(
        "| ours | theirs | us a text, ours | theirs | ratio | theirs that ended by an invalid text |"
    )
    print("|---|---|---|---|---|---|")
    short = 0
    for id, other, players in PAIRS:
        if arguments.only not in id:
            continue
        ours, theirs, invalid = [], [], ""
        for _ in range(arguments.repetitions):
            ours.append(microseconds(games.make(id), arguments.seconds))
            answer = asked(arguments.textarena, f"{other} {players} {arguments.seconds}")
            if answer[0] == "failed":
                invalid = f"does not play: {' '.join(answer[1:])}"
                continue
            theirs.append(float(answer[0]))
            invalid = f"{float(answer[1]):.0%}"
        least = min(ours)
        their = f"{min(theirs):.1f} | {least / min(theirs):.2f}" if theirs else "- | -"
        short += least > BAR and not (theirs and least <= min(theirs))
        print(f"| {id} | {other} | {least:.1f} | {their} | {invalid} |", flush=True)
    print(f"{short} of ours miss the bar")


def asked(python: str | None, line: str) -> list[str]:
    """TextArena's answer, by a process of its own, so that no game inherits another's."""
    if python is None:
        return ["failed", "not", "asked"]
    done = subprocess.run(
        [python, str(OTHER_SIDE)], input=line, capture_output=True, text=True, check=False
    )
    return done.stdout.split() or ["failed", *done.stderr.split()[-12:]]


def microseconds(game: AnyGame, seconds: float) -> float:
    """CPU time of a text within the game's public methods.

    Episodes are planned first, by random play, and then played again by the same texts and the same chance while the
    time is taken, so that what chooses texts is no part of it.

    Args:
      game: the game.
      seconds: of CPU time of planned play.
    """
    spent, texts, episode = 0.0, 0, 0
    while spent < seconds:
        plans = [plan(game, episode + n) for n in range(20)]
        start = time.process_time()
        for n, steps in enumerate(plans):
            replay(game, episode + n, steps)
        spent += time.process_time() - start
        texts += sum(len(said) for steps in plans for said in steps)
        episode += len(plans)
    return 1e6 * spent / texts


def plan(game: AnyGame, episode: int) -> list[dict[str, str]]:
    """What each agent says in each step of an episode of random play."""
    chance, choices = Stream("speed", game.name, episode), Stream("choices", game.name, episode)
    state, steps = game.sample_initial_state(chance), []
    while len(steps) < step_limit(game) and not game.is_terminal(state):
        joint: dict[str, Any] = {}
        for agent in game.acting_agents(state):
            legal = game.legal_actions(state, agent)
            if legal is None:  # free text: as the game's own player speaks
                player = game.scripted_player()
                assert player is not None
                joint[agent] = player.action_dist(state, agent).sample(choices)
            else:
                joint[agent] = legal[int(choices.random() * len(legal))]
        steps.append({agent: game.action_text(state, agent, a) for agent, a in joint.items()})
        state = game.sample_transition(state, joint, chance).state
    return steps


def replay(game: AnyGame, episode: int, steps: list[dict[str, str]]) -> None:
    """Play a planned episode: observations are read, texts are read and carried out."""
    chance = Stream("speed", game.name, episode)
    state = game.sample_initial_state(chance)
    for said in steps:
        joint = {}
        for agent in game.acting_agents(state):
            game.observation_text(state, agent)
            joint[agent] = game.read_action(state, agent, said[agent]).action  # type: ignore[union-attr]
        state = game.sample_transition(state, joint, chance).state
        game.is_terminal(state)


if __name__ == "__main__":
    main()
