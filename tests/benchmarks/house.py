"""How the code is built, in figures: sizes of modules and functions, uses of ``Any``, private helpers, circles.

    python tests/benchmarks/house.py [PACKAGE ...]

A function's length counts its lines of code: from ``def`` to its end, without docstring, comments and blank lines.
"""

import ast
import statistics
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("tsmg", "lap", "algorithms", "games", "proofs")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def modules(packages: tuple[str, ...] = PACKAGES) -> dict[Path, str]:
    """The text of each module of some packages, by its path from the root."""
    return {
        file.relative_to(ROOT): file.read_text()
        for package in packages
        for file in sorted((ROOT / package).rglob("*.py"))
    }


def functions(text: str) -> Iterator[tuple[str, int]]:
    """Name and lines of code of every function and method in a module."""
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, Function):
            continue
        body = node.body
        documented = isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
        skipped = range(body[0].lineno, (body[0].end_lineno or 0) + 1) if documented else ()
        counted = [
            n
            for n in range(node.lineno, (node.end_lineno or node.lineno) + 1)
            if n not in skipped
            and lines[n - 1].strip()
            and not lines[n - 1].lstrip().startswith("#")
        ]
        yield node.name, len(counted)


def uses_of_any(text: str) -> int:
    """How often ``Any`` stands in a module, its import aside."""
    return sum(
        isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(ast.parse(text))
    )


def private_helpers_used_once(text: str) -> int:
    """How many private functions of a module it names only once outside of their definition."""
    tree = ast.parse(text)
    private = {n.name for n in ast.walk(tree) if isinstance(n, Function) and n.name.startswith("_")}
    names = Counter(
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute)
    )
    return sum(names[name] == 1 for name in private if not name.startswith("__"))


def imports(path: Path, text: str, known: set[str]) -> set[str]:
    """The modules of ours that a module imports anywhere, for type checking or inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & known) or {node.module}
    return found & known


def circles(files: dict[Path, str]) -> list[list[str]]:
    """Groups of modules that import each other, directly or by way of others.

    ``__init__`` modules re-export what others define, so that imports of them do not count.
    """
    names = {
        ".".join(path.with_suffix("").parts): (path, text)
        for path, text in files.items()
        if path.name != "__init__.py"
    }
    arrows = {name: imports(path, text, set(names)) for name, (path, text) in names.items()}
    reached = {name: _reachable(name, arrows) for name in arrows}
    groups = {
        tuple(sorted(other for other in reached[name] if name in reached[other]))
        for name in arrows
        if name in reached[name]
    }
    return [list(group) for group in sorted(groups)]


def _reachable(name: str, arrows: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    frontier = list(arrows[name])
    while frontier:
        here = frontier.pop()
        if here not in seen:
            seen.add(here)
            frontier += arrows[here]
    return seen


def main(packages: tuple[str, ...]) -> None:
    """Print the figures."""
    files = modules(packages or PACKAGES)
    lengths = [(n, f"{path}:{name}") for path, text in files.items() for name, n in functions(text)]
    largest = sorted(((text.count("\n"), str(path)) for path, text in files.items()), reverse=True)
    print(f"lines: {sum(n for n, _ in largest):,} in {len(files)} modules")
    print("largest modules:", ", ".join(f"{path} {n}" for n, path in largest[:6]))
    print(
        f"functions: {len(lengths):,}, median {statistics.median(n for n, _ in lengths)} lines of code"
    )
    print("longest functions:", ", ".join(f"{name} {n}" for n, name in sorted(lengths)[:-7:-1]))
    print("uses of Any:", sum(uses_of_any(text) for text in files.values()))
    print("private helpers used once:", sum(map(private_helpers_used_once, files.values())))
    print("circles:", circles(files) or "none")


if __name__ == "__main__":
    main(tuple(sys.argv[1:]))
