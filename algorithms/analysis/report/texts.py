"""Texts of models and games on a page: untrusted, so shown as they are and never obeyed."""

import json
import unicodedata

_SHOWN = frozenset("\n\t")
# Unicode's classes of control characters, invisible ones (marks of direction, say), halves of a pair, line ends.
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
LONGEST = 8_000
"""Most characters of a text on a page; a longer one is cut, with a note of how much."""


def shown_text(text: str) -> str:
    r"""A text in which every invisible or control character stands as its code; long ones are cut.

    Example:
      >>> print(shown_text("a\x1b[31m\u202eb"))
      a\x1b[31m\u202eb
    """
    cut = f" ... ({len(text) - LONGEST} more characters)" if len(text) > LONGEST else ""
    return "".join(map(_shown, text[:LONGEST])) + cut


def _shown(character: str) -> str:
    if character in _SHOWN or unicodedata.category(character) not in _HIDDEN:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def shown_data(value: object) -> object:
    """Plain data with every text in it shown."""
    if isinstance(value, str):
        return shown_text(value)
    if isinstance(value, list | tuple):
        return [shown_data(item) for item in value]
    if isinstance(value, dict):
        return {shown_text(str(name)): shown_data(item) for name, item in value.items()}
    return value


def embedded_json(value: object) -> str:
    r"""Plain data as JSON that can stand within a ``script`` element: no character of it has a meaning to HTML.

    Example:
      >>> print(embedded_json("</script>"))
      "\u003c/script\u003e"
    """
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
