"""Snake: eat good food, and do not run into anything.

The rules are SnakeBench's, as released by the paper's first author in FastSnake. Snakes move at the same time. A snake
dies on a wall, on the cells of any snake before the move, and if heads meet; a dead snake vanishes. Whatever is eaten
makes the snake one cell longer and comes back at once on a free cell.

Two things differ from that code: free cells are uniform (there, coordinates are transposed), and a death costs
``death_reward`` and nothing else.
"""

import enum
import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Literal, final

import attrs

from games.arguments import integer_field, number_field, one_of, probability_field
from tsmg import (
    AbstractExplicitGame,
    AbstractPlayer,
    Distribution,
    Facts,
    Finite,
    InvalidArgumentError,
    Transition,
    deterministic,
    mixture,
    uniform,
)
from tsmg.invalid import AbstractInvalidRule, PlayRandomLegal


class Direction(enum.Enum):
    """Where a head moves, as (right, up)."""

    UP = (0, 1)
    DOWN = (0, -1)
    LEFT = (-1, 0)
    RIGHT = (1, 0)


_DIRECTIONS = tuple(Direction)
_TEXTS = {direction: direction.name.lower() for direction in Direction}

Cell = tuple[int, int]
Food = Literal["apple", "banana", "fire"]
FOODS: tuple[Food, ...] = ("apple", "banana", "fire")
_PLURALS = {"apple": "Apples", "banana": "Bananas", "fire": "Fires"}
_LETTERS = {"apple": "A", "banana": "B", "fire": "F"}

ObservationStyle = Literal["grid", "coordinates", "both"]


@final
@attrs.frozen(cache_hash=True)
class Board:
    """A board with its snakes and foods. Cells are (x, y) from (0, 0) at the bottom left.

    Attributes:
      width, height: in cells.
      snakes: the cells of each snake, its head first; none once it is dead.
      foods: the cells of each kind of food, as in ``FOODS``, sorted.
    """

    width: int
    height: int
    snakes: tuple[tuple[Cell, ...], ...]
    foods: tuple[tuple[Cell, ...], ...]

    @property
    def alive(self) -> tuple[int, ...]:
        """The numbers of the living snakes."""
        return tuple([i for i, cells in enumerate(self.snakes) if cells])

    def holds(self, cell: Cell) -> bool:
        """Whether the cell is on the board."""
        return 0 <= cell[0] < self.width and 0 <= cell[1] < self.height

    def free_cells(self) -> tuple[Cell, ...]:
        """The empty cells, row by row from the bottom."""
        taken = set(itertools.chain(*self.snakes, *self.foods))
        return tuple([cell for cell in _cells(self.width, self.height) if cell not in taken])

    def with_food(self, kind: int, cell: Cell) -> "Board":
        """The board with one more food."""
        cells = tuple(sorted((*self.foods[kind], cell)))
        foods = (*self.foods[:kind], cells, *self.foods[kind + 1 :])
        return Board(self.width, self.height, self.snakes, foods)


@functools.lru_cache(maxsize=64)
def _cells(width: int, height: int) -> tuple[Cell, ...]:
    """All cells, row by row from the bottom."""
    return tuple((x, y) for y in range(height) for x in range(width))


def _after(cell: Cell, direction: Direction) -> Cell:
    right, up = direction.value
    return cell[0] + right, cell[1] + up


@functools.lru_cache(maxsize=1024)
def _uniform_index(count: int) -> Distribution[int]:
    return uniform(range(count))


def _place(board: Board, put: Callable[[Cell], Board]) -> Distribution[Board]:
    """The distribution of the board after ``put`` on a uniform free cell; unchanged where none is free."""
    free = board.free_cells()
    return _uniform_index(len(free)).map(lambda i: put(free[i])) if free else deterministic(board)


@final
@attrs.frozen(kw_only=True)
class Snake(AbstractExplicitGame[Board, Direction]):
    """Steer a snake to the apples; walls and snakes kill.

    Agents: ``snake_1``, ``snake_2``, ...; simultaneous.
    States: a board.
    Actions: up, down, left, right; turning back kills a snake of more than one cell.
    Observation text: the grid, coordinates, or both.
    Action text: the direction's name.
    Rewards: for food, for dying (once), and for every step that a living snake takes.
    Invalid rule: a uniformly random move.
    Horizon: 20, unless given. The game ends when at most one snake lives; a lone snake plays until it dies.

    Attributes:
      width, height: size of the board, in cells.
      snakes: number of snakes.
      apples, bananas, fires: number of each food on the board.
      apple_reward, banana_reward, fire_reward: reward of eating one.
      death_reward: reward of dying.
      step_reward: reward of every step, including the step of dying.
      observation: which text the players read: ``"grid"``, ``"coordinates"`` or ``"both"``.
      horizon: time limit H, in steps.

    Source: FastSnake by the paper's first author (rules; SnakeBench's before).
    """

    width: int = integer_field("width", default=10, least=1)
    height: int = integer_field("height", default=10, least=1)
    snakes: int = integer_field("snakes", default=2, least=1)
    apples: int = integer_field("apples", default=5, least=0)
    bananas: int = integer_field("bananas", default=0, least=0)
    fires: int = integer_field("fires", default=0, least=0)
    apple_reward: float = number_field("apple_reward", default=1.0)
    banana_reward: float = number_field("banana_reward", default=10.0)
    fire_reward: float = number_field("fire_reward", default=-1.0)
    death_reward: float = number_field("death_reward", default=-2.0)
    step_reward: float = number_field("step_reward", default=0.0)
    observation: ObservationStyle = attrs.field(
        default="both", validator=one_of("grid", "coordinates", "both")
    )
    horizon: int = integer_field("horizon", default=20, least=1)
    invalid_rule: AbstractInvalidRule = attrs.field(factory=PlayRandomLegal)
    agents: tuple[str, ...] = attrs.field(init=False)
    facts: Facts = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        things = self.snakes + sum(self._food_counts)
        if things > self.width * self.height:
            raise InvalidArgumentError(
                f"'width' times 'height' must be at least the {things} things to place "
                f"(got {self.width} x {self.height})"
            )

    @agents.default
    def _names(self) -> tuple[str, ...]:
        return tuple(f"snake_{i + 1}" for i in range(self.snakes))

    @facts.default
    def _declare(self) -> Facts:
        return Facts(
            perfect_information=self.observation != "grid",  # a grid does not tell how a body winds
            text_separates_states=self.observation != "grid",
            symmetric=True,
        )

    @property
    def _food_counts(self) -> tuple[int, ...]:
        return self.apples, self.bananas, self.fires

    @property
    def food_rewards(self) -> tuple[float, ...]:
        """The reward of each kind of food, as in ``FOODS``."""
        return self.apple_reward, self.banana_reward, self.fire_reward

    def initial_state_dist(self) -> Distribution[Board]:
        nothing = Board(self.width, self.height, snakes=(), foods=((),) * len(FOODS))
        dist: Distribution[Board] = deterministic(nothing)
        for kind, count in enumerate(self._food_counts):
            for _ in range(count):
                dist = dist.bind(functools.partial(_place_food, kind))
        for _ in range(self.snakes):
            dist = dist.bind(_place_snake)
        return dist

    def is_terminal(self, state: Board) -> bool:
        return len(state.alive) <= (1 if self.snakes > 1 else 0)

    def acting_agents(self, state: Board) -> tuple[str, ...]:
        return () if self.is_terminal(state) else tuple([self.agents[i] for i in state.alive])

    def is_out(self, state: Board, agent: str) -> bool:
        return not state.snakes[self.agents.index(agent)]

    def legal_actions(self, state: Board, agent: str) -> tuple[Direction, ...]:
        return _DIRECTIONS if agent in self.acting_agents(state) else ()

    def transition_dist(
        self, state: Board, joint_action: Mapping[str, Direction]
    ) -> Distribution[Transition[Board]]:
        heads = {i: _after(state.snakes[i][0], joint_action[self.agents[i]]) for i in state.alive}
        dead = _dead(state, heads)
        snakes = list(state.snakes)
        foods = [list(cells) for cells in state.foods]
        rewards = [0.0] * self.snakes
        eaten = []
        for i, head in heads.items():
            rewards[i] += self.step_reward
            if i in dead:
                snakes[i] = ()
                rewards[i] += self.death_reward
                continue
            kind = next((k for k, cells in enumerate(foods) if head in cells), None)
            snakes[i] = (head, *(state.snakes[i] if kind is not None else state.snakes[i][:-1]))
            if kind is not None:
                foods[kind].remove(head)
                rewards[i] += self.food_rewards[kind]
                eaten.append(kind)
        moved = Board(self.width, self.height, tuple(snakes), tuple(map(tuple, foods)))
        dist: Distribution[Board] = deterministic(moved)
        for kind in eaten:
            dist = dist.bind(functools.partial(_place_food, kind))
        return dist.map(functools.partial(Transition, rewards_N=tuple(rewards)))

    def observation_text(self, state: Board, agent: str) -> str:
        own = self.agents.index(agent)
        parts = []
        if self.observation != "coordinates":
            parts.append(_grid_text(state, own))
        if self.observation != "grid":
            parts.append(self._coordinates_text(state, own))
        if not state.snakes[own]:
            parts.append("You are dead.")
        elif self.is_terminal(state):
            parts.append("You are the last one alive.")
        return "\n".join(parts)

    def _coordinates_text(self, state: Board, own: int) -> str:
        lines = [f"Board: {self.width} x {self.height}"]
        for kind, food in enumerate(FOODS):
            if self._food_counts[kind]:
                cells = _cells_text(state.foods[kind])
                lines.append(f"{_PLURALS[food]} ({self.food_rewards[kind]:+g}): {cells}")
        lines.append(f"You: {_snake_text(state.snakes[own])}")
        others = [i for i in range(self.snakes) if i != own]
        for i in others:
            name = "Enemy" if len(others) == 1 else f"Enemy {self.agents[i]}"
            lines.append(f"{name}: {_snake_text(state.snakes[i])}")
        return "\n".join(lines)

    def action_text(self, state: Board, agent: str, action: Direction) -> str:
        return _TEXTS[action]

    def rules_text(self, agent: str) -> str:
        present = [f for f, count in zip(FOODS, self._food_counts, strict=True) if count]
        rewards = dict(zip(FOODS, self.food_rewards, strict=True))
        worth = ", ".join(f"{food} {rewards[food]:+g}" for food in present)
        legend = ", ".join(f"{_LETTERS[food]} {food}" for food in present)
        return (
            "You steer a snake; all snakes move at the same time. In a grid, Y is your head, y your "
            f"body, E and e the others', . is free{', ' if legend else ''}{legend}; coordinates "
            "are (x, y), x to the right and y up, from (0, 0) at the bottom left. "
            f"Eating ({worth or 'nothing here'}) makes you one cell longer. Walls, bodies and heads kill "
            f"({self.death_reward:+g}). A move is one of: up, down, left, right."
        )

    def scripted_player(self) -> "GreedySnake":
        return GreedySnake(game=self, attention=0.5)


def _place_food(kind: int, board: Board) -> Distribution[Board]:
    return _place(board, functools.partial(board.with_food, kind))


def _place_snake(board: Board) -> Distribution[Board]:
    return _place(
        board,
        lambda cell: Board(board.width, board.height, (*board.snakes, (cell,)), board.foods),
    )


def _dead(board: Board, heads: Mapping[int, Cell]) -> set[int]:
    """The snakes that die: on a wall, on a snake as it lay before the move, or head to head."""
    bodies = set(itertools.chain(*board.snakes))
    targets = list(heads.values())
    return {
        i
        for i, head in heads.items()
        if not board.holds(head) or head in bodies or targets.count(head) > 1
    }


@functools.lru_cache(maxsize=4096)
def _cells_text(cells: tuple[Cell, ...]) -> str:
    return " ".join([f"({x}, {y})" for x, y in cells]) or "none"


@functools.lru_cache(maxsize=4096)  # every player reads of every snake
def _snake_text(cells: tuple[Cell, ...]) -> str:
    if not cells:
        return "dead"
    return f"head {_cells_text(cells[:1])}, body {_cells_text(cells[1:])}"


@functools.lru_cache(maxsize=64)
def _empty_grid(width: int, height: int) -> bytes:
    return "\n".join([" ".join("." * width)] * height).encode()


def _grid_text(board: Board, own: int) -> str:
    """Rows of spaced letters, the top row first."""
    text = bytearray(_empty_grid(board.width, board.height))
    line = 2 * board.width  # characters of a row
    bottom = (board.height - 1) * line
    for kind, food in enumerate(FOODS):
        for x, y in board.foods[kind]:
            text[bottom - y * line + 2 * x] = ord(_LETTERS[food])
    for i, cells in enumerate(board.snakes):
        letter = ord("Y" if i == own else "E")
        for x, y in cells:
            text[bottom - y * line + 2 * x] = letter
            letter |= 32  # a small letter after the head
    return text.decode()


def _safe(board: Board, own: int) -> list[Direction]:
    """The moves that avoid the walls and the snake's own cells; all of them where none does."""
    body = board.snakes[own]
    steps = {direction: _after(body[0], direction) for direction in _DIRECTIONS}
    safe = [d for d, cell in steps.items() if board.holds(cell) and cell not in body]
    return safe or list(_DIRECTIONS)


@final
@attrs.frozen(kw_only=True)
class SafeSnake(AbstractPlayer[Board, Direction]):
    """Moves uniformly among the moves that avoid the walls and its own cells.

    Attributes:
      game: the game that it plays.
    """

    game: Snake

    def action_dist(self, state: Board, agent: str) -> Distribution[Direction]:
        return uniform(_safe(state, self.game.agents.index(agent)))


@final
@attrs.frozen(kw_only=True)
class GreedySnake(AbstractPlayer[Board, Direction]):
    """Moves towards the nearest food, by a move that avoids the walls and its own cells.

    Attributes:
      game: the game that it plays.
      attention: probability that it looks, in [0, 1]; otherwise it moves at random.
      kinds: the foods that it seeks.
    """

    game: Snake
    attention: float = probability_field("attention", default=1.0)
    kinds: tuple[Food, ...] = ("apple",)

    def action_dist(self, state: Board, agent: str) -> Distribution[Direction]:
        own = self.game.agents.index(agent)
        safe = _safe(state, own)
        foods = [cell for kind in self.kinds for cell in state.foods[FOODS.index(kind)]]
        distances = {
            d: min((_distance(_after(state.snakes[own][0], d), food) for food in foods), default=0)
            for d in safe
        }
        best = [d for d in safe if distances[d] == min(distances.values())]
        dist = mixture(
            [(self.attention, uniform(best)), (1 - self.attention, uniform(_DIRECTIONS))]
        )
        return Finite(dist.pmf())


def _distance(a: Cell, b: Cell) -> int:
    return abs(a[0] - b[0]) + abs(a[1] - b[1])
