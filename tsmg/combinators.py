"""Games made of games: other texts, another horizon, invalid rule or scripted player, or a part of the starts.

Each combinator returns a game of the same kind (explicit or sampled) that asks the inner game for everything else.
"""

import hashlib
from collections.abc import Callable, Hashable
from typing import Generic, Literal, final, get_args

import attrs

from tsmg.distribution import Distribution
from tsmg.errors import InvalidArgumentError
from tsmg.game import A, AbstractExplicitGame, AbstractGame, Facts, S
from tsmg.invalid import AbstractInvalidRule
from tsmg.players import AbstractPlayer
from tsmg.randomness import Stream
from tsmg.text import TextOutcome
from tsmg.wrapped import (
    AbstractWrappedExplicitGame,
    AbstractWrappedGame,
    AbstractWrappedSampledGame,
)

ObservationText = Callable[[S, str], str]
WriteAction = Callable[[S, str, A], str]
ReadAction = Callable[[S, str, str], TextOutcome[A]]
RulesText = Callable[[str], str]
Part = Literal["train", "held_out"]

_REJECTION_LIMIT = 100_000


@attrs.frozen(kw_only=True)
class _Changes(Generic[S, A]):
    """What a derived game does differently; ``None`` leaves the inner game's own."""

    horizon: int | None = None
    invalid_rule: AbstractInvalidRule | None = None
    observation_text: ObservationText[S] | None = None
    action_text: WriteAction[S, A] | None = None
    read_action: ReadAction[S, A] | None = None
    rules_text: RulesText | None = None
    starts: Callable[[S], bool] | None = None
    facts: Facts | None = None
    player: AbstractPlayer[S, A] | None = None


class _Derived(AbstractWrappedGame[S, A]):
    """The part of a derived game that explicit and sampled games share."""

    def __init__(self, inner: AbstractGame[S, A], changes: _Changes[S, A]) -> None:
        super().__init__(inner)
        self.changes = changes
        self.horizon = inner.horizon if changes.horizon is None else changes.horizon
        self.invalid_rule = changes.invalid_rule or inner.invalid_rule
        self.facts = changes.facts or inner.facts

    def observation_text(self, state: S, agent: str) -> str:
        return (self.changes.observation_text or self.inner.observation_text)(state, agent)

    def action_text(self, state: S, agent: str, action: A) -> str:
        return (self.changes.action_text or self.inner.action_text)(state, agent, action)

    def read_action(self, state: S, agent: str, text: str) -> TextOutcome[A]:
        if self.changes.read_action is not None:
            return self.changes.read_action(state, agent, text)
        if self.changes.action_text is not None:  # the default reading, of the new texts
            return AbstractGame.read_action(self, state, agent, text)
        return self.inner.read_action(state, agent, text)

    def rules_text(self, agent: str) -> str:
        return (self.changes.rules_text or self.inner.rules_text)(agent)

    def information_key(self, state: S, agent: str) -> Hashable:
        if self.changes.observation_text is not None:  # an agent knows what it reads
            return self.observation_text(state, agent)
        return self.inner.information_key(state, agent)

    def scripted_player(self) -> AbstractPlayer[S, A] | None:
        return self.changes.player or self.inner.scripted_player()


@final
class _DerivedExplicit(_Derived[S, A], AbstractWrappedExplicitGame[S, A]):
    def initial_state_dist(self) -> Distribution[S]:
        dist = self.inner.initial_state_dist()
        return dist if self.changes.starts is None else dist.condition(self.changes.starts)


@final
class _DerivedSampled(_Derived[S, A], AbstractWrappedSampledGame[S, A]):
    def sample_initial_state(self, rng: Stream) -> S:
        if self.changes.starts is None:
            return self.inner.sample_initial_state(rng)
        for _ in range(_REJECTION_LIMIT):
            state = self.inner.sample_initial_state(rng)
            if self.changes.starts(state):
                return state
        raise InvalidArgumentError(f"{self.name}: no start found in {_REJECTION_LIMIT} draws")


def _derive(game: AbstractGame[S, A], changes: _Changes[S, A]) -> AbstractGame[S, A]:
    if isinstance(game, AbstractExplicitGame):
        return _DerivedExplicit(game, changes)
    return _DerivedSampled(game, changes)


def with_horizon(game: AbstractGame[S, A], horizon: int) -> AbstractGame[S, A]:
    """The same game with another time limit H.

    Raises:
      InvalidArgumentError: the horizon is below 1.
    """
    if horizon < 1:
        raise InvalidArgumentError(f"'horizon' must be at least 1 (got {horizon})")
    return _derive(game, _Changes(horizon=horizon))


def with_invalid_rule(game: AbstractGame[S, A], rule: AbstractInvalidRule) -> AbstractGame[S, A]:
    """The same game with another invalid rule."""
    return _derive(game, _Changes(invalid_rule=rule))


def with_player(game: AbstractGame[S, A], player: AbstractPlayer[S, A]) -> AbstractGame[S, A]:
    """The same game with another scripted player, to clone or to play against."""
    return _derive(game, _Changes(player=player))


def with_texts(
    game: AbstractGame[S, A],
    *,
    observation_text: ObservationText[S] | None = None,
    action_text: WriteAction[S, A] | None = None,
    read_action: ReadAction[S, A] | None = None,
    rules_text: RulesText | None = None,
    text_separates_states: bool | None = None,
) -> AbstractGame[S, A]:
    """The same game, observed and played through other texts.

    Args:
      game: the game.
      observation_text: phi, (state, agent) -> text.
      action_text: (state, agent, action) -> canonical text.
      read_action: psi, (state, agent, text) -> outcome; by default canonical texts are matched.
      rules_text: agent -> rules; pass it if the game's own rules describe the old texts.
      text_separates_states: the fact of this name, for the new texts; ``None`` declares nothing. Unless it is
        True, perfect information is no longer declared either.
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
    game: AbstractGame[S, A], part: Part, *, held_out: float = 0.2
) -> AbstractGame[S, A]:
    """The game on one part of its starts, by a hash of each start's ``instance_key``.

    The split is a property of the game: every run, seed and machine agrees on it, and an instance
    in one part never occurs in the other.

    Args:
      game: a game whose starts are instances (``facts.start_is_instance``).
      part: ``"train"`` or ``"held_out"``.
      held_out: fraction of the starts (by hash) to hold out, strictly between 0 and 1.

    Raises:
      InvalidArgumentError: an unknown part, a fraction out of range, or a game whose starts are not instances.
    """
    if part not in get_args(Part):
        raise InvalidArgumentError(f"'part' must be 'train' or 'held_out' (got {part!r})")
    if not 0 < held_out < 1:
        raise InvalidArgumentError(f"'held_out' must be in (0, 1) (got {held_out})")
    if not game.facts.start_is_instance:
        raise InvalidArgumentError(
            f"{game.name}: only starts that are instances can be held out "
            "('facts.start_is_instance' is False)"
        )

    def is_in_part(state: S) -> bool:
        key = game.instance_key(state).encode(errors="surrogatepass")  # texts may hold half a pair
        digest = hashlib.blake2b(key, digest_size=8).digest()
        return (int.from_bytes(digest, "little") < held_out * 2**64) == (part == "held_out")

    facts = attrs.evolve(game.facts, stochastic_start=None)  # a part may have a single start
    return _derive(game, _Changes(starts=is_in_part, facts=facts))
