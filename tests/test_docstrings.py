"""Every public class, function and method has a docstring, unless it refines an inherited one.

Docstrings are read from the source: typeguard drops those of empty functions.
"""

import ast
import doctest
import importlib
import inspect
import pkgutil
import types
from collections.abc import Iterator

import pytest

PACKAGES = ("tsmg", "lap", "algorithms", "games", "proofs")


def _modules(package: str) -> Iterator[types.ModuleType]:
    root = importlib.import_module(package)
    yield root
    for info in pkgutil.walk_packages(root.__path__, f"{package}."):
        if not any(part.startswith("_") for part in info.name.split(".")):
            yield importlib.import_module(info.name)


def _definitions(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node


def undocumented(module: types.ModuleType, source: str) -> list[str]:
    """Public names that the source defines without a docstring."""
    tree = ast.parse(source)
    missing = [] if ast.get_docstring(tree) else [module.__name__]
    for node in _definitions(tree.body):
        if not ast.get_docstring(node):
            missing.append(f"{module.__name__}.{node.name}")
        if isinstance(node, ast.ClassDef):
            bases = vars(module)[node.name].__mro__[1:]
            missing.extend(
                f"{module.__name__}.{node.name}.{method.name}"
                for method in _definitions(node.body)
                if not ast.get_docstring(method)
                and not any(hasattr(base, method.name) for base in bases)
            )
    return missing


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_have_docstrings(package: str) -> None:
    missing = [
        name
        for module in _modules(package)
        for name in undocumented(module, inspect.getsource(module))
    ]
    assert missing == []


# The modules whose functions are formulas: docs/style.md says what is due there.
FORMULAS = (
    "algorithms.method.advantages",
    "algorithms.method.credit",
    "algorithms.method.episode_credit",
    "algorithms.method.episode_sampling",
    "algorithms.method.first_draw",
    "algorithms.method.importance",
    "algorithms.method.inclusion",
    "algorithms.method.losses",
    "algorithms.method.ratios",
    "algorithms.method.max_variance",
    "algorithms.method.risk_bundles",
    "algorithms.method.shared_steps",
    "algorithms.method.subgoal_credit",
    "algorithms.method.surprise",
    "algorithms.method.weighting",
    "proofs.exact.values",
)


def unexplained(name: str, source: str) -> list[str]:
    """Public functions of formulas that lack a source, or an example that calls them and shows a result."""
    tree = ast.parse(source)
    module_text = ast.get_docstring(tree) or ""
    problems = []
    for node in _definitions(tree.body):
        if not isinstance(node, ast.FunctionDef):
            continue
        own = ast.get_docstring(node) or ""
        examples = doctest.DocTestParser().get_examples(f"{module_text}\n\n{own}")
        calls = [n for n, example in enumerate(examples) if f"{node.name}(" in example.source]
        called = calls and any(example.want for example in examples[calls[0] :])
        problems += [] if called else [f"{name}.{node.name}: no example"]
        problems += [] if "Source: " in module_text + own else [f"{name}.{node.name}: no source"]
    return problems


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_have_an_example_and_a_source(name: str) -> None:
    module = importlib.import_module(name)
    assert unexplained(name, inspect.getsource(module)) == []


def test_missing_examples_and_sources_are_found() -> None:
    source = '''
def told():
    """Source: ours.

    Example:
      >>> told()
      1
    """
def bare():
    """Example:
      >>> told()
      1
    """
def silent():
    """Source: ours.

    >>> silent()
    """
'''
    assert unexplained("m", source) == [
        "m.bare: no example",
        "m.bare: no source",
        "m.silent: no example",
    ]
    assert unexplained("m", f'"""Source: ours.\n\n>>> bare(), silent()\n(1, 2)\n"""{source}') == []


def test_missing_docstrings_are_found() -> None:
    source = '''
"""A module."""
def bare(): pass
def told(): "Told."
class Base:
    "A base."
    def refined(self): "Told."
    def silent(self): pass
    @property
    def value(self): return 1
class Derived(Base):
    def refined(self): pass
'''
    module = types.ModuleType("planted")
    exec(source, vars(module))
    assert undocumented(module, source) == [
        "planted.bare",
        "planted.Base.silent",
        "planted.Base.value",
        "planted.Derived",
    ]
