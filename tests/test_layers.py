"""Every import contract rejects a planted violation (`make layers` checks the packages); files import in no circle."""

import ast
import graphlib
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]

PLANTED = {
    "layers": ("tsmg/planted.py", "import lap"),
    "rooms": ("algorithms/method/planted.py", "import algorithms.play"),
    "method-is-pure": ("algorithms/method/planted.py", "import pathlib"),
    "engine-below-models": ("lap/engine/planted.py", "import lap.policy"),
    "statements-on-top": ("proofs/exact/planted.py", "import proofs.estimators"),
    "games-use-tsmg": ("games/planted.py", "import lap"),
    "games-are-unknown": ("algorithms/planted.py", "import games"),
    "no-models": ("games/planted.py", "import torch"),
    "environments-at-the-border": ("games/planted.py", "import gymnasium"),
    "nothing-on-top": ("algorithms/planted.py", "import proofs"),
    "proofs-not-tests": ("proofs/planted.py", "import tests"),
}
ALLOWED = {
    "rooms": ("algorithms/play/planted.py", "import algorithms.method"),
    "method-is-pure": ("algorithms/method/losses.py", "import torch"),
    "environments-at-the-border": ("games/adapters/planted.py", "import pettingzoo"),
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Empty packages and rooms of the same names, under the same contracts."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    rooms = [
        f"{container}.{layer}".lstrip(".")
        for contract in SETTINGS["contracts"]
        for container in contract.get("containers", [""])
        for layer in contract.get("layers", [])
    ]
    for package in (*SETTINGS["root_packages"], *rooms):
        folder = tmp_path.joinpath(*package.split("."))
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").touch()
    return tmp_path


def _is_kept(folder: Path, contract: str, file: str, statement: str) -> bool:
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).parent.joinpath("__init__.py").touch()
    (folder / file).write_text(f"{statement}\n")
    program = "from importlinter.cli import lint_imports_command as command; command()"
    done = subprocess.run(
        [sys.executable, "-c", program, "--no-logo", "--no-cache", "--contract", contract],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
    )
    kept, broken = "1 kept, 0 broken" in done.stdout, "0 kept, 1 broken" in done.stdout
    assert kept != broken, done.stdout + done.stderr
    assert done.returncode == int(broken)
    return kept


def test_every_contract_has_a_violation_here() -> None:
    assert set(PLANTED) == {contract["id"] for contract in SETTINGS["contracts"]}


@pytest.mark.parametrize("contract", PLANTED)
def test_a_violation_is_rejected(copy: Path, contract: str) -> None:
    assert not _is_kept(copy, contract, *PLANTED[contract])


@pytest.mark.parametrize("contract", ALLOWED)
def test_the_stated_exceptions_are_allowed(copy: Path, contract: str) -> None:
    assert _is_kept(copy, contract, *ALLOWED[contract])


# ---- no circles between files ----------------------------------------------------------------


def _imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """(module, name imported from it) of all imports: at the top, in functions, and for type checkers alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)


def _circle(root: Path, package: str) -> list[str]:
    """Modules of a package, each of which the next one imports, and the last is the first; empty if there are none."""
    files = {
        ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file
        for file in (root / package).rglob("*.py")
    }
    graph = {
        module: {
            f"{source}.{name}" if f"{source}.{name}" in files else source
            for source, name in _imported(ast.parse(file.read_text()))
        }
        & files.keys()
        for module, file in files.items()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("package", SETTINGS["root_packages"])
def test_there_are_no_circles_between_files(package: str) -> None:
    assert _circle(ROOT, package) == []


@pytest.mark.parametrize(
    "statement",
    [
        "import tsmg.first",
        "from tsmg import first",
        "from tsmg.first import name",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tsmg.first import name",
        "def function():\n    from tsmg.first import name",
    ],
)
def test_a_circle_is_noticed(copy: Path, statement: str) -> None:
    (copy / "tsmg" / "first.py").write_text("from tsmg.second import other\n")
    (copy / "tsmg" / "second.py").write_text("import tsmg.third\n")
    assert _circle(copy, "tsmg") == []
    (copy / "tsmg" / "third.py").write_text(f"{statement}\n")
    assert set(_circle(copy, "tsmg")) == {"tsmg.first", "tsmg.second", "tsmg.third"}
