"""From prompts to token ids, such that untrusted text can never contain a control token.

Each segment is encoded on its own. In a trusted one, control tokens mean what they mean. In an untrusted
one they are spelt out: ``<|im_end|>`` in an observation becomes the ids of ``<``, ``|``, ``im_end`` and so on. With a
chat template, the template is rendered with marks in place of the segments. Each must come back exactly once and in
order, so that no template leaves out what the model is meant to read; then the segments are put where their marks are.

Control tokens are a tokenizer's special tokens, and all others that were added to its vocabulary, except blanks (runs
of spaces, as in OLMo and GPT-NeoX), single characters, and plain words that the chat template does not name.
"""

import functools
import hashlib
import itertools
import re
from collections.abc import Sequence
from typing import Any, final

from jinja2 import TemplateError

from lap.errors import ContextLengthError, ModelError
from lap.prompts import Message, Prompt, Segment

_CACHE = 4096  # prompts whose ids are kept; those of real models are long
_PROBE = (
    Message("system", (Segment("the rules", trusted=True),)),
    Message("user", (Segment("an observation", trusted=True),)),
)


@final
class PromptEncoder:
    """Encodes prompts for one tokenizer.

    Args:
      tokenizer: a fast transformers tokenizer.
      chat: whether to use the tokenizer's chat template; ``None`` uses it if there is one.
      thinking: the template's setting for thinking aloud (``enable_thinking``); ``None`` leaves it unset.

    Attributes:
      folds_system: whether the system message is put at the beginning of the first user message, since the chat
        template has no place for it.

    Raises:
      ModelError: a chat template is asked for and the tokenizer has none, the template leaves out what it is given, or
        the tokenizer is not a fast one.
    """

    def __init__(
        self, tokenizer: Any, *, chat: bool | None = None, thinking: bool | None = None
    ) -> None:
        has_template = bool(getattr(tokenizer, "chat_template", None))
        if chat and not has_template:
            raise ModelError("the tokenizer has no chat template, but one was asked for")
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError("the tokenizer must be a fast one (there is no tokenizer.json)")
        self.tokenizer = tokenizer
        self.chat = has_template if chat is None else chat
        self.thinking = thinking
        self._backend = tokenizer.backend_tokenizer
        control = _control_tokens(tokenizer)
        self._control_ids = frozenset(control.values())
        names = sorted(map(re.escape, control), key=len, reverse=True)
        self._control_pattern = re.compile("|".join(names)) if names else None
        self._remember()
        self.folds_system = self.chat and not self._keeps(_PROBE)
        if self.folds_system:
            self._rendered(_folded(_PROBE))

    def __getstate__(self) -> dict[str, Any]:
        remembered = ("encode", "given_ids")
        return {name: value for name, value in self.__dict__.items() if name not in remembered}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._remember()

    def _remember(self) -> None:
        self.encode = functools.lru_cache(maxsize=_CACHE)(self._encode)
        self.given_ids = functools.lru_cache(maxsize=_CACHE)(self._given_ids)

    @property
    def control_ids(self) -> frozenset[int]:
        """The ids that untrusted text can never produce."""
        return self._control_ids

    def _given_ids(self, prefill: str) -> tuple[int, ...]:
        """The token ids of the beginning of a reply, which is encoded apart from what follows it."""
        return tuple(self.untrusted(prefill)) if prefill else ()

    def _encode(self, prompt: Prompt) -> tuple[tuple[int, ...], str]:
        """The token ids of a prompt, and the text that they stand for."""
        if not self.chat:
            ids = list(self._begin())
            for message in prompt.messages:
                for segment in message.segments:
                    encode = self.trusted if segment.trusted else self.untrusted
                    ids += encode(segment.text)
                ids += self.trusted("\n")
            return tuple(ids), prompt.text
        return self._encode_chat(prompt)

    def encode_within(
        self, prompts: Sequence[Prompt], context_length: int | None, max_reply_tokens: int
    ) -> list[tuple[tuple[int, ...], str]]:
        """The token ids of prompts, and the texts that these represent.

        Args:
          prompts: the prompts.
          context_length: how many tokens a prompt and its reply may have together; ``None`` for any number.
          max_reply_tokens: how many tokens a reply may have.

        Raises:
          ContextLengthError: a prompt leaves too little room; ``index`` says which.
          ModelError: a prompt is empty.
        """
        encoded = [self.encode(prompt) for prompt in prompts]
        for index, (ids, _) in enumerate(encoded):
            if not ids:
                raise ModelError(
                    "a prompt is empty: the model needs at least one token to continue from"
                )
            reply = len(self.given_ids(prompts[index].prefill)) + max_reply_tokens
            if context_length and len(ids) + reply > context_length:
                error = ContextLengthError(
                    f"a prompt of {len(ids)} tokens and a reply of up to {reply} do not fit the model's context of "
                    f"{context_length}; show fewer turns or examples in the prompt"
                )
                error.index = index
                raise error
        return encoded

    def _begin(self) -> tuple[int, ...]:
        first: int | None = self.tokenizer.bos_token_id
        ids = self.tokenizer("a")["input_ids"]
        return (first,) if first is not None and ids[:1] == [first] else ()

    def _encode_chat(self, prompt: Prompt) -> tuple[tuple[int, ...], str]:
        messages = _folded(prompt.messages) if self.folds_system else prompt.messages
        ids: list[int] = []
        ours = ""  # trusted text up to here that is not encoded yet
        shown = ""
        for piece in self._rendered(messages):
            shown += piece.text
            if piece.trusted:
                ours += piece.text
                continue
            ids += self.trusted(ours) if ours else []
            ids += self.untrusted(piece.text)
            ours = ""
        return tuple(ids + (self.trusted(ours) if ours else [])), shown

    def _keeps(self, messages: Sequence[Message]) -> bool:
        """Whether the chat template renders all parts of messages."""
        try:
            self._rendered(messages)
        except ModelError:
            return False
        return True

    def _rendered(self, messages: Sequence[Message]) -> list[Segment]:
        """What the chat template makes of messages: its own text, which is trusted, and the segments.

        Raises:
          ModelError: the template refuses the messages, or leaves out, repeats or moves a part of them.
        """
        segments = [(message.role, s) for message in messages for s in message.segments]
        mark = hashlib.blake2b(repr(segments).encode(), digest_size=12).hexdigest()
        numbers = itertools.count()
        chat = [
            {
                "role": message.role,
                "content": "".join(f"[{mark}:{next(numbers)}]" for _ in message.segments),
            }
            for message in messages
        ]
        told = {} if self.thinking is None else {"enable_thinking": self.thinking}
        try:
            rendered = self.tokenizer.apply_chat_template(
                chat, tokenize=False, add_generation_prompt=True, **told
            )
        # some know no system message, or want roles to alternate
        except (TemplateError, TypeError, ValueError, LookupError) as error:
            raise ModelError(f"the chat template refuses the prompt: {error}") from error
        pieces = re.split(rf"\[{mark}:(\d+)\]", rendered)
        found = [int(number) for number in pieces[1::2]]
        for number, (role, segment) in enumerate(segments):
            if found.count(number) != 1:
                verb = "repeats" if number in found else "leaves out"
                raise ModelError(
                    f"the chat template {verb} a part of a {role} message: {segment.text[:60]!r}; 'chat' may be false, "
                    "which does without a template"
                )
        if found != sorted(found):
            raise ModelError(
                "the chat template changes the order of messages; set 'chat' to false to use no template"
            )
        own = [Segment(text, trusted=True) for text in pieces[::2]]
        shown = [segments[number][1] for number in found]
        return [own[0], *(s for pair in zip(shown, own[1:], strict=True) for s in pair)]

    def trusted(self, text: str) -> list[int]:
        """The ids of our own text; control tokens in it are control tokens."""
        self._backend.encode_special_tokens = False
        return list(self._backend.encode(_clean(text), add_special_tokens=False).ids)

    def untrusted(self, text: str) -> list[int]:
        """The ids of foreign text; control tokens in it are spelt out as plain characters."""
        text = _clean(text)
        self._backend.encode_special_tokens = True
        if self._control_pattern is None or not self._control_pattern.search(text):
            ids = list(self._backend.encode(text, add_special_tokens=False).ids)
            if self._control_ids.isdisjoint(ids):
                return ids
        ids = [i for piece in self._pieces(text) for i in self._plain(piece)]
        if not self._control_ids.isdisjoint(ids):
            raise ModelError("the tokenizer cannot spell out a control token that a text contains")
        return ids

    def _pieces(self, text: str) -> list[str]:
        """The text cut inside every control token, so that no piece contains a whole one."""
        cuts = [0]
        if self._control_pattern is not None:
            start = 0
            while found := self._control_pattern.search(text, start):
                start = found.start() + 1
                cuts.append(start)
        return [text[a:b] for a, b in zip(cuts, [*cuts[1:], len(text)], strict=True)]

    def _plain(self, text: str) -> list[int]:
        ids = list(self._backend.encode(text, add_special_tokens=False).ids)
        if self._control_ids.isdisjoint(ids):
            return ids
        # A normaliser made a control token of it: spell it character by character.
        return [i for c in text for i in self._backend.encode(c, add_special_tokens=False).ids]

    def decode(self, ids: tuple[int, ...]) -> str:
        """The text of reply ids as they are, control tokens included."""
        return str(self._backend.decode(list(ids), skip_special_tokens=False))


def _control_tokens(tokenizer: Any) -> dict[str, int]:
    """The ids of the tokens that untrusted text must not produce, by what they look like."""
    special = set(tokenizer.all_special_ids)
    template = _words(str(getattr(tokenizer, "chat_template", None) or ""))

    def is_control(number: int, token: Any) -> bool:
        if token.special or number in special:
            return True
        if all(c.isalnum() or c.isspace() for c in token.content):
            return bool(token.content.strip()) and _words(token.content) in template
        return len(token.content) > 1

    added = tokenizer.added_tokens_decoder.items()
    return {token.content: number for number, token in added if is_control(number, token)}


def _words(text: str) -> str:
    """A text with one space wherever it has blanks."""
    return " ".join(text.split())


def _folded(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages with the system message, if there is one, at the beginning of the first user message."""
    if len(messages) < 2 or (messages[0].role, messages[1].role) != ("system", "user"):
        return tuple(messages)
    between = Segment("\n\n", trusted=True)
    first = Message("user", (*messages[0].segments, between, *messages[1].segments))
    return (first, *messages[2:])


def _clean(text: str) -> str:
    """Lone surrogates have no UTF-8 form, which the tokenizer needs; they become question marks."""
    return text.encode("utf-8", errors="replace").decode("utf-8")
