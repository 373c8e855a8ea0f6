"""The objects that a run is made of: what a ``RunSpec`` builds, and what a program may give in its place."""

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
    """The objects that a run is made of.

    Attributes:
      training_game: what is trained on.
      evaluation_game: what is evaluated on (a held-out part, say).
      policy: the policy to train, or one for each agent.
      matchups: who plays whom; all agents learn if ``None``.
    """

    training_game: AbstractGame[Any, Any]
    evaluation_game: AbstractGame[Any, Any]
    policy: "lap.LanguageAgentPolicy[Any] | Mapping[str, lap.LanguageAgentPolicy[Any]]"
    matchups: "AbstractMatchups | None" = None
