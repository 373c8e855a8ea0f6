"""The report of a check: a result per rule, and each broken rule with the shortest script that shows it."""

import enum
import textwrap

import attrs

from tsmg.errors import ConformanceError


class Status(enum.Enum):
    """The result of a rule."""

    OK = "ok"
    BROKEN = "broken"
    FOLLOWS = "follows"
    NOT_SEEN = "not seen"
    NOT_DECLARED = "not declared"


@attrs.frozen(kw_only=True)
class Violation:
    """A broken rule.

    Attributes:
      rule: its name.
      requirement: what must hold.
      seen: what was seen instead.
      cause: the likely cause.
      script: Python code that shows the violation.
      steps: the number of steps of the game in the script.
    """

    rule: str
    requirement: str
    seen: str
    cause: str
    script: str
    steps: int

    def __str__(self) -> str:
        return (
            f"{self.rule}: {self.requirement}\n  seen: {self.seen}\n  likely cause: {self.cause}\n"
            f"  shortest script ({self.steps} steps):\n{textwrap.indent(self.script, '    ')}"
        )


@attrs.frozen(kw_only=True)
class RuleResult:
    """The result of one rule.

    Attributes:
      rule: its name.
      requirement: what must hold.
      status: ok, broken, follows (it is broken because another rule is), not seen (declared, but no walk showed it) or
        not declared (nothing to check).
      count: the number of checks.
      unit: what is counted.
      notes: what else the author should know.
    """

    rule: str
    requirement: str
    status: Status
    count: int
    unit: str
    notes: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Report:
    """The result of a check of a game.

    Attributes:
      game: its name.
      walks, states, whole: the number of walks, of their states, and of the walks that came to an end.
      results: one per rule.
      violations: one per broken rule that does not follow from another one.
      enumerated: the number of states of the game if all of them were visited.
      not_enumerated: what stopped the enumeration, if anything did.
      is_cut_short: whether the first rules explain why the others could not be checked; these have no result.
    """

    game: str
    walks: int
    states: int
    whole: int
    results: tuple[RuleResult, ...]
    violations: tuple[Violation, ...]
    enumerated: int | None = None
    not_enumerated: str = ""
    is_cut_short: bool = False

    @property
    def is_conformant(self) -> bool:
        """Whether no rule is broken."""
        return not self.violations

    @property
    def broken(self) -> tuple[str, ...]:
        """The names of the broken rules."""
        return tuple(violation.rule for violation in self.violations)

    def result(self, rule: str) -> RuleResult:
        """The result of the rule of this name.

        Raises:
          StopIteration: the rule was not checked.
        """
        return next(result for result in self.results if result.rule == rule)

    def raise_if_broken(self) -> None:
        """Do nothing if the game is conformant.

        Raises:
          ConformanceError: a rule is broken; the message lists every violation.
        """
        if self.violations:
            raise ConformanceError(str(self))

    @property
    def summary(self) -> str:
        """How much was tried, in one line."""
        if self.is_cut_short:
            return f"{self.game}: the other rules were not checked"
        every = "" if self.enumerated is None else f", all {self.enumerated} different ones"
        stopped = f"; not enumerated: {self.not_enumerated}" if self.not_enumerated else ""
        return f"{self.game}: {self.walks} walks, {self.states} states{every}, {self.whole} whole episodes{stopped}"

    def __str__(self) -> str:
        summary = self.summary
        if self.is_conformant:
            return f"{summary}; no rule is broken"
        count = len(self.violations)
        violations = "\n".join(map(str, self.violations))
        return f"{summary}; {count} rule{'s are' if count > 1 else ' is'} broken\n{violations}"
