"""One small game with hidden information and declared facts, and the defects that can be put into it.

The rules are pure functions, so that the same defects can be put into environments of other libraries
(``tests/benchmarks/defects.py``).
"""

import random
from collections.abc import Hashable, Mapping
from typing import Any

import attrs

from tsmg import (
    AbstractExplicitGame,
    Distribution,
    Facts,
    Illegal,
    Parsed,
    Stream,
    TextOutcome,
    Transition,
    deterministic,
    uniform,
)
from tsmg.testing import KnownEpisode

AGENTS = ("holder", "guesser")
CARDS = (1, 2, 3)
LEGAL = (("raise", "check"), ("call", "fold"))
STAKES = {"raise": 2.0, "check": 1.0}

DEFECTS = {
    "global-state": "dealing seeds and draws from the global generator",
    "seed-ignored": "the card comes from a generator of its own, not from the seed",
    "step-after-end": "after the end the guesser may act again, and is paid again",
    "wrong-legal": "the guesser is offered the holder's actions",
    "wrong-agent": "each agent gets the other one's reward",
    "clipped": "the text leaves the last line out, which tells what was done",
    "no-round-trip": "an action's text ends with a full stop, which reading it does not expect",
    "leak": "the guesser's text shows the card before it is turned up",
}
BEYOND = {
    "one-card": "the same card is dealt whatever the seed",
    "missing-legal": "folding is not offered, though the rules allow it",
}
CAUGHT = {
    "global-state": "global-generators",
    "seed-ignored": "same-seed",
    "step-after-end": "end",
    "wrong-legal": "plays-through",
    "wrong-agent": "known-episodes",
    "clipped": "text-separates-states",
    "no-round-trip": "action-round-trip",
    "leak": "information",
    "one-card": "one-law",
    "missing-legal": "known-episodes",
}
"""The rule that is about each defect; other rules may break beside."""


@attrs.frozen
class Deal:
    """The card, and what was done so far."""

    card: int
    deeds: tuple[str, ...] = ()


def payoff(deal: Deal) -> float:
    """What the holder wins of the guesser."""
    stake = STAKES[deal.deeds[0]]
    return {"fold": 1.0, "call": stake if deal.card > 1 else -stake}[deal.deeds[1]]


def text(deal: Deal, agent: str, defect: str = "") -> str:
    """What an agent reads."""
    is_open = agent == "holder" or deal.deeds or defect == "leak"
    lines = [
        f"You are the {agent}.",
        f"The card: {deal.card if is_open else 'face down'}.",
        f"Done so far: {', '.join(deal.deeds) or 'nothing'}.",
    ]
    return "\n".join(lines[:2] if defect == "clipped" else lines)


def legal(deal: Deal, defect: str = "") -> tuple[str, ...]:
    """What the agent whose turn it is may do."""
    turn = len(deal.deeds)
    if turn >= 2:
        return LEGAL[1] if defect == "step-after-end" else ()
    if turn == 1 and defect == "wrong-legal":
        return LEGAL[0]
    if turn == 1 and defect == "missing-legal":
        return LEGAL[1][:1]
    return LEGAL[turn]


def rewards(deal: Deal, defect: str = "") -> tuple[float, float]:
    """The rewards on coming to a deal."""
    if len(deal.deeds) < 2:
        return (0.0, 0.0)
    won = payoff(deal)
    return (-won, won) if defect == "wrong-agent" else (won, -won)


@attrs.frozen(kw_only=True)
class FaceDown(AbstractExplicitGame[Deal, str]):
    """The holder sees a card and raises or checks; then it is turned up, and the guesser calls or folds."""

    defect: str = ""
    horizon: int = 2
    facts: Facts = Facts(
        zero_sum=True,
        perfect_information=False,
        text_separates_states=True,
        stochastic_start=True,
        stochastic_transitions=False,
        return_bounds=(-2.0, 2.0),
        longest_game=2,
    )
    agents = AGENTS

    def initial_state_dist(self) -> Distribution[Deal]:
        return uniform(map(Deal, CARDS))

    def sample_initial_state(self, rng: Stream) -> Deal:
        if self.defect == "global-state":
            random.seed(rng.seed())
            return Deal(random.choice(CARDS))
        if self.defect == "seed-ignored":
            return Deal(random.Random().choice(CARDS))
        if self.defect == "one-card":
            return Deal(CARDS[0])
        return super().sample_initial_state(rng)

    def is_terminal(self, state: Deal) -> bool:
        return len(state.deeds) >= 2

    def acting_agents(self, state: Deal) -> tuple[str, ...]:
        over = self.is_terminal(state)
        if over and self.defect != "step-after-end":
            return ()
        return (AGENTS[min(len(state.deeds), 1)],)

    def legal_actions(self, state: Deal, agent: str) -> tuple[str, ...]:
        return legal(state, self.defect) if agent in self.acting_agents(state) else ()

    def transition_dist(
        self, state: Deal, joint_action: Mapping[str, str]
    ) -> Distribution[Transition[Deal]]:
        (deed,) = joint_action.values()
        after = attrs.evolve(state, deeds=(*state.deeds[:1], deed))
        return deterministic(Transition(after, rewards(after, self.defect)))

    def observation_text(self, state: Deal, agent: str) -> str:
        return text(state, agent, self.defect)

    def action_text(self, state: Deal, agent: str, action: str) -> str:
        return f"{action}." if self.defect == "no-round-trip" else action

    def read_action(self, state: Deal, agent: str, text: str) -> TextOutcome[str]:
        said = text.strip().casefold()
        return Parsed(said) if said in self.legal_actions(state, agent) else Illegal(text)

    def information_key(self, state: Deal, agent: str) -> Hashable:
        is_open = agent == "holder" or state.deeds
        return state.card if is_open else None, state.deeds


KNOWN: tuple[Any, ...] = (
    KnownEpisode(actions=("raise", "fold"), returns_N=(1.0, -1.0)),
    KnownEpisode(actions=({"holder": "check"}, {"guesser": "fold"}), returns_N=(1.0, -1.0)),
)
"""Whatever the card, who folds loses 1."""
