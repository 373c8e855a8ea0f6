"""A bandit whose good arms are hidden anew in every episode, so that a player must find them while it plays.

Source: T. Lattimore, C. Szepesvari, *Bandit Algorithms*, 2020, chapters 34 and 35 (Bayesian bandits).
"""

import functools
import itertools
import math
from collections.abc import Hashable
from fractions import Fraction
from typing import final

import attrs

from games.arguments import integer_field, probability_field
from games.attention import attentive
from games.bandit import AbstractBandit, Means, Pulls, bernoulli, facts_of
from tsmg import (
    AbstractPlayer,
    Distribution,
    Facts,
    Finite,
    InvalidArgumentError,
    uniform,
)
from tsmg.invalid import AbstractInvalidRule, StandStill

Counts = tuple[tuple[int, int], ...]
"""How often each arm of a context paid, and how often it did not."""

_MOST_TABLES = 4096


@functools.lru_cache(maxsize=16)
def _tables(contexts: int, arms: int, good: float, poor: float) -> tuple[Means, ...]:
    """Every choice of one good arm for each context."""
    rows = [tuple(good if arm == best else poor for arm in range(arms)) for best in range(arms)]
    return tuple(itertools.product(rows, repeat=contexts))


@final
@attrs.frozen(kw_only=True)
class HiddenBandit(AbstractBandit):
    """Find the good arm of each context, which is hidden anew in every episode.

    Agents: one, ``player``.
    States: the good arm of each context, the current context, and every pull so far.
    Actions: numbers of arms.
    Observation text: every pull so far, and the context.
    Action text: the arm's number, from 1.
    Rewards: what the arm paid: 1 or nothing.
    Invalid rule: the game stands still (a step passes, a pull does not).
    Metrics: regret, and optimality_gap, relative to a player that knows the good arms.
    Exact values: a player who knows the good arms gets ``pulls * good`` on average; the best that a player who must
    find them can do is ``games.hidden_bandit.best_value``.

    Attributes:
      contexts: number of contexts, all equally likely before each pull; with 1 there is no context.
      arms: number of arms; all are equally likely to be the good one of a context.
      good, poor: the probability that a context's good arm pays, and that another one does.
      pulls: number of pulls; also the time limit H.

    Source: T. Lattimore, C. Szepesvari, 2020.
    """

    contexts: int = integer_field("contexts", default=1, least=1)
    arms: int = integer_field("arms", default=3, least=2)
    good: float = probability_field("good", default=0.9)
    poor: float = probability_field("poor", default=0.1)
    pulls: int = integer_field("pulls", default=8, least=1)
    invalid_rule: AbstractInvalidRule = attrs.field(factory=StandStill)
    horizon: int = attrs.field(init=False)
    facts: Facts = attrs.field(init=False)

    @horizon.default
    def _pulls(self) -> int:
        return self.pulls

    @facts.default
    def _declare(self) -> Facts:
        if self.arms**self.contexts > _MOST_TABLES:
            raise InvalidArgumentError(
                f"'arms' to the power of 'contexts' must be at most {_MOST_TABLES} "
                f"(got {self.arms} arms in {self.contexts} contexts)"
            )
        return facts_of(self, (0.0, float(self.pulls)))

    def __attrs_post_init__(self) -> None:
        if self.poor >= self.good:
            raise InvalidArgumentError(f"'poor' must be below 'good' (got {self.poor})")

    @property
    def tables(self) -> tuple[Means, ...]:
        return _tables(self.contexts, self.arms, self.good, self.poor)

    def arm_dist(self, mean: float) -> Distribution[float]:
        return bernoulli(mean)

    def information_key(self, state: Pulls, agent: str) -> Hashable:
        return state.done, None if self.is_terminal(state) else state.context

    def scripted_player(self) -> "WinStayPlayer":
        return WinStayPlayer(game=self)


def posterior(game: HiddenBandit, counts: Counts) -> tuple[Fraction, ...]:
    """How likely each arm of a context is to be the good one, by Bayes' rule.

    Args:
      game: the game.
      counts: how often each arm of the context paid, and how often it did not.

    Example:
      >>> [str(p) for p in posterior(HiddenBandit(arms=2, good=0.8, poor=0.2), ((1, 0), (0, 1)))]
      ['16/17', '1/17']
    """
    chances = [Fraction(str(game.good)), Fraction(str(game.poor))]
    weights = [
        math.prod(
            (chances[arm != best] ** paid * (1 - chances[arm != best]) ** failed)
            for arm, (paid, failed) in enumerate(counts)
        )
        for best in range(game.arms)
    ]
    return tuple(Fraction(weight) / sum(weights) for weight in weights)


def best_value(game: HiddenBandit) -> Fraction:
    """The expected return of a best player, who must find the good arms.

    Contexts reveal nothing about each other, and nobody chooses them, so each context is a bandit of its own, to which
    the next pull belongs with probability 1/contexts.

    Args:
      game: the game.

    Source: T. Lattimore, C. Szepesvari, 2020, chapter 35 (the optimal policy of a Bayesian bandit).

    Example:
      >>> best_value(HiddenBandit(arms=2, good=1.0, poor=0.0, pulls=3))  # one pull to find it, then two that pay
      Fraction(5, 2)
    """
    return game.contexts * _stream(game, game.pulls, ((0, 0),) * game.arms)


@functools.lru_cache(maxsize=65_536)
def _stream(game: HiddenBandit, left: int, counts: Counts) -> Fraction:
    """What a best player gets in one context, where so many pulls are left in all."""
    if not left:
        return Fraction(0)
    share = Fraction(1, game.contexts)
    return share * max(_worths(game, left, counts)) + (1 - share) * _stream(game, left - 1, counts)


def _worths(game: HiddenBandit, left: int, counts: Counts) -> list[Fraction]:
    """What each arm of the present context is worth, with all that follows in this context."""
    good, poor = Fraction(str(game.good)), Fraction(str(game.poor))
    worths = []
    for arm, is_best in enumerate(posterior(game, counts)):
        p = is_best * good + (1 - is_best) * poor
        paid, failed = counts[arm]
        after = [
            (*counts[:arm], told, *counts[arm + 1 :])
            for told in ((paid + 1, failed), (paid, failed + 1))
        ]
        win, loss = (
            _stream(game, left - 1, one) if q else Fraction(0)
            for one, q in zip(after, (p, 1 - p), strict=True)
        )
        worths.append(p * (1 + win) + (1 - p) * loss)
    return worths


def _counts(game: HiddenBandit, state: Pulls) -> Counts:
    """What was seen of each arm in the present context."""
    here = [(arm, reward) for context, arm, reward in state.done if context == state.context]
    return tuple((here.count((arm, 1.0)), here.count((arm, 0.0))) for arm in range(game.arms))


@final
@attrs.frozen(kw_only=True)
class BayesPlayer(AbstractPlayer[Pulls, int]):
    """An optimal player: it weighs what an arm is likely to pay and what a pull would reveal.

    Attributes:
      game: the game.
    """

    game: HiddenBandit

    def action_dist(self, state: Pulls, agent: str) -> Distribution[int]:
        left = self.game.pulls - len(state.done)
        worths = _worths(self.game, left, _counts(self.game, state))
        return uniform([arm for arm, worth in enumerate(worths) if worth == max(worths)])


@final
@attrs.frozen(kw_only=True)
class WinStayPlayer(AbstractPlayer[Pulls, int]):
    """Stays with an arm that paid when it was last pulled in this context; otherwise pulls any arm.

    Attributes:
      game: the game.
      attention: probability that it looks, in [0, 1]; otherwise any arm.

    Source: H. Robbins, "Some aspects of the sequential design of experiments", 1952.
    """

    game: HiddenBandit
    attention: float = probability_field("attention", default=0.8)

    def action_dist(self, state: Pulls, agent: str) -> Distribution[int]:
        here = [(arm, reward) for context, arm, reward in state.done if context == state.context]
        every = uniform(range(self.game.arms))
        stays = uniform([here[-1][0]]) if here and here[-1][1] else every
        return Finite(attentive(self.attention, stays, every).pmf())
