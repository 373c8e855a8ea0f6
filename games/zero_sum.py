"""Exact solutions of zero-sum matrix games, by the simplex method in fractions."""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple


class Solution(NamedTuple):
    """The value of a zero-sum game to the row player, and an optimal mixed action of each player."""

    value: Fraction
    row: tuple[Fraction, ...]
    column: tuple[Fraction, ...]


def solve(payoffs: Sequence[Sequence[Fraction | int]]) -> Solution:
    """The value and optimal mixed actions of a zero-sum matrix game, exactly.

    Payoffs are shifted above 0; then the column player's scaled mixed action y solves "maximise sum(y) where payoffs y
    <= 1 and y >= 0", and the row player's is the dual solution. Bland's rule prevents cycling.

    Args:
      payoffs: to the row player, a row per action of it.

    Source: V. Chvatal, *Linear Programming*, 1983, chapters 3 and 15.

    Example:
      >>> value, row, column = solve([[3, -1], [-2, 1]])
      >>> str(value), [str(p) for p in row], [str(p) for p in column]
      ('1/7', ['3/7', '4/7'], ['2/7', '5/7'])
    """
    rows, columns = len(payoffs), len(payoffs[0])
    shift = 1 - min(map(min, payoffs))
    table = [
        [
            *(Fraction(x) + shift for x in row),
            *(Fraction(n == slack) for slack in range(rows)),
            Fraction(1),
        ]
        for n, row in enumerate(payoffs)
    ]
    costs = [*[Fraction(-1)] * columns, *[Fraction(0)] * (rows + 1)]
    basis = list(range(columns, columns + rows))
    while (entering := next((j for j, c in enumerate(costs[:-1]) if c < 0), None)) is not None:
        ratios = [
            (row[-1] / row[entering], basis[n], n)
            for n, row in enumerate(table)
            if row[entering] > 0
        ]
        _, _, leaving = min(ratios)
        _pivot(table, costs, leaving, entering)
        basis[leaving] = entering
    total = costs[-1]
    scaled = dict(zip(basis, (row[-1] for row in table), strict=True))
    return Solution(
        1 / total - shift,
        tuple(dual / total for dual in costs[columns:-1]),
        tuple(scaled.get(j, Fraction(0)) / total for j in range(columns)),
    )


def _pivot(table: list[list[Fraction]], costs: list[Fraction], leaving: int, entering: int) -> None:
    """Make the entering variable basic in the leaving row."""
    pivot = table[leaving][entering]
    table[leaving] = [x / pivot for x in table[leaving]]
    for row in (*(row for n, row in enumerate(table) if n != leaving), costs):
        if factor := row[entering]:
            row[:] = [x - factor * y for x, y in zip(row, table[leaving], strict=True)]
