"""Checks a built site: every internal link leads to a page and a place on it, and nothing is loaded from elsewhere.

Run as ``python docs/sitegen/links.py docs/_build``.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src")}
NOT_LOADED = {"canonical", "next", "prev", "search", "author", "index", "genindex", "help"}


class Page(HTMLParser):
    """The places that a page has, the links that it holds, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.places: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag says."""
        values = {name: value or "" for name, value in attrs}
        self.places |= {values[name] for name in ("id", "name") if name in values}
        for name in ("href", "src"):
            if name not in values:
                continue
            self.links.append(values[name])
            if (tag, name) in LOADED and not NOT_LOADED & set(values.get("rel", "").split()):
                self.loaded.append(values[name])


def is_foreign(link: str) -> bool:
    """Whether a link leaves the site."""
    parts = urlsplit(link)
    return bool(parts.scheme or parts.netloc)


def broken(site: Path) -> list[str]:
    """A line for each link that leads nowhere and each thing that is loaded from elsewhere."""
    pages = {
        file.resolve(): Page(file.read_text(encoding="utf-8")) for file in site.rglob("*.html")
    }
    problems = []
    for file, page in pages.items():
        here = file.relative_to(site.resolve())
        problems += [
            f"{here}: loads {x}" for x in page.loaded if is_foreign(x) and not x.startswith("data:")
        ]
        problems += [
            f"{here}: {x}" for x in page.links if not is_foreign(x) and not _leads(x, file, pages)
        ]
    return sorted(set(problems))


def _leads(link: str, file: Path, pages: dict[Path, Page]) -> bool:
    parts = urlsplit(link)
    target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
    if target.is_dir():
        target /= "index.html"
    if target in pages and parts.fragment:
        return unquote(parts.fragment) in pages[target].places
    return target.is_file()


def main(folder: str) -> int:
    """Print what is broken; 1 if anything is."""
    site = Path(folder)
    problems = broken(site)
    count = len(list(site.rglob("*.html")))
    sys.stdout.write("".join(f"{line}\n" for line in problems))
    sys.stdout.write(f"{count} pages, {len(problems)} broken links or foreign resources\n")
    return 1 if problems or not count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
