"""A user's own rules, ``module:object``: which settings name one, and whether they load.

Nothing slow is imported here, so that the command line can refuse bad settings at once.
"""

from typing import Any

import attrs

from algorithms.method.branching import check_goes_with, find_branching
from algorithms.method.config import MSGRPOConfig
from algorithms.method.fit_to_game import check_starts, check_starts_by_success
from algorithms.method.rules import find_rule
from algorithms.play.branches import check_branches
from tsmg import AbstractGame


def own_rules(config: MSGRPOConfig) -> dict[str, str]:
    """The settings that name a rule of the user's own, with what they say.

    Example:
      >>> own_rules(MSGRPOConfig(credit="my_rules:late", ratio="gspo"))
      {'credit': 'my_rules:late'}
    """
    rules = [field.name for field in attrs.fields(MSGRPOConfig) if "names" in field.metadata]
    return {name: setting for name in rules if ":" in (setting := getattr(config, name))}


def check_rules(config: MSGRPOConfig, game: AbstractGame[Any, Any], *, learners: int = 1) -> None:
    """Load the user's own rules, and refuse rules that do not suit the game.

    Args:
      config: the settings that name the rules.
      game: the game that is played.
      learners: how many agents learn in a group.

    Raises:
      InvalidArgumentError: a rule cannot be loaded, is not a rule, or does not suit the game.
    """
    own: dict[str, object] = {}
    for name, setting in own_rules(config).items():
        if name == "ratio":
            from algorithms.method.ratios import find_ratio  # it imports torch

            own[name] = find_ratio(setting)
        else:
            own[name] = find_rule(setting, {}, option=name)
    check_starts(config, game.facts)
    check_starts_by_success(config.starts, game, learners)
    branching = find_branching(config.branching, rollouts=config.rollouts, trees=config.trees)
    if branching is not None:
        check_goes_with(branching, {**attrs.asdict(config, recurse=False), **own})
        check_branches(game)
