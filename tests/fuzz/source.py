"""Where a case gets its input from: bytes, or Hypothesis, which writes down the bytes that would give the same."""

import zlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from hypothesis import strategies as st

from tests.strategies import texts

T = TypeVar("T")

CANARY = "tests.fuzz.canary"
PIECES = (
    "<|im_start|>", "<|im_end|>", "<|im_start|>system\n", "<|begin_of_text|>", "<|eot_id|>",
    "<|start_header_id|>", "<|end_header_id|>", "<tool_call>", "</tool_call>", "</s>", "[INST]", "<|", "|>",
    "\uff1c\uff5cim_end\uff5c\uff1e", "<\u200b|im_end|>", "<|im_e\u0301nd|>", "<|im_end\u0338|>",
    "<action>", "</action>", "</actio", "<action", "</think>", "left", "right", "1", "0", "take 1", "heads",
    "{", "}", "[", "]", "((", "\\", '"', "'", ",", ":", "#", "=", ".", "-", "/", "..", "%", "{{", "{%", "|", "~",
    "NaN", "Infinity", "-1", "1e999", "9" * 30, "null", "true", "None", "[[", "{}", "[]", '{"a":', "\\ud800",
    "\x00", "\x1b[31m", "\x1b]0;x\x07", "\x9b2J", "\r", "\n", "\t", " ", "\u2028", "\u202e", "\ufeff", "\ud800",
    "\udcff", "\U0010ffff", "\u0130", "\u00df", "\ufb01", "\u0660", "<script>", "</script>", "<!--", "&", "$$",
    "[bold]", "[/]", "[link=x]", "]]>", "javascript:", "update", "returns", "steps", CANARY,
    f"{CANARY}:run",
)  # fmt: skip
NUMBERS = (
    0, 1, -1, 2, 2**31, 2**63, -(2**63) - 1, 10**30, 10**400, 0.5, -0.0, 1e308, -1e308, 5e-324,
    float("nan"), float("inf"), float("-inf"),
)  # fmt: skip
_LONGEST = 255


class Source:
    """Choices made from bytes; where they end, every choice is the first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def integer(self, least: int, most: int) -> int:
        size = _size(least, most)
        taken = self._data[self._at : self._at + size]
        self._at += size
        return least + int.from_bytes(taken, "big") % (most - least + 1)

    def choice(self, options: Sequence[T]) -> T:
        return options[self.integer(0, len(options) - 1)]

    def one_in(self, count: int) -> bool:
        return self.integer(1, count) == count

    def rarely(self, count: int) -> bool:
        """True for one in so many of the inputs so far: what is slow, an engine cannot choose by a byte of its own."""
        return zlib.crc32(self._so_far()) % count == 0

    def _so_far(self) -> bytes:
        return self._data[: self._at].ljust(self._at, b"\0")

    def text(self, pieces: Sequence[str] = PIECES) -> str:
        return "".join(self._piece(pieces) for _ in range(self.integer(0, 4)))

    def _piece(self, pieces: Sequence[str]) -> str:
        kind = self.integer(0, 4)
        if kind <= 1:
            return self.choice(pieces)
        if kind == 2:
            return self.choice(pieces) * self.integer(0, _LONGEST)
        size = self.integer(0, _LONGEST)
        if kind == 3:
            return "".join(chr(self.integer(0, 0x10FFFF)) for _ in range(size))
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken.decode("utf-8", "surrogateescape")

    def json(self, depth: int = 2) -> Any:
        """Any value that JSON, as Python reads it, can hold."""
        kind = self.integer(0, 5 if depth else 3)
        if kind == 0:
            return self.choice((None, True, False))
        if kind == 1:
            return self.choice(NUMBERS)
        if kind <= 3:
            return self.text()
        members = range(self.integer(0, 3))
        if kind == 4:
            return [self.json(depth - 1) for _ in members]
        return {self.text(): self.json(depth - 1) for _ in members}


class Drawn(Source):
    """Choices made by Hypothesis, from the strategies of the tests; ``data`` are the bytes of a ``Source`` like it."""

    def __init__(self, draw: Callable[..., Any]) -> None:
        super().__init__(b"")
        self._draw = draw
        self.data = bytearray()

    def integer(self, least: int, most: int) -> int:
        value: int = self._draw(st.integers(least, most))
        self._note(value, least, most)
        return value

    def _so_far(self) -> bytes:
        return bytes(self.data)

    def _note(self, value: int, least: int, most: int) -> None:
        self.data += (value - least).to_bytes(_size(least, most), "big")

    def text(self, pieces: Sequence[str] = PIECES) -> str:
        if self._draw(st.booleans()):
            return super().text(pieces)
        found: str = self._draw(texts())[:_LONGEST]
        for value, most in ((1, 4), (3, 4), (len(found), _LONGEST)):
            self._note(value, 0, most)
        for character in found:
            self._note(ord(character), 0, 0x10FFFF)
        return found

    def _piece(self, pieces: Sequence[str]) -> str:
        kind = self.integer(0, 2)
        return self.choice(pieces) * (self.integer(0, _LONGEST) if kind == 2 else 1)


def _size(least: int, most: int) -> int:
    return ((most - least).bit_length() + 7) // 8


# ---- damage to what was whole ----------------------------------------------------------------


def damaged(source: Source, whole: bytes) -> bytes:
    """Bytes that were cut, overwritten or lengthened, up to three times."""
    for _ in range(source.integer(0, 3)):
        at = source.integer(0, len(whole))
        end = min(len(whole), at + source.choice((0, 1, 8, 64)))
        foreign = source.text().encode("utf-8", "surrogatepass")
        whole = source.choice(
            (whole[:at], whole[:at] + foreign + whole[at:], whole[:at] + foreign + whole[end:])
        )
    return whole


def altered(source: Source, value: Any) -> Any:
    """Plain data in which up to three parts were replaced, left out or added."""
    for _ in range(source.integer(0, 3)):
        value = _altered_once(source, value)
    return value


def _altered_once(source: Source, value: Any) -> Any:
    if isinstance(value, dict) and value and not source.one_in(8):
        names = sorted(value, key=repr)
        name = source.choice(names)
        action = source.integer(0, 5)
        if action == 0:
            return {n: v for n, v in value.items() if n != name}
        if action == 1:
            return {**value, source.text(): source.json()}
        return {**value, name: _altered_once(source, value[name])}
    if isinstance(value, list) and value and not source.one_in(8):
        at = source.integer(0, len(value) - 1)
        if source.one_in(6):
            return value[:at] + value[at + 1 :]
        return [*value[:at], _altered_once(source, value[at]), *value[at + 1 :]]
    return source.json()
