"""Every import contract rejects a planted violation; `make layers` checks the packages."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]

PLANTED = {
    "layers": ("tsmg/planted.py", "import lap"),
    "games-use-tsmg": ("games/planted.py", "import lap"),
    "games-are-unknown": ("algorithms/planted.py", "import games"),
    "no-models": ("games/planted.py", "import torch"),
    "environments-at-the-border": ("games/planted.py", "import gymnasium"),
    "nothing-on-top": ("algorithms/planted.py", "import proofs"),
    "proofs-not-tests": ("proofs/planted.py", "import tests"),
}
ALLOWED = {
    "environments-at-the-border": ("games/adapters/planted.py", "import pettingzoo"),
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Empty packages of the same names, under the same contracts."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in SETTINGS["root_packages"]:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
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
