"""What the documentation says of the code."""

import ast
import doctest
import functools
import importlib
import importlib.util
import re
import runpy
import shutil
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from sitegen.terms import ROW, glossary
from sitegen.theory import REFERENCE
from tests.pages import Reader, blocks_of, unrun
from tsmg.testing import check_game

ROOT = Path(__file__).parent.parent
WRITTEN = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard", "docs/*.md"],
    cwd=ROOT,
    check=True,
    capture_output=True,
    text=True,
)
PAGES = [ROOT / name for name in sorted(WRITTEN.stdout.split())]  # none that the site generates
READ = [*PAGES, *sorted(ROOT.glob("*.md"))]
FORMALISM = [
    page for page in PAGES if re.match(r"index|\d\d_", page.name) and page.parent.name == "theory"
]
DATA = re.compile(r"\]\((\w+\.csv)\)")
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


@functools.cache
def names_of(folder: Path) -> dict[str, Any]:
    """What the examples of a folder's pages begin with: the names of its running example, if it has one."""
    file = folder / "running_example.py"
    return runpy.run_path(str(file)) if file.is_file() else {}


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], Reader]]:
    """Makes a reader of a page, in a folder of its own with an empty cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("TSMG_CACHE", str(tmp_path / "cache"))
    before = set(sys.modules)
    yield lambda page: Reader(tmp_path, names_of(page.parent))
    for name in set(sys.modules) - before:
        if (tmp_path / f"{name}.py").is_file():
            del sys.modules[name]


def runs(page: Path) -> bool:
    return any(b.is_code and not b.reason for b in blocks_of(page.read_text(encoding="utf-8")))


SLOW = {
    "define_a_game",
    "experiment",
    "laboratory",
    "messages",
}  # checks of many games, runs and estimators
RUN = [
    pytest.param(page, id=page.stem, marks=[pytest.mark.slow] if page.stem in SLOW else [])
    for page in filter(runs, READ)
]


@pytest.mark.parametrize("page", RUN)
def test_the_blocks_of_a_page_run(page: Path, reader: Callable[[Path], Reader]) -> None:
    text = page.read_text(encoding="utf-8")
    reading = reader(page)
    for data in DATA.findall(text):
        shutil.copy(page.parent / data, reading.folder)
    assert reading.run(page.name, text) >= 1
    in_blocks = "".join(block.code for block in blocks_of(text))
    assert in_blocks.count(">>> ") == text.count(">>> ")  # examples outside of blocks would be lost


@pytest.mark.parametrize("page", READ, ids=lambda p: p.stem)
def test_every_block_of_a_page_is_run_or_says_why_not(page: Path) -> None:
    assert unrun(page.read_text(encoding="utf-8")) == []


def test_what_a_page_does_not_run_is_noticed() -> None:
    mark = "<!-- not run: it needs a server -->\n"
    assert unrun("```python\nx = 1\n```\n```{toctree}\na\n```\n```sh\ntsmg games\n```\n") == []
    assert unrun(f"{mark}```text\nx\n```\n") == []
    assert unrun("```text\nx\n```\n") == ["line 1: text"]
    assert unrun("```\nx\n```\n") == ["line 1: no language"]
    assert unrun("~~~yaml\nx\n~~~\n") == ["line 1: yaml"]
    assert unrun("- a list\n\n  ```text\n  x\n  ```\n") == ["line 3: text"]
    assert unrun("So:\n\n    x = 1\n") == ["line 3: indented"]
    lost = ["a mark without a block or a reason"]
    assert unrun("<!-- not run: -->\n```python\nx\n```\n") == lost
    assert unrun(f"{mark}\n```python\nx\n```\n") == lost


@pytest.mark.parametrize(
    "wrong",
    [
        "```python\n>>> 1 + 1\n3\n```\n",
        "```python\nassert 1 > 2\n```\n",
        "```console\n$ tsmg --version\ntsmg, version 0.0.7\n```\n",
        "```console\n$ tsmg play --game LineWalk-v0 --seed 0\n...\nwalker> left\n...\nreturn 1\n```\n",
        "```sh\ntsmg check nobody:Game\n```\n",
        "```sh\nrm -r nothing\n```\n",
    ],
)
def test_a_block_that_says_another_thing_fails(
    wrong: str, reader: Callable[[Path], Reader]
) -> None:
    with pytest.raises(AssertionError):
        reader(ROOT / "docs" / "wrong.md").run("wrong", wrong)


def test_names_files_and_answers_last_for_a_page(reader: Callable[[Path], Reader]) -> None:
    page = (
        "```python\n# theirs.py\nx = 1\n```\n```python\n# theirs.py, continued\ny = x + 1\n```\n"
        "```python\nimport theirs\n```\n```python\n>>> theirs.y\n2\n```\n"
        "```console\n$ tsmg play --game LineWalk-v0 --set length=2\n...\nwalker> right\n...\n"
        "walker: terminated, return 1\n```\n"
    )
    assert reader(ROOT / "docs" / "right.md").run("right", page) == 5


# ---- what pages refer to ---------------------------------------------------------------------

PROVED = re.compile(r"`tsmg prove --only ([^`]+)`")
DOTTED = re.compile(r"`((?:tsmg|lap|algorithms|games|proofs)(?:\.[A-Za-z_]\w*)+)`")
ENTRY_POINTS = {
    "tsmg.backends",
    "tsmg.commands",
    "tsmg.games",
}  # groups of entry points, no modules
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
    value: Any = importlib.import_module(package)
    for n, part in enumerate(path):
        module = ".".join([package, *path[: n + 1]])
        fields = getattr(value, "__annotations__", {})
        if hasattr(value, part):
            value = getattr(value, part)
        elif part in fields:
            value = fields[part]
        elif isinstance(value, types.ModuleType) and importlib.util.find_spec(module):
            value = importlib.import_module(module)
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
    assert undefined("`tsmg.Episode.start`, `algorithms.method.credit.reward_to_go_credit`") == []
    assert undefined("`tsmg.Episode.begin`, `lap.nothing`") == ["tsmg.Episode.begin", "lap.nothing"]
    assert unlinked(PAGES[0], "[a](style.md) [b](https://x.org) [c](none.md#d)") == ["none.md"]


# ---- the notation: every axis is in its table --------------------------------------------------

SUFFIXES = re.compile(r"^_?[a-z]\w*?((?:_[A-Z])+)$")
PACKAGES = ("tsmg", "lap", "algorithms", "games", "proofs", "examples")


def axes(source: str) -> set[str]:
    """The axis suffixes of the variables, arguments and attributes that a source names."""
    names = {
        name
        for node in ast.walk(ast.parse(source))
        for name in (
            getattr(node, "id", None),
            getattr(node, "arg", None),
            getattr(node, "attr", None),
        )
        if isinstance(name, str)
    }
    endings = [match[1] for name in names if (match := SUFFIXES.match(name))]
    return {suffix for suffixes in endings for suffix in re.findall("_[A-Z]", suffixes)}


def test_every_axis_suffix_is_in_the_notation() -> None:
    page = (ROOT / "docs/theory/notation.md").read_text(encoding="utf-8")
    table = page.partition("## Axis suffixes")[2]
    known = {
        name
        for row in re.findall(r"^\| (`.*?) \|", table, re.M)
        for name in re.findall("_[A-Z]", row)
    }
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    used = {suffix for file in files for suffix in axes(file.read_text(encoding="utf-8"))}
    assert used - known == set()
    assert len(known) > 10


def test_axis_suffixes_are_read_from_names() -> None:
    source = "def f(x_B, *, rows_T_L): return self.mean_D + 'text_Q' + CONSTANT_Z + T_G\n"
    assert axes(source) == {"_B", "_T", "_L", "_D"}


# ---- the glossary: every term has a page and a name in the code ---------------------------------


def rows_of(glossary: str) -> int:
    """How many terms a glossary has, whether their rows are whole or not."""
    return len(re.findall(r"^\| ", glossary, re.MULTILINE)) - 1  # the head


def test_every_term_of_the_glossary_has_a_page_and_a_name() -> None:
    text = glossary()
    terms = ROW.findall(text)
    assert len(terms) == rows_of(text) > 30
    assert [name for _, _, name in terms if not is_defined(name)] == []
    assert [
        to for _, to, _ in terms if not (ROOT / "docs/theory" / to.split("#")[0]).is_file()
    ] == []
    names = [term.lower() for term, _, _ in terms]
    assert names == sorted(set(names))


def test_a_term_without_a_page_or_a_name_is_noticed() -> None:
    head = "| term | meaning | symbol | page | name |\n|---|---|---|---|---|\n"
    whole = "| role | An agent. | i | [4](a.md) | `tsmg.Match` |\n"
    assert ROW.findall(head + whole) == [("role", "a.md", "tsmg.Match")]
    assert rows_of(head + whole) == 1
    assert ROW.findall(head + whole.replace("[4](a.md)", "4")) == []
    assert ROW.findall(head + whole.replace("`tsmg.Match`", "")) == []


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
    """A page without its examples, its displayed equations, and references to what is numbered."""
    return REFERENCE.sub("", re.sub(r"```.*?```|\$\$.*?\$\$", "", text, flags=re.DOTALL))


def values_of(text: str) -> set[Fraction]:
    return {Fraction(number) for number in NUMBER.findall(text)}


def unexecuted(text: str) -> list[str]:
    """The fractions and decimals in a page's prose that neither stand in an example nor come out of one."""
    examples = doctest.DocTestParser().get_examples(text)
    executed = [re.sub(r"#.*", "", example.source) + example.want for example in examples]
    shown = values_of("\n".join(executed))
    return sorted(str(value) for value in values_of(prose_of(text)) - shown)


@pytest.mark.parametrize("page", FORMALISM, ids=lambda p: p.stem)
def test_every_equation_and_every_number_has_a_check(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert unlabelled(text) == 0
    assert unchecked(text) == []
    assert unexecuted(text) == []


@pytest.mark.parametrize("page", ["how_to/choosing.md", "theory/experiment.md"])
def test_every_number_comes_out_of_an_example(page: str) -> None:
    assert unexecuted((ROOT / "docs" / page).read_text(encoding="utf-8")) == []


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


FAULT_PARTS = ("In the metrics.", "Here.", "Test.")


def unguarded(page: str) -> list[str]:
    """The faults of the page that lack a part or a test."""
    sections = re.split(r"^##+ ", page, flags=re.MULTILINE)
    faults = [section for section in sections if re.match(r"\d+\. ", section)]
    return [
        fault.partition("\n")[0]
        for fault in faults
        if not all(f"- **{part}**" in fault for part in FAULT_PARTS)
        or not NAMED.findall(fault.partition("- **Test.**")[2])
    ]


def test_every_known_fault_has_its_signs_and_its_test() -> None:
    page = (ROOT / "docs/reference/faults.md").read_text(encoding="utf-8")
    numbers = re.findall(r"^### (\d+)\. ", page, re.MULTILINE)
    assert [int(number) for number in numbers] == list(range(1, 16))
    assert unguarded(page) == []


def test_a_fault_without_a_sign_or_a_test_is_noticed() -> None:
    whole = "### 1. A\n- **In the metrics.** x\n- **Here.** y\n- **Test.** `tests/test_docs.py`\n"
    assert unguarded(whole) == []
    assert unguarded(whole.replace("- **Here.** ", "")) == ["1. A"]
    assert unguarded(whole.replace("`tests/test_docs.py`", "by construction")) == ["1. A"]


def the_documented_game(
    name: str, change: tuple[str, str] = ("", ""), page_name: str = "tutorials/define_a_game.md"
) -> tuple[str, Any]:
    """The file of a page that grows a game, and the class of that name, perhaps with a mistake planted."""
    page = (ROOT / "docs" / page_name).read_text(encoding="utf-8")
    heads = tuple(f"# {name.lower()}.py{more}" for more in ("", ", continued"))
    parts = [block.code for block in blocks_of(page) if block.code.startswith(heads)]
    code = "\n".join(part.partition("\n")[2] for part in parts)
    assert change[0] in code
    module = types.ModuleType(name.lower())
    sys.modules[name.lower()] = module
    exec(compile(code.replace(*change), f"{name.lower()}.py", "exec"), vars(module))
    return code, getattr(module, name)


@pytest.mark.parametrize(("name", "lines"), [("Dial", 60), ("Countdown", 40)])
def test_the_documented_games_are_short_and_conformant(name: str, lines: int) -> None:
    code, game = the_documented_game(name)
    assert len(code.splitlines()) <= lines
    check_game(game, max_examples=30).raise_if_broken()


def test_the_documented_dialogue_is_short_and_its_mistakes_are_named() -> None:
    """The page itself checks it; a player that says too much breaks several rules."""
    make = functools.partial(the_documented_game, "Appointment", page_name="tutorials/messages.md")
    code, _ = make()
    assert len(code.splitlines()) <= 60
    for change, rule in (
        (("I am free on", "In the week that is to come I am free on"), "success"),
        (("return Teller(agents=self.agents)", "return None"), "whole-episodes"),
        (("),) * 2", "),) * 3"), "rewards"),
    ):
        assert rule in check_game(make(change)[1], max_examples=4, rules=[rule]).broken


@pytest.mark.parametrize(
    ("name", "change", "rule"),
    [
        ("Countdown", ("state[HEAP]} left", "state[HEAP] % 5} left"), "text-separates-states"),
        ("Countdown", ("(-1.0, 1.0)", "(-1.0, 0.0)"), "zero-sum"),
        ("Countdown", ("return str(action)", 'return "one"'), "action-round-trip"),
        ("Dial", ("{state[0]}, lock", "{state[0] % 5}, lock"), "text-separates-states"),
        ("Dial", ('"up" if', '"Down" if'), "action-round-trip"),
        ("Dial", ("0.65, -nearer: 0.35", "0.65, 2 * nearer: 0.35"), "scripted-player"),
    ],
)
def test_mistakes_in_the_documented_games_are_named(
    name: str, change: tuple[str, str], rule: str
) -> None:
    _, game = the_documented_game(name, change)
    assert rule in {v.rule for v in check_game(game, max_examples=30).violations}
