"""Renderings for terminals as plain text."""

import re

_ESCAPES = re.compile(r"\x1b\[([0-9;]*)m([^\x1b]*)\x1b\[0m")


def legible(rendered: str) -> str:
    """Ansi text without control sequences; text with a coloured background is put in brackets."""

    def plain(match: re.Match[str]) -> str:
        highlighted = any(code[:1] == "4" and len(code) == 2 for code in match[1].split(";"))
        return f"[{match[2]}]" if highlighted else match[2]

    return re.sub(r"\x1b\[[0-9;]*m", "", _ESCAPES.sub(plain, rendered)).strip("\n")
