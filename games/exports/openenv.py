"""Games as OpenEnv servers: a web application that plays an episode with each client."""

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from games.exports.conversation import Conversation, opening
from games.exports.gymnasium import Opponent
from games.exports.shown import drawn
from tsmg import AnyGame, MissingPackageError

_SERVER = "openenv.core.env_server"


def to_openenv(
    game: AnyGame,
    agent: str | None = None,
    opponents: Opponent | Mapping[str, Opponent] | None = None,
    *,
    sessions: int = 64,
    seed: int | None = None,
) -> Any:
    """The application of an OpenEnv server, for an ASGI server such as uvicorn.

    An action has the field ``text``. An observation has, besides OpenEnv's ``done`` and ``reward`` (penalties
    included): ``text`` (the first one of an episode begins with the rules), ``legal_texts`` (canonical texts of the
    legal actions; none at the end; ``None`` if the game does not list them), ``outcome`` (``parsed``, ``illegal`` or
    ``malformed``: how the last text was read) and ``ending`` (``terminated``, ``truncated`` or ``forfeited``), ``None``
    where there is none yet.

    Args:
      game: the game; it needs a horizon or a declared longest game.
      agent: name of the agent that clients play; may be left out if there is only one.
      opponents: the policy or scripted player of all other agents, or one per agent.
      sessions: the greatest number of clients at once.
      seed: fixes the episodes that a client begins without a seed; unless given, they differ in each process.

    Raises:
      MissingPackageError: OpenEnv is not installed.
      InvalidArgumentError: the agent or an opponent is missing or unknown.
    """
    try:
        server, interfaces, kinds = (
            importlib.import_module(f"{_SERVER}.{name}")
            for name in ("http_server", "interfaces", "types")
        )
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "to_openenv needs OpenEnv, an optional package: pip install openenv-core"
        ) from error
    Conversation(game, agent, opponents)  # refused here, not at the first client
    action = type("TextAction", (kinds.Action,), _model(text=str))
    seen = {"legal_texts": list[str] | None, "outcome": str | None, "ending": str | None}
    observation = type("TextObservation", (kinds.Observation,), _model(text=str, **seen))
    served = type("OpenEnvGame", (ServedGame, interfaces.Environment), {"kinds": kinds})
    seeds = np.random.default_rng(seed)
    return server.create_fastapi_app(
        lambda: served(game.name, Conversation(game, agent, opponents), observation, seeds),
        action,
        observation,
        max_concurrent_envs=sessions,
    )


def _model(**fields: object) -> dict[str, Any]:
    """The namespace of a pydantic class with these fields; each that may be ``None`` is ``None`` by default."""
    optional = {name: None for name, kind in fields.items() if kind is not str}
    return {"__module__": __name__, "__annotations__": fields, **optional}


class ServedGame:
    """The behaviour of an OpenEnv environment for one client; a server derives a class of OpenEnv's from it.

    Args:
      name: of the game.
      conversation: the agent's conversation with the game.
      observation: the class of observations.
      seeds: where the seeds of episodes without one come from.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True
    kinds: Any
    """OpenEnv's own classes of states and metadata."""

    def __init__(
        self, name: str, conversation: Conversation, observation: Any, seeds: np.random.Generator
    ) -> None:
        super().__init__()
        self._name = name
        self._conversation = conversation
        self._observation = observation
        self._seeds = seeds
        self._state = self.kinds.State()

    def reset(self, seed: int | None = None, episode_id: str | None = None, **other: Any) -> Any:
        """Begin an episode.

        Args:
          seed: fixes the start and all chance; a new one each time unless given.
          episode_id: what the client calls the episode.
          **other: what else a client may send; it does not matter.

        Returns:
          The rules and the first observation.
        """
        text = self._conversation.begin(drawn(self._seeds) if seed is None else seed)
        self._state = self.kinds.State(episode_id=episode_id, step_count=0)
        reward = self._conversation.episode_return if self._conversation.is_over else None
        return self._seen(opening(self._conversation.rules, text), reward=reward)

    def step(self, action: Any, timeout_s: float | None = None, **other: Any) -> Any:
        """Carry out the agent's text; after the end nothing changes.

        Args:
          action: what it says, as ``text``.
          timeout_s: a limit that OpenEnv knows; a step is too short for it.
          **other: what else a client may send; it does not matter.

        Returns:
          What follows it.
        """
        talk = self._conversation
        before = talk.episode_return
        text = talk.say(action.text)
        self._state = self.kinds.State(episode_id=self._state.episode_id, step_count=talk.texts)
        return self._seen(text, reward=talk.episode_return - before)

    @property
    def state(self) -> Any:
        """The episode's name, and the number of texts in it."""
        return self._state

    def get_metadata(self) -> Any:
        """The name of the game, and its rules."""
        return self.kinds.EnvironmentMetadata(name=self._name, description=self._conversation.rules)

    def _seen(self, text: str, *, reward: float | None) -> Any:
        info = self._conversation.info
        legal = info.get("legal_texts")
        return self._observation(
            text=text,
            legal_texts=None if legal is None else list(legal),
            outcome=info.get("outcome"),
            ending=info.get("ending"),
            done=self._conversation.is_over,
            reward=reward,
        )
