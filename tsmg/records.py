"""Immutable records of play: completions, turns, steps, episodes, groups.

What is trained on is what was sampled: a ``Completion`` keeps the token ids and log-probabilities of the
moment, and nothing downstream re-tokenises a text. Axes: ``_N`` agents, ``_T`` steps, ``_G``
episodes of a group.
"""

import enum
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

import attrs

from tsmg.closed_state import ClosedState
from tsmg.randomness import EpisodeKey, Purpose, Stream
from tsmg.text import OutcomeKind, Parsed, ParserOutcome, TextOutcome

S = TypeVar("S")


@attrs.frozen(kw_only=True)
class Completion:
    """One completion of a language model: its prompt and the reply that was sampled.

    Attributes:
      prompt_ids: token ids of the prompt.
      reply_ids: token ids as sampled, never re-tokenised.
      trainable: per reply token, whether the policy sampled it (the loss mask) or it was given.
      logprobs: per reply token, its log-probability under the distribution that was sampled from, in nats.
      support: per reply token, the token ids that truncation kept; ``None`` if it kept all.
      finished: whether the model ended the reply; False where it was cut at the token limit.
      prompt_text, reply_text: the prompt and the reply as text, for human readers.
      model_id, weights_version: the model that replied, and the number of optimiser steps that it had taken.
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
    """h, all that a policy may condition on: the rules, its own past turns, the current observation."""

    agent: str
    rules: str
    turns: tuple[Turn, ...]
    observation: Observation


@attrs.frozen(kw_only=True)
class Request:
    """A request for one reply of a policy.

    Attributes:
      history: what the agent has observed.
      key, step: the episode and the step, which determine the reply's random streams.
      state: the game's own state, for scripted players; a language agent never reads it.
    """

    history: History
    key: EpisodeKey
    step: int
    state: Any = None

    def stream(self, completion: int = 0) -> Stream:
        """The random stream of one of this agent's completions at this step.

        Args:
          completion: number of the completion within the reply, from 0.
        """
        return self.key.stream(
            Purpose.POLICY, step=self.step, agent=self.history.agent, completion=completion
        )


@attrs.frozen(kw_only=True)
class Reply:
    """A policy's answer: the whole text, what the parser found in it, and the completions that it consists of."""

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
        """The step as a turn of later histories."""
        return Turn(observation=self.observation, reply=self.reply.text, kind=self.outcome.kind)


@attrs.frozen(kw_only=True)
class Step(Generic[S]):
    """One step: the state, what the acting agents did, the game's rewards and the invalid rule's penalties."""

    t: int
    state: ClosedState[S]
    agent_steps: tuple[AgentStep, ...]
    rewards_N: tuple[float, ...]
    penalties_N: tuple[float, ...]


@attrs.frozen(kw_only=True)
class Start(Generic[S]):
    """Where an episode begins; it may be any state of the game, with the turns that led to it.

    Attributes:
      state: the extended state.
      turns: past turns of each agent; an agent that is missing has none.
      t: the time of the first step.
    """

    state: ClosedState[S]
    turns: Mapping[str, tuple[Turn, ...]] = attrs.field(factory=dict)
    t: int = 0


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
      discount: gamma, of the game.
      key: the episode's place in the run; its random streams come from it.
      start: where the episode began.
      steps: the steps, in order.
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
        """(index in ``steps``, completion) for every completion of the agent, in order."""
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
        """R = sum_t gamma^t r_t, counted from the first step of the record.

        Theory: Definition 1.2, Equation 1.4.
        """
        rewards_T = self.rewards_T(agent, penalties=penalties)
        return sum(self.discount**t * reward for t, reward in enumerate(rewards_T))

    def invalid_count(self, agent: str) -> int:
        """The number of the agent's texts that named no legal action."""
        return sum(not step.is_valid for step in self.agent_steps(agent))


@attrs.frozen(kw_only=True)
class FailedEpisode(Generic[S]):
    """An episode in which the game raised an exception, or a policy could not reply; the steps before it are kept.

    Attributes:
      key: the episode's place in the run.
      error: the message: the game, the step, the key, perhaps the agent, and the exception.
      steps: the steps before the failure.
    """

    key: EpisodeKey
    error: str
    steps: tuple[Step[S], ...]


@attrs.frozen(kw_only=True)
class BranchPoint:
    """A place between two steps of an episode, from which another episode continues (``tsmg.branches``).

    Attributes:
      episode: place of the episode in its group.
      step: index in its ``steps`` of the first step that is not shared.
    """

    episode: int
    step: int


@attrs.frozen(kw_only=True)
class StateRollouts:
    """Returns of further episodes from the middle of another one: an estimate of the value of its state.

    Attributes:
      point: where they began.
      returns_K_N: for each of them, each agent's return from there, discounted from there, penalties included.
      tokens_N: how many tokens each agent sampled in all of them.
    """

    point: BranchPoint
    returns_K_N: tuple[tuple[float, ...], ...]
    tokens_N: tuple[int, ...]


@attrs.frozen(kw_only=True)
class EpisodeGroup(Generic[S]):
    """G episodes to be compared, which share what the run declares (``group_on``).

    Attributes:
      episodes: the complete episodes; one that branched from another includes the steps that they share.
      origins: for each episode, where it branched from an earlier one; empty if none did.
      rollouts: further episodes from states of these, of which only the returns are known.
    """

    episodes: tuple[Episode[S], ...]
    origins: tuple[BranchPoint | None, ...] = ()
    rollouts: tuple[StateRollouts, ...] = ()

    def returns_G(self, agent: str) -> tuple[float, ...]:
        """The agent's return in each episode.

        Theory: Definition 1.2.
        """
        return tuple(episode.episode_return(agent) for episode in self.episodes)
