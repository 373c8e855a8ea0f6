"""The village of a small Werewolf: the roles and the living, and its chance if everybody plays at random.

Source: P. Migdal, "A mathematical model of the Mafia game", 2010, arXiv:1009.1031 (the chance).
"""

import functools
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Literal, final

import attrs

Role = Literal["wolf", "seer", "villager"]
Phase = Literal["night", "day", "vote"]
Winner = Literal["", "village", "wolves"]


@final
@attrs.frozen(cache_hash=True)
class Village:
    """The roles, the living players, and the current phase.

    Attributes:
      roles: the role of each player.
      living: the players that live, in order.
      day: the number of the day, from 1; its night comes before it.
      phase: what is to be done.
      speaker: whose turn it is to speak by day, as an index of ``living``.
      winner: the side that won; empty before the end.
    """

    roles: tuple[Role, ...]
    living: tuple[str, ...]
    day: int = 1
    phase: Phase = "night"
    speaker: int = 0
    winner: Winner = ""


@functools.lru_cache(maxsize=16)
def casts(players: int, wolves: int) -> tuple[tuple[Role, ...], ...]:
    """Every way to assign the roles to the players: the wolves, one seer, and villagers.

    Example:
      >>> len(casts(5, 1)), casts(3, 1)[0]
      (20, ('wolf', 'seer', 'villager'))
    """

    def dealt(left: Mapping[Role, int], players: int) -> Iterator[tuple[Role, ...]]:
        if not players:
            yield ()
        for role in (role for role, count in left.items() if count):
            for others in dealt({**left, role: left[role] - 1}, players - 1):
                yield (role, *others)

    return tuple(dealt({"wolf": wolves, "seer": 1, "villager": players - wolves - 1}, players))


@functools.cache
def village_chance(wolves: int, others: int, days: int) -> Fraction:
    """The probability that the village wins if nobody learns anything: all vote and kill at random.

    With one wolf and an odd number n of players it is 1 - (n - 1)!! / n!!.

    Args:
      wolves: the wolves that live, in the morning.
      others: the other players that live.
      days: the days that are left.

    Source: P. Migdal, 2010, arXiv:1009.1031; there the game goes on until one side is out, here until the wolves are as
      many as the others.

    Example:
      >>> village_chance(1, 4, 2)
      Fraction(7, 15)
    """
    if not wolves:
        return Fraction(1)
    if wolves >= others or not days:
        return Fraction(0)
    by_day = ((wolves - 1, others, wolves), (wolves, others - 1, others))
    chances = (weight * village_chance(w, o - 1, days - 1) for w, o, weight in by_day)
    return sum(chances, Fraction(0)) / (wolves + others)
