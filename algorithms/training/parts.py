"""The objects of a run: those that a ``RunSpec`` builds, or that a program passes instead."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, final

import attrs

from tsmg import AbstractGame

if TYPE_CHECKING:  # they import torch
    import lap
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
    """

    training_game: AbstractGame[Any, Any]
    evaluation_game: AbstractGame[Any, Any]
    policy: "lap.LanguageAgentPolicy[Any] | Mapping[str, lap.LanguageAgentPolicy[Any]]"
    matchups: "AbstractMatchups | None" = None
