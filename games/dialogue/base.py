"""The base of games in which agents speak: moves with messages, who hears them, and texts that cannot be forged.

A game defines its hidden world, the moves that an agent may make, what follows them and what they pay. The base reads
and writes moves, lets agents speak in turn, and shows each agent what it heard.
"""

import abc
from collections.abc import Hashable, Mapping
from typing import TypeVar

from games.dialogue.moves import Form, Move, listed, move_text, read_move
from games.dialogue.transcript import Talk, Utterance, known_to
from tsmg import (
    AbstractExplicitGame,
    Distribution,
    GameLawError,
    Illegal,
    Parsed,
    TextOutcome,
    Transition,
    deterministic,
)

W = TypeVar("W", bound=Hashable)


class AbstractDialogue(AbstractExplicitGame[Talk[W], Move]):
    """A game whose agents speak.

    If a move may carry a message, the actions cannot be listed: ``legal_actions`` is ``None``, and cloning, checks and
    comparisons need a scripted player.

    Attributes:
      message_limit: the greatest number of characters of a message.
    """

    message_limit: int = 120

    @abc.abstractmethod
    def world_dist(self) -> Distribution[W]:
        """The distribution of everything besides the words, such as hidden values and roles."""

    @abc.abstractmethod
    def forms(self, state: Talk[W], agent: str) -> tuple[Form, ...]:
        """The forms of the moves that an acting agent may make now; they have different verbs."""

    @abc.abstractmethod
    def rewards(self, after: Talk[W]) -> tuple[float, ...]:
        """What each agent gets at the step that led to a state, in the order of ``agents``."""

    @abc.abstractmethod
    def head_text(self, state: Talk[W], agent: str) -> str:
        """What the agent reads before the transcript: who it is, and what only it knows."""

    def foot_text(self, state: Talk[W], agent: str) -> str:
        """What the agent reads after the transcript: what is asked of it, or how the game ended; may be empty."""
        return ""

    def hearers(self, state: Talk[W], agent: str, move: Move) -> tuple[str, ...] | None:
        """The other agents that hear of a move; ``None`` for all."""
        return None

    def follow(self, said: Talk[W]) -> Distribution[Talk[W]]:
        """What follows once the moves of a step are in the transcript; by default nothing more."""
        return deterministic(said)

    def acting_agents(self, state: Talk[W]) -> tuple[str, ...]:
        """By default the agents act in turn, one after each utterance."""
        if self.is_terminal(state):
            return ()
        return (self.agents[len(state.utterances) % len(self.agents)],)

    def initial_state_dist(self) -> Distribution[Talk[W]]:
        return self.world_dist().map(Talk)

    def transition_dist(
        self, state: Talk[W], joint_action: Mapping[str, Move]
    ) -> Distribution[Transition[Talk[W]]]:
        acting = self.acting_agents(state)
        if not acting or joint_action.keys() != {*acting}:
            raise GameLawError(
                f"{self.name}: {acting or 'nobody'} must move (got {tuple(joint_action)})"
            )
        said = [
            Utterance(agent, joint_action[agent], self.hearers(state, agent, joint_action[agent]))
            for agent in self.agents
            if agent in joint_action
        ]
        after = self.follow(Talk(state.world, (*state.log, *said)))
        return after.map(lambda talk: Transition(talk, self.rewards(talk)))

    def legal_actions(self, state: Talk[W], agent: str) -> tuple[Move, ...] | None:
        return listed(self._forms_now(state, agent))

    def _forms_now(self, state: Talk[W], agent: str) -> tuple[Form, ...]:
        return self.forms(state, agent) if agent in self.acting_agents(state) else ()

    def action_text(self, state: Talk[W], agent: str, action: Move) -> str:
        return move_text(action, self.message_limit)

    def read_action(self, state: Talk[W], agent: str, text: str) -> TextOutcome[Move]:
        move = read_move(self._forms_now(state, agent), text, self.message_limit)
        return Illegal(text) if move is None else Parsed(move)

    def observation_text(self, state: Talk[W], agent: str) -> str:
        heard = [entry.line for entry in known_to(state.log, agent)]
        head, foot = self.head_text(state, agent), self.foot_text(state, agent)
        return "\n".join(filter(None, (head, *heard, foot)))

    def information_key(self, state: Talk[W], agent: str) -> Hashable:
        head, foot = self.head_text(state, agent), self.foot_text(state, agent)
        return head, known_to(state.log, agent), foot
