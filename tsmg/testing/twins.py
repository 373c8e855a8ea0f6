"""Starts that an agent cannot tell apart, and starts that are equal: the same moves from each must look alike."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from tsmg.game import AnyGame
from tsmg.testing.rule import Case
from tsmg.testing.walks import Script, Subject

SEEDS = 32
"""The number of seeds among whose starts twins are looked for."""

Keys = Mapping[str, Any]


class Twins:
    """Finds scripts with another start and the same moves, where the starts are equal or some agent knows the same.

    Args:
      subject: the game under test.
      game: an instance of it.
    """

    def __init__(self, subject: Subject, game: AnyGame) -> None:
        self._subject = subject
        self._game = game
        self._equal: dict[Any, dict[str, int]] = {}

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

    def equal(self, case: Case) -> Iterator[Script]:
        """As many moves as there may be, from a walk's start and from an earlier one, equal but written otherwise."""
        script, start = case.walk.script, case.walk.visits[0].state if case.walk.visits else None
        if script.outcomes is not None or " at 0x" in (shown := repr(start)):
            return  # an address says nothing
        try:
            seeds = self._equal.setdefault(start, {})
        except TypeError:  # unhashable: a rule of its own says so
            return
        seeds.setdefault(shown, script.seed)
        other = next((seed for text, seed in seeds.items() if text != shown), None)
        if other is not None:
            long = attrs.evolve(script, rest=self._subject.limit, redrawn_from=None)
            moves = tuple(long.choices())
            for seed in (script.seed, other):
                yield attrs.evolve(long, seed=seed, moves=moves, rest=0)

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
