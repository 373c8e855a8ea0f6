"""Settings that have no effect together, or contradict each other: each is refused in one sentence."""

from collections.abc import Mapping
from typing import Any

from algorithms.method.first_draw import SAMPLING_KINDS
from tsmg import InvalidArgumentError

_OF_DRAWS = ("alpha", "floor", "replacement", "scope", "corrected")
_OF_CRITICS = ("gae", "critic", "bootstrap")
_NOT_OF_SUBGOALS = {
    "critic": ("text", "each part of a reply has a critic of its own"),
    "branching": ("none", "a segment begins and ends within an episode"),
}


def check_own_draw(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse settings of the library's draws together with a user's own draw.

    Args:
      settings: of ``MSGRPOConfig``, by name.
      defaults: theirs.

    Raises:
      InvalidArgumentError: one has no effect, or the draw does not go with the credit or the number of episodes.
    """
    sampling, credit, kept = (settings[n] for n in ("sampling", "credit", "kept_episodes"))
    for name in _OF_DRAWS:
        if sampling not in SAMPLING_KINDS and settings[name] != defaults[name]:
            raise InvalidArgumentError(
                f"{name!r} has no effect with 'sampling' {sampling!r}, which has its own draw and weights: "
                f"leave it out (got {settings[name]!r})"
            )
    draws = sampling == "max_variance"
    if credit == "max_variance" and not draws:
        raise InvalidArgumentError(
            "'credit' 'max_variance' compares the episodes that 'sampling' 'max_variance' draws: choose both (got "
            f"'sampling' {sampling!r})"
        )
    if draws and kept < 2:
        raise InvalidArgumentError(
            f"'kept_episodes' must be at least 2 with 'sampling' 'max_variance' (got {kept})"
        )


def check_critic(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse settings of critics where there is none, and a value head whose network is divided.

    Args:
      settings: of ``MSGRPOConfig``, by name.
      defaults: theirs.

    Raises:
      InvalidArgumentError: one has no effect, or the head does not go with the sharding.
    """
    for name in _OF_CRITICS:
        if settings["credit"] != "critic" and settings[name] != defaults[name]:
            raise InvalidArgumentError(
                f"{name!r} has an effect only with 'credit' 'critic': choose both, or leave it out (got "
                f"{settings[name]!r}, 'credit' {settings['credit']!r})"
            )
    name = "value_coefficient"
    if settings["critic"] != "head" and settings[name] != defaults[name]:
        raise InvalidArgumentError(
            f"{name!r} has an effect only with 'critic' 'head': choose both, or leave it out (got {settings[name]})"
        )
    if settings["critic"] == "head" and settings["sharding"] == "fsdp":
        raise InvalidArgumentError(
            "'critic' 'head' does not go with 'sharding' 'fsdp', which divides the layers that the head reads: choose "
            "'critic' 'text', or 'sharding' 'zero1'"
        )
    name, of_segments = "segment_lambda", settings["gae"] == "subgoal"
    if not of_segments and settings[name] != defaults[name]:
        raise InvalidArgumentError(
            f"{name!r} has an effect only with 'gae' 'subgoal': choose both, or leave it out (got {settings[name]})"
        )
    for name, (needed, reason) in _NOT_OF_SUBGOALS.items():
        if of_segments and settings[name] != needed:
            raise InvalidArgumentError(
                f"'gae' 'subgoal' does not go with {name!r} {settings[name]!r}, since {reason}: choose {needed!r}"
            )
