"""Players that walk on a grid and look somewhere; several of them move at the same time."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from tsmg import Distribution, deterministic, product, uniform

Cell = tuple[int, int]
"""Row and column, from (0, 0) at the top left."""

T = TypeVar("T")

DIRECTIONS: Mapping[str, Cell] = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
"""Each direction's step, as (rows, columns)."""


class Walker(NamedTuple):
    """Where a player is, and the direction in which it looks."""

    cell: Cell
    facing: str


def grid(rows: int, columns: int) -> tuple[Cell, ...]:
    """Every cell, in reading order."""
    return tuple(itertools.product(range(rows), range(columns)))


def after(cell: Cell, direction: str) -> Cell:
    """The next cell in a direction, whether or not it is on the grid."""
    down, right = DIRECTIONS[direction]
    return cell[0] + down, cell[1] + right


def ahead(walker: Walker, reach: int) -> Iterator[Cell]:
    """The cells in front of a walker, the nearest first, whether or not they are on the grid."""
    cell = walker.cell
    for _ in range(reach):
        cell = after(cell, walker.facing)
        yield cell


def distance(a: Cell, b: Cell) -> int:
    """The number of steps between two cells."""
    return abs(a[0] - b[0]) + abs(a[1] - b[1])


def moved_dist(
    walkers: Mapping[int, Walker], directions: Mapping[int, str], cells: frozenset[Cell]
) -> Distribution[tuple[tuple[int, Walker], ...]]:
    """Where walkers are after some of them have moved at the same time.

    A walker that moves looks in that direction. It enters the next cell if that is on the grid and nobody was there
    before; if several would enter one cell, each is equally likely to do so, and the others stay.

    Args:
      walkers: by number.
      directions: of those that move, by number.
      cells: those of the grid.

    Returns:
      The distribution of each walker with its number.
    """
    turned = {n: Walker(w.cell, directions.get(n, w.facing)) for n, w in walkers.items()}
    taken = {walker.cell for walker in walkers.values()}
    wanted: dict[Cell, list[int]] = {}
    for n, direction in directions.items():
        target = after(walkers[n].cell, direction)
        if target in cells and target not in taken:
            wanted.setdefault(target, []).append(n)

    def placed(first: Iterable[int]) -> tuple[tuple[int, Walker], ...]:
        entered = zip(first, wanted, strict=True)
        return tuple((turned | {n: Walker(cell, directions[n]) for n, cell in entered}).items())

    if all(len(numbers) == 1 for numbers in wanted.values()):
        return deterministic(placed(n for (n,) in wanted.values()))
    return product([uniform(numbers) for numbers in wanted.values()]).map(placed)


def placed_dist(
    count: int, start: T, free: Callable[[T], Sequence[Cell]], put: Callable[[T, Cell], T]
) -> Distribution[T]:
    """The distribution of something after a number of cells were drawn for it, one after another.

    Args:
      count: how many.
      start: what it is before.
      free: the cells from which the next one is drawn, all equally likely.
      put: what it is with one more cell.
    """
    dist: Distribution[T] = deterministic(start)
    for _ in range(count):
        dist = dist.bind(lambda it: uniform(free(it)).map(lambda cell: put(it, cell)))
    return dist


def towards(cell: Cell, targets: Sequence[Cell]) -> tuple[str, ...]:
    """The directions that lead nearer to the nearest target; none if the walker is there or there is no target."""
    if not targets:
        return ()
    nearest = min(targets, key=lambda target: (distance(cell, target), target))
    best = distance(cell, nearest)
    return tuple(d for d in DIRECTIONS if distance(after(cell, d), nearest) < best)


def cell_text(cell: Cell) -> str:
    """A cell as players read it, counted from 1."""
    return f"row {cell[0] + 1}, column {cell[1] + 1}"


def grid_text(rows: int, columns: int, marks: Mapping[Cell, str]) -> str:
    """The grid as lines of spaced marks; a cell without one is a dot."""
    return "\n".join(
        " ".join(marks.get((row, column), ".") for column in range(columns)) for row in range(rows)
    )
