"""Liar's dice: bid how many dice of all players show a face, or say that the last bid is a lie.

Source: M. Lanctot, E. Lockhart, J.-B. Lespiau, et al., "OpenSpiel: a framework for reinforcement learning in games",
2019 (the rules of its liars_dice).
"""

import functools
import math
from collections.abc import Hashable, Mapping
from fractions import Fraction
from typing import Literal, NamedTuple, final

import attrs

from games.arguments import boolean_field, integer_field, probability_field
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
from tsmg.invalid import AbstractInvalidRule, Forfeit

_AGENTS = ("first", "second")

Dice = tuple[int, ...]
"""The faces of a player's dice, the smallest first."""


class Bid(NamedTuple):
    """The claim that at least ``number`` dice show a face."""

    number: int
    face: int


Deed = Bid | Literal["liar"]
_NUMBERS = {2: "two", 3: "three"}


@final
@attrs.frozen(cache_hash=True)
class Table:
    """The dice of both players, the bids so far, and whether the last bid was called a lie."""

    dice: tuple[Dice, Dice]
    bids: tuple[Bid, ...] = ()
    is_called: bool = False


@functools.lru_cache(maxsize=64)
def all_bids(dice: int, faces: int) -> tuple[Bid, ...]:
    """Every bid, the lowest first: by the number of dice, then by the face.

    Args:
      dice: number of dice of all players.
      faces: number of faces.
    """
    return tuple(Bid(n, face) for n in range(1, dice + 1) for face in range(1, faces + 1))


@functools.lru_cache(maxsize=64)
def _rolls(dice: int, faces: int) -> Distribution[Dice]:
    rolled = product([uniform(range(1, faces + 1))] * dice)
    return Finite(rolled.map(lambda roll: tuple(sorted(roll))).pmf())


@final
@attrs.frozen(kw_only=True)
class LiarsDice(AbstractExplicitGame[Table, Deed]):
    """Bid how many dice show a face, each bid higher than the last, until somebody calls a lie.

    Agents: ``first`` and ``second``; in turn.
    States: the dice of both, the bids so far, and whether the last one was called a lie.
    Actions: every bid above the last one, and, after a bid, liar.
    Observation text: the agent's own dice and the bids so far; at the end all dice.
    Action text: ``2 x 5`` (at least two dice show a five), or ``liar``.
    Rewards: after ``liar``, 1 to the last bidder and -1 to the other if the bid is true, and the reverse if not.
    Invalid rule: forfeit, at a penalty of 1.
    Exact values: with one die each and two, three or four faces, the first player gets 1/2, 1/9 or 1/16 if both play
    best, by linear programmes over this game and over OpenSpiel's.

    Attributes:
      dice: number of dice of each player.
      faces: number of faces of a die.
      wild: whether the highest face counts as every face, as it does in OpenSpiel.

    Source: M. Lanctot et al., 2019.
    """

    dice: int = integer_field("dice", default=1, least=1)
    faces: int = integer_field("faces", default=6, least=2)
    wild: bool = boolean_field("wild", default=True)
    invalid_rule: AbstractInvalidRule = Forfeit(penalty=1.0)
    horizon: int = attrs.field(init=False)
    facts: Facts = attrs.field(init=False)

    agents = _AGENTS

    @horizon.default
    def _longest(self) -> int:
        return len(self.bids) + 1

    @facts.default
    def _declare(self) -> Facts:
        return Facts(
            zero_sum=True,
            perfect_information=False,
            text_separates_states=False,
            stochastic_start=True,
            stochastic_transitions=False,
            return_bounds=(-1.0, 1.0),
            longest_game=self.horizon,
        )

    def __attrs_post_init__(self) -> None:
        if self.faces**self.dice > 10_000:
            raise InvalidArgumentError(
                f"'faces' to the power of 'dice' must be at most 10,000 (got {self.faces} and {self.dice})"
            )

    @property
    def bids(self) -> tuple[Bid, ...]:
        """Every bid, the lowest first."""
        return all_bids(2 * self.dice, self.faces)

    def initial_state_dist(self) -> Distribution[Table]:
        return product([_rolls(self.dice, self.faces)] * 2).map(lambda d: Table((d[0], d[1])))

    def is_terminal(self, state: Table) -> bool:
        return state.is_called

    def acting_agents(self, state: Table) -> tuple[str, ...]:
        return () if state.is_called else (_AGENTS[len(state.bids) % 2],)

    def legal_actions(self, state: Table, agent: str) -> tuple[Deed, ...]:
        if agent not in self.acting_agents(state):
            return ()
        if not state.bids:
            return self.bids
        return (*self.bids[self.bids.index(state.bids[-1]) + 1 :], "liar")

    def transition_dist(
        self, state: Table, joint_action: Mapping[str, Deed]
    ) -> Distribution[Transition[Table]]:
        (deed,) = joint_action.values()
        if deed != "liar":
            after = attrs.evolve(state, bids=(*state.bids, deed))
            return deterministic(Transition(after, (0.0, 0.0)))
        bidder = (len(state.bids) - 1) % 2
        gain = 1.0 if (bidder == 0) == self.is_true(state.dice, state.bids[-1]) else -1.0
        return deterministic(Transition(attrs.evolve(state, is_called=True), (gain, -gain)))

    def is_true(self, dice: tuple[Dice, Dice], bid: Bid) -> bool:
        """Whether at least as many of all dice as the bid says show the face.

        Args:
          dice: of both players.
          bid: the bid.

        Example:
          >>> LiarsDice().is_true(((5,), (6,)), Bid(2, 5)), LiarsDice(wild=False).is_true(((5,), (6,)), Bid(2, 5))
          (True, False)
        """
        return sum(self._shows(die, bid.face) for own in dice for die in own) >= bid.number

    def _shows(self, die: int, face: int) -> bool:
        return die == face or (self.wild and die == self.faces)

    def truth(self, own: Dice, bid: Bid) -> Fraction:
        """The probability that a bid is true, to a player who knows its own dice and nothing else.

        Args:
          own: the player's dice.
          bid: the bid.

        Example:
          >>> str(LiarsDice(dice=2).truth((2, 6), Bid(3, 2)))
          '5/9'
        """
        missing = bid.number - sum(self._shows(die, bid.face) for die in own)
        p = Fraction(sum(self._shows(face + 1, bid.face) for face in range(self.faces)), self.faces)
        counts = range(max(missing, 0), self.dice + 1)
        chances = (math.comb(self.dice, n) * p**n * (1 - p) ** (self.dice - n) for n in counts)
        return sum(chances, Fraction(0))

    def observation_text(self, state: Table, agent: str) -> str:
        own = _AGENTS.index(agent)
        told = [
            f"{_AGENTS[n % 2]} {self.action_text(state, agent, bid)}"
            for n, bid in enumerate(state.bids)
        ]
        lines = [
            f"You are {agent}. Your dice: {' '.join(map(str, state.dice[own]))}.",
            f"Bids so far: {', '.join(told) or 'none'}.",
        ]
        if state.is_called:
            truth = "true" if self.is_true(state.dice, state.bids[-1]) else "a lie"
            others = " ".join(map(str, state.dice[1 - own]))
            lines.append(
                f"The last bid was called. The other player's dice: {others}. It was {truth}."
            )
        return "\n".join(lines)

    def information_key(self, state: Table, agent: str) -> Hashable:
        own = _AGENTS.index(agent)
        return state.dice[own], state.bids, state.dice[1 - own] if state.is_called else None

    def action_text(self, state: Table, agent: str, action: Deed) -> str:
        return action if action == "liar" else f"{action.number} x {action.face}"

    def rules_text(self, agent: str) -> str:
        rolled = "one die" if self.dice == 1 else f"{self.dice} dice"
        seen = "its own die" if self.dice == 1 else "its own dice"
        face = min(3, self.faces)
        wild = f" A {self.faces} counts as any face." if self.wild else ""
        return (
            f"Two players roll {rolled} each, with faces from 1 to {self.faces}, and each sees only {seen}. They take "
            f"turns to bid; the bid 2 x {face} claims that at least two of all the dice show a {_NUMBERS[face]}. "
            "Each bid must name more dice than the last one, or as many dice and a higher face."
            f"{wild} Instead of bidding, a player may answer a bid with liar: all dice are then shown, and the player "
            "who made the bid wins if it is true and loses if it is not. A move is a bid such as "
            f"2 x {face}, or: liar"
        )

    def success(self, episode: Episode[Table], agent: str) -> bool:
        """The agent won."""
        is_whole = episode.ending is Ending.TERMINATED
        return is_whole and episode.episode_return(agent, penalties=False) > 0

    def scripted_player(self) -> "PlausibleBidder":
        return PlausibleBidder(game=self)


@final
@attrs.frozen(kw_only=True)
class PlausibleBidder(AbstractPlayer[Table, Deed]):
    """Says what its own dice make likely: liar if the last bid is unlikely, otherwise a most likely bid.

    Attributes:
      game: the game.
      attention: probability that it looks at its dice, in [0, 1]; otherwise any action.
      doubt: it says liar if the last bid is true with a probability below this.
    """

    game: LiarsDice
    attention: float = probability_field("attention", default=0.7)
    doubt: float = probability_field("doubt", default=0.5)

    def action_dist(self, state: Table, agent: str) -> Distribution[Deed]:
        own = state.dice[_AGENTS.index(agent)]
        legal = self.game.legal_actions(state, agent)
        looking = uniform(self._good(own, state, legal))
        return Finite(attentive(self.attention, looking, uniform(legal)).pmf())

    def _good(self, own: Dice, state: Table, legal: tuple[Deed, ...]) -> list[Deed]:
        bids: list[Bid] = [deed for deed in legal if deed != "liar"]
        if not bids or (state.bids and self.game.truth(own, state.bids[-1]) < self.doubt):
            return ["liar"]
        chances = [self.game.truth(own, bid) for bid in bids]
        return [bid for bid, p in zip(bids, chances, strict=True) if p == max(chances)]
