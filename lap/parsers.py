"""W, the parser of a language-agent policy: from a reply to the action text in it.

The reply format belongs to the parser: it says how to reply (``instructions``), writes a reply with a given action text
(``wrap``, with W(wrap(u)) = u) and knows when the beginning of a reply determines the outcome (``stop_criterion``).
"""

import abc
import re
from collections.abc import Sequence
from typing import Literal, final

import attrs

from lap.prompts import Segment
from tsmg import ActionText, InvalidArgumentError, ParseFailure, ParserOutcome

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


class AbstractParser(abc.ABC):
    """W: a total, pure function from a reply to an action text or a failure."""

    @abc.abstractmethod
    def parse(self, reply: str) -> ParserOutcome:
        """The action text in the reply, or why there is none. Linear in the reply's length."""

    @abc.abstractmethod
    def instructions(self) -> str:
        """Instructions to the model on the form of a reply."""

    @abc.abstractmethod
    def wrap(self, text: str) -> str:
        """A reply with the action text ``text``: ``parse(wrap(text)) == ActionText(text)``.

        Raises:
          InvalidArgumentError: no reply of this form has that action text.
        """

    @abc.abstractmethod
    def is_complete(self, prefix: str) -> bool:
        """Whether every continuation of this prefix has the same outcome, so that the reply may stop."""

    def stops(self) -> tuple[str, ...]:
        """Texts of which every complete prefix contains one: a server that knows no parser may stop there and ask.

        Empty if no such text is known: a reply then continues to its end, and is cut afterwards.
        """
        return ()

    def opening(self) -> str:
        """The beginning of ``wrap(text)`` for every text; empty if there is none."""
        return ""

    def without_thoughts(self, reply: str) -> str:
        """The part of a reply that is parsed, as later prompts show it, without the thoughts before it."""
        return reply

    def reminder(self, replies: Sequence[str]) -> tuple[Segment, ...]:
        """What the present prompt ends with because of earlier replies; nothing for most forms of reply.

        Args:
          replies: the agent's replies so far, without their thoughts.
        """
        return ()


@final
@attrs.frozen
class TagParser(AbstractParser):
    """The action stands between tags: ``<action>left</action>``.

    Attributes:
      tag: the tag's name.
      match: which pair counts if there are several. The first is decided as soon as it is closed; the last is known
        only at the end of the reply.
      after: only what follows the first of this is read: what ends the thoughts of a model that thinks aloud
        (``</think>``); the whole reply unless given.
      example: the action text that the instructions show between the tags; a legal action of the game, for models
        repeat what they are shown.

    Example:
      >>> TagParser("action").parse("I go <action>left</action>.")
      ActionText(text='left')
    """

    tag: str = attrs.field(default="action")
    match: Literal["first", "last"] = attrs.field(default="first")
    after: str = ""
    example: str = attrs.field(default="ACTION")

    @tag.validator
    def _check_tag(self, attribute: "attrs.Attribute[str]", value: str) -> None:
        if not _NAME.fullmatch(value):
            raise InvalidArgumentError(f"'tag' must be a plain name (got {value!r})")

    @match.validator
    def _check_match(self, attribute: "attrs.Attribute[str]", value: str) -> None:
        if value not in ("first", "last"):
            raise InvalidArgumentError(f"'match' must be 'first' or 'last' (got {value!r})")

    @example.validator
    def _check_example(self, attribute: "attrs.Attribute[str]", value: str) -> None:
        if self._first(self._tagged(value)) != ActionText(value):
            raise InvalidArgumentError(f"'example' must not contain the tags (got {value!r})")

    @property
    def _open(self) -> str:
        return f"<{self.tag}>"

    @property
    def _close(self) -> str:
        return f"</{self.tag}>"

    def parse(self, reply: str) -> ParserOutcome:
        _, ended, rest = reply.partition(self.after) if self.after else ("", "", reply)
        if self.after and not ended:
            return ParseFailure(f"no {self.after} in the reply")
        return self._first(rest) if self.match == "first" else self._last(rest)

    def _last(self, reply: str) -> ParserOutcome:
        end = reply.rfind(self._close)
        begin = reply.rfind(self._open, 0, max(end, 0))
        if end < 0 or begin < 0:
            return ParseFailure(f"no {self._open}...{self._close} in the reply")
        return ActionText(reply[begin + len(self._open) : end])

    def _first(self, reply: str) -> ParserOutcome:
        begin = reply.find(self._open)
        if begin < 0:
            return ParseFailure(f"no {self._open} in the reply")
        begin += len(self._open)
        end = reply.find(self._close, begin)
        if end < 0:
            return ParseFailure(f"{self._open} is never closed in the reply")
        return ActionText(reply[begin:end])

    def instructions(self) -> str:
        which = "" if self.match == "first" else " Only the last such pair of tags counts."
        example = self._tagged(self.example)
        return f"Reply with your action between tags, like this: {example}.{which}"

    def _tagged(self, text: str) -> str:
        return f"{self._open}{text}{self._close}"

    def wrap(self, text: str) -> str:
        reply = self.after + self._tagged(text)
        if self.parse(reply) != ActionText(text):
            raise InvalidArgumentError(f"'text' must not contain the tags (got {text!r})")
        return reply

    def is_complete(self, prefix: str) -> bool:
        return self.match == "first" and isinstance(self.parse(prefix), ActionText)

    def stops(self) -> tuple[str, ...]:
        return (self._close,) if self.match == "first" else ()

    def opening(self) -> str:
        return self.after + self._open

    def without_thoughts(self, reply: str) -> str:
        if not self.after:
            return reply
        return reply.partition(self.after)[
            2
        ].lstrip()  # a thought that never ended is left out, too


@final
@attrs.frozen
class WholeReplyParser(AbstractParser):
    """The whole reply is the action text, white space at both ends aside."""

    def parse(self, reply: str) -> ParserOutcome:
        text = reply.strip()
        return ActionText(text) if text else ParseFailure("the reply is empty")

    def instructions(self) -> str:
        return "Reply with your action and nothing else."

    def wrap(self, text: str) -> str:
        if self.parse(text) != ActionText(text):
            raise InvalidArgumentError(f"'text' must be non-empty and trimmed (got {text!r})")
        return text

    def is_complete(self, prefix: str) -> bool:
        return False
