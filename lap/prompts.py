"""F, the prompt of a language-agent policy: a map from what an agent has seen to the input of the model.

A prompt is a sequence of messages made of *segments*, each trusted (ours: instructions, feedback) or untrusted
(a game's rules and observations, the model's own replies, other agents' words). Only trusted text may contain control
tokens: an untrusted segment is encoded so that it can never forge a turn.
"""

import abc
from collections.abc import Iterable, Mapping
from typing import Literal, final

import attrs

from tsmg import History, InvalidArgumentError, Turn

Role = Literal["system", "user", "assistant"]

_ONE_EXAMPLE = "The first reply below is an example, of another episode."


@attrs.frozen
class Segment:
    """A piece of a message; ``trusted`` says whether control tokens in it mean anything."""

    text: str
    trusted: bool


@attrs.frozen
class Message:
    """A message of one role."""

    role: Role
    segments: tuple[Segment, ...]

    @property
    def text(self) -> str:
        """The message as a reader sees it."""
        return "".join(segment.text for segment in self.segments)


@attrs.frozen
class Prompt:
    """The input of the model.

    Attributes:
      messages: the messages so far, in order.
      prefill: the beginning of the reply, which is given to the model; it goes on from there. It is untrusted, like the
        rest of the reply.
    """

    messages: tuple[Message, ...]
    prefill: str = ""

    @property
    def text(self) -> str:
        """The messages as plain text, one line break after each; without the beginning of the reply."""
        return "".join(message.text + "\n" for message in self.messages)


@final
@attrs.frozen
class Example:
    """An example of a turn of the game, shown before play begins.

    Attributes:
      observation: what an agent read.
      reply: a good reply to it.
    """

    observation: str = attrs.field(validator=attrs.validators.instance_of(str))
    reply: str = attrs.field(validator=attrs.validators.instance_of(str))


def _to_examples(given: "Iterable[Example | Mapping[str, str]]") -> tuple[Example, ...]:
    """Examples, also as JSON gives them back."""
    return tuple(one if isinstance(one, Example) else Example(**one) for one in given)


class AbstractPrompt(abc.ABC):
    """F: a pure function from a history to a prompt."""

    @abc.abstractmethod
    def build(self, history: History, instructions: str) -> Prompt:
        """The prompt for a history.

        Args:
          history: what the agent has seen.
          instructions: how to reply, as the parser says it.
        """


@final
@attrs.frozen(kw_only=True)
class MemorylessPrompt(AbstractPrompt):
    """The current observation alone, after the rules.

    Attributes:
      with_rules: whether a system message states the game's rules and the reply format. A model that was trained on one
        game (a behaviour-cloned model) does not need it, which keeps its prompts short.
      examples: turns of other episodes, shown as turns of a chat; the system message says that they are examples.

    Theory: Definition 13.1, Equation 13.1.
    """

    with_rules: bool = True
    examples: tuple[Example, ...] = attrs.field(default=(), converter=_to_examples)

    def build(self, history: History, instructions: str) -> Prompt:
        rules = _system(history, instructions, self.with_rules, self.examples)
        return Prompt((*rules, _now(history)))


@final
@attrs.frozen(kw_only=True)
class LastTurnsPrompt(AbstractPrompt):
    """The last turns of the agent (what it read and what it replied), then the current observation.

    Attributes:
      turns: how many past turns are shown; at least 1.
      with_rules, examples: as in ``MemorylessPrompt``. Examples come before the past turns and do not count among them.
    """

    turns: int = attrs.field(default=1)
    with_rules: bool = True
    examples: tuple[Example, ...] = attrs.field(default=(), converter=_to_examples)

    @turns.validator
    def _check_turns(self, attribute: "attrs.Attribute[int]", value: int) -> None:
        if value < 1:
            raise InvalidArgumentError(f"'turns' must be at least 1 (got {value})")

    def build(self, history: History, instructions: str) -> Prompt:
        past = [message for turn in history.turns[-self.turns :] for message in _past(turn)]
        system = _system(history, instructions, self.with_rules, self.examples)
        return Prompt((*system, *past, _now(history)))


def _system(
    history: History, instructions: str, with_rules: bool, examples: tuple[Example, ...]
) -> tuple[Message, ...]:
    """The system message, and the examples as turns of a chat; it says how many of these are examples."""
    # a stranger may name agents
    rules = Segment(history.rules if with_rules else "", trusted=False)
    some = f"{len(examples)} replies below are examples, of other episodes."
    note = f"The first {some}" if len(examples) > 1 else _ONE_EXAMPLE
    told = (instructions if with_rules else "", note if examples else "")
    ours = " ".join(filter(None, told))
    if not (with_rules or examples):
        return ()
    between = "\n" if rules.text and ours else ""
    system = Message("system", (rules, Segment(between + ours, trusted=True)))
    return (system, *(message for example in examples for message in _shown(example)))


def _shown(example: Example) -> tuple[Message, Message]:
    read = Message("user", (Segment(example.observation, trusted=False),))
    return read, Message("assistant", (Segment(example.reply, trusted=False),))


def _now(history: History) -> Message:
    observation = Segment(history.observation.text, trusted=False)
    if not history.observation.feedback:
        return Message("user", (observation,))
    feedback = Segment("\n" + history.observation.feedback, trusted=True)
    return Message("user", (observation, feedback))


def _past(turn: Turn) -> tuple[Message, Message]:
    read = Message("user", (Segment(turn.observation.text, trusted=False),))
    return read, Message("assistant", (Segment(turn.reply, trusted=False),))
