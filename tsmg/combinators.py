"""Games made of games: other texts, another horizon, invalid rule or player, other starts.

Each combinator returns a game of the same kind (explicit or sampled) that delegates to the inner.
"""

import hashlib
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any, Literal, final

import attrs

from tsmg.distribution import Distribution
from tsmg.errors import InvalidArgumentError
from tsmg.game import AbstractExplicitGame, AbstractGame, AbstractSampledGame, Facts, Transition
from tsmg.invalid import AbstractInvalidRule
from tsmg.randomness import Stream
from tsmg.text import TextOutcome

if TYPE_CHECKING:
    from tsmg.players import AbstractPlayer
    from tsmg.records import Episode

ObservationText = Callable[[Any, str], str]
WriteAction = Callable[[Any, str, Any], str]
ReadAction = Callable[[Any, str, str], TextOutcome[Any]]
RulesText = Callable[[str], str]
Part = Literal["train", "held_out"]

_REJECTION_LIMIT = 100_000


@attrs.frozen(kw_only=True)
class _Changes:
    """What a derived game does differently; ``None`` leaves the inner game's own."""

    horizon: int | None = None
    invalid_rule: AbstractInvalidRule | None = None
    observation_text: ObservationText | None = None
    action_text: WriteAction | None = None
    read_action: ReadAction | None = None
    rules_text: RulesText | None = None
    starts: Callable[[Any], bool] | None = None
    facts: Facts | None = None
    player: "AbstractPlayer[Any, Any] | None" = None


class _Derived(AbstractGame[Any, Any]):
    """The part of a derived game that explicit and sampled games share."""

    def __init__(self, inner: AbstractGame[Any, Any], changes: _Changes) -> None:
        self.inner = inner
        self.changes = changes
        self.agents = inner.agents
        self.discount = inner.discount
        self.horizon = inner.horizon if changes.horizon is None else changes.horizon
        self.invalid_rule = changes.invalid_rule or inner.invalid_rule
        self.facts = changes.facts or inner.facts

    @property
    def name(self) -> str:
        return self.inner.name

    def is_terminal(self, state: Any) -> bool:
        return self.inner.is_terminal(state)

    def acting_agents(self, state: Any) -> tuple[str, ...]:
        return self.inner.acting_agents(state)

    def legal_actions(self, state: Any, agent: str) -> tuple[Any, ...] | None:
        return self.inner.legal_actions(state, agent)

    def observation_text(self, state: Any, agent: str) -> str:
        return (self.changes.observation_text or self.inner.observation_text)(state, agent)

    def action_text(self, state: Any, agent: str, action: Any) -> str:
        return (self.changes.action_text or self.inner.action_text)(state, agent, action)

    def read_action(self, state: Any, agent: str, text: str) -> TextOutcome[Any]:
        if self.changes.read_action is not None:
            return self.changes.read_action(state, agent, text)
        if self.changes.action_text is not None:  # the default reading, of the new texts
            return super().read_action(state, agent, text)
        return self.inner.read_action(state, agent, text)

    def rules_text(self, agent: str) -> str:
        return (self.changes.rules_text or self.inner.rules_text)(agent)

    def noop_action(self, state: Any, agent: str) -> Any:
        return self.inner.noop_action(state, agent)

    def is_out(self, state: Any, agent: str) -> bool:
        return self.inner.is_out(state, agent)

    def information_key(self, state: Any, agent: str) -> Hashable:
        if self.changes.observation_text is not None:  # what is known is what is read
            return self.observation_text(state, agent)
        return self.inner.information_key(state, agent)

    def instance_key(self, start: Any) -> str:
        return self.inner.instance_key(start)

    def success(self, episode: "Episode[Any]", agent: str) -> bool | None:
        return self.inner.success(episode, agent)

    def scripted_player(self) -> "AbstractPlayer[Any, Any] | None":
        return self.changes.player or self.inner.scripted_player()


@final
class _DerivedExplicit(_Derived, AbstractExplicitGame[Any, Any]):
    inner: AbstractExplicitGame[Any, Any]

    def initial_state_dist(self) -> Distribution[Any]:
        dist = self.inner.initial_state_dist()
        return dist if self.changes.starts is None else dist.condition(self.changes.starts)

    def transition_dist(
        self, state: Any, joint_action: Mapping[str, Any]
    ) -> Distribution[Transition[Any]]:
        return self.inner.transition_dist(state, joint_action)


@final
class _DerivedSampled(_Derived, AbstractSampledGame[Any, Any]):
    def sample_initial_state(self, rng: Stream) -> Any:
        if self.changes.starts is None:
            return self.inner.sample_initial_state(rng)
        for _ in range(_REJECTION_LIMIT):
            state = self.inner.sample_initial_state(rng)
            if self.changes.starts(state):
                return state
        raise InvalidArgumentError(f"{self.name}: no start found in {_REJECTION_LIMIT} draws")

    def sample_transition(
        self, state: Any, joint_action: Mapping[str, Any], rng: Stream
    ) -> Transition[Any]:
        return self.inner.sample_transition(state, joint_action, rng)


def _derive(game: AbstractGame[Any, Any], changes: _Changes) -> AbstractGame[Any, Any]:
    if isinstance(game, AbstractExplicitGame):
        return _DerivedExplicit(game, changes)
    return _DerivedSampled(game, changes)


def with_horizon(game: AbstractGame[Any, Any], horizon: int) -> AbstractGame[Any, Any]:
    """The same game with another time limit H.

    Raises:
      InvalidArgumentError: the horizon is below 1.
    """
    if horizon < 1:
        raise InvalidArgumentError(f"'horizon' must be at least 1 (got {horizon})")
    return _derive(game, _Changes(horizon=horizon))


def with_invalid_rule(
    game: AbstractGame[Any, Any], rule: AbstractInvalidRule
) -> AbstractGame[Any, Any]:
    """The same game with another iota."""
    return _derive(game, _Changes(invalid_rule=rule))


def with_player(
    game: AbstractGame[Any, Any], player: "AbstractPlayer[Any, Any]"
) -> AbstractGame[Any, Any]:
    """The same game with another scripted player: to clone, to play against."""
    return _derive(game, _Changes(player=player))


def with_texts(
    game: AbstractGame[Any, Any],
    *,
    observation_text: ObservationText | None = None,
    action_text: WriteAction | None = None,
    read_action: ReadAction | None = None,
    rules_text: RulesText | None = None,
    text_separates_states: bool | None = None,
) -> AbstractGame[Any, Any]:
    """The same game seen and played through other texts.

    Args:
      game: the game.
      observation_text: phi, (state, agent) -> text.
      action_text: (state, agent, action) -> canonical text.
      read_action: psi, (state, agent, text) -> outcome; by default canonical texts are matched.
      rules_text: agent -> rules; give it where the game's own rules tell of the old texts.
      text_separates_states: the fact, as far as you declare it for the new texts. Without it,
        perfect information is no longer declared either.
    """
    facts = attrs.evolve(
        game.facts,
        text_separates_states=text_separates_states,
        perfect_information=game.facts.perfect_information if text_separates_states else None,
    )
    return _derive(
        game,
        _Changes(
            observation_text=observation_text,
            action_text=action_text,
            read_action=read_action,
            rules_text=rules_text,
            facts=facts if observation_text is not None else None,
        ),
    )


def split_starts(
    game: AbstractGame[Any, Any], part: Part, *, held_out: float = 0.2
) -> AbstractGame[Any, Any]:
    """The game on one part of its starts, by a hash of each start's ``instance_key``.

    The split is a property of the game: every run, seed and machine agrees on it, and an instance
    in one part never occurs in the other.

    Args:
      game: a game whose starts are instances (``facts.start_is_instance``).
      part: ``"train"`` or ``"held_out"``.
      held_out: share of the starts (by hash) to hold out, strictly between 0 and 1.

    Raises:
      InvalidArgumentError: a share out of range, or a game whose starts are not instances.
    """
    if not 0 < held_out < 1:
        raise InvalidArgumentError(f"'held_out' must be in (0, 1) (got {held_out})")
    if not game.facts.start_is_instance:
        raise InvalidArgumentError(
            f"{game.name}: only starts that are instances can be held out "
            "('facts.start_is_instance' is False)"
        )

    def is_in_part(state: Any) -> bool:
        key = game.instance_key(state).encode(errors="surrogatepass")  # texts may hold half a pair
        digest = hashlib.blake2b(key, digest_size=8).digest()
        return (int.from_bytes(digest, "little") < held_out * 2**64) == (part == "held_out")

    return _derive(game, _Changes(starts=is_in_part))
