"""Games as Gymnasium environments: one agent learns, and policies or scripted players play the others."""

from collections.abc import Mapping
from typing import Any, final

import gymnasium

from games.exports.shown import ShownMatch, begun, drawn
from games.exports.views import (
    LONGEST_TEXT,
    ActionTexts,
    ActionView,
    ObservationView,
    View,
)
from tsmg import (
    AbstractPlayer,
    ActionText,
    AgentPolicy,
    AnyGame,
    AnyPlayer,
    InvalidArgumentError,
    PlayerPolicy,
    Reply,
)

Opponent = AnyPlayer | AgentPolicy


def to_gymnasium(
    game: AnyGame,
    agent: str | None = None,
    opponents: Opponent | Mapping[str, Opponent] | None = None,
    *,
    actions: ActionView = "text",
    observations: ObservationView | None = None,
    action_texts: ActionTexts | None = None,
    max_length: int = LONGEST_TEXT,
    render_mode: str | None = None,
) -> "GymnasiumGame":
    """A game as a Gymnasium environment.

    Args:
      game: the game; it needs a horizon or a declared longest game.
      agent: name of the agent that learns; may be left out if there is only one.
      opponents: the policy or scripted player of all other agents, or one per agent.
      actions: ``"text"`` (any string, read by the game, with its invalid rule) or ``"index"`` (of an action text).
      observations: ``"text"``, or ``"dict"`` with keys ``observation`` (bytes), ``text`` and, for indices,
        ``action_mask``; by default a dict for indices, and text otherwise.
      action_texts: the action texts of the indices, for all agents or per agent; the agent has only these actions.
        By default they are found by trial play.
      max_length: the greatest length of a text of the spaces.
      render_mode: ``"ansi"`` to render the text; or ``None``.

    Raises:
      InvalidArgumentError: the agent or an opponent is missing or unknown, or a view is impossible.
    """
    if agent is None and len(game.agents) == 1:
        (agent,) = game.agents
    if agent not in game.agents:
        raise InvalidArgumentError(f"'agent' must be one of {game.agents} (got {agent!r})")
    view = View.of(
        game,
        actions=actions,
        observations=observations,
        action_texts=action_texts,
        max_length=max_length,
        render_mode=render_mode,
    )
    return GymnasiumGame(view=view, agent=agent, policies=_policies(game, agent, opponents))


def _policies(
    game: AnyGame,
    agent: str,
    opponents: Opponent | Mapping[str, Opponent] | None,
) -> Mapping[str, AgentPolicy]:
    others = [other for other in game.agents if other != agent]
    given: Mapping[str, Opponent | None] = (
        opponents if isinstance(opponents, Mapping) else dict.fromkeys(others, opponents)
    )
    if set(given) != set(others) or None in given.values():
        raise InvalidArgumentError(
            f"'opponents' must play each of {others}, for example tsmg.UniformPlayer(game) (got {opponents!r})"
        )
    return {
        other: PlayerPolicy(game, player) if isinstance(player, AbstractPlayer) else player
        for other, player in given.items()
        if player is not None
    }


def _open_masks(*values: Any) -> None:
    """Allow every action: a learner cannot choose where none is allowed."""
    for value in values:
        if isinstance(value, dict) and "action_mask" in value:
            value["action_mask"][:] = 1


@final
class GymnasiumGame(gymnasium.Env[Any, Any]):
    """A game as one agent plays it; ``metadata["rules"]`` has the rules that it reads.

    Rewards before the agent's first turn count at its first step. If the game is over before that turn, ``reset`` shows
    its end (``info["ending"]``), and the first step ends the episode whatever the action.

    Args:
      view: the spaces and their values.
      agent: name of the agent that learns.
      policies: the policies of the other agents.
    """

    def __init__(self, *, view: View, agent: str, policies: Mapping[str, AgentPolicy]) -> None:
        self.metadata = {
            "render_modes": ["ansi"],
            "render_fps": 1,
            "rules": view.game.rules_text(agent),
        }
        self.agent = agent
        self.render_mode = view.render_mode
        self.action_space = view.action_space(agent)
        self.observation_space = view.observation_space(agent)
        self._view = view
        self._policies = policies
        self._match: ShownMatch | None = None
        self._is_done = True

    @property
    def is_out(self) -> bool:
        """Whether the agent no longer acts in this episode, perhaps already before its first turn."""
        return begun(self._match).is_out(self.agent)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        game_seed = drawn(self.np_random) if seed is None else int(seed)
        self._match = match = ShownMatch(self._view.game, game_seed)
        self._is_done = False
        self._play_others(match)
        observation = self._view.observation(match, self.agent)
        info = self._view.info(match, self.agent)
        if match.is_out(self.agent):
            _open_masks(observation, info)
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        match = begun(None if self._is_done else self._match)
        text = self._view.text(self.agent, action)
        if self.agent in match.acting:
            match.move(
                {
                    **self._replies(match),
                    self.agent: Reply(text=text, parser_outcome=ActionText(text)),
                }
            )
            self._play_others(match)
        pay = match.collect()[self.agent]
        terminated, truncated = match.fate(self.agent)
        self._is_done = terminated or truncated
        return (
            self._view.observation(match, self.agent),
            pay.total,
            terminated,
            truncated,
            self._view.info(match, self.agent, pay),
        )

    def render(self) -> Any:
        return begun(self._match).text(self.agent) if self.render_mode else None

    def _play_others(self, match: ShownMatch) -> None:
        """Let the other agents play until the agent must act or has left the game."""
        while self.agent not in match.acting and not match.is_out(self.agent):
            match.move(self._replies(match))

    def _replies(self, match: ShownMatch) -> dict[str, Reply]:
        others = [other for other in match.acting if other != self.agent]
        return {other: self._policies[other].reply([match.request(other)])[0] for other in others}
