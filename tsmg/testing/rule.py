"""What a rule is: a law of the interface, and how a walk may show that it is broken."""

from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple, final

import attrs

from tsmg.game import AbstractGame
from tsmg.testing.walks import Script, Subject, Walk

Game = AbstractGame[Any, Any]


@attrs.frozen
class Finding:
    """A rule is broken.

    Attributes:
      at: number of the visit where it shows.
      seen: what was seen.
      show: code that shows it, over ``game``, ``state`` and ``make_game``.
    """

    at: int
    seen: str
    show: str = ""


@attrs.frozen
class Note:
    """Something that the author should know, but no fault."""

    told: str


Outcome = Finding | Note | None
"""What one check yields: ``None`` where the rule holds."""


@attrs.frozen(kw_only=True, eq=False)
class Case:
    """One walk to look at.

    Attributes:
      subject: what is checked.
      game: the instance that made the walk.
      walk: the walk.
    """

    subject: Subject
    game: Game
    walk: Walk

    @classmethod
    def of(cls, subject: Subject, script: Script) -> "Case":
        """The case of a script, on a fresh game."""
        game = subject.make()
        return cls(subject=subject, game=game, walk=subject.walk(game, script))


def always(game: Game) -> bool:
    """Whether a rule without a condition applies: yes."""
    return True


@final
@attrs.frozen(kw_only=True, eq=False)
class WalkRule:
    """A rule that one walk can break.

    Attributes:
      name: of the rule.
      dist: what must hold.
      cause: what is usually wrong where it does not.
      unit: what is counted.
      check: yields an outcome per check.
      applies: whether the game declares what the rule is about.
      is_static: whether it is about the game and not about a walk, and is checked once.
    """

    name: str
    dist: str
    cause: str
    unit: str
    check: Callable[[Case], Iterator[Outcome]]
    applies: Callable[[Game], bool] = always
    is_static: bool = False


class Met(NamedTuple):
    """A key and its value, met at a visit."""

    key: Hashable
    value: Hashable
    at: int
    told: str
    show: str = ""


@final
@attrs.frozen(kw_only=True, eq=False)
class Relation:
    """A rule that two visits can break: equal keys have equal values, over all walks.

    Attributes:
      name, dist, cause, unit: as in ``WalkRule``.
      met: yields the keys and values of a walk.
      holds: True: it must hold. False: the opposite is declared, so an exception to it should be
        met. None: nothing is declared.
    """

    name: str
    dist: str
    cause: str
    unit: str
    met: Callable[[Case], Iterator[Met]]
    holds: Callable[[Game], bool | None] = always


Rule = WalkRule | Relation
