r"""The numbered definitions, theorems and equations of the theory: where each stands, and what refers to it.

A number is written where its object stands, and never moves: ``\tag{8.3}`` in a displayed equation, and
``**Theorem 8.3 (its title).**`` at the head of a claim. The first part is the number of the page. What is added later
takes the next free number of its page. A reference is the plain text "Equation 8.3", in a page or in the ``Theory:``
line of a docstring; the site makes a link of it.
"""

import ast
import functools
import os.path
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from sitegen.api import PACKAGES, aliases

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
# Below ``docs``, what the site generates: no page of it is written, and none counts as referring to the theory.
GENERATED = (
    "_build/",
    "project/",
    "reference/api/",
    "reference/games/",
    "reference/cite.md",
    "reference/command_line.md",
    "reference/settings.md",
    "reference/theory.md",
)
REFERENCE = re.compile(r"\b(Definition|Theorem|Proposition|Equation) (\d+\.\d+)\b")
LABELLED = re.compile(r"^\$\$\n((?:(?!^\$\$).)*)^\$\$ \((eq-[\w-]+)\)$", re.MULTILINE | re.DOTALL)
TAG = re.compile(r"\s*\\tag\{(\d+\.\d+)\}")
CLAIM = re.compile(
    r"^\*\*((?:Definition|Theorem|Proposition) \d+\.\d+) \((.+?)\)\.\*\*", re.MULTILINE
)
THEORY = re.compile(r"^ *Theory: (.+?)\.$", re.MULTILINE)


@attrs.frozen(kw_only=True)
class Numbered:
    """Something that can be cited.

    Attributes:
      name: with its number, as ``Theorem 8.3``.
      title: what it is about, in words.
      page: its page below ``docs``, without the ending.
      anchor: its place on the page.
      label: of an equation, as its page names it, ``eq-aaw``; else empty.
    """

    name: str
    title: str
    page: str
    anchor: str
    label: str = ""


@functools.cache
def written_pages() -> Mapping[str, str]:
    """The pages that are written by hand, by their paths below ``docs``, with their texts."""
    files = {file.relative_to(DOCS).as_posix(): file for file in sorted(DOCS.rglob("*.md"))}
    return {
        path: file.read_text(encoding="utf-8")
        for path, file in files.items()
        if not path.startswith(GENERATED)
    }


@functools.cache
def theory_pages() -> Mapping[str, str]:
    """The pages whose names begin with a number, below ``docs`` and without the ending, to their texts."""
    return {
        path.removesuffix(".md"): text
        for path, text in written_pages().items()
        if re.match(r"\d\d_", Path(path).name)
    }


def numbered_in(page: str, text: str) -> list[Numbered]:
    """What a page numbers, in its order, claims first. An equation without a tag has the name ``Equation``."""
    claims = [
        Numbered(name=name, title=title, page=page, anchor=anchor_of(name))
        for name, title in CLAIM.findall(text)
    ]
    return claims + [
        Numbered(
            name=f"Equation {tag[1]}" if (tag := TAG.search(formula)) else "Equation",
            title=label.removeprefix("eq-").replace("-", " "),
            page=page,
            anchor=f"equation-{label}",
            label=label,
        )
        for formula, label in LABELLED.findall(text)
    ]


def anchor_of(name: str) -> str:
    """The anchor of a claim on its page."""
    return name.lower().replace(" ", "-").replace(".", "-")


@functools.cache
def numbered() -> Mapping[str, Numbered]:
    """All that is numbered, by name."""
    return {
        one.name: one for page, text in theory_pages().items() for one in numbered_in(page, text)
    }


def misnumbered(pages: Mapping[str, str]) -> list[str]:
    """What is wrong with the numbers of pages: one that is doubled, missing, skipped, or of another page."""
    problems = []
    for page, text in pages.items():
        first = int(Path(page).name[:2])
        names = [one.name for one in numbered_in(page, text)]
        for kind in ("Definition", "Theorem", "Proposition", "Equation"):
            of_kind = [name for name in names if name.startswith(kind)]
            expected = [f"{kind} {first}.{n + 1}" for n in range(len(of_kind))]
            problems += [f"{page}: {x}" for x in sorted(set(of_kind) ^ set(expected))]
    return problems


def references_in(text: str) -> list[str]:
    """The names of what a text refers to, each once; the heads of claims are no references."""
    plain = CLAIM.sub("", text)
    return list(dict.fromkeys(" ".join(match) for match in REFERENCE.findall(plain)))


@functools.cache
def docstring_references() -> Mapping[str, tuple[str, ...]]:
    """Dotted names of modules, classes and functions to what their docstrings' ``Theory:`` lines name."""
    files = (file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py")))
    found: dict[str, tuple[str, ...]] = {}
    for file in files:
        source = file.read_text(encoding="utf-8")
        if "Theory: " in source:
            module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            found |= references_of(module.removesuffix(".__init__"), source)
    return found


def references_of(module: str, source: str) -> dict[str, tuple[str, ...]]:
    """As ``docstring_references``, for the source of one module."""
    lines = {
        name: THEORY.findall(ast.get_docstring(node) or "")
        for name, node in _documented(module, ast.parse(source))
    }
    return {name: tuple(", ".join(found).split(", ")) for name, found in lines.items() if found}


Documented = ast.Module | ast.ClassDef | ast.FunctionDef


def _documented(name: str, node: Documented) -> Iterator[tuple[str, Documented]]:
    yield name, node
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef):
            yield from _documented(f"{name}.{child.name}", child)


@functools.cache
def users() -> Mapping[str, tuple[str, ...]]:
    """What refers to each numbered object, as Markdown: code in backquotes, pages as paths below ``docs``."""
    found: dict[str, list[str]] = {name: [] for name in numbered()}
    for where, names in docstring_references().items():
        for name in names:
            found.setdefault(name, []).append(f"`{where}`")
    for path, text in written_pages().items():
        for name in references_in(text):
            found.setdefault(name, []).append(path)
    return {name: tuple(dict.fromkeys(where)) for name, where in found.items()}


def shown_user(user: str, page: str) -> str:
    """One of ``users`` as a file below ``docs`` shows it: code in backquotes, a page as a link."""
    if user.startswith("`"):
        return user
    title = written_pages()[user].partition("\n")[0].removeprefix("# ")
    return f"[{title}]({os.path.relpath(user, Path(page).parent)})"


def back_links(page: str, text: str) -> str:
    """A section that lists, for each number of a page, the code and the other pages that refer to it."""
    rows = []
    for one in numbered_in(page, text):
        used = [shown_user(user, page) for user in users()[one.name] if user != f"{page}.md"]
        rows += [f"| {one.name} | {', '.join(used)} |"] if used else []
    head = ["", "## What refers to this page", "", "| here | referred to by |", "|---|---|"]
    return "\n".join([*head, *rows, ""]) if rows else ""


def code_rows(names: list[str]) -> list[tuple[str, str]]:
    """Dotted names of functions and classes, each with the file and the lines in which it stands.

    Raises:
      KeyError: there is no such function or class.
    """
    return [(name, _place_of(name)) for name in names]


def _place_of(name: str) -> str:
    owner, _, last = name.rpartition(".")
    full = aliases().get(name) or f"{aliases()[owner]}.{last}"
    parts = full.split(".")
    files = {n: ROOT.joinpath(*parts[:n]).with_suffix(".py") for n in range(1, len(parts))}
    for count, file in files.items():
        if file.is_file():
            module = ".".join(parts[:count])
            tree = ast.parse(file.read_text(encoding="utf-8"))
            node = dict(_documented(module, tree))[full]
            if not isinstance(node, ast.Module):
                return f"{file.relative_to(ROOT)}, lines {node.lineno} to {node.end_lineno}"
    raise KeyError(name)
