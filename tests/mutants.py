"""Defects that are hard to see, in a small game of two who act at once and in one of words; beside ``tests/seeded.py``.

Each is one line of a game that a reader may take for right. ``python tests/benchmarks/defects.py --subtle`` shows which
rule of the kit notices each, and which it misses (``MISSED``).
"""

import functools
import itertools
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import attrs

from tsmg import (
    AbstractExplicitGame,
    AbstractPlayer,
    Distribution,
    Facts,
    Illegal,
    Parsed,
    Stream,
    TextOutcome,
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
    "player-peeks": "the scripted player looks at the other's card",
    "state-forgets": "a field of the state that == leaves out doubles the rewards",
    "joint-cleared": "a step clears the joint action that it is given",
    "success-drawn": "success answers differently whenever it is asked",
    "metrics-count": "a metric says how often it was asked",
    "list-actions": "actions are lists",
    "all-shown": "every text shows both cards, and the information key is the text",
    "three-words": "a message of fewer than three words raises",
    "half-shown": "one of the two reads both cards, and the information key is the text",
    "magic-word": "a message that contains a certain word pays",
    "rare-leak": "a card is shown after one of some thousand episodes",
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
    "player-peeks": "player-information",
    "state-forgets": "state-tells-outcomes",
    "joint-cleared": "arguments",
    "success-drawn": "success",
    "metrics-count": "metrics",
    "list-actions": "legal-actions",
    "all-shown": "text-separates-states",
    "three-words": "free-text",
}
"""The rule that is about each defect."""
MISSED = {*SUBTLE} - {*NOTICED}
"""Defects that no rule notices; for the first of them a note says what to declare."""
_COURSE = tuple(
    zip(
        ("give", "keep", "give", "give", "keep"),
        ("keep", "give", "give", "keep", "give"),
        strict=True,
    )
)
"""The only course of five rounds after which a card is shown."""
_GIVEN: list[str] = []
_CALLS = itertools.count(1)


@attrs.frozen(cache_hash=True)
class Table:
    """The cards, and what was done in each round."""

    cards: tuple[int, int]
    done: tuple[tuple[str, str], ...] = ()
    luck: int = attrs.field(default=1, eq=False)


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


@attrs.frozen
class Sly(AbstractPlayer[Table, str]):
    """Gives where the other's card is high."""

    def action_dist(self, state: Table, agent: str) -> Distribution[str]:
        return deterministic("give" if state.cards[1 - AGENTS.index(agent)] == 2 else "keep")


def _deed(action: Any) -> str:
    """The word of an action; where actions are lists, their only one."""
    return str(action if isinstance(action, str) else action[0])


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
        luck = uniform((1, 2)) if self.defect == "state-forgets" else deterministic(1)
        cards = uniform((1, 2))
        return product([cards, cards, luck]).map(
            lambda drawn: Table((drawn[0], drawn[1]), luck=drawn[2])
        )

    def is_terminal(self, state: Table) -> bool:
        return len(state.done) >= self.horizon

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
        every: Any = ("keep", "give")
        if self.defect == "list-actions":
            every = (["keep"], ["give"])
        return tuple({"keep", "give"}) if self.defect == "hash-order" else every

    def transition_dist(
        self, state: Table, joint_action: Mapping[str, str]
    ) -> Distribution[Transition[Table]]:
        if self.is_terminal(state):
            return deterministic(Transition(state, (0.0, 0.0)))
        if self.defect == "joint-order":
            ann, ben = joint_action.values()
        else:
            ann, ben = (_deed(joint_action.get(agent, "keep")) for agent in AGENTS)
        if self.defect == "joint-cleared":
            joint_action.clear()  # type: ignore[attr-defined]
        gifts = [float(deed == "give") for deed in (ann, ben)]
        if self.defect == "shared-memory" and "give" in (ann, ben):
            _GIVEN.append("gift")
            gifts[0] += len(_GIVEN)
        rewards = (
            state.luck * (gifts[1] * state.cards[0] - gifts[0]),
            state.luck * (gifts[0] * state.cards[1] - gifts[1]),
        )
        after = Table(state.cards, (*state.done, (ann, ben)), luck=state.luck)
        return deterministic(Transition(after, rewards))

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
        if self.defect == "rare-leak" and state.done == _COURSE:
            lines.append(f"The other has card {state.cards[1 - own]}.")
        if self.defect == "all-shown" or (self.defect == "half-shown" and agent == "ann"):
            lines.append(f"The other has card {state.cards[1 - own]}.")
        return "\n".join(lines)

    def information_key(self, state: Table, agent: str) -> Hashable:
        if self.defect in ("all-shown", "half-shown"):
            return super().information_key(state, agent)
        cards = state.cards if self.defect == "key-peeks" else state.cards[AGENTS.index(agent)]
        return agent, cards, state.done

    def action_text(self, state: Table, agent: str, action: str) -> str:
        return _deed(action)

    def rules_text(self, agent: str) -> str:
        read = f" You read this {next(_CALLS)} times." if self.defect == "rules-count" else ""
        return f"A gift costs 1 and pays the other its card.{read}"

    def instance_key(self, start: Table) -> str:
        return str(id(self)) if self.defect == "key-by-id" else super().instance_key(start)

    def scripted_player(self) -> AbstractPlayer[Table, str] | None:
        players = {"player-remembers": Moody(), "player-peeks": Sly()}
        return players.get(self.defect)

    def success(self, episode: Any, agent: str) -> bool | None:
        return next(_CALLS) % 2 == 0 if self.defect == "success-drawn" else None

    def metrics(self, episode: Any, agent: str) -> Mapping[str, float]:
        return {"asked": float(next(_CALLS))} if self.defect == "metrics-count" else {}


@attrs.frozen
class Polite(AbstractPlayer[tuple[str, ...], str]):
    """Says the same whenever it is asked."""

    def action_dist(self, state: tuple[str, ...], agent: str) -> Distribution[str]:
        return deterministic("how are you today")


@attrs.frozen(kw_only=True)
class Words(AbstractExplicitGame[tuple[str, ...], str]):
    """Two rounds of words, which all read in quotation marks: say: MESSAGE."""

    defect: str = ""
    horizon: int = 2
    agents = AGENTS
    facts: Facts = Facts(longest_game=2)

    def initial_state_dist(self) -> Distribution[tuple[str, ...]]:
        return deterministic(())

    def is_terminal(self, state: tuple[str, ...]) -> bool:
        return len(state) >= 2

    def acting_agents(self, state: tuple[str, ...]) -> tuple[str, ...]:
        return () if self.is_terminal(state) else (AGENTS[len(state)],)

    def legal_actions(self, state: tuple[str, ...], agent: str) -> tuple[str, ...] | None:
        return None if agent in self.acting_agents(state) else ()

    def read_action(self, state: tuple[str, ...], agent: str, text: str) -> TextOutcome[str]:
        is_said = text.startswith("say: ") and agent in self.acting_agents(state)
        message = " ".join(text.removeprefix("say: ").split())
        return Parsed(message) if is_said and message else Illegal(text)

    def action_text(self, state: tuple[str, ...], agent: str, action: str) -> str:
        return f"say: {action}"

    def transition_dist(
        self, state: tuple[str, ...], joint_action: Mapping[str, str]
    ) -> Distribution[Transition[tuple[str, ...]]]:
        (message,) = joint_action.values()
        paid = float(self.defect == "magic-word" and "please" in message)
        if self.defect == "three-words":
            paid = float(message.split()[2] == "please")
        return deterministic(Transition((*state, message), (paid, paid)))

    def observation_text(self, state: tuple[str, ...], agent: str) -> str:
        return "\n".join(map(ascii, state))

    def scripted_player(self) -> AbstractPlayer[tuple[str, ...], str] | None:
        return Polite()


def mutant(defect: str) -> Callable[[], Any]:
    """A maker of the game with a defect."""
    if defect in ("three-words", "magic-word"):
        return functools.partial(Words, defect=defect)
    rounds = len(_COURSE) if defect == "rare-leak" else 2
    facts = attrs.evolve(Gifts().facts, longest_game=rounds)
    return functools.partial(Gifts, defect=defect, horizon=rounds, facts=facts)
