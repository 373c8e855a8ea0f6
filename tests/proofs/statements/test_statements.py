"""Every statement of the library holds, and the page of statements lists them."""

from pathlib import Path

import pytest

from proofs.proving import listing, prove
from proofs.statement import AnyStatement
from proofs.statements import all_statements


@pytest.mark.parametrize("statement", all_statements(), ids=lambda s: f"{s.family}: {s.name}")
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
    page = Path(__file__).parents[3] / "docs" / "statements.md"
    assert page.read_text().endswith(listing(all_statements())), "tsmg prove --list"
