"""Frozen Lake: cross a frozen lake without falling into a hole.

The rules are Gymnasium's (``FrozenLake-v1``): four moves, stopped by the border; when the ice is
slippery, each of the intended direction and the two beside it has probability 1/3; reward 1 at the
goal.
"""

import enum
import functools
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Literal, final

import attrs

from games.arguments import boolean_field, integer_field, one_of, probability_field, to_horizon
from games.attention import attentive
from tsmg import (
    AbstractExplicitGame,
    AbstractPlayer,
    Distribution,
    Ending,
    Episode,
    Facts,
    Finite,
    InvalidArgumentError,
    Transition,
    deterministic,
    product,
    uniform,
)
from tsmg.invalid import AbstractInvalidRule, StandStill


class Move(enum.Enum):
    """The four moves, in Gymnasium's order."""

    LEFT = 0
    DOWN = 1
    RIGHT = 2
    UP = 3


_STEPS = {Move.LEFT: (0, -1), Move.DOWN: (1, 0), Move.RIGHT: (0, 1), Move.UP: (-1, 0)}
_MOVES = tuple(Move)
_TEXTS = {move: move.name.lower() for move in Move}
_AGENT = "player"
_NOTHING = (0.0,)
_GOAL_REWARD = (1.0,)

_ENDINGS = {"F": "", "H": "\nYou fell into a hole.", "G": "\nYou reached the goal."}

ObservationStyle = Literal["grid", "coordinates", "both"]


@functools.lru_cache(maxsize=256)
def _targets(height: int, width: int) -> tuple[tuple[int, ...], ...]:
    """The cell that each move leads to from each cell of a map of this shape; the border stops it."""

    def target(position: int, move: Move) -> int:
        row, column = divmod(position, width)
        down, right = _STEPS[move]
        inside = 0 <= row + down < height and 0 <= column + right < width
        return position + down * width + right if inside else position

    return tuple(tuple(target(i, move) for move in _MOVES) for i in range(height * width))


@final
@attrs.frozen(cache_hash=True, slots=False)
class Lake:
    """A map: rows of ``F`` (frozen), ``H`` (hole) and ``G`` (goal), and where the player starts.

    Example:
      >>> lake = Lake.parse(["SF", "HG"])
      >>> lake.rows, lake.start, lake.is_solvable()
      (('FF', 'HG'), 0, True)
    """

    rows: tuple[str, ...]
    start: int = 0

    @classmethod
    def parse(cls, rows: "tuple[str, ...] | list[str]") -> "Lake":
        """A map in Gymnasium's notation, with one ``S`` for the start.

        Raises:
          InvalidArgumentError: ragged rows, a foreign letter, or not exactly one ``S``.
        """
        cells = "".join(rows)
        if not rows or any(len(row) != len(rows[0]) for row in rows) or not rows[0]:
            raise InvalidArgumentError(f"'rows' must have one common length (got {rows!r})")
        if set(cells) - set("SFHG"):
            raise InvalidArgumentError(f"'rows' must consist of S, F, H and G (got {rows!r})")
        if cells.count("S") != 1:
            raise InvalidArgumentError(f"'rows' must have exactly one S (got {cells.count('S')})")
        return cls(tuple(row.replace("S", "F") for row in rows), cells.index("S"))

    @property
    def height(self) -> int:
        """Number of rows."""
        return len(self.rows)

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.rows[0])

    @functools.cached_property
    def cells(self) -> str:
        """All cells in reading order."""
        return "".join(self.rows)

    @functools.cached_property
    def goals(self) -> tuple[int, ...]:
        """The goals' positions."""
        return tuple(i for i, cell in enumerate(self.cells) if cell == "G")

    def target(self, position: int, move: Move) -> int:
        """The cell that a move leads to; the border stops it."""
        return _targets(self.height, self.width)[position][move.value]

    def is_solvable(self) -> bool:
        """Whether a path over the ice leads from the start to a goal."""
        cells, targets = self.cells, _targets(self.height, self.width)
        seen, frontier = {self.start}, [self.start]
        while frontier:
            position = frontier.pop()
            if cells[position] == "G":
                return True
            for to in targets[position] if cells[position] == "F" else ():
                if to not in seen:
                    seen.add(to)
                    frontier.append(to)
        return False

    def distance_to_goal(self, position: int) -> int:
        """Least Manhattan distance to a goal, holes ignored; the map's size if there is none."""
        row, column = divmod(position, self.width)
        goals = (divmod(goal, self.width) for goal in self.goals)
        distances = (abs(row - r) + abs(column - c) for r, c in goals)
        return min(distances, default=len(self.cells))


@final
@attrs.frozen(cache_hash=True)
class LakeState:
    """A map, and the player's position on it."""

    lake: Lake
    position: int

    @property
    def cell(self) -> str:
        """The letter of the cell under the player."""
        return self.lake.cells[self.position]


def grid_text(state: LakeState, agent: str = _AGENT) -> str:
    """The map as rows of spaced letters with ``P`` for the player, then how the game ended."""
    grid, at = _grid(state.lake), 2 * state.position
    return f"{grid[:at]}P{grid[at + 1 :]}{_ENDINGS[state.cell]}"


def coordinates_text(state: LakeState, agent: str = _AGENT) -> str:
    """The state in words: (row, column) of player, goals and holes, from (1, 1) at the top left."""
    lake = state.lake
    size = f"Size: {lake.height} rows, {lake.width} columns"
    you = f"You: {_place(lake, state.position)}"
    return f"{size}\n{you}\n{_landmarks(lake)}{_ENDINGS[state.cell]}"


def both_text(state: LakeState, agent: str = _AGENT) -> str:
    """The grid, then the coordinates."""
    grid, _, _ = grid_text(state).partition("\nYou ")
    return f"{grid}\n{coordinates_text(state)}"


OBSERVATION_TEXTS: Mapping[ObservationStyle, Callable[[LakeState, str], str]] = {
    "grid": grid_text,
    "coordinates": coordinates_text,
    "both": both_text,
}


def _place(lake: Lake, position: int) -> str:
    row, column = divmod(position, lake.width)
    return f"({row + 1}, {column + 1})"


@functools.lru_cache(maxsize=4096)
def _grid(lake: Lake) -> str:
    """Rows of spaced letters; cell i is at index 2 i."""
    return "\n".join(" ".join(row) for row in lake.rows)


@functools.lru_cache(maxsize=4096)
def _landmarks(lake: Lake) -> str:
    def places(letter: str) -> str:
        cells = [_place(lake, i) for i, mark in enumerate(lake.cells) if mark == letter]
        return ", ".join(cells) or "none"

    return f"Goal: {places('G')}\nHoles: {places('H')}"


@functools.lru_cache(maxsize=64)
def random_lake_dist(size: int, frozen_probability: float) -> Distribution[Lake]:
    """The distribution of maps whose inner cells are frozen independently, given that the map is solvable.

    The start is the top left cell and the goal the bottom right one. The distribution is lazy: it is sampled
    cell by cell, and enumerated only on demand (2^(size^2 - 2) maps).
    """
    p = Fraction(str(frozen_probability))
    cell = deterministic("F") if p == 1 else Finite((("F", p), ("H", 1 - p)))
    corners = {0: deterministic("F"), size * size - 1: deterministic("G")}
    cells = product([corners.get(i, cell) for i in range(size * size)])

    def lake(letters: tuple[str, ...]) -> Lake:
        joined = "".join(letters)
        return Lake(tuple(joined[i : i + size] for i in range(0, size * size, size)))

    return cells.map(lake).condition(Lake.is_solvable)


def _to_lake(rows: Lake | tuple[str, ...] | list[str] | None) -> Lake | None:
    return rows if rows is None or isinstance(rows, Lake) else Lake.parse(rows)


@final
@attrs.frozen(kw_only=True)
class FrozenLake(AbstractExplicitGame[LakeState, Move]):
    """Cross a frozen lake to the goal without falling into a hole.

    Agents: one, ``player``.
    States: a map and the player's cell; a map is drawn once, at the start.
    Actions: left, down, right, up.
    Observation text: the grid, coordinates, or both.
    Action text: the move's name.
    Rewards: 1 on reaching a goal, else 0.
    Invalid rule: the player stands still (a step passes) and pays 0.1.
    Horizon: three times the size (of a given map: its longer side), unless given.

    Attributes:
      size: rows and columns of random maps; at least 2.
      frozen_probability: probability that an inner cell of a random map is frozen, in (0, 1].
      slippery: whether a move may go sideways (probability 1/3 each way).
      map: a given map, as rows of S, F, H and G with one S; replaces random maps.
      observation: which text the player reads: ``"grid"``, ``"coordinates"`` or ``"both"``.
      horizon: time limit H, in steps.

    Source: Gymnasium ``FrozenLake-v1`` (rules).
    """

    size: int = integer_field("size", default=4, least=2)
    frozen_probability: float = probability_field("frozen_probability", default=0.8, positive=True)
    slippery: bool = boolean_field("slippery", default=False)
    map: Lake | None = attrs.field(default=None, converter=_to_lake)
    observation: ObservationStyle = attrs.field(
        default="grid", validator=one_of(*OBSERVATION_TEXTS)
    )
    horizon: int = attrs.field(converter=to_horizon)
    invalid_rule: AbstractInvalidRule = StandStill(penalty=0.1)
    facts: Facts = attrs.field(init=False)

    agents = (_AGENT,)

    @horizon.default
    def _three_sizes(self) -> int:
        return 3 * (self.size if self.map is None else max(self.map.height, self.map.width))

    @facts.default
    def _declare(self) -> Facts:
        return Facts(
            perfect_information=True,
            text_separates_states=True,
            stochastic_start=self.map is None and self.frozen_probability < 1,
            stochastic_transitions=self.slippery,
            start_is_instance=self.map is None,
            return_bounds=(0.0, 1.0),
        )

    def initial_state_dist(self) -> Distribution[LakeState]:
        if self.map is not None:
            return deterministic(LakeState(self.map, self.map.start))
        lakes = random_lake_dist(self.size, self.frozen_probability)
        return lakes.map(lambda lake: LakeState(lake, lake.start))

    def is_terminal(self, state: LakeState) -> bool:
        return state.cell in "HG"

    def acting_agents(self, state: LakeState) -> tuple[str, ...]:
        return () if self.is_terminal(state) else self.agents

    def legal_actions(self, state: LakeState, agent: str) -> tuple[Move, ...]:
        return () if self.is_terminal(state) else _MOVES

    def transition_dist(
        self, state: LakeState, joint_action: Mapping[str, Move]
    ) -> Distribution[Transition[LakeState]]:
        return _transition_dist(state.lake, state.position, joint_action[_AGENT], self.slippery)

    def observation_text(self, state: LakeState, agent: str) -> str:
        return OBSERVATION_TEXTS[self.observation](state, agent)

    def action_text(self, state: LakeState, agent: str, action: Move) -> str:
        return _TEXTS[action]

    def rules_text(self, agent: str) -> str:
        slip = (
            " The ice is slippery: a move goes in the named direction or in one of the two beside "
            "it, each with probability 1/3."
            if self.slippery
            else ""
        )
        return (
            "You cross a frozen lake. In a grid, P is you, F is ice, H is a hole and G is the "
            "goal; in coordinates, (row, column) counts from (1, 1) at the top left. Reach the "
            f"goal without falling into a hole.{slip} A move is one of: left, down, right, up."
        )

    def instance_key(self, start: LakeState) -> str:
        return "/".join(start.lake.rows)

    def success(self, episode: Episode[LakeState], agent: str) -> bool:
        return episode.ending is Ending.TERMINATED and episode.final_state.state.cell == "G"

    def scripted_player(self) -> "MyopicPlayer":
        return MyopicPlayer()


@functools.lru_cache(maxsize=16_384)
def _transition_dist(
    lake: Lake, position: int, move: Move, slippery: bool
) -> Distribution[Transition[LakeState]]:
    """The transition distribution; cached, since small lakes are revisited all the time."""

    def arrive(taken: Move) -> Transition[LakeState]:
        state = LakeState(lake, lake.target(position, taken))
        return Transition(state, _GOAL_REWARD if state.cell == "G" else _NOTHING)

    if not slippery:
        return deterministic(arrive(move))
    sideways = (Move((move.value - 1) % 4), move, Move((move.value + 1) % 4))
    return Finite(uniform(sideways).map(arrive).pmf())


@final
@attrs.frozen(kw_only=True)
class MyopicPlayer(AbstractPlayer[LakeState, Move]):
    """A mediocre player that looks one step ahead.

    With probability ``attention`` it considers the moves that do not lead into a hole or the border, and draws one of
    those that come nearest to the goal; otherwise it moves at random. It does not plan, so it walks into dead ends and
    stays there.

    Attributes:
      attention: probability that it looks, in [0, 1].
    """

    attention: float = probability_field("attention", default=0.4)

    def action_dist(self, state: LakeState, agent: str) -> Distribution[Move]:
        return _myopic_dist(state.lake, state.position, self.attention)


@functools.lru_cache(maxsize=16_384)
def _myopic_dist(lake: Lake, position: int, attention: float) -> Distribution[Move]:
    targets = {move: lake.target(position, move) for move in _MOVES}
    safe = [move for move, to in targets.items() if lake.cells[to] != "H" and to != position]
    if not safe:
        return uniform(_MOVES)
    distances = {move: lake.distance_to_goal(targets[move]) for move in safe}
    nearest = [move for move in safe if distances[move] == min(distances.values())]
    dist = attentive(attention, uniform(nearest), uniform(_MOVES))
    return Finite(dist.pmf())
