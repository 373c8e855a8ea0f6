"""What the documentation says of the code."""

import doctest
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from tsmg.testing import check_game

ROOT = Path(__file__).parent.parent
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def missing(text: str) -> list[str]:
    """The tests that a page names and that do not exist."""
    return [
        f"{file}::{name}"
        for file, name in NAMED.findall(text)
        if not (ROOT / file).is_file()
        or (name and f"def {name}(" not in (ROOT / file).read_text(encoding="utf-8"))
    ]


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda p: p.stem)
def test_the_tests_that_a_page_names_exist(page: Path) -> None:
    assert missing(page.read_text(encoding="utf-8")) == []


EXECUTED = [page for page in sorted((ROOT / "docs").glob("*.md")) if ">>> " in page.read_text()]


@pytest.mark.parametrize("page", EXECUTED, ids=lambda p: p.stem)
def test_the_examples_of_a_page_run(page: Path) -> None:
    result = doctest.testfile(str(page), module_relative=False)
    assert result.attempted and not result.failed


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
