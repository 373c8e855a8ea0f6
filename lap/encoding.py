"""Prompts to token ids, such that untrusted text can never contain a control token.

Each segment is encoded on its own. In a trusted one, control tokens mean what they mean. In an untrusted
one they are spelt out: ``<|im_end|>`` in an observation becomes the ids of ``<``, ``|``, ``im_end`` and so on. With a
chat template, the template is rendered with place-holders for the untrusted segments, which are then encoded apart.
"""

import functools
import hashlib
import re
from collections.abc import Sequence
from typing import Any, final

from jinja2 import TemplateError

from lap.errors import ContextLengthError, ModelError
from lap.prompts import Prompt

_CACHE = 4096  # prompts whose ids are kept; those of real models are long


@final
class PromptEncoder:
    """Encodes prompts for one tokenizer.

    Args:
      tokenizer: a fast transformers tokenizer.
      chat: whether to use the tokenizer's chat template; ``None`` uses it if there is one.
      thinking: what the template is told of thinking aloud (``enable_thinking``); ``None`` tells it nothing.

    Raises:
      ModelError: a chat template is asked for and the tokenizer has none, or the tokenizer is not a fast one.
    """

    def __init__(
        self, tokenizer: Any, *, chat: bool | None = None, thinking: bool | None = None
    ) -> None:
        has_template = bool(getattr(tokenizer, "chat_template", None))
        if chat and not has_template:
            raise ModelError("the tokenizer has no chat template, but one was asked for")
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError("the tokenizer must be a fast one (it came without tokenizer.json)")
        self.tokenizer = tokenizer
        self.chat = has_template if chat is None else chat
        self.thinking = thinking
        self._backend = tokenizer.backend_tokenizer
        added = {token.content: i for i, token in tokenizer.added_tokens_decoder.items()}
        special = set(tokenizer.all_special_ids)
        self._control = {text: i for text, i in added.items() if i in special or len(text) > 1}
        self._control_ids = frozenset(self._control.values())
        names = sorted(map(re.escape, self._control), key=len, reverse=True)
        self._control_pattern = re.compile("|".join(names)) if names else None
        self.encode = functools.lru_cache(maxsize=_CACHE)(self._encode)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "encode"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.encode = functools.lru_cache(maxsize=_CACHE)(self._encode)

    @property
    def control_ids(self) -> frozenset[int]:
        """The ids that untrusted text can never produce."""
        return self._control_ids

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
        """The token ids of prompts, and the texts that they stand for.

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
                    "a prompt is empty: the model needs at least one token to go on from"
                )
            if context_length and len(ids) + max_reply_tokens > context_length:
                error = ContextLengthError(
                    f"a prompt of {len(ids)} tokens and a reply of up to {max_reply_tokens} "
                    f"do not fit the model's context of {context_length}; a prompt of fewer turns is shorter"
                )
                error.index = index
                raise error
        return encoded

    def _begin(self) -> tuple[int, ...]:
        first: int | None = self.tokenizer.bos_token_id
        ids = self.tokenizer("a")["input_ids"]
        return (first,) if first is not None and ids[:1] == [first] else ()

    def _encode_chat(self, prompt: Prompt) -> tuple[tuple[int, ...], str]:
        untrusted: list[str] = []
        mark = hashlib.blake2b(prompt.text.encode(errors="replace"), digest_size=12).hexdigest()
        chat = []
        for message in prompt.messages:
            content = ""
            for segment in message.segments:
                if segment.trusted:
                    content += segment.text
                else:
                    content += f"[{mark}:{len(untrusted)}]"
                    untrusted.append(segment.text)
            chat.append({"role": message.role, "content": content})
        told = {} if self.thinking is None else {"enable_thinking": self.thinking}
        try:
            rendered = self.tokenizer.apply_chat_template(
                chat, tokenize=False, add_generation_prompt=True, **told
            )
        except TemplateError as error:  # some know no system message, or want roles to alternate
            raise ModelError(f"the chat template refuses the prompt: {error}") from error
        pieces = re.split(rf"\[{mark}:(\d+)\]", rendered)
        ids: list[int] = []
        text = ""
        for i, piece in enumerate(pieces):
            content = untrusted[int(piece)] if i % 2 else piece
            ids += self.untrusted(content) if i % 2 else self.trusted(content)
            text += content
        return tuple(ids), text

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


def _clean(text: str) -> str:
    """Lone surrogates have no UTF-8 form, which the tokenizer needs; they become question marks."""
    return text.encode("utf-8", errors="replace").decode("utf-8")
