"""The terms of the glossary, and the pages that define them."""

import functools
import re
from pathlib import Path, PurePosixPath

PAGE = Path(__file__).parents[1] / "theory" / "notation.md"
# term, meaning, symbol, link to a page, name in the code
ROW = re.compile(r"^\| (.+?) \| .+ \| \[[^]]+\]\((\S+)\) \| `([\w.]+)` \|$", re.MULTILINE)


def glossary() -> str:
    """The part of the page on notation that has the terms."""
    return PAGE.read_text(encoding="utf-8").partition("\n## Glossary\n")[2]


@functools.cache
def pages_of_terms() -> dict[str, str]:
    """Each term, to the page that defines it, without its ending."""
    rows = ROW.findall(glossary())
    return {term: _page(link) for term, link, _ in rows}


def _page(link: str) -> str:
    path = PurePosixPath("theory")
    for part in PurePosixPath(link.partition("#")[0]).parts:
        path = path.parent if part == ".." else path / part
    return path.with_suffix("").as_posix()


def defined_on(page: str) -> list[str]:
    """The terms that a page defines."""
    return [term for term, where in pages_of_terms().items() if where == page]
