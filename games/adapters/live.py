"""Live environments as sampled games: they advance with the episode, and branch by replay.

A *driver* moves one environment of one library. ``LiveGame`` turns drivers into values: a state consists of its
history: the seed of the reset, and each step's actions and seed of chance. If a state is left a second time, a fresh
driver replays the history, and must reach the same observation.
"""

import difflib
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, Protocol, final

import attrs
import numpy as np

from games.adapters import spaces
from games.adapters.actions import Actions
from tsmg import (
    AbstractSampledGame,
    AnyGame,
    Episode,
    Facts,
    GameLawError,
    Illegal,
    InvalidArgumentError,
    Parsed,
    StandStill,
    Stream,
    TextOutcome,
    Transition,
)
from tsmg.invalid import AbstractInvalidRule

LONGEST_TEXT = 4000

Success = Callable[[Episode[Any], str], bool | None]
"""(episode, agent) -> whether the episode is a success for the agent; ``None`` if that is not defined."""


@final
@attrs.frozen(kw_only=True)
class View:
    """What can be observed of an environment between two steps.

    Attributes:
      acting: the agents that act next; none at the end.
      texts: the text that each agent reads.
      legal: the legal actions of each acting agent; ``None`` if they are not listed.
      over: whether the episode is over.
      truncated: whether the environment cut it off, so that it did not come to its own end.
      observation: a digest of all observations, by which a replay is checked.
      names: canonical texts that legal actions have in this state only, by agent.
    """

    acting: tuple[str, ...]
    texts: Mapping[str, str]
    legal: Mapping[str, tuple[Hashable, ...] | None]
    over: bool
    observation: bytes
    names: Mapping[str, Mapping[Hashable, str]] = {}
    truncated: bool = False


class Driver(Protocol):
    """Moves one environment."""

    def reset(self, seed: int) -> View:
        """Begin an episode."""
        ...

    def step(
        self, joint_action: Mapping[str, Hashable], chance: int
    ) -> tuple[View, tuple[float, ...]]:
        """Carry out a joint action of plain actions, with fresh chance if the environment allows it."""
        ...


JointAction = tuple[tuple[str, Hashable], ...]
Path = tuple[tuple[JointAction, int], ...]


class _Session:
    """A driver, and the path along which it was moved."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.path: Path = ()


@final
@attrs.frozen(kw_only=True)
class LiveState:
    """A state of a live environment: what led to it.

    Attributes:
      seed: the seed of the reset.
      path: (joint action, seed of the step's chance) of every step from the start.
      view: what can be observed in the state.
      session: a driver that was moved to the state, and perhaps beyond it.
    """

    seed: int
    path: Path
    view: View = attrs.field(eq=False, repr=False)
    session: _Session = attrs.field(eq=False, repr=False)


@final
@attrs.frozen(kw_only=True, eq=False)
class LiveGame(AbstractSampledGame[LiveState, Hashable]):
    """A live environment as a game.

    Attributes:
      make_driver: makes a driver of a fresh environment.
      env_name: the environment's id.
      agents: the agents' names.
      actions: the actions of each agent.
      rules: the rules that each agent reads, before the actions.
      horizon: time limit H, in steps.
      facts: the declared facts.
      invalid_rule: iota, which determines what follows an invalid text.
      fresh_chance: whether episodes that leave the same state draw their chance independently. Otherwise the seed
        of the reset fixes all chance, and episodes of one start share it.
      is_success: what a success is, if that is defined.
    """

    make_driver: Callable[[], Driver]
    env_name: str
    agents: tuple[str, ...]
    actions: Mapping[str, Actions]
    rules: Mapping[str, str]
    horizon: int
    facts: Facts = Facts()
    invalid_rule: AbstractInvalidRule = StandStill()
    fresh_chance: bool = True
    is_success: Success | None = None

    @property
    def name(self) -> str:
        return self.env_name

    def sample_initial_state(self, rng: Stream) -> LiveState:
        return self._reset(rng.seed())

    def _reset(self, seed: int) -> LiveState:
        session = _Session(self.make_driver())
        view = session.driver.reset(seed)
        return LiveState(seed=seed, path=session.path, view=view, session=session)

    def sample_transition(
        self, state: LiveState, joint_action: Mapping[str, Hashable], rng: Stream
    ) -> Transition[LiveState]:
        if state.view.over:
            raise GameLawError(f"{self.name}: the episode is over, so no step can follow")
        is_here = state.session.path is state.path
        session = state.session if is_here else self._replayed(state)
        in_order = tuple((a, joint_action[a]) for a in self.agents if a in joint_action)
        return _step(session, state, in_order, rng.seed())

    def _replayed(self, state: LiveState) -> _Session:
        """A fresh environment, moved to the state.

        Raises:
          GameLawError: it does not reach the same observation, so it cannot be branched.
        """
        here = self._reset(state.seed)
        for joint_action, chance in state.path:
            here = _step(here.session, here, joint_action, chance).state
        if here.view.observation != state.view.observation or here.view.over != state.view.over:
            raise GameLawError(
                f"{self.name}: cannot be branched, since the same actions and seeds led to a different observation"
            )
        here.session.path = state.path
        return here.session

    def is_terminal(self, state: LiveState) -> bool:
        return state.view.over

    def is_truncated(self, state: LiveState) -> bool:
        return state.view.truncated

    def acting_agents(self, state: LiveState) -> tuple[str, ...]:
        return state.view.acting

    def legal_actions(self, state: LiveState, agent: str) -> tuple[Hashable, ...] | None:
        return state.view.legal[agent] if agent in state.view.acting else ()

    def observation_text(self, state: LiveState, agent: str) -> str:
        return state.view.texts[agent]

    def action_text(self, state: LiveState, agent: str, action: Hashable) -> str:
        named = state.view.names.get(agent, {})
        return named[action] if action in named else self.actions[agent].text(action)

    def read_action(self, state: LiveState, agent: str, text: str) -> TextOutcome[Hashable]:
        if self.legal_actions(state, agent) is not None:
            return super().read_action(state, agent, text)
        try:
            return Parsed(spaces.read(self.actions[agent].space, text))
        except (ValueError, TypeError, RecursionError, OverflowError):
            return Illegal(text)

    def rules_text(self, agent: str) -> str:
        return f"{self.rules[agent]} {self.actions[agent].sentence_text()}".strip()

    def success(self, episode: Episode[LiveState], agent: str) -> bool | None:
        return None if self.is_success is None else self.is_success(episode, agent)


def _step(
    session: _Session, state: LiveState, joint_action: JointAction, chance: int
) -> Transition[LiveState]:
    session.path = (*state.path, (joint_action, chance))  # first: a step that raises may have moved
    view, rewards_N = session.driver.step(dict(joint_action), chance)
    after = LiveState(seed=state.seed, path=session.path, view=view, session=session)
    return Transition(after, rewards_N)


def to_reward(value: object, name: str) -> float:
    """A reward, as a number or an array that holds one.

    Args:
      value: the value from the environment.
      name: what it is, for messages.

    Raises:
      GameLawError: it is not one finite number.
    """
    numbers = np.asarray(value)
    if numbers.size == 1 and numbers.dtype.kind in "biuf" and np.isfinite(numbers).all():
        return float(numbers.item())
    raise GameLawError(f"{name} must be one finite number (got {value!r:.80})")


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the most similar known names.

    Example:
      >>> nearest("TicTacTo-v0", ["Chess-v0", "TicTacToe-v0"])
      '; did you mean TicTacToe-v0?'
    """
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def readable(game: AnyGame) -> AnyGame:
    """The game, if its first texts are short enough to be read.

    Raises:
      InvalidArgumentError: a text has over 4,000 characters.
    """
    state = game.sample_initial_state(Stream("first text"))
    length = max(len(game.observation_text(state, agent)) for agent in game.agents)
    if length > LONGEST_TEXT:
        raise InvalidArgumentError(
            f"'observation_text' must be given: the default text of {game.name} has {length} characters, "
            f"more than {LONGEST_TEXT} (got None)"
        )
    return game
