"""TextArena's environments as games.

They are sampled: an environment advances with the episode, and branches by a replay of the texts from the start. It
draws from the global generators of ``random`` and NumPy, so these are seeded before each call and restored after it:
episodes are reproducible, and two environments do not disturb each other.
"""

import contextlib
import functools
import importlib
import random
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import final

import attrs
import numpy as np

from games.adapters.actions import Actions, admitted
from games.adapters.any_text import AnyText
from games.adapters.curated import RawEnv
from games.adapters.digest import digest
from games.adapters.live import LONGEST_TEXT, LiveGame, Success, View, nearest, readable, to_reward
from tsmg import GameLawError, InvalidArgumentError, MissingPackageError, StandStill
from tsmg.invalid import AbstractInvalidRule

Make = Callable[[], RawEnv]
Admissible = Callable[[str], Sequence[str]]

_MOST_PLAYERS = 15
_REFUSALS = (AssertionError, ValueError, KeyError, IndexError, TypeError)  # of a number of players
_UNREAD = "It is not your turn yet."


def from_textarena(
    env: str | Make,
    *,
    players: int | None = None,
    horizon: int | None = None,
    admissible: Admissible | None = None,
    success: Success | None = None,
    rules: str = "",
    invalid_rule: AbstractInvalidRule | None = None,
    **kwargs: object,
) -> LiveGame:
    """A TextArena environment as a sampled game of the agents ``player_0``, ``player_1``, ...

    An action is any text, and the environment itself decides what happens to one that it does not understand (most
    allow one more try). An agent reads what the environment's own wrappers show, by default everything that it was told
    so far.

    Args:
      env: a registered id such as ``"TicTacToe-v0"``, or a function that makes an environment.
      players: number of players; by default the least number that the environment takes.
      horizon: time limit H, in steps; by default the environment's limit of turns, with all the tries that it allows.
      admissible: function from an agent's text to the commands that it admits; the agent has only these, and the
        invalid rule applies to other texts. By default every text is an action.
      success: the definition of success; by default there is none.
      rules: the rules that an agent reads; the environment's own are part of its texts.
      invalid_rule: iota, which determines what follows an invalid text; by default the environment stands still.
      **kwargs: arguments of ``textarena.make``.

    Raises:
      MissingPackageError: TextArena is not installed.
      InvalidArgumentError: there is no such environment, it takes no such number of players, it has no limit of turns,
        or its first text is over 4,000 characters. The message says what to pass, if that helps.
    """
    make = _maker(env, kwargs)
    name = env if isinstance(env, str) else getattr(env, "__name__", type(env).__name__)
    count, made = _seated(make, name, players)
    agents = tuple(f"player_{n}" for n in range(count))
    limit = horizon if horizon is not None else _limit(made)
    if limit is None:
        raise InvalidArgumentError(f"'horizon' must be given: {name} has no turn limit (got None)")
    if limit < 1:
        raise InvalidArgumentError(f"'horizon' must be at least 1 (got {limit})")
    actions = Actions(AnyText(LONGEST_TEXT))
    game = LiveGame(
        make_driver=functools.partial(_Driver, make, agents, name, actions, admissible),
        env_name=name,
        agents=agents,
        actions=dict.fromkeys(agents, actions),
        rules=dict.fromkeys(agents, rules),
        horizon=limit,
        invalid_rule=invalid_rule or StandStill(),
        is_success=success,
    )
    readable(game)
    return game


def _maker(env: object, kwargs: Mapping[str, object]) -> Make:
    if callable(env):
        if kwargs:
            raise InvalidArgumentError("'kwargs' must be empty where 'env' is a function")
        return env
    try:
        library = importlib.import_module("textarena")
        known = importlib.import_module("textarena.envs.registration").ENV_REGISTRY
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "from_textarena needs TextArena, an optional package: pip install textarena"
        ) from error
    if env not in known:
        raise InvalidArgumentError(
            f"'env' must be an id of TextArena (got {env!r}){nearest(str(env), known)}"
        )
    return functools.partial(library.make, env, **kwargs)


@contextlib.contextmanager
def _own_chance(seed: int) -> Iterator[None]:
    """Seeds the global generators for the time of one call, and leaves them as they were."""
    plain, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002 - they are what the library draws from
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(plain)
        np.random.set_state(arrays)  # noqa: NPY002


def _seated(make: Make, name: str, players: int | None) -> tuple[int, RawEnv]:
    """The number of players, and an environment that was reset for it.

    Raises:
      InvalidArgumentError: the environment cannot be made, or takes no such number.
    """
    counts = range(1, _MOST_PLAYERS + 1) if players is None else (players,)
    refused = ""
    for count in counts:
        made = None
        try:
            with _own_chance(0):
                made = make()
                made.reset(num_players=count, seed=0)
        except Exception as error:
            if made is not None and isinstance(error, _REFUSALS):
                refused = str(error).partition("\n")[0]
                continue
            reason = " ".join(str(error).split())[:200]
            raise InvalidArgumentError(
                f"'env' must be one that can be made (got {name!r}): {type(error).__name__}: {reason}"
            ) from error
        return count, made
    raise InvalidArgumentError(
        f"'players' must be a number that {name} takes (got {players}): {refused}"
    )


def _limit(made: RawEnv) -> int | None:
    """The greatest number of steps, where the environment limits its turns: each may be tried again after an error."""
    turns, tries = (getattr(made.state, name, None) for name in ("max_turns", "error_allowance"))
    return None if not isinstance(turns, int) else turns * (1 + (tries or 0))


@final
@attrs.define(eq=False)
class _Driver:
    """Moves a TextArena environment, one player's text at a time."""

    make: Make
    agents: tuple[str, ...]
    name: str
    actions: Actions
    admissible: Admissible | None
    env: RawEnv = None
    texts: dict[str, str] = attrs.field(factory=dict)

    def reset(self, seed: int) -> View:
        """Begin an episode."""
        with _own_chance(seed):
            self.env = self.make()
            self.env.reset(num_players=len(self.agents), seed=seed)
            self.texts = dict.fromkeys(self.agents, _UNREAD)
            return self._view(over=False)

    def step(
        self, joint_action: Mapping[str, Hashable], chance: int
    ) -> tuple[View, tuple[float, ...]]:
        """One text of the player whose turn it is; all rewards are paid at the end."""
        ((_, text),) = joint_action.items()
        with _own_chance(chance):
            done, _ = self.env.step(action=text)
            rewards_N = self._rewards() if done else (0.0,) * len(self.agents)
            return self._view(over=bool(done)), rewards_N

    def _rewards(self) -> tuple[float, ...]:
        rewards, _ = self.env.close()
        if not isinstance(rewards, Mapping) or set(rewards) != set(range(len(self.agents))):
            raise GameLawError(
                f"{self.name}: the environment must reward each of its {len(self.agents)} players (got {rewards!r:.80})"
            )
        return tuple(
            to_reward(rewards[n], f"{self.name}: the reward of {agent!r}")
            for n, agent in enumerate(self.agents)
        )

    def _view(self, *, over: bool) -> View:
        number, text = self.env.get_observation()
        if number not in range(len(self.agents)) or not isinstance(text, str):
            raise GameLawError(
                f"{self.name}: the environment must show one of its {len(self.agents)} players a text (got player "
                f"{number!r}, {text!r:.80}); an id that ends in -raw shows lists of messages"
            )
        agent = self.agents[number]
        self.texts[agent] = text.strip("\n")
        legal = None
        if self.admissible is not None and not over:
            legal = admitted(self.actions, list(self.admissible(self.texts[agent])), self.name)
        return View(
            acting=() if over else (agent,),
            texts=dict(self.texts),
            legal={agent: () if over else legal},
            over=over,
            observation=digest((number, self.texts)),
        )
