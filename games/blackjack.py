"""Blackjack with an infinite deck: draw cards towards 21, and then the dealer draws.

The rules are Gymnasium's (``Blackjack-v1``), after Sutton and Barto: cards are drawn with replacement, the dealer
draws up to 17, and there is neither doubling nor splitting.
"""

import functools
from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple, final

import attrs

from games.arguments import integer_field
from tsmg import (
    AbstractExplicitGame,
    AbstractPlayer,
    Distribution,
    Episode,
    Facts,
    Finite,
    Transition,
    deterministic,
)
from tsmg.invalid import AbstractInvalidRule, StandStill

_AGENT = "player"
_ACTIONS = ("hit", "stick")
_DEALER_STICKS = 17
_BUST = 22

CARDS = Finite([*((card, Fraction(1, 13)) for card in range(1, 10)), (10, Fraction(4, 13))])
"""The distribution of a card: an ace is 1, and a face card counts 10."""


class Hand(NamedTuple):
    """The value of a hand, and whether an ace in it counts 11."""

    total: int
    soft: bool = False

    def plus(self, card: int) -> "Hand":
        """The hand with another card; an ace counts 11 if it can."""
        hard = self.total - 10 * self.soft + card
        soft = (self.soft or card == 1) and hard + 10 < _BUST
        return Hand(hard + 10 * soft, soft)


@final
@attrs.frozen(cache_hash=True)
class Table:
    """The player's hand and the dealer's; the dealer has one card until the player sticks."""

    player: Hand
    dealer: Hand
    over: bool = False


@functools.cache
def dealer_dist(hand: Hand) -> Distribution[Hand]:
    """The distribution of the dealer's last hand, from a hand with which it begins to draw.

    Example:
      >>> bust = sum(p for hand, p in dealer_dist(Hand(6)).pmf().items() if hand.total > 21)
      >>> round(float(bust), 4)
      0.4232
    """
    if hand.total >= _DEALER_STICKS:
        return deterministic(hand)
    return Finite(CARDS.bind(lambda card: dealer_dist(hand.plus(card))).pmf())


@functools.cache
def values(table: Table) -> Mapping[str, Fraction]:
    """The expected return of each action if the best is played afterwards; by dynamic programming.

    Source: R. S. Sutton and A. G. Barto, *Reinforcement Learning*, 2nd edition, 2018, example 5.1 (the game).

    Example:
      >>> values(Table(Hand(20), Hand(10)))["stick"] > values(Table(Hand(20), Hand(10)))["hit"]
      True
    """
    stick = sum(
        (p * _result(table.player, dealer) for dealer, p in _final(table).items()), Fraction(0)
    )
    hit = Fraction(0)
    for card, p in CARDS.enumerate():
        after = table.player.plus(card)
        ahead = (
            Fraction(-1)
            if after.total >= _BUST
            else max(values(Table(after, table.dealer)).values())
        )
        hit += Fraction(p) * ahead
    return {"hit": hit, "stick": stick}


def _final(table: Table) -> Mapping[Hand, Fraction]:
    return {hand: Fraction(p) for hand, p in dealer_dist(table.dealer).pmf().items()}


def _result(player: Hand, dealer: Hand) -> int:
    """1 where the player wins, 0 where nobody does, -1 where the dealer wins."""
    if player.total >= _BUST:
        return -1
    if dealer.total >= _BUST:
        return 1
    return (player.total > dealer.total) - (player.total < dealer.total)


@final
@attrs.frozen(kw_only=True)
class Blackjack(AbstractExplicitGame[Table, str]):
    """Draw cards to get closer to 21 than the dealer, without going over.

    Agents: one, ``player``.
    States: the values of both hands, and whether the play is over.
    Actions: hit, stick.
    Observation text: the player's total, whether an ace counts 11, and the dealer's card; at the end both totals.
    Action text: ``hit`` or ``stick``.
    Rewards: 1 for a win, 0 for a draw, -1 for a loss, at the end.
    Invalid rule: the player stands still (a step passes).
    Exact values: ``games.blackjack.values``; the best play from every deal loses 0.0466 on average.

    Attributes:
      horizon: time limit H, in steps; a hand has at most 20 more cards.

    Source: Gymnasium ``Blackjack-v1`` (rules, without the bonus for a natural).
    """

    horizon: int = integer_field("horizon", default=21, least=1)
    invalid_rule: AbstractInvalidRule = attrs.field(factory=StandStill)
    facts: Facts = Facts(
        perfect_information=True,
        text_separates_states=True,
        stochastic_start=True,
        stochastic_transitions=True,
        return_bounds=(-1.0, 1.0),
    )

    agents = (_AGENT,)

    def initial_state_dist(self) -> Distribution[Table]:
        return _deal_dist()

    def is_terminal(self, state: Table) -> bool:
        return state.over

    def acting_agents(self, state: Table) -> tuple[str, ...]:
        return () if state.over else self.agents

    def legal_actions(self, state: Table, agent: str) -> tuple[str, ...]:
        return () if state.over else _ACTIONS

    def transition_dist(
        self, state: Table, joint_action: Mapping[str, str]
    ) -> Distribution[Transition[Table]]:
        def stuck(dealer: Hand) -> Transition[Table]:
            after = Table(state.player, Hand(dealer.total), over=True)  # its aces matter no more
            return Transition(after, (float(_result(state.player, dealer)),))

        if joint_action[_AGENT] == "stick":
            return dealer_dist(state.dealer).map(stuck)

        def drawn(card: int) -> Transition[Table]:
            player = state.player.plus(card)
            bust = player.total >= _BUST
            return Transition(Table(player, state.dealer, over=bust), (-1.0 if bust else 0.0,))

        return CARDS.map(drawn)

    def observation_text(self, state: Table, agent: str) -> str:
        ace = " (with an ace counted as 11)" if state.player.soft else ""
        you = f"You have {state.player.total}{ace}."
        if not state.over:
            return f"{you}\nThe dealer shows {_card_text(state.dealer)}."
        if state.player.total >= _BUST:
            return (
                f"{you}\nThe dealer showed {_card_text(state.dealer)}.\nYou went over 21 and lost."
            )
        result = ("It is a draw.", "You won.", "You lost.")[_result(state.player, state.dealer)]
        return f"{you}\nThe dealer has {state.dealer.total}.\n{result}"

    def action_text(self, state: Table, agent: str, action: str) -> str:
        return action

    def rules_text(self, agent: str) -> str:
        return (
            "You play blackjack. Get closer to 21 than the dealer without going over: whoever goes over 21 loses. Face "
            "cards count as 10. An ace counts as 11 unless that takes its hand over 21; then it counts as 1. The deck "
            "never runs out. Hit draws a card; stick ends your turn, and the dealer then draws until it has 17 or "
            "more. A move is one of: hit, stick."
        )

    def success(self, episode: Episode[Table], agent: str) -> bool:
        """Winning."""
        return episode.episode_return(agent, penalties=False) > 0

    def scripted_player(self) -> "CautiousPlayer":
        return CautiousPlayer()


def _card_text(hand: Hand) -> str:
    if hand.soft:
        return "an ace"
    return f"{'an' if hand.total == 8 else 'a'} {hand.total}"


@functools.cache
def _deal_dist() -> Distribution[Table]:
    """Two cards for the player, and one for the dealer."""
    nothing = Hand(0)
    hands = CARDS.bind(lambda a: CARDS.map(lambda b: nothing.plus(a).plus(b)))
    deals = hands.bind(lambda player: CARDS.map(lambda card: Table(player, nothing.plus(card))))
    return Finite(deals.pmf())


@final
@attrs.frozen(kw_only=True)
class CautiousPlayer(AbstractPlayer[Table, str]):
    """Sticks at a given total or above, whatever the dealer shows; below it, it hits two times out of three.

    Attributes:
      total: the total.
    """

    total: int = integer_field("total", default=15, least=2)

    def action_dist(self, state: Table, agent: str) -> Distribution[str]:
        if state.player.total >= self.total:
            return deterministic("stick")
        return Finite({"hit": Fraction(2, 3), "stick": Fraction(1, 3)})
