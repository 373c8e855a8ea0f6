"""A game closed under text: with its invalid rule it is a stochastic game over strings.

The states are extended: S+ = S x (kind of each agent's last outcome) x (who has forfeited).
Over them the closed game answers every joint *text*, so it is defined for any model, however bad.
"""

from collections.abc import Mapping
from typing import Any, Generic, NamedTuple, TypeVar, final

import attrs

from tsmg.distribution import Distribution, deterministic
from tsmg.errors import NotEnumerableError
from tsmg.game import A, AbstractExplicitGame, AbstractGame, S, Transition
from tsmg.invalid import Resolution
from tsmg.randomness import Stream
from tsmg.text import ActionText, Malformed, OutcomeKind, ParserOutcome, TextOutcome

S_state = TypeVar("S_state")


@attrs.frozen
class ClosedState(Generic[S_state]):
    """An element of S+.

    Attributes:
      state: the game's own state.
      last_N: the kind of each agent's last text outcome; ``None`` before its first.
      forfeited: who has lost by forfeit.
    """

    state: S_state
    last_N: tuple[OutcomeKind | None, ...]
    forfeited: frozenset[str] = frozenset()


class ClosedTransition(NamedTuple, Generic[S_state]):
    """What follows a joint text.

    Attributes:
      state: the next extended state.
      rewards_N: of the game.
      penalties_N: of iota, each at most 0.
      played: (agent, action) of the joint action that was carried out; ``None`` if none was.
    """

    state: ClosedState[S_state]
    rewards_N: tuple[float, ...]
    penalties_N: tuple[float, ...]
    played: tuple[tuple[str, Any], ...] | None = None


@final
@attrs.frozen
class ClosedGame(Generic[S, A]):
    """The stochastic game over strings that a game and its invalid rule make together."""

    game: AbstractGame[S, A]

    def close(self, state: S) -> ClosedState[S]:
        """The extended state at the start of an episode: nobody has said anything."""
        return ClosedState(state, (None,) * len(self.game.agents))

    def is_terminal(self, closed: ClosedState[S]) -> bool:
        """Over by the game's rules or by forfeit."""
        return bool(closed.forfeited) or self.game.is_terminal(closed.state)

    def feedback_text(self, closed: ClosedState[S], agent: str) -> str:
        """What the invalid rule tells the agent about its last text (may be empty)."""
        last = closed.last_N[self.game.agents.index(agent)]
        return self.game.invalid_rule.feedback_text(last)

    def read(self, closed: ClosedState[S], agent: str, said: ParserOutcome) -> TextOutcome[A]:
        """psi, extended to the parser's failures: psi(s, failure) is ``Malformed``."""
        if isinstance(said, ActionText):
            return self.game.read_action(closed.state, agent, said.text)
        return Malformed(said.reason)

    def initial_state_dist(self) -> Distribution[ClosedState[S]]:
        """mu_0 on the extended states.

        Raises:
          NotEnumerableError: the game is not explicit.
        """
        return _explicit(self.game).initial_state_dist().map(self.close)

    def transition_dist(
        self, closed: ClosedState[S], outcomes: Mapping[str, TextOutcome[A]]
    ) -> Distribution[ClosedTransition[S]]:
        """The distribution of what follows, given all text outcomes.

        Raises:
          NotEnumerableError: the game is not explicit.
        """
        game = _explicit(self.game)
        last_N = self._last_N(closed, outcomes)

        def dist(resolution: Resolution) -> Distribution[ClosedTransition[S]]:
            if resolution.joint_action is None:
                return deterministic(self._stand(closed, resolution, last_N))
            moved = game.transition_dist(closed.state, dict(resolution.joint_action))
            return moved.map(lambda transition: _moved(closed, transition, resolution, last_N))

        return self.game.invalid_rule.resolution_dist(self.game, closed.state, outcomes).bind(dist)

    def sample_transition(
        self, closed: ClosedState[S], outcomes: Mapping[str, TextOutcome[A]], rng: Stream
    ) -> ClosedTransition[S]:
        """A draw of what follows."""
        last_N = self._last_N(closed, outcomes)
        rule = self.game.invalid_rule
        resolution = rule.resolution_dist(self.game, closed.state, outcomes).sample(rng)
        if resolution.joint_action is None:
            return self._stand(closed, resolution, last_N)
        transition = self.game.sample_transition(closed.state, dict(resolution.joint_action), rng)
        return _moved(closed, transition, resolution, last_N)

    def _last_N(
        self, closed: ClosedState[S], outcomes: Mapping[str, TextOutcome[A]]
    ) -> tuple[OutcomeKind | None, ...]:
        return tuple(
            outcomes[agent].kind if agent in outcomes else last
            for agent, last in zip(self.game.agents, closed.last_N, strict=True)
        )

    def _stand(
        self, closed: ClosedState[S], resolution: Resolution, last_N: tuple[OutcomeKind | None, ...]
    ) -> ClosedTransition[S]:
        return ClosedTransition(
            ClosedState(closed.state, last_N, closed.forfeited | resolution.forfeits),
            (0.0,) * len(self.game.agents),
            resolution.penalties_N,
        )


def _moved(
    closed: ClosedState[S],
    transition: Transition[S],
    resolution: Resolution,
    last_N: tuple[OutcomeKind | None, ...],
) -> ClosedTransition[S]:
    forfeited = closed.forfeited | resolution.forfeits
    return ClosedTransition(
        ClosedState(transition.state, last_N, forfeited),
        transition.rewards_N,
        resolution.penalties_N,
        resolution.joint_action,
    )


def _explicit(game: AbstractGame[S, A]) -> AbstractExplicitGame[S, A]:
    if not isinstance(game, AbstractExplicitGame):
        raise NotEnumerableError(
            f"{game.name} is a sampled game: its distributions cannot be enumerated"
        )
    return game
