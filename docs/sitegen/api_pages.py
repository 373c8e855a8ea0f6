"""API pages: one for each package and each module with public names, as reStructuredText for autodoc."""

import importlib
import inspect
import re
import types
from collections.abc import Iterable, Iterator
from typing import Any

from sitegen.api import Name, escaped, exported, first_line, home, page_of, public_names
from sitegen.public import public, public_modules

SHORT = 100  # longer values of constants are left out


def described(pages: dict[str, str]) -> set[str]:
    """The full names that some page describes, as their directives say."""
    described_names = set()
    for text in pages.values():
        described_names |= {
            match[1] for match in re.finditer(r"^\.\. auto\w+:: (\S+)$", text, re.M)
        }
        data = re.finditer(r"^\.\. py:data:: (\w+)\n   :module: (\S+)$", text, re.M)
        described_names |= {f"{match[2]}.{match[1]}" for match in data}
    return described_names


def undescribed(pages: dict[str, str], module: str, names: Iterable[str]) -> list[str]:
    """The public names of a module, or exported by a package, that no page describes."""
    on_pages = described(pages)
    return [
        f"{module}.{name}"
        for name in names
        if f"{module}.{name}" not in on_pages
        and f"{home(module, name) if hasattr(importlib.import_module(module), name) else None}.{name}"
        not in on_pages
    ]


def api_pages() -> dict[str, str]:
    """Path to text, for every module with public names and the packages above it."""
    return {page_of(module): "\n".join(_page(module)) + "\n" for module in public_modules()}


def _page(module: str) -> Iterator[str]:
    title, above = f"``{module}``", module.rpartition(".")[0]
    yield from ((":orphan:", "") if above else ())  # the page above lists it, the contents do not
    yield from (title, "=" * len(title), "", f".. automodule:: {module}", "")
    yield from ((f"Part of :doc:`{above} <{above}>`.", "") if above else ())
    if exported(module):
        yield from _table("Public names", [_row(module, name) for name in exported(module)])
    if below := children(module):
        rows = [(f":doc:`{m} <{m}>`", _module_summary(m)) for m in below]
        yield from _table("Modules", rows)
    names = [name for name in public_names(module) if f"{module}.{name.name}" in public()]
    if exported(module) and names:
        yield from ("Defined here", "-" * 12, "")
    for name in names:
        yield from _directive(module, name)


def children(module: str) -> list[str]:
    """The modules one level below that have public names."""
    return [m for m in public_modules() if m.rpartition(".")[0] == module]


def _module_summary(module: str) -> str:
    return first_line(importlib.import_module(module).__doc__ or "")


def _row(package: str, name: str) -> tuple[str, str]:
    where = home(package, name)
    summary = next((n.summary for n in public_names(where or package) if n.name == name), "")
    return f":py:obj:`{name} <{where}.{name}>`", summary


def _table(title: str, rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield from (title, "-" * len(title), "", ".. list-table::", "   :widths: 30 70", "")
    for left, right in rows:
        yield from (f"   * - {left}", f"     - {escaped(right)}")
    yield ""


def _directive(module: str, name: Name) -> Iterator[str]:
    full = f"{module}.{name.name}"
    value = getattr(importlib.import_module(module), name.name)
    if name.kind == "class":
        yield from (f".. autoclass:: {full}", "   :members:")
        yield from (*(["   :show-inheritance:"] if _has_parents(value) else []), "")
    elif name.kind == "function" and _is_function(value):
        yield from (f".. autofunction:: {full}", "")
    else:
        yield from (f".. py:data:: {name.name}", f"   :module: {module}")
        if name.value and len(name.value) < SHORT:
            yield f"   :value: {name.value}"
        doc = name.doc or (name.summary if name.kind == "function" else "")
        yield from ("", *(f"   {escaped(line)}" for line in doc.splitlines()), "")


def _has_parents(value: type) -> bool:
    return any(base.__module__ != "typing" and base is not object for base in value.__bases__)


def _is_function(value: Any) -> bool:
    return isinstance(inspect.unwrap(value), types.FunctionType)
