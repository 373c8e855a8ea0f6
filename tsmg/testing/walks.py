"""Walks through a game: a seed and choices, so that every walk can be made again."""

import itertools
import math
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import attrs

from tsmg.distribution import Distribution
from tsmg.errors import GameLawError
from tsmg.game import AbstractExplicitGame, AnyGame
from tsmg.randomness import EpisodeKey, Purpose, Stream
from tsmg.text import Parsed

CHOICES = 2**12
UNNAMED = "game = make_game()"
"""The code that makes a game which no other process can make."""
METHODS = frozenset(name for name in dir(AbstractExplicitGame) if not name.startswith("_"))
"""The names of the interface."""


@attrs.frozen(kw_only=True)
class Script:
    """The seed and choices of a walk: the same script makes the same walk.

    Attributes:
      seed: the seed of the start and of chance.
      moves: a number per step; it chooses among the legal joint actions.
      rest: the number of further moves, drawn from the seed.
      redrawn_from: the step from which chance is drawn anew, so that two walks of one seed fork there.
      text: a text to be read as an action text wherever the game must answer any text.
      outcomes: the number of the outcome of the start and of each step, in the order of the distributions; ``None``
        where they are drawn from the seed.
    """

    seed: int = 0
    moves: tuple[int, ...] = ()
    rest: int = 0
    redrawn_from: int | None = None
    text: str = ""
    outcomes: tuple[int, ...] | None = None

    def choices(self) -> Iterator[int]:
        """The moves, those of the rest included."""
        rest = Stream("rest", self.seed)
        return itertools.chain(self.moves, (rest.integer(CHOICES) for _ in range(self.rest)))

    def arguments(self) -> str:
        """The arguments of ``replay`` that make the walk again, as code; texts of actions apart."""
        parts = [f"seed={self.seed}", f"moves={self.moves}"]
        if self.redrawn_from is not None:
            parts.append(f"redrawn_from={self.redrawn_from}")
        if self.outcomes is not None:
            parts.append(f"outcomes={self.outcomes}")
        return ", ".join(parts)

    def chance(self, step: int) -> Stream:
        """The stream of chance of a step."""
        is_anew = self.redrawn_from is not None and step >= self.redrawn_from
        key = EpisodeKey(seed=self.seed)
        return key.stream(Purpose.CHANCE, step=step, completion=1 if is_anew else 0)


class Visit(NamedTuple):
    """One state of a walk, and how it was reached; the values are the game's, unchecked.

    ``given`` is the copy of ``joint_action`` that the game was given, as the step left it.
    """

    t: int
    state: Any
    is_terminal: Any
    acting: Any
    texts_N: tuple[Any, ...]
    choice: int = 0
    joint_action: Mapping[str, Any] | None = None
    rewards_N: Any = ()
    given: Mapping[str, Any] | None = None

    @property
    def seen(self) -> tuple[Any, ...]:
        """What can be observed: whether the game is over, the acting agents, the texts, the rewards."""
        return bool(self.is_terminal), tuple(self.acting), self.texts_N, self.rewards_N


@attrs.frozen(kw_only=True, eq=False)
class Walk:
    """The walk of a script.

    Attributes:
      script: its script, with every move written out, the one that raised included.
      visits: the states in order.
      error: the exception of the game that ended the walk, as text; empty if there was none.
      exception: the method that raised it and its class.
      attempt: the joint action that raised.
      is_whole: whether it reached the end of an episode.
    """

    script: Script
    visits: tuple[Visit, ...]
    error: str = ""
    exception: str = ""
    attempt: Mapping[str, Any] | None = None
    is_whole: bool = False

    @property
    def state(self) -> Any:
        """The last state."""
        return self.visits[-1].state

    def upto(self, at: int) -> Script:
        """The script that leads to visit number ``at`` and no further."""
        forks_before = self.script.redrawn_from is not None and self.script.redrawn_from < at
        return attrs.evolve(
            self.script,
            moves=self.script.moves[:at],
            redrawn_from=self.script.redrawn_from if forks_before else None,
            outcomes=self.script.outcomes and self.script.outcomes[: at + 1],
        )

    def actions_text(self, at: int) -> str:
        """The joint actions that lead to visit number ``at``, as text."""
        actions = [visit.joint_action or {} for visit in self.visits[1 : at + 1]]
        if self.attempt is not None and at >= len(self.visits):
            actions.append(self.attempt)
        return "; ".join(
            ", ".join(f"{agent}: {action!r}" for agent, action in joint.items()) or "chance"
            for joint in actions
        )


@attrs.frozen(kw_only=True)
class KnownEpisode:
    """An episode whose returns the author knows.

    Attributes:
      actions: the action texts of each step: a text if one agent acts, otherwise a mapping from agents to texts.
      returns_N: the undiscounted return of each agent, in the order of ``agents``.
      seed: the seed of the start and of chance, where these matter.
    """

    actions: Sequence[str | Mapping[str, str]]
    returns_N: tuple[float, ...]
    seed: int = 0


@attrs.frozen(kw_only=True)
class Subject:
    """The game under test.

    Attributes:
      make: function that makes a fresh game.
      limit: the greatest number of steps of a walk.
      full: the greatest number of steps of an episode; ``None`` if that is not declared.
      action_texts: texts to try if legal actions are not listed.
      known: episodes with known returns.
      source: code that makes the variable ``game``.
    """

    make: Callable[[], AnyGame]
    limit: int
    full: int | None
    action_texts: tuple[str, ...] = ()
    known: tuple[KnownEpisode, ...] = ()
    source: str = ""

    def walk(self, game: AnyGame, script: Script) -> Walk:
        """The walk of a script, up to its end or to the first error."""
        seen: list[Visit] = []
        error, exception, attempt = "", "", None
        tried: list[int] = []
        try:
            for visit in itertools.islice(visits(game, script, self.action_texts), self.limit + 1):
                seen.append(visit)  # noqa: PERF402  # kept when the next one raises
        except Exception as raised:
            error = f"{_raising_method(raised)}{error_line(raised)}"
            exception = kind_of(raised)
            tried, attempt = self._attempt(game, script, seen)
        explicit = attrs.evolve(script, moves=(*(v.choice for v in seen[1:]), *tried), rest=0)
        is_whole = bool(seen) and not error and (seen[-1].is_terminal or len(seen) - 1 == self.full)
        return Walk(
            script=explicit,
            visits=tuple(seen),
            error=error,
            exception=exception,
            attempt=attempt,
            is_whole=bool(is_whole),
        )

    def _attempt(
        self, game: AnyGame, script: Script, seen: Sequence[Visit]
    ) -> tuple[list[int], dict[str, Any] | None]:
        """The move after the last visit, as far as it can be determined."""
        try:
            options = [
                options_of(game, seen[-1].state, agent, self.action_texts)
                for agent in seen[-1].acting
            ]
            move = next(itertools.islice(script.choices(), len(seen) - 1, None))
            choice, joint_action = choose(seen[-1].acting, options, move)
        except Exception:
            return [], None  # the start, or the choice itself, raised
        return [choice], joint_action


def error_line(error: BaseException) -> str:
    """An exception in one line."""
    return f"{type(error).__name__}: {error}".strip().partition("\n")[0][:300]


def kind_of(error: BaseException) -> str:
    """The method that raised an exception, and its class; the message is left out, since it may name a state."""
    return f"{_raising_method(error)}{type(error).__name__}"


def _raising_method(error: BaseException) -> str:
    """The method of the game in which an exception was raised, as the beginning of a sentence."""
    code = [frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)]
    method = next((name for name in reversed(code) if name in METHODS), None)
    if method is None and _step.__name__ in code:
        method = "transition_dist"  # a function of another name
    if method is None and _start.__name__ in code:
        method = "sample_initial_state"
    return f"{method} raised " if method else "raised "


def visits(game: AnyGame, script: Script, action_texts: Sequence[str] = ()) -> Iterator[Visit]:
    """The states of a script's walk, one at a time; exceptions of the game pass through."""
    state = _start(game, script)
    visit = observed(game, Visit(0, state, False, (), ()))
    yield visit
    for t, move in enumerate(script.choices()):
        if visit.is_terminal:
            return
        options = [options_of(game, state, agent, action_texts) for agent in visit.acting]
        if not all(options):
            return  # nothing to choose from; a rule of its own says so
        choice, joint_action = choose(visit.acting, options, move)
        given = {**joint_action}
        state, rewards_N = _step(game, script, state, given, t)
        reached = Visit(t + 1, state, False, (), (), choice, joint_action, rewards_N, given)
        visit = observed(game, reached)
        yield visit


def _start(game: Any, script: Script) -> Any:
    if script.outcomes is not None:
        return _chosen(game.initial_state_dist(), script.outcomes[0])
    return game.sample_initial_state(EpisodeKey(seed=script.seed).stream(Purpose.START))


def _step(game: Any, script: Script, state: Any, joint_action: Mapping[str, Any], t: int) -> Any:
    if script.outcomes is not None:
        return _chosen(game.transition_dist(state, joint_action), script.outcomes[t + 1])
    return game.sample_transition(state, joint_action, script.chance(t))


def _chosen(dist: Distribution[Any], number: int) -> Any:
    return next(itertools.islice(dist.enumerate(), number, None))[0]


def observed(game: AnyGame, visit: Visit) -> Visit:
    """The visit, with what the game answers about its state."""
    state = visit.state
    return visit._replace(
        is_terminal=game.is_terminal(state),
        acting=game.acting_agents(state),
        texts_N=tuple(game.observation_text(state, agent) for agent in game.agents),
    )


def choose(
    acting: Sequence[str], options: Sequence[Sequence[Any]], move: int
) -> tuple[int, dict[str, Any]]:
    """The joint action that a number chooses, and the least number that chooses it."""
    least = rest = move % math.prod(map(len, options))
    joint_action = {}
    for agent, actions in zip(acting, options, strict=True):
        rest, index = divmod(rest, len(actions))
        joint_action[agent] = actions[index]
    return least, joint_action


def options_of(game: AnyGame, state: Any, agent: str, action_texts: Sequence[str]) -> Sequence[Any]:
    """The legal actions; where they are not listed, those that the texts name and the scripted player's."""
    legal = game.legal_actions(state, agent)
    if legal is not None:
        return legal
    outcomes = [game.read_action(state, agent, text) for text in action_texts]
    actions = [outcome.action for outcome in outcomes if isinstance(outcome, Parsed)]
    player = game.scripted_player()
    if player is not None:
        actions.append(player.action_dist(state, agent).sample(Stream("scripted", agent)))
    return tuple(dict.fromkeys(actions))


def replay(
    game: AnyGame,
    *,
    seed: int = 0,
    moves: Sequence[int] = (),
    redrawn_from: int | None = None,
    outcomes: Sequence[int] | None = None,
    action_texts: Sequence[str] = (),
) -> Walk:
    """Repeat a walk, as the scripts of violations do; exceptions of the game pass through.

    Args:
      game: the game.
      seed: the seed of the start and of chance.
      moves: a number per step. Where one agent acts, it is the index among the legal actions; where
        several act, the first agent's index comes first: ``index_1 + len(legal_1) * (index_2 + ...)``.
      redrawn_from: the step from which chance is drawn anew.
      outcomes: the number of the outcome of the start and of each step, in the order of the distributions of an
        explicit game; by default they are drawn from the seed.
      action_texts: texts to choose from if legal actions are not listed.

    Raises:
      GameLawError: a move could not be made, since the game was over or nothing was legal.
    """
    chosen = None if outcomes is None else tuple(outcomes)
    script = Script(seed=seed, moves=tuple(moves), redrawn_from=redrawn_from, outcomes=chosen)
    seen = tuple(visits(game, script, action_texts))
    if len(seen) <= len(moves):
        raise GameLawError(f"{game.name}: move {len(seen)} cannot be made (no legal action there)")
    return Walk(script=script, visits=seen)
