"""The actions of an agent in an environment of another library: their texts, and which are legal at a step."""

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Discrete, Text

from games.adapters import spaces
from games.adapters.any_text import AnyText
from games.adapters.spaces import AnySpace, Native
from tsmg import GameLawError, InvalidArgumentError, fold

LISTED_ACTIONS = 4096


MOST_LISTED = 64
"""The greatest number of actions that the rules list."""


class Actions(NamedTuple):
    """The actions of an agent that text can name.

    Attributes:
      space: the environment's action space.
      values: the plain actions; ``None`` if they are too many to list.
      texts: the canonical text of each.
      natives: the environment's own form of each.
      sentence: the sentence of the rules that lists them; by default it is made of the texts.
    """

    space: AnySpace
    values: tuple[Hashable, ...] | None = None
    texts: tuple[str, ...] = ()
    natives: tuple[Native, ...] = ()
    sentence: str | None = None

    def text(self, action: Hashable) -> str:
        """The canonical text."""
        if self.values is None:
            return spaces.action_text(self.space, action)
        return self.texts[self.values.index(action)]

    def native(self, action: Hashable) -> Native:
        """The environment's own form of an action."""
        if self.values is None:
            return spaces.native(self.space, action)
        return self.natives[self.values.index(action)]

    def sentence_text(self) -> str:
        """The sentence of the rules that lists the actions."""
        if self.sentence is not None:
            return self.sentence
        if self.values is not None and len(self.texts) <= MOST_LISTED:
            return f"An action is one of: {', '.join(self.texts)}."
        if self.values is not None:
            return f"An action is one of {len(self.texts)} texts such as {self.texts[0]} or {self.texts[-1]}."
        if isinstance(self.space, AnyText):
            return ""
        if isinstance(self.space, Text):
            letters = "".join(sorted(self.space.character_set))
            return (
                f"An action is a text of {self.space.min_length} to {self.space.max_length} of these characters, "
                f"without quotes: {letters}"
            )
        return f"An action is a value of {self.space}, written as JSON."


def name_actions(
    space: AnySpace, *, of: str, names: tuple[str, ...] | None, choices: Mapping[str, Native] | None
) -> Actions:
    """The actions of a space.

    Args:
      space: the environment's action space.
      of: the owner of the actions, for messages.
      names: names of the values of a finite space, in order; by default they are written as JSON.
      choices: names of chosen actions, for a space that text cannot name.

    Raises:
      InvalidArgumentError: text cannot name the actions, or the names are too few, too many or equal.
    """
    if choices is not None:
        values = tuple(range(len(choices)))
        return Actions(space, values, _distinct("choices", tuple(choices)), tuple(choices.values()))
    if not spaces.nameable(space):
        raise InvalidArgumentError(
            f"'choices' must be given, as names of chosen actions: text cannot name the actions of {of}, "
            f"which are {space} (got None)"
        )
    if spaces.count(space) > LISTED_ACTIONS:
        return Actions(space)
    listed = tuple(spaces.values(space))
    texts = names or tuple(spaces.action_text(space, value) for value in listed)
    if len(texts) != len(listed):
        raise InvalidArgumentError(
            f"'action_names' must name the {len(listed)} actions of {of} (got {texts})"
        )
    natives = tuple(spaces.native(space, value) for value in listed)
    return Actions(space, listed, _distinct("action_names", texts), natives)


def _distinct(name: str, texts: tuple[str, ...]) -> tuple[str, ...]:
    are_texts = all(isinstance(text, str) for text in texts)
    if not texts or not are_texts or len({fold(text) for text in texts}) != len(texts):
        raise InvalidArgumentError(f"{name!r} must be different texts, at least one (got {texts})")
    return texts


def masked(actions: Actions, mask: Any, name: str) -> tuple[Hashable, ...]:
    """The actions that a mask allows; in a Discrete space too large to list, only these are listed.

    Args:
      actions: all actions.
      mask: for every value of the space, in order, whether it is allowed.
      name: the owner of the actions, for messages.

    Raises:
      GameLawError: it allows no action, or its size is not that of the space.
    """
    allowed = _flags(actions.space, mask, name)
    kept: tuple[Hashable, ...]
    if isinstance(actions.space, Discrete):
        numbers = [int(actions.space.start) + i for i in allowed]
        if actions.values is None:
            kept = tuple(numbers)
        else:
            among = set(numbers)
            pairs = zip(actions.values, map(int, actions.natives), strict=True)
            kept = tuple(value for value, native in pairs if native in among)
    else:
        listed = tuple(spaces.values(actions.space))
        plain = {listed[i] for i in allowed}
        pairs_of = zip(actions.values or (), actions.natives, strict=True)
        kept = tuple(v for v, native in pairs_of if spaces.plain(actions.space, native) in plain)
    if not kept:
        raise GameLawError(f"{name}: the mask allows no action")
    return kept


def admitted(actions: Actions, commands: Any, name: str) -> tuple[str, ...]:
    """The commands that an environment admits at a step, if its actions are texts.

    Args:
      actions: all actions.
      commands: what the environment lists.
      name: the owner of the actions, for messages.

    Raises:
      GameLawError: it lists none, or one that is not a text of its action space, or two that fold to the same text.
    """
    listed = tuple(dict.fromkeys(commands)) if isinstance(commands, list | tuple) else ()
    if not listed or len({fold(str(one)) for one in listed}) != len(listed):
        raise GameLawError(
            f"{name}: the commands of a step must be a list of texts that differ (got {commands!r:.80})"
        )
    for command in listed:
        if not actions.space.contains(command):
            raise GameLawError(
                f"{name}: the environment admits {command!r:.80}, which is not in {actions.space!r:.80}"
            )
    return listed


def _flags(space: AnySpace, mask: Any, name: str) -> list[int]:
    """The numbers of the values that a mask allows."""
    size = spaces.count(space)
    if not isinstance(space, Discrete) and size > LISTED_ACTIONS:
        raise GameLawError(
            f"{name}: a mask cannot cover the actions of {space}, of which there are more than {LISTED_ACTIONS}"
        )
    try:
        flags = np.asarray(mask)
    except ValueError:  # parts of unlike lengths
        flags = np.empty(0)
    if flags.shape != (int(size),):
        raise GameLawError(
            f"{name}: the mask must have {int(size)} entries, one for each action of {space} (got {mask!r:.80})"
        )
    return np.flatnonzero(flags).tolist()
