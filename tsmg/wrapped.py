"""A game around a game: the base of games that change some answers of another one.

Combinators are built on it, as is anything else that stands between the runner and a game (a deadline, a log).
"""

from collections.abc import Hashable, Mapping

from tsmg.distribution import Distribution
from tsmg.game import A, AbstractExplicitGame, AbstractGame, AbstractSampledGame, S, Transition
from tsmg.players import AbstractPlayer
from tsmg.randomness import Stream
from tsmg.records import Episode
from tsmg.text import TextOutcome


class AbstractWrappedGame(AbstractGame[S, A]):
    """A game that answers as its inner game does; subclasses answer some of the questions differently.

    It serves as a base beside ``AbstractWrappedExplicitGame`` and ``AbstractWrappedSampledGame``, so that the wrapped
    game is of the same kind as the inner one.

    Args:
      inner: the game that is asked.
    """

    def __init__(self, inner: AbstractGame[S, A]) -> None:
        self.inner = inner
        self.agents = inner.agents
        self.discount = inner.discount
        self.horizon = inner.horizon
        self.invalid_rule = inner.invalid_rule
        self.facts = inner.facts

    @property
    def name(self) -> str:
        return self.inner.name

    def is_terminal(self, state: S) -> bool:
        return self.inner.is_terminal(state)

    def is_truncated(self, state: S) -> bool:
        return self.inner.is_truncated(state)

    def acting_agents(self, state: S) -> tuple[str, ...]:
        return self.inner.acting_agents(state)

    def legal_actions(self, state: S, agent: str) -> tuple[A, ...] | None:
        return self.inner.legal_actions(state, agent)

    def observation_text(self, state: S, agent: str) -> str:
        return self.inner.observation_text(state, agent)

    def action_text(self, state: S, agent: str, action: A) -> str:
        return self.inner.action_text(state, agent, action)

    def read_action(self, state: S, agent: str, text: str) -> TextOutcome[A]:
        return self.inner.read_action(state, agent, text)

    def rules_text(self, agent: str) -> str:
        return self.inner.rules_text(agent)

    def noop_action(self, state: S, agent: str) -> A | None:
        return self.inner.noop_action(state, agent)

    def is_out(self, state: S, agent: str) -> bool:
        return self.inner.is_out(state, agent)

    def information_key(self, state: S, agent: str) -> Hashable:
        return self.inner.information_key(state, agent)

    def instance_key(self, start: S) -> str:
        return self.inner.instance_key(start)

    def success(self, episode: Episode[S], agent: str) -> bool | None:
        return self.inner.success(episode, agent)

    def metrics(self, episode: Episode[S], agent: str) -> Mapping[str, float]:
        return self.inner.metrics(episode, agent)

    def scripted_player(self) -> AbstractPlayer[S, A] | None:
        return self.inner.scripted_player()


class AbstractWrappedExplicitGame(AbstractWrappedGame[S, A], AbstractExplicitGame[S, A]):
    """A wrapped game whose inner game is explicit; samplers are derived from its own distributions."""

    inner: AbstractExplicitGame[S, A]

    def initial_state_dist(self) -> Distribution[S]:
        return self.inner.initial_state_dist()

    def transition_dist(
        self, state: S, joint_action: Mapping[str, A]
    ) -> Distribution[Transition[S]]:
        return self.inner.transition_dist(state, joint_action)


class AbstractWrappedSampledGame(AbstractWrappedGame[S, A], AbstractSampledGame[S, A]):
    """A wrapped game whose inner game can only be sampled."""

    def sample_initial_state(self, rng: Stream) -> S:
        return self.inner.sample_initial_state(rng)

    def sample_transition(
        self, state: S, joint_action: Mapping[str, A], rng: Stream
    ) -> Transition[S]:
        return self.inner.sample_transition(state, joint_action, rng)
