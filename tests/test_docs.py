"""What the documentation says of the code."""

import re
from pathlib import Path

import pytest

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


def test_a_test_that_does_not_exist_is_noticed() -> None:
    assert missing("`tests/test_docs.py::missing`") == []
    assert missing("`tests/test_docs.py::test_nothing`") == ["tests/test_docs.py::test_nothing"]
    assert missing("`tests/test_none.py`") == ["tests/test_none.py::"]
