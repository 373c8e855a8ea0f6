"""Goofspiel: two players bid cards for prizes at the same time; each card once.

Source: S. M. Ross, "Goofspiel: the game of pure strategy", 1971.
"""

import functools
from collections.abc import Mapping
from fractions import Fraction
from typing import Literal, final

import attrs

from games.arguments import integer_field, one_of, probability_field
from games.attention import attentive
from games.zero_sum import Solution, solve
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
    uniform,
)
from tsmg.invalid import AbstractInvalidRule, PlayRandomLegal

_AGENTS = ("player_1", "player_2")

Order = Literal["descending", "ascending", "random"]
Cards = tuple[int, ...]
"""Cards in a hand or a pile, the smallest first."""


@final
@attrs.frozen(cache_hash=True)
class Bids:
    """The prizes so far, the current one last, and the bids for the earlier ones, as (player_1, player_2)."""

    prizes: tuple[int, ...]
    bids: tuple[tuple[int, int], ...] = ()


@final
@attrs.frozen(kw_only=True)
class Goofspiel(AbstractExplicitGame[Bids, int]):
    """Bid cards for prizes at the same time; the higher card wins the prize, and each card is bid once.

    Agents: ``player_1`` and ``player_2``; simultaneous.
    States: the prizes so far, and the bids for them.
    Actions: the cards in hand.
    Observation text: every prize and both bids so far, the cards in both hands, and the current prize.
    Action text: the card's number.
    Rewards: whoever bids more gets the value of the prize, and the other loses it; for equal bids nobody gets anything.
    Invalid rule: a random card of the offender.
    Exact values: the game is symmetric, so its value is 0; ``games.goofspiel.solution`` has the equilibrium of every
    state, and the values after unequal bids.

    Attributes:
      cards: number of cards of each player, and of prizes: 1, 2, ... each.
      order: of the prizes: ``"descending"``, ``"ascending"`` or ``"random"``.

    Source: S. M. Ross, 1971; equal bids discard the prize, as in OpenSpiel's goofspiel.
    """

    cards: int = integer_field("cards", default=5, least=1)
    order: Order = attrs.field(
        default="random", validator=one_of("descending", "ascending", "random")
    )
    invalid_rule: AbstractInvalidRule = attrs.field(factory=PlayRandomLegal)
    horizon: int = attrs.field(init=False)
    facts: Facts = attrs.field(init=False)

    agents = _AGENTS

    @horizon.default
    def _all_cards(self) -> int:
        return self.cards

    @facts.default
    def _declare(self) -> Facts:
        is_random = self.order == "random" and self.cards > 1
        prizes = range(
            2, self.cards + 1
        )  # who wins them all, each by 1, bids the 1 for the prize 1
        most = float(max(sum(prizes) - 1, 0))
        return Facts(
            zero_sum=True,
            perfect_information=True,
            text_separates_states=True,
            stochastic_start=is_random,
            return_bounds=(-most, most),
            longest_game=self.cards,
        )

    def initial_state_dist(self) -> Distribution[Bids]:
        return self._next_prize(Bids(()))

    def _next_prize(self, state: Bids) -> Distribution[Bids]:
        """The next prize is turned up, if there is one."""
        left = rest(self.cards, state.prizes)
        if not left:
            return deterministic(state)
        if self.order != "random":
            prize = left[-1] if self.order == "descending" else left[0]
            return deterministic(Bids((*state.prizes, prize), state.bids))
        return _any_of(left).map(lambda prize: Bids((*state.prizes, prize), state.bids))

    def is_terminal(self, state: Bids) -> bool:
        return len(state.bids) >= self.cards

    def acting_agents(self, state: Bids) -> tuple[str, ...]:
        return () if self.is_terminal(state) else self.agents

    def legal_actions(self, state: Bids, agent: str) -> tuple[int, ...]:
        own = _AGENTS.index(agent)
        return rest(self.cards, tuple(pair[own] for pair in state.bids))

    def transition_dist(
        self, state: Bids, joint_action: Mapping[str, int]
    ) -> Distribution[Transition[Bids]]:
        first, second = (joint_action[agent] for agent in _AGENTS)
        gain = float(payment(state.prizes[-1], first, second))
        after = self._next_prize(Bids(state.prizes, (*state.bids, (first, second))))
        return after.map(lambda bids: Transition(bids, (gain, -gain)))

    def observation_text(self, state: Bids, agent: str) -> str:
        own = _AGENTS.index(agent)
        lines = [f"You are {agent}."]
        for prize, pair in zip(state.prizes, state.bids, strict=False):
            lines.append(
                f"Prize {prize}: you bid {pair[own]}, the other player bid {pair[1 - own]}."
            )
        if not self.is_terminal(state):
            hands = [
                " ".join(map(str, self.legal_actions(state, name)))
                for name in (agent, _AGENTS[1 - own])
            ]
            lines.append(f"Your cards: {hands[0]}. The other player's: {hands[1]}.")
            lines.append(f"Now: prize {state.prizes[-1]}.")
        return "\n".join(lines)

    def action_text(self, state: Bids, agent: str, action: int) -> str:
        return str(action)

    def rules_text(self, agent: str) -> str:
        order = {
            "descending": "the most valuable first",
            "ascending": "the least valuable first",
            "random": "in random order",
        }[self.order]
        return (
            f"Two players each hold the cards from 1 to {self.cards}, and bid them for prizes worth from 1 to "
            f"{self.cards}, which come up one at a time, {order}. For each prize both players bid one card at the same "
            "time, and each card can be bid only once. The player with the higher card wins what the prize is worth "
            "from the other player; if the cards are equal, nobody gets anything. A move is a card in your hand."
        )

    def success(self, episode: Episode[Bids], agent: str) -> bool:
        """The agent won more than the other."""
        is_whole = episode.ending is Ending.TERMINATED
        return is_whole and episode.episode_return(agent, penalties=False) > 0

    def scripted_player(self) -> "MatchingBidder":
        return MatchingBidder(game=self)


@functools.lru_cache(maxsize=4096)
def rest(cards: int, used: Cards) -> Cards:
    """The cards from 1 that were not used, the smallest first."""
    return tuple(card for card in range(1, cards + 1) if card not in used)


@functools.lru_cache(maxsize=4096)
def _any_of(cards: Cards) -> Distribution[int]:
    return uniform(cards)


def payment(prize: int, first: int, second: int) -> int:
    """What the first player gets from the second for two bids."""
    return prize * ((first > second) - (first < second))


@functools.lru_cache(maxsize=65_536)
def solution(order: Order, hands: tuple[Cards, Cards], prize: int, later: Cards) -> Solution:
    """The value to the first player and an equilibrium of a state, exactly.

    Args:
      order: of the prizes.
      hands: the cards of both players, the smallest first.
      prize: the current prize.
      later: the prizes that are to come, the smallest first.

    Source: S. M. Ross, 1971 (dynamic programming over matrix games).

    Example:
      >>> solution("descending", ((1, 2), (1, 2)), 2, (1,)).row  # the greater card for the greater prize
      (Fraction(0, 1), Fraction(1, 1))
    """
    ours, theirs = hands
    payoffs = [
        [
            payment(prize, first, second)
            + _later_value(
                order,
                (tuple(c for c in ours if c != first), tuple(c for c in theirs if c != second)),
                later,
            )
            for second in theirs
        ]
        for first in ours
    ]
    return solve(payoffs)


def _later_value(order: Order, hands: tuple[Cards, Cards], later: Cards) -> Fraction:
    """The value before the next prize is turned up."""
    if not later:
        return Fraction(0)
    turned = {"descending": later[-1:], "ascending": later[:1], "random": later}[order]
    values = [
        solution(order, hands, prize, tuple(p for p in later if p != prize)).value
        for prize in turned
    ]
    return sum(values, Fraction(0)) / len(values)


@final
@attrs.frozen(kw_only=True)
class GoofspielEquilibrium(AbstractPlayer[Bids, int]):
    """Plays an equilibrium of every state; on average it loses to nobody.

    Attributes:
      game: the game; with more than five cards in random order it takes long.
    """

    game: Goofspiel

    def action_dist(self, state: Bids, agent: str) -> Distribution[int]:
        hands = (
            self.game.legal_actions(state, _AGENTS[0]),
            self.game.legal_actions(state, _AGENTS[1]),
        )
        later = rest(self.game.cards, state.prizes)
        found = solution(self.game.order, hands, state.prizes[-1], later)
        own = _AGENTS.index(agent)
        mixed = zip(hands[own], (found.row, found.column)[own], strict=True)
        return Finite({card: p for card, p in mixed if p})


@final
@attrs.frozen(kw_only=True)
class MatchingBidder(AbstractPlayer[Bids, int]):
    """Sometimes bids the card that is nearest to the prize; otherwise any card.

    Attributes:
      game: the game.
      attention: probability that it looks, in [0, 1].

    Source: S. M. Ross, 1971 (to bid the prize's own number is the best reply to a uniform player).
    """

    game: Goofspiel
    attention: float = probability_field("attention", default=0.6)

    def action_dist(self, state: Bids, agent: str) -> Distribution[int]:
        cards = self.game.legal_actions(state, agent)
        nearest = min(cards, key=lambda card: (abs(card - state.prizes[-1]), card))
        dist = attentive(self.attention, deterministic(nearest), uniform(cards))
        return Finite(dist.pmf())
