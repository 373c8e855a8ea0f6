"""The starts that a run chooses among: all of a game's, or candidates that were drawn from its law once."""

import functools
from collections import Counter
from typing import Any

from algorithms.method.starts import CandidateStart
from tsmg import (
    AbstractExplicitGame,
    AbstractGame,
    EpisodeKey,
    NotEnumerableError,
    Purpose,
)

_POOL = -1  # no update has this number, so that no episode shares the draws of candidates


def listed_starts(
    game: AbstractGame[Any, Any], *, seed: int, most: int
) -> tuple[CandidateStart, ...]:
    """A game's starts with their probabilities; if they are too many or cannot be listed, a sample of them.

    The starts of a game that can only be sampled are drawn by seed, and drawn again whenever a group begins on one, so
    that no foreign environment is kept open for them. If candidates are drawn from a distribution, equal ones become
    one start with the sum of their shares.

    Args:
      game: what is played.
      seed: of the run; the same seed draws the same candidates.
      most: greatest number of starts.

    Example:
      >>> import games
      >>> walk = games.make("LineWalk-v0")
      >>> [(start.number, start.share) for start in listed_starts(walk, seed=0, most=9)]
      [(0, 1.0)]
    """
    keys = [EpisodeKey(seed=seed, update=_POOL, group=n).shared() for n in range(most)]
    draws = [functools.partial(_drawn, game, key) for key in keys]
    if not isinstance(game, AbstractExplicitGame):
        return tuple(
            CandidateStart(number=n, share=1 / most, reached=draw) for n, draw in enumerate(draws)
        )
    try:
        shares = {s: float(p) for s, p in game.initial_state_dist().pmf(most).items()}
    except NotEnumerableError:
        shares = {state: n / most for state, n in Counter(draw() for draw in draws).items()}
    return tuple(
        CandidateStart.at(state, number=n, share=share)
        for n, (state, share) in enumerate(shares.items())
    )


def _drawn(game: AbstractGame[Any, Any], key: EpisodeKey) -> Any:
    return game.sample_initial_state(key.stream(Purpose.START))
