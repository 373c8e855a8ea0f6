"""The spaces of an exported environment, and the values in them: texts, action texts and action masks."""

import graphlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, final

import attrs
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from games.adapters.any_text import AnyText
from games.exports.shown import Pay, ShownMatch
from tsmg import (
    AnyGame,
    Episode,
    EpisodeKey,
    EpisodeSpec,
    GameLawError,
    InvalidArgumentError,
    PlayerPolicy,
    UniformPlayer,
    play,
    step_limit,
)

AnySpace: TypeAlias = spaces.Space[Any]
ActionView = Literal["text", "index"]
ObservationView = Literal["text", "dict"]
ActionTexts = Sequence[str] | Mapping[str, Sequence[str]]

LONGEST_TEXT = 4000
_UNPAID = Pay()
_TRIALS = 64


@final
@attrs.frozen(kw_only=True)
class View:
    """What an environment shows, and which actions it takes.

    Attributes:
      game: the game.
      observations: ``"text"``, or ``"dict"`` for text, its bytes, and the action mask if there is one.
      max_length: the greatest length of a text (in characters) and of its bytes.
      action_texts: the action texts of each agent's indices; ``None`` if actions are texts.
      is_complete: whether an action without an index is an error; otherwise such actions are left out.
      render_mode: ``"ansi"``, or ``None``.
    """

    game: AnyGame
    observations: ObservationView
    max_length: int
    action_texts: Mapping[str, tuple[str, ...]] | None
    is_complete: bool
    render_mode: str | None

    @classmethod
    def of(
        cls,
        game: AnyGame,
        *,
        actions: ActionView,
        observations: ObservationView | None,
        action_texts: ActionTexts | None,
        max_length: int,
        render_mode: str | None,
    ) -> "View":
        """The view of these arguments, which are checked.

        Raises:
          InvalidArgumentError: an unknown name, a length below 1, indices without texts, or a game without a limit on
            its length.
        """
        step_limit(game)
        _check("actions", actions, ("text", "index"))
        _check("observations", observations, ("text", "dict", None))
        _check("render_mode", render_mode, ("ansi", None))
        if max_length < 1:
            raise InvalidArgumentError(f"'max_length' must be at least 1 (got {max_length})")
        if action_texts is not None and actions == "text":
            raise InvalidArgumentError("'action_texts' must be left out where actions are texts")
        return cls(
            game=game,
            observations=observations or ("dict" if actions == "index" else "text"),
            max_length=max_length,
            action_texts=_texts(game, action_texts) if actions == "index" else None,
            is_complete=action_texts is None,
            render_mode=render_mode,
        )

    def action_space(self, agent: str) -> AnySpace:
        """A new space of the agent's actions."""
        if self.action_texts is None:
            return AnyText(self.max_length)
        return spaces.Discrete(len(self.action_texts[agent]))

    def observation_space(self, agent: str) -> AnySpace:
        """A new space of the agent's observations."""
        text = AnyText(self.max_length)
        if self.observations == "text":
            return text
        parts: dict[str, AnySpace] = {
            "observation": spaces.Box(0, 255, (self.max_length,), np.uint8),
            "text": text,
        }
        if self.action_texts is not None:
            parts["action_mask"] = spaces.Box(0, 1, (len(self.action_texts[agent]),), np.int8)
        return spaces.Dict(parts)

    def text(self, agent: str, action: Any) -> str:
        """The text of an action.

        Raises:
          InvalidArgumentError: the action is not a text, or not an index.
        """
        if self.action_texts is None:
            if not isinstance(action, str):
                raise InvalidArgumentError(f"'action' of {agent!r} must be a text (got {action!r})")
            return action
        texts = self.action_texts[agent]
        if isinstance(action, np.ndarray) and action.shape == ():
            action = action.item()
        if not isinstance(action, int | np.integer) or not 0 <= action < len(texts):
            raise InvalidArgumentError(
                f"'action' of {agent!r} must be an index below {len(texts)} (got {action!r})"
            )
        return texts[int(action)]

    def observation(self, match: ShownMatch, agent: str) -> Any:
        """The agent's observation: its text, and the feedback of the invalid rule."""
        shown = match.text(agent)
        if self.observations == "text":
            return shown
        observation: dict[str, Any] = {"observation": self._bytes(shown), "text": shown}
        if self.action_texts is not None:
            observation["action_mask"] = self._mask(match, agent, self.action_texts[agent])
        return observation

    def info(self, match: ShownMatch, agent: str, pay: Pay = _UNPAID) -> dict[str, Any]:
        """Reward and penalty separately, the outcome of the agent's last text, the ending, and the legal actions."""
        kind = match.last_kind(agent)
        info: dict[str, Any] = {
            "reward": pay.reward,
            "penalty": pay.penalty,
            "outcome": kind.value if kind else None,
            "ending": match.ending.value if match.ending else None,
            "legal_texts": match.legal_texts(agent),
        }
        if self.action_texts is not None:
            info["action_mask"] = self._mask(match, agent, self.action_texts[agent])
        return info

    def _bytes(self, text: str) -> NDArray[np.uint8]:
        data = text.encode(errors="replace")[: self.max_length]
        padded = np.zeros(self.max_length, np.uint8)
        padded[: len(data)] = np.frombuffer(data, np.uint8)
        return padded

    def _mask(self, match: ShownMatch, agent: str, texts: tuple[str, ...]) -> NDArray[np.int8]:
        legal = set(match.legal_texts(agent) or ())
        unknown = legal - set(texts)
        if unknown and self.is_complete:
            raise GameLawError(
                f"{self.game.name}: 'action_texts' must be given, with all of {agent!r}'s actions; "
                f"trial play did not find {sorted(unknown)}"
            )
        return np.array([text in legal for text in texts], np.int8)


def _check(name: str, value: object, allowed: tuple[str | None, ...]) -> None:
    if value not in allowed:
        raise InvalidArgumentError(f"{name!r} must be one of {allowed} (got {value!r})")


def _texts(game: AnyGame, given: ActionTexts | None) -> Mapping[str, tuple[str, ...]]:
    """The action texts of each agent's indices."""
    if given is None:
        texts = _tried(game)
    elif isinstance(given, Mapping):
        texts = {agent: tuple(given.get(agent, ())) for agent in game.agents}
    else:
        texts = dict.fromkeys(game.agents, tuple(given))
    for agent, own in texts.items():
        if not own or len(set(own)) != len(own):
            raise InvalidArgumentError(
                f"'action_texts' must be different texts for {agent!r}, at least one (got {own})"
            )
    return texts


def _tried(game: AnyGame) -> Mapping[str, tuple[str, ...]]:
    """The canonical texts that occur in uniform trial play, the same in every run.

    Raises:
      InvalidArgumentError: the game does not list its actions, or trial play failed.
    """
    policy = PlayerPolicy(game, UniformPlayer(game))
    before: dict[str, dict[str, dict[str, None]]] = {agent: {} for agent in game.agents}
    try:
        records = play(game, policy, [EpisodeSpec(key=EpisodeKey(seed=s)) for s in range(_TRIALS)])
    except GameLawError as error:
        raise InvalidArgumentError(f"'action_texts' must be given: {error}") from error
    for record in records:
        if not isinstance(record, Episode):
            raise InvalidArgumentError(f"'action_texts' must be given: {record.error}")
        for step in record.steps:
            for agent_step in step.agent_steps:
                agent, state = agent_step.agent, step.state.state
                legal = game.legal_actions(state, agent) or ()
                texts = [game.action_text(state, agent, action) for action in legal]
                for text in texts:
                    before[agent].setdefault(text, {})
                for earlier, later in itertools.pairwise(texts):
                    before[agent][later][earlier] = None
    return {agent: _ordered(known) for agent, known in before.items()}


def _ordered(before: Mapping[str, Mapping[str, None]]) -> tuple[str, ...]:
    """An order that agrees with every observed order of the game's actions; if there is none, that of occurrence."""
    try:
        return tuple(graphlib.TopologicalSorter(before).static_order())
    except graphlib.CycleError:
        return tuple(before)
