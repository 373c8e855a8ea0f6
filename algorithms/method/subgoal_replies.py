"""Which tokens of a reply are its switch, its subgoal and its action, for credit on two levels."""

import functools
from collections.abc import Callable, Sequence
from typing import Literal, final

import attrs

from algorithms.method.rules import Reading
from algorithms.method.value_functions import Position
from lap.engine.scoring import sampled_places
from lap.subgoals import Span, read_subgoals
from tsmg import Completion, InvalidArgumentError

Part = Literal["switch", "subgoal", "action"]
PARTS: tuple[Part, ...] = ("switch", "subgoal", "action")
Spell = Callable[[Sequence[int]], str]
"""What token ids stand for."""


@final
@attrs.frozen(kw_only=True)
class ReadReply:
    """A reply, and which of its tokens are which part of it.

    Attributes:
      completion: the reply.
      begins: whether a segment begins with it.
      parts_L: the part whose advantage each token has; ``None`` for one that has none.
      acts_at: the place of the token after the subgoal; after the switch, or of the first, where there is none.
    """

    completion: Completion
    begins: bool
    parts_L: tuple[Part | None, ...]
    acts_at: int

    @property
    def valued(self) -> tuple[Part, ...]:
        """The parts before which a value is read: the subgoal only where a segment begins."""
        return PARTS if self.begins else ("switch", "action")

    def place(self, part: Part) -> Position:
        """Where the value of a part is read."""
        first = sampled_places(self.completion)[0]
        return Position(self.completion, self.acts_at if part == "action" else first)


def read_replies(completions: Sequence[Completion], spell: Spell) -> list[ReadReply]:
    r"""An agent's replies in an episode, read as switches, subgoals and actions.

    A token that belongs to two parts counts as one of the first. Where a reply has neither a switch nor a subgoal, all
    of it is the action; where it has no action, all but those is.

    Source: HiPER, arXiv:2602.16165, by its public code; which part counts is ours [ours].

    Args:
      completions: the replies, in order.
      spell: what token ids stand for; not asked where a reply has neither a switch nor a subgoal.

    Example:
      >>> pieces = ("<switch>", "KEEP", "</switch><subgoal>", "key", "</subgoal>", "\n", "<action>up</action>")
      >>> said = Completion(prompt_ids=(), reply_ids=tuple(range(7)), trainable=(True,) * 7, logprobs=(0.0,) * 7,
      ...     reply_text="".join(pieces))
      >>> first, second = read_replies([said, said], lambda ids: "".join(pieces[i] for i in ids))
      >>> first.begins, second.begins, first.acts_at
      (True, False, 5)
      >>> first.parts_L
      ('switch', 'switch', 'switch', 'subgoal', 'subgoal', None, 'action')
      >>> second.parts_L
      ('switch', 'switch', 'switch', None, None, None, 'action')

    Theory: Theorem 9.6.
    """
    return [_read(c, spell, is_first=n == 0) for n, c in enumerate(completions)]


def spelling(reading: Reading | None, agent: str) -> Spell:
    """What token ids of an agent's replies stand for, by how episodes are read; found out when it is first asked."""
    found = functools.cache(lambda: bound(reading).spelling(agent))

    def spell(ids: Sequence[int]) -> str:
        return found()(ids)

    return spell


def bound(reading: Reading | None) -> Reading:
    """How episodes are read.

    Raises:
      InvalidArgumentError: it is not known.
    """
    if reading is None:
        raise InvalidArgumentError(
            "the parts of replies are found by the policies that gave them: give the rule to a trainer or to the "
            "laboratory, or call its 'bind'"
        )
    return reading


def _read(completion: Completion, spell: Spell, *, is_first: bool) -> ReadReply:
    said = read_subgoals(completion.reply_text)
    begins, size = is_first or said.switches, len(completion.reply_ids)
    first = sampled_places(completion)[0]
    if said.switch_span is None and said.subgoal_span is None:
        part: Part = "action"
        whole = (part,) * size
        return ReadReply(completion=completion, begins=begins, parts_L=whole, acts_at=first)
    switch, subgoal, action = (
        _tokens(completion.reply_ids, span, spell)
        for span in (said.switch_span, said.subgoal_span, said.action_span)
    )
    kept: Part | None = "subgoal" if begins else None
    parts_L: list[Part | None] = [
        "action" if l in action or not action else None for l in range(size)
    ]
    marks: tuple[tuple[range, Part | None], ...] = ((subgoal, kept), (switch, "switch"))
    for tokens, mark in marks:
        parts_L[tokens.start : tokens.stop] = [mark] * len(tokens)
    ends = [tokens.stop for tokens in (subgoal, switch) if tokens and tokens.stop < size]
    return ReadReply(
        completion=completion,
        begins=begins,
        parts_L=tuple(parts_L),
        acts_at=max(first, next(iter(ends), 0)),
    )


def _tokens(ids: Sequence[int], span: Span | None, spell: Spell) -> range:
    """The tokens that some characters belong to."""
    if span is None:
        return range(0)
    return range(_token_of(span[0], ids, spell), _token_of(span[1] - 1, ids, spell) + 1)


def _token_of(character: int, ids: Sequence[int], spell: Spell) -> int:
    """The place of the token that completes a character, by bisection: the text of a beginning grows with it."""
    low, high = 0, len(ids) - 1
    while low < high:
        middle = (low + high) // 2
        # a character that is not complete yet is spelt as some of these
        if len(spell(ids[: middle + 1]).rstrip("\ufffd")) > character:
            high = middle
        else:
            low = middle + 1
    return low
