"""What tries statements notices which do not hold."""

import functools
import pickle
from typing import Any

import attrs
import pytest
from click.testing import CliRunner
from hypothesis import strategies as st

from algorithms.cli import main as cli
from proofs.proving import Outcome, prove, prove_all
from proofs.statement import Sides, Statement, difference, statement
from proofs.statements import all_statements
from tsmg import InvalidArgumentError


def doubled(x: float) -> Sides:
    """Twice is the sum with itself. Source: arithmetic."""
    return 2 * x, x + x


def tripled(x: float) -> Sides:
    """Three times."""
    return 2 * x, 3 * x


def nothing(x: float) -> Sides:
    """No number."""
    return 2 * x, float("nan")


def broken(x: float) -> Sides:
    """Raises."""
    raise ZeroDivisionError("no route")


SOUND: Statement[float] = Statement(
    sides=doubled,
    routes=("product", "sum"),
    example=1.5,
    cases=st.floats(0.5, 100),
    control=tripled,
    shows=lambda side: side[0] == 3,
)


def test_a_sound_statement_holds() -> None:
    outcome = prove(SOUND, sweep=7)
    assert outcome.holds and outcome.tried == 8
    assert (SOUND.name, SOUND.fault) == ("doubled", "Three times.")


@pytest.mark.parametrize(
    "change",
    [
        {"sides": tripled},
        {"sides": broken},
        {"control": doubled},
        {"control": broken},
        {"control": nothing},
        {"shows": lambda side: side[0] == 4},
        {"example": float("nan")},
    ],
)
def test_what_does_not_hold_is_noticed(change: dict[str, Any]) -> None:
    assert not prove(attrs.evolve(SOUND, **change)).holds


def test_a_case_of_the_sweep_alone_can_refute() -> None:
    def small(x: float) -> Sides:
        """Wrong for what is drawn."""
        return (x, x) if x < 2 else (x, 0.0)

    outcome = prove(attrs.evolve(SOUND, sides=small, shows=None))
    assert not outcome.holds and outcome.tried == SOUND.sweep + 1


def test_the_decorator_makes_a_statement_of_a_claim() -> None:
    made = statement(routes=("product", "sum"), example=1.5, wrong=tripled, sweep=3)(doubled)
    assert (made.name, made.fault) == ("doubled", "Three times.")
    assert (made.routes, made.example, made.sweep, made.cases) == (("product", "sum"), 1.5, 3, None)
    assert prove(made).holds


def test_a_claim_without_a_source_and_a_control_without_a_fault_are_refused() -> None:
    routes = ("product", "sum")
    with pytest.raises(InvalidArgumentError, match="'tripled' must name its source"):
        statement(routes=routes, example=1.5, wrong=doubled)(tripled)
    with pytest.raises(InvalidArgumentError, match="must say in its docstring what is wrong"):
        statement(routes=routes, example=1.5, wrong=lambda x: (x, 0.0))(doubled)


def test_a_statement_is_found_again_by_its_name() -> None:
    for one in all_statements():
        assert pickle.loads(pickle.dumps(one)) is one


def test_differences_by_hand() -> None:
    assert difference(([1.0, 100.0], [1.0, 99.0])) == 0.01
    assert difference(([1.0], [1.0, 2.0])) == float("inf")
    assert difference(([], [])) == 0


@pytest.mark.slow
def test_several_processes_find_the_same() -> None:
    two = all_statements()[:2]
    alone = [_figures(outcome) for outcome in prove_all(two, sweep=2)]
    assert [_figures(outcome) for outcome in prove_all(two, sweep=2, workers=2)] == alone


def _figures(outcome: Outcome) -> tuple[Any, ...]:
    return outcome.statement.name, outcome.tried, outcome.holds, outcome.control_difference


def test_the_command_says_what_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    run = functools.partial(CliRunner().invoke, cli.main)
    options = ["prove", "--workers", "1", "--sweep", "1"]
    fine = run([*options, "--only", "mean of the others", "--claims"])
    assert fine.exit_code == 0, fine.output
    assert "1 statements, 2 cases" in fine.output and "RLOO" in fine.output
    assert run([*options, "--only", "no such thing"]).exit_code == 2
    wrong = attrs.evolve(SOUND, sides=tripled)
    monkeypatch.setattr("proofs.statements.all_statements", lambda: (wrong,))
    failed = run(options)
    assert failed.exit_code == 1 and "1 does not hold" in failed.output
