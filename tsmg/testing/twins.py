"""Starts that an agent cannot tell apart: the same moves from each of them must look alike to it."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from tsmg.game import AnyGame
from tsmg.testing.walks import Script, Subject

SEEDS = 32
"""The number of seeds among whose starts twins are looked for."""

Keys = Mapping[str, Any]


class Twins:
    """Finds scripts with another start and the same moves, of which some agent knows the same.

    Args:
      subject: the game under test.
      game: an instance of it.
    """

    def __init__(self, subject: Subject, game: AnyGame) -> None:
        self._subject = subject
        self._game = game

    def of(self, script: Script) -> Iterator[Script]:
        """The same moves from another start, for each agent that cannot tell them apart."""
        if len(self._game.agents) < 2 or self._game.facts.perfect_information:
            return
        here = self._start(script.seed)
        if here is None:
            return
        for agent, known in here[1].items():
            for seed in range(SEEDS):
                there = self._start(seed)
                if there is not None and there[0] != here[0] and there[1][agent] == known:
                    moves = tuple(script.choices())  # the rest depends on the seed
                    yield attrs.evolve(script, seed=seed, moves=moves, rest=0, redrawn_from=None)
                    break

    @functools.lru_cache(maxsize=512)  # noqa: B019  # used once, and thrown away with its check
    def _start(self, seed: int) -> tuple[Any, Keys] | None:
        walk = self._subject.walk(self._game, Script(seed=seed))
        if walk.error or not walk.visits:
            return None
        state = walk.visits[0].state
        try:
            keys = {agent: self._game.information_key(state, agent) for agent in self._game.agents}
        except Exception:  # a rule of its own says so
            return None
        return state, keys
