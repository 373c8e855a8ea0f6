"""Replies on two levels: whether the subgoal is kept or switched, the subgoal, and the action.

    <switch>KEEP</switch><subgoal>find the key</subgoal><action>left</action>

The agent's subgoal is the one that it wrote last, and every prompt shows it. The parser reads the action; what a reply
says of the subgoal is read by ``read_subgoals``, for credit on two levels (``algorithms.method.subgoal_credit``).

Source: HiPER, arXiv:2602.16165, by its public code: the three blocks, a prompt that shows the subgoal ("None" before
the first reply), and what counts as a switch. A reply that leaves a block out is carried out there as well, with a
penalty; here penalties are the game's [ours]. The subgoal of a reply without one is the one before, not an empty text
[ours].
"""

from collections.abc import Sequence
from typing import final

import attrs

from lap.parsers import AbstractParser, TagParser
from lap.prompts import Segment
from tsmg import ActionText, InvalidArgumentError, ParserOutcome

Span = tuple[int, int]

_SWITCH, _SUBGOAL, _ACTION = map(TagParser, ("switch", "subgoal", "action"))
_KEEP = "KEEP"
_NO_SUBGOAL = "None"


@final
@attrs.frozen(kw_only=True)
class SubgoalReply:
    """What a reply says on both levels.

    Attributes:
      switches: whether it switches to a new subgoal.
      subgoal: the subgoal; ``None`` where it names none.
      switch_span, subgoal_span, action_span: where each part is, tags included, as the numbers of its first character
        and of the first one after it; ``None`` where there is no such part.
    """

    switches: bool
    subgoal: str | None
    switch_span: Span | None
    subgoal_span: Span | None
    action_span: Span | None


def read_subgoals(reply: str) -> SubgoalReply:
    """What a reply says on both levels; of several parts of a kind the first counts.

    Anything but KEEP is a switch, in whatever case; a reply that does not say, or says nothing, keeps the subgoal.

    Example:
      >>> said = read_subgoals("<switch>SWITCH</switch><subgoal>the key</subgoal><action>left</action>")
      >>> said.switches, said.subgoal, said.switch_span, said.subgoal_span
      (True, 'the key', (0, 23), (23, 49))
      >>> read_subgoals("<action>left</action>").switches
      False
    """
    switch, switch_span = _between(_SWITCH, reply)
    subgoal, subgoal_span = _between(_SUBGOAL, reply)
    return SubgoalReply(
        switches=switch.upper() not in ("", _KEEP),
        subgoal=subgoal or None,
        switch_span=switch_span,
        subgoal_span=subgoal_span,
        action_span=_between(_ACTION, reply)[1],
    )


def _between(parser: TagParser, reply: str) -> tuple[str, Span | None]:
    """The text of the first part with a tag, trimmed, and where the part is; empty and ``None`` without one."""
    outcome = parser.parse(reply)
    if not isinstance(outcome, ActionText):
        return "", None
    begin = reply.find(parser.opening())
    return outcome.text.strip(), (begin, begin + len(parser.wrap(outcome.text)))


@final
@attrs.frozen
class SubgoalParser(AbstractParser):
    r"""The action stands between tags, after a subgoal that is kept or switched.

    Replies without ``<switch>`` or ``<subgoal>`` are read, too: they keep the subgoal.

    Attributes:
      example: the action text that the instructions show, a legal action of the game.

    Example:
      >>> parser = SubgoalParser("left")
      >>> parser.parse("<switch>KEEP</switch><subgoal>the key</subgoal><action>up</action>")
      ActionText(text='up')
      >>> [segment.text for segment in parser.reminder(["<subgoal>the key</subgoal><action>up</action>"])]
      ['\nYour current subgoal: ', 'the key']
    """

    example: str = attrs.field(default=_ACTION.example)

    @example.validator
    def _check_example(self, attribute: "attrs.Attribute[str]", value: str) -> None:
        TagParser("action", example=value)

    def parse(self, reply: str) -> ParserOutcome:
        return _ACTION.parse(reply)

    def instructions(self) -> str:
        return (
            "Reply with three parts and no other text, like this: <switch>SWITCH</switch><subgoal>SUBGOAL</subgoal>"
            f"<action>{self.example}</action>. A subgoal is a small goal that takes a few actions, neither the whole "
            "task nor a single action. To go on with your current subgoal, write KEEP in place of SWITCH and copy the "
            "subgoal exactly; to choose another one, write SWITCH and the new subgoal."
        )

    def wrap(self, text: str) -> str:
        """A reply that switches to the action itself as its subgoal."""
        reply = f"<switch>SWITCH</switch><subgoal>{text}</subgoal><action>{text}</action>"
        if self.parse(reply) != ActionText(text):
            raise InvalidArgumentError(f"'text' must not contain the tags (got {text!r})")
        return reply

    def is_complete(self, prefix: str) -> bool:
        return _ACTION.is_complete(prefix)

    def stops(self) -> tuple[str, ...]:
        return _ACTION.stops()

    def opening(self) -> str:
        return "<switch>"

    def reminder(self, replies: Sequence[str]) -> tuple[Segment, ...]:
        named = (read_subgoals(reply).subgoal for reply in reversed(replies))
        current = next(filter(None, named), _NO_SUBGOAL)
        label = Segment("\nYour current subgoal: ", trusted=True)
        return label, Segment(current, trusted=False)
