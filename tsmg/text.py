"""Typed outcomes of text: what the parser found in a reply, and what the game read in that.

Two maps lie between a language model and a game, and each returns a type of its own. The parser W finds the action text
in a reply (``ActionText`` or ``ParseFailure``). The game's action map psi finds an action in that text (``Parsed``,
``Illegal`` or ``Malformed``). A bad reply is data.
"""

import enum
import functools
import re
import unicodedata
from typing import Generic, TypeVar

import attrs

A_co = TypeVar("A_co", covariant=True)


@attrs.frozen
class ActionText:
    """The action text that the parser found in the reply."""

    text: str


@attrs.frozen
class ParseFailure:
    """No action text was found in the reply; ``reason`` says why."""

    reason: str


ParserOutcome = ActionText | ParseFailure


class OutcomeKind(enum.Enum):
    """The three outcomes of an agent's text."""

    PARSED = "parsed"
    ILLEGAL = "illegal"
    MALFORMED = "malformed"


@attrs.frozen
class Parsed(Generic[A_co]):
    """The text names a legal action."""

    action: A_co
    kind = OutcomeKind.PARSED


@attrs.frozen
class Illegal:
    """The text could be read, but names no action that is legal in the state."""

    text: str
    kind = OutcomeKind.ILLEGAL


@attrs.frozen
class Malformed:
    """There was no action text to read; ``reason`` says why."""

    reason: str
    kind = OutcomeKind.MALFORMED


TextOutcome = Parsed[A_co] | Illegal | Malformed


_UNSEEN = dict.fromkeys(
    [
        0x00AD, 0x061C, 0x180E, 0x200B, 0x200E, 0x200F, 0xFEFF,
        *range(0x202A, 0x202F), *range(0x2060, 0x2070), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0),
    ]
)  # fmt: skip
"""Soft hyphens, characters of zero width, bidirectional controls, invisible operators, variation selectors."""
_IDLE_JOINERS = re.compile(r"(?<![^\x00-\x7f\s])[\u200c\u200d]+|[\u200c\u200d]+(?![^\x00-\x7f\s])")


@functools.lru_cache(maxsize=4096)
def fold(text: str) -> str:
    """The text without what a reader cannot see; texts that fold to the same text name the same action.

    Folding composes accents (Unicode's canonical form), ignores case, and drops blanks at both ends, characters that
    have no shape (zero-width and bidirectional ones, soft hyphens) and variation selectors. Joiners are dropped except
    between two characters beyond ASCII, which they may join to another shape, as those of an emoji.

    Source: The Unicode Standard, section 3.13, D145 (canonical caseless matching).

    Example:
      >>> fold("  Cafe\u0301\u200b ") == fold("CAF\u00c9")
      True
    """
    if text.isascii():
        return text.strip().casefold()
    return visible(unicodedata.normalize("NFD", text).casefold())


def visible(text: str) -> str:
    """The text as a reader sees it: ``fold`` without ignoring case.

    Example:
      >>> visible("Cafe\u0301\u200b ") == "Caf\u00e9"
      True
    """
    decomposed = unicodedata.normalize("NFD", text).translate(_UNSEEN)
    return unicodedata.normalize("NFC", _IDLE_JOINERS.sub("", decomposed)).strip()
