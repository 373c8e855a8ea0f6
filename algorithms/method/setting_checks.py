"""Settings that have no effect together, or contradict each other: each is refused in one sentence."""

from collections.abc import Mapping
from typing import Any

from algorithms.method.first_draw import SAMPLING_KINDS
from tsmg import InvalidArgumentError

_OF_DRAWS = ("alpha", "floor", "replacement", "scope", "corrected")
# What makes no difference to a draw.
_UNUSED_BY = {
    "all": ("alpha", "floor", "replacement", "scope"),
    "uniform": ("alpha", "floor"),
    "optimal": ("alpha",),
}
# Settings that one value of another setting alone reads.
_OWNERS = {
    "anchor_weight": ("credit", "anchor_state"),
    "baseline_decay": ("credit", "role_baseline"),
    "gae_lambda": ("credit", "critic"),
    "gae": ("credit", "critic"),
    "critic": ("credit", "critic"),
    "bootstrap": ("credit", "critic"),
    "value_coefficient": ("critic", "head"),
    "segment_lambda": ("gae", "subgoal"),
    "kept_groups": ("group_filter", "variance"),
    "rollouts": ("branching", "vine"),
    "trees": ("branching", "tree"),
}
_NOT_OF_SUBGOALS = {
    "critic": ("text", "each part of a reply has a critic of its own"),
    "branching": ("none", "a segment begins and ends within an episode"),
}


def check_owners(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse a setting that differs from its default, where another setting does not have the value that reads it.

    Args:
      settings: of ``MSGRPOConfig``, by name.
      defaults: theirs.

    Raises:
      InvalidArgumentError: the message names both.
    """
    for name, (owner, needed) in _OWNERS.items():
        if settings[owner] != needed and settings[name] != defaults[name]:
            raise InvalidArgumentError(
                f"{name!r} has an effect only with {owner!r} {needed!r}: choose both, or leave it out (got "
                f"{settings[name]!r}, {owner!r} {settings[owner]!r})"
            )


def check_draw(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse settings of draws to which they make no difference, and a draw that its credit or number does not suit.

    Args:
      settings: of ``MSGRPOConfig``, by name.
      defaults: theirs.

    Raises:
      InvalidArgumentError: one has no effect, or the draw does not go with the credit or the number of episodes.
    """
    sampling, credit, kept = (settings[n] for n in ("sampling", "credit", "kept_episodes"))
    own = sampling not in SAMPLING_KINDS
    for name in _OF_DRAWS if own else _UNUSED_BY.get(sampling, ()):
        if settings[name] != defaults[name]:
            why = ", which has its own draw and weights" if own else ""
            raise InvalidArgumentError(
                f"{name!r} has no effect with 'sampling' {sampling!r}{why}: leave it out (got {settings[name]!r})"
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


def check_critic(settings: Mapping[str, Any]) -> None:
    """Refuse a value head whose network is divided, and what does not go with subgoals.

    Args:
      settings: of ``MSGRPOConfig``, by name.

    Raises:
      InvalidArgumentError: the message names both.
    """
    if settings["critic"] == "head" and settings["sharding"] == "fsdp":
        raise InvalidArgumentError(
            "'critic' 'head' does not go with 'sharding' 'fsdp', which divides the layers that the head reads: choose "
            "'critic' 'text', or 'sharding' 'zero1'"
        )
    of_segments = settings["gae"] == "subgoal"
    for name, (needed, reason) in _NOT_OF_SUBGOALS.items():
        if of_segments and settings[name] != needed:
            raise InvalidArgumentError(
                f"'gae' 'subgoal' does not go with {name!r} {settings[name]!r}, since {reason}: choose {needed!r}"
            )
