"""The extended states S+ of a closed game, and what follows a joint text in them.

S+ = S x (kind of each agent's last text outcome) x (agents that have forfeited).
"""

from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

import attrs

from tsmg.text import OutcomeKind

S = TypeVar("S")


@attrs.frozen
class ClosedState(Generic[S]):
    """An element of S+.

    Attributes:
      state: the game's own state.
      last_N: the kind of each agent's last text outcome; ``None`` before its first text.
      forfeited: the agents that have lost by forfeit.

    Theory: Equation 2.1.
    """

    state: S
    last_N: tuple[OutcomeKind | None, ...]
    forfeited: frozenset[str] = frozenset()


class ClosedTransition(NamedTuple, Generic[S]):
    """What follows a joint text.

    Attributes:
      state: the next extended state.
      rewards_N: the rewards of the game.
      penalties_N: the penalties of the invalid rule, each at most 0.
      played: (agent, action) pairs of the joint action that was carried out; ``None`` if none was.
    """

    state: ClosedState[S]
    rewards_N: tuple[float, ...]
    penalties_N: tuple[float, ...]
    played: tuple[tuple[str, Hashable], ...] | None = None
