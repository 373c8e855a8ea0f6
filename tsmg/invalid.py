"""iota, the invalid rule: what a text that names no legal action does to the game.

A rule answers with the distribution of a ``Resolution``: which joint action is played (or none: the game stands
still), what each agent pays, and who forfeits. It says nothing about how the game moves, so one
rule serves explicit and sampled games, turn-based and simultaneous ones. Penalties are kept apart
from rewards: a fine breaks a declared zero-sum, the game itself does not.
"""

import abc
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, final

import attrs

from tsmg.distribution import Distribution, deterministic, product, uniform
from tsmg.errors import GameLawError, InvalidArgumentError
from tsmg.text import OutcomeKind, Parsed, TextOutcome

if TYPE_CHECKING:
    from tsmg.game import AbstractGame

Outcomes = Mapping[str, TextOutcome[Any]]


@attrs.frozen(kw_only=True)
class Resolution:
    """What is played and what is paid at one step.

    Attributes:
      joint_action: (agent, action) pairs to play; ``None`` when the game stands still.
      penalties_N: what each agent gains by the rule (at most 0), in the order of ``agents``.
      forfeits: the agents who lose by forfeit; the episode then ends for all.
    """

    joint_action: tuple[tuple[str, Any], ...] | None
    penalties_N: tuple[float, ...]
    forfeits: frozenset[str] = frozenset()


def _at_least_zero(instance: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    if not 0 <= value < float("inf"):
        raise InvalidArgumentError(f"{attribute.name!r} must be finite and >= 0 (got {value})")


@attrs.frozen(kw_only=True)
class AbstractInvalidRule(abc.ABC):
    """A rule for invalid text.

    Attributes:
      penalty: what an offender pays each time, in units of reward; at least 0.
      with_feedback: whether the offender's next observation says what went wrong.
    """

    penalty: float = attrs.field(default=0.0, validator=_at_least_zero)
    with_feedback: bool = False

    def resolution_dist(
        self, game: "AbstractGame[Any, Any]", state: Hashable, outcomes: Outcomes
    ) -> Distribution[Resolution]:
        """The distribution of the resolution, given every acting agent's text outcome."""
        offenders = tuple(a for a, outcome in outcomes.items() if not isinstance(outcome, Parsed))
        valid = {a: o.action for a, o in outcomes.items() if isinstance(o, Parsed)}
        penalties_N = tuple(-self.penalty if a in offenders else 0.0 for a in game.agents)
        if not offenders:
            return deterministic(
                Resolution(joint_action=tuple(valid.items()), penalties_N=(0.0,) * len(game.agents))
            )
        return self._judge(game, state, valid=valid, offenders=offenders, penalties_N=penalties_N)

    @abc.abstractmethod
    def _judge(
        self,
        game: "AbstractGame[Any, Any]",
        state: Hashable,
        *,
        valid: Mapping[str, Any],
        offenders: tuple[str, ...],
        penalties_N: tuple[float, ...],
    ) -> Distribution[Resolution]:
        """The distribution of the resolution when there is at least one offender."""

    def feedback_text(self, kind: OutcomeKind | None) -> str:
        """What an agent is told about its last text; empty for a valid one or without feedback."""
        if not self.with_feedback or kind is None or kind is OutcomeKind.PARSED:
            return ""
        if kind is OutcomeKind.ILLEGAL:
            return "Your last reply did not name a legal action."
        return "Your last reply could not be read: it had no action in the required form."


@final
@attrs.frozen(kw_only=True)
class StandStill(AbstractInvalidRule):
    """The offender does not move, and pays.

    Where one agent acts, the state stays as it is (a step passes). Where several act at once, the
    offender plays the game's declared no-op and the others move.

    Raises:
      GameLawError: several agents act and the game declares no ``noop_action``.
    """

    def _judge(
        self,
        game: "AbstractGame[Any, Any]",
        state: Hashable,
        *,
        valid: Mapping[str, Any],
        offenders: tuple[str, ...],
        penalties_N: tuple[float, ...],
    ) -> Distribution[Resolution]:
        if not valid and len(offenders) == 1:
            return deterministic(Resolution(joint_action=None, penalties_N=penalties_N))
        actions = dict(valid)
        for agent in offenders:
            noop = game.noop_action(state, agent)
            if noop is None:
                raise GameLawError(
                    f"{game.name}: 'StandStill' needs a declared 'noop_action' where several "
                    f"agents act at once (agent {agent!r}); declare one or choose another rule"
                )
            actions[agent] = noop
        return deterministic(
            Resolution(joint_action=tuple(actions.items()), penalties_N=penalties_N)
        )


@final
@attrs.frozen(kw_only=True)
class PlayDefault(AbstractInvalidRule):
    """A given action is played for the offender, who pays.

    Raises:
      GameLawError: the default action is not legal in the state.
    """

    action: Any

    def _judge(
        self,
        game: "AbstractGame[Any, Any]",
        state: Hashable,
        *,
        valid: Mapping[str, Any],
        offenders: tuple[str, ...],
        penalties_N: tuple[float, ...],
    ) -> Distribution[Resolution]:
        for agent in offenders:
            legal = game.legal_actions(state, agent)
            if legal is not None and self.action not in legal:
                raise GameLawError(
                    f"{game.name}: the default action {self.action!r} is not legal for {agent!r}"
                )
        actions = {**valid, **dict.fromkeys(offenders, self.action)}
        return deterministic(
            Resolution(joint_action=tuple(actions.items()), penalties_N=penalties_N)
        )


@final
@attrs.frozen(kw_only=True)
class PlayRandomLegal(AbstractInvalidRule):
    """A uniformly random legal action is played for the offender, who pays."""

    def _judge(
        self,
        game: "AbstractGame[Any, Any]",
        state: Hashable,
        *,
        valid: Mapping[str, Any],
        offenders: tuple[str, ...],
        penalties_N: tuple[float, ...],
    ) -> Distribution[Resolution]:
        dists = []
        for agent in offenders:
            legal = game.legal_actions(state, agent)
            if not legal:
                raise GameLawError(
                    f"{game.name}: 'PlayRandomLegal' needs legal actions that can be listed "
                    f"(agent {agent!r})"
                )
            dists.append(uniform(legal))

        def resolution(actions: tuple[Any, ...]) -> Resolution:
            played = {**valid, **dict(zip(offenders, actions, strict=True))}
            return Resolution(joint_action=tuple(played.items()), penalties_N=penalties_N)

        return product(dists).map(resolution)


@final
@attrs.frozen(kw_only=True)
class Forfeit(AbstractInvalidRule):
    """The offender forfeits: it pays, and the episode ends."""

    def _judge(
        self,
        game: "AbstractGame[Any, Any]",
        state: Hashable,
        *,
        valid: Mapping[str, Any],
        offenders: tuple[str, ...],
        penalties_N: tuple[float, ...],
    ) -> Distribution[Resolution]:
        return deterministic(
            Resolution(joint_action=None, penalties_N=penalties_N, forfeits=frozenset(offenders))
        )
