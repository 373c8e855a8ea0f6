"""The packages and who imports whom, drawn and listed from the source."""

import ast
import functools
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

from sitegen.api import PACKAGES

ROOT = Path(__file__).parents[2]
WIDTH, HEIGHT, COLUMN, ROW = 150, 54, 210, 110

# (importing package, imported package) -> modules of the first that import the second
Imports = Mapping[tuple[str, str], tuple[str, ...]]


def modules(package: str) -> list[Path]:
    """The files of a package."""
    return sorted((ROOT / package).rglob("*.py"))


def imported(source: str) -> set[str]:
    """The packages of this library that a source imports when it runs, anywhere in it."""
    found: set[str] = set()
    for node in _running(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found & set(PACKAGES)


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only type checkers read."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        yield from _running(child)


@functools.cache
def imports() -> Imports:
    """Who imports whom."""
    found: dict[tuple[str, str], list[str]] = {}
    for package in PACKAGES:
        for file in modules(package):
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            for other in imported(file.read_text(encoding="utf-8")) - {package}:
                found.setdefault((package, other), []).append(name.removesuffix(".__init__"))
    return {edge: tuple(names) for edge, names in sorted(found.items())}


def levels(edges: Imports) -> dict[str, int]:
    """How far above the bottom a package stands.

    Raises:
      ValueError: packages import each other in a circle.
    """
    found: dict[str, int] = {}

    def level(package: str, above: tuple[str, ...]) -> int:
        if package in above:
            raise ValueError(f"a circle of imports: {' -> '.join((*above, package))}")
        below = [b for a, b in edges if a == package]
        found[package] = max((level(b, (*above, package)) + 1 for b in below), default=0)
        return found[package]

    for package in PACKAGES:
        level(package, ())
    return found


def drawn(edges: Imports) -> list[tuple[str, str]]:
    """The arrows to draw: those that no path by way of another package implies."""

    def reaches(a: str, b: str) -> bool:
        return (a, b) in edges or any(reaches(c, b) for x, c in edges if x == a)

    return [
        (a, b) for a, b in edges if not any(x == a and c != b and reaches(c, b) for x, c in edges)
    ]


def svg() -> str:
    """The picture: what imports stands above what is imported."""
    edges = imports()
    places = _places(levels(edges))
    width = max(x for x, _ in places.values()) + WIDTH + 10
    height = max(y for _, y in places.values()) + HEIGHT + 10
    title = "Packages; an arrow leads from a package to one that it imports"
    head = (
        f'<svg class="packages" viewBox="0 0 {width} {height}" style="max-width: {width}px" role="img" '
        f'aria-label="{title}"><title>{title}</title>'
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
        'orient="auto"><path d="M0 0L10 5L0 10z" fill="currentColor"/></marker></defs>'
    )
    parts = [
        head,
        *(_arrow(places[a], places[b]) for a, b in drawn(edges)),
        *(_box(package, place) for package, place in places.items()),
        "</svg>",
    ]
    return "\n".join(parts)


def _places(level: Mapping[str, int]) -> dict[str, tuple[float, float]]:
    """The upper left corner of each package's box."""
    top = max(level.values())
    rows = {n: [p for p in PACKAGES if level[p] == n] for n in level.values()}
    widest = max(map(len, rows.values()))
    return {
        package: (
            10 + COLUMN * (column + (widest - len(row)) / 2),
            10.0 + ROW * (top - n),
        )
        for n, row in rows.items()
        for column, package in enumerate(row)
    }


def _arrow(above: tuple[float, float], below: tuple[float, float]) -> str:
    x1, y1, x2, y2 = above[0] + WIDTH / 2, above[1] + HEIGHT, below[0] + WIDTH / 2, below[1] - 2
    return (
        f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="currentColor" stroke-width="1.5" '
        'marker-end="url(#head)"/>'
    )


def _box(package: str, place: tuple[float, float]) -> str:
    x, y = place
    middle = x + WIDTH / 2
    count = len(modules(package))
    return (
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="none" stroke="currentColor"/>'
        f'<text x="{middle}" y="{y + 24}" text-anchor="middle" fill="currentColor" font-size="18" '
        f'font-family="monospace">{escape(package)}</text>'
        f'<text x="{middle}" y="{y + 43}" text-anchor="middle" fill="currentColor" font-size="13" '
        f'font-family="sans-serif">{count} modules</text>'
    )


def pmf() -> list[tuple[str, str, str]]:
    """Rows (importing package, imported package, by how many modules), all imports counted."""
    rows = []
    for (a, b), names in imports().items():
        few = f": {', '.join(names)}" if len(names) <= 3 else ""
        rows.append((a, b, f"{len(names)} of {len(modules(a))} modules{few}"))
    return rows
