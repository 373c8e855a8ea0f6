"""Twelve defects that are hard to see, in one small game of two who act at once; beside those of ``tests/seeded.py``.

Each is one line of a game that a reader may take for right. ``python tests/benchmarks/defects.py --subtle`` shows which
rule of the kit notices each.
"""

import itertools
from collections.abc import Hashable, Mapping
from typing import Any

import attrs

from tsmg import (
    AbstractExplicitGame,
    AbstractPlayer,
    Distribution,
    Facts,
    Stream,
    Transition,
    deterministic,
    product,
    uniform,
)
from tsmg.invalid import AbstractInvalidRule, Forfeit, Resolution

AGENTS = ("ann", "ben")
SUBTLE = {
    "joint-order": "rewards go by the order in which the joint action names the agents",
    "key-peeks": "the information key holds the other's card, which no text shows",
    "out-but-paid": "who is out is still paid",
    "rules-count": "the rules say how often they were read",
    "key-by-id": "the instance is identified by the game's id()",
    "rule-remembers": "the invalid rule takes more from an offender each time",
    "player-remembers": "the scripted player changes its mind whenever it is asked",
    "other-sampler": "the sampler of a step was written a second time, and pays less",
    "legal-leaks": "what is legal depends on the other's card",
    "hash-order": "legal actions come in the order of a set of words",
    "shared-memory": "all instances share a list of who gave, and pay by it",
    "late-leak": "the other's card is shown once both have given in the first round",
}
NOTICED = {
    "joint-order": "joint-order",
    "key-peeks": "information-told",
    "out-but-paid": "out",
    "rules-count": "rules-pure",
    "key-by-id": "rules-pure",
    "rule-remembers": "invalid-text",
    "player-remembers": "scripted-player",
    "other-sampler": "probabilities",
    "legal-leaks": "information",
    "hash-order": "hash-seed",
    "shared-memory": "same-seed",
    "late-leak": "information",
}
"""The rule that is about each defect."""
_GIVEN: list[str] = []
_CALLS = itertools.count(1)


@attrs.frozen(cache_hash=True)
class Table:
    """The cards, and what was done in each round."""

    cards: tuple[int, int]
    done: tuple[tuple[str, str], ...] = ()


@attrs.frozen
class Angry(AbstractInvalidRule):
    """Its penalty grows with every call."""

    def _resolve(self, game: Any, state: Any, offence: Any) -> Distribution[Any]:
        own: Resolution[Any] = Resolution(
            joint_action=None, penalties_N=(-float(next(_CALLS)), 0.0)
        )
        return deterministic(own)


@attrs.frozen
class Moody(AbstractPlayer[Table, str]):
    """Its choice alternates with every call."""

    def action_dist(self, state: Table, agent: str) -> Distribution[str]:
        return deterministic(("keep", "give")[next(_CALLS) % 2])


@attrs.frozen(kw_only=True)
class Gifts(AbstractExplicitGame[Table, str]):
    """Two rounds: a gift costs 1 and pays the other its own card; who has kept twice at the end is out."""

    defect: str = ""
    horizon: int = 2
    facts: Facts = Facts(
        zero_sum=False,
        perfect_information=False,
        text_separates_states=False,
        stochastic_start=True,
        stochastic_transitions=False,
        longest_game=2,
    )
    agents = AGENTS

    @property
    def invalid_rule(self) -> AbstractInvalidRule:
        return Angry() if self.defect == "rule-remembers" else Forfeit(penalty=1.0)

    def initial_state_dist(self) -> Distribution[Table]:
        return product([uniform((1, 2))] * 2).map(lambda cards: Table((cards[0], cards[1])))

    def is_terminal(self, state: Table) -> bool:
        return len(state.done) >= 2

    def is_out(self, state: Table, agent: str) -> bool:
        own = AGENTS.index(agent)
        return self.defect == "out-but-paid" and any(pair[own] == "keep" for pair in state.done)

    def acting_agents(self, state: Table) -> tuple[str, ...]:
        if self.is_terminal(state):
            return ()
        return tuple(agent for agent in AGENTS if not self.is_out(state, agent))

    def legal_actions(self, state: Table, agent: str) -> tuple[str, ...]:
        if agent not in self.acting_agents(state):
            return ()
        if self.defect == "legal-leaks" and state.cards[1 - AGENTS.index(agent)] == 2:
            return ("keep",)
        every = ("keep", "give")
        return tuple({"keep", "give"}) if self.defect == "hash-order" else every

    def transition_dist(
        self, state: Table, joint_action: Mapping[str, str]
    ) -> Distribution[Transition[Table]]:
        if self.is_terminal(state):
            return deterministic(Transition(state, (0.0, 0.0)))
        if self.defect == "joint-order":
            ann, ben = joint_action.values()
        else:
            ann, ben = (joint_action.get(agent, "keep") for agent in AGENTS)
        gifts = [float(deed == "give") for deed in (ann, ben)]
        if self.defect == "shared-memory" and "give" in (ann, ben):
            _GIVEN.append("gift")
            gifts[0] += len(_GIVEN)
        rewards = (
            gifts[1] * state.cards[0] - gifts[0],
            gifts[0] * state.cards[1] - gifts[1],
        )
        return deterministic(Transition(Table(state.cards, (*state.done, (ann, ben))), rewards))

    def sample_transition(
        self, state: Table, joint_action: Mapping[str, str], rng: Stream
    ) -> Transition[Table]:
        there = super().sample_transition(state, joint_action, rng)
        if self.defect == "other-sampler":
            return Transition(there.state, (there.rewards_N[0] / 2, there.rewards_N[1]))
        return there

    def observation_text(self, state: Table, agent: str) -> str:
        own = AGENTS.index(agent)
        lines = [f"You are {agent}, with card {state.cards[own]}."]
        lines += [f"You {pair[own]}, the other {pair[1 - own]}." for pair in state.done]
        if self.defect == "late-leak" and state.done[:1] == (("give", "give"),):
            lines.append(f"The other has card {state.cards[1 - own]}.")
        return "\n".join(lines)

    def information_key(self, state: Table, agent: str) -> Hashable:
        cards = state.cards if self.defect == "key-peeks" else state.cards[AGENTS.index(agent)]
        return agent, cards, state.done

    def action_text(self, state: Table, agent: str, action: str) -> str:
        return action

    def rules_text(self, agent: str) -> str:
        read = f" You read this {next(_CALLS)} times." if self.defect == "rules-count" else ""
        return f"A gift costs 1 and pays the other its card.{read}"

    def instance_key(self, start: Table) -> str:
        return str(id(self)) if self.defect == "key-by-id" else super().instance_key(start)

    def scripted_player(self) -> AbstractPlayer[Table, str] | None:
        return Moody() if self.defect == "player-remembers" else None
