"""One episode of a game, moved by replies from outside: what all exported environments share.

The runner asks policies for replies; an environment is told them. Both move a ``tsmg.Match``, so the episode is the
one that ``tsmg.play`` records for the same key and texts.
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
    """What an agent was paid, undiscounted: by the game, and by the invalid rule (at most 0)."""

    reward: float = 0.0
    penalty: float = 0.0

    @property
    def total(self) -> float:
        """Both together."""
        return self.reward + self.penalty


@final
class ShownMatch:
    """A match as an environment shows it: what is due to each agent, whose part is over, what is legal.

    Chance that moves alone is passed over: after a move somebody acts, or the match is over.

    Args:
      game: what is played; it needs a horizon or a declared longest game.
      seed: fixes the start and all chance, as ``EpisodeKey(seed=seed)`` does for ``tsmg.play``.

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
        """Who must reply now; nobody once the match is over."""
        return self._match.acting

    @property
    def ending(self) -> Ending | None:
        """How the match ended; ``None`` while it goes on."""
        return self._match.ending

    def is_out(self, agent: str) -> bool:
        """Whether the agent's part is over: the match is, or the game says that it is out."""
        return self.ending is not None or self.game.is_out(self.state, agent)

    def last_kind(self, agent: str) -> OutcomeKind | None:
        """How the agent's last text was read; ``None`` before its first."""
        return self._match.state.last_N[self.game.agents.index(agent)]

    def fate(self, agent: str) -> tuple[bool, bool]:
        """Whether the agent's part is terminated (a forfeit is), and whether it is truncated."""
        truncated = self.ending is Ending.TRUNCATED and not self.game.is_out(self.state, agent)
        return self.is_out(agent) and not truncated, truncated

    def legal_texts(self, agent: str) -> tuple[str, ...] | None:
        """The canonical texts of what the agent may do now; ``None`` where they are not listed."""
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
        """What a policy is asked in the place of an acting agent."""
        return next(r for r in self._match.requests if r.history.agent == agent)

    def move(self, replies: Mapping[str, Reply]) -> None:
        """Carry out the replies of all acting agents, and what chance does alone after them.

        Raises:
          GameLawError: the replies are not those of the acting agents.
        """
        self._carry_out(replies)
        self._settle()

    def collect(self) -> Mapping[str, Pay]:
        """What each agent was paid since this was last asked."""
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
    """Deals the matches of a multi-agent environment: a seed fixes its match and all later ones without a seed.

    Args:
      game: what is played.
    """

    def __init__(self, game: AnyGame) -> None:
        self._game = game
        self._np_random: np.random.Generator | None = None

    def deal(self, seed: int | None) -> ShownMatch:
        """A new match; from the seed, or from the environment's own generator if there is none."""
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
