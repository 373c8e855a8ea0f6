"""What draws by |A| ascend if returns take more than two values: powers of deviations, in place of the mean.

As groups grow and the share of kept episodes goes to 0, the weight of a return r (``return_weights``) tends to

    u(r) = sign(r - V) |r - V|^(1 + alpha) / E|R - V|^alpha,    u held fixed,

so the estimate follows E[sign(R - V) |R - V|^(1 + alpha)]: it seeks skew. A gamble shows how much: the risky arm pays 3
with probability r, otherwise -1; the safe one pays 0; the policy plays both equally often. The mean prefers risky above
r = 1/4.

Source: ``docs/theory/08_aaw_episode_sampling.md`` (Equation 8.8) [ours].
"""

import functools
from collections.abc import Callable, Mapping

import attrs
import numpy as np

from algorithms import MSGRPOConfig
from proofs.estimators.start_weights import Design, return_weights
from proofs.exact.gradients import Array

Law = Mapping[float, float]
Weights = Callable[[Law], Mapping[float, float]]

PRIZE, LOSS, SAFE = 3.0, -1.0, 0.0
_STEPS = 30  # of bisection: to within 1e-9


def limit_weights(law: Law, *, alpha: float = 1.0) -> dict[float, float]:
    """u(r) of a draw of few from a large group by |A|^alpha, without std and correction.

    Args:
      law: the probability of each return; not all on one.
      alpha: exponent of the draw.

    Example:
      >>> limit_weights({1.0: 0.5, -1.0: 0.5})
      {1.0: 1.0, -1.0: -1.0}

    Theory: Theorem 8.5, Equation 8.8.
    """
    mean = sum(p * r for r, p in law.items())
    size = sum(p * abs(r - mean) ** alpha for r, p in law.items())
    return {r: (r - mean) * abs(r - mean) ** alpha / size for r in law}


def group_weights(config: MSGRPOConfig) -> Weights:
    """U of a configuration, whose groups are computed once and not for every law.

    Args:
      config: the settings, as for ``return_weights``.
    """
    design = Design.of(config)

    @functools.cache
    def coefficients(returns: tuple[float, ...]) -> Array:
        return design.coefficients(np.array(returns))

    def alike(returns_G: Array) -> Array:
        order_G = np.argsort(returns_G, kind="stable")
        found_G = np.empty(len(returns_G))
        found_G[order_G] = coefficients(tuple(returns_G[order_G].tolist()))
        return found_G

    return functools.partial(return_weights, attrs.evolve(design, coefficients=alike))


def preference(weights: Weights, chance: float) -> float:
    """How much the estimate prefers the risky arm: the mean of u over its payments, minus u of the safe payment.

    Args:
      weights: u of an estimator, from the law of returns.
      chance: r, how likely the prize is.
    """
    u = weights({PRIZE: chance / 2, LOSS: (1 - chance) / 2, SAFE: 0.5})
    return chance * u[PRIZE] + (1 - chance) * u[LOSS] - u[SAFE]


def boundary(weights: Weights) -> float:
    """The probability of the prize above which the estimate prefers the risky arm; by bisection.

    Example:
      >>> round(boundary(limit_weights), 3)
      0.043
    """
    low, high = 0.0, 0.5
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if preference(weights, middle) > 0 else (middle, high)
    return (low + high) / 2


def draw_boundary(*, kept: int, size: int = 16, alpha: float = 1.0) -> float:
    """The boundary of a draw of K from G by |A|^alpha, without std and correction.

    Args:
      kept: K.
      size: G.
      alpha: exponent of the draw.

    Theory: Theorem 8.5, Equation 8.8.
    """
    config = MSGRPOConfig(group_size=size, kept_episodes=kept, alpha=alpha, std="none")
    return boundary(group_weights(config))
