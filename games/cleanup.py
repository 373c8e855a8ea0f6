"""Cleanup: apples grow where the river is clean, and whoever cleans it eats nothing meanwhile.

Source: E. Hughes, J. Z. Leibo, M. Phillips, et al., "Inequity aversion improves cooperation in intertemporal social
dilemmas", 2018 (rules); the probabilities are linear in the waste as in the open reimplementation of E. Vinitsky et
al., "Sequential social dilemma games", 2019.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import final

import attrs

from games.arguments import boolean_field, integer_field, number_field, probability_field
from games.attention import attentive
from games.gathering import to_players
from games.social import social_metrics
from games.walkers import (
    DIRECTIONS,
    Cell,
    Walker,
    ahead,
    cell_text,
    grid,
    grid_text,
    moved_dist,
    placed_dist,
    towards,
)
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


@final
@attrs.frozen(cache_hash=True)
class Board:
    """The players, the river's cells with waste and the orchard's cells with an apple, and who was fined last."""

    walkers: tuple[Walker, ...]
    waste: tuple[Cell, ...]
    apples: tuple[Cell, ...] = ()
    fined: tuple[int, ...] = ()


@functools.lru_cache(maxsize=1024)
def _coin(cell: Cell, p: Fraction) -> Distribution[Cell | None]:
    """The cell with a probability, else ``None``."""
    here: Distribution[Cell | None] = deterministic(cell)
    nowhere: Distribution[Cell | None] = deterministic(None)
    return Finite(mixture([(p, here), (1 - p, nowhere)]).pmf())


@final
@attrs.frozen(kw_only=True)
class Cleanup(AbstractExplicitGame[Board, str]):
    """Clean a river so that apples grow for all, or eat what grows while others clean.

    Agents: ``player_1``, ``player_2``, ...; simultaneous. One player is the game without others to rely on.
    States: each player's cell and direction, the cells with waste and with apples, and who was fined last.
    Actions: up, down, left, right, clean, stay; and fine, if there are fines.
    Observation text: the grid and every player.
    Action text: the action's name.
    Rewards: 1 for an apple; fining costs 1, and being fined costs 50.
    Invalid rule: the offender stays; if nobody else acts, the whole game stands still (a step passes).
    Metrics: efficiency, equality, sustainability, and peace if there are fines (``games.social``; a player that is
    fined at a step counts as timed out at that step).
    Exact values: while nobody cleans, no apple ever grows, and everybody gets nothing.

    All move at the same time. A player looks in the direction in which it moves, and if several would enter a cell, one
    of them does, each with the same probability. Then apples are eaten, each cleaning player removes the nearest waste
    in front of it, and fines hit the first player in front of the one who fines. Then, while the share of the river
    with waste is below the saturation, new waste comes to a clean cell of the river, and every free cell of the orchard
    gets a new apple. The probability of an apple falls with the share, from ``apple_probability`` to 0. At the
    beginning the waste is at the saturation. Unlike in the paper, a move turns the player, and everyone sees the whole
    grid.

    Attributes:
      players: from 1 to 5.
      rows: of the grid.
      river, land, orchard: columns of the three parts, from left to right.
      saturation: the share of the river with waste from which on no apples grow, in (0, 1].
      apple_probability: that an apple grows on a free cell of the orchard if the river is clean.
      waste_probability: that waste comes in a step.
      reach: how far players clean and fine, in cells.
      fining: whether players may fine each other.
      fine_cost: what it costs to fine; paid whether or not anybody is hit.
      fine: what it costs to be fined.
      horizon: time limit H, in steps.

    Source: E. Hughes et al., 2018.
    """

    players: int = attrs.field(default=2, converter=to_players)
    rows: int = integer_field("rows", default=3, least=1)
    river: int = integer_field("river", default=2, least=1)
    land: int = integer_field("land", default=2, least=1)
    orchard: int = integer_field("orchard", default=2, least=1)
    saturation: float = probability_field("saturation", default=0.5, positive=True)
    apple_probability: float = probability_field("apple_probability", default=0.3)
    waste_probability: float = probability_field("waste_probability", default=0.3)
    reach: int = integer_field("reach", default=3, least=1)
    fining: bool = boolean_field("fining", default=False)
    fine_cost: float = number_field("fine_cost", default=1.0)
    fine: float = number_field("fine", default=50.0)
    horizon: int = integer_field("horizon", default=20, least=1)
    invalid_rule: AbstractInvalidRule = StandStill()
    agents: tuple[str, ...] = attrs.field(init=False)
    facts: Facts = attrs.field(init=False)
    actions: tuple[str, ...] = attrs.field(init=False, repr=False)
    _cells: frozenset[Cell] = attrs.field(init=False, eq=False, repr=False)
    river_cells: tuple[Cell, ...] = attrs.field(init=False, eq=False, repr=False)
    orchard_cells: tuple[Cell, ...] = attrs.field(init=False, eq=False, repr=False)

    @agents.default
    def _names(self) -> tuple[str, ...]:
        return tuple(f"player_{n + 1}" for n in range(self.players))

    @facts.default
    def _declare(self) -> Facts:
        return Facts(
            perfect_information=True,
            text_separates_states=True,
            stochastic_start=self.rows * self.land > 1
            or 0 < self._saturated < self.rows * self.river,
            return_bounds=None if self.fining else (0.0, float(self.horizon)),
        )

    @actions.default
    def _all_actions(self) -> tuple[str, ...]:
        return (*DIRECTIONS, "clean", *(["fine"] if self.fining else []), "stay")

    @_cells.default
    def _all_cells(self) -> frozenset[Cell]:
        return frozenset(grid(self.rows, self.columns))

    @river_cells.default
    def _left(self) -> tuple[Cell, ...]:
        return tuple(cell for cell in sorted(self._cells) if cell[1] < self.river)

    @orchard_cells.default
    def _right(self) -> tuple[Cell, ...]:
        first = self.river + self.land
        return tuple(cell for cell in sorted(self._cells) if cell[1] >= first)

    def __attrs_post_init__(self) -> None:
        if (free := self.rows * self.land) < self.players:
            raise InvalidArgumentError(
                f"'rows' times 'land' must be at least the {self.players} players (got {free})"
            )

    @property
    def columns(self) -> int:
        """Columns of the grid."""
        return self.river + self.land + self.orchard

    def apple_chance(self, waste: int) -> Fraction:
        """The probability that an apple grows on a free cell of the orchard, given the number of cells with waste.

        Example:
          >>> game = Cleanup(rows=2, river=2, saturation=0.5, apple_probability=0.4)
          >>> [str(game.apple_chance(waste)) for waste in range(4)]
          ['2/5', '1/5', '0', '0']
        """
        share = Fraction(waste, len(self.river_cells))
        return _apple_chance(share, self.saturation, self.apple_probability)

    def initial_state_dist(self) -> Distribution[Board]:
        on_land = sorted(self._cells - {*self.river_cells, *self.orchard_cells})
        nobody: tuple[Cell, ...] = ()
        placed = placed_dist(
            self.players, nobody, lambda cs: [c for c in on_land if c not in cs], _with
        )
        wasted = placed_dist(
            self._saturated, nobody, lambda cs: [c for c in self.river_cells if c not in cs], _with
        )
        return placed.bind(
            lambda cells: wasted.map(
                lambda waste: Board(tuple(Walker(c, "up") for c in cells), tuple(sorted(waste)))
            )
        )

    @property
    def _saturated(self) -> int:
        """How many cells with waste saturate the river."""
        return _least_share(self.rows * self.river, self.saturation)

    def is_terminal(self, state: Board) -> bool:
        return False

    def acting_agents(self, state: Board) -> tuple[str, ...]:
        return self.agents

    def legal_actions(self, state: Board, agent: str) -> tuple[str, ...]:
        return self.actions

    def noop_action(self, state: Board, agent: str) -> str:
        return "stay"

    def transition_dist(
        self, state: Board, joint_action: Mapping[str, str]
    ) -> Distribution[Transition[Board]]:
        chosen = [joint_action[agent] for agent in self.agents]
        directions = {n: action for n, action in enumerate(chosen) if action in DIRECTIONS}
        moved = moved_dist(dict(enumerate(state.walkers)), directions, self._cells)
        return moved.bind(lambda walkers: self._after_moves(state, dict(walkers), chosen))

    def _after_moves(
        self, state: Board, walkers: Mapping[int, Walker], chosen: Sequence[str]
    ) -> Distribution[Transition[Board]]:
        """Apples are eaten, waste is cleaned and fines are paid; then apples and waste come."""
        at = {walker.cell: n for n, walker in walkers.items()}
        rewards = [float(walkers[n].cell in state.apples) for n in range(self.players)]
        apples = tuple(cell for cell in state.apples if cell not in at)
        waste, fined = set(state.waste), set()
        for n, action in enumerate(chosen):
            beam = ahead(walkers[n], self.reach)
            if action == "clean":
                waste -= set([cell for cell in beam if cell in state.waste][:1])
            elif action == "fine":
                rewards[n] -= self.fine_cost
                hit = next((at[cell] for cell in beam if cell in at), None)
                if hit is not None:
                    rewards[hit] -= self.fine
                    fined.add(hit)
        placed = tuple(walkers[n] for n in range(self.players))
        free = [cell for cell in self.orchard_cells if cell not in at and cell not in apples]

        def settled(grown: tuple[Cell | None, ...], more: Cell | None) -> Transition[Board]:
            every_apple = sorted([*apples, *(cell for cell in grown if cell is not None)])
            every_waste = sorted([*waste, *([] if more is None else [more])])
            board = Board(placed, tuple(every_waste), tuple(every_apple), tuple(sorted(fined)))
            return Transition(board, tuple(rewards))

        chance = self.apple_chance(len(waste))
        growth = product([_coin(cell, chance) for cell in free] if chance else [])
        return growth.bind(
            lambda grown: self._waste_dist(waste).map(lambda more: settled(grown, more))
        )

    def _waste_dist(self, waste: set[Cell]) -> Distribution[Cell | None]:
        """The cell on which new waste comes, or ``None``."""
        if len(waste) >= self._saturated:
            return deterministic(None)
        coming: Distribution[Cell | None] = uniform(
            [cell for cell in self.river_cells if cell not in waste]
        )
        return attentive(self.waste_probability, coming, deterministic(None))

    def observation_text(self, state: Board, agent: str) -> str:
        marks = {**dict.fromkeys(self.river_cells, "~"), **dict.fromkeys(state.waste, "W")}
        marks |= dict.fromkeys(self.orchard_cells, "a") | dict.fromkeys(state.apples, "A")
        marks |= {walker.cell: str(n + 1) for n, walker in enumerate(state.walkers)}
        lines = [f"You are {agent}.", grid_text(self.rows, self.columns, marks)]
        for n, (cell, facing) in enumerate(state.walkers):
            on = " on waste" if cell in state.waste else ""
            fined = ", was fined" if n in state.fined else ""
            lines.append(f"{self.agents[n]}: {cell_text(cell)}{on}, looks {facing}{fined}.")
        return "\n".join(lines)

    def action_text(self, state: Board, agent: str, action: str) -> str:
        return action

    def rules_text(self, agent: str) -> str:
        fines = (
            f" To fine costs {self.fine_cost:g}, and costs the first player before you {self.fine:g}."
            if self.fining
            else ""
        )
        return (
            f"Eat apples on a grid of {self.rows} rows and {self.columns} columns; each pays 1. W is waste in the "
            "river (~ is clean), A an apple, a an empty tree, digits are players. The less waste, the more apples "
            f"grow; none where {self.saturation:g} of the river or more has waste. More comes now and then. To clean "
            f"takes away the nearest waste where you look (where you moved last), up to {self.reach} cell(s) away."
            f"{fines} All move at the same time, onto cells that are free; who ends a step on an apple eats it. A move "
            f"is one of: {', '.join(self.actions)}."
        )

    def metrics(self, episode: Episode[Board], agent: str) -> Mapping[str, float]:
        """Efficiency, equality, sustainability, and peace if there are fines."""
        states = [step.state.state for step in episode.steps[1:]] + [episode.final_state.state]
        fined_T = [len(state.fined) for state in states] if self.fining and episode.steps else None
        return social_metrics(episode, idle_T=fined_T)

    def scripted_player(self) -> "Citizen":
        return Citizen(game=self)


@functools.lru_cache(maxsize=1024)
def _apple_chance(waste: Fraction, saturation: float, most: float) -> Fraction:
    """A probability that falls in the share of waste from ``most`` to 0 at the saturation."""
    return max(1 - waste / Fraction(str(saturation)), Fraction(0)) * Fraction(str(most))


@functools.lru_cache(maxsize=64)
def _least_share(cells: int, share: float) -> int:
    """The least number of cells that are such a share of them or more."""
    return math.ceil(Fraction(str(share)) * cells)


def _with(cells: tuple[Cell, ...], cell: Cell) -> tuple[Cell, ...]:
    return (*cells, cell)


@final
@attrs.frozen(kw_only=True)
class Citizen(AbstractPlayer[Board, str]):
    """Eats while there are apples, and goes to the river and cleans while there are none; it never fines on purpose.

    Attributes:
      game: the game.
      attention: probability that it looks, in [0, 1]; otherwise any action.
    """

    game: Cleanup
    attention: float = probability_field("attention", default=0.8)

    def action_dist(self, state: Board, agent: str) -> Distribution[str]:
        own = state.walkers[self.game.agents.index(agent)]
        if state.apples:
            good: Sequence[str] = towards(own.cell, state.apples)
        elif any(cell in state.waste for cell in ahead(own, self.game.reach)):
            good = ("clean",)
        else:
            good = towards(own.cell, state.waste)
        looking = uniform(good or ("stay",))
        return Finite(attentive(self.attention, looking, uniform(self.game.actions)).pmf())
