"""Exact signal, noise and cost of a way to use groups, if episodes are of a few kinds.

An episode is of one of a few kinds, each with a return, a length and a distribution of the score. A group is given by
the number of its members of each kind, and a draw from it by the number of trained ones of each kind. Mean and variance
of the estimate are therefore finite sums, for groups of 16, too.

Trained tokens are those of groups with a signal. If the trainer keeps the others for their KL, too
(``zero_variance_groups``), every way to use groups pays for them in proportion to the episodes that it keeps.

Source: ours.
"""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import final

import attrs
import numpy as np

from algorithms import group_relative_advantages
from algorithms.method.advantages import StdKind
from proofs.estimators.arms import Arm, multinomial, outcomes
from proofs.estimators.corridor import Corridor
from proofs.exact.gradients import Array
from tsmg import InvalidArgumentError


@final
@attrs.frozen(kw_only=True)
class Kind:
    """Episodes with equal return and length.

    Attributes:
      probability: the probability that an episode is of this kind.
      value: its return.
      tokens: its length; a mean number, so not necessarily whole.
      score_D: the mean of its score.
      square: the mean squared norm of its score.
    """

    probability: float
    value: float
    tokens: float
    score_D: tuple[float, ...]
    square: float


def corridor_kinds(corridor: Corridor) -> list[Kind]:
    """Successes and failures of a corridor; scores along the gradient only, the rest as scatter."""
    q, norm = corridor.success_rate, math.sqrt(corridor.success_square)
    return [
        Kind(
            probability=q,
            value=1.0,
            tokens=corridor.steps,
            score_D=(norm,),
            square=corridor.success_square + corridor.noise,
        ),
        Kind(
            probability=1 - q,
            value=0.0,
            tokens=corridor.steps,
            score_D=(-q / (1 - q) * norm,),
            square=corridor.failure_square + corridor.noise,
        ),
    ]


def arm_kinds(arms: Mapping[str, Arm]) -> list[Kind]:
    """Each arm with each of its payments."""
    return [
        Kind(
            probability=p,
            value=paid,
            tokens=length,
            score_D=tuple(score_A.tolist()),
            square=float(score_A @ score_A),
        )
        for p, paid, length, score_A in outcomes(arms)
    ]


Counts = tuple[int, ...]


@final
@attrs.frozen(kw_only=True, eq=False)
class Uses:
    """Ways in which a group may be used that have the same coefficients of scores; ``_U`` ways, ``_K`` kinds.

    Attributes:
      probabilities_U: how likely each is.
      drawn_U_K: how many episodes of each kind are trained on.
      coefficients_K: of the score of an episode of each kind.
    """

    probabilities_U: Array
    drawn_U_K: Array
    coefficients_K: Array

    @classmethod
    def of(cls, dist: Mapping[Counts, float], coefficients_K: Array) -> "Uses":
        """The uses of a distribution of what is drawn."""
        return cls(
            probabilities_U=np.array(list(dist.values())),
            drawn_U_K=np.array(list(dist), dtype=np.float64),
            coefficients_K=coefficients_K,
        )


Relative = Callable[[Counts, Array, Array], Iterator[Uses]]
"""From the numbers of each kind in a group, their returns and their advantages to the possible uses of the group."""


@final
@attrs.frozen(kw_only=True)
class Performance:
    """Signal, noise and cost of the estimate of one group.

    Attributes:
      product: of the mean and the true gradient.
      truth_square: the squared norm of the true gradient.
      mean_square: the squared norm of the mean.
      second: the mean of the squared norm.
      played: expected number of generated tokens.
      trained: expected number of trained tokens, of groups with a signal.
      signal_share: P, how likely a group has a signal.

    Theory: Theorem 8.4, Equation 8.6.
    """

    product: float
    truth_square: float
    mean_square: float
    second: float
    played: float
    trained: float
    signal_share: float

    @property
    def cosine(self) -> float:
        """The cosine between the mean and the true gradient."""
        return self.product / math.sqrt(self.mean_square * self.truth_square)

    @property
    def scale(self) -> float:
        """The component of the mean along the true gradient, as a multiple of the latter."""
        return self.product / self.truth_square

    @property
    def variance(self) -> float:
        """The trace of the covariance."""
        return self.second - self.mean_square

    @property
    def snr(self) -> float:
        """The squared component along the true gradient, over the variance; negative where it points against it."""
        return math.copysign(self.product**2, self.product) / self.truth_square / self.variance

    @property
    def refilling_gain(self) -> float:
        """The gain per generated token from playing groups until one has a signal, each from a new start.

        Source: Equation 8.6 of ``docs/theory/08_aaw_episode_sampling.md`` [ours].
        """
        share = self.signal_share
        mean_square, second = self.mean_square / share**2, self.second / share
        return (second - share * mean_square) / (second - mean_square)

    def per_token(self, ratio: float) -> float:
        """The SNR over the cost of a group, ``played + ratio * trained``.

        Args:
          ratio: rho, the cost of training on a token relative to that of sampling one.
        """
        return self.snr / (self.played + ratio * self.trained)


def over_starts(starts: Sequence[Performance]) -> Performance:
    """The figures of one group on a uniformly drawn start, if the policy has separate logits for each.

    Args:
      starts: the figures on each start.
    """
    count = len(starts)

    def mean(name: str) -> float:
        return math.fsum(getattr(start, name) for start in starts) / count

    return Performance(
        product=mean("product") / count,
        truth_square=mean("truth_square") / count,
        mean_square=mean("mean_square") / count,
        second=mean("second"),
        played=mean("played"),
        trained=mean("trained"),
        signal_share=mean("signal_share"),
    )


def performance(
    kinds: Sequence[Kind], relative: Relative, *, size: int, divided: bool = True
) -> Performance:
    """The figures of one way to use groups, constant weighting.

    Args:
      kinds: of the game's episodes; probabilities sum to 1.
      relative: the way.
      size: G.
      divided: whether advantages are divided by the population std.

    Raises:
      InvalidArgumentError: probabilities do not sum to 1.

    Example:
      >>> coin = corridor_kinds(Corridor(success_rate=0.5))
      >>> def both(counts_K, values_K, advantages_K):
      ...     yield Uses.of({counts_K: 1.0}, advantages_K / 2)
      >>> found = performance(coin, both, size=2, divided=False)
      >>> round(found.scale, 6), round(found.snr, 6), round(found.trained, 6)
      (0.5, 1.0, 1.0)
    """
    p_K = np.array([kind.probability for kind in kinds])
    if abs(p_K.sum() - 1) > 1e-9:
        raise InvalidArgumentError(
            f"'kinds' must have probabilities that sum to 1 (got {p_K.sum()})"
        )
    values_K = np.array([kind.value for kind in kinds])
    tokens_K = np.array([kind.tokens for kind in kinds])
    scores_K_D = np.array([kind.score_D for kind in kinds])
    scatter_K = np.array([kind.square for kind in kinds]) - (scores_K_D**2).sum(axis=1)
    first_D, second, trained, share = np.zeros(scores_K_D.shape[1]), 0.0, 0.0, 0.0
    for counts_K, chance in multinomial(p_K.tolist(), size):
        found = _uses(relative, counts_K, tuple(values_K.tolist()), divided)
        share += chance if found else 0.0
        for uses in found:
            weights_U = chance * uses.probabilities_U
            estimates_U_D = (uses.drawn_U_K * uses.coefficients_K) @ scores_K_D
            squares_U = (estimates_U_D**2).sum(axis=1)
            first_D += weights_U @ estimates_U_D
            second += float(
                weights_U @ (squares_U + uses.drawn_U_K @ (uses.coefficients_K**2 * scatter_K))
            )
            trained += float(weights_U @ uses.drawn_U_K @ tokens_K)
    truth_D = (p_K * values_K) @ scores_K_D
    return Performance(
        product=float(first_D @ truth_D),
        truth_square=float(truth_D @ truth_D),
        mean_square=float(first_D @ first_D),
        second=second,
        played=size * float(p_K @ tokens_K),
        trained=trained,
        signal_share=share,
    )


@functools.lru_cache(maxsize=2**14)  # many success rates have the same groups
def _uses(
    relative: Relative, counts_K: Counts, values_K: tuple[float, ...], divided: bool
) -> tuple[Uses, ...]:
    """The uses of a group; none if its returns are all equal."""
    returns_G = np.repeat(values_K, counts_K)
    advantages_G = advantages(returns_G, divided=divided)
    if not advantages_G.any():
        return ()
    relative_to = dict(zip(returns_G.tolist(), advantages_G.tolist(), strict=True))
    advantages_K = np.array([relative_to.get(value, 0.0) for value in values_K])
    return tuple(relative(counts_K, np.array(values_K), advantages_K))


def advantages(returns_G: Array, *, divided: bool) -> Array:
    """Advantages relative to the mean, divided by the population std without eps, or not."""
    kind: StdKind = "population" if divided else "none"
    found_G: Array = group_relative_advantages(returns_G, std=kind, eps=0.0)
    return found_G
