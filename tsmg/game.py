"""The Text-Mediated Stochastic Game: the interface that every game implements.

Source: arXiv:2508.10839 (the name and the idea of a TSMG); the tuple
Gamma = <I, S, mu_0, (A_i), P, (r_i), (phi_i), (psi_i), iota, gamma, H> is our reconstruction.

A game is a value without memory: the state is an argument, randomness is an explicit stream, and
the text maps are pure and total. There are two kinds. An *explicit* game states its distributions, and everything
else is derived from them. A *sampled* game can only be sampled (most adapters).
"""

import abc
from collections.abc import Hashable, Mapping
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import attrs

from tsmg.distribution import Distribution
from tsmg.errors import GameLawError
from tsmg.invalid import AbstractInvalidRule, StandStill
from tsmg.players import AbstractPlayer
from tsmg.randomness import Stream
from tsmg.records import Episode
from tsmg.text import Illegal, Parsed, TextOutcome, fold

S = TypeVar("S", bound=Hashable)
A = TypeVar("A", bound=Hashable)


class Transition(NamedTuple, Generic[S]):
    """What follows a joint action.

    Attributes:
      state: the next state.
      rewards_N: the reward of each agent, in the order of ``agents``.
    """

    state: S
    rewards_N: tuple[float, ...]


@attrs.frozen(kw_only=True)
class Facts:
    """What a game declares about itself under valid play; ``None`` declares nothing.

    Attributes:
      zero_sum: the rewards of all agents sum to 0 at every step.
      perfect_information: every agent's text tells the whole state.
      text_separates_states: for each acting agent, different states have different texts.
      stochastic_start: the initial distribution has more than one outcome.
      stochastic_transitions: some transition distribution has more than one outcome.
      start_is_instance: starts are problem instances (maps, levels), so that some may be held out.
      symmetric: the agents are interchangeable.
      return_bounds: the least and the greatest undiscounted return of an agent.
      longest_game: the greatest number of steps of an episode.
    """

    zero_sum: bool | None = None
    perfect_information: bool | None = None
    text_separates_states: bool | None = None
    stochastic_start: bool | None = None
    stochastic_transitions: bool | None = None
    start_is_instance: bool = False
    symmetric: bool | None = None
    return_bounds: tuple[float, float] | None = None
    longest_game: int | None = None


class AbstractGame(abc.ABC, Generic[S, A]):
    """A Text-Mediated Stochastic Game, explicit or sampled.

    Attributes:
      agents: the agents' names, in the order of every reward tuple.
      discount: gamma, in [0, 1]; 1 unless the game sets it.
      horizon: H, the number of steps after which an episode is truncated; ``None`` for no limit.
      invalid_rule: iota, which determines what follows an invalid text.
      facts: what the game declares about itself.

    Theory: Definition 1.1, Equation 1.1.
    """

    agents: tuple[str, ...]
    discount: float = 1.0
    horizon: int | None = None
    invalid_rule: AbstractInvalidRule = StandStill()
    facts: Facts = Facts()

    @property
    def name(self) -> str:
        """A short name for records and messages."""
        return type(self).__name__

    @abc.abstractmethod
    def sample_initial_state(self, rng: Stream) -> S:
        """A draw from mu_0, the distribution of the first state."""

    @abc.abstractmethod
    def sample_transition(
        self, state: S, joint_action: Mapping[str, A], rng: Stream
    ) -> Transition[S]:
        """A draw from P(. | state, joint_action); the joint action has a key per acting agent."""

    @abc.abstractmethod
    def is_terminal(self, state: S) -> bool:
        """Whether the game is over in this state."""

    def is_truncated(self, state: S) -> bool:
        """Whether a limit outside the rules, not the rules, ended the game in this terminal state.

        An episode that ends there is recorded as truncated; declared return bounds do not apply to it.
        """
        return False

    @abc.abstractmethod
    def acting_agents(self, state: S) -> tuple[str, ...]:
        """I(s): the agents that act: one in turn-based play, several at once, or none where chance moves alone."""

    @abc.abstractmethod
    def legal_actions(self, state: S, agent: str) -> tuple[A, ...] | None:
        """A_i(s), or ``None`` if the actions cannot be listed."""

    @abc.abstractmethod
    def observation_text(self, state: S, agent: str) -> str:
        """phi_i: the text that the agent reads. Total and pure."""

    @abc.abstractmethod
    def action_text(self, state: S, agent: str, action: A) -> str:
        """The canonical text of a legal action, which ``read_action`` maps back to the action."""

    def read_action(self, state: S, agent: str, text: str) -> TextOutcome[A]:
        """psi_i: the action that a text names. Total and pure.

        By default a text names the legal action whose canonical text folds to the same text (``tsmg.fold``: blanks at
        the ends, case and what has no shape do not matter); any other text is ``Illegal``.

        Raises:
          GameLawError: the legal actions cannot be listed, and the game does not override this method.
        """
        actions = self.legal_actions(state, agent)
        if actions is None:
            raise GameLawError(
                f"{self.name}: 'read_action' must be overridden where 'legal_actions' is None"
            )
        folded = fold(text)
        for action in actions:
            if fold(self.action_text(state, agent, action)) == folded:
                return Parsed(action)
        return Illegal(text)

    def rules_text(self, agent: str) -> str:
        """The rules for a newcomer: the aim, the legend, and the texts of actions."""
        return ""

    def noop_action(self, state: S, agent: str) -> A | None:
        """The declared action that does nothing, if the game has one."""
        return None

    def is_out(self, state: S, agent: str) -> bool:
        """Whether the agent has left the game: it neither acts nor receives rewards any more."""
        return False

    def information_key(self, state: S, agent: str) -> Hashable:
        """What the agent knows in this state: its observation text, unless the game overrides this."""
        return self.observation_text(state, agent)

    def instance_key(self, start: S) -> str:
        """A text that identifies the problem instance (map, level) of a start; it decides which starts are held out."""
        return repr([self.observation_text(start, agent) for agent in self.agents])

    def success(self, episode: Episode[S], agent: str) -> bool | None:
        """Whether the episode is a success for the agent; ``None`` if success is not defined."""
        return None

    def metrics(self, episode: Episode[S], agent: str) -> Mapping[str, float]:
        """Named figures of an episode for an agent, in addition to its return and success, such as regret or equality.

        Evaluations report the mean of each over the episodes that have it. A figure that is not defined for an episode
        is left out; the others are finite numbers. A figure of all agents together is the same for each of them.
        """
        return {}

    def scripted_player(self) -> AbstractPlayer[S, A] | None:
        """A mediocre scripted player of the game, whose behaviour a first model clones; or ``None``."""
        return None


class AbstractExplicitGame(AbstractGame[S, A]):
    """A game that states its distributions; samplers are derived from them, and never written a second time.

    Theory: Equation 1.2.
    """

    @abc.abstractmethod
    def initial_state_dist(self) -> Distribution[S]:
        """mu_0: the distribution of the first state."""

    @abc.abstractmethod
    def transition_dist(
        self, state: S, joint_action: Mapping[str, A]
    ) -> Distribution[Transition[S]]:
        """P(. | state, joint_action): the distribution of the next state and the rewards."""

    def sample_initial_state(self, rng: Stream) -> S:
        return self.initial_state_dist().sample(rng)

    def sample_transition(
        self, state: S, joint_action: Mapping[str, A], rng: Stream
    ) -> Transition[S]:
        return self.transition_dist(state, joint_action).sample(rng)


class AbstractSampledGame(AbstractGame[S, A]):
    """A game that can only be sampled: it plays and trains like any other, but nothing can be proved by enumeration."""


AnyGame: TypeAlias = AbstractGame[Any, Any]
"""A game, where the types of its states and actions do not matter."""
