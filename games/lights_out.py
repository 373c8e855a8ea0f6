"""Lights Out: press cells of a square board until every light is out.

Source: M. Anderson and T. Feil, "Turning lights out with linear algebra", 1998 (the theory).
"""

import functools
import itertools
import operator
from collections.abc import Mapping
from typing import final

import attrs

from games.arguments import integer_field, probability_field, to_horizon
from games.attention import attentive
from tsmg import (
    AbstractExplicitGame,
    AbstractPlayer,
    Distribution,
    Ending,
    Episode,
    Facts,
    Finite,
    Transition,
    deterministic,
    product,
    uniform,
)
from tsmg.invalid import AbstractInvalidRule, StandStill

_AGENT = "player"


@functools.lru_cache(maxsize=16)
def presses(size: int) -> tuple[int, ...]:
    """For each cell in reading order, the lights that it toggles (itself and its neighbours), as bits of a number."""

    def switched(row: int, column: int) -> int:
        cells = (
            (row, column),
            (row - 1, column),
            (row + 1, column),
            (row, column - 1),
            (row, column + 1),
        )
        return sum(1 << (r * size + c) for r, c in cells if 0 <= r < size and 0 <= c < size)

    return tuple(switched(*divmod(cell, size)) for cell in range(size * size))


@functools.lru_cache(maxsize=16)
def _reduced(size: int) -> tuple[tuple[tuple[int, int, int], ...], tuple[int, ...]]:
    """Gaussian elimination modulo 2: rows (leading light, lights, cells), and sets of cells that switch no light."""
    rows: list[tuple[int, int, int]] = []
    idle = []
    for cell, switched in enumerate(presses(size)):
        lights, cells = switched, 1 << cell
        for lead, other, their_cells in rows:
            if lights >> lead & 1:
                lights, cells = lights ^ other, cells ^ their_cells
        if lights:
            rows.append((lights.bit_length() - 1, lights, cells))
        else:
            idle.append(cells)
    return tuple(rows), tuple(idle)


@functools.lru_cache(maxsize=65_536)
def least_solution(size: int, lit: int) -> int | None:
    """A smallest set of cells to press so that every light is out, as bits; ``None`` if there is none.

    Presses add up modulo 2, so neither their order nor pairs of them matter, and the solutions are one of them plus
    each set of presses that toggles nothing.

    Args:
      size: rows and columns of the board.
      lit: the lights that are on, as bits in reading order.

    Source: M. Anderson and T. Feil, 1998.

    Example:
      >>> least_solution(2, 0b1111)
      15
      >>> least_solution(3, presses(3)[4]) == 1 << 4
      True
    """
    rows, idle = _reduced(size)
    solution = 0
    for lead, lights, cells in rows:
        if lit >> lead & 1:
            lit, solution = lit ^ lights, solution ^ cells
    if lit:
        return None
    others = (
        functools.reduce(operator.xor, chosen, solution)
        for count in range(len(idle) + 1)
        for chosen in itertools.combinations(idle, count)
    )
    return min(others, key=lambda cells: (cells.bit_count(), cells))


@functools.lru_cache(maxsize=8)
def _starts(size: int) -> Distribution[int]:
    """Boards after every cell was pressed or not, by a fair coin each, given that a light is on (lazy)."""
    coins = product([uniform((0, cell)) for cell in presses(size)])
    return coins.map(lambda parts: functools.reduce(operator.xor, parts, 0)).condition(bool)


@final
@attrs.frozen(kw_only=True)
class LightsOut(AbstractExplicitGame[int, int]):
    """Press cells until every light is out; a press toggles a cell and its neighbours.

    Agents: one, ``player``.
    States: which lights are on, as the bits of a number.
    Actions: the cells.
    Observation text: the board: ``O`` is on, ``.`` is off.
    Action text: row and column, such as ``2 3``.
    Rewards: 1 once every light is out, else 0.
    Invalid rule: the player stands still (a step passes) and pays 0.1.
    Horizon: twice the number of cells, unless given.

    Attributes:
      size: rows and columns; at least 2.
      horizon: time limit H, in steps.

    Source: M. Anderson and T. Feil, 1998.
    """

    size: int = integer_field("size", default=3, least=2)
    horizon: int = attrs.field(converter=to_horizon)
    invalid_rule: AbstractInvalidRule = StandStill(penalty=0.1)
    facts: Facts = Facts(
        perfect_information=True,
        text_separates_states=True,
        stochastic_start=True,
        stochastic_transitions=False,
        start_is_instance=True,
        return_bounds=(0.0, 1.0),
    )

    agents = (_AGENT,)

    @horizon.default
    def _twice(self) -> int:
        return 2 * self.size**2

    def initial_state_dist(self) -> Distribution[int]:
        return _starts(self.size)

    def is_terminal(self, state: int) -> bool:
        return not state

    def acting_agents(self, state: int) -> tuple[str, ...]:
        return self.agents if state else ()

    def legal_actions(self, state: int, agent: str) -> tuple[int, ...]:
        return tuple(range(self.size**2)) if state else ()

    def transition_dist(
        self, state: int, joint_action: Mapping[str, int]
    ) -> Distribution[Transition[int]]:
        after = state ^ presses(self.size)[joint_action[_AGENT]]
        return deterministic(Transition(after, (float(not after),)))

    def observation_text(self, state: int, agent: str) -> str:
        lights = ["O" if state >> cell & 1 else "." for cell in range(self.size**2)]
        rows = (lights[i : i + self.size] for i in range(0, len(lights), self.size))
        board = "\n".join(" ".join(row) for row in rows)
        return board if state else f"{board}\nEvery light is out."

    def action_text(self, state: int, agent: str, action: int) -> str:
        row, column = divmod(action, self.size)
        return f"{row + 1} {column + 1}"

    def rules_text(self, agent: str) -> str:
        return (
            "Turn every light off. O is a light that is on, and a dot is one that is off. Pressing a cell toggles it "
            "and the cells above, below, left and right of it. A move is a row and a column, each from 1 to "
            f"{self.size}, such as: 1 2"
        )

    def instance_key(self, start: int) -> str:
        return f"{start:0{self.size**2}b}"

    def success(self, episode: Episode[int], agent: str) -> bool:
        """Every light is out."""
        return episode.ending is Ending.TERMINATED

    def scripted_player(self) -> "AttentiveLightsOut":
        return AttentiveLightsOut(size=self.size)


@final
@attrs.frozen(kw_only=True)
class AttentiveLightsOut(AbstractPlayer[int, int]):
    """Sometimes presses a cell of a smallest solution; otherwise any cell.

    Attributes:
      size: rows and columns of the board.
      attention: probability that it looks, in [0, 1]; with 1 it plays perfectly.
    """

    size: int
    attention: float = probability_field("attention", default=0.6)

    def action_dist(self, state: int, agent: str) -> Distribution[int]:
        cells = range(self.size**2)
        solution = least_solution(self.size, state) or 0
        good = [cell for cell in cells if solution >> cell & 1]
        dist = attentive(self.attention, uniform(good or cells), uniform(cells))
        return Finite(dist.pmf())
