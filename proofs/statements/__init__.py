"""The statements, one family a file."""

import importlib
import pkgutil
from typing import Any

from proofs.statement import Statement

_HELPERS = ("by_hand", "cases")


def all_statements() -> tuple[Statement[Any], ...]:
    """Every statement, family by family."""
    families = sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in _HELPERS)
    return tuple(
        statement
        for family in families
        for statement in importlib.import_module(f"{__name__}.{family}").STATEMENTS
    )
