"""What an estimator follows if returns are success or failure: the weight of each start's gradient.

Groups are played on one start each. By symmetry, and since the mean score of an episode's successes is grad q and that
of its failures - grad q, the expected estimate over starts s is

    E[v] = E_s[ kappa(q(s)) grad q(s) ],    kappa(q) = G E[ c(1; n') - c(0; n') ],    n' ~ Bin(G - 1, q),

where c(r; n') is the expected coefficient of the score of an episode whose return is r, in a group of which n' other
members succeed. If kappa is not constant, starts are weighted by their difficulty. With returns of more values the
expected estimate is the sum over r of u(r) grad P(R = r), with u(r) = G E[c(r; the others)]: ``return_weights``.

Source: ``docs/theory/06_baselines_and_std.md`` (Equation 6.6) [ours].
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import final

import attrs
import numpy as np
from numpy.typing import NDArray

from algorithms import MSGRPOConfig, group_relative_advantages, inclusion_probabilities
from algorithms.method.config import resolved_std
from algorithms.method.first_draw import SAMPLING_KINDS, first_draw_probabilities
from proofs.exact.gradients import Array
from tsmg import Facts, InvalidArgumentError


@final
@attrs.frozen(kw_only=True, eq=False)
class Design:
    """How the returns of a group become coefficients of its episodes' scores, in the mean over what is drawn.

    Attributes:
      size: G.
      coefficients: from the returns of a group to the expected coefficient of each episode's score, which treats the
        members alike. Shapes (G,) and (G,).
    """

    size: int
    coefficients: Callable[[Array], Array]

    @classmethod
    def of(cls, config: MSGRPOConfig) -> "Design":
        """The design of a configuration, for groups that hide nothing from the agent.

        Raises:
          InvalidArgumentError: coefficients that do not follow from the returns of the group alone: another credit
            rule or weighting than "episode" and "constant", a draw over the batch or of one's own, a batch rule or
            group filter, shared chance, or an "optimal" draw that is not corrected.
        """
        for name, needed in _NEEDED.items():
            if getattr(config, name) != needed:
                raise InvalidArgumentError(
                    f"{name!r} must be {needed!r}, so that coefficients follow from a group's returns "
                    f"(got {getattr(config, name)!r})"
                )
        if config.sampling == "optimal" and not config.corrected:
            raise InvalidArgumentError(
                "'sampling' 'optimal' needs 'corrected', so that coefficients follow from a group's returns: "
                "otherwise they depend on the replies, too"
            )
        if config.sampling not in SAMPLING_KINDS:
            raise InvalidArgumentError(
                f"'sampling' must be one of {', '.join(SAMPLING_KINDS)}, so that coefficients follow from a group's "
                f"returns (got {config.sampling!r})"
            )
        std = resolved_std(config, Facts(perfect_information=True))

        def coefficients(returns_G: Array) -> Array:
            advantages_G = group_relative_advantages(
                returns_G, std=std, eps=config.eps, baseline=config.baseline
            )
            return advantages_G * _expected_weights(advantages_G, config)

        return cls(size=config.group_size, coefficients=coefficients)


_NEEDED = {
    "credit": "episode",
    "weighting": "constant",
    "scope": "group",
    "common_chance": False,
    "batch_rule": "none",
    "group_filter": "all",
}


def _expected_weights(advantages_G: Array, config: MSGRPOConfig) -> Array:
    """The expected sum of the weights with which each episode is selected, over D. Shape (G,)."""
    size = len(advantages_G)
    even_G = np.full(size, 1 / size)  # every episode, a uniform draw of K, or a corrected draw
    if config.sampling != "aaw" or config.corrected:
        return even_G
    p_G = first_draw_probabilities(advantages_G, "aaw", alpha=config.alpha, floor=config.floor)
    if p_G is None:
        return even_G
    included_G = inclusion_probabilities(p_G, config.kept_episodes, replacement=config.replacement)
    return included_G / config.kept_episodes


def greatest_variance(returns_G: Array, kept: int) -> list[NDArray[np.int64]]:
    """The sets of K episodes whose returns have the greatest variance: some with the least and some with the greatest.

    Source: PODS, arXiv:2504.13818.

    Args:
      returns_G: the returns of a group. Shape (G,).
      kept: K, at most G.

    Returns:
      The members of each set; several where they are tied. Episodes of equal return may be exchanged.

    Example:
      >>> [sorted(best.tolist()) for best in greatest_variance(np.array([0.0, 5.0, 1.0, 4.0]), 3)]
      [[0, 1, 2], [0, 1, 3]]
    """
    order_G = np.argsort(returns_G, kind="stable")
    size = len(returns_G)
    ends = [np.r_[order_G[: kept - n], order_G[size - n :]] for n in range(kept + 1)]
    unlike = {tuple(returns_G[end].tolist()): end for end in ends}  # equal returns are one set
    variances = [float(np.var(returns)) for returns in unlike]
    pairs = zip(unlike.values(), variances, strict=True)
    return [end for end, variance in pairs if variance >= max(variances) - 1e-12]


def pods(size: int, kept: int, *, renormalised: bool = True, eps: float = 1e-4) -> Design:
    """Max-variance down-sampling: the K episodes whose returns have the greatest variance are trained on.

    These are some with the greatest returns and some with the least. Ties are broken evenly between sets
    of returns here; the trainer takes the one with the fewest great returns.
    Source: PODS, arXiv:2504.13818; that advantages are relative to the kept episodes is as published.

    Args:
      size: G.
      kept: K, in 2..G.
      renormalised: whether mean and std are those of the kept episodes, as published, or those of the whole group.
      eps: added to the (population) std.

    Raises:
      InvalidArgumentError: a number of kept episodes that does not fit.
    """
    if not 2 <= kept <= size:
        raise InvalidArgumentError(f"'kept' must be in 2..{size} (got {kept})")

    def coefficients(returns_G: Array) -> Array:
        best = greatest_variance(returns_G, kept)
        whole_G = group_relative_advantages(returns_G, eps=eps)
        total_G = np.zeros(size)
        for end in best:
            own_K = (
                group_relative_advantages(returns_G[end], eps=eps) if renormalised else whole_G[end]
            )
            total_G[end] += own_K / (kept * len(best))
        return _shared_among_equals(returns_G, total_G)

    return Design(size=size, coefficients=coefficients)


def _shared_among_equals(returns_G: Array, values_G: Array) -> Array:
    """Each value replaced by its mean over the episodes of the same return."""
    shared_G = np.empty(len(returns_G))
    for value in np.unique(returns_G):
        alike_G = returns_G == value
        shared_G[alike_G] = values_G[alike_G].mean()
    return shared_G


def success_gains(design: MSGRPOConfig | Design) -> Array:
    """The gain of a success over a failure among the same others: c(1; n') - c(0; n'), n' = 0 .. G - 1. Shape (G,).

    The weight of a start is G times its mean over n' ~ Bin(G - 1, q): a polynomial whose coefficients in Bernstein's
    basis are G times the gains. So the weight is the same for all q if, and only if, all gains are equal.

    Theory: Equation 6.6, Equation 6.7.
    """
    made = _designed(design)
    size = made.size

    def coefficients(successes: int) -> Array:
        return made.coefficients(np.repeat([1.0, 0.0], [successes, size - successes]))

    tables = [coefficients(k) for k in range(size + 1)]
    return np.array([tables[j + 1][0] - tables[j][-1] for j in range(size)])


def start_weights(
    design: MSGRPOConfig | Design, success_rates: Sequence[float] | Array | float
) -> Array:
    """kappa(q): the weight of a start's gradient of success in the expected estimate.

    Args:
      design: settings whose groups are on one start each, which the agent sees; or a design.
      success_rates: q of the starts, each in [0, 1]. A number, or shape (S,).

    Returns:
      The weights. Shape (S,), a number's too. A success counts 1 and a failure 0. With a std that holds whatever they
      pay (up to eps); without one, multiply the weight by the difference between what a success and a failure pay.

    Raises:
      InvalidArgumentError: a rate outside of [0, 1], or settings without such weights (see ``Design.of``).

    Example:
      >>> start_weights(MSGRPOConfig(), [0.05, 0.5]).round(2).tolist()
      [6.21, 2.02]
      >>> start_weights(MSGRPOConfig(sampling="all", std="none"), [0.05, 0.5]).round(4).tolist()  # (G - 1) / G
      [0.9375, 0.9375]

    Theory: Theorem 6.3, Equation 6.6.
    """
    rates_S = np.atleast_1d(np.asarray(success_rates, dtype=np.float64))
    if rates_S.ndim != 1 or not ((rates_S >= 0) & (rates_S <= 1)).all():
        raise InvalidArgumentError(f"'success_rates' must be in [0, 1] (got {success_rates})")
    gains_J = success_gains(design)
    others = len(gains_J) - 1
    j = np.arange(others + 1)
    ways_J = np.array([float(math.comb(others, n)) for n in j])
    p_S_J = ways_J * rates_S[:, None] ** j * (1 - rates_S[:, None]) ** (others - j)
    weights_S: Array = len(gains_J) * (p_S_J @ gains_J)
    return weights_S


def return_weights(design: MSGRPOConfig | Design, law: Mapping[float, float]) -> dict[float, float]:
    """u(r): the expected estimate of groups on one start is the sum over r of u(r) grad P(R = r).

    So the estimate follows the mean of u(R), with u held fixed. A constant added to u changes nothing, since the
    probabilities sum to 1. If u is linear in r, the estimate is along the true gradient, whatever the policy is.

    Args:
      design: settings, or a design.
      law: the probability of each return. Groups are listed: (G + n - 2 choose G - 1) of them for n returns.

    Example:
      >>> config = MSGRPOConfig(group_size=4, sampling="all", std="none")
      >>> weights = return_weights(config, {3.0: 0.25, 0.0: 0.75})
      >>> round(weights[3.0] - weights[0.0], 6)  # 3 (G - 1) / G
      2.25

    Theory: Theorem 6.5, Equation 6.8.
    """
    made = _designed(design)
    others = made.size - 1
    weights = dict.fromkeys(law, 0.0)
    for company in itertools.combinations_with_replacement(list(law), others):
        p = math.factorial(others) * math.prod(
            law[r] ** company.count(r) / math.factorial(company.count(r)) for r in law
        )
        for r in law:
            weights[r] += made.size * p * float(made.coefficients(np.array([r, *company]))[0])
    return weights


def _designed(design: MSGRPOConfig | Design) -> Design:
    return design if isinstance(design, Design) else Design.of(design)
