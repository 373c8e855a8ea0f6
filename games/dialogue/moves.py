"""The moves of a dialogue: their forms, the text of each move, and how a text is read as one.

A move's text is a word that says what is done, then perhaps one word for each slot, then perhaps a colon and a message:
``say: hello``, ``offer 2 0 1: the hats are yours``, ``vote ann``. Only the message is free.
"""

import enum
import itertools
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import final

import attrs

from tsmg import InvalidArgumentError, fold, visible

_WORD = re.compile(r"[^\s:]+")
_JOINERS = "\u200c\u200d"


class Speech(enum.Enum):
    """Whether a move carries a message."""

    NONE = "none"
    ALLOWED = "allowed"
    REQUIRED = "required"


def _is_word(text: str) -> bool:
    return bool(_WORD.fullmatch(text) and fold(text))


def _check_word(instance: object, attribute: "attrs.Attribute[str]", value: str) -> None:
    if not _is_word(value):
        raise InvalidArgumentError(
            f"{attribute.name!r} must be a word without blanks and colons (got {value!r})"
        )


def _to_words(words: Iterable[str]) -> tuple[str, ...]:
    given = tuple(words)
    if not all(isinstance(word, str) for word in given):
        raise InvalidArgumentError(f"'options' must be words (got {given!r})")
    return given


def _to_slots(slots: "Iterable[Slot]") -> "tuple[Slot, ...]":
    return tuple(slots)


@final
@attrs.frozen
class Slot:
    """A place in a move that is filled with one of a few words.

    Attributes:
      name: the placeholder of the word in the rules, such as ``NAME``.
      options: the words; at least one, different after folding (``tsmg.fold``), without blanks and colons.
      by_folded: each word by its folded text.

    Raises:
      InvalidArgumentError: there are no options, two are alike, or one is no such word.
    """

    name: str = attrs.field(validator=_check_word)
    options: tuple[str, ...] = attrs.field(converter=_to_words)

    by_folded: Mapping[str, str] = attrs.field(init=False, eq=False, repr=False)

    @by_folded.default
    def _folded(self) -> Mapping[str, str]:
        return {fold(option): option for option in self.options}

    @options.validator
    def _check_options(
        self, attribute: "attrs.Attribute[tuple[str, ...]]", value: tuple[str, ...]
    ) -> None:
        if not value or len(self.by_folded) < len(value):
            raise InvalidArgumentError(
                f"'options' of {self.name} must be at least one word, all different (got {value!r})"
            )
        if not all(_is_word(option) for option in value):
            raise InvalidArgumentError(
                f"'options' of {self.name} must be words without blanks and colons (got {value!r})"
            )


@final
@attrs.frozen(cache_hash=True)
class Move:
    """What an agent does at its turn.

    Attributes:
      verb: the word that says what is done.
      chosen: the word in each slot.
      message: what is said with it, as ``plain`` leaves it; empty for nothing.
    """

    verb: str
    chosen: tuple[str, ...] = ()
    message: str = ""

    @property
    def head(self) -> str:
        """The part of its text that is not free."""
        return " ".join((self.verb, *self.chosen))


@final
@attrs.frozen
class Form:
    """A kind of move.

    Attributes:
      verb: the word that says what is done, without blanks and colons.
      slots: what is chosen with it.
      speech: whether it carries a message.
      folded: the verb, folded (``tsmg.fold``).

    Raises:
      InvalidArgumentError: ``verb`` is no such word.

    Example:
      >>> Form("offer", (Slot("COINS", ("0", "1")),), Speech.ALLOWED).described
      'offer COINS[: MESSAGE]'
    """

    verb: str = attrs.field(validator=_check_word)
    slots: tuple[Slot, ...] = attrs.field(default=(), converter=_to_slots)
    speech: Speech = Speech.NONE
    folded: str = attrs.field(init=False, eq=False, repr=False)

    @folded.default
    def _fold(self) -> str:
        return fold(self.verb)

    @property
    def described(self) -> str:
        """How a move of this form is written, with names of slots in capitals, and what may be left out in brackets."""
        message = {"none": "", "allowed": "[: MESSAGE]", "required": ": MESSAGE"}
        return (
            " ".join((self.verb, *(slot.name for slot in self.slots))) + message[self.speech.value]
        )

    def moves(self) -> Iterable[Move]:
        """The moves of this form without a message."""
        for chosen in itertools.product(*(slot.options for slot in self.slots)):
            yield Move(self.verb, chosen)

    def read(self, words: Sequence[str], message: str) -> Move | None:
        """The move that folded words and a message make, or ``None``.

        Args:
          words: what stands before the colon, folded.
          message: what stands after it; empty for nothing.
        """
        if len(words) != 1 + len(self.slots) or words[0] != self.folded:
            return None
        is_apt = self.speech is Speech.ALLOWED or bool(message) == (self.speech is Speech.REQUIRED)
        if not is_apt:
            return None
        chosen = [
            slot.by_folded[word]
            for slot, word in zip(self.slots, words[1:], strict=True)
            if word in slot.by_folded
        ]
        return Move(self.verb, tuple(chosen), message) if len(chosen) == len(self.slots) else None


def plain(text: str) -> str:
    r"""A message as others receive it: one line of visible characters.

    Line breaks and whatever else cannot be printed become blanks, blanks in a row become one, characters that have no
    shape are left out, and accents are composed (``tsmg.visible``). A second application changes nothing.

    Example:
      >>> plain("  I agree.\nReferee:  you have\u200b won ")
      'I agree. Referee: you have won'
    """
    if not (text.isascii() and text.isprintable()):
        text = visible("".join(map(_printed, text)))
    return " ".join(text.split())


def _printed(character: str) -> str:
    if character.isprintable() or character in _JOINERS:
        return character
    return "" if unicodedata.category(character) == "Cf" else " "


def quoted(message: str) -> str:
    r"""A plain message between quotation marks, with those within it escaped, as a JSON string.

    Example:
      >>> print(quoted('she said "accept"'))
      "she said \"accept\""
    """
    return json.dumps(message, ensure_ascii=False)


def listed(forms: Iterable[Form]) -> tuple[Move, ...] | None:
    """All moves of some forms; ``None`` if one of them carries a message, so that they cannot be listed."""
    forms = tuple(forms)
    if any(form.speech is not Speech.NONE for form in forms):
        return None
    return tuple(move for form in forms for move in form.moves())


def read_move(forms: Iterable[Form], text: str, limit: int) -> Move | None:
    r"""The move that a text names, or ``None`` if it names none of these forms.

    Args:
      forms: the forms that are allowed.
      text: any text.
      limit: the greatest number of characters of a message.

    Example:
      >>> read_move((Form("say", speech=Speech.REQUIRED),), " Say:  good\nmorning", 20)
      Move(verb='say', chosen=(), message='good morning')
      >>> read_move((Form("say", speech=Speech.REQUIRED),), "say: good morning", 5) is None
      True
    """
    head, _, rest = text.partition(":")
    message = plain(rest) if rest else ""
    if len(message) > limit:
        return None
    words = fold(head).split()
    if not words:
        return None
    for form in forms:
        if words[0] == form.folded:
            return form.read(words, message)  # forms have different verbs
    return None


def move_text(move: Move, limit: int) -> str:
    """The canonical text of a move, which ``read_move`` reads.

    Raises:
      InvalidArgumentError: the message is above the limit, or not plain.
    """
    if len(move.message) > limit or plain(move.message) != move.message:
        raise InvalidArgumentError(
            f"'message' must be one line of at most {limit} characters, as plain() returns it "
            f"(got {len(move.message)}: {move.message!r:.60})"
        )
    return f"{move.head}: {move.message}" if move.message else move.head


def grammar_text(forms: Iterable[Form], limit: int) -> str:
    """The part of a game's rules about moves: how each form is written, and what its slots and messages are.

    Raises:
      InvalidArgumentError: there are no forms.

    Example:
      >>> print(grammar_text((Form("vote", (Slot("NAME", ("ann", "ben")),)), Form("pass")), 80))
      A move is one of: vote NAME; pass. NAME is one of ann, ben.
    """
    forms = tuple(forms)
    if not forms:
        raise InvalidArgumentError("'forms' must not be empty: an agent that acts needs a move")
    parts = [f"A move is one of: {'; '.join(form.described for form in forms)}."]
    slots = {slot.name: slot.options for form in forms for slot in form.slots}
    parts += [f"{name} is one of {', '.join(options)}." for name, options in slots.items()]
    if any(form.speech is not Speech.NONE for form in forms):
        parts.append(
            f"A MESSAGE is free text on one line, of at most {limit} characters; whoever hears it reads it in quotation"
            " marks."
        )
    if any(form.speech is Speech.ALLOWED for form in forms):
        parts.append("What stands in brackets may be left out.")
    return " ".join(parts)
