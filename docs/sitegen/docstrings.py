"""Docstrings of the house's form as reStructuredText; Sphinx's napoleon then reads their sections."""

import re

from sitegen.api import escaped
from sitegen.game_pages import HEADINGS

_SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Yields|Example|Examples):$")
_TOLD = re.compile(rf"({'|'.join(HEADINGS)}): ")
_TOGETHER = re.compile(r"(\s+)(\w+(?:, \w+)+): (.*)")
_COLUMNS = re.compile(r"\S {3,}\S")


def readable(lines: list[str]) -> list[str]:
    """The docstring with what reStructuredText would misread made plain."""
    out: list[str] = []
    for paragraph in _paragraphs(lines):
        if any(line.lstrip().startswith(">>> ") for line in paragraph):
            out += _with_example(paragraph)
        elif _is_layout(paragraph, out):
            out += ["::", "", *(f"    {line}" for line in paragraph)]
        else:
            out += _listed([escaped(line) for line in _apart(paragraph)])
        out.append("")
    return out


def _paragraphs(lines: list[str]) -> list[list[str]]:
    paragraphs: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            paragraphs[-1].append(line)
        else:
            paragraphs.append([])
    return [paragraph for paragraph in paragraphs if paragraph]


def _with_example(paragraph: list[str]) -> list[str]:
    """Prose before an example is prose; the example stays as it is."""
    first = next(i for i, line in enumerate(paragraph) if line.lstrip().startswith(">>> "))
    return [*map(escaped, paragraph[:first]), *paragraph[first:]]


def _is_layout(paragraph: list[str], before: list[str]) -> bool:
    """Columns, or an indented sketch that belongs to no section: kept line by line."""
    if _SECTION.match(paragraph[0].strip()):
        return False
    return any(_COLUMNS.search(line) for line in paragraph) or (
        all(line.startswith("    ") for line in paragraph)
        and not any(_SECTION.match(line) for line in before)
    )


def _apart(paragraph: list[str]) -> list[str]:
    """Names that a section describes together (``width, height: in cells``), each with the description."""
    if not _SECTION.match(paragraph[0].strip()):
        return paragraph
    out: list[str] = []
    lines = iter([*paragraph, ""])
    line = next(lines)
    while line:
        match, line_after = _TOGETHER.fullmatch(line), next(lines)
        description: list[str] = []
        while match and line_after.startswith(f"{match[1]} "):
            description.append(line_after)
            line_after = next(lines)
        names = match[2].split(", ") if match else []
        out += (
            [x for name in names for x in (f"{match[1]}{name}: {match[3]}", *description)]
            if match
            else [line]
        )
        line = line_after
    return out


def _listed(lines: list[str]) -> list[str]:
    """What a game tells of itself as a list, an entry of which may go on over several lines."""
    out: list[str] = []
    told = False
    for line in lines:
        match = _TOLD.match(line)
        told = told or match is not None
        if match:
            out.append(f"* **{match[1]}:** {line[match.end() :]}")
        else:
            out.append(f"  {line}" if told else line)
    return out
