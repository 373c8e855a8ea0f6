"""A match: one episode while it is played, moved by replies from wherever they come."""

import functools
import math
from collections.abc import Hashable, Iterator, Mapping
from typing import Any, Generic, TypeVar, final

import attrs

from tsmg.closed_state import ClosedState, ClosedTransition
from tsmg.closure import ClosedGame
from tsmg.distribution import Probability
from tsmg.errors import GameLawError, InvalidArgumentError
from tsmg.game import AbstractGame, AnyGame
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

S = TypeVar("S", bound=Hashable)


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
    """One episode of the closed game up to its present step: a value that replies from any source advance.

    The runner asks policies for the replies, an exported environment receives them, an oracle tries them all. The same
    spec and the same texts make the same episode each time: every draw comes from the spec's key.

    Attributes:
      closed: the game, closed under text.
      limit: the greatest number of steps of an episode.
      spec: the episode's spec.
      start: where the episode began.
      state: the present extended state.
      t: the time of the next step.
      steps: the steps so far.
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
        """A match at its start, which is drawn if the spec has none.

        Args:
          game: the game; it needs a horizon or a declared longest game.
          spec: the episode's spec.

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
        """The agents that must reply now; none once the match is over, or while chance moves alone."""
        return () if self.ending else self.game.acting_agents(self.state.state)

    @functools.cached_property
    def ending(self) -> Ending | None:
        """How the match ended; ``None`` while it continues."""
        if self.state.forfeited:
            return Ending.FORFEITED
        if not self.closed.is_terminal(self.state):
            return Ending.TRUNCATED if self.t >= self.limit else None
        is_truncated = self.game.is_truncated(self.state.state)
        return Ending.TRUNCATED if is_truncated else Ending.TERMINATED

    def observation(self, agent: str) -> Observation:
        """What the agent reads now."""
        return Observation(
            text=self.game.observation_text(self.state.state, agent),
            feedback=self.closed.feedback_text(self.state, agent),
        )

    @functools.cached_property
    def requests(self) -> tuple[Request, ...]:
        """One request per acting agent."""
        requests = []
        for agent in self.acting:
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
            requests.append(
                Request(history=history, key=self.spec.key, step=self.t, state=self.state.state)
            )
        return tuple(requests)

    def move(self, replies: Mapping[str, Reply]) -> "Match[S]":
        """The match after the replies of all acting agents (none if only chance moves).

        Raises:
          GameLawError: the match is over, the replies are not those of the acting agents, or the game does not
            give each agent a finite reward.
        """
        outcomes = self._outcomes(replies)
        key = self.spec.key.shared() if self.spec.common_chance else self.spec.key
        rng = key.stream(Purpose.CHANCE, step=self.t)
        return self._after(
            replies, outcomes, self.closed.sample_transition(self.state, outcomes, rng)
        )

    def moves(self, replies: Mapping[str, Reply]) -> Iterator[tuple["Match[S]", Probability]]:
        """Every match that can follow the replies, with its probability.

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

    def _outcomes(self, replies: Mapping[str, Reply]) -> dict[str, TextOutcome[Any]]:
        asked = {request.history.agent for request in self.requests}
        if self.ending or replies.keys() != asked:
            raise GameLawError(
                f"{self.game.name}: {self.acting or 'nobody'} must reply (got {tuple(replies)})"
            )
        outcomes: dict[str, TextOutcome[Any]] = {}
        for agent in self.acting:  # in the game's order: invalid rules draw one after the other
            try:
                outcomes[agent] = self.closed.read(self.state, agent, replies[agent].parser_outcome)
            except Exception as error:
                error.add_note(f"agent {agent!r}")
                raise
        return outcomes

    def _after(
        self,
        replies: Mapping[str, Reply],
        outcomes: Mapping[str, TextOutcome[Any]],
        transition: ClosedTransition[S],
    ) -> "Match[S]":
        rewards_N = transition.rewards_N
        if len(rewards_N) != len(self.game.agents):
            raise GameLawError(
                f"a transition must reward each of {self.game.agents} (got {rewards_N!r})"
            )
        if not all(math.isfinite(reward) for reward in rewards_N):
            raise GameLawError(f"rewards of {self.game.agents} must be finite (got {rewards_N!r})")
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
            rewards_N=rewards_N,
            penalties_N=transition.penalties_N,
        )
        turns = {step.agent: (*self.turns[step.agent], step.turn) for step in agent_steps}
        return Match(
            self.closed,
            self.limit,
            self.spec,
            self.start,
            transition.state,
            self.t + 1,
            (*self.steps, step),
            {**self.turns, **turns},
        )


def step_limit(game: AnyGame) -> int:
    """The greatest number of steps of an episode: the horizon, or else the declared longest game.

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


def draw_start(game: AbstractGame[S, Any], key: EpisodeKey) -> Start[S]:
    """A start drawn from the game's initial distribution with the key's own stream."""
    state = game.sample_initial_state(key.stream(Purpose.START))
    return Start(state=ClosedGame(game).close(state))
