"""The starts that a run chooses among: all of a game's, or candidates that were drawn from its law once."""

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
    """A game's starts with their probabilities; where there are too many, or no list, so many that were drawn.

    A foreign environment's starts are drawn by seed, as its starts always are. Candidates that are equal are one start,
    with their shares together.

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
    if isinstance(game, AbstractExplicitGame):
        try:
            pmf = game.initial_state_dist().pmf(most)
        except NotEnumerableError:
            pass
        else:
            return _numbered({state: float(p) for state, p in pmf.items()})
    shares: dict[Any, float] = {}
    for n in range(most):
        key = EpisodeKey(seed=seed, update=_POOL, group=n).shared()
        state = game.sample_initial_state(key.stream(Purpose.START))
        shares[state] = shares.get(state, 0.0) + 1 / most
    return _numbered(shares)


def _numbered(shares: dict[Any, float]) -> tuple[CandidateStart, ...]:
    return tuple(
        CandidateStart(number=n, state=state, share=share)
        for n, (state, share) in enumerate(shares.items())
    )
