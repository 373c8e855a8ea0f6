"""Bandits: pull arms whose means are unknown to the player, with or without contexts."""

import abc
import functools
import itertools
import statistics
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, final

import attrs

from games.arguments import integer_field, number, number_field, probability, to_horizon
from games.wording import counted
from tsmg import (
    AbstractExplicitGame,
    Distribution,
    Episode,
    Facts,
    Finite,
    InvalidArgumentError,
    Sampleable,
    Stream,
    Transition,
    deterministic,
    uniform,
)
from tsmg.invalid import AbstractInvalidRule, StandStill

_AGENT = "player"
_LEAST = 2.0**-54  # the quantile function has no value at 0

Means = tuple[tuple[float, ...], ...]


@final
@attrs.frozen(cache_hash=True)
class Pulls:
    """The current context, the past pulls as (context, arm, reward), and the number of the table of means."""

    context: int
    done: tuple[tuple[int, int, float], ...] = ()
    table: int = 0


def _rows(value: Any) -> Means:
    is_table = isinstance(value, Sequence) and value and isinstance(value[0], Sequence)
    rows = value if is_table else (value,)
    is_fit = all(isinstance(row, Sequence) and len(row) == len(rows[0]) >= 2 for row in rows)
    if not is_fit:
        raise InvalidArgumentError(
            f"'means' must be at least two numbers, or such rows of one length (got {value!r})"
        )
    return tuple(tuple(number("means", x) for x in row) for row in rows)


def _chances(value: Any) -> Means:
    return tuple(tuple(probability("means", x) for x in row) for row in _rows(value))


class AbstractBandit(AbstractExplicitGame[Pulls, int]):
    """A bandit; subclasses state the means and the rewards of arms.

    A context is drawn uniformly before each pull, and a table of means before the first.

    Attributes:
      pulls: number of pulls of an episode.
    """

    pulls: int

    agents = (_AGENT,)

    @property
    @abc.abstractmethod
    def tables(self) -> tuple[Means, ...]:
        """The possible tables of means; each has the mean reward of each arm, one row per context."""

    @abc.abstractmethod
    def arm_dist(self, mean: float) -> Distribution[float]:
        """The distribution of the reward of an arm with a mean."""

    def _context_dist(self) -> Distribution[int]:
        return _number_dist(len(self.tables[0]))

    def initial_state_dist(self) -> Distribution[Pulls]:
        if len(self.tables) == 1:
            return self._context_dist().map(Pulls)
        table = _number_dist(len(self.tables))
        return table.bind(lambda n: self._context_dist().map(lambda c: Pulls(c, table=n)))

    def is_terminal(self, state: Pulls) -> bool:
        return len(state.done) >= self.pulls

    def acting_agents(self, state: Pulls) -> tuple[str, ...]:
        return () if self.is_terminal(state) else self.agents

    def legal_actions(self, state: Pulls, agent: str) -> tuple[int, ...]:
        return () if self.is_terminal(state) else tuple(range(len(self.tables[0][0])))

    def transition_dist(
        self, state: Pulls, joint_action: Mapping[str, int]
    ) -> Distribution[Transition[Pulls]]:
        arm = joint_action[_AGENT]

        def next_context(reward: float) -> Distribution[Transition[Pulls]]:
            done = (*state.done, (state.context, arm, reward))
            if len(done) >= self.pulls:  # no agent would read another context
                after = Pulls(state.context, done, state.table)
                return deterministic(Transition(after, (reward,)))
            return self._context_dist().map(
                lambda c: Transition(Pulls(c, done, state.table), (reward,))
            )

        return self.arm_dist(self.tables[state.table][state.context][arm]).bind(next_context)

    def regret_T(self, episode: Episode[Pulls]) -> tuple[float, ...]:  # the axis of time
        """The expected regret after each pull: the mean of the context's best arm minus that of the chosen arm, summed.

        Source: T. Lattimore, C. Szepesvari, *Bandit Algorithms*, 2020, section 4.4 (pseudo-regret).

        Returns:
          The sum up to each pull; it never falls. Unit: reward.
        """
        state = episode.final_state.state
        means = self.tables[state.table]
        return tuple(
            itertools.accumulate(max(means[c]) - means[c][arm] for c, arm, _ in state.done)
        )

    def metrics(self, episode: Episode[Pulls], agent: str) -> Mapping[str, float]:
        """The ``regret``, and as ``optimality_gap`` the share of the best arms' means that was missed.

        A step without a pull, after an invalid text, misses the whole mean of the best arm.
        """
        state, before = episode.final_state.state, len(episode.start.state.state.done)
        means = self.tables[state.table]
        best = sum(max(means[step.state.state.context]) for step in episode.steps)
        chosen = sum(means[context][arm] for context, arm, _ in state.done[before:])
        gap = {"optimality_gap": 1 - chosen / best} if best > 0 else {}
        return {"regret": float(best - chosen), **gap}

    def observation_text(self, state: Pulls, agent: str) -> str:
        many = len(self.tables[0]) > 1
        lines = [
            f"Pull {n}: {f'context {context + 1}, ' if many else ''}arm {arm + 1} paid {reward:g}."
            for n, (context, arm, reward) in enumerate(state.done, start=1)
        ]
        if not self.is_terminal(state):
            now = f"Now: pull {len(state.done) + 1} of {self.pulls}"
            lines.append(f"{now}, context {state.context + 1}." if many else f"{now}.")
        return "\n".join(lines)

    def action_text(self, state: Pulls, agent: str, action: int) -> str:
        return str(action + 1)

    def rules_text(self, agent: str) -> str:
        arms = ", ".join(str(arm + 1) for arm in range(len(self.tables[0][0])))
        by_context = ", which depends on the context" if len(self.tables[0]) > 1 else ""
        return (
            f"Several arms pay random amounts; each has a mean of its own{by_context}. Pull one arm at a time, "
            f"{counted(self.pulls, 'time')} in all, to get as much as you can. A move is the number of an arm: {arms}."
        )


@functools.lru_cache(maxsize=1024)
def _number_dist(count: int) -> Finite[int]:
    return uniform(range(count))


def facts_of(bandit: AbstractBandit, bounds: tuple[float, float] | None) -> Facts:
    """What a bandit declares.

    Args:
      bandit: the bandit.
      bounds: of its return; ``None`` if rewards are real numbers, which texts round to six digits.
    """
    is_told = bounds is not None and len(bandit.tables) == 1
    return Facts(
        perfect_information=is_told,
        text_separates_states=is_told,
        stochastic_start=len(bandit.tables) * len(bandit.tables[0]) > 1,
        return_bounds=bounds,
        longest_game=bandit.pulls,
    )


@final
@attrs.frozen(kw_only=True)
class BernoulliBandit(AbstractBandit):
    """Pull arms that pay 1 or nothing.

    Agents: one, ``player``.
    States: the context, and every pull so far.
    Actions: numbers of arms.
    Observation text: every pull so far, and the context.
    Action text: the arm's number, from 1.
    Rewards: what the arm paid.
    Invalid rule: the game stands still (a step passes, a pull does not).
    Metrics: regret, and optimality_gap.

    Attributes:
      means: the probability that each arm pays, a row per context.
      pulls: number of pulls.
      horizon: time limit H, in steps; ``pulls`` unless given.
    """

    means: Means = attrs.field(default=(0.2, 0.5, 0.8), converter=_chances)
    pulls: int = integer_field("pulls", default=5, least=1)
    horizon: int = attrs.field(converter=to_horizon)
    invalid_rule: AbstractInvalidRule = attrs.field(factory=StandStill)
    facts: Facts = attrs.field(init=False)

    @horizon.default
    def _pulls(self) -> int:
        return self.pulls

    @facts.default
    def _declare(self) -> Facts:
        return facts_of(self, (0.0, float(self.pulls)))

    @property
    def tables(self) -> tuple[Means, ...]:
        return (self.means,)

    def arm_dist(self, mean: float) -> Distribution[float]:
        return bernoulli(mean)


@functools.lru_cache(maxsize=1024)
def bernoulli(mean: float) -> Finite[float]:
    """1 with a probability, else 0."""
    p = Fraction(str(mean))
    return Finite({1.0: p, 0.0: 1 - p})


@final
@attrs.frozen(kw_only=True)
class GaussianBandit(AbstractBandit):
    """Pull arms that pay Gaussian rewards; they can be sampled, not enumerated.

    Agents: one, ``player``.
    States: the context, and every pull so far.
    Actions: numbers of arms.
    Observation text: every pull so far, and the context.
    Action text: the arm's number, from 1.
    Rewards: what the arm paid.
    Invalid rule: the game stands still (a step passes, a pull does not).
    Metrics: regret, and optimality_gap.

    Attributes:
      means: the mean reward of each arm, a row per context.
      deviation: the standard deviation of a reward.
      pulls: number of pulls.
      horizon: time limit H, in steps; ``pulls`` unless given.
    """

    means: Means = attrs.field(default=(0.0, 0.5, 1.0), converter=_rows)
    deviation: float = number_field("deviation", default=1.0, least=0.0)
    pulls: int = integer_field("pulls", default=5, least=1)
    horizon: int = attrs.field(converter=to_horizon)
    invalid_rule: AbstractInvalidRule = attrs.field(factory=StandStill)
    facts: Facts = attrs.field(init=False)

    @horizon.default
    def _pulls(self) -> int:
        return self.pulls

    @facts.default
    def _declare(self) -> Facts:
        return facts_of(self, None)

    @property
    def tables(self) -> tuple[Means, ...]:
        return (self.means,)

    def arm_dist(self, mean: float) -> Distribution[float]:
        if not self.deviation:
            return deterministic(mean)

        dist = statistics.NormalDist(mean, self.deviation)

        def draw(rng: Stream) -> float:
            return dist.inv_cdf(max(rng.random(), _LEAST))

        return Sampleable(draw, f"normal with mean {mean} and deviation {self.deviation}")
