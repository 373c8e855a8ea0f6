"""One episode of a game, moved by replies from outside: what all exported environments share.

The runner asks policies for replies; an environment is told them. Both play the closed game with the same streams, so
that a match and the episode that ``tsmg.play`` records for the same key and texts are the same.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, final

import gymnasium
import numpy as np
from gymnasium.utils import seeding

from tsmg import (
    AbstractGame,
    ClosedGame,
    Ending,
    EpisodeKey,
    GameLawError,
    History,
    Observation,
    OutcomeKind,
    Purpose,
    Reply,
    Request,
    Turn,
    draw_start,
    step_limit,
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
class Match:
    """An episode while it is played; used once.

    Args:
      game: what is played; it needs a horizon or a declared longest game.
      seed: fixes the start and all chance, as ``EpisodeKey(seed=seed)`` does for ``tsmg.play``.

    Raises:
      InvalidArgumentError: there is no limit on the length of an episode.
    """

    def __init__(self, game: AbstractGame[Any, Any], seed: int) -> None:
        self.game = game
        self.key = EpisodeKey(seed=seed)
        self.t = 0
        self.ending: Ending | None = None
        self._closed = ClosedGame(game)
        self._limit = step_limit(game)
        self._state = draw_start(game, self.key).state
        self._turns: dict[str, tuple[Turn, ...]] = dict.fromkeys(game.agents, ())
        self._due = dict.fromkeys(game.agents, Pay())
        self._legal_texts: dict[str, tuple[str, ...] | None] = {}
        self._settle()

    @property
    def state(self) -> Any:
        """The game's own state."""
        return self._state.state

    @property
    def acting(self) -> tuple[str, ...]:
        """Who must reply now; nobody once the match is over."""
        return () if self.ending else self.game.acting_agents(self.state)

    def is_out(self, agent: str) -> bool:
        """Whether the agent's part is over: the match is, or the game says that it is out."""
        return self.ending is not None or self.game.is_out(self.state, agent)

    def last_kind(self, agent: str) -> OutcomeKind | None:
        """How the agent's last text was read; ``None`` before its first."""
        return self._state.last_N[self.game.agents.index(agent)]

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
        observation = self.observation(agent)
        return "\n".join(filter(None, (observation.text, observation.feedback)))

    def observation(self, agent: str) -> Observation:
        """What the agent reads now."""
        return Observation(
            text=self.game.observation_text(self.state, agent),
            feedback=self._closed.feedback_text(self._state, agent),
        )

    def request(self, agent: str) -> Request:
        """What a policy is asked in the agent's place."""
        history = History(
            agent=agent,
            rules=self.game.rules_text(agent),
            turns=self._turns[agent],
            observation=self.observation(agent),
        )
        return Request(history=history, key=self.key, step=self.t, state=self.state)

    def move(self, replies: Mapping[str, Reply]) -> None:
        """Carry out the replies of all acting agents, and what chance does alone after them.

        Raises:
          GameLawError: the replies are not those of the acting agents.
        """
        if set(replies) != set(self.acting) or not replies:
            raise GameLawError(f"{self.game.name}: {self.acting} must reply (got {tuple(replies)})")
        outcomes = {
            agent: self._closed.read(self._state, agent, reply.said)
            for agent, reply in replies.items()
        }
        for agent, reply in replies.items():
            turn = Turn(
                observation=self.observation(agent), reply=reply.text, kind=outcomes[agent].kind
            )
            self._turns[agent] += (turn,)
        self._advance(outcomes)
        self._settle()

    def collect(self) -> Mapping[str, Pay]:
        """What each agent was paid since this was last asked."""
        due, self._due = self._due, dict.fromkeys(self.game.agents, Pay())
        return due

    def _advance(self, outcomes: Mapping[str, Any]) -> None:
        rng = self.key.stream(Purpose.CHANCE, step=self.t)
        transition, _ = self._closed.sample_transition(self._state, outcomes, rng)
        paid_N = zip(transition.rewards_N, transition.penalties_N, strict=True)
        for agent, (reward, penalty) in zip(self.game.agents, paid_N, strict=True):
            due = self._due[agent]
            self._due[agent] = Pay(due.reward + reward, due.penalty + penalty)
        self._state = transition.state
        self.t += 1

    def _settle(self) -> None:
        """Let chance move while nobody acts, and see whether the match is over."""
        self.ending = self._ended()
        while self.ending is None and not self.game.acting_agents(self.state):
            self._advance({})
            self.ending = self._ended()
        self._legal_texts = {}

    def _ended(self) -> Ending | None:
        if self._closed.is_terminal(self._state):
            return Ending.FORFEITED if self._state.forfeited else Ending.TERMINATED
        return Ending.TRUNCATED if self.t >= self._limit else None


@final
class Matches:
    """Deals the matches of a multi-agent environment: a seed fixes its match and all later ones without a seed.

    Args:
      game: what is played.
    """

    def __init__(self, game: AbstractGame[Any, Any]) -> None:
        self._game = game
        self._np_random: np.random.Generator | None = None

    def deal(self, seed: int | None) -> Match:
        """A new match; from the seed, or from the environment's own generator if there is none."""
        if seed is not None or self._np_random is None:
            self._np_random, _ = seeding.np_random(seed)
        return Match(self._game, drawn(self._np_random) if seed is None else int(seed))


def drawn(np_random: np.random.Generator) -> int:
    """A fresh seed from an environment's own generator."""
    return int(np_random.integers(_SEEDS))


def begun(match: Match | None) -> Match:
    """The match that is being played.

    Raises:
      ResetNeeded: there is none.
    """
    if match is None:
        raise gymnasium.error.ResetNeeded("call 'reset' before anything else")
    return match
