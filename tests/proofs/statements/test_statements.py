"""Every statement of the library holds, and the page of statements lists them."""

from pathlib import Path

import pytest

from proofs.proving import listing, prove
from proofs.statement import AnyStatement
from proofs.statements import all_statements

SLOW = (
    "memory can gain where another agent remembers",
    "the score of an episode is the sum over its tokens",
)


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(
            s, id=f"{s.family}: {s.name}", marks=[pytest.mark.slow] if s.name in SLOW else []
        )
        for s in all_statements()
    ],
)
def test_it_holds(statement: AnyStatement) -> None:
    """With few drawn cases; ``tsmg prove`` draws more."""
    outcome = prove(statement, sweep=2)
    assert outcome.holds, outcome


def test_the_list_is_in_order() -> None:
    statements = all_statements()
    assert len({(s.family, s.name) for s in statements}) == len(statements) >= 25
    for statement in statements:
        assert "Source:" in statement.claim, statement.name
        assert statement.fault and len(set(statement.routes)) == 2, statement.name


def test_the_page_lists_them() -> None:
    page = Path(__file__).parents[3] / "docs/theory/statements.md"
    assert page.read_text().endswith(listing(all_statements())), "tsmg prove --list"
