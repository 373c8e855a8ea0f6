"""The ultimatum game: one player proposes how to divide a sum, and the other accepts, or both get nothing.

Source: W. Gueth, R. Schmittberger, B. Schwarze, "An experimental analysis of ultimatum bargaining", 1982.
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import final

import attrs

from games.arguments import integer_field, probability_field
from tsmg import (
    AbstractExplicitGame,
    AbstractPlayer,
    Distribution,
    Facts,
    Finite,
    Transition,
    deterministic,
    uniform,
)
from tsmg.invalid import AbstractInvalidRule, Forfeit

_AGENTS = ("proposer", "responder")
_ANSWERS = ("accept", "reject")

Deed = int | str
"""What is offered, or the answer."""


@final
@attrs.frozen(cache_hash=True)
class Bargain:
    """What was offered, and the answer; ``None`` before."""

    offer: int | None = None
    answer: str | None = None


@final
@attrs.frozen(kw_only=True)
class Ultimatum(AbstractExplicitGame[Bargain, Deed]):
    """Propose how to divide a sum; if the proposal is rejected, nobody gets anything.

    Agents: ``proposer``, then ``responder``.
    States: the offer and the answer so far.
    Actions: whole offers to the responder, from 0 to the sum; accept or reject.
    Observation text: the sum, and the offer and answer so far.
    Action text: the offer's number; ``accept`` or ``reject``.
    Rewards: the shares of an accepted offer, otherwise 0.
    Invalid rule: forfeit, at a penalty of 1.
    Exact values: in a subgame-perfect equilibrium every offer above 0 is accepted, and the offer is 0 or 1
    (``games.ultimatum.SubgamePerfect``); any division is the outcome of some other equilibrium.

    Attributes:
      total: the sum; at least 1.

    Source: W. Gueth, R. Schmittberger, B. Schwarze, 1982.
    """

    total: int = integer_field("total", default=10, least=1)
    invalid_rule: AbstractInvalidRule = Forfeit(penalty=1.0)
    horizon: int = integer_field("horizon", default=2, least=1)
    facts: Facts = attrs.field(init=False)

    agents = _AGENTS

    @facts.default
    def _declare(self) -> Facts:
        return Facts(
            perfect_information=True,
            text_separates_states=True,
            stochastic_start=False,
            stochastic_transitions=False,
            return_bounds=(0.0, float(self.total)),
            longest_game=2,
        )

    def initial_state_dist(self) -> Distribution[Bargain]:
        return deterministic(Bargain())

    def is_terminal(self, state: Bargain) -> bool:
        return state.answer is not None

    def acting_agents(self, state: Bargain) -> tuple[str, ...]:
        if self.is_terminal(state):
            return ()
        return _AGENTS[:1] if state.offer is None else _AGENTS[1:]

    def legal_actions(self, state: Bargain, agent: str) -> tuple[Deed, ...]:
        if agent not in self.acting_agents(state):
            return ()
        return tuple(range(self.total + 1)) if agent == "proposer" else _ANSWERS

    def transition_dist(
        self, state: Bargain, joint_action: Mapping[str, Deed]
    ) -> Distribution[Transition[Bargain]]:
        ((agent, deed),) = joint_action.items()
        if agent == "proposer":
            return deterministic(Transition(Bargain(int(deed)), (0.0, 0.0)))
        after = Bargain(state.offer, str(deed))
        return deterministic(Transition(after, self._shares(after)))

    def _shares(self, bargain: Bargain) -> tuple[float, float]:
        offer = bargain.offer or 0
        return (
            (float(self.total - offer), float(offer)) if bargain.answer == "accept" else (0.0, 0.0)
        )

    def observation_text(self, state: Bargain, agent: str) -> str:
        lines = [f"You are the {agent}. The sum is {self.total}."]
        if state.offer is not None:
            lines.append(
                f"Offer: the responder gets {state.offer}, the proposer {self.total - state.offer}."
            )
        if state.answer is not None:
            own = self._shares(state)[_AGENTS.index(agent)]
            lines.append(f"Answer: {state.answer}. You get {own:.0f}.")
        return "\n".join(lines)

    def action_text(self, state: Bargain, agent: str, action: Deed) -> str:
        return str(action)

    def rules_text(self, agent: str) -> str:
        division = (
            f"Two players divide {self.total}. The proposer offers the responder a share. If the responder accepts, "
            "it gets that share and the proposer gets the rest; if it rejects, both get nothing."
        )
        if agent == "proposer":
            return f"{division} A move is the share that you offer, a whole number from 0 to {self.total}."
        return f"{division} A move is one of: accept, reject."

    def scripted_player(self) -> "FairMinded":
        return FairMinded(total=self.total)


@final
@attrs.frozen(kw_only=True)
class SubgamePerfect(AbstractPlayer[Bargain, Deed]):
    """A subgame-perfect equilibrium: it accepts every offer above 0, and offers the least that it would accept.

    Attributes:
      generous: whether an offer of 0, to which the answer does not matter, is rejected, so that 1 is offered.
    """

    generous: bool = False

    def action_dist(self, state: Bargain, agent: str) -> Distribution[Deed]:
        if agent == "proposer":
            return deterministic(int(self.generous))
        return deterministic("accept" if (state.offer or 0) >= self.generous else "reject")


@final
@attrs.frozen(kw_only=True)
class FairMinded(AbstractPlayer[Bargain, Deed]):
    """Offers about a half, and accepts an offer more often the closer it is to a half.

    Attributes:
      total: the sum.
      patience: the probability of accepting an offer of 0, in [0, 1].
    """

    total: int
    patience: float = probability_field("patience", default=0.1)

    def action_dist(self, state: Bargain, agent: str) -> Distribution[Deed]:
        if agent == "proposer":
            return uniform(range(self.total // 4, self.total // 2 + 1))
        share = min(Fraction(2 * (state.offer or 0), self.total), Fraction(1))
        patience = Fraction(str(self.patience))
        accepts = patience + (1 - patience) * share
        pmf: dict[Deed, Fraction] = {"accept": accepts, "reject": 1 - accepts}
        return Finite(pmf)
