"""Typed outcomes of text: what a reply said, and what the game made of it.

Two maps lie between a language model and a game, and each answers with a type of its own:
the parser W takes a reply and finds the action text in it (``ActionText`` or ``ParseFailure``); the game's
action map psi takes that text and finds an action (``Parsed``, ``Illegal`` or ``Malformed``). A bad
reply is data.
"""

import enum
from typing import Generic, TypeVar

import attrs

A_co = TypeVar("A_co", covariant=True)


@attrs.frozen
class ActionText:
    """The parser found this action text in the reply."""

    text: str


@attrs.frozen
class ParseFailure:
    """The parser found no action text; ``reason`` says why."""

    reason: str


ParserOutcome = ActionText | ParseFailure


class OutcomeKind(enum.Enum):
    """The three ways in which an agent's text can end."""

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
    """The text was readable, but names no action that is legal here."""

    text: str
    kind = OutcomeKind.ILLEGAL


@attrs.frozen
class Malformed:
    """There was no action text to read."""

    reason: str
    kind = OutcomeKind.MALFORMED


TextOutcome = Parsed[A_co] | Illegal | Malformed
