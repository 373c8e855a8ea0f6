"""Sealed-bid auctions with private values: the highest bid wins and pays its own or the second-highest bid.

Source: W. Vickrey, "Counterspeculation, auctions, and competitive sealed tenders", 1961 (equilibria).
"""

import functools
import itertools
from collections.abc import Hashable, Mapping, Sequence
from fractions import Fraction
from typing import Literal, final

import attrs

from games.arguments import integer_field, one_of
from tsmg import (
    AbstractExplicitGame,
    AbstractPlayer,
    Distribution,
    Facts,
    Finite,
    Transition,
    deterministic,
    product,
    uniform,
)
from tsmg.invalid import AbstractInvalidRule, Forfeit

Price = Literal["first", "second"]


@final
@attrs.frozen(cache_hash=True)
class Sale:
    """The bidders' values; then the bids and the winner's index."""

    values: tuple[int, ...]
    bids: tuple[int, ...] = ()
    winner: int | None = None


@final
@attrs.frozen(kw_only=True)
class Auction(AbstractExplicitGame[Sale, int]):
    """Bid for an item whose value to the others is hidden; the highest bid wins.

    Agents: ``bidder_1``, ``bidder_2``, ...; simultaneous.
    States: the values, and at the end the bids and the winner.
    Actions: whole bids, from 0 to the greatest value.
    Observation text: the agent's own value; at the end the winner and the price.
    Action text: the bid's number.
    Rewards: the value minus the price for the winner, 0 for the others.
    Invalid rule: forfeit, at a penalty of 1.
    Exact values: if the second-highest bid is paid, no bid is ever better than the bidder's own value. If the winner's
    own bid is paid, the equilibrium for continuous values is (bidders - 1) / bidders of the value; here, against
    another bidder who bids half the value, rounded down, no bid gains more than 3/22 over doing the same
    (``games.auction.expected_payoffs``).

    Attributes:
      bidders: the number of bidders; at least 2.
      greatest: the greatest value; values are uniform on 0 to it.
      price: what the winner pays: ``"first"``, its own bid, or ``"second"``, the highest bid of the others.

    Source: W. Vickrey, 1961.
    """

    bidders: int = integer_field("bidders", default=2, least=2)
    greatest: int = integer_field("greatest", default=10, least=1)
    price: Price = attrs.field(default="first", validator=one_of("first", "second"))
    invalid_rule: AbstractInvalidRule = Forfeit(penalty=1.0)
    horizon: int = integer_field("horizon", default=1, least=1)
    agents: tuple[str, ...] = attrs.field(init=False)
    facts: Facts = attrs.field(init=False)

    @agents.default
    def _names(self) -> tuple[str, ...]:
        return tuple(f"bidder_{n + 1}" for n in range(self.bidders))

    @facts.default
    def _declare(self) -> Facts:
        return Facts(
            zero_sum=False,
            perfect_information=False,
            text_separates_states=False,
            stochastic_start=True,
            stochastic_transitions=True,
            return_bounds=(-float(self.greatest), float(self.greatest)),
            longest_game=1,
        )

    def initial_state_dist(self) -> Distribution[Sale]:
        return product([_value_dist(self.greatest)] * self.bidders).map(Sale)

    def is_terminal(self, state: Sale) -> bool:
        return state.winner is not None

    def acting_agents(self, state: Sale) -> tuple[str, ...]:
        return () if self.is_terminal(state) else self.agents

    def legal_actions(self, state: Sale, agent: str) -> tuple[int, ...]:
        return () if self.is_terminal(state) else tuple(range(self.greatest + 1))

    def transition_dist(
        self, state: Sale, joint_action: Mapping[str, int]
    ) -> Distribution[Transition[Sale]]:
        bids = tuple(joint_action[agent] for agent in self.agents)
        most = max(bids)
        highest = [n for n, bid in enumerate(bids) if bid == most]

        def sold(winner: int) -> Transition[Sale]:
            after = Sale(state.values, bids, winner)
            gain = float(state.values[winner] - self.paid(bids))
            return Transition(
                after, tuple(gain if n == winner else 0.0 for n in range(self.bidders))
            )

        if len(highest) == 1:
            return deterministic(sold(highest[0]))
        return uniform(highest).map(sold)

    def paid(self, bids: Sequence[int]) -> int:
        """The price: the highest bid, or the second-highest (equal bids count separately).

        Args:
          bids: the bid of each bidder.
        """
        return sorted(bids)[-1 if self.price == "first" else -2]

    def observation_text(self, state: Sale, agent: str) -> str:
        own = self.agents.index(agent)
        lines = [f"You are {agent}. The item is worth {state.values[own]} to you."]
        if state.winner is not None:
            price = self.paid(state.bids)
            lines.append(
                f"Your bid: {state.bids[own]}. {self.agents[state.winner]} won and pays {price}."
            )
        return "\n".join(lines)

    def information_key(self, state: Sale, agent: str) -> Hashable:
        own = self.agents.index(agent)
        if state.winner is None:
            return state.values[own]
        return state.values[own], state.bids[own], state.winner, self.paid(state.bids)

    def action_text(self, state: Sale, agent: str, action: int) -> str:
        return str(action)

    def rules_text(self, agent: str) -> str:
        price = "its own bid" if self.price == "first" else "the highest of the other bids"
        return (
            f"{self.bidders} bidders each place one sealed bid for an item. To each bidder the item is worth a whole "
            f"number from 0 to {self.greatest}, all equally likely, that the other bidders do not know. The highest "
            f"bid wins; if several bids are highest, one of them is drawn at random. The winner pays {price} and gets "
            "what the item is worth to it minus the price; the others get nothing. A move is your bid, a whole number "
            f"from 0 to {self.greatest}."
        )

    def scripted_player(self) -> "ShadingBidder":
        return ShadingBidder()


@functools.lru_cache(maxsize=64)
def _value_dist(greatest: int) -> Distribution[int]:
    return uniform(range(greatest + 1))


def expected_payoffs(game: Auction, worth: int, strategy: Sequence[int]) -> tuple[Fraction, ...]:
    """The expected payoff of each bid to a bidder if every other one bids by a strategy.

    Args:
      game: the auction.
      worth: the bidder's own value.
      strategy: the bid of the others at each value, from 0 to the greatest one.

    Returns:
      For each bid from 0 to the greatest value the expected payoff. Unit: reward.

    Example:
      >>> payoffs = expected_payoffs(Auction(greatest=2, price="second"), 2, (0, 1, 2))
      >>> payoffs.index(max(payoffs)), max(payoffs)
      (2, Fraction(1, 1))
    """
    payoffs = []
    others = list(itertools.product(strategy, repeat=game.bidders - 1))
    for bid in range(game.greatest + 1):
        total = Fraction(0)
        for bids in others:
            if bid >= max(bids):
                equal = 1 + bids.count(bid)
                total += Fraction(worth - game.paid((bid, *bids)), equal)
        payoffs.append(total / len(others))
    return tuple(payoffs)


@final
@attrs.frozen(kw_only=True)
class ShadingBidder(AbstractPlayer[Sale, int]):
    """Bids uniformly between half of its value and the whole."""

    def action_dist(self, state: Sale, agent: str) -> Distribution[int]:
        worth = state.values[int(agent.removeprefix("bidder_")) - 1]
        return uniform(range(worth // 2, worth + 1))


@final
@attrs.frozen(kw_only=True)
class StrategyBidder(AbstractPlayer[Sale, int]):
    """Bids by a strategy, whoever it is.

    Attributes:
      strategy: the bid at each value, from 0 to the greatest one.
    """

    strategy: tuple[int, ...] = attrs.field(converter=tuple)

    def action_dist(self, state: Sale, agent: str) -> Distribution[int]:
        worth = state.values[int(agent.removeprefix("bidder_")) - 1]
        return Finite({self.strategy[worth]: 1})
