"""A game closed under text: with its invalid rule it is a stochastic game over strings.

The closed game answers every joint *text* over its extended states S+, so it is defined for any model, however bad.
"""

from collections.abc import Mapping
from typing import Generic, final

import attrs

from tsmg.closed_state import ClosedState, ClosedTransition
from tsmg.distribution import Distribution, deterministic
from tsmg.errors import NotEnumerableError
from tsmg.game import A, AbstractExplicitGame, AbstractGame, S, Transition
from tsmg.invalid import Resolution
from tsmg.randomness import Stream
from tsmg.text import ActionText, Malformed, OutcomeKind, ParserOutcome, TextOutcome


@final
@attrs.frozen
class ClosedGame(Generic[S, A]):
    """The stochastic game over strings that a game and its invalid rule define together.

    Attributes:
      game: the game; its own invalid rule closes it.

    Theory: Definition 2.1, Theorem 2.1.
    """

    game: AbstractGame[S, A]

    def close(self, state: S) -> ClosedState[S]:
        """The extended state at the start of an episode, before any text."""
        return ClosedState(state, (None,) * len(self.game.agents))

    def is_terminal(self, closed: ClosedState[S]) -> bool:
        """Whether the episode is over, by the game's rules or by forfeit."""
        return bool(closed.forfeited) or self.game.is_terminal(closed.state)

    def feedback_text(self, closed: ClosedState[S], agent: str) -> str:
        """What the invalid rule tells the agent about its last text (may be empty)."""
        last = closed.last_N[self.game.agents.index(agent)]
        return self.game.invalid_rule.feedback_text(last)

    def read(
        self, closed: ClosedState[S], agent: str, parser_outcome: ParserOutcome
    ) -> TextOutcome[A]:
        """psi, extended to the parser's failures: psi(s, failure) is ``Malformed``.

        Theory: Definition 2.1, Equation 3.2.
        """
        if isinstance(parser_outcome, ActionText):
            return self.game.read_action(closed.state, agent, parser_outcome.text)
        return Malformed(parser_outcome.reason)

    def initial_state_dist(self) -> Distribution[ClosedState[S]]:
        """mu_0 on the extended states.

        Raises:
          NotEnumerableError: the game is not explicit.
        """
        return explicit(self.game).initial_state_dist().map(self.close)

    def transition_dist(
        self, closed: ClosedState[S], outcomes: Mapping[str, TextOutcome[A]]
    ) -> Distribution[ClosedTransition[S]]:
        """P+: the distribution of what follows, given the text outcomes of all acting agents.

        Raises:
          NotEnumerableError: the game is not explicit.

        Theory: Equation 2.2.
        """
        game = explicit(self.game)
        last_N = self._last_N(closed, outcomes)

        def dist(resolution: Resolution[A]) -> Distribution[ClosedTransition[S]]:
            if resolution.joint_action is None:
                return deterministic(self._unmoved(closed, resolution, last_N))
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
            return self._unmoved(closed, resolution, last_N)
        transition = self.game.sample_transition(closed.state, dict(resolution.joint_action), rng)
        return _moved(closed, transition, resolution, last_N)

    def _last_N(
        self, closed: ClosedState[S], outcomes: Mapping[str, TextOutcome[A]]
    ) -> tuple[OutcomeKind | None, ...]:
        return tuple(
            outcomes[agent].kind if agent in outcomes else last
            for agent, last in zip(self.game.agents, closed.last_N, strict=True)
        )

    def _unmoved(
        self,
        closed: ClosedState[S],
        resolution: Resolution[A],
        last_N: tuple[OutcomeKind | None, ...],
    ) -> ClosedTransition[S]:
        return ClosedTransition(
            ClosedState(closed.state, last_N, closed.forfeited | resolution.forfeits),
            (0.0,) * len(self.game.agents),
            resolution.penalties_N,
        )


def _moved(
    closed: ClosedState[S],
    transition: Transition[S],
    resolution: Resolution[A],
    last_N: tuple[OutcomeKind | None, ...],
) -> ClosedTransition[S]:
    forfeited = closed.forfeited | resolution.forfeits
    return ClosedTransition(
        ClosedState(transition.state, last_N, forfeited),
        transition.rewards_N,
        resolution.penalties_N,
        resolution.joint_action,
    )


def explicit(game: AbstractGame[S, A]) -> AbstractExplicitGame[S, A]:
    """The game, which states its distributions.

    Raises:
      NotEnumerableError: it can only be sampled.
    """
    if not isinstance(game, AbstractExplicitGame):
        raise NotEnumerableError(
            f"{game.name} is a sampled game: its distributions cannot be enumerated"
        )
    return game
