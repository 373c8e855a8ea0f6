"""Nim: take objects from heaps; whoever takes the last one wins, or loses.

Source: C. L. Bouton, "Nim, a game with a complete mathematical theory", 1901 (rules and theory).
"""

import functools
import operator
from collections.abc import Iterable, Mapping
from typing import NamedTuple, final

import attrs

from games.arguments import boolean_field, integer, probability_field, to_horizon
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
    uniform,
)
from tsmg.invalid import AbstractInvalidRule, Forfeit

_AGENTS = ("first", "second")


@final
@attrs.frozen(cache_hash=True)
class Heaps:
    """The sizes of the heaps, and whose turn it is (0 or 1)."""

    sizes: tuple[int, ...]
    turn: int = 0


class Take(NamedTuple):
    """A move: how many objects are taken, and from which heap (counted from 0)."""

    number: int
    heap: int


def _sizes(value: object) -> tuple[int, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InvalidArgumentError(f"'heaps' must be a sequence of integers (got {value!r})")
    sizes = tuple(integer("heaps", size, least=1) for size in value)
    if not sizes:
        raise InvalidArgumentError("'heaps' must contain at least one heap (got none)")
    return sizes


def wins(sizes: tuple[int, ...], *, misere: bool = False) -> bool:
    """Whether the player to move wins under best play of both, by Bouton's theorem.

    Args:
      sizes: the sizes of the heaps.
      misere: whether who takes the last object loses.

    Source: C. L. Bouton, 1901.

    Example:
      >>> wins((3, 4, 5)), wins((1, 2, 3)), wins((1, 1, 1), misere=True)
      (True, False, False)
    """
    nim_sum = functools.reduce(operator.xor, sizes, 0)
    if misere and max(sizes, default=0) <= 1:
        return nim_sum == 0
    return nim_sum != 0


@functools.lru_cache(maxsize=4096)
def takes(sizes: tuple[int, ...]) -> tuple[Take, ...]:
    """The moves: one to all objects of one heap."""
    return tuple(Take(n, heap) for heap, size in enumerate(sizes) for n in range(1, size + 1))


def taken(sizes: tuple[int, ...], take: Take) -> tuple[int, ...]:
    """The sizes after a move."""
    return (*sizes[: take.heap], sizes[take.heap] - take.number, *sizes[take.heap + 1 :])


@final
@attrs.frozen(kw_only=True)
class Nim(AbstractExplicitGame[Heaps, Take]):
    """Take objects from one heap at a time; whoever takes the last one wins.

    Agents: ``first`` and ``second``, in turn.
    States: the sizes of the heaps, and whose turn it is.
    Actions: how many objects to take, and from which heap.
    Observation text: each heap's size, and whose turn it is.
    Action text: ``take 2 from heap 1``.
    Rewards: 1 to the winner and -1 to the loser, at the end.
    Invalid rule: forfeit, at a penalty of 1.
    Exact values: the player to move wins unless the heaps' nim-sum is 0; if the last object loses and no heap has two,
    the reverse holds (``games.nim.wins``).

    Attributes:
      heaps: the sizes of the heaps at the start.
      misere: whether who takes the last object loses.
      horizon: time limit H, in steps; the number of objects unless given.

    Source: C. L. Bouton, 1901.
    """

    heaps: tuple[int, ...] = attrs.field(default=(2, 3, 4), converter=_sizes)
    misere: bool = boolean_field("misere", default=False)
    horizon: int = attrs.field(converter=to_horizon)
    invalid_rule: AbstractInvalidRule = Forfeit(penalty=1.0)
    facts: Facts = attrs.field(init=False)

    agents = _AGENTS

    @horizon.default
    def _objects(self) -> int:
        return sum(self.heaps)

    @facts.default
    def _declare(self) -> Facts:
        return Facts(
            zero_sum=True,
            perfect_information=True,
            text_separates_states=True,
            stochastic_start=False,
            stochastic_transitions=False,
            return_bounds=(-1.0, 1.0),
            longest_game=sum(self.heaps),
        )

    def initial_state_dist(self) -> Distribution[Heaps]:
        return deterministic(Heaps(self.heaps))

    def is_terminal(self, state: Heaps) -> bool:
        return not any(state.sizes)

    def acting_agents(self, state: Heaps) -> tuple[str, ...]:
        return () if self.is_terminal(state) else (_AGENTS[state.turn],)

    def legal_actions(self, state: Heaps, agent: str) -> tuple[Take, ...]:
        return takes(state.sizes) if agent == _AGENTS[state.turn] else ()

    def transition_dist(
        self, state: Heaps, joint_action: Mapping[str, Take]
    ) -> Distribution[Transition[Heaps]]:
        after = Heaps(taken(state.sizes, joint_action[_AGENTS[state.turn]]), 1 - state.turn)
        rewards_N = self._payoffs(after) if self.is_terminal(after) else (0.0, 0.0)
        return deterministic(Transition(after, rewards_N))

    def _payoffs(self, end: Heaps) -> tuple[float, float]:
        """The rewards at the end, at which the turn is that of the player who took nothing last."""
        first_won = (end.turn == 1) != self.misere
        return (1.0, -1.0) if first_won else (-1.0, 1.0)

    def observation_text(self, state: Heaps, agent: str) -> str:
        lines = [f"Heap {n}: {size}" for n, size in enumerate(state.sizes, start=1)]
        if self.is_terminal(state):
            own = self._payoffs(state)[_AGENTS.index(agent)]
            return "\n".join([*lines, f"You are {agent}. You {'won' if own > 0 else 'lost'}."])
        return "\n".join([*lines, f"You are {agent}. It is the turn of {_AGENTS[state.turn]}."])

    def action_text(self, state: Heaps, agent: str, action: Take) -> str:
        return f"take {action.number} from heap {action.heap + 1}"

    def rules_text(self, agent: str) -> str:
        return (
            "You and another player take turns to remove objects from heaps: one or more, from one heap. Whoever takes "
            f"the last object {'loses' if self.misere else 'wins'}. A move is written like this: take 2 from heap 1"
        )

    def scripted_player(self) -> "AttentiveNim":
        return AttentiveNim(misere=self.misere)

    def success(self, episode: Episode[Heaps], agent: str) -> bool | None:
        """Winning."""
        if episode.ending is not Ending.TERMINATED:
            return None
        return episode.episode_return(agent, penalties=False) > 0


@final
@attrs.frozen(kw_only=True)
class AttentiveNim(AbstractPlayer[Heaps, Take]):
    """Sometimes leaves the other player a lost position, if it can; otherwise plays at random.

    Attributes:
      misere: whether who takes the last object loses.
      attention: probability that it looks, in [0, 1]; with 1 it plays perfectly.
    """

    misere: bool = False
    attention: float = probability_field("attention", default=0.4)

    def action_dist(self, state: Heaps, agent: str) -> Distribution[Take]:
        every = takes(state.sizes)
        good = [t for t in every if not wins(taken(state.sizes, t), misere=self.misere)]
        dist = attentive(self.attention, uniform(good or every), uniform(every))
        return Finite(dist.pmf())
