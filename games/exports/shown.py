"""One episode of a game, moved by replies from outside: the common part of all exported environments.

The runner asks policies for replies; an environment receives them. Both move a ``tsmg.Match``, so that the episode is
the one that ``tsmg.play`` records for the same key and texts.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, final

import gymnasium
import numpy as np
from gymnasium.utils import seeding

from tsmg import (
    AnyGame,
    Ending,
    EpisodeKey,
    EpisodeSpec,
    Match,
    OutcomeKind,
    Reply,
    Request,
)

_SEEDS = 2**63


class Pay(NamedTuple):
    """What an agent received, undiscounted.

    Attributes:
      reward: of the game.
      penalty: of the invalid rule; at most 0.
    """

    reward: float = 0.0
    penalty: float = 0.0

    @property
    def total(self) -> float:
        """Reward and penalty together."""
        return self.reward + self.penalty


@final
class ShownMatch:
    """A match as an environment shows it: the pay of each agent, the agents that have left, the legal texts.

    Steps at which only chance moves are carried out at once: after a move an agent acts, or the match is over.

    Args:
      game: the game; it needs a horizon or a declared longest game.
      seed: the seed of the start and of all chance, as ``EpisodeKey(seed=seed)`` does for ``tsmg.play``.

    Raises:
      InvalidArgumentError: there is no limit on the length of an episode.
    """

    def __init__(self, game: AnyGame, seed: int) -> None:
        self.game = game
        self._match = Match.begin(game, EpisodeSpec(key=EpisodeKey(seed=seed)))
        self._due = dict.fromkeys(game.agents, Pay())
        self._legal_texts: dict[str, tuple[str, ...] | None] = {}
        self._settle()

    @property
    def state(self) -> Any:
        """The game's own state."""
        return self._match.state.state

    @property
    def acting(self) -> tuple[str, ...]:
        """The agents that must reply now; none once the match is over."""
        return self._match.acting

    @property
    def ending(self) -> Ending | None:
        """How the match ended; ``None`` while it continues."""
        return self._match.ending

    def is_out(self, agent: str) -> bool:
        """Whether the match is over, or the agent has left the game."""
        return self.ending is not None or self.game.is_out(self.state, agent)

    def last_kind(self, agent: str) -> OutcomeKind | None:
        """The outcome of the agent's last text; ``None`` before its first text."""
        return self._match.state.last_N[self.game.agents.index(agent)]

    def fate(self, agent: str) -> tuple[bool, bool]:
        """Whether the agent's episode is terminated (also by a forfeit), and whether it is truncated."""
        truncated = self.ending is Ending.TRUNCATED and not self.game.is_out(self.state, agent)
        return self.is_out(agent) and not truncated, truncated

    def legal_texts(self, agent: str) -> tuple[str, ...] | None:
        """The canonical texts of the agent's legal actions; ``None`` if they are not listed."""
        if agent not in self._legal_texts:
            self._legal_texts[agent] = self._find_legal_texts(agent)
        return self._legal_texts[agent]

    def _find_legal_texts(self, agent: str) -> tuple[str, ...] | None:
        if agent not in self.acting:
            return ()
        legal = self.game.legal_actions(self.state, agent)
        if legal is None:
            return None
        return tuple(self.game.action_text(self.state, agent, action) for action in legal)

    def text(self, agent: str) -> str:
        """The agent's observation, and the invalid rule's feedback on a line of its own."""
        observation = self._match.observation(agent)
        return "\n".join(filter(None, (observation.text, observation.feedback)))

    def request(self, agent: str) -> Request:
        """The request to an acting agent."""
        return next(r for r in self._match.requests if r.history.agent == agent)

    def move(self, replies: Mapping[str, Reply]) -> None:
        """Carry out the replies of all acting agents, and the following steps of chance.

        Raises:
          GameLawError: the replies are not those of the acting agents.
        """
        self._carry_out(replies)
        self._settle()

    def collect(self) -> Mapping[str, Pay]:
        """The pay of each agent since the last call."""
        due, self._due = self._due, dict.fromkeys(self.game.agents, Pay())
        return due

    def _carry_out(self, replies: Mapping[str, Reply]) -> None:
        self._match = self._match.move(replies)
        step = self._match.steps[-1]
        paid_N = zip(step.rewards_N, step.penalties_N, strict=True)
        for agent, (reward, penalty) in zip(self.game.agents, paid_N, strict=True):
            due = self._due[agent]
            self._due[agent] = Pay(due.reward + reward, due.penalty + penalty)
        self._legal_texts = {}

    def _settle(self) -> None:
        while not self.ending and not self.acting:
            self._carry_out({})


@final
class Matches:
    """Makes the matches of a multi-agent environment: a seed fixes its match and all later ones without a seed.

    Args:
      game: the game.
    """

    def __init__(self, game: AnyGame) -> None:
        self._game = game
        self._np_random: np.random.Generator | None = None

    def new(self, seed: int | None) -> ShownMatch:
        """A new match, from the seed, or from the environment's own generator without one."""
        if seed is not None or self._np_random is None:
            self._np_random, _ = seeding.np_random(seed)
        return ShownMatch(self._game, drawn(self._np_random) if seed is None else int(seed))


def drawn(np_random: np.random.Generator) -> int:
    """A fresh seed from an environment's own generator."""
    return int(np_random.integers(_SEEDS))


def begun(match: ShownMatch | None) -> ShownMatch:
    """The match that is being played.

    Raises:
      ResetNeeded: there is none.
    """
    if match is None:
        raise gymnasium.error.ResetNeeded("call 'reset' before anything else")
    return match
