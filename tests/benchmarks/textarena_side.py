"""TextArena's side of ``speed.py``: runs in an environment that has TextArena and nothing of ours.

Reads lines of an id and games (cells 1 to 9 in the order of the moves, games separated by commas), plays them, and
answers with the microseconds of a step.
"""

import sys
import time
from typing import Any

import textarena


def play(env: Any, games: list[list[str]]) -> float:
    """Every observation is read, every action is a text; resets are part of it."""
    start = time.process_time()
    for texts in games:
        env.reset(num_players=2)
        done = False
        for text in texts:
            env.get_observation()
            done, _ = env.step(action=text)
        assert done
    return 1e6 * (time.process_time() - start) / sum(map(len, games))


for line in sys.stdin:
    id, cells = line.split()
    games = [[f"[{int(cell) - 1}]" for cell in game] for game in cells.split(",")]
    print(play(textarena.make(id), games), flush=True)
