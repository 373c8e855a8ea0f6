"""The tower of Hanoi: move a tower of disks from one peg to another, one disk at a time."""

import functools
import itertools
from collections.abc import Mapping
from typing import NamedTuple, final

import attrs

from games.arguments import boolean_field, integer_field, probability_field, to_horizon
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
_PEGS = "ABC"
_GOAL = 2
_LISTED_DISKS = 8  # of more, the placements are too many to list

Pegs = tuple[int, ...]
"""The peg of each disk (0 to 2), the smallest disk first."""


class Move(NamedTuple):
    """The pegs from and to which the topmost disk is moved."""

    source: int
    target: int


@functools.lru_cache(maxsize=4096)
def moves(pegs: Pegs) -> tuple[Move, ...]:
    """The legal moves: a disk may lie on the floor or on a larger one."""
    tops = [
        next((disk for disk, peg in enumerate(pegs) if peg == here), len(pegs)) for here in range(3)
    ]
    pairs = itertools.permutations(range(3), 2)
    return tuple(Move(a, b) for a, b in pairs if tops[a] < tops[b])


def moved(pegs: Pegs, move: Move) -> Pegs:
    """The pegs after a move."""
    disk = pegs.index(move.source)
    return (*pegs[:disk], move.target, *pegs[disk + 1 :])


def least_moves(pegs: Pegs, goal: int = _GOAL) -> int:
    """The least number of moves that bring every disk to one peg.

    The largest disk that is not on the goal peg moves once, after all smaller ones were moved to the third peg.

    Args:
      pegs: the peg of each disk, the smallest first.
      goal: the peg that every disk is to reach.

    Source: A. M. Hinz, S. Klavzar, C. Petr, *The Tower of Hanoi: Myths and Maths*, 2nd edition, 2018, section 2.3.

    Example:
      >>> least_moves((0, 0, 0)), least_moves((2, 2, 0)), least_moves((2, 2, 2))
      (7, 7, 0)
    """
    count = 0
    for disk in reversed(range(len(pegs))):
        if pegs[disk] != goal:
            count += 1 << disk
            goal = 3 - goal - pegs[disk]
    return count


@functools.lru_cache(maxsize=4)
def _starts(disks: int) -> Distribution[Pegs]:
    """Every placement of the disks but the goal is equally likely."""
    if disks > _LISTED_DISKS:
        anywhere = product([uniform(range(3))] * disks)
        return anywhere.condition(lambda pegs: any(peg != _GOAL for peg in pegs))
    every = itertools.product(range(3), repeat=disks)
    return uniform(pegs for pegs in every if any(peg != _GOAL for peg in pegs))


@final
@attrs.frozen(kw_only=True)
class Hanoi(AbstractExplicitGame[Pegs, Move]):
    """Move a tower of disks to the last of three pegs; no disk may lie on a smaller one.

    Agents: one, ``player``.
    States: the peg of each disk.
    Actions: the pegs from and to which a disk is moved.
    Observation text: the disks on each peg, the topmost last; larger numbers are larger disks.
    Action text: ``A to C``.
    Rewards: 1 once all disks are on peg C, else 0.
    Invalid rule: the player stands still (a step passes) and pays 0.1.
    Horizon: three times the least number of moves, unless given.
    Exact values: the tower can be moved in 2^disks - 1 moves, and in no fewer (``games.hanoi.least_moves``).

    Attributes:
      disks: the number of disks.
      random_start: whether disks begin anywhere but all on peg C; otherwise all are on peg A.
      horizon: time limit H, in steps.
    """

    disks: int = integer_field("disks", default=3, least=1)
    random_start: bool = boolean_field("random_start", default=False)
    horizon: int = attrs.field(converter=to_horizon)
    invalid_rule: AbstractInvalidRule = StandStill(penalty=0.1)
    facts: Facts = attrs.field(init=False)

    agents = (_AGENT,)

    @horizon.default
    def _three_times(self) -> int:
        return 3 * ((1 << self.disks) - 1)

    @facts.default
    def _declare(self) -> Facts:
        return Facts(
            perfect_information=True,
            text_separates_states=True,
            stochastic_start=self.random_start,
            stochastic_transitions=False,
            start_is_instance=self.random_start,
            return_bounds=(0.0, 1.0),
        )

    def initial_state_dist(self) -> Distribution[Pegs]:
        if not self.random_start:
            return deterministic((0,) * self.disks)
        return _starts(self.disks)

    def is_terminal(self, state: Pegs) -> bool:
        return all(peg == _GOAL for peg in state)

    def acting_agents(self, state: Pegs) -> tuple[str, ...]:
        return () if self.is_terminal(state) else self.agents

    def legal_actions(self, state: Pegs, agent: str) -> tuple[Move, ...]:
        return () if self.is_terminal(state) else moves(state)

    def transition_dist(
        self, state: Pegs, joint_action: Mapping[str, Move]
    ) -> Distribution[Transition[Pegs]]:
        after = moved(state, joint_action[_AGENT])
        return deterministic(Transition(after, (float(self.is_terminal(after)),)))

    def observation_text(self, state: Pegs, agent: str) -> str:
        lines = []
        for peg, name in enumerate(_PEGS):
            disks = [str(disk + 1) for disk in reversed(range(self.disks)) if state[disk] == peg]
            lines.append(f"{name}: {' '.join(disks) or 'empty'}")
        if self.is_terminal(state):
            lines.append("The tower is on peg C.")
        return "\n".join(lines)

    def action_text(self, state: Pegs, agent: str, action: Move) -> str:
        return f"{_PEGS[action.source]} to {_PEGS[action.target]}"

    def rules_text(self, agent: str) -> str:
        return (
            "Three pegs A, B and C hold disks. The disks of each peg are listed from bottom to top, and a larger "
            "number is a larger disk. Move all disks to peg C. A move takes the topmost disk of a peg to another peg, "
            "never onto a smaller disk. It is written like this: A to C"
        )

    def instance_key(self, start: Pegs) -> str:
        return "".join(_PEGS[peg] for peg in start)

    def success(self, episode: Episode[Pegs], agent: str) -> bool:
        """The tower is on peg C."""
        return episode.ending is Ending.TERMINATED

    def scripted_player(self) -> "AttentiveHanoi":
        return AttentiveHanoi()


@final
@attrs.frozen(kw_only=True)
class AttentiveHanoi(AbstractPlayer[Pegs, Move]):
    """Sometimes makes a move that leads nearer to the goal; otherwise any move.

    Attributes:
      attention: probability that it looks, in [0, 1]; with 1 it plays perfectly.
    """

    attention: float = probability_field("attention", default=0.6)

    def action_dist(self, state: Pegs, agent: str) -> Distribution[Move]:
        every = moves(state)
        nearest = min(every, key=lambda move: least_moves(moved(state, move)))
        dist = attentive(self.attention, deterministic(nearest), uniform(every))
        return Finite(dist.pmf())
