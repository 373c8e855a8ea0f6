"""Absolute-advantage-weighted (AAW) episode sampling: which of the played episodes are trained on.

Advantages are computed on all G episodes of a group; then K of them are drawn, more likely the
larger |A| (``first_draw``). Source: arXiv:2508.10839, sampling of episodes by absolute advantages [paper]; that
they are a part of a larger batch is inferred; the formula, the exponent, drawing without replacement and within a
group are reconstructed [ours], and each is an option with a name. The unit is the (episode, role).

Facts that the tests check:

- returns that are not all equal and alpha = 1: the first draw is above the group's mean with
  probability 1/2;
- the std cancels in p, within a group;
- with replacement and no correction the effective advantage is proportional to A|A|;
- a draw divided by its inclusion probability restores the full group's policy-gradient term under
  whole-episode credit; with a floor, or where every episode can be drawn, every term of the loss
  that is a sum over episodes, whatever the credit.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from algorithms.method.advantages import Numbers, finite_vector
from algorithms.method.first_draw import SamplingKind, first_draw_probabilities
from algorithms.method.inclusion import checked_probabilities, inclusion_probabilities
from tsmg import (
    Distribution,
    Finite,
    InvalidArgumentError,
    Stream,
    deterministic,
    product,
)

Scope = Literal["group", "batch"]


@attrs.frozen(kw_only=True)
class SamplingRule:
    """How episodes are chosen from a batch of groups.

    Attributes:
      kind: "aaw" draws by |A|^alpha; "optimal" by ``gradient_sizes``; "uniform" draws among all episodes, those
        of advantage 0 included; "all" takes every episode once with weight 1, and uses nothing else of the rule.
      kept: K, how many draws a group (scope "group"), or K times the number of groups from the
        whole batch (scope "batch"). Fewer are selected if fewer advantages differ from 0.
      alpha: exponent of "aaw".
      floor: share of the uniform distribution in each draw; above 0 every episode can be drawn, also of a group
        without signal.
      replacement: whether an episode can be drawn again; it is then selected more than once.
      scope: draw within each group, or over the batch.
      corrected: whether to divide by the inclusion probabilities.
    """

    kind: SamplingKind
    kept: int
    alpha: float = 1.0
    floor: float = 0.0
    replacement: bool = False
    scope: Scope = "group"
    corrected: bool = False


@attrs.frozen(kw_only=True)
class Selected:
    """An episode that is trained on.

    Attributes:
      group: index of its group in the batch.
      episode: its index in the group.
      weight: the factor of its terms in the loss, besides the denominator that the configuration fixes: 1 without
        correction, kept / (G pi_e) with it.

    Theory: Equation 8.4.
    """

    group: int
    episode: int
    weight: float


@attrs.frozen(kw_only=True, eq=False)
class _Pool:
    """Episodes that are drawn from together: of one group, or of the batch.

    Attributes:
      choices: what is selected when an episode is drawn.
      probabilities: of the first draw; ``None`` if nothing can be drawn from the pool.
      count: how many draws.
    """

    choices: tuple[Selected, ...]
    probabilities: NDArray[np.float64] | None
    count: int

    def chosen(self, drawn: Iterable[int]) -> tuple[Selected, ...]:
        """What is selected when these are drawn."""
        return tuple(self.choices[i] for i in drawn)


def draw_episodes(
    probabilities: NDArray[np.float64], count: int, rng: Stream, *, replacement: bool = False
) -> tuple[int, ...]:
    """Successive draws of episodes; without replacement, each among those that are left.

    Args:
      probabilities: p. Shape (G,); each 0 or at least 1e-200, sum 1.
      count: K, how many draws, at least 1.
      rng: one draw of this stream is used for each episode.
      replacement: whether an episode can be drawn again.

    Returns:
      Episode indices in the order of the draws. Without replacement they differ, and where fewer
      than K probabilities are above 0, only those episodes are drawn.

    Raises:
      ShapeError: ``probabilities`` is not one row of numbers, or is empty.
      InvalidArgumentError: they are not a distribution, or ``count`` is below 1.

    Example:
      >>> draw_episodes(np.array([0.0, 1.0, 0.0]), 2, Stream("example"))
      (1,)
      >>> draw_episodes(np.array([0.0, 1.0, 0.0]), 2, Stream("example"), replacement=True)
      (1, 1)
    """
    left = checked_probabilities(probabilities, count).copy()
    drawn: list[int] = []
    for _ in range(count if replacement else min(count, int(np.count_nonzero(left)))):
        drawn.append(_draw(left, rng))
        if not replacement:
            left[drawn[-1]] = 0.0
    return tuple(drawn)


def select_episodes(
    advantages_by_group: Sequence[NDArray[np.float64]],
    rule: SamplingRule,
    *,
    rngs: Sequence[Stream],
) -> list[Selected]:
    """Choose the episodes of a batch to train on.

    Weights are meant for a loss that is divided by D, the number of groups times ``kept``. A corrected weight is
    kept / (G pi_e), with G the size of the episode's own group, so that

        E[ sum over selected of weight * f_e ] / (B K)  =  mean over groups of (1/G) sum over e of f_e

    over all e that can be drawn: every e with "uniform" or a floor, those of advantage other than 0 with "aaw" alone,
    which restores the policy-gradient term of whole-episode credit, but not the KL and entropy terms; then a group
    without signal adds nothing.

    Args:
      advantages_by_group: A of each group of the batch, each of shape (G,), finite; with "optimal" ``gradient_sizes``.
      rule: how episodes are chosen.
      rngs: one stream per group; scope "batch" uses only the first, "all" none.

    Returns:
      The selected episodes, group by group (scope "batch": in the order of the draws).

    Raises:
      ShapeError: a group's advantages are not one row of numbers, or there are none.
      InvalidArgumentError: an unknown kind or scope, ``kept`` below 1 or (without replacement) above the number of
        episodes, a bad alpha, not one stream a group, an advantage that is not finite.

    Example:
      >>> chosen = select_episodes(
      ...     [np.array([1.0, -1.0, 0.0]), np.zeros(3)],
      ...     SamplingRule(kind="aaw", kept=2, corrected=True), rngs=[Stream(0), Stream(1)])
      >>> sorted((s.group, s.episode, round(s.weight, 4)) for s in chosen)
      [(0, 0, 0.6667), (0, 1, 0.6667)]

    Theory: Definition 8.1, Equation 8.4.
    """
    groups = _checked_groups(advantages_by_group)
    if rule.kind == "all":
        return _all_episodes(groups)
    if len(rngs) != len(groups):
        raise InvalidArgumentError(
            f"'rngs' must contain one stream per group (got {len(rngs)} for {len(groups)} groups)"
        )
    pools = _pools(groups, rule)
    selected: list[Selected] = []
    for pool, rng in zip(pools, rngs, strict=False):
        if pool.probabilities is not None:
            drawn = draw_episodes(pool.probabilities, pool.count, rng, replacement=rule.replacement)
            selected += pool.chosen(drawn)
    return selected


def selection_dist(
    advantages_by_group: Sequence[NDArray[np.float64]], rule: SamplingRule
) -> Distribution[tuple[Selected, ...]]:
    """The distribution of what ``select_episodes`` selects, apart from the order of the draws.

    Args:
      advantages_by_group: A of each group, as for ``select_episodes``.
      rule: how episodes are chosen.

    Returns:
      A finite distribution of selections. Without replacement up to 2^G of them for a pool of G episodes.

    Raises:
      ShapeError, InvalidArgumentError: as for ``select_episodes``.

    Example:
      >>> dist = selection_dist([np.array([2.0, -1.0, -1.0])], SamplingRule(kind="aaw", kept=1))
      >>> [(s.episode, p) for (s,), p in dist.enumerate()]
      [(0, 0.5), (1, 0.25), (2, 0.25)]

    Theory: Definition 8.1, Equation 8.4.
    """
    groups = _checked_groups(advantages_by_group)
    if rule.kind == "all":
        return deterministic(tuple(_all_episodes(groups)))
    pools = _pools(groups, rule)
    dists = [
        _drawn_dist(pool.probabilities, pool.count, rule.replacement).map(pool.chosen)
        for pool in pools
        if pool.probabilities is not None
    ]
    return product(dists).map(lambda parts: tuple(itertools.chain.from_iterable(parts)))


def effective_sample_size(weights: Numbers) -> float:
    """Kish's effective sample size, (sum w)^2 / sum w^2.

    Args:
      weights: w, each finite and at least 0. Shape (E,); E may be 0.

    Returns:
      Between 1 and E: E for equal weights. 0 if there is no weight above 0. Unit: episodes.

    Raises:
      ShapeError: not one row of numbers.
      InvalidArgumentError: a weight is negative or not finite.

    Example:
      >>> effective_sample_size([1.0, 1.0, 0.0, 0.0]), effective_sample_size([])
      (2.0, 0.0)
    """
    if not np.size(weights):
        return 0.0
    vector = finite_vector("weights", weights)
    if (vector < 0).any():
        raise InvalidArgumentError(f"'weights' must be at least 0 (got {vector.tolist()})")
    if not vector.any():
        return 0.0
    shares = vector / vector.max()
    return float(shares.sum() ** 2 / (shares**2).sum())


def _draw(weights: NDArray[np.float64], rng: Stream) -> int:
    """One index, with probability proportional to its weight; never one of weight 0."""
    cumulative = np.cumsum(weights)
    index = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
    return min(index, int(np.flatnonzero(weights)[-1]))


def _checked_groups(groups: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    return [
        finite_vector(f"advantages_by_group[{g}]", advantages)
        for g, advantages in enumerate(groups)
    ]


def _all_episodes(groups: Sequence[NDArray[np.float64]]) -> list[Selected]:
    return [
        Selected(group=g, episode=e, weight=1.0)
        for g, advantages in enumerate(groups)
        for e in range(advantages.size)
    ]


def _pools(groups: Sequence[NDArray[np.float64]], rule: SamplingRule) -> list[_Pool]:
    """The sets of episodes that are drawn from together: the groups, or the batch."""
    if rule.scope not in ("group", "batch"):
        raise InvalidArgumentError(f"'scope' must be group or batch (got {rule.scope!r})")
    sizes = [advantages.size for advantages in groups]
    labels = [[(g, e) for e in range(size)] for g, size in enumerate(sizes)]
    count = rule.kept
    if rule.scope == "batch" and groups:
        labels = [list(itertools.chain.from_iterable(labels))]
        count, groups = rule.kept * len(groups), [np.concatenate(groups)]
    pools = []
    for labelled, advantages in zip(labels, groups, strict=True):
        if count < 1 or (count > len(labelled) and not rule.replacement):  # with a signal or not
            raise InvalidArgumentError(
                f"'kept' must be at least 1 and, without replacement, at most the number of episodes "
                f"(got {count} draws from {len(labelled)} episodes)"
            )
        probabilities = first_draw_probabilities(
            advantages, rule.kind, alpha=rule.alpha, floor=rule.floor
        )
        weights = np.ones(len(labelled))
        if rule.corrected and probabilities is not None:
            included = inclusion_probabilities(probabilities, count, replacement=rule.replacement)
            weights = np.divide(rule.kept, included, out=weights, where=included > 0)
            weights = weights / [sizes[group] for group, _ in labelled]
        choices = tuple(
            Selected(group=group, episode=episode, weight=float(weight))
            for (group, episode), weight in zip(labelled, weights, strict=True)
        )
        pools.append(_Pool(choices=choices, probabilities=probabilities, count=count))
    return pools


def _drawn_dist(
    p_G: NDArray[np.float64], count: int, replacement: bool
) -> Distribution[tuple[int, ...]]:
    """The distribution of which episodes are drawn, in ascending order: built up draw by draw."""
    dist: dict[tuple[int, ...], float] = {(): 1.0}
    for _ in range(count if replacement else min(count, int(np.count_nonzero(p_G)))):
        longer: dict[tuple[int, ...], float] = {}
        for drawn, probability in dist.items():
            taken = () if replacement else drawn
            left = [i for i in np.flatnonzero(p_G).tolist() if i not in taken]
            total = math.fsum(p_G[left])
            for i in left:
                grown = tuple(sorted((*drawn, i)))
                longer[grown] = longer.get(grown, 0.0) + probability * float(p_G[i]) / total
        dist = longer
    return Finite(dist)
