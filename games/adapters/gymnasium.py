"""Gymnasium environments as games.

An environment that publishes its table (``P``, as the toy-text ones do) becomes an explicit game. Any other one is
sampled: it moves along with the episode, and branching replays the actions from the start.
"""

import functools
import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple, final

import attrs
import numpy as np
from gymnasium.spaces import Text
from numpy.random.bit_generator import ISpawnableSeedSequence
from numpy.typing import NDArray

from games.adapters import spaces
from games.adapters.actions import Actions, admitted, masked, name_actions
from games.adapters.ansi import legible
from games.adapters.curated import RawEnv
from games.adapters.digest import digest
from games.adapters.gymnasium_known import Known, known
from games.adapters.live import LiveGame, Success, View, readable, to_reward
from games.adapters.remaking import CHECKS, Env, Make, maker, pair, quintuple, told
from tsmg import (
    AbstractExplicitGame,
    AnyGame,
    Distribution,
    Episode,
    Facts,
    Finite,
    InvalidArgumentError,
    StandStill,
    Transition,
)
from tsmg.invalid import AbstractInvalidRule

_AGENT = "player"

TextOf = Callable[[Any], str]


def from_gymnasium(
    env: str | Env | Make,
    *,
    horizon: int | None = None,
    action_names: Sequence[str] | None = None,
    choices: Mapping[str, object] | None = None,
    observation_text: TextOf | None = None,
    labels: Sequence[str] | None = None,
    rules: str | None = None,
    admissible: str = "admissible_commands",
    success: Success | None = None,
    invalid_rule: AbstractInvalidRule | None = None,
    **kwargs: object,
) -> AnyGame:
    """A Gymnasium environment as a game of one agent, ``player``.

    The game is explicit if the environment publishes its table, and sampled otherwise.

    Args:
      env: an id; an environment that was made from one, which is made again with its wrappers; or a function that
        makes one.
      horizon: time limit H, in steps; by default the environment's own.
      action_names: names of the actions of a Discrete space, in order.
      choices: names of chosen actions, for spaces that text cannot name (a Box); the agent has only these.
      observation_text: function from an observation to its text; by default the curated text, the environment's ansi
        rendering or the observation itself.
      labels: names of the numbers of an observation that is a vector, each of which then has a line of its own.
      rules: the rules that the agent reads, before the actions; by default the environment's ``metadata["rules"]``, as
        an exported game has them, or the legend, if one is known.
      admissible: key of the info that lists the commands of each step, if actions are texts (as in TextWorld); the
        invalid rule then applies to other texts. Without such a list every text is an action.
      success: the definition of success; by default there is none.
      invalid_rule: iota, which determines what follows an invalid text; by default the environment stands still.
      **kwargs: arguments of ``gymnasium.make``.

    Raises:
      MissingPackageError: the package of a known id (such as those of MiniGrid or ALE) is not installed, or one that
        the environment asks for.
      InvalidArgumentError: the environment cannot be made again, or has an older API; there is no time limit; the
        actions cannot be named; or the text of the first observation is over 4,000 characters. The message says what
        to pass.
    """
    make, made, limit = maker(env, kwargs)
    name = made.spec.id if made.spec else type(made.unwrapped).__name__
    about = known(made)
    if limit is None and about.horizon is not None:
        with told(env, kwargs):
            limit = about.horizon(made.unwrapped)
    horizon = _time_limit(limit if horizon is None else horizon, env)
    few = spaces.count(made.action_space)  # of MiniGrid's actions some environments have the first
    names = tuple(action_names or about.names[: int(min(few, len(about.names)))]) or None
    actions = name_actions(made.action_space, of=name, names=names, choices=choices)
    rules = _rules(made, about) if rules is None else rules
    labelled = labels and spaces.labelled(made.observation_space, tuple(labels), name)
    observation_text = observation_text or labelled or about.observation_text
    if observation_text is None and _has_table(made):
        return TableGame.of(
            made,
            name=name,
            actions=actions,
            horizon=horizon,
            rules=rules,
            invalid_rule=invalid_rule,
            success=success,
        )
    shown = functools.lru_cache(4096)(functools.partial(spaces.text, made.observation_space))
    driver = functools.partial(_Driver, make, actions, name, observation_text, shown, admissible)
    game = LiveGame(
        make_driver=driver,
        env_name=name,
        agents=(_AGENT,),
        actions={_AGENT: actions},
        rules={_AGENT: rules},
        horizon=horizon,
        invalid_rule=invalid_rule or StandStill(),
        is_success=success,
    )
    return readable(game)


def _rules(made: Env, about: Known) -> str:
    """The rules that the environment carries in its metadata, as an exported game does; else the legend."""
    own = made.metadata.get("rules")
    return own if isinstance(own, str) else about.rules


def _time_limit(horizon: int | None, env: object) -> int:
    if horizon is None:
        raise InvalidArgumentError(
            f"'horizon' must be given: {env!r:.200} has no time limit (got None)"
        )
    if horizon < 1:
        raise InvalidArgumentError(f"'horizon' must be at least 1 (got {horizon})")
    return horizon


# ---- explicit: the published table ------------------------------------------------------------


def _has_table(env: Env) -> bool:
    bare = env
    while isinstance(bare, CHECKS):
        bare = bare.env
    return (
        bare is env.unwrapped
        and isinstance(getattr(bare, "P", None), Mapping)
        and hasattr(bare, "initial_state_distrib")
    )


class Cell(NamedTuple):
    """A state of the table, and whether the episode ended on the transition to it."""

    number: int
    over: bool = False


@final
@attrs.frozen(kw_only=True, eq=False)
class TableGame(AbstractExplicitGame[Cell, Hashable]):
    """An environment whose distributions are a published table.

    Attributes:
      env_name: the environment's id.
      table: state to action to (probability, next state, reward, whether the episode ends).
      initial: the probability of every first state.
      texts: state -> its text.
      masks: state -> its legal actions.
      actions: the agent's actions.
      rules: the rules that the agent reads.
      horizon: time limit H, in steps.
      invalid_rule: iota, which determines what follows an invalid text.
      is_success: what a success is, if that is defined.
    """

    env_name: str
    table: Mapping[int, Mapping[int, Sequence[tuple[float, int, float, bool]]]]
    initial: tuple[float, ...]
    texts: Callable[[int], str]
    masks: Callable[[int], tuple[Hashable, ...]]
    actions: Actions
    rules: str
    horizon: int
    invalid_rule: AbstractInvalidRule = StandStill()
    is_success: Success | None = None
    facts: Facts = attrs.field(init=False)
    _first: Distribution[Cell] = attrs.field(init=False, repr=False)

    agents = (_AGENT,)

    @_first.default
    def _starts(self) -> Distribution[Cell]:
        return Finite((Cell(s), p) for s, p in enumerate(self.initial) if p)

    @facts.default
    def _declare(self) -> Facts:
        dists = (dist for actions in self.table.values() for dist in actions.values())
        return Facts(
            stochastic_start=sum(p > 0 for p in self.initial) > 1,
            stochastic_transitions=any(
                len({(s, r, over) for p, s, r, over in dist if p}) > 1 for dist in dists
            ),
        )

    @classmethod
    def of(
        cls,
        env: Env,
        *,
        name: str,
        actions: Actions,
        horizon: int,
        rules: str,
        invalid_rule: AbstractInvalidRule | None = None,
        success: Success | None = None,
    ) -> "TableGame":
        """The game of an environment that publishes its table."""
        bare: RawEnv = env.unwrapped
        about = known(env)
        bare.reset(seed=0)

        @functools.cache
        def text(number: int) -> str:
            if about.table_text is not None:
                return about.table_text(bare, number)
            bare.s, bare.lastaction = number, None
            shown = bare.render() if bare.render_mode == "ansi" else None
            if isinstance(shown, str):
                return legible(shown)
            return spaces.text(env.observation_space, spaces.plain(env.observation_space, number))

        @functools.cache
        def mask(number: int) -> tuple[Hashable, ...]:
            if not hasattr(bare, "action_mask"):
                return actions.values or ()
            return masked(actions, bare.action_mask(number), name)

        return cls(
            env_name=name,
            table=bare.P,
            initial=tuple(float(p) for p in bare.initial_state_distrib),
            texts=text,
            masks=mask,
            actions=actions,
            rules=rules,
            horizon=horizon,
            invalid_rule=invalid_rule or StandStill(),
            is_success=success,
        )

    @property
    def name(self) -> str:
        return self.env_name

    def initial_state_dist(self) -> Distribution[Cell]:
        return self._first

    def is_terminal(self, state: Cell) -> bool:
        return state.over

    def acting_agents(self, state: Cell) -> tuple[str, ...]:
        return () if state.over else self.agents

    def legal_actions(self, state: Cell, agent: str) -> tuple[Hashable, ...]:
        return () if state.over else self.masks(state.number)

    def transition_dist(
        self, state: Cell, joint_action: Mapping[str, Hashable]
    ) -> Distribution[Transition[Cell]]:
        dist = self.table[state.number][self.actions.native(joint_action[_AGENT])]
        return Finite(
            (Transition(Cell(int(s), bool(over)), (float(r),)), float(p)) for p, s, r, over in dist
        )

    def observation_text(self, state: Cell, agent: str) -> str:
        return self.texts(state.number)

    def action_text(self, state: Cell, agent: str, action: Hashable) -> str:
        return self.actions.text(action)

    def rules_text(self, agent: str) -> str:
        return f"{self.rules} {self.actions.sentence_text()}".strip()

    def success(self, episode: Episode[Cell], agent: str) -> bool | None:
        return None if self.is_success is None else self.is_success(episode, agent)


# ---- sampled: a live environment ----------------------------------------------------------------


@final
class _Words(ISpawnableSeedSequence):
    """The state of a fresh generator, hashed from a key; NumPy's own hash takes a fifth of an adapted step."""

    def __init__(self, key: bytes) -> None:
        self._digest = hashlib.blake2b(key, digest_size=64).digest()
        self._children = 0

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> NDArray[Any]:
        return np.frombuffer(self._digest, dtype, count=n_words)

    def spawn(self, n_children: int) -> "list[_Words]":
        first, self._children = self._children, self._children + n_children
        numbers = range(first, self._children)
        return [_Words(self._digest + number.to_bytes(8, "little")) for number in numbers]


def _generator(chance: int) -> np.random.Generator:
    words: Any = _Words(chance.to_bytes(8, "little"))  # NumPy's stubs know no such seed
    return np.random.Generator(np.random.PCG64(words))


@final
class _Driver:
    """Moves a Gymnasium environment.

    Chance is fresh at every step: the environment gets a generator of the step's own seed. Randomness that
    an environment keeps elsewhere is fixed by the seed of its reset.
    """

    def __init__(
        self,
        make: Make,
        actions: Actions,
        name: str,
        observation_text: TextOf | None,
        shown: TextOf,
        admissible: str,
    ) -> None:
        self.env = make()
        self.bare = self.env.unwrapped
        self.shown = shown
        self.admissible = admissible
        self.actions = actions
        self.name = name
        self.observation_text = observation_text

    def reset(self, seed: int) -> View:
        """Begin an episode."""
        observation, info = pair(self.env.reset(seed=seed), self.name)
        return self._view(observation, info, over=False, truncated=False)

    def step(
        self, joint_action: Mapping[str, Hashable], chance: int
    ) -> tuple[View, tuple[float, ...]]:
        """One step of the only agent."""
        self.bare.np_random = _generator(chance)
        action = self.actions.native(joint_action[_AGENT])
        given = quintuple(self.env.step(action), self.name)
        observation, reward, terminated, truncated, info = given
        is_cut = truncated and not terminated
        view = self._view(observation, info, over=terminated or truncated, truncated=is_cut)
        return view, (to_reward(reward, f"{self.name}: the reward"),)

    def _view(
        self, observation: Any, info: Mapping[str, Any], *, over: bool, truncated: bool
    ) -> View:
        return View(
            acting=() if over else (_AGENT,),
            texts={_AGENT: self._text(observation)},
            legal={_AGENT: () if over else self._legal(observation, info)},
            over=over,
            truncated=truncated,
            observation=digest(observation),
        )

    def _text(self, observation: Any) -> str:
        if self.observation_text is not None:
            return self.observation_text(observation)
        if self.env.render_mode == "ansi":
            return legible(str(self.env.render()))
        return self.shown(spaces.checked(self.env.observation_space, observation, self.name))

    def _legal(self, observation: Any, info: Mapping[str, Any]) -> tuple[Hashable, ...] | None:
        mask = info.get("action_mask")
        if mask is None and isinstance(observation, Mapping):
            mask = observation.get("action_mask")
        if mask is None and isinstance(self.env.action_space, Text) and self.admissible in info:
            return admitted(self.actions, info[self.admissible], self.name)
        return self.actions.values if mask is None else masked(self.actions, mask, self.name)
