"""Checks of statements: on the example, on drawn cases, and against the negative control."""

import functools
import math
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from typing import final

import attrs
import click
import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings

from proofs.statement import AnyStatement, difference
from proofs.statements import all_statements


@final
@attrs.frozen(kw_only=True)
class Outcome:
    """The outcome of trying a statement.

    Attributes:
      statement: the statement that was tried.
      difference: the greatest difference between its sides over all cases.
      tried: number of cases, the example included.
      shown: whether the example shows what the claim says can happen.
      control_difference: difference between the sides of the negative control, in the example.
      error: the exception that a route raised, as text; empty if none did.
      seconds: wall-clock time.
    """

    statement: AnyStatement
    difference: float
    tried: int
    shown: bool
    control_difference: float
    error: str = ""
    seconds: float = 0.0

    @property
    def is_rejected(self) -> bool:
        """Whether the negative control differs by far more than the tolerance."""
        least = max(1e-6, 100 * self.statement.tolerance)
        return math.isfinite(self.control_difference) and self.control_difference > least

    @property
    def holds(self) -> bool:
        """Whether the sides agree, the example shows what it should, and the control was rejected."""
        agree = self.difference <= self.statement.tolerance
        return agree and self.shown and self.is_rejected and not self.error


def prove(statement: AnyStatement, *, sweep: int | None = None) -> Outcome:
    """Try a statement on its example, on drawn cases, and against its negative control.

    Args:
      statement: the statement to try.
      sweep: number of drawn cases, the same ones every time; the statement's own number unless given.
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
        count = statement.sweep if sweep is None else sweep
        if statement.cases is not None and count > 0:
            generation = settings(
                max_examples=count,
                database=None,
                deadline=None,
                phases=(Phase.generate,),
                suppress_health_check=list(HealthCheck),
            )

            @seed(0)
            @generation
            @given(statement.cases)
            def try_case(case: object) -> None:
                differences.append(difference(statement.sides(case)))

            try_case()
    except Exception as raised:  # noqa: BLE001 - an exception of a route is reported
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


def prove_all(
    statements: Sequence[AnyStatement], *, sweep: int | None = None, workers: int = 1
) -> Iterator[Outcome]:
    """Try statements in their order, in several processes if asked.

    Args:
      statements: the statements to try; in several processes, statements of ``proofs.statements``.
      sweep: number of drawn cases of each; its own number unless given.
      workers: number of processes.
    """
    attempt = functools.partial(prove, sweep=sweep)
    if workers == 1:
        yield from map(attempt, statements)
        return
    with multiprocessing.get_context("spawn").Pool(workers, _begin_worker) as pool:
        yield from pool.imap(attempt, statements)


def _begin_worker() -> None:
    """One thread; and all statements loaded, since Hypothesis also draws constants of the modules that are loaded."""
    torch.set_num_threads(1)
    all_statements()


def listing(statements: Sequence[AnyStatement]) -> str:
    """The statements as a Markdown list, by family: each claim, and the fault of its negative control."""
    lines = []
    family = ""
    for statement in statements:
        if statement.family != family:
            family = statement.family
            lines += ["", f"## {family}", ""]
        claim = " ".join(statement.claim.partition("\n\n")[0].split())
        lines.append(f"- **{statement.name}.** {claim} *Rejects:* {statement.fault}")
    return "\n".join(lines).lstrip("\n") + "\n"


def report(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as a table, with three lines per statement: the outcome, and its two routes."""
    lines = ["holds  difference  cases  control   statement"]
    family = ""
    for outcome in outcomes:
        statement = outcome.statement
        if statement.family != family:
            family = statement.family
            lines.append(click.style(f"{'':33}{family}", bold=True))
        holds = "yes" if outcome.holds else "NO"
        control = "rejected" if outcome.is_rejected else "ACCEPTED"
        row = f"{holds:<5}  {outcome.difference:>10.0e}  {outcome.tried:>5}  {control}  {statement.name}"
        lines.append(click.style(row, fg=None if outcome.holds else "red"))
        for letter, route in zip("AB", statement.routes, strict=True):
            lines.append(click.style(f"{'':33}  {letter}: {route}", dim=True))
    return "\n".join(lines)
