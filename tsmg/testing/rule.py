"""Rules: requirements of the interface, and the checks by which a walk shows that one is broken."""

from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple, TypeVar, final

import attrs

from tsmg.game import AnyGame
from tsmg.testing.walks import Script, Subject, Walk

T = TypeVar("T")


@attrs.frozen
class Finding:
    """A rule is broken.

    Attributes:
      at: the number of the visit at which it shows.
      seen: what was seen.
      show: code that shows it, over ``game``, ``state`` and ``tsmg``.
      cause: the likely cause if it differs from the rule's.
      exception: the method that raised and the exception's class, as the beginning of a sentence; empty if none did.
    """

    at: int
    seen: str
    show: str = ""
    cause: str = ""
    exception: str = ""


@attrs.frozen
class Note:
    """A remark for the author that is not a violation."""

    message: str


Outcome = Finding | Note | None
"""The outcome of one check: ``None`` if the rule holds."""


@attrs.frozen(kw_only=True, eq=False)
class Case:
    """One walk to check.

    Attributes:
      subject: the game under test.
      game: the instance that made the walk.
      walk: the walk.
      memo: what ``once`` knows.
    """

    subject: Subject
    game: AnyGame
    walk: Walk
    memo: dict[Hashable, Any] = attrs.field(factory=dict)

    @classmethod
    def of(cls, subject: Subject, script: Script) -> "Case":
        """The case of a script, on a fresh game."""
        game = subject.make()
        return cls(subject=subject, game=game, walk=subject.walk(game, script))

    def once(self, key: Hashable, compute: Callable[[], T]) -> T:
        """What several rules compute from this walk, computed once.

        Args:
          key: a name for it.
          compute: how.
        """
        if key not in self.memo:
            self.memo[key] = compute()
        found: T = self.memo[key]
        return found


Check = Callable[[Case], Iterator[Outcome]]


def always(game: AnyGame) -> bool:
    """The condition of a rule that applies to every game."""
    return True


@final
@attrs.frozen(kw_only=True, eq=False)
class WalkRule:
    """A rule that one walk can break.

    Attributes:
      name: the rule's name.
      requirement: what must hold.
      cause: the likely cause if it does not hold.
      unit: what is counted.
      check: yields an outcome per check.
      applies: whether the rule applies to a game.
      is_static: whether it concerns the game rather than a walk, and is therefore checked once.
      one_suffices: whether one successful check, over all walks, is enough.
      needs_start: whether it needs a state; the other rules are also checked where no episode begins, and explain why.
    """

    name: str
    requirement: str
    cause: str
    unit: str
    check: Check
    applies: Callable[[AnyGame], bool] = always
    is_static: bool = False
    one_suffices: bool = False
    needs_start: bool = True


class Met(NamedTuple):
    """A key and its value, met at a visit.

    Attributes:
      key: the key.
      value: the value, equal wherever the key is equal.
      at: the number of the visit.
      seen: the key and the value, as text.
      show: code that shows the value.
      is_default: whether the key or value is the interface's default here, by which the game declares nothing.
    """

    key: Hashable
    value: Any
    at: int
    seen: str
    show: str = ""
    is_default: bool = False


Meet = Callable[[Case], Iterator[Met]]


@attrs.frozen(kw_only=True)
class Opposite:
    """What it means to declare the opposite of a relation: there is an exception.

    Attributes:
      requirement: what must hold where the opposite is declared.
      denied: what was seen where every state and step of the game was visited and none was an exception.
      cause: the likely cause of that.
      doubt: a note where no exception was met, but not everything was visited.
    """

    requirement: str
    denied: str
    cause: str
    doubt: str


@final
@attrs.frozen(kw_only=True, eq=False)
class Relation:
    """A rule that two visits can break: equal keys have equal values, over all walks.

    Attributes:
      name, requirement, cause, unit: as in ``WalkRule``.
      met: yields the keys and values of a walk.
      holds: True: it must hold. False: the opposite is declared, so an exception to it should be
        met. None: nothing is declared.
      opposite: what declaring the opposite means, if visiting every state and step decides it.
      default: a note where all that was met is the interface's default, so that a rule which is not broken counts as
        not declared.
    """

    name: str
    requirement: str
    cause: str
    unit: str
    met: Meet
    holds: Callable[[AnyGame], bool | None] = always
    opposite: Opposite | None = None
    default: str = ""


Rule = WalkRule | Relation


def walk_rule(
    *,
    name: str,
    requirement: str,
    cause: str,
    unit: str,
    applies: Callable[[AnyGame], bool] = always,
    is_static: bool = False,
    one_suffices: bool = False,
    needs_start: bool = True,
) -> Callable[[Check], WalkRule]:
    """A decorator that makes a ``WalkRule`` of its check; the arguments are the rule's attributes."""

    def rule(check: Check) -> WalkRule:
        return WalkRule(
            name=name,
            requirement=requirement,
            cause=cause,
            unit=unit,
            check=check,
            applies=applies,
            is_static=is_static,
            one_suffices=one_suffices,
            needs_start=needs_start,
        )

    return rule


def relation(
    *,
    name: str,
    requirement: str,
    cause: str,
    unit: str,
    holds: Callable[[AnyGame], bool | None] = always,
    opposite: Opposite | None = None,
    default: str = "",
) -> Callable[[Meet], Relation]:
    """A decorator that makes a ``Relation`` of what it meets; the arguments are the relation's attributes."""

    def rule(met: Meet) -> Relation:
        return Relation(
            name=name,
            requirement=requirement,
            cause=cause,
            unit=unit,
            met=met,
            holds=holds,
            opposite=opposite,
            default=default,
        )

    return rule
