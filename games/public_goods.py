"""Public goods: each player keeps its endowment or gives it to a pool, which is multiplied and shared by all.

Source: J. O. Ledyard, "Public goods: a survey of experimental research", 1995 (the linear game).
"""

import functools
from collections.abc import Mapping
from fractions import Fraction
from typing import final

import attrs

from games.arguments import integer_field, number_field
from games.social import equality_metric
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
)
from tsmg.invalid import AbstractInvalidRule, StandStill

Contributions = tuple[int, ...]
"""What each player gave in a round, in the order of the players."""


@final
@attrs.frozen(cache_hash=True)
class Ledger:
    """The contributions of every round so far."""

    rounds: tuple[Contributions, ...] = ()


@final
@attrs.frozen(kw_only=True)
class PublicGoods(AbstractExplicitGame[Ledger, int]):
    """Keep an endowment, or give it to a pool that is multiplied and shared by all.

    Agents: ``player_1``, ``player_2``, ...; simultaneous.
    States: the contributions of every round so far.
    Actions: whole contributions, from 0 to the endowment.
    Observation text: what everyone gave in every round so far, and the current round.
    Action text: the contribution's number.
    Rewards: in each round what the player kept, and an equal share of the multiplied pool.
    Invalid rule: the offender gives nothing, and pays nothing.
    Metrics: efficiency, the share of the endowments that is given, and the equality of the returns (``games.social``).
    Exact values: with a multiplier between 1 and the number of players, giving nothing is the only best response to
    anything, and giving everything is best for all together (``PublicGoods.payoffs``).

    Attributes:
      players: the number of players; at least 2.
      endowment: what each player has in a round.
      multiplier: the factor by which the pool is multiplied.
      rounds: number of rounds.

    Source: J. O. Ledyard, 1995.
    """

    players: int = integer_field("players", default=3, least=2)
    endowment: int = integer_field("endowment", default=4, least=1)
    multiplier: float = number_field("multiplier", default=1.8)
    rounds: int = integer_field("rounds", default=3, least=1)
    invalid_rule: AbstractInvalidRule = StandStill()
    agents: tuple[str, ...] = attrs.field(init=False)
    horizon: int = attrs.field(init=False)
    facts: Facts = attrs.field(init=False)

    @agents.default
    def _names(self) -> tuple[str, ...]:
        return tuple(f"player_{n + 1}" for n in range(self.players))

    @horizon.default
    def _all_rounds(self) -> int:
        return self.rounds

    @facts.default
    def _declare(self) -> Facts:
        ends = (
            0,
            self.endowment,
        )  # a payoff is linear in one's own and in the others' contributions
        each = [
            self.payoffs((own, *[other] * (self.players - 1)))[0] for own in ends for other in ends
        ]
        return Facts(
            zero_sum=False,
            perfect_information=True,
            text_separates_states=True,
            stochastic_start=False,
            stochastic_transitions=False,
            symmetric=True,
            return_bounds=(self.rounds * min(each), self.rounds * max(each)),
            longest_game=self.rounds,
        )

    def __attrs_post_init__(self) -> None:
        if self.multiplier < 0:
            raise InvalidArgumentError(f"'multiplier' must be at least 0 (got {self.multiplier})")

    def payoffs(self, contributions: Contributions) -> tuple[float, ...]:
        """What each player gets in a round.

        Args:
          contributions: what each player gives, in the order of the players.

        Example:
          >>> PublicGoods(multiplier=1.5).payoffs((4, 0, 2))
          (3.0, 7.0, 5.0)
        """
        share = _share(self.multiplier, sum(contributions), self.players)
        return tuple(float(self.endowment - given + share) for given in contributions)

    def initial_state_dist(self) -> Distribution[Ledger]:
        return deterministic(Ledger())

    def is_terminal(self, state: Ledger) -> bool:
        return len(state.rounds) >= self.rounds

    def acting_agents(self, state: Ledger) -> tuple[str, ...]:
        return () if self.is_terminal(state) else self.agents

    def legal_actions(self, state: Ledger, agent: str) -> tuple[int, ...]:
        return () if self.is_terminal(state) else tuple(range(self.endowment + 1))

    def noop_action(self, state: Ledger, agent: str) -> int:
        return 0

    def transition_dist(
        self, state: Ledger, joint_action: Mapping[str, int]
    ) -> Distribution[Transition[Ledger]]:
        given = tuple(joint_action[agent] for agent in self.agents)
        return deterministic(Transition(Ledger((*state.rounds, given)), self.payoffs(given)))

    def observation_text(self, state: Ledger, agent: str) -> str:
        lines = [f"You are {agent}."]
        for n, given in enumerate(state.rounds, start=1):
            told = ", ".join(f"{a} gave {x}" for a, x in zip(self.agents, given, strict=True))
            own = self.payoffs(given)[self.agents.index(agent)]
            lines.append(f"Round {n}: {told}; you got {own:g}.")
        if not self.is_terminal(state):
            lines.append(f"Now: round {len(state.rounds) + 1} of {self.rounds}.")
        return "\n".join(lines)

    def action_text(self, state: Ledger, agent: str, action: int) -> str:
        return str(action)

    def rules_text(self, agent: str) -> str:
        return (
            f"In each of {self.rounds} round(s), {self.players} players have {self.endowment} each, and decide at the "
            f"same time how much of it they give to a common pool. The pool is multiplied by {self.multiplier:g} and "
            "shared equally; what you did not give you keep. A move is what you give: a number from 0 to "
            f"{self.endowment}."
        )

    @staticmethod
    def _paid(episode: Episode[Ledger]) -> tuple[tuple[int, ...], ...]:
        """The rounds of an episode, which may have begun in the middle of a game."""
        before = len(episode.start.state.state.rounds)
        return episode.final_state.state.rounds[before:]

    def efficiency(self, episode: Episode[Ledger]) -> float:
        """The mean share of the endowments that was given: 0 if all keep everything, 1 if all give it."""
        given = [x for contributions in self._paid(episode) for x in contributions]
        return sum(given) / (self.endowment * max(len(given), 1))

    def metrics(self, episode: Episode[Ledger], agent: str) -> Mapping[str, float]:
        """``efficiency`` and ``equality``; none if no round was paid."""
        if not self._paid(episode):
            return {}
        returns_N = [episode.episode_return(a, penalties=False) for a in self.agents]
        return {"efficiency": self.efficiency(episode), **equality_metric(returns_N)}

    def scripted_player(self) -> "Reciprocator":
        return Reciprocator(game=self)


@functools.lru_cache(maxsize=4096)
def _share(multiplier: float, given: int, players: int) -> Fraction:
    """What each gets from the pool."""
    return Fraction(str(multiplier)) * given / players


@final
@attrs.frozen(kw_only=True)
class Reciprocator(AbstractPlayer[Ledger, int]):
    """Gives about what the others gave on average in the last round, and a half at first.

    Attributes:
      game: the game.
    """

    game: PublicGoods

    def action_dist(self, state: Ledger, agent: str) -> Distribution[int]:
        endowment = self.game.endowment
        if not state.rounds:
            aim = Fraction(endowment, 2)
        else:
            own = self.game.agents.index(agent)
            last = state.rounds[-1]
            aim = Fraction(sum(last) - last[own], self.game.players - 1)
        weights = [1 / (1 + 2 * abs(amount - aim)) for amount in range(endowment + 1)]
        return Finite({amount: weight / sum(weights) for amount, weight in enumerate(weights)})
