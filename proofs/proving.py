"""Trying statements: the example, drawn cases, the negative control."""

import functools
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from typing import Any, final

import attrs
import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings

from proofs.statement import Statement, difference
from proofs.statements import all_statements


@final
@attrs.frozen(kw_only=True)
class Outcome:
    """What came of trying a statement.

    Attributes:
      statement: which one.
      difference: the greatest one between the sides.
      tried: how many cases.
      shown: whether the example showed what it should.
      control_difference: that of the negative control.
      error: what was raised, if anything was.
      seconds: how long it took.
    """

    statement: Statement[Any]
    difference: float
    tried: int
    shown: bool
    control_difference: float
    error: str = ""
    seconds: float = 0.0

    @property
    def is_rejected(self) -> bool:
        """Whether the negative control was told from the right implementation: by far more than the tolerance."""
        return self.control_difference > max(1e-6, 100 * self.statement.tolerance)

    @property
    def holds(self) -> bool:
        """Whether the sides agree, the example shows what it should, and the control was rejected."""
        agree = self.difference <= self.statement.tolerance
        return agree and self.shown and self.is_rejected and not self.error


def prove(statement: Statement[Any], *, sweep: int | None = None) -> Outcome:
    """Try a statement: the example, the sweep, the negative control.

    Args:
      statement: what is claimed.
      sweep: how many cases are drawn; the statement's own number unless given.
    """
    started = time.perf_counter()
    differences: list[float] = []
    shown, control, error = False, 0.0, ""
    try:
        sides = statement.sides(statement.example)
        differences.append(difference(sides))
        first = np.atleast_1d(np.asarray(sides[0], dtype=np.float64))
        shown = statement.shows is None or bool(statement.shows(first))
        control = difference(statement.control(statement.example))
        differences += _swept(statement, statement.sweep if sweep is None else sweep)
    except Exception as raised:  # noqa: BLE001 - whatever a route raises is a finding
        error = f"{type(raised).__name__}: {raised}"
    return Outcome(
        statement=statement,
        difference=max(differences, default=float("inf")),
        tried=len(differences),
        shown=shown,
        control_difference=control,
        error=error,
        seconds=time.perf_counter() - started,
    )


def _swept(statement: Statement[Any], count: int) -> list[float]:
    """The differences in drawn cases, the same ones every time."""
    differences: list[float] = []
    if statement.cases is None or count == 0:
        return differences

    @seed(0)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(statement.cases)
    def sweep(case: Any) -> None:
        differences.append(difference(statement.sides(case)))

    sweep()
    return differences


def prove_all(
    statements: Sequence[Statement[Any]], *, sweep: int | None = None, workers: int = 1
) -> Iterator[Outcome]:
    """Try statements in their order, in several processes if asked.

    Args:
      statements: what is claimed; in several processes, statements of ``proofs.statements``.
      sweep: how many cases each is tried on; its own number unless given.
      workers: how many processes.
    """
    if workers == 1:
        yield from (prove(statement, sweep=sweep) for statement in statements)
        return
    names = [(statement.family, statement.name) for statement in statements]
    with multiprocessing.get_context("spawn").Pool(workers, torch.set_num_threads, (1,)) as pool:
        found = pool.imap(functools.partial(_prove_named, sweep=sweep), names)
        for statement, outcome in zip(statements, found, strict=True):
            yield Outcome(statement=statement, **outcome)


def _prove_named(name: tuple[str, str], *, sweep: int | None) -> dict[str, Any]:
    """The outcome of a statement of the library, without the statement: what can be sent between processes."""
    (statement,) = (s for s in all_statements() if (s.family, s.name) == name)
    outcome = prove(statement, sweep=sweep)
    return {f: getattr(outcome, f) for f in attrs.fields_dict(Outcome) if f != "statement"}


def listing(statements: Sequence[Statement[Any]]) -> str:
    """The statements as a Markdown list: what is claimed, and what is told from it."""
    trajectories = []
    family = ""
    for statement in statements:
        if statement.family != family:
            family = statement.family
            trajectories += ["", f"## {family}", ""]
        claim = " ".join(statement.claim.partition("\n\n")[0].split())
        trajectories.append(f"- **{statement.name}.** {claim} *Told from:* {statement.fault}")
    return "\n".join(trajectories).lstrip("\n") + "\n"
