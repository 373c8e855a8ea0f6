"""The estimator laboratory: what a gradient estimator does in the mean, and how much it scatters.

An estimator (``algorithms.Estimator``: credit, baseline, std, episode sampling, weighting) turns groups of episodes
into weighted calls. Here it is put through all groups that a policy can play on a finite game, and compared with the
exact gradient. Where there are too many groups, some are drawn, and every figure comes with an interval.

At the first optimiser step on a batch the ratio of new to old probabilities is 1, so clipping is inactive and the
gradient of the loss is minus the sum of weight times advantage times score: the vector that is looked at here. KL and
entropy terms are left out.
"""

import functools
import itertools
import math
import operator
from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, final

import attrs
import numpy as np

from algorithms import Estimator, MSGRPOConfig
from algorithms.method.batch import RoleGroup, TrainingRow
from algorithms.method.credit import CreditRule
from algorithms.method.episode_sampling import Selected
from proofs.exact.enumeration import Trajectory
from proofs.exact.gradients import Array, TrajectoryDistribution
from tsmg import EpisodeGroup, InvalidArgumentError, Stream

GROUP_LIMIT = 20_000
BLOCKS = 20  # of batches, for intervals
_PART = 512
_T_QUANTILE = 2.093  # of Student's t with 19 degrees of freedom, two-sided 95%


@attrs.frozen(kw_only=True, eq=False)
class _Batch:
    """One batch, as far as the figures need it; ``_C`` distinct calls.

    Attributes:
      weight: its probability, or 1 where batches are drawn.
      coefficients_C: what each call's score is multiplied by.
      tokens: how many the learners sampled, and how many are trained on.
      silent: the share of groups, in their roles, in which nothing was selected.
    """

    weight: float
    coefficients_C: Array
    tokens: tuple[int, int]
    silent: float


@attrs.frozen(kw_only=True, eq=False)
class _Moments:
    """Weighted sums over batches: of 1, of what a ``_Batch`` holds, and of products of coefficients."""

    weight: float
    first_C: Array
    second_C_C: Array
    tokens: Array
    silent: float

    @classmethod
    def of(cls, batches: Iterable[_Batch]) -> "_Moments":
        """The sums, taken by parts."""
        remaining = iter(batches)
        total: _Moments | None = None
        while part := list(itertools.islice(remaining, _PART)):
            sums = cls._of_part(part)
            total = sums if total is None else total + sums
        assert total is not None  # noqa: S101 - there is always a batch
        return total

    @classmethod
    def _of_part(cls, part: Sequence[_Batch]) -> "_Moments":
        weights = np.array([one.weight for one in part])
        rows = np.stack([one.coefficients_C for one in part])
        return cls(
            weight=float(weights.sum()),
            first_C=weights @ rows,
            second_C_C=(rows * weights[:, None]).T @ rows,
            tokens=weights @ np.array([one.tokens for one in part], dtype=np.float64),
            silent=float(weights @ np.array([one.silent for one in part])),
        )

    def __add__(self, other: "_Moments") -> "_Moments":
        sums = {f: getattr(self, f) + getattr(other, f) for f in attrs.fields_dict(_Moments)}
        return _Moments(**sums)


@final
@attrs.frozen(kw_only=True, eq=False, slots=False)
class EstimatorAnalysis:
    """What was found about an estimator. With several learners, its mean is to be the sum of their gradients.

    Attributes:
      dist: the distribution of play.
      estimator: what was looked at.
      exact: whether all groups were listed; else ``batches`` were drawn.
      batches: how many batches were looked at.
    """

    dist: TrajectoryDistribution
    estimator: Estimator
    exact: bool
    batches: int
    _moments: tuple[_Moments, ...]
    _copies: int

    @cached_property
    def mean_D(self) -> Array:
        """The expected estimate. Shape (D,)."""
        mean_D: Array = self._mean_C @ self.dist.scores_C_D
        return mean_D

    @property
    def bias_D(self) -> Array:
        """The expected estimate minus the true gradient. Shape (D,)."""
        return self.mean_D - self.dist.gradient_D

    @property
    def covariance_D_D(self) -> Array:
        """The covariance of the estimate over batches. Shape (D, D)."""
        scores_C_D = self.dist.scores_C_D
        return scores_C_D.T @ self._covariance_C_C @ scores_C_D

    @property
    def cosine(self) -> float:
        """Between the expected estimate and the true gradient; NaN where one is 0."""
        norms = float(np.linalg.norm(self.mean_D) * np.linalg.norm(self.dist.gradient_D))
        return float(self.mean_D @ self.dist.gradient_D) / norms if norms else math.nan

    @property
    def scale(self) -> float:
        """The component of the expected estimate along the true gradient, as a multiple of the latter."""
        square = float(self.dist.gradient_D @ self.dist.gradient_D)
        return float(self.mean_D @ self.dist.gradient_D) / square if square else math.nan

    @cached_property
    def variance(self) -> float:
        """The trace of the covariance."""
        scores_C_D = self.dist.scores_C_D
        return max(0.0, float(((self._covariance_C_C @ scores_C_D) * scores_C_D).sum()))

    @property
    def snr(self) -> float:
        """The signal-to-noise ratio: the component along the true gradient, squared, over the variance.

        It grows in proportion to the number of independent batches that are averaged. Negative where the component
        points against the gradient.
        """
        signal = self.scale * float(np.linalg.norm(self.dist.gradient_D))
        return math.copysign(signal**2, signal) / self.variance if self.variance else math.nan

    @property
    def generated_tokens(self) -> float:
        """The expected number of tokens that the learners sample for a batch."""
        return float(self._total.tokens[0]) / self._total.weight * self._copies

    @property
    def trained_tokens(self) -> float:
        """The expected number of tokens that are trained on."""
        return float(self._total.tokens[1]) / self._total.weight * self._copies

    @property
    def silent_share(self) -> float:
        """The expected share of groups, in their roles, of which no episode is selected."""
        return self._total.silent / self._total.weight

    @property
    def snr_per_generated_token(self) -> float:
        """``snr / generated_tokens``: of batches at an equal cost of play."""
        return self.snr / self.generated_tokens

    @property
    def snr_per_trained_token(self) -> float:
        """``snr / trained_tokens``: of batches at an equal cost of learning; NaN if nothing is trained on."""
        return self.snr / self.trained_tokens if self.trained_tokens else math.nan

    def interval(self, name: str) -> tuple[float, float]:
        """The 95% confidence interval of a scalar figure, by the jackknife over 20 blocks of batches.

        Args:
          name: "cosine", "scale", "variance", "snr", "generated_tokens", "trained_tokens", "silent_share",
            "snr_per_generated_token" or "snr_per_trained_token".

        Returns:
          The interval; both ends are the figure itself where the examination is exact.
        """
        whole = float(getattr(self, name))
        if self.exact:
            return whole, whole
        return jackknife(whole, [float(getattr(one, name)) for one in self._left_out])

    def standard_error_D(self) -> Array:
        """Of ``mean_D``; zeros where the examination is exact. Shape (D,)."""
        if self.exact:
            return np.zeros_like(self.mean_D)
        return np.sqrt(np.maximum(np.diagonal(self.covariance_D_D), 0) / self.batches)

    @cached_property
    def _left_out(self) -> tuple["EstimatorAnalysis", ...]:
        """The same without each of the blocks."""
        return tuple(
            attrs.evolve(self, moments=self._moments[:i] + self._moments[i + 1 :])
            for i in range(len(self._moments))
        )

    @cached_property
    def _total(self) -> _Moments:
        return functools.reduce(operator.add, self._moments)

    @property
    def _mean_C(self) -> Array:
        return self._total.first_C / self._total.weight

    @property
    def _covariance_C_C(self) -> Array:
        """Of one batch: of ``copies`` independent groups."""
        spread = self._total.second_C_C / self._total.weight - np.outer(self._mean_C, self._mean_C)
        return spread / self._copies


def jackknife(whole: float, left_out: Sequence[float]) -> tuple[float, float]:
    """The 95% confidence interval of a figure of batches that stand in ``BLOCKS`` blocks.

    Args:
      whole: the figure of all of them.
      left_out: the figure without each of the blocks.
    """
    n = len(left_out)
    error = math.sqrt((n - 1) / n * sum((x - sum(left_out) / n) ** 2 for x in left_out))
    return whole - _T_QUANTILE * error, whole + _T_QUANTILE * error


def analyse_estimator(
    dist: TrajectoryDistribution,
    config: MSGRPOConfig,
    *,
    credit: CreditRule | None = None,
    limit: int = GROUP_LIMIT,
    samples: int = 4000,
    seed: int = 0,
) -> EstimatorAnalysis:
    """Mean and scatter of the gradient that these settings make, over all batches or over a sample of them.

    All batches are listed where a batch is one group, or where groups do not meet in it (sampling within groups, and
    the weighting "constant" or "episode"): then one group's distribution is enough.

    Args:
      dist: the distribution of play.
      config: the settings; credit, baseline, std, sampling, weighting, sizes and what groups share are looked at.
      credit: a credit rule of the user's own, in place of the settings'. It must treat the members of a group alike.
      limit: how many different groups are listed at most; beyond it batches are drawn.
      samples: how many batches are then drawn.
      seed: of the draws.

    Raises:
      InvalidArgumentError: fewer samples than 20, or shared chance draws, which have no distribution of a group.

    Example:
      >>> import games, lap
      >>> game = games.make("BernoulliBandit-v0", means=(0.25, 0.75), pulls=1)
      >>> policy = lap.LanguageAgentPolicy(model=lap.TabularModel(("1", "2"), capacity=1),
      ...     parser=lap.WholeReplyParser(), sampling=lap.Sampling(max_reply_tokens=1))
      >>> plain = MSGRPOConfig(groups=1, group_size=4, sampling="all", std="none")
      >>> found = analyse_estimator(TrajectoryDistribution.of(game, policy), plain)
      >>> found.exact, round(found.cosine, 6), round(found.scale, 6)  # the group's mean: (G - 1) / G
      (True, 1.0, 0.75)
    """
    if config.common_chance:
        raise InvalidArgumentError(
            "'common_chance' must be off: groups that share draws are not independent lines"
        )
    if samples < BLOCKS:
        raise InvalidArgumentError(f"'samples' must be at least {BLOCKS} (got {samples})")
    estimator = Estimator.of(config, dist.game.facts, credit=credit)
    bench = _Bench(dist=dist, estimator=estimator, classes=_classes(dist, estimator.group_on))
    apart = config.groups == 1 or (
        config.scope == "group" and config.weighting in ("constant", "episode")
    )
    if apart and bench.count() <= limit:
        blocks: tuple[_Moments, ...] = (_Moments.of(bench.all_groups()),)
        exact, batches = True, bench.count()
    else:
        together = 1 if apart else config.groups
        numbers = [range(b, samples, BLOCKS) for b in range(BLOCKS)]
        blocks = tuple(_Moments.of(bench.drawn(one, seed, together)) for one in numbers)
        exact, batches = False, samples
    return EstimatorAnalysis(
        dist=dist,
        estimator=estimator,
        exact=exact,
        batches=batches,
        moments=blocks,
        copies=config.groups if apart else 1,
    )


def _classes(dist: TrajectoryDistribution, group_on: str) -> list[Array]:
    """The lines that can stand in one group, by number, for each thing that groups can share."""

    def shared(trajectory: Trajectory) -> Hashable:
        if group_on == "initial_state":
            return trajectory.start
        if group_on == "nothing":
            return None
        state = trajectory.episode.start.state.state
        return tuple(dist.game.information_key(state, agent) for agent in dist.game.agents)

    classes: dict[Hashable, list[int]] = {}
    for number, trajectory in enumerate(dist.trajectories):
        classes.setdefault(shared(trajectory), []).append(number)
    return [np.array(members) for members in classes.values()]


@attrs.frozen(kw_only=True, eq=False, slots=False)
class _Bench:
    """An estimator and the lines to feed it with."""

    dist: TrajectoryDistribution
    estimator: Estimator
    classes: list[Array]

    def count(self) -> int:
        """How many different groups there are."""
        size = self.estimator.group_size
        return sum(math.comb(len(members) + size - 1, size) for members in self.classes)

    def all_groups(self) -> Iterator[_Batch]:
        """Every group and everything that can be selected of it."""
        size = self.estimator.group_size
        for members in self.classes:
            p_E = self.dist.probabilities_E[members]
            share = float(p_E.sum())
            for chosen in itertools.combinations_with_replacement(range(len(members)), size):
                chance = share * _multinomial(chosen, p_E / share)
                roles = self._roles([self._group(members[list(chosen)])])
                for selected, p in self.estimator.draw_dist(roles).enumerate():
                    yield self._batch(roles, selected, groups=1, weight=chance * float(p))

    def drawn(self, numbers: Iterable[int], seed: int, groups: int) -> Iterator[_Batch]:
        """The batches of these numbers, each from streams of its own."""
        shares = np.array([self.dist.probabilities_E[members].sum() for members in self.classes])
        for i in numbers:
            members = [self._members(shares, Stream("members", seed, i, g)) for g in range(groups)]
            roles = self._roles([self._group(one) for one in members])
            rngs = [Stream("selection", seed, i, r) for r in range(len(roles))]
            yield self._batch(roles, self.estimator.draw(roles, rngs), groups=groups, weight=1.0)

    def _members(self, shares: Array, rng: Stream) -> Array:
        members = self.classes[_pick(shares, rng)]
        p_E = self.dist.probabilities_E[members]
        size = self.estimator.group_size
        return members[[_pick(p_E, rng) for _ in range(size)]]

    def _group(self, numbers: Array) -> EpisodeGroup[Any]:
        return EpisodeGroup(episodes=tuple(self.dist.trajectories[int(e)].episode for e in numbers))

    def _roles(self, groups: Sequence[EpisodeGroup[Any]]) -> list[RoleGroup]:
        return self.estimator.role_groups(groups, self.dist.learners)

    def _batch(
        self, roles: list[RoleGroup], selected: Sequence[Selected], *, groups: int, weight: float
    ) -> _Batch:
        """The batch of which this is selected."""
        coefficients_C = np.zeros(len(self.dist.completions))
        rows = self.estimator.rows(roles, selected, asked=groups)
        for row in rows:
            number = self.dist.call_number(row.agent, row.completion)
            coefficients_C[number] += row.weight * row.advantage
        return _Batch(
            weight=weight,
            coefficients_C=coefficients_C,
            tokens=tokens_of(roles, rows),
            silent=silent_share(roles, selected),
        )


def tokens_of(roles: Sequence[RoleGroup], rows: Sequence[TrainingRow]) -> tuple[int, int]:
    """How many tokens the learners sampled for a batch, and how many are trained on."""
    completions = (
        completion
        for role in roles
        for completions_T in role.completions_G
        for completion in completions_T
    )
    return sum(len(completion.reply_ids) for completion in completions), sum(
        sum(row.completion.trainable) for row in rows
    )


def silent_share(roles: Sequence[RoleGroup], selected: Sequence[Selected]) -> float:
    """The share of groups, in their roles, of which nothing is selected."""
    return 1 - len({one.group for one in selected}) / len(roles)


def _multinomial(chosen: Sequence[int], p_E: Array) -> float:
    """The probability that independent draws are these, in any order."""
    counts = np.bincount(chosen)
    orders = math.factorial(len(chosen)) / math.prod(math.factorial(int(n)) for n in counts)
    return orders * math.prod(float(p_E[e]) for e in chosen)


def _pick(weights: Array, rng: Stream) -> int:
    cumulative = np.cumsum(weights)
    found = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
    return min(found, len(weights) - 1)
