"""Kuhn poker: three cards, one chip each, one bet; the smallest poker with bluffs.

Source: H. W. Kuhn, "A simplified two-person poker", 1950 (rules and equilibria).
"""

import itertools
from collections.abc import Hashable, Mapping
from fractions import Fraction
from typing import Literal, final

import attrs

from games.arguments import integer_field, probability_field
from tsmg import (
    AbstractExplicitGame,
    AbstractPlayer,
    Distribution,
    Facts,
    Finite,
    InvalidArgumentError,
    Transition,
    deterministic,
    uniform,
)
from tsmg.invalid import AbstractInvalidRule, Forfeit

Card = Literal["jack", "queen", "king"]
Deed = Literal["pass", "bet"]

CARDS: tuple[Card, ...] = ("jack", "queen", "king")
_AGENTS = ("first", "second")
_DEEDS: tuple[Deed, ...] = ("pass", "bet")
_ENDS = (
    ("pass", "pass"),
    ("pass", "bet", "pass"),
    ("pass", "bet", "bet"),
    ("bet", "pass"),
    ("bet", "bet"),
)

VALUE = Fraction(-1, 18)
"""The first player's expected return when both play an equilibrium."""


@final
@attrs.frozen(cache_hash=True)
class Hand:
    """The two cards, the first player's first, and the actions so far."""

    cards: tuple[Card, Card]
    deeds: tuple[Deed, ...] = ()


@final
@attrs.frozen(kw_only=True)
class KuhnPoker(AbstractExplicitGame[Hand, Deed]):
    """Bet or pass on one hidden card of three.

    Agents: ``first`` and ``second``, in turn.
    States: the cards and the actions so far.
    Actions: pass (check, or fold to a bet) and bet (or call).
    Observation text: the agent's own card, the actions so far, and at the end both cards if they were shown.
    Action text: ``pass`` or ``bet``.
    Rewards: chips won or lost: 1, or 2 after a called bet.
    Invalid rule: forfeit, at a penalty of 2.

    Attributes:
      horizon: time limit H, in steps.

    Source: H. W. Kuhn, 1950.
    """

    horizon: int = integer_field("horizon", default=3, least=1)
    invalid_rule: AbstractInvalidRule = Forfeit(penalty=2.0)
    facts: Facts = Facts(
        zero_sum=True,
        perfect_information=False,
        text_separates_states=False,
        stochastic_start=True,
        stochastic_transitions=False,
        return_bounds=(-2.0, 2.0),
        longest_game=3,
    )

    agents = _AGENTS

    def initial_state_dist(self) -> Distribution[Hand]:
        return uniform(Hand(cards) for cards in itertools.permutations(CARDS, 2))

    def is_terminal(self, state: Hand) -> bool:
        return state.deeds in _ENDS

    def acting_agents(self, state: Hand) -> tuple[str, ...]:
        return () if self.is_terminal(state) else (_AGENTS[len(state.deeds) % 2],)

    def legal_actions(self, state: Hand, agent: str) -> tuple[Deed, ...]:
        return _DEEDS if agent in self.acting_agents(state) else ()

    def transition_dist(
        self, state: Hand, joint_action: Mapping[str, Deed]
    ) -> Distribution[Transition[Hand]]:
        (deed,) = joint_action.values()
        after = attrs.evolve(state, deeds=(*state.deeds, deed))
        return deterministic(
            Transition(after, payoffs(after) if self.is_terminal(after) else (0.0, 0.0))
        )

    def observation_text(self, state: Hand, agent: str) -> str:
        own = _AGENTS.index(agent)
        done = [f"{_AGENTS[i % 2]} {deed}" for i, deed in enumerate(state.deeds)]
        lines = [
            f"You are {agent}. Your card: {state.cards[own]}.",
            f"Done so far: {', '.join(done) or 'nothing'}.",
        ]
        if self.is_terminal(state):
            if not _is_folded(state):
                lines.append(f"The other card: {state.cards[1 - own]}.")
            lines.append("You won." if payoffs(state)[own] > 0 else "You lost.")
        return "\n".join(lines)

    def action_text(self, state: Hand, agent: str, action: Deed) -> str:
        return action

    def rules_text(self, agent: str) -> str:
        return (
            "You play Kuhn poker with the cards jack, queen and king, from the lowest to the highest. Each of two "
            "players puts one chip into the pot and holds one card. In turn, pass or bet one more chip; to pass after "
            "a bet is to fold, and to bet after a bet is to call. If nobody folds, the higher card wins."
        )

    def information_key(self, state: Hand, agent: str) -> Hashable:
        own = _AGENTS.index(agent)
        if self.is_terminal(state) and not _is_folded(state):
            return state.cards[own], state.deeds, state.cards[1 - own]
        return state.cards[own], state.deeds


def _is_folded(hand: Hand) -> bool:
    return hand.deeds[-2:] == ("bet", "pass")


def payoffs(hand: Hand) -> tuple[float, float]:
    """The chips that each player wins at the end of a hand."""
    if _is_folded(hand):
        first_wins, chips = len(hand.deeds) % 2 == 0, 1.0
    else:
        first_wins = CARDS.index(hand.cards[0]) > CARDS.index(hand.cards[1])
        chips = 2.0 if "bet" in hand.deeds else 1.0
    return (chips, -chips) if first_wins else (-chips, chips)


@final
@attrs.frozen(kw_only=True)
class KuhnEquilibrium(AbstractPlayer[Hand, Deed]):
    """An equilibrium of Kuhn poker; there is one for each bluffing rate of the first player.

    Attributes:
      bluff: probability that the first player bets a jack, in [0, 1/3].

    Source: H. W. Kuhn, 1950.
    """

    bluff: float = probability_field("bluff", default=1 / 3)

    def __attrs_post_init__(self) -> None:
        if self.bluff > 1 / 3:
            raise InvalidArgumentError(f"'bluff' must be in [0, 1/3] (got {self.bluff})")

    def action_dist(self, state: Hand, agent: str) -> Distribution[Deed]:
        card = state.cards[_AGENTS.index(agent)]
        bet = self._bets(state.deeds)[CARDS.index(card)]
        pmf: dict[Deed, float] = {"bet": bet, "pass": 1 - bet}
        return Finite(pmf)

    def _bets(self, deeds: tuple[Deed, ...]) -> tuple[float, float, float]:
        """The probabilities that a jack, a queen and a king bet."""
        third = 1 / 3
        return {
            (): (self.bluff, 0.0, 3 * self.bluff),
            ("pass",): (third, 0.0, 1.0),
            ("bet",): (0.0, third, 1.0),
            ("pass", "bet"): (0.0, self.bluff + third, 1.0),
        }[deeds]
