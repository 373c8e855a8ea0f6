"""What the documentation says of the code."""

import doctest
import functools
import importlib
import importlib.util
import re
import runpy
import sys
import types
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tsmg.testing import check_game

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))
FORMALISM = [page for page in PAGES if page.parent.name == "formalism"]
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)


def missing(text: str) -> list[str]:
    """The tests that a page names and that do not exist."""
    return [
        f"{file}::{name}"
        for file, name in NAMED.findall(text)
        if not (ROOT / file).is_file()
        or (name and f"def {name}(" not in (ROOT / file).read_text(encoding="utf-8"))
    ]


@every_page
def test_the_tests_that_a_page_names_exist(page: Path) -> None:
    assert missing(page.read_text(encoding="utf-8")) == []


EXECUTED = [page for page in PAGES if ">>> " in page.read_text(encoding="utf-8")]


@functools.cache
def names_of(folder: Path) -> dict[str, Any]:
    """What the examples of a folder's pages begin with: the names of its running example, if it has one."""
    file = folder / "running_example.py"
    return runpy.run_path(str(file)) if file.is_file() else {}


@pytest.mark.parametrize("page", EXECUTED, ids=lambda p: p.stem)
def test_the_examples_of_a_page_run(page: Path) -> None:
    names = dict(names_of(page.parent))
    result = doctest.testfile(str(page), module_relative=False, globs=names, encoding="utf-8")
    assert result.attempted and not result.failed


# ---- what pages refer to ---------------------------------------------------------------------

PROVED = re.compile(r"`tsmg prove --only ([^`]+)`")
DOTTED = re.compile(r"`((?:tsmg|lap|algorithms|games|proofs)(?:\.[A-Za-z_]\w*)+)`")
ENTRY_POINTS = {"tsmg.commands"}  # a group of entry points, no module
LINKED = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


@functools.cache
def statement_names() -> tuple[str, ...]:
    from proofs.statements import all_statements

    return tuple(f"{statement.family} {statement.name}" for statement in all_statements())


def unproved(text: str) -> list[str]:
    """What a page has ``tsmg prove`` look for, and no statement is called."""
    wanted = [" ".join(only.split()).strip('"') for only in PROVED.findall(text)]
    return [only for only in wanted if not any(only in name for name in statement_names())]


def undefined(text: str) -> list[str]:
    """The dotted names of a page that stand for nothing in the code."""
    return [n for n in DOTTED.findall(text) if n not in ENTRY_POINTS and not is_defined(n)]


def is_defined(name: str) -> bool:
    """Whether a dotted name leads from a package to something in it: a module, a name, a field of a class."""
    package, *path = name.split(".")
    found: Any = importlib.import_module(package)
    for n, part in enumerate(path):
        module = ".".join([package, *path[: n + 1]])
        fields = getattr(found, "__annotations__", {})
        if hasattr(found, part):
            found = getattr(found, part)
        elif part in fields:
            found = fields[part]
        elif isinstance(found, types.ModuleType) and importlib.util.find_spec(module):
            found = importlib.import_module(module)
        else:
            return False
    return True


def unlinked(page: Path, text: str) -> list[str]:
    """The files that a page links to and that do not exist."""
    return [to for to in LINKED.findall(text) if not (page.parent / to).exists()]


@every_page
def test_what_a_page_refers_to_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert unproved(text) == []
    assert undefined(text) == []
    assert unlinked(page, text) == []


def test_what_does_not_exist_is_noticed() -> None:
    assert unproved('`tsmg prove --only "the first draw"`, `tsmg prove --only shaping`') == []
    assert unproved('`tsmg prove --only "the last draw"`') == ["the last draw"]
    assert undefined("`tsmg.Episode.start`, `algorithms.credit.to_go_credit`") == []
    assert undefined("`tsmg.Episode.begin`, `lap.nothing`") == ["tsmg.Episode.begin", "lap.nothing"]
    assert unlinked(PAGES[0], "[a](style.md) [b](https://x.org) [c](none.md#d)") == ["none.md"]


# ---- the formalism: every equation and every number has a check ------------------------------

LABELLED = re.compile(r"^\$\$ \((eq-[\w-]+)\)$", re.MULTILINE)
MENTIONED = re.compile(r"#.*?\((eq-[\w-]+)\)")
NUMBER = re.compile(r"(?<![\w./:])(?<!\w-)(\d+(?:/\d+|\.\d+))(?![\w/]|\.\d)")


def unchecked(text: str) -> list[str]:
    """The labelled equations of a page that no example checks: one with their label in a comment, and a result."""
    examples = doctest.DocTestParser().get_examples(text)
    checked = {
        label
        for example in examples
        if example.want and not example.source.lstrip().startswith("#")
        for label in MENTIONED.findall(example.source)
    }
    return sorted(set(LABELLED.findall(text)) ^ checked)


def unlabelled(text: str) -> int:
    """How many displayed equations of a page have no label."""
    return len(re.findall(r"^\$\$", text, re.MULTILINE)) - 2 * len(LABELLED.findall(text))


def prose_of(text: str) -> str:
    """A page without its examples and its displayed equations."""
    return re.sub(r"```.*?```|\$\$.*?\$\$", "", text, flags=re.DOTALL)


def values_of(text: str) -> set[Fraction]:
    return {Fraction(number) for number in NUMBER.findall(text)}


def unexecuted(text: str) -> list[str]:
    """The fractions and decimals in a page's prose that neither stand in an example nor come out of one."""
    examples = doctest.DocTestParser().get_examples(text)
    executed = [re.sub(r"#.*", "", one.source) + one.want for one in examples]
    shown = values_of("\n".join(executed))
    return sorted(str(value) for value in values_of(prose_of(text)) - shown)


@pytest.mark.parametrize("page", FORMALISM, ids=lambda p: p.stem)
def test_every_equation_and_every_number_has_a_check(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert unlabelled(text) == 0
    assert unchecked(text) == []
    assert unexecuted(text) == []


def test_every_number_of_the_advice_comes_out_of_an_example() -> None:
    assert unexecuted((ROOT / "docs" / "choosing.md").read_text(encoding="utf-8")) == []


def test_an_equation_has_one_page() -> None:
    labels = [label for page in FORMALISM for label in LABELLED.findall(page.read_text("utf-8"))]
    assert len(labels) == len(set(labels)) > 40


def test_what_is_not_checked_is_noticed() -> None:
    equation = "$$\nx = 1\n$$ (eq-one)\n\n"
    assert unchecked(equation + ">>> 2 - 1  # (eq-one)\n1\n") == []
    assert unchecked(equation + ">>> 2 - 1\n1\n") == ["eq-one"]
    assert unchecked(equation + ">>> x = 1  # (eq-one)\n") == ["eq-one"]  # no result
    assert unchecked(equation + ">>> # (eq-one)\n1\n") == ["eq-one"]  # nothing is done
    assert unchecked(">>> 2 - 1  # (eq-two)\n1\n") == ["eq-two"]  # no such equation
    assert unlabelled(equation) == 0 and unlabelled(equation + "$$\nx\n$$\n") == 2
    assert unexecuted("Half is 1/2 or 0.5.\n\n>>> 1 / 2\n0.5\n") == []
    assert unexecuted("So -1/3, (see 1.5)\n\n>>> 1\n1\n") == ["1/3", "3/2"]
    assert unexecuted("Half is 2/3.\n\n>>> 1 / 2  # 2/3\n0.5\n") == ["2/3"]


def test_a_test_that_does_not_exist_is_noticed() -> None:
    assert missing("`tests/test_docs.py::missing`") == []
    assert missing("`tests/test_docs.py::test_nothing`") == ["tests/test_docs.py::test_nothing"]
    assert missing("`tests/test_none.py`") == ["tests/test_none.py::"]


def the_documented_game(change: tuple[str, str] = ("", "")) -> tuple[str, Any]:
    """The code of the page that grows a game, and the class that it makes, perhaps with a mistake planted."""
    page = (ROOT / "docs" / "define_a_game.md").read_text(encoding="utf-8")
    code = page.partition("```python\n")[2].partition("```")[0]
    assert change[0] in code
    module = types.ModuleType("countdown")
    sys.modules["countdown"] = module
    exec(compile(code.replace(*change), "countdown.py", "exec"), vars(module))
    return code, module.Countdown  # type: ignore[attr-defined]


def test_the_documented_game_is_short_and_conformant() -> None:
    code, countdown = the_documented_game()
    assert len(code.splitlines()) <= 40
    check_game(countdown, max_examples=30).raise_if_broken()


def test_mistakes_in_the_documented_game_are_named() -> None:
    for change, rule in (
        (("state[HEAP]} left", "state[HEAP] % 5} left"), "text-separates-states"),
        (("(-1.0, 1.0)", "(-1.0, 0.0)"), "zero-sum"),
        (("return str(action)", 'return "one"'), "action-round-trip"),
    ):
        _, countdown = the_documented_game(change)
        assert rule in {v.rule for v in check_game(countdown, max_examples=30).violations}
