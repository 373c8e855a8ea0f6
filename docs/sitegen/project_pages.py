"""Pages of the project that lie outside of ``docs``: copied, with their links turned."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = {"CONTRIBUTING.md": "project/contributing.md", "CHANGELOG.md": "project/changelog.md"}


def project_pages() -> dict[str, str]:
    """Path to text."""
    return {
        page: turned((ROOT / file).read_text(encoding="utf-8")) for file, page in COPIED.items()
    }


def turned(text: str) -> str:
    """The text with links that hold in the folder ``docs/project``."""
    text = re.sub(r"\]\(docs/", "](../", text)
    for file, page in COPIED.items():
        text = text.replace(f"]({file})", f"]({Path(page).name})")
    return text


def within_site(text: str, depth: int) -> str:
    """A page of ``docs``, so many folders deep, with links to the copied pages instead of the files."""
    for file, page in COPIED.items():
        text = text.replace(f"]({'../' * (depth + 1)}{file})", f"]({'../' * depth}{page})")
    return text
