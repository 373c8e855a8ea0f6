"""Imports are light, every package is shipped, and `make typed` checks types at every call."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import setuptools
import typeguard

ROOT = Path(__file__).parent.parent
SECONDS = 0.8
HEAVY = {
    "accelerate",
    "gymnasium",
    "hypothesis",
    "matplotlib",
    "numpy",
    "open_spiel",
    "pettingzoo",
    "pyspiel",
    "rich",
    "tokenizers",
    "torch",
    "transformers",
    "typeguard",
}

_REPORT = "import os, sys; {}; print(os.times().user, *(m for m in sys.modules if '.' not in m))"


def _run(statement: str) -> tuple[float, set[str]]:
    """User CPU seconds of a fresh interpreter that runs a statement, and the modules it then holds."""
    output = subprocess.run(
        [sys.executable, "-c", _REPORT.format(statement)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    return float(output[0]), set(output[1:])


@pytest.mark.parametrize("package", ["tsmg", "games"])
def test_import_is_light(package: str) -> None:
    _, modules = _run(f"import {package}")
    assert package in modules
    assert modules & HEAVY == set()


@pytest.mark.parametrize("package", ["tsmg", "games"])
def test_import_is_quick(package: str) -> None:
    """The least of some runs counts, since other work on the machine only adds to it."""
    assert any(_run(f"import {package}")[0] < SECONDS for _ in range(5))


def test_a_heavy_import_is_noticed() -> None:
    _, modules = _run("import tsmg, numpy")
    assert modules & HEAVY == {"numpy"}


def test_every_package_is_listed_and_typed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    listed = set(
        setuptools.find_packages(str(ROOT), include=settings["packages"]["find"]["include"])
    )
    roots = {name for name in listed if "." not in name}
    found = {
        ".".join(file.parent.relative_to(ROOT).parts)
        for root in roots
        for file in (ROOT / root).rglob("__init__.py")
    }
    assert found == listed
    assert all((ROOT / root / "py.typed").is_file() for root in roots)


def test_typeguard_watches_the_packages(pytestconfig: pytest.Config) -> None:
    if not pytestconfig.getoption("typeguard_packages"):
        pytest.skip("types are checked at every call by make typed alone")
    from tsmg import Stream, deterministic
    from tsmg.errors import TSMGError

    with pytest.raises(typeguard.TypeCheckError):
        Stream(0).integer("three")  # type: ignore[arg-type]
    with pytest.raises(typeguard.TypeCheckError):
        deterministic(1).pmf(limit="many")  # type: ignore[arg-type]
    assert issubclass(TSMGError, Exception)
