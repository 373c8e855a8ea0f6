"""The estimator laboratory: expectation and covariance of a gradient estimator.

An estimator (``algorithms.Estimator``: credit, baseline, std, episode sampling, weighting) turns groups of episodes
into weighted completions. It is evaluated on all groups that a policy can play on a finite game, and compared with the
exact gradient. If there are too many groups, a sample is drawn, and every figure has an interval.

At the first optimiser step on a batch the ratio of new to old probabilities is 1, so clipping is inactive and the
gradient of the loss is minus the sum of weight times advantage times score: the vector that is analysed here. KL and
entropy terms are left out, but the zero-variance groups that the trainer keeps for them are counted (and count, where a
credit rule gives their steps an advantage). With N learners every weight is divided by N, as the trainer does.

Source: ``docs/theory/10_estimator.md`` [ours].
"""

import functools
import math
import operator
from collections.abc import Mapping
from functools import cached_property
from typing import Any, TypeAlias, final

import attrs
import numpy as np

from algorithms import Estimator, MSGRPOConfig
from algorithms.method.estimator_settings import check_estimator
from algorithms.play.after_episodes import read_at_end
from proofs.estimators.batches import Batches, candidate_starts, group_classes, groups_are_apart
from proofs.estimators.moments import BLOCKS, Moments, jackknife
from proofs.estimators.rule_checks import answers_of, check_same, treats_members_alike
from proofs.exact.gradients import Array, TrajectoryDistribution
from tsmg import InvalidArgumentError

Settings: TypeAlias = Mapping[str, Any]  # of MSGRPOConfig, by the names of its fields

GROUP_LIMIT = 20_000


@final
@attrs.frozen(kw_only=True, eq=False, slots=False)
class EstimatorAnalysis:
    """Expectation, covariance and cost of an estimator over batches of groups.

    With several learners, the true gradient is the sum of the learners' gradients, and the estimate a mean over them.

    Attributes:
      dist: the trajectory distribution.
      estimator: the estimator that was analysed.
      exact: whether all groups were listed; if not, ``batches`` were drawn.
      batches: number of batches that were evaluated; single groups, where the groups of a batch do not interact.
      by_token: whether advantages are those of tokens, and ``_C`` are all tokens of the distinct completions.

    Theory: Definition 10.1, Definition 10.2.
    """

    dist: TrajectoryDistribution
    estimator: Estimator
    exact: bool
    batches: int
    by_token: bool
    _moments: tuple[Moments, ...]
    _copies: int

    @cached_property
    def mean_D(self) -> Array:
        """The expected estimate. Shape (D,)."""
        mean_D: Array = self._mean_C @ self._scores_C_D
        return mean_D

    @property
    def bias_D(self) -> Array:
        """The expected estimate minus the true gradient. Shape (D,).

        Theory: Equation 10.1.
        """
        return self.mean_D - self.dist.gradient_D

    @property
    def covariance_D_D(self) -> Array:
        """The covariance of the estimate over batches. Shape (D, D).

        Theory: Equation 10.2.
        """
        scores_C_D = self._scores_C_D
        return scores_C_D.T @ self._covariance_C_C @ scores_C_D

    @property
    def cosine(self) -> float:
        """The cosine between the expected estimate and the true gradient; NaN if one of them is 0."""
        norms = float(np.linalg.norm(self.mean_D) * np.linalg.norm(self.dist.gradient_D))
        return float(self.mean_D @ self.dist.gradient_D) / norms if norms else math.nan

    @property
    def scale(self) -> float:
        """The component of the expected estimate along the true gradient, as a multiple of the latter."""
        square = float(self.dist.gradient_D @ self.dist.gradient_D)
        return float(self.mean_D @ self.dist.gradient_D) / square if square else math.nan

    @property
    def _scores_C_D(self) -> Array:
        return self.dist.token_scores_K_D if self.by_token else self.dist.scores_C_D

    @cached_property
    def variance(self) -> float:
        """The trace of the covariance of the estimate."""
        scores_C_D = self._scores_C_D
        return max(0.0, float(((self._covariance_C_C @ scores_C_D) * scores_C_D).sum()))

    @property
    def snr(self) -> float:
        """The signal-to-noise ratio: the component along the true gradient, squared, over the variance.

        It is proportional to the number of independent batches that are averaged, and negative if the component points
        against the gradient.

        Theory: Definition 10.2, Equation 10.4.
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
    def zero_variance_share(self) -> float:
        """The expected share of groups, in their roles, of which no episode is selected: returns do not vary, say."""
        return self._total.zero_variance / self._total.weight

    @property
    def snr_per_generated_token(self) -> float:
        """``snr / generated_tokens``: compares batches at an equal cost of rollouts."""
        return self.snr / self.generated_tokens

    @property
    def snr_per_trained_token(self) -> float:
        """``snr / trained_tokens``: compares batches at an equal cost of updates; NaN if nothing is trained on."""
        return self.snr / self.trained_tokens if self.trained_tokens else math.nan

    def interval(self, name: str) -> tuple[float, float]:
        """The 95% confidence interval of a scalar figure, by the jackknife over 20 blocks of batches.

        Args:
          name: "cosine", "scale", "variance", "snr", "generated_tokens", "trained_tokens", "zero_variance_share",
            "snr_per_generated_token" or "snr_per_trained_token".

        Returns:
          The interval; both ends are the figure itself if the analysis is exact.
        """
        whole = float(getattr(self, name))
        if self.exact:
            return whole, whole
        return jackknife(whole, [float(getattr(rest, name)) for rest in self._left_out])

    def standard_error_D(self) -> Array:
        """The standard error of ``mean_D``; zeros if the analysis is exact. Shape (D,)."""
        if self.exact:
            return np.zeros_like(self.mean_D)
        variances_D = np.maximum(np.diagonal(self.covariance_D_D), 0)  # of a batch of all groups
        return np.sqrt(variances_D * self._copies / self.batches)

    @cached_property
    def _left_out(self) -> tuple["EstimatorAnalysis", ...]:
        """The analysis without each of the blocks."""
        return tuple(
            attrs.evolve(self, moments=self._moments[:i] + self._moments[i + 1 :])
            for i in range(len(self._moments))
        )

    @cached_property
    def _total(self) -> Moments:
        return functools.reduce(operator.add, self._moments)

    @property
    def _mean_C(self) -> Array:
        return self._total.first_C / self._total.weight

    @property
    def _covariance_C_C(self) -> Array:
        """The covariance over batches, each of ``copies`` independent groups. Shape (C, C)."""
        spread = self._total.second_C_C / self._total.weight - np.outer(self._mean_C, self._mean_C)
        return spread / self._copies


def analyse_estimator(
    dist: TrajectoryDistribution,
    config: MSGRPOConfig,
    *,
    estimator: Estimator | None = None,
    limit: int = GROUP_LIMIT,
    samples: int = 4000,
    seed: int = 0,
) -> EstimatorAnalysis:
    """Expectation and covariance of the estimate under a configuration, over all batches or a sample of them.

    All batches are listed if a batch is one group, or if its groups do not interact (sampling within groups, the
    weighting "constant", "episode" or "sequence", no group filter and no batch rule): then the distribution of one
    group is enough. Groups that are played again (``max_plays`` above 1) count with their whole cost. A rule with a
    state is analysed in its current state.

    Args:
      dist: the trajectory distribution.
      config: the settings; those of play and optimisation have no effect, and those of regularisers only on whether
        zero-variance groups are trained on.
      estimator: that of the settings unless given; batches are drawn if its rules do not treat the members of a group
        alike.
      limit: greatest number of distinct groups that are listed; if there are more, batches are drawn.
      samples: number of batches that are then drawn.
      seed: seed of the draws.

    Raises:
      InvalidArgumentError: fewer samples than 20; shared chance draws, which have no distribution of a group; or a rule
        gives different results for the same group, or sometimes advantages of completions and sometimes of tokens.

    Example:
      >>> import games, lap
      >>> game = games.make("BernoulliBandit-v0", means=(0.25, 0.75), pulls=1)
      >>> policy = lap.LanguageAgentPolicy(model=lap.TabularModel(("1", "2"), capacity=1),
      ...     parser=lap.WholeReplyParser(), sampling=lap.Sampling(max_reply_tokens=1))
      >>> plain = MSGRPOConfig(groups=1, group_size=4, sampling="all", std="none")
      >>> analysis = analyse_estimator(TrajectoryDistribution.of(game, policy), plain)
      >>> analysis.exact, round(analysis.cosine, 6), round(analysis.scale, 6)  # the group's mean: (G - 1) / G
      (True, 1.0, 0.75)

    Theory: Definition 10.1.
    """
    if config.common_chance:
        raise InvalidArgumentError(
            "'common_chance' must be off: the trajectories of groups that share draws are not independent"
        )
    if samples < BLOCKS:
        raise InvalidArgumentError(f"'samples' must be at least {BLOCKS} (got {samples})")
    estimator = estimator or Estimator.of(config, dist.game.facts)
    check_estimator(estimator, config, dist.game.facts)
    estimator.bind(read_at_end(dist.game, {agent: dist.learner(agent) for agent in dist.learners}))
    batches_of = Batches(
        dist=dist,
        estimator=estimator,
        config=config,
        classes=group_classes(dist, estimator.group_on),
        starts=estimator.start_law(candidate_starts(dist)),
    )
    answers = answers_of(batches_of)
    check_same(estimator, answers, answers_of(batches_of))
    apart = config.groups == 1 or groups_are_apart(estimator, config)
    again = config.max_plays > 1 and len(dist.learners) > 1  # some of the roles may pass
    count = batches_of.count(limit) if apart and not again else limit + 1
    if count <= limit and treats_members_alike(batches_of):
        blocks: tuple[Moments, ...] = (Moments.of(batches_of.listed()),)
        exact, batches = True, count
    else:
        together = 1 if apart else config.groups
        numbers = [range(b, samples, BLOCKS) for b in range(BLOCKS)]
        blocks = tuple(Moments.of(batches_of.drawn(part, seed, together)) for part in numbers)
        exact, batches = False, samples
    check_same(estimator, answers, answers_of(batches_of))
    return EstimatorAnalysis(
        dist=dist,
        estimator=estimator,
        exact=exact,
        batches=batches,
        by_token=batches_of.by_token,
        moments=blocks,
        copies=config.groups if apart else 1,
    )
