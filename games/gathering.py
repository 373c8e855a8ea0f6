"""Gathering: players eat apples that grow again, and may tag each other out for a while.

Source: J. Z. Leibo, V. Zambaldi, M. Lanctot, J. Marecki, T. Graepel, "Multi-agent reinforcement learning in sequential
social dilemmas", 2017 (rules).
"""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple, final

import attrs

from games.arguments import integer, integer_field, probability_field
from games.attention import attentive
from games.social import social_metrics
from games.walkers import (
    DIRECTIONS,
    Cell,
    Walker,
    ahead,
    cell_text,
    distance,
    grid,
    grid_text,
    moved_dist,
    placed_dist,
    towards,
)
from games.wording import counted
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
    uniform,
)
from tsmg.invalid import AbstractInvalidRule, StandStill

ACTIONS = (*DIRECTIONS, "tag", "stay")
MOST_PLAYERS = 5


class Player(NamedTuple):
    """A player of the grid.

    Attributes:
      walker: where it is and looks; ``None`` while it is out.
      hits: how often it was hit since it came in.
      out: for how many more steps it is out; 0 if it plays.
    """

    walker: Walker | None
    hits: int = 0
    out: int = 0


@final
@attrs.frozen(cache_hash=True)
class Board:
    """The players, and for each cell of the orchard the steps until it has an apple (0 where it has one)."""

    players: tuple[Player, ...]
    growing: tuple[int, ...]

    @property
    def present(self) -> dict[int, Walker]:
        """The players that are not out, by number."""
        return {n: player.walker for n, player in enumerate(self.players) if player.walker}


@functools.lru_cache(maxsize=64)
def orchard(rows: int, columns: int, radius: int) -> tuple[Cell, ...]:
    """The cells within a number of steps from the middle of the grid, in reading order."""
    middle = (rows // 2, columns // 2)
    return tuple(cell for cell in grid(rows, columns) if distance(cell, middle) <= radius)


def to_players(value: object) -> int:
    """A number of players from 1 to 5."""
    count = integer("players", value, least=1)
    if count > MOST_PLAYERS:
        raise InvalidArgumentError(f"'players' must be at most {MOST_PLAYERS} (got {count})")
    return count


@final
@attrs.frozen(kw_only=True)
class Gathering(AbstractExplicitGame[Board, str]):
    """Eat apples that grow again; a player that is tagged is out for a while.

    Agents: ``player_1``, ``player_2``, ...; simultaneous. One player is the game without rivals.
    States: each player's cell, direction, hits and time out; for each cell of the orchard the time until its apple.
    Actions: up, down, left, right, tag, stay.
    Observation text: the grid, every player, and where apples grow.
    Action text: the action's name.
    Rewards: 1 for an apple; tagging earns and costs nothing.
    Invalid rule: the offender stays; if nobody else acts, the whole game stands still (a step passes).
    Metrics: efficiency, equality, sustainability and peace (``games.social``).
    Exact values: a lone player at a single tree eats once in ``apple_delay + 1`` steps at most.

    All move at the same time. A player looks in the direction in which it moves, and if several would enter a cell, one
    of them does, each with the same probability. Then apples are eaten, then the beams of those who tag hit the first
    player in front of them. Unlike in the paper, a move turns the player, and everyone sees the whole grid.

    Attributes:
      players: from 1 to 5.
      rows, columns: size of the grid.
      radius: the orchard consists of the cells at most this many steps from the middle.
      apple_delay: steps until an eaten apple is there again (N_apple).
      tagged_steps: steps that a tagged player is out (N_tagged).
      hits: how many hits tag a player; two in the paper.
      reach: length of the beam, in cells.
      horizon: time limit H, in steps.

    Source: J. Z. Leibo et al., 2017.
    """

    players: int = attrs.field(default=2, converter=to_players)
    rows: int = integer_field("rows", default=5, least=1)
    columns: int = integer_field("columns", default=7, least=1)
    radius: int = integer_field("radius", default=1, least=0)
    apple_delay: int = integer_field("apple_delay", default=5, least=1)
    tagged_steps: int = integer_field("tagged_steps", default=5, least=1)
    hits: int = integer_field("hits", default=2, least=1)
    reach: int = integer_field("reach", default=3, least=1)
    horizon: int = integer_field("horizon", default=20, least=1)
    invalid_rule: AbstractInvalidRule = StandStill()
    agents: tuple[str, ...] = attrs.field(init=False)
    facts: Facts = attrs.field(init=False)
    _cells: frozenset[Cell] = attrs.field(init=False, eq=False, repr=False)
    _orchard: tuple[Cell, ...] = attrs.field(init=False, eq=False, repr=False)

    @agents.default
    def _names(self) -> tuple[str, ...]:
        return tuple(f"player_{n + 1}" for n in range(self.players))

    @facts.default
    def _declare(self) -> Facts:
        return Facts(
            perfect_information=True,
            text_separates_states=True,
            stochastic_start=self.rows * self.columns
            > 1 + len(orchard(self.rows, self.columns, self.radius)),
            return_bounds=(0.0, float(self.horizon)),
        )

    @_cells.default
    def _all_cells(self) -> frozenset[Cell]:
        return frozenset(grid(self.rows, self.columns))

    @_orchard.default
    def _trees(self) -> tuple[Cell, ...]:
        return orchard(self.rows, self.columns, self.radius)

    def __attrs_post_init__(self) -> None:
        if (free := len(self._cells) - len(self._orchard)) < self.players:
            raise InvalidArgumentError(
                f"'rows' times 'columns' must leave {self.players} cells beside the orchard (got {free})"
            )

    def _outside(self, taken: Sequence[Cell]) -> tuple[Cell, ...]:
        """The cells beside the orchard that are not taken."""
        return tuple(sorted(self._cells - set(self._orchard) - set(taken)))

    def initial_state_dist(self) -> Distribution[Board]:
        nobody: tuple[Cell, ...] = ()
        places = placed_dist(self.players, nobody, self._outside, lambda cells, c: (*cells, c))
        ripe = (0,) * len(self._orchard)
        return places.map(
            lambda cells: Board(tuple(Player(Walker(cell, "up")) for cell in cells), ripe)
        )

    def is_terminal(self, state: Board) -> bool:
        return False

    def acting_agents(self, state: Board) -> tuple[str, ...]:
        return tuple(
            a for a, player in zip(self.agents, state.players, strict=True) if not player.out
        )

    def legal_actions(self, state: Board, agent: str) -> tuple[str, ...]:
        return () if state.players[self.agents.index(agent)].out else ACTIONS

    def noop_action(self, state: Board, agent: str) -> str:
        return "stay"

    def transition_dist(
        self, state: Board, joint_action: Mapping[str, str]
    ) -> Distribution[Transition[Board]]:
        chosen = {self.agents.index(agent): action for agent, action in joint_action.items()}
        directions = {n: action for n, action in chosen.items() if action in DIRECTIONS}
        tagging = [n for n, action in chosen.items() if action == "tag"]
        moved = moved_dist(state.present, directions, self._cells)
        return moved.bind(lambda walkers: self._after_moves(state, dict(walkers), tagging))

    def _after_moves(
        self, state: Board, walkers: Mapping[int, Walker], tagging: Sequence[int]
    ) -> Distribution[Transition[Board]]:
        """Apples are eaten and grow, beams hit, and players whose time is over come in again."""
        at = {walker.cell: n for n, walker in walkers.items()}
        rewards = [0.0] * self.players
        growing = []
        for cell, left in zip(self._orchard, state.growing, strict=True):
            is_eaten = not left and cell in at
            if is_eaten:
                rewards[at[cell]] += 1.0
            growing.append(self.apple_delay if is_eaten else max(left - 1, 0))
        players = list(state.players)
        for n, walker in walkers.items():
            players[n] = Player(walker, players[n].hits)
        for n in tagging:
            hit = next((at[c] for c in ahead(walkers[n], self.reach) if c in at), None)
            if hit is not None:
                players[hit] = players[hit]._replace(hits=players[hit].hits + 1)
        for n, player in enumerate(players):
            if player.out:
                players[n] = player._replace(out=player.out - 1)
            elif player.hits >= self.hits:
                players[n] = Player(None, out=self.tagged_steps)
        return self._returned(tuple(players)).map(
            lambda back: Transition(Board(back, tuple(growing)), tuple(rewards))
        )

    def _returned(self, players: tuple[Player, ...]) -> Distribution[tuple[Player, ...]]:
        """Those whose time is over come in one after another, each on a free cell beside the orchard."""
        n = next((n for n, p in enumerate(players) if p.walker is None and not p.out), None)
        if n is None:
            return deterministic(players)
        taken = [player.walker.cell for player in players if player.walker]
        came = uniform(self._outside(taken)).map(lambda cell: Player(Walker(cell, "up")))
        return came.bind(lambda player: self._returned((*players[:n], player, *players[n + 1 :])))

    def observation_text(self, state: Board, agent: str) -> str:
        marks = {
            c: "a" if left else "A" for c, left in zip(self._orchard, state.growing, strict=True)
        }
        marks |= {walker.cell: str(n + 1) for n, walker in state.present.items()}
        lines = [f"You are {agent}.", grid_text(self.rows, self.columns, marks)]
        for name, (walker, hits, out) in zip(self.agents, state.players, strict=True):
            if walker is None:
                lines.append(f"{name}: out for {counted(out, 'more step')}.")
            else:
                where = f"{cell_text(walker.cell)}, looks {walker.facing}"
                lines.append(f"{name}: {where}, hit {counted(hits, 'time')}.")
        bare = [
            f"{cell_text(cell)}, in {counted(left, 'step')}"
            for cell, left in zip(self._orchard, state.growing, strict=True)
            if left
        ]
        lines.append(f"Apples will grow back at: {'; '.join(bare) or 'nowhere'}.")
        return "\n".join(lines)

    def action_text(self, state: Board, agent: str, action: str) -> str:
        return action

    def rules_text(self, agent: str) -> str:
        return (
            f"Eat apples on a grid of {self.rows} rows and {self.columns} columns; each pays 1 and grows back "
            f"{counted(self.apple_delay, 'step')} later. A is an apple, a is a tree without an apple, and digits are "
            "players. All players move at the same time, onto free cells only; a player that ends a step on an apple "
            "eats it. You look in the direction of your last move. To tag is to send a beam that way, "
            f"{counted(self.reach, 'cell')} far, which hits the first player in its path; after "
            f"{counted(self.hits, 'hit')} a player is out for {counted(self.tagged_steps, 'step')}. A move is one of: "
            f"{', '.join(ACTIONS)}."
        )

    def metrics(self, episode: Episode[Board], agent: str) -> Mapping[str, float]:
        """Efficiency, equality, sustainability, and peace if there is more than one player."""
        out_T = [sum(p.out > 0 for p in step.state.state.players) for step in episode.steps]
        return social_metrics(episode, idle_T=out_T if self.players > 1 else None)

    def scripted_player(self) -> "Gatherer":
        return Gatherer(game=self)


@final
@attrs.frozen(kw_only=True)
class Gatherer(AbstractPlayer[Board, str]):
    """Goes to the apple that it can reach first; if its beam would hit somebody, it may tag.

    Attributes:
      game: the game.
      attention: probability that it looks, in [0, 1]; otherwise any action.
      aggression: probability that it tags if it would hit, in [0, 1].
    """

    game: Gathering
    attention: float = probability_field("attention", default=0.8)
    aggression: float = probability_field("aggression", default=0.2)

    def action_dist(self, state: Board, agent: str) -> Distribution[str]:
        present = state.present
        own = present[self.game.agents.index(agent)]
        trees = orchard(self.game.rows, self.game.columns, self.game.radius)
        waits = {
            cell: max(distance(own.cell, cell), left + 1)
            for cell, left in zip(trees, state.growing, strict=True)
        }
        soonest = [cell for cell in trees if waits[cell] == min(waits.values())]
        walk: Distribution[str] = uniform(towards(own.cell, soonest) or ("stay",))
        cells = {walker.cell for walker in present.values()}
        if any(cell in cells for cell in ahead(own, self.game.reach)):
            walk = attentive(self.aggression, deterministic("tag"), walk)
        return Finite(attentive(self.attention, walk, uniform(ACTIONS)).pmf())
