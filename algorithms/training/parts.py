"""The objects of a run: those that a ``RunSpec`` builds, or that a program passes instead."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, final

import attrs

from algorithms.method.rules import is_own, short_name
from tsmg import AbstractGame

if TYPE_CHECKING:  # they import torch
    import lap
    from algorithms.method.estimator import Estimator
    from algorithms.method.ratios import RatioKind
    from algorithms.play.matchups import AbstractMatchups


@final
@attrs.frozen(kw_only=True, eq=False)
class RunParts:
    """The objects of a run.

    Attributes:
      training_game: the game that is trained on.
      evaluation_game: the game that is evaluated on, such as a held-out part.
      policy: the policy to train, or one for each agent.
      matchups: who plays whom; all agents learn if ``None``.
      estimator: with rules of one's own; the settings' if ``None``.
      ratio: a ratio kind in place of the one that the settings name.
    """

    training_game: AbstractGame[Any, Any]
    evaluation_game: AbstractGame[Any, Any]
    policy: "lap.LanguageAgentPolicy[Any] | Mapping[str, lap.LanguageAgentPolicy[Any]]"
    matchups: "AbstractMatchups | None" = None
    estimator: "Estimator | None" = None
    ratio: "RatioKind | None" = None

    def described(self) -> dict[str, object]:
        """What ``config.json`` says of them: the game's name, and those of the rules that were given."""
        rules = {} if self.estimator is None else attrs.asdict(self.estimator, recurse=False)
        rules |= {"ratio": self.ratio}
        own = {
            place: short_name(rule)
            for place, rule in rules.items()
            if callable(rule) and is_own(rule)
        }
        return {"game": self.training_game.name, **own}
