"""iota, the invalid rule: what a text that names no legal action does to the game.

A rule answers with the distribution of a ``Resolution``: which joint action is played (or none: the game stands
still), which penalty each agent pays, and which agents forfeit. It does not say how the game moves, so one
rule serves explicit and sampled games, turn-based and simultaneous ones. Penalties are kept apart
from rewards: a penalty breaks a declared zero-sum, the game itself does not.
"""

import abc
from collections.abc import Hashable, Mapping
from typing import Any, Generic, Protocol, TypeVar, final

import attrs

from tsmg.distribution import Distribution, deterministic, product, uniform
from tsmg.errors import GameLawError, InvalidArgumentError
from tsmg.text import OutcomeKind, Parsed, TextOutcome

S = TypeVar("S", bound=Hashable)
S_contra = TypeVar("S_contra", bound=Hashable, contravariant=True)
A = TypeVar("A", bound=Hashable)
A_co = TypeVar("A_co", bound=Hashable, covariant=True)


class RuledGame(Protocol[S_contra, A_co]):
    """What an invalid rule needs to know of a game."""

    @property
    def agents(self) -> tuple[str, ...]:
        """The agents' names."""
        ...

    @property
    def name(self) -> str:
        """The game's name, for messages."""
        ...

    def legal_actions(self, state: S_contra, agent: str) -> tuple[A_co, ...] | None:
        """The actions that may be played, or ``None`` if they cannot be listed."""
        ...

    def noop_action(self, state: S_contra, agent: str) -> A_co | None:
        """The declared action that does nothing, if the game has one."""
        ...


@attrs.frozen(kw_only=True)
class Resolution(Generic[A]):
    """What is played and what is paid at one step.

    Attributes:
      joint_action: (agent, action) pairs to play; ``None`` when the game stands still.
      penalties_N: what the rule adds to each agent's reward (at most 0), in the order of ``agents``.
      forfeits: the agents that lose by forfeit; the episode then ends for all agents.

    Theory: Equation 2.2.
    """

    joint_action: tuple[tuple[str, A], ...] | None
    penalties_N: tuple[float, ...]
    forfeits: frozenset[str] = frozenset()


@attrs.frozen(kw_only=True)
class Offence(Generic[A]):
    """The outcome of a step with at least one invalid text.

    Attributes:
      acting: the agents that act, in order.
      valid: the action of each agent whose text is valid.
      offenders: the agents with an invalid text.
      penalties_N: what each agent pays (at most 0), in the order of ``agents``.
    """

    acting: tuple[str, ...]
    valid: Mapping[str, A]
    offenders: tuple[str, ...]
    penalties_N: tuple[float, ...]

    def resolved(self, actions: Mapping[str, A]) -> Resolution[A]:
        """The resolution that plays the valid actions, and these actions for the offenders."""
        played = {**self.valid, **actions}
        joint_action = tuple((agent, played[agent]) for agent in self.acting)
        return Resolution(joint_action=joint_action, penalties_N=self.penalties_N)


def _at_least_zero(instance: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    if not 0 <= value < float("inf"):
        raise InvalidArgumentError(f"{attribute.name!r} must be finite and >= 0 (got {value})")


@attrs.frozen(kw_only=True)
class AbstractInvalidRule(abc.ABC):
    """A rule for invalid text.

    Attributes:
      penalty: what an offender (an agent with an invalid text) pays each time, in units of reward; at least 0.
      with_feedback: whether the offender's next observation says what went wrong.
    """

    penalty: float = attrs.field(default=0.0, validator=_at_least_zero)
    with_feedback: bool = False

    def resolution_dist(
        self, game: RuledGame[S, A], state: S, outcomes: Mapping[str, TextOutcome[A]]
    ) -> Distribution[Resolution[A]]:
        """The distribution of the resolution, given the text outcome of every acting agent.

        Theory: Equation 2.2.
        """
        offenders = tuple(a for a, outcome in outcomes.items() if not isinstance(outcome, Parsed))
        valid = {a: o.action for a, o in outcomes.items() if isinstance(o, Parsed)}
        penalties_N = tuple(-self.penalty if a in offenders else 0.0 for a in game.agents)
        offence = Offence(
            acting=tuple(outcomes), valid=valid, offenders=offenders, penalties_N=penalties_N
        )
        return (
            self._resolve(game, state, offence)
            if offenders
            else deterministic(offence.resolved({}))
        )

    @abc.abstractmethod
    def _resolve(
        self, game: RuledGame[S, A], state: S, offence: Offence[A]
    ) -> Distribution[Resolution[A]]:
        """The distribution of the resolution where there is at least one offender."""

    def feedback_text(self, kind: OutcomeKind | None) -> str:
        """What an agent reads about its last text; empty for a valid one or without feedback."""
        if not self.with_feedback or kind is None or kind is OutcomeKind.PARSED:
            return ""
        if kind is OutcomeKind.ILLEGAL:
            return "Your last reply did not name a legal action."
        return "Your last reply could not be read: it had no action in the required form."


@final
@attrs.frozen(kw_only=True)
class StandStill(AbstractInvalidRule):
    """The offender does not move, and pays.

    If one agent acts, the state stays as it is (a step passes). If several act at once, the offender plays the game's
    declared no-op and the others move.

    Raises:
      GameLawError: several agents act and the game declares no ``noop_action``.
    """

    def _resolve(
        self, game: RuledGame[S, A], state: S, offence: Offence[A]
    ) -> Distribution[Resolution[A]]:
        if not offence.valid and len(offence.offenders) == 1:
            return deterministic(Resolution(joint_action=None, penalties_N=offence.penalties_N))
        actions = {}
        for agent in offence.offenders:
            noop = game.noop_action(state, agent)
            if noop is None:
                raise GameLawError(
                    f"{game.name}: 'StandStill' needs a declared 'noop_action' where several "
                    f"agents act at once (agent {agent!r}); declare one or choose another rule"
                )
            actions[agent] = noop
        return deterministic(offence.resolved(actions))


@final
@attrs.frozen(kw_only=True)
class PlayDefault(AbstractInvalidRule):
    """A given action is played for the offender, which pays.

    Attributes:
      action: the action that is played.

    Raises:
      GameLawError: the default action is not legal in the state.
    """

    action: Any

    def _resolve(
        self, game: RuledGame[S, A], state: S, offence: Offence[A]
    ) -> Distribution[Resolution[A]]:
        for agent in offence.offenders:
            legal = game.legal_actions(state, agent)
            if legal is not None and self.action not in legal:
                raise GameLawError(
                    f"{game.name}: the default action {self.action!r} is not legal for {agent!r}"
                )
        return deterministic(offence.resolved(dict.fromkeys(offence.offenders, self.action)))


@final
@attrs.frozen(kw_only=True)
class PlayRandomLegal(AbstractInvalidRule):
    """A uniformly random legal action is played for the offender, which pays.

    Raises:
      GameLawError: the legal actions of the offender cannot be listed.
    """

    def _resolve(
        self, game: RuledGame[S, A], state: S, offence: Offence[A]
    ) -> Distribution[Resolution[A]]:
        dists = []
        for agent in offence.offenders:
            legal = game.legal_actions(state, agent)
            if not legal:
                raise GameLawError(
                    f"{game.name}: 'PlayRandomLegal' needs legal actions that can be listed "
                    f"(agent {agent!r})"
                )
            dists.append(uniform(legal))
        return product(dists).map(
            lambda actions: offence.resolved(dict(zip(offence.offenders, actions, strict=True)))
        )


@final
@attrs.frozen(kw_only=True)
class Forfeit(AbstractInvalidRule):
    """The offender forfeits: it pays, and the episode ends."""

    def _resolve(
        self, game: RuledGame[S, A], state: S, offence: Offence[A]
    ) -> Distribution[Resolution[A]]:
        return deterministic(
            Resolution(
                joint_action=None,
                penalties_N=offence.penalties_N,
                forfeits=frozenset(offence.offenders),
            )
        )
