"""The statements: a family is a file, or a folder where one file would be too long."""

import importlib
import pkgutil

from proofs.statement import AnyStatement, Statement


def all_statements() -> tuple[AnyStatement, ...]:
    """Every statement, family by family, in the order of their files."""
    names = sorted(m.name for m in pkgutil.walk_packages(__path__, f"{__name__}."))
    return tuple(
        value
        for name in names
        for value in vars(importlib.import_module(name)).values()
        if isinstance(value, Statement) and value.sides.__module__ == name
    )
