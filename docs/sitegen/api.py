"""The names that the modules define, and where each is described."""

import ast
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import attrs

PACKAGES = ("tsmg", "lap", "algorithms", "games", "proofs")


@attrs.frozen(kw_only=True)
class Name:
    """A public name of a module, as its source defines it.

    Attributes:
      name: without the module.
      kind: ``class``, ``function`` or ``data``.
      summary: the first line of its docstring, perhaps empty.
      doc: the docstring, for data.
      value: of data, as the source has it.
    """

    name: str
    kind: str
    summary: str
    doc: str = ""
    value: str = ""


@functools.cache
def module_names() -> tuple[str, ...]:
    """All public modules, packages included."""
    return tuple(name for package in PACKAGES for name in _walk(package))


def _walk(package: str) -> Iterator[str]:
    yield package
    root = importlib.import_module(package)
    for info in pkgutil.walk_packages(root.__path__, f"{package}."):
        if not any(part.startswith("_") for part in info.name.split(".")):
            yield info.name


@functools.cache
def public_names(module: str) -> tuple[Name, ...]:
    """What a module itself defines; imported names and type variables left out."""
    return tuple(names_in(inspect.getsource(importlib.import_module(module))))


def names_in(source: str) -> list[Name]:
    """The public names that a source defines, in its order."""
    body = ast.parse(source).body
    names = []
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            kind = "class" if isinstance(node, ast.ClassDef) else "function"
            names.append(Name(name=node.name, kind=kind, summary=first_line(_doc(node))))
        elif isinstance(node, ast.Assign | ast.AnnAssign) and not _is_type_variable(node.value):
            doc = _string(after)
            value = ast.unparse(node.value) if node.value else ""
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [
                Name(name=name, kind="data", summary=first_line(doc), doc=doc, value=value)
                for target in targets
                for name in _targets(target)
            ]
    return [name for name in names if not name.name.startswith("_")]


def _doc(node: ast.ClassDef | ast.FunctionDef) -> str:
    return ast.get_docstring(node) or ""


def first_line(doc: str) -> str:
    """The first line of a docstring."""
    return doc.partition("\n")[0]


def _is_type_variable(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Call) and ast.unparse(value.func) in ("TypeVar", "ParamSpec")


def _string(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return inspect.cleandoc(str(node.value.value))
    return ""


def _targets(target: ast.expr) -> Iterator[str]:
    if isinstance(target, ast.Name):
        yield target.id
    elif isinstance(target, ast.Tuple):
        for part in target.elts:
            yield from _targets(part)


@functools.cache
def exported(package: str) -> tuple[str, ...]:
    """``__all__`` of a package; nothing where it has none."""
    return tuple(getattr(importlib.import_module(package), "__all__", ()))


@functools.cache
def home(package: str, name: str) -> str | None:
    """The module that defines a name that a package exports."""
    value = getattr(importlib.import_module(package), name)
    for module in module_names():
        is_here = name in {n.name for n in public_names(module)}
        if is_here and getattr(importlib.import_module(module), name) is value:
            return module
    return None


@functools.cache
def aliases() -> dict[str, str]:
    """Dotted names by which a reader may call something, to where it is described."""
    homes = {module: module for module in module_names()}
    for module in module_names():
        homes.update({f"{module}.{n.name}": f"{module}.{n.name}" for n in public_names(module)})
        for name in exported(module):
            where = home(module, name)
            if where:
                homes[f"{module}.{name}"] = f"{where}.{name}"
    return homes


def page_of(module: str) -> str:
    """The page of a module."""
    return f"reference/api/{module}.rst"


def escaped(line: str) -> str:
    """A line of a docstring as reStructuredText: only literals and emphasis keep their meaning."""
    parts = line.split("``")
    return "``".join(p if i % 2 else _plain(p) for i, p in enumerate(parts))


def _plain(text: str) -> str:
    out = []
    for i, c in enumerate(text):
        after = text[i + 1 : i + 2]
        before = text[i - 1 : i] if i else ""
        emphasis = c == "*" and (
            (after.isalpha() and text.find("*", i + 1) > 0 and not before.isalnum())
            or (before.isalpha() and "*" in text[: i - 1] and not after.isalnum())
        )
        special = c in "|`\\" or (c == "*" and not emphasis)
        reference = c == "_" and before.isalnum() and not after.isalnum() and after != "_"
        out.append(f"\\{c}" if special or reference else c)
    return "".join(out)
