"""Live environments as sampled games: they move along with the episode, and branch by replay.

A *driver* moves one environment of one library. ``LiveGame`` turns drivers into values: a state consists of what led
to it, the seed of the reset and each step's actions and seed of chance. Where a state is left a second time, a fresh
driver replays these, and must reach the same observation.
"""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple, Protocol, final

import attrs
import numpy as np
from gymnasium.spaces import Discrete, Text

from games.adapters import spaces
from games.adapters.spaces import AnySpace, Native
from tsmg import (
    AbstractSampledGame,
    AnyGame,
    Facts,
    GameLawError,
    Illegal,
    InvalidArgumentError,
    Parsed,
    StandStill,
    Stream,
    TextOutcome,
    Transition,
    fold,
)
from tsmg.invalid import AbstractInvalidRule

LISTED_ACTIONS = 4096
LONGEST_TEXT = 4000


class Actions(NamedTuple):
    """The actions of an agent that text can name.

    Attributes:
      space: the environment's action space.
      values: the plain actions; ``None`` where they are too many to list.
      texts: the canonical text of each.
      natives: the environment's own form of each.
      sentence: the sentence of the rules that lists them; by default it is made of the texts.
    """

    space: AnySpace
    values: tuple[Hashable, ...] | None = None
    texts: tuple[str, ...] = ()
    natives: tuple[Native, ...] = ()
    sentence: str | None = None

    def text(self, action: Hashable) -> str:
        """The canonical text."""
        if self.values is None:
            return spaces.action_text(self.space, action)
        return self.texts[self.values.index(action)]

    def native(self, action: Hashable) -> Native:
        """The environment's own form of an action."""
        if self.values is None:
            return spaces.native(self.space, action)
        return self.natives[self.values.index(action)]

    def sentence_text(self) -> str:
        """The sentence of the rules that lists the actions."""
        if self.sentence is not None:
            return self.sentence
        if self.values is not None and len(self.texts) <= 64:
            return f"An action is one of: {', '.join(self.texts)}."
        if self.values is not None:
            return f"An action is one of {len(self.texts)} texts such as {self.texts[0]} or {self.texts[-1]}."
        if isinstance(self.space, Text):
            letters = "".join(sorted(self.space.character_set))
            return (
                f"An action is a text of {self.space.min_length} to {self.space.max_length} of these characters, "
                f"without quotes: {letters}"
            )
        return f"An action is a value of {self.space}, written as JSON."


def name_actions(
    space: AnySpace, *, of: str, names: tuple[str, ...] | None, choices: Mapping[str, Native] | None
) -> Actions:
    """The actions of a space.

    Args:
      space: the environment's action space.
      of: the owner of the actions, for messages.
      names: names of the values of a finite space, in order; by default they are written as JSON.
      choices: names of chosen actions, for a space that text cannot name.

    Raises:
      InvalidArgumentError: text cannot name the actions, or the names are too few, too many or equal.
    """
    if choices is not None:
        values = tuple(range(len(choices)))
        return Actions(space, values, _distinct(tuple(choices)), tuple(choices.values()))
    if not spaces.nameable(space):
        raise InvalidArgumentError(
            f"'choices' must be given, as names of chosen actions: text cannot name the actions of {of}, "
            f"which are {space} (got None)"
        )
    if spaces.count(space) > LISTED_ACTIONS:
        return Actions(space)
    listed = tuple(spaces.values(space))
    texts = names or tuple(spaces.action_text(space, value) for value in listed)
    if len(texts) != len(listed):
        raise InvalidArgumentError(
            f"'action_names' must name the {len(listed)} actions of {of} (got {texts})"
        )
    natives = tuple(spaces.native(space, value) for value in listed)
    return Actions(space, listed, _distinct(texts), natives)


def _distinct(texts: tuple[str, ...]) -> tuple[str, ...]:
    if len({fold(text) for text in texts}) != len(texts) or not texts:
        raise InvalidArgumentError(f"'action_names' must differ from each other (got {texts})")
    return texts


def masked(actions: Actions, mask: Any, name: str) -> tuple[Hashable, ...]:
    """The actions that a mask allows; of a Discrete space too large to list, these alone are listed.

    Args:
      actions: all actions.
      mask: for every value of the space, in order, whether it is allowed.
      name: the owner of the actions, for messages.

    Raises:
      GameLawError: it allows no action, or its size is not that of the space.
    """
    allowed = _flags(actions.space, mask, name)
    kept: tuple[Hashable, ...]
    if isinstance(actions.space, Discrete):
        numbers = [int(actions.space.start) + i for i in allowed]
        if actions.values is None:
            kept = tuple(numbers)
        else:
            pairs = zip(actions.values, map(int, actions.natives), strict=True)
            kept = tuple(value for value, native in pairs if native in set(numbers))
    else:
        listed = tuple(spaces.values(actions.space))
        plain = {listed[i] for i in allowed}
        pairs_of = zip(actions.values or (), actions.natives, strict=True)
        kept = tuple(v for v, native in pairs_of if spaces.plain(actions.space, native) in plain)
    if not kept:
        raise GameLawError(f"{name}: the mask allows no action")
    return kept


def _flags(space: AnySpace, mask: Any, name: str) -> list[int]:
    """The numbers of the values that a mask allows."""
    size = spaces.count(space)
    if not isinstance(space, Discrete) and size > LISTED_ACTIONS:
        raise GameLawError(
            f"{name}: a mask cannot name the actions of {space}, which are more than {LISTED_ACTIONS}"
        )
    try:
        flags = np.asarray(mask)
    except ValueError:  # parts of unlike lengths
        flags = np.empty(0)
    if flags.shape != (int(size),):
        raise GameLawError(
            f"{name}: the mask must have {int(size)} entries, one for each action of {space} (got {mask!r:.80})"
        )
    return np.flatnonzero(flags).tolist()


@final
@attrs.frozen(kw_only=True)
class View:
    """What can be observed of an environment between two steps.

    Attributes:
      acting: the agents that act next; none at the end.
      texts: the text that each agent reads.
      legal: the legal actions of each acting agent; ``None`` where they are not listed.
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
        """Carry out a joint action of plain actions, with fresh chance where the environment allows it."""
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
            raise GameLawError(f"{self.name}: the episode is over, so that no step follows")
        is_here = state.session.path is state.path
        session = state.session if is_here else self._replayed(state)
        return _step(session, state, tuple(joint_action.items()), rng.seed())

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
                f"{self.name}: cannot be branched, since the same actions and seeds led to another observation"
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


def _step(
    session: _Session, state: LiveState, joint_action: JointAction, chance: int
) -> Transition[LiveState]:
    view, rewards_N = session.driver.step(dict(joint_action), chance)
    session.path = (*state.path, (joint_action, chance))
    after = LiveState(seed=state.seed, path=session.path, view=view, session=session)
    return Transition(after, rewards_N)


def to_reward(value: object, name: str) -> float:
    """A reward, as a number or an array that holds one.

    Args:
      value: what the environment gave.
      name: what it is, for messages.

    Raises:
      GameLawError: it is not one finite number.
    """
    numbers = np.asarray(value)
    if numbers.size == 1 and numbers.dtype.kind in "biuf" and np.isfinite(numbers).all():
        return float(numbers.item())
    raise GameLawError(f"{name} must be one finite number (got {value!r:.80})")


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
