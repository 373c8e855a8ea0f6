"""The conformance kit for authors of games: ``check_game(MyGame).raise_if_broken()``.

It needs Hypothesis and typeguard, and ``import tsmg`` does not import it.
"""

from tsmg.errors import ConformanceError
from tsmg.testing.check import RULES, check_game
from tsmg.testing.report import Report, RuleResult, Status, Violation
from tsmg.testing.rule import Relation, Rule, WalkRule
from tsmg.testing.walks import KnownEpisode, Script, Visit, Walk, replay

__all__ = [
    "RULES",
    "ConformanceError",
    "KnownEpisode",
    "Relation",
    "Report",
    "Rule",
    "RuleResult",
    "Script",
    "Status",
    "Violation",
    "Visit",
    "Walk",
    "WalkRule",
    "check_game",
    "replay",
]
