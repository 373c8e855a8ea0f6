"""Drivers of PettingZoo environments: those whose agents act in turn (AEC), and those whose agents act together.

An agent's name is the text of its id. Once it has left, it keeps the text that it read last.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, final

import attrs
import numpy as np
from gymnasium.spaces import Dict, Space
from numpy.typing import NDArray

from games.adapters import spaces
from games.adapters.actions import Actions, masked
from games.adapters.ansi import legible
from games.adapters.curated import RawEnv, Seen
from games.adapters.digest import digest
from games.adapters.live import View, to_reward
from tsmg import GameLawError

_MASK = "action_mask"
_SEEDS = 2**31  # engines in C take no larger seed
_ABSENT = "You are not in the game."

Infos = Mapping[Any, Mapping[str, Any]]
Fates = Mapping[Any, bool]


@final
@attrs.frozen(kw_only=True, eq=False)
class Zoo:
    """An environment, and how its texts, actions and chance are adapted.

    Attributes:
      make: makes a fresh environment.
      name: its name, for messages.
      ids: the environment's own id of each agent, in order.
      actions: the actions of each agent.
      observation_text: (agent, observation) -> text, where the caller passed one.
      curated_text: writes the curated text, if there is one.
      action_text: (environment without wrappers, id, action) -> curated name, if there is one.
      rendering: whether the environment's ansi rendering is read.
      prepare: restores an environment without wrappers before it is moved, if necessary.
      renew: gives an environment without wrappers fresh chance from a seed, if it is to have any.
    """

    make: Callable[[], RawEnv]
    name: str
    ids: Mapping[str, Hashable]
    actions: Mapping[str, Actions]
    observation_text: Callable[[str, Any], str] | None = None
    curated_text: Callable[[Seen], str] | None = None
    action_text: Callable[[RawEnv, Any, Any], str] | None = None
    rendering: bool = False
    prepare: Callable[[RawEnv], None] | None = None
    renew: Callable[[RawEnv, int], None] | None = None

    def make_ready(self, env: RawEnv, chance: int | None = None) -> None:
        """Prepare the environment for a reset, or for a step with its seed of chance."""
        if self.prepare is not None:
            self.prepare(env.unwrapped)
        if self.renew is not None and chance is not None:
            self.renew(env.unwrapped, chance)

    def present(self, env: RawEnv) -> dict[str, Hashable]:
        """Names and ids of the agents that are in the environment now.

        Raises:
          GameLawError: one of them is not among its possible agents.
        """
        strangers = [agent for agent in env.agents if str(agent) not in self.ids]
        if strangers:
            raise GameLawError(f"{self.name}: {strangers[0]!r} is not one of its possible agents")
        return {name: agent for name, agent in self.ids.items() if agent in env.agents}

    def paid(self, rewards: Mapping[Any, object]) -> NDArray[np.float64]:
        """The reward of every agent, 0 where the environment names none. Shape (N,), float64.

        Raises:
          GameLawError: a reward is not one finite number.
        """
        return np.array(
            [
                to_reward(rewards.get(id, 0.0), f"{self.name}: the reward of {name!r}")
                for name, id in self.ids.items()
            ]
        )

    def require(self, what: str, given: Mapping[Any, object], names: Iterable[str]) -> None:
        """Check that the environment gives each of these agents something.

        Raises:
          GameLawError: it gives one of them nothing, or ``None``.
        """
        for name in names:
            if given.get(self.ids[name]) is None:
                raise GameLawError(
                    f"{self.name}: the environment gives the living agent {name!r} no {what}"
                )


@final
class _Reader:
    """Turns what the environment shows into texts and legal actions."""

    def __init__(self, zoo: Zoo, env: RawEnv) -> None:
        self.zoo = zoo
        self.env = env
        self.seen: dict[str, Any] = {}
        self.texts = dict.fromkeys(zoo.ids, _ABSENT)

    def view(
        self,
        acting: tuple[str, ...],
        observations: Mapping[str, Any],
        infos: Infos,
        *,
        truncated: bool,
    ) -> View:
        """The view where these agents are to act; none of them once the episode is over."""
        legal = {a: self._legal(a, observations.get(a), infos) for a in acting}
        names = {a: self._names(a, actions) for a, actions in legal.items()}
        self.read(observations, names)
        return View(
            acting=acting,
            texts=dict(self.texts),
            legal=legal,
            over=not acting,
            truncated=not acting and truncated,
            observation=digest(self.seen),
            names=names,
        )

    def read(
        self, observations: Mapping[str, Any], names: Mapping[str, Mapping[Hashable, str]]
    ) -> None:
        """Update the texts from observations; an agent that is shown nothing, as the dead may be, keeps its text."""
        shown = {agent: seen for agent, seen in observations.items() if seen is not None}
        self.seen.update(shown)
        for agent, observation in shown.items():
            moves = tuple(names.get(agent, {}).values())
            self.texts[agent] = self._text(agent, observation, moves)

    def _text(self, agent: str, observation: Any, moves: tuple[str, ...]) -> str:
        zoo = self.zoo
        if zoo.observation_text is not None:
            return zoo.observation_text(agent, observation)
        if zoo.curated_text is not None:
            return zoo.curated_text(Seen(self.env.unwrapped, agent, observation, moves))
        if zoo.rendering:
            return f"{legible(str(self.env.render()))}\nYou are {agent}."
        space, shown = without_mask(self.env.observation_space(zoo.ids[agent]), observation)
        return spaces.text(space, spaces.checked(space, shown, f"{zoo.name}, {agent}"))

    def _legal(self, agent: str, observation: Any, infos: Infos) -> tuple[Hashable, ...] | None:
        actions = self.zoo.actions[agent]
        mask = observation.get(_MASK) if isinstance(observation, Mapping) else None
        if mask is None:
            mask = infos.get(self.zoo.ids[agent], {}).get(_MASK)
        if mask is None:
            return actions.values
        return masked(actions, mask, f"{self.zoo.name}, {agent}")

    def _names(self, agent: str, legal: tuple[Hashable, ...] | None) -> dict[Hashable, str]:
        if self.zoo.action_text is None or legal is None:
            return {}
        raw, id = self.env.unwrapped, self.zoo.ids[agent]
        return {action: self.zoo.action_text(raw, id, action) for action in legal}


def without_mask(space: Space[Any], observation: Any) -> tuple[Space[Any], Any]:
    """An observation and its space without the action mask; a single remaining part replaces the whole."""
    if not isinstance(observation, Mapping) or _MASK not in observation:
        return space, observation
    if not isinstance(space, Dict):
        return space, observation["observation"]
    parts = {name: part for name, part in space.spaces.items() if name != _MASK}
    if len(parts) == 1:
        ((name, part),) = parts.items()
        return part, observation[name]
    return Dict(parts), observation


@final
class TurnDriver:
    """Moves an environment whose agents act in turn.

    Dead agents (those that are terminated or truncated) are moved out at once, as the environment demands, so that only
    living agents act. Every step pays the rewards that the environment then reports, including to agents that do not
    act. A step of a dead agent that leaves the rewards unchanged pays nothing: they were counted before.
    """

    def __init__(self, zoo: Zoo) -> None:
        self.zoo = zoo
        self.env = zoo.make()
        self.reader = _Reader(zoo, self.env)

    def reset(self, seed: int) -> View:
        """Begin an episode."""
        self.zoo.make_ready(self.env)
        self.env.reset(seed=seed % _SEEDS)
        self.paid_N = np.zeros(len(self.zoo.ids))
        return self._view()

    def step(
        self, joint_action: Mapping[str, Hashable], chance: int
    ) -> tuple[View, tuple[float, ...]]:
        """One step of the agent whose turn it is, and the steps that move dead agents out."""
        self.zoo.make_ready(self.env, chance)
        ((agent, action),) = joint_action.items()
        living = self._living()
        self.env.step(self.zoo.actions[agent].native(action))
        self.paid_N = self._paid(living)
        return self._view(), tuple(self.paid_N.tolist())

    def _view(self) -> View:
        truncated = _is_truncated(self.env.terminations, self.env.truncations)
        if self._waits_for_the_dead():
            self.reader.read(self._observations(), {})
            self._move_the_dead_out()
        present = self.zoo.present(self.env)
        acting = tuple(name for name, id in present.items() if id == self.env.agent_selection)
        if present and not acting:
            raise GameLawError(
                f"{self.zoo.name}: it is the turn of {self.env.agent_selection!r}, which is not in the game"
            )
        return self.reader.view(acting, self._observations(), self.env.infos, truncated=truncated)

    def _living(self) -> tuple[str, ...]:
        dead = _dead(self.env.terminations, self.env.truncations)
        return tuple(name for name, id in self.zoo.present(self.env).items() if id not in dead)

    def _paid(self, living: tuple[str, ...]) -> NDArray[np.float64]:
        """What the environment pays now; an agent that lived before the step must have a reward unless it has gone."""
        present = self.zoo.present(self.env)
        self.zoo.require("reward", self.env.rewards, [name for name in living if name in present])
        return self.zoo.paid(self.env.rewards)

    def _observations(self) -> dict[str, Any]:
        present = self.zoo.present(self.env)
        observations = {id: self._observed(id) for id in present.values()}
        self.zoo.require("observation", observations, self._living())
        return {name: observations[id] for name, id in present.items()}

    def _observed(self, id: Hashable) -> Any:
        """The agent's observation; ``None`` where the environment keeps them by agent and has none."""
        try:
            return self.env.observe(id)
        except KeyError as error:
            if error.args != (id,):
                raise
            return None

    def _waits_for_the_dead(self) -> bool:
        agent = self.env.agent_selection
        return bool(self.env.agents) and bool(
            self.env.terminations.get(agent) or self.env.truncations.get(agent)
        )

    def _move_the_dead_out(self) -> None:
        """Step dead agents without an action.

        Raises:
          GameLawError: the step of a dead agent leaves it in the game.
        """
        while self._waits_for_the_dead():
            agent, before = self.env.agent_selection, dict(self.env.rewards)
            self.env.step(None)
            if agent in self.env.agents:
                raise GameLawError(f"{self.zoo.name}: {agent!r} is dead, but stays in the game")
            after = dict(self.env.rewards)
            if after != {other: before.get(other) for other in after}:
                self.paid_N = self.paid_N + self._paid(self._living())


@final
class ParallelDriver:
    """Moves an environment whose agents act together; dead agents are those that it terminates or truncates."""

    def __init__(self, zoo: Zoo) -> None:
        self.zoo = zoo
        self.env = zoo.make()
        self.reader = _Reader(zoo, self.env)

    def reset(self, seed: int) -> View:
        """Begin an episode."""
        self.zoo.make_ready(self.env)
        observations, infos = self.env.reset(seed=seed % _SEEDS)
        return self._view(observations, infos, {}, {})

    def step(
        self, joint_action: Mapping[str, Hashable], chance: int
    ) -> tuple[View, tuple[float, ...]]:
        """One step of all living agents."""
        self.zoo.make_ready(self.env, chance)
        actions = {
            self.zoo.ids[agent]: self.zoo.actions[agent].native(action)
            for agent, action in joint_action.items()
        }
        observations, rewards, terminations, truncations, infos = self.env.step(actions)
        self.zoo.require("reward", rewards, joint_action)
        view = self._view(observations, infos, terminations, truncations)
        return view, tuple(self.zoo.paid(rewards).tolist())

    def _view(
        self,
        observations: Mapping[Hashable, object],
        infos: Infos,
        terminations: Fates,
        truncations: Fates,
    ) -> View:
        dead = _dead(terminations, truncations)
        acting = tuple(name for name, id in self.zoo.present(self.env).items() if id not in dead)
        self.zoo.require("observation", observations, acting)
        named = {name: observations[id] for name, id in self.zoo.ids.items() if id in observations}
        truncated = _is_truncated(terminations, truncations)
        return self.reader.view(acting, named, infos, truncated=truncated)


def _dead(terminations: Fates, truncations: Fates) -> set[Hashable]:
    """The ids of the agents whose episode is over."""
    return {id for fates in (terminations, truncations) for id, over in fates.items() if over}


def _is_truncated(terminations: Fates, truncations: Fates) -> bool:
    """Whether an agent was cut off, and did not come to its own end at the same step."""
    return any(over and not terminations.get(id) for id, over in truncations.items())
