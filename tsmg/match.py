"""A match: one episode while it is played, moved by replies from wherever they come."""

import math
from collections.abc import Mapping
from typing import Any, Generic, TypeVar, final

import attrs

from tsmg.closure import ClosedGame, ClosedState
from tsmg.errors import GameLawError, InvalidArgumentError
from tsmg.game import AbstractGame
from tsmg.randomness import EpisodeKey, Purpose
from tsmg.records import (
    AgentStep,
    Ending,
    Episode,
    History,
    Observation,
    Reply,
    Request,
    Start,
    Step,
    Turn,
)

S = TypeVar("S")


@attrs.frozen(kw_only=True)
class EpisodePlan(Generic[S]):
    """One episode to play.

    Attributes:
      key: its place in the run.
      start: where it begins; drawn from the game's initial law with the key when ``None``.
      common_chance: whether all episodes of the key's group share the game's chance draws.
    """

    key: EpisodeKey
    start: Start[S] | None = None
    common_chance: bool = False


@final
class Match(Generic[S]):
    """One episode of the closed game while it is played; used once.

    The runner asks policies for the replies, an exported environment is told them. The same plan and the same texts
    make the same episode either way: every draw comes from the plan's key.

    Args:
      game: what is played; it needs a horizon or a declared longest game.
      plan: the episode.

    Attributes:
      start: where it began.
      state: the extended state.
      t: the time of the next step.
      steps: what happened so far.
      ending: how it ended; ``None`` while it goes on.

    Raises:
      InvalidArgumentError: there is no limit on the length of an episode.

    Example:
      >>> import games, tsmg
      >>> match = tsmg.Match(games.make("Bandit-v0"), EpisodePlan(key=EpisodeKey(seed=0)))
      >>> match.acting
      ('player',)
      >>> step = match.move({"player": Reply(text="a", said=tsmg.Said("a"))})
      >>> step.t, match.t, len(match.steps)
      (0, 1, 1)
    """

    def __init__(self, game: AbstractGame[S, Any], plan: EpisodePlan[S]) -> None:
        self.game = game
        self.plan = plan
        self._limit = step_limit(game)
        self._closed = ClosedGame(game)
        self._chance_key = plan.key.shared() if plan.common_chance else plan.key
        self.start: Start[S] = plan.start or draw_start(game, plan.key)
        self.state: ClosedState[S] = self.start.state
        self.t = self.start.t
        self.steps: list[Step[S]] = []
        self._turns: dict[str, tuple[Turn, ...]] = {
            agent: tuple(self.start.turns.get(agent, ())) for agent in game.agents
        }
        self._requests: tuple[Request, ...] | None = None
        self.ending = self._ended()

    @property
    def acting(self) -> tuple[str, ...]:
        """Who must reply now; nobody once the match is over, or while chance moves alone."""
        return () if self.ending else self.game.acting_agents(self.state.state)

    def observation(self, agent: str) -> Observation:
        """What the agent reads now."""
        return Observation(
            text=self.game.observation_text(self.state.state, agent),
            feedback=self._closed.feedback_text(self.state, agent),
        )

    def requests(self) -> tuple[Request, ...]:
        """What the acting agents are asked."""
        if self._requests is None:
            self._requests = tuple(self._request(agent) for agent in self.acting)
        return self._requests

    def move(self, replies: Mapping[str, Reply]) -> Step[S]:
        """Carry out the replies of all acting agents (none, where chance moves alone).

        Raises:
          GameLawError: the match is over, the replies are not those of the acting agents, or the game pays what is
            no finite reward for each agent.
        """
        requests = self.requests()
        if self.ending or replies.keys() != {request.history.agent for request in requests}:
            raise GameLawError(
                f"{self.game.name}: {self.acting or 'nobody'} must reply (got {tuple(replies)})"
            )
        outcomes = {agent: self._read(agent, reply) for agent, reply in replies.items()}
        rng = self._chance_key.stream(Purpose.CHANCE, step=self.t)
        transition, played = self._closed.sample_transition(self.state, outcomes, rng)
        self._check_rewards(transition.rewards_N)
        agent_steps = tuple(
            AgentStep(
                agent=request.history.agent,
                observation=request.history.observation,
                reply=replies[request.history.agent],
                outcome=outcomes[request.history.agent],
                played=None if played is None else played.get(request.history.agent),
            )
            for request in requests
        )
        step = Step(
            t=self.t,
            state=self.state,
            agent_steps=agent_steps,
            rewards_N=transition.rewards_N,
            penalties_N=transition.penalties_N,
        )
        self.steps.append(step)
        for agent_step in agent_steps:
            self._turns[agent_step.agent] += (agent_step.turn,)
        self.state = transition.state
        self.t += 1
        self._requests = None
        self.ending = self._ended()
        return step

    def episode(self) -> Episode[S]:
        """The record of the whole match.

        Raises:
          GameLawError: it is not over.
        """
        if self.ending is None:
            raise GameLawError(f"{self.game.name}: the match is not over at step {self.t}")
        return Episode(
            game=self.game.name,
            agents=self.game.agents,
            discount=self.game.discount,
            key=self.plan.key,
            start=self.start,
            steps=tuple(self.steps),
            final_state=self.state,
            final_observations={
                agent: self.game.observation_text(self.state.state, agent)
                for agent in self.game.agents
            },
            ending=self.ending,
        )

    def _request(self, agent: str) -> Request:
        try:
            history = History(
                agent=agent,
                rules=self.game.rules_text(agent),
                turns=self._turns[agent],
                observation=self.observation(agent),
            )
        except Exception as error:
            error.add_note(f"agent {agent!r}")
            raise
        return Request(history=history, key=self.plan.key, step=self.t, state=self.state.state)

    def _read(self, agent: str, reply: Reply) -> Any:
        try:
            return self._closed.read(self.state, agent, reply.said)
        except Exception as error:
            error.add_note(f"agent {agent!r}")
            raise

    def _check_rewards(self, rewards_N: tuple[float, ...]) -> None:
        if len(rewards_N) != len(self.game.agents):
            raise GameLawError(
                f"a transition must reward each of {self.game.agents} (got {rewards_N!r})"
            )
        if not all(math.isfinite(reward) for reward in rewards_N):
            raise GameLawError(f"rewards of {self.game.agents} must be finite (got {rewards_N!r})")

    def _ended(self) -> Ending | None:
        if self._closed.is_terminal(self.state):
            return Ending.FORFEITED if self.state.forfeited else Ending.TERMINATED
        return Ending.TRUNCATED if self.t >= self._limit else None


def step_limit(game: AbstractGame[Any, Any]) -> int:
    """How many steps an episode can have: the horizon, or the declared longest game.

    Raises:
      InvalidArgumentError: the game has neither, or a horizon below 1.
    """
    limit = game.horizon if game.horizon is not None else game.facts.longest_game
    if limit is None:
        raise InvalidArgumentError(
            f"{game.name}: 'horizon' must be set, since no longest game is declared (got None)"
        )
    if limit < 1:
        raise InvalidArgumentError(f"'horizon' must be at least 1 (got {limit})")
    return limit


def draw_start(game: AbstractGame[Any, Any], key: EpisodeKey) -> Start[Any]:
    """A start drawn from the game's initial law with the key's own stream."""
    state = game.sample_initial_state(key.stream(Purpose.START))
    return Start(state=ClosedGame(game).close(state))
