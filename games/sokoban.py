"""Sokoban: push boxes onto goals; boxes can be pushed one at a time, and not pulled.

Source: J. Culberson, "Sokoban is PSPACE-complete", 1997 (rules). Levels are made by pulling boxes away from their
goals, so that each can be solved.
"""

import functools
from collections.abc import Iterator, Mapping
from typing import NamedTuple, final

import attrs

from games.arguments import integer_field, probability_field
from games.attention import attentive
from tsmg import (
    AbstractExplicitGame,
    AbstractPlayer,
    Distribution,
    Episode,
    Facts,
    Finite,
    InvalidArgumentError,
    Transition,
    deterministic,
    mixture,
    product,
    uniform,
)
from tsmg.invalid import AbstractInvalidRule, StandStill

_AGENT = "player"

DIRECTIONS = ("up", "down", "left", "right")

Cells = int
"""A set of cells, as the bits of a number in reading order."""


@final
@attrs.frozen(cache_hash=True)
class Level:
    """The parts that do not move: the numbers of rows and columns, the cells that are not walls, and the goals.

    The border of a level is wall, so a step from a free cell never leaves the level.
    """

    rows: int
    columns: int
    floor: Cells
    goals: Cells

    def step(self, cell: int, direction: str) -> int:
        """The next cell in a direction."""
        return cell + {"up": -self.columns, "down": self.columns, "left": -1, "right": 1}[direction]


class Position(NamedTuple):
    """Where the boxes and the player are."""

    boxes: Cells
    player: int


@final
@attrs.frozen(cache_hash=True)
class Warehouse:
    """A level, and where the boxes and the player are in it."""

    level: Level
    position: Position

    @property
    def is_solved(self) -> bool:
        """Whether every box is on a goal."""
        return self.position.boxes == self.level.goals


def read_level(text: str) -> Warehouse:
    r"""A level in the usual notation.

    Args:
      text: rows of ``#`` wall, ``-`` or blank floor, ``.`` goal, ``$`` box, ``*`` box on a goal, ``@`` player, ``+``
        player on a goal.

    Raises:
      InvalidArgumentError: there is another sign, not one player, not a box for each goal, a way to the border, boxes
        or goals out of reach, no step that the player can take, or nothing left to do.

    Example:
      >>> read_level("#####\n#@$.#\n#####").position
      Position(boxes=128, player=6)
    """
    lines = [line for line in text.split("\n") if line.strip()]
    columns = max((len(line) for line in lines), default=0)
    signs = "".join(line.ljust(columns) for line in lines)

    def where(chosen: str) -> Cells:
        return sum(1 << n for n, sign in enumerate(signs) if sign in chosen)

    boxes, goals, players = where("$*"), where(".*+"), where("@+")
    if set(signs) - set("#- .$*@+") or players.bit_count() != 1:
        raise InvalidArgumentError(
            f"'level' must be rows of the signs #-.$*@+ with one player (got {text!r})"
        )
    if not boxes or boxes.bit_count() != goals.bit_count():
        raise InvalidArgumentError(
            f"'level' must have boxes and as many goals (got {boxes.bit_count()} and {goals.bit_count()})"
        )
    inside = _inside(columns, len(lines), where("- .$*@+"), players)
    if (boxes | goals) & ~inside or boxes == goals:
        raise InvalidArgumentError(
            "'level' must have its boxes and goals where the player can reach them, and not be solved already"
        )
    level = Level(len(lines), columns, inside, goals)
    position = Position(boxes, players.bit_length() - 1)
    if not any(moved(level, position, direction) for direction in DIRECTIONS):
        raise InvalidArgumentError("'level' must let the player take a step at its beginning")
    return Warehouse(level, position)


def _inside(columns: int, rows: int, floor: Cells, player: Cells) -> Cells:
    """The floor that can be reached through floor from the player; blanks outside of the walls are none of it."""
    border = [
        n
        for n in range(rows * columns)
        if n % columns in (0, columns - 1) or n // columns in (0, rows - 1)
    ]
    inside = player
    while True:
        around = inside << 1 | inside >> 1 | inside << columns | inside >> columns
        grown = inside | around & floor
        if any(grown >> n & 1 for n in border):
            raise InvalidArgumentError(
                "'level' must be enclosed by walls (a path leads to its border)"
            )
        if grown == inside:
            return inside
        inside = grown


def moved(level: Level, position: Position, direction: str) -> Position | None:
    """The position after a step, with the box that is pushed; ``None`` if nothing can move."""
    target = level.step(position.player, direction)
    if not level.floor >> target & 1:
        return None
    if not position.boxes >> target & 1:
        return Position(position.boxes, target)
    beyond = level.step(target, direction)
    if not level.floor >> beyond & 1 or position.boxes >> beyond & 1:
        return None
    return Position(position.boxes ^ (1 << target) ^ (1 << beyond), target)


def _before(level: Level, position: Position) -> Iterator[Position]:
    """The positions from which one step leads to this one."""
    boxes, here = position
    for direction in DIRECTIONS:
        source = 2 * here - level.step(here, direction)
        if not level.floor >> source & 1 or boxes >> source & 1:
            continue
        yield Position(boxes, source)
        pushed = level.step(here, direction)
        if boxes >> pushed & 1:
            yield Position(boxes ^ (1 << pushed) ^ (1 << here), source)


@functools.lru_cache(maxsize=128)
def distances(level: Level) -> Mapping[Position, int]:
    """The least number of steps to the solution, for every position that has one: breadth first, from the solutions."""
    cells = [n for n in range(level.floor.bit_length()) if level.floor >> n & 1]
    solved = [Position(level.goals, cell) for cell in cells if not level.goals >> cell & 1]
    found = dict.fromkeys(solved, 0)
    for position in (queue := solved):
        for earlier in _before(level, position):
            if earlier not in found:
                found[earlier] = found[position] + 1
                queue.append(earlier)
    return found


def _pulls(level: Level, position: Position) -> list[Position]:
    """The positions after one box is pulled by a step, by a player who first walks where it likes."""
    reached, frontier = {position.player}, [position.player]
    while frontier:
        here = frontier.pop()
        for direction in DIRECTIONS:
            cell = level.step(here, direction)
            if level.floor >> cell & 1 and not position.boxes >> cell & 1 and cell not in reached:
                reached.add(cell)
                frontier.append(cell)
    found = []
    for here in sorted(reached):
        for direction in DIRECTIONS:
            box, back = level.step(here, direction), 2 * here - level.step(here, direction)
            if position.boxes >> box & 1 and back in reached:
                found.append(Position(position.boxes ^ (1 << box) ^ (1 << here), back))
    return found


@final
@attrs.frozen(kw_only=True)
class Sokoban(AbstractExplicitGame[Warehouse, str]):
    """Push every box onto a goal; boxes can be pushed one at a time, and not pulled.

    Agents: one, ``player``.
    States: the level, and where the boxes and the player are.
    Actions: the directions in which the player can step, alone or pushing a box.
    Observation text: the level: ``#`` wall, ``-`` floor, ``.`` goal, ``$`` box, ``*`` box on a goal, ``@`` player,
    ``+`` player on a goal.
    Action text: the direction's name.
    Rewards: 1 once every box is on a goal, else 0.
    Invalid rule: the player stands still (a step passes) and pays 0.1.
    Exact values: ``games.sokoban.distances`` has the least number of steps to the solution of every position.

    A level is generated backwards: boxes are pulled away from their goals, so that it can always be solved.

    Attributes:
      rows, columns: size of a level, with the walls around it.
      boxes: number of boxes.
      wall_probability: that a cell within the border is a wall; below 1.
      pulls: how many steps boxes are pulled; a level needs at most this many pushes.
      level: a level to play instead of generated ones (``games.sokoban.read_level``); their settings are then left out.
      horizon: time limit H, in steps.

    Source: J. Culberson, 1997.
    """

    rows: int = integer_field("rows", default=6, least=3)
    columns: int = integer_field("columns", default=6, least=3)
    boxes: int = integer_field("boxes", default=2, least=1)
    wall_probability: float = probability_field("wall_probability", default=0.1)
    pulls: int = integer_field("pulls", default=8, least=1)
    level: str = ""
    horizon: int = integer_field("horizon", default=30, least=1)
    invalid_rule: AbstractInvalidRule = StandStill(penalty=0.1)
    facts: Facts = attrs.field(init=False)
    _start: Distribution[Warehouse] = attrs.field(init=False, eq=False, repr=False)

    agents = (_AGENT,)

    @facts.default
    def _declare(self) -> Facts:
        return Facts(
            perfect_information=True,
            text_separates_states=True,
            stochastic_start=not self.level,
            stochastic_transitions=False,
            start_is_instance=not self.level,
            return_bounds=(0.0, 1.0),
        )

    @_start.default
    def _levels(self) -> Distribution[Warehouse]:
        if self.level:
            self._refuse_settings_of_made_levels()
            return deterministic(read_level(self.level))
        if self.wall_probability == 1:
            raise InvalidArgumentError(
                "'wall_probability' must be below 1, since otherwise there is no floor (got 1)"
            )
        inner = (self.rows - 2) * (self.columns - 2)
        if max(self.rows, self.columns) < 5 or inner < self.boxes + 4:
            raise InvalidArgumentError(
                f"'rows' and 'columns' must leave room to move {self.boxes} boxes (got {self.rows} x {self.columns})"
            )
        return _made_levels(self.rows, self.columns, self.boxes, self.wall_probability, self.pulls)

    def _refuse_settings_of_made_levels(self) -> None:
        for name in ("rows", "columns", "boxes", "wall_probability", "pulls"):
            if getattr(self, name) != getattr(attrs.fields(Sokoban), name).default:
                raise InvalidArgumentError(
                    f"{name!r} must be left out where 'level' is given (got {getattr(self, name)})"
                )

    def initial_state_dist(self) -> Distribution[Warehouse]:
        return self._start

    def is_terminal(self, state: Warehouse) -> bool:
        return state.is_solved

    def acting_agents(self, state: Warehouse) -> tuple[str, ...]:
        return () if state.is_solved else self.agents

    def legal_actions(self, state: Warehouse, agent: str) -> tuple[str, ...]:
        if state.is_solved:
            return ()
        return tuple(d for d in DIRECTIONS if moved(state.level, state.position, d))

    def transition_dist(
        self, state: Warehouse, joint_action: Mapping[str, str]
    ) -> Distribution[Transition[Warehouse]]:
        position = moved(state.level, state.position, joint_action[_AGENT])
        after = Warehouse(state.level, position or state.position)
        return deterministic(Transition(after, (float(after.is_solved),)))

    def observation_text(self, state: Warehouse, agent: str) -> str:
        level, (boxes, player) = state.level, state.position
        signs = []
        for cell in range(level.rows * level.columns):
            is_goal = level.goals >> cell & 1
            if not level.floor >> cell & 1:
                signs.append("#")
            elif cell == player:
                signs.append("@+"[is_goal])
            else:
                signs.append("$*"[is_goal] if boxes >> cell & 1 else "-."[is_goal])
        lines = (signs[n : n + level.columns] for n in range(0, len(signs), level.columns))
        board = "\n".join(" ".join(line) for line in lines)
        return f"{board}\nEvery box is on a goal." if state.is_solved else board

    def action_text(self, state: Warehouse, agent: str, action: str) -> str:
        return action

    def rules_text(self, agent: str) -> str:
        return (
            "Push every box onto a goal. # is a wall, - is floor, . is a goal, $ is a box, * is a box on a goal, @ is "
            "you, and + is you on a goal. Stepping onto a box pushes it if the cell beyond is free; boxes cannot be "
            f"pulled. A move is one of: {', '.join(DIRECTIONS)}; you must be able to take that step."
        )

    def instance_key(self, start: Warehouse) -> str:
        return repr(start)

    def success(self, episode: Episode[Warehouse], agent: str) -> bool:
        """Every box is on a goal."""
        return episode.final_state.state.is_solved

    def scripted_player(self) -> "AttentiveSokoban":
        return AttentiveSokoban()


def _made_levels(
    rows: int, columns: int, boxes: int, wall_probability: float, pulls: int
) -> Distribution[Warehouse]:
    """Levels that are made backwards: walls, goals with boxes, a player, and pulls (lazy)."""
    inner = [r * columns + c for r in range(1, rows - 1) for c in range(1, columns - 1)]
    coin = Finite(
        mixture(
            [(wall_probability, deterministic(True)), (1 - wall_probability, deterministic(False))]
        ).pmf()
    )
    walls = product([coin] * len(inner))
    floors = walls.map(lambda drawn: tuple(n for n, w in zip(inner, drawn, strict=True) if not w))
    roomy = floors.condition(lambda cells: len(cells) > boxes + 1)

    def placed(cells: tuple[int, ...]) -> Distribution[Warehouse]:
        floor, dist = sum(1 << n for n in cells), deterministic(0)
        goals: Distribution[Cells] = dist
        for _ in range(boxes):
            goals = goals.bind(
                lambda taken: uniform([taken | 1 << n for n in cells if not taken >> n & 1])
            )
        return goals.bind(
            lambda taken: uniform(
                [
                    Warehouse(Level(rows, columns, floor, taken), Position(taken, n))
                    for n in cells
                    if not taken >> n & 1
                ]
            )
        )

    dist = roomy.bind(placed)
    for _ in range(pulls):
        dist = dist.bind(_pulled)
    return dist.condition(lambda warehouse: not warehouse.is_solved)


def _pulled(warehouse: Warehouse) -> Distribution[Warehouse]:
    """A warehouse after one pull, all possible pulls being equally likely; unchanged if none is possible."""
    pulls = _pulls(warehouse.level, warehouse.position)
    return uniform(
        [Warehouse(warehouse.level, position) for position in pulls or [warehouse.position]]
    )


@final
@attrs.frozen(kw_only=True)
class AttentiveSokoban(AbstractPlayer[Warehouse, str]):
    """Sometimes takes a step of a shortest solution; otherwise, or if there is none, any step.

    Attributes:
      attention: probability that it looks, in [0, 1]; with 1 it plays perfectly.
    """

    attention: float = probability_field("attention", default=0.7)

    def action_dist(self, state: Warehouse, agent: str) -> Distribution[str]:
        left = distances(state.level)
        steps = {d: p for d in DIRECTIONS if (p := moved(state.level, state.position, d))}
        known = {d: left[position] for d, position in steps.items() if position in left}
        good = [d for d, distance in known.items() if distance == min(known.values())]
        return Finite(attentive(self.attention, uniform(good or steps), uniform(steps)).pmf())
