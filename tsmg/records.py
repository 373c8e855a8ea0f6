"""Immutable records of play: calls, turns, steps, episodes, groups.

What is trained on is what was sampled: a ``Completion`` keeps the token ids and log-probabilities of the
moment, and nothing downstream re-tokenises a text. Axes: ``_N`` agents, ``_T`` steps, ``_G``
episodes of a group.
"""

import enum
import itertools
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

import attrs

from tsmg.closure import ClosedState
from tsmg.randomness import EpisodeKey, Purpose, Stream
from tsmg.text import OutcomeKind, Parsed, ParserOutcome, TextOutcome

S = TypeVar("S")


@attrs.frozen(kw_only=True)
class Completion:
    """One call of a language model.

    Attributes:
      prompt_ids: token ids of the prompt.
      reply_ids: token ids as sampled, never re-tokenised.
      trainable: per reply token, whether the policy chose it (the loss mask).
      logprobs: per reply token, its log-probability under the distribution that was sampled from, in nats.
      support: per reply token, the token ids that truncation kept; ``None`` if it kept all.
      finished: whether the reply ended by itself; False when it was cut at the token limit.
      prompt_text, reply_text: the same for human readers.
      model_id, weights_version: which model replied, and after how many optimiser steps.
    """

    prompt_ids: tuple[int, ...]
    reply_ids: tuple[int, ...]
    trainable: tuple[bool, ...]
    logprobs: tuple[float, ...]
    support: tuple[tuple[int, ...], ...] | None = None
    finished: bool = True
    prompt_text: str = ""
    reply_text: str = ""
    model_id: str = ""
    weights_version: int = 0


@attrs.frozen(kw_only=True)
class Observation:
    """What an agent reads when it acts.

    Attributes:
      text: phi_i(state); untrusted, since other agents may have written parts of it.
      feedback: what the invalid rule says about the agent's last text; trusted, may be empty.
    """

    text: str
    feedback: str = ""


@attrs.frozen(kw_only=True)
class Turn:
    """One past turn of an agent: what it read, what it replied, and how that ended."""

    observation: Observation
    reply: str
    kind: OutcomeKind


@attrs.frozen(kw_only=True)
class History:
    """h, all that a policy may look at: the rules, its own past turns, the present observation."""

    agent: str
    rules: str
    turns: tuple[Turn, ...]
    observation: Observation


@attrs.frozen(kw_only=True)
class Request:
    """A policy is asked to reply once.

    Attributes:
      history: what the agent has seen.
      key, step: from which the reply's random streams come.
      state: the game's own state, for scripted players; a language agent never reads it.
    """

    history: History
    key: EpisodeKey
    step: int
    state: Any = None

    def stream(self, completion: int = 0) -> Stream:
        """The random stream of this agent's call at this step."""
        return self.key.stream(
            Purpose.POLICY, step=self.step, agent=self.history.agent, completion=completion
        )


@attrs.frozen(kw_only=True)
class Reply:
    """A policy's answer: the whole text, what the parser found in it, the model calls behind it."""

    text: str
    parser_outcome: ParserOutcome
    completions: tuple[Completion, ...] = ()


@attrs.frozen(kw_only=True)
class AgentStep:
    """What one agent did at one step.

    Attributes:
      outcome: what psi made of the text.
      played: the action that was carried out, perhaps the invalid rule's; ``None`` if none was.
    """

    agent: str
    observation: Observation
    reply: Reply
    outcome: TextOutcome[Any]
    played: Any = None

    @property
    def is_valid(self) -> bool:
        """Whether the text named a legal action."""
        return isinstance(self.outcome, Parsed)

    @property
    def turn(self) -> Turn:
        """The step as a later history remembers it."""
        return Turn(observation=self.observation, reply=self.reply.text, kind=self.outcome.kind)


@attrs.frozen(kw_only=True)
class Step(Generic[S]):
    """One step: state, what the acting agents did, rewards of the game, penalties of iota."""

    t: int
    state: ClosedState[S]
    agent_steps: tuple[AgentStep, ...]
    rewards_N: tuple[float, ...]
    penalties_N: tuple[float, ...]


@attrs.frozen(kw_only=True)
class Start(Generic[S]):
    """Where an episode begins: anywhere, so that branching credit rules have a place.

    Attributes:
      state: the extended state.
      turns: past turns of each agent; an agent that is missing has none.
      t: the time of the first step.
      parent: (episode, step index) that this start branches from, if any.
    """

    state: ClosedState[S]
    turns: Mapping[str, tuple[Turn, ...]] = attrs.field(factory=dict)
    t: int = 0
    parent: tuple[EpisodeKey, int] | None = None


class Ending(enum.Enum):
    """How an episode ended; a terminal state at step H is ``TERMINATED``."""

    TERMINATED = "terminated"
    TRUNCATED = "truncated"
    FORFEITED = "forfeited"


@attrs.frozen(kw_only=True)
class Episode(Generic[S]):
    """A finished episode.

    Attributes:
      game: the game's name.
      agents: names, in the order of every ``_N`` tuple.
      discount: gamma of the game.
      key: the episode's place in the run; its random streams come from it.
      start: where it began.
      steps: what happened.
      final_state: the extended state at the end.
      final_observations: what each agent would read at the end.
      ending: terminated, truncated or forfeited.
    """

    game: str
    agents: tuple[str, ...]
    discount: float
    key: EpisodeKey
    start: Start[S]
    steps: tuple[Step[S], ...]
    final_state: ClosedState[S]
    final_observations: Mapping[str, str]
    ending: Ending

    def agent_steps(self, agent: str) -> tuple[AgentStep, ...]:
        """The steps at which the agent acted."""
        return tuple(a for step in self.steps for a in step.agent_steps if a.agent == agent)

    def completions(self, agent: str) -> Iterator[tuple[int, Completion]]:
        """(index in ``steps``, call) for every model call of the agent, in order."""
        for index, step in enumerate(self.steps):
            for agent_step in step.agent_steps:
                if agent_step.agent == agent:
                    yield from ((index, completion) for completion in agent_step.reply.completions)

    def rewards_T(self, agent: str, *, penalties: bool = True) -> tuple[float, ...]:
        """r_t per step for the agent, with or without the penalties of the invalid rule."""
        n = self.agents.index(agent)
        return tuple(
            step.rewards_N[n] + (step.penalties_N[n] if penalties else 0.0) for step in self.steps
        )

    def episode_return(self, agent: str, *, penalties: bool = True) -> float:
        """R = sum_t gamma^t r_t, counted from the first step of the record."""
        rewards_T = self.rewards_T(agent, penalties=penalties)
        return sum(self.discount**t * reward for t, reward in enumerate(rewards_T))

    def invalid_count(self, agent: str) -> int:
        """How many of the agent's texts named no legal action."""
        return sum(not step.is_valid for step in self.agent_steps(agent))

    def branch(self, index: int) -> Start[S]:
        """A start at step number ``index`` of this record, with the histories up to there."""
        turns = {agent: list(self.start.turns.get(agent, ())) for agent in self.agents}
        for step in itertools.islice(self.steps, index):
            for agent_step in step.agent_steps:
                turns[agent_step.agent].append(agent_step.turn)
        step = self.steps[index]
        return Start(
            state=step.state,
            turns={agent: tuple(past) for agent, past in turns.items()},
            t=step.t,
            parent=(self.key, index),
        )


@attrs.frozen(kw_only=True)
class FailedEpisode(Generic[S]):
    """An episode in which the game raised; what was played until then is kept.

    Attributes:
      error: "game, agent or step, seed: what was raised".
      steps: the steps before the failure.
    """

    key: EpisodeKey
    error: str
    steps: tuple[Step[S], ...]


@attrs.frozen(kw_only=True)
class EpisodeGroup(Generic[S]):
    """G episodes to be compared, which share what the run declares (``group_on``)."""

    episodes: tuple[Episode[S], ...]

    def returns_G(self, agent: str) -> tuple[float, ...]:
        """The agent's return in each episode."""
        return tuple(episode.episode_return(agent) for episode in self.episodes)
