"""The transcript of a dialogue: what was said and what happened, and who knows of it.

Entries are values. A game's own words are in a ``Notice``. An agent's words are in the message of an ``Utterance``, and
are shown in quotation marks on the line of the speaker, so that no message looks like a line of the game.
"""

import functools
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar, final

import attrs

from games.dialogue.moves import Move, quoted

W = TypeVar("W", bound=Hashable)


@final
@attrs.frozen(cache_hash=True)
class Utterance:
    """A move that an agent made.

    Attributes:
      speaker: the agent.
      move: what it did and said.
      hearers: the other agents that know of it; ``None`` for all.
      line: how it is shown, on one line.
    """

    speaker: str
    move: Move
    hearers: tuple[str, ...] | None = None
    line: str = attrs.field(init=False, eq=False, repr=False)

    def is_known_to(self, agent: str) -> bool:
        """Whether the agent spoke or heard it."""
        return self.hearers is None or agent == self.speaker or agent in self.hearers

    @line.default
    def _shown(self) -> str:
        private = "" if self.hearers is None else f" to {' and '.join(self.hearers) or 'nobody'}"
        message = f": {quoted(self.move.message)}" if self.move.message else ""
        return f"[{self.speaker}{private}] {self.move.head}{message}"


@final
@attrs.frozen(cache_hash=True)
class Notice:
    """What the game itself says.

    Attributes:
      line: one line in the game's own words.
      hearers: the agents that read it; ``None`` for all.
    """

    line: str
    hearers: tuple[str, ...] | None = None

    def is_known_to(self, agent: str) -> bool:
        """Whether the agent reads it."""
        return self.hearers is None or agent in self.hearers


Entry = Utterance | Notice


@final
@attrs.frozen(cache_hash=True)
class Talk(Generic[W]):
    """The state of a dialogue.

    Attributes:
      world: all that matters besides the words, such as hidden values and roles.
      log: what was said and told so far, in order.
    """

    world: W
    log: tuple[Entry, ...] = ()

    @functools.cached_property
    def utterances(self) -> tuple[Utterance, ...]:
        """What agents did, in order; a part of the log."""
        return tuple([entry for entry in self.log if type(entry) is Utterance])


def known_to(log: Iterable[Entry], agent: str) -> tuple[Entry, ...]:
    """The entries that an agent knows of.

    Example:
      >>> secret = Utterance("ann", Move("say", message="psst"), hearers=("ben",))
      >>> [len(known_to((secret,), agent)) for agent in ("ann", "ben", "cleo")]
      [1, 1, 0]
    """
    return tuple([entry for entry in log if entry.hearers is None or entry.is_known_to(agent)])
