"""Whether settings fit a game: what is refused, and what turns the expected estimate away from the gradient.

Nothing slow is imported here, so that the command line can refuse bad settings at once.
"""

from collections.abc import Mapping
from typing import Any

import attrs

from algorithms.method.config import (
    MSGRPOConfig,
    resolved_group_on,
    resolved_std,
    shares_what_is_hidden,
)
from algorithms.method.rules import short_name
from algorithms.method.starts import Learnability
from tsmg import AbstractGame, AbstractWrappedGame, Facts, InvalidArgumentError

_RULES = ("credit", "sampling", "group_filter", "batch_rule")
# Rules whose credit is 0 exactly where the score is by which an episode is drawn.
_CREDIT_WITH_SCORE = ("episode", "mean_divided", "length_gated", "role_baseline")


def bias_warnings(
    config: MSGRPOConfig, facts: Facts, own: Mapping[str, object] | None = None
) -> list[str]:
    """Reasons why, with these settings and facts, the expected estimate departs from the gradient.

    They cover combinations that a neighbouring setting would fix: weights of groups that share what agents cannot see,
    and corrections that do not correct. Unequal weights of starts of different difficulty are not among them
    (``docs/theory/06_baselines_and_std.md``, "Several starts").

    Args:
      config: the settings.
      facts: facts of the game that is played.
      own: rules in place of those that settings name, by the name of the setting.

    Returns:
      A sentence for each.

    Theory: Equation 6.4, Theorem 8.3, Equation 8.7.
    """
    found = []
    rules = {name: getattr(config, name) for name in _RULES} | dict(own or {})
    sampling = rules["sampling"]
    weighed = sampling in ("aaw", "optimal") and config.floor < 1
    if config.max_staleness and config.importance_weights == "none":
        found.append(
            "'max_staleness' is 1 without 'importance_weights': nothing but the ratio's clip bounds what older "
            "weights drew, and whole episodes stay those of another policy ('importance_weights' 'truncated')"
        )
    if shares_what_is_hidden(config, facts):
        shared = "although the members of a group share what agents cannot see; this can reverse which action is better"
        if rules["credit"] == "mean_divided":
            found.append(f"'credit' 'mean_divided' divides by the group's mean return {shared}")
        if resolved_std(config, facts) != "none":
            found.append(
                f"'std' is {config.std!r} {shared} (std 'none' cannot, without a draw by advantage or with 'corrected')"
            )
        if weighed and not config.corrected:
            found.append(
                f"'sampling' is {sampling!r} without 'corrected' {shared}, with std 'none' too ('corrected' "
                "cannot)"
            )
    if sampling == "optimal" and weighed and not config.corrected:
        found.append(
            "'sampling' is 'optimal' without 'corrected': surprising replies are weighted more than their share, which "
            "turns the direction ('corrected', or sampling 'aaw' or 'all')"
        )
    bare = sampling == "aaw" and not config.floor
    for name, restored in (("credit", _CREDIT_WITH_SCORE), ("batch_rule", ("none",))):
        value = rules[name]
        if config.corrected and bare and value not in restored:
            shown = value if isinstance(value, str) else short_name(value)
            found.append(
                f"'corrected' draws do not restore {name.replace('_', ' ')} {shown!r}: an episode of score 0 (of "
                "average return, say) is never drawn, although its steps may have credit ('floor' above 0, sampling "
                f"'optimal' or 'all', or {name} {restored[0]!r})"
            )
    if config.correct_starts and (
        rules["group_filter"] != "all"
        or rules["batch_rule"] != "none"
        or config.weighting in ("step", "token")
        or (config.scope == "batch" and weighed and not config.corrected)
    ):
        found.append(
            "'correct_starts' does not restore the game's own starts where the groups of a batch are compared or "
            "weighted together ('group_filter' 'all', 'batch_rule' 'none', 'scope' 'group', and weighting 'constant', "
            "'episode' or 'sequence' leave them apart)"
        )
    return found


def check_starts(config: MSGRPOConfig, facts: Facts, *, chosen: bool | None = None) -> None:
    """Refuse settings of a start rule if there is none, and a start rule if a group's members share no start.

    Args:
      config: the settings.
      facts: facts of the game that is played.
      chosen: whether there is a start rule; as the settings say unless given.

    Raises:
      InvalidArgumentError: it is so.
    """
    if config.starts != "law" if chosen is None else chosen:
        if resolved_group_on(config, facts) == "nothing":
            raise InvalidArgumentError(
                "'starts' chooses the start of a group, and the members of a group share none here ('group_on' "
                f"{config.group_on!r}): set 'group_on' to initial_information or initial_state"
            )
        memory = attrs.fields_dict(MSGRPOConfig)["start_memory"].default
        if ":" in config.starts and config.start_memory != memory:
            raise InvalidArgumentError(
                f"'start_memory' belongs to 'starts' learnability and has no effect on your own rule: leave it out "
                f"(got {config.start_memory!r})"
            )
        return
    for name in ("start_floor", "start_memory", "start_pool", "correct_starts"):
        value = getattr(config, name)
        if value != attrs.fields_dict(MSGRPOConfig)[name].default:
            raise InvalidArgumentError(
                f"{name!r} has no effect where the game draws the starts: set 'starts' to learnability or a rule of "
                f"your own, or leave {name!r} out (got {value!r})"
            )


def check_starts_by_success(starts: object, game: AbstractGame[Any, Any], learners: int) -> None:
    """Refuse to choose starts by success in a game without it, or where agents that learn together win from each other.

    Args:
      starts: the start rule, or its name.
      game: the game that is played.
      learners: how many agents learn in a group.

    Raises:
      InvalidArgumentError: it is so.
    """
    if starts != "learnability" and not isinstance(starts, Learnability):
        return
    if not _defines_success(game):
        raise InvalidArgumentError(
            f"'starts' 'learnability' needs a game that defines success, and {game.name} does not: choose 'starts' "
            "'law', or a rule of your own that looks at returns"
        )
    if learners > 1 and game.facts.zero_sum:
        raise InvalidArgumentError(
            "'starts' 'learnability' counts the successes of all agents that learn, and where these win from each "
            "other no count says which start is hard: train against an 'opponent', or choose 'starts' 'law' or a rule "
            "of your own"
        )


def _defines_success(game: AbstractGame[Any, Any]) -> bool:
    """Whether a game, or one that it wraps, says of any episode whether it is a success, as far as its class tells."""
    own = type(game).success
    if isinstance(game, AbstractWrappedGame) and own is AbstractWrappedGame.success:
        return _defines_success(game.inner)
    return own is not AbstractGame.success
