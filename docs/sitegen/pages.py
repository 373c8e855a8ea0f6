"""All generated pages, and where they are written."""

from pathlib import Path

from sitegen.api_pages import api_pages
from sitegen.citing import citing_pages
from sitegen.commands import command_pages
from sitegen.game_pages import game_pages
from sitegen.project_pages import project_pages

FOLDERS = ("reference/api", "reference/games", "project")


def all_pages() -> dict[str, str]:
    """Path below ``docs`` to text."""
    return {
        **api_pages(),
        **game_pages(),
        **command_pages(),
        **citing_pages(),
        **project_pages(),
    }


def write_pages(docs: Path) -> None:
    """Write what has changed, and remove what is not made any more."""
    pages = all_pages()
    for folder in FOLDERS:
        for file in (docs / folder).rglob("*"):
            if file.is_file() and file.relative_to(docs).as_posix() not in pages:
                file.unlink()
    for path, text in pages.items():
        file = docs / path
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
