"""A match: one episode while it is played, moved by replies from wherever they come."""

import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar, final

import attrs

from tsmg.closure import ClosedGame, ClosedState, ClosedTransition
from tsmg.distribution import Probability
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
from tsmg.text import TextOutcome

S = TypeVar("S")


@attrs.frozen(kw_only=True)
class EpisodeSpec(Generic[S]):
    """One episode to play.

    Attributes:
      key: its place in the run.
      start: where it begins; drawn from the game's initial distribution with the key when ``None``.
      common_chance: whether all episodes of the key's group share the game's chance draws.
    """

    key: EpisodeKey
    start: Start[S] | None = None
    common_chance: bool = False


@final
@attrs.frozen(eq=False, slots=False)  # what is cached is cached in the instance's own dictionary
class Match(Generic[S]):
    """One episode of the closed game, as far as it was played; a value, moved by replies from wherever they come.

    The runner asks policies for the replies, an exported environment is told them, an oracle tries them all. The same
    plan and the same texts make the same episode each time: every draw comes from the plan's key.

    Attributes:
      closed: what is played, closed under text.
      limit: how many steps an episode can have.
      spec: the episode.
      start: where it began.
      state: the extended state.
      t: the time of the next step.
      steps: what happened so far.
      turns: the past turns of each agent.

    Example:
      >>> import games, tsmg
      >>> match = tsmg.Match.begin(games.make("BernoulliBandit-v0"), EpisodeSpec(key=EpisodeKey(seed=0)))
      >>> match.acting
      ('player',)
      >>> after = match.move({"player": Reply(text="a", parser_outcome=tsmg.ActionText("a"))})
      >>> match.t, after.t, len(after.steps)
      (0, 1, 1)
    """

    closed: ClosedGame[S, Any]
    limit: int
    spec: EpisodeSpec[S]
    start: Start[S]
    state: ClosedState[S]
    t: int
    steps: tuple[Step[S], ...]
    turns: Mapping[str, tuple[Turn, ...]]

    @classmethod
    def begin(cls, game: AbstractGame[S, Any], spec: EpisodeSpec[S]) -> "Match[S]":
        """A match at its start, which is drawn where the plan has none.

        Args:
          game: what is played; it needs a horizon or a declared longest game.
          spec: the episode.

        Raises:
          InvalidArgumentError: there is no limit on the length of an episode.
        """
        limit = step_limit(game)
        start: Start[S] = spec.start or draw_start(game, spec.key)
        turns = {agent: tuple(start.turns.get(agent, ())) for agent in game.agents}
        return cls(ClosedGame(game), limit, spec, start, start.state, start.t, (), turns)

    @property
    def game(self) -> AbstractGame[S, Any]:
        """The game itself."""
        return self.closed.game

    @property
    def acting(self) -> tuple[str, ...]:
        """Who must reply now; nobody once the match is over, or while chance moves alone."""
        return () if self.ending else self.game.acting_agents(self.state.state)

    @functools.cached_property
    def ending(self) -> Ending | None:
        """How the match ended; ``None`` while it goes on."""
        if self.closed.is_terminal(self.state):
            return Ending.FORFEITED if self.state.forfeited else Ending.TERMINATED
        return Ending.TRUNCATED if self.t >= self.limit else None

    def observation(self, agent: str) -> Observation:
        """What the agent reads now."""
        return Observation(
            text=self.game.observation_text(self.state.state, agent),
            feedback=self.closed.feedback_text(self.state, agent),
        )

    @functools.cached_property
    def requests(self) -> tuple[Request, ...]:
        """What the acting agents are asked."""
        return tuple(self._request(agent) for agent in self.acting)

    def move(self, replies: Mapping[str, Reply]) -> "Match[S]":
        """The match after the replies of all acting agents (none, where chance moves alone).

        Raises:
          GameLawError: the match is over, the replies are not those of the acting agents, or the game pays what is
            no finite reward for each agent.
        """
        outcomes = self._outcomes(replies)
        key = self.spec.key.shared() if self.spec.common_chance else self.spec.key
        rng = key.stream(Purpose.CHANCE, step=self.t)
        return self._after(
            replies, outcomes, self.closed.sample_transition(self.state, outcomes, rng)
        )

    def moves(self, replies: Mapping[str, Reply]) -> Iterator[tuple["Match[S]", Probability]]:
        """Every way in which chance can answer the replies, with its probability.

        Raises:
          GameLawError: as for ``move``.
          NotEnumerableError: the game is not explicit, or its distribution is not finite.
        """
        outcomes = self._outcomes(replies)
        dist = self.closed.transition_dist(self.state, outcomes).pmf()
        for transition, probability in dist.items():
            yield self._after(replies, outcomes, transition), probability

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
            key=self.spec.key,
            start=self.start,
            steps=self.steps,
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
                turns=self.turns[agent],
                observation=self.observation(agent),
            )
        except Exception as error:
            error.add_note(f"agent {agent!r}")
            raise
        return Request(history=history, key=self.spec.key, step=self.t, state=self.state.state)

    def _outcomes(self, replies: Mapping[str, Reply]) -> dict[str, TextOutcome[Any]]:
        asked = {request.history.agent for request in self.requests}
        if self.ending or replies.keys() != asked:
            raise GameLawError(
                f"{self.game.name}: {self.acting or 'nobody'} must reply (got {tuple(replies)})"
            )
        return {agent: self._read(agent, reply) for agent, reply in replies.items()}

    def _read(self, agent: str, reply: Reply) -> TextOutcome[Any]:
        try:
            return self.closed.read(self.state, agent, reply.parser_outcome)
        except Exception as error:
            error.add_note(f"agent {agent!r}")
            raise

    def _after(
        self,
        replies: Mapping[str, Reply],
        outcomes: Mapping[str, TextOutcome[Any]],
        transition: ClosedTransition[S],
    ) -> "Match[S]":
        self._check_rewards(transition.rewards_N)
        played = dict(transition.played or ())
        agent_steps = tuple(
            AgentStep(
                agent=request.history.agent,
                observation=request.history.observation,
                reply=replies[request.history.agent],
                outcome=outcomes[request.history.agent],
                played=played.get(request.history.agent),
            )
            for request in self.requests
        )
        step = Step(
            t=self.t,
            state=self.state,
            agent_steps=agent_steps,
            rewards_N=transition.rewards_N,
            penalties_N=transition.penalties_N,
        )
        told = {one.agent: (*self.turns[one.agent], one.turn) for one in agent_steps}
        return Match(
            self.closed,
            self.limit,
            self.spec,
            self.start,
            transition.state,
            self.t + 1,
            (*self.steps, step),
            {**self.turns, **told},
        )

    def _check_rewards(self, rewards_N: tuple[float, ...]) -> None:
        if len(rewards_N) != len(self.game.agents):
            raise GameLawError(
                f"a transition must reward each of {self.game.agents} (got {rewards_N!r})"
            )
        if not all(math.isfinite(reward) for reward in rewards_N):
            raise GameLawError(f"rewards of {self.game.agents} must be finite (got {rewards_N!r})")


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
    """A start drawn from the game's initial distribution with the key's own stream."""
    state = game.sample_initial_state(key.stream(Purpose.START))
    return Start(state=ClosedGame(game).close(state))
