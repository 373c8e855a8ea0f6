"""What the kit answers: a result per rule, and each broken rule with the shortest script that shows it."""

import enum
import textwrap

import attrs

from tsmg.errors import ConformanceError


class Status(enum.Enum):
    """How a rule fared."""

    OK = "ok"
    BROKEN = "broken"
    NOT_SEEN = "not seen"
    NOT_DECLARED = "not declared"


@attrs.frozen(kw_only=True)
class Violation:
    """A broken rule.

    Attributes:
      rule: its name.
      dist: what must hold.
      seen: what was seen instead.
      cause: what is usually wrong.
      script: Python code that shows it.
      steps: how many steps of the game the script makes.
    """

    rule: str
    dist: str
    seen: str
    cause: str
    script: str
    steps: int

    def __str__(self) -> str:
        return (
            f"{self.rule}: {self.dist}\n  seen: {self.seen}\n  likely cause: {self.cause}\n"
            f"  shortest script ({self.steps} steps):\n{textwrap.indent(self.script, '    ')}"
        )


@attrs.frozen(kw_only=True)
class RuleResult:
    """How one rule fared.

    Attributes:
      rule: its name.
      dist: what must hold.
      status: ok, broken, not seen (declared, but no walk showed it) or not declared (nothing to check).
      count: how often it was checked.
      unit: what is counted.
      notes: what else the author should know.
    """

    rule: str
    dist: str
    status: Status
    count: int
    unit: str
    notes: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Report:
    """Everything that was found out about a game.

    Attributes:
      game: its name.
      walks, states, whole: how many walks and states were looked at, and how many walks came to an end.
      results: one per rule.
      violations: one per broken rule.
    """

    game: str
    walks: int
    states: int
    whole: int
    results: tuple[RuleResult, ...]
    violations: tuple[Violation, ...]

    @property
    def is_conformant(self) -> bool:
        """Whether no rule is broken."""
        return not self.violations

    @property
    def broken(self) -> tuple[str, ...]:
        """The names of the broken rules."""
        return tuple(violation.rule for violation in self.violations)

    def result(self, rule: str) -> RuleResult:
        """The result of the rule of this name."""
        return next(result for result in self.results if result.rule == rule)

    def raise_if_broken(self) -> None:
        """Do nothing if the game is conformant.

        Raises:
          ConformanceError: a rule is broken; the message lists every violation.
        """
        if self.violations:
            raise ConformanceError(str(self))

    def __str__(self) -> str:
        told = f"{self.game}: {self.walks} walks, {self.states} states, {self.whole} whole episodes"
        if self.is_conformant:
            return f"{told}; no rule is broken"
        count = len(self.violations)
        violations = "\n".join(map(str, self.violations))
        return f"{told}; {count} rule{'s are' if count > 1 else ' is'} broken\n{violations}"
