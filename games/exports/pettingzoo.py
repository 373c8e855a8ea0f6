"""Games as PettingZoo environments: agent by agent (AEC), or all agents at once (parallel)."""

from collections.abc import Mapping
from typing import Any, final

import pettingzoo

from games.exports.shown import Matches, ShownMatch, begun
from games.exports.views import (
    LONGEST_TEXT,
    ActionTexts,
    ActionView,
    AnySpace,
    ObservationView,
    View,
)
from tsmg import (
    ActionText,
    AnyGame,
    InvalidArgumentError,
    Reply,
)


def to_pettingzoo(
    game: AnyGame,
    *,
    actions: ActionView = "text",
    observations: ObservationView | None = None,
    action_texts: ActionTexts | None = None,
    max_length: int = LONGEST_TEXT,
    render_mode: str | None = None,
) -> "pettingzoo.AECEnv[str, Any, Any]":
    """A game as a PettingZoo environment that asks one agent after the other.

    If several agents act at once, they are asked in turn, none sees the others' actions, and the game moves after the
    last one.

    Args:
      game: the game; it needs a horizon or a declared longest game.
      actions: ``"text"`` (any string, read by the game, with its invalid rule) or ``"index"`` (of an action text).
      observations: ``"text"``, or ``"dict"`` with keys ``observation`` (bytes), ``text`` and, for indices,
        ``action_mask``; by default a dict for indices, and text otherwise.
      action_texts: the action texts of the indices, for all agents or per agent; an agent has only these actions.
        By default they are found by trial play.
      max_length: the greatest length of a text of the spaces.
      render_mode: ``"ansi"`` to render the text of the agent that is asked; or ``None``.

    Raises:
      InvalidArgumentError: a view is impossible, or the game has no limit on its length.
    """
    view = View.of(
        game,
        actions=actions,
        observations=observations,
        action_texts=action_texts,
        max_length=max_length,
        render_mode=render_mode,
    )
    return AECGame(view)


def to_pettingzoo_parallel(
    game: AnyGame,
    *,
    actions: ActionView = "text",
    observations: ObservationView | None = None,
    action_texts: ActionTexts | None = None,
    max_length: int = LONGEST_TEXT,
    render_mode: str | None = None,
) -> "pettingzoo.ParallelEnv[str, Any, Any]":
    """A game as a PettingZoo environment that takes the actions of all agents at once.

    The actions of agents that do not act are ignored, so that turn-based games can be played, too.

    Args:
      game: the game; it needs a horizon or a declared longest game.
      actions: as for ``to_pettingzoo``.
      observations: as for ``to_pettingzoo``.
      action_texts: as for ``to_pettingzoo``.
      max_length: as for ``to_pettingzoo``.
      render_mode: ``"ansi"`` to render the texts of all agents; or ``None``.

    Raises:
      InvalidArgumentError: a view is impossible, or the game has no limit on its length.
    """
    view = View.of(
        game,
        actions=actions,
        observations=observations,
        action_texts=action_texts,
        max_length=max_length,
        render_mode=render_mode,
    )
    return ParallelGame(view)


class _Shown:
    """The common part of both kinds of environment: agents, spaces and the match that is played.

    ``metadata["rules"]`` has the rules that each agent reads.

    Args:
      view: the spaces and their values.
    """

    def __init__(self, view: View) -> None:
        self.metadata = {
            "name": view.game.name,
            "render_modes": ["ansi"],
            "is_parallelizable": False,
            "rules": {agent: view.game.rules_text(agent) for agent in view.game.agents},
        }
        self.render_mode = view.render_mode
        self.possible_agents = list(view.game.agents)
        self.agents: list[str] = []
        self.observation_spaces = {a: view.observation_space(a) for a in view.game.agents}
        self.action_spaces = {a: view.action_space(a) for a in view.game.agents}
        self._view = view
        self._matches = Matches(view.game)
        self._match: ShownMatch | None = None

    def observation_space(self, agent: str) -> AnySpace:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> AnySpace:
        return self.action_spaces[agent]

    def close(self) -> None:
        self._match = None
        self.agents = []


@final
class AECGame(_Shown, pettingzoo.AECEnv[str, Any, Any]):  # type: ignore[misc]
    """A game that asks one agent after the other.

    Args:
      view: the spaces and their values.
    """

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self._replies: dict[str, Reply] = {}

    def observe(self, agent: str) -> Any:
        return self._view.observation(begun(self._match), agent)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        self._match = match = self._matches.new(seed)
        self._replies = {}
        self.agents = list(self.possible_agents)
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.infos = {agent: self._view.info(match, agent) for agent in self.agents}
        self._update(match)

    def step(self, action: Any) -> None:
        match = begun(self._match if self.agents else None)
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        text = self._view.text(agent, action)
        self._replies[agent] = Reply(text=text, parser_outcome=ActionText(text))
        self._clear_rewards()
        self._cumulative_rewards[agent] = 0.0
        if len(self._replies) == len(match.acting):
            self._move(match)
        self._update(match)

    def _move(self, match: ShownMatch) -> None:
        match.move(self._replies)
        self._replies = {}
        pay = match.collect()
        self.rewards = {agent: pay[agent].total for agent in self.agents}
        self.infos = {agent: self._view.info(match, agent, pay[agent]) for agent in self.agents}
        self._accumulate_rewards()

    def _update(self, match: ShownMatch) -> None:
        """Update the agents that have left the game, and the agent that is asked next."""
        fates = {agent: match.fate(agent) for agent in self.agents}
        self.terminations = {agent: terminated for agent, (terminated, _) in fates.items()}
        self.truncations = {agent: truncated for agent, (_, truncated) in fates.items()}
        waiting = (agent for agent in match.acting if agent not in self._replies)
        self.agent_selection = next(waiting, self.agents[0])
        self._deads_step_first()

    def render(self) -> Any:
        match = begun(self._match)
        return match.text(self.agent_selection) if self.render_mode else None


@final
class ParallelGame(_Shown, pettingzoo.ParallelEnv[str, Any, Any]):  # type: ignore[misc]
    """A game that takes the actions of all agents at once.

    Args:
      view: the spaces and their values.
    """

    def __init__(self, view: View) -> None:
        super().__init__(view)

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        self._match = match = self._matches.new(seed)
        self.agents = list(self.possible_agents)
        view = self._view
        observations = {agent: view.observation(match, agent) for agent in self.agents}
        return observations, {agent: view.info(match, agent) for agent in self.agents}

    def step(
        self, actions: Mapping[str, Any]
    ) -> tuple[
        dict[str, Any],
        dict[str, float],
        dict[str, bool],
        dict[str, bool],
        dict[str, dict[str, Any]],
    ]:
        match, agents, view = begun(self._match if self.agents else None), self.agents, self._view
        if match.acting:
            match.move(self._replies(match, actions))
        pay = match.collect()
        fates = {agent: match.fate(agent) for agent in agents}
        self.agents = [agent for agent in agents if not any(fates[agent])]
        return (
            {agent: view.observation(match, agent) for agent in agents},
            {agent: pay[agent].total for agent in agents},
            {agent: terminated for agent, (terminated, _) in fates.items()},
            {agent: truncated for agent, (_, truncated) in fates.items()},
            {agent: view.info(match, agent, pay[agent]) for agent in agents},
        )

    def _replies(self, match: ShownMatch, actions: Mapping[str, Any]) -> dict[str, Reply]:
        missing = [agent for agent in match.acting if agent not in actions]
        if missing:
            raise InvalidArgumentError(
                f"'actions' must have one for each who acts (missing {missing})"
            )
        texts = {agent: self._view.text(agent, actions[agent]) for agent in match.acting}
        return {
            agent: Reply(text=text, parser_outcome=ActionText(text))
            for agent, text in texts.items()
        }

    def render(self) -> Any:
        match = begun(self._match)
        shown = (f"{agent}:\n{match.text(agent)}" for agent in self.possible_agents)
        return "\n\n".join(shown) if self.render_mode else None
