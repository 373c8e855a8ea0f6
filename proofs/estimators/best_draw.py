"""The best draw of one episode for corrected estimates: by |A| |score| / sqrt(L), L the tokens of the episode.

A corrected draw has the mean of the whole group, whatever the probabilities p (above 0 where A is not 0). Its second
moment is sum_e |A_e score_e|^2 / (G^2 p_e), and it trains sum_e p_e L_e tokens. Their product, the cost of a given
noise, is least at p in proportion to |A| |score| / sqrt(L), by the Cauchy-Schwarz inequality.

Source: ``docs/theory/08_aaw_episode_sampling.md`` (Equation 8.9) [ours].
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import final

import attrs
import numpy as np

from algorithms.method.first_draw import gradient_sizes
from proofs.estimators.arms import LENGTHS, LOTTERY, RISKY, Arm, multinomial, outcomes
from proofs.estimators.corridor import Corridor, binomial
from proofs.exact.gradients import Array
from tsmg import Completion

_NOISE = 1e-12


def best_probabilities(products_G: Array, tokens_G: Array) -> Array:
    """p_e in proportion to |A_e| |score_e| / sqrt(L_e).

    Args:
      products_G: |A_e| |score_e|, at least 0, not all 0. Shape (G,).
      tokens_G: L_e, above 0. Shape (G,).

    Example:
      >>> best_probabilities(np.array([2.0, 1.0, 0.0]), np.array([4.0, 1.0, 1.0])).tolist()
      [0.5, 0.5, 0.0]

    Theory: Theorem 8.6, Equation 8.9.
    """
    weights_G = products_G / np.sqrt(tokens_G)
    p_G: Array = weights_G / weights_G.sum()
    return p_G


def price(products_G: Array, tokens_G: Array, p_G: Array) -> float:
    """The second moment of one corrected draw from a group, times the mean number of trained tokens.

    Args:
      products_G: |A_e| |score_e|. Shape (G,).
      tokens_G: L_e. Shape (G,).
      p_G: how likely each episode is drawn; above 0 where the product is. Shape (G,).

    Example:
      >>> price(np.array([2.0, 1.0]), np.array([1.0, 1.0]), np.array([0.5, 0.5]))
      2.5

    Theory: Equation 8.9.
    """
    needed_G = products_G > 0
    second = float((products_G[needed_G] ** 2 / p_G[needed_G]).sum()) / len(products_G) ** 2
    return second * float(p_G @ tokens_G)


@final
@attrs.frozen(kw_only=True)
class Way:
    """One way in which an episode can go.

    Attributes:
      probability: how likely it is.
      value: its return.
      square: the squared norm of its score.
      tokens: n, how many tokens it has; a mean number, so not necessarily whole.
      chances: how likely each of its tokens was; empty if nothing is estimated from them.
    """

    probability: float
    value: float
    square: float
    tokens: float
    chances: tuple[float, ...] = ()


Size = Callable[[Way], float]


def mean_price(ways: Sequence[Way], *, size: int, alpha: float, norm: Size) -> float:
    """The mean over groups of the price of one corrected draw, p_e in proportion to |A_e|^alpha times a size.

    Given the returns of a group its members are independent, so only the returns are listed. Advantages are not divided
    by the std.

    Args:
      ways: in which an episode can go; probabilities sum to 1.
      size: G.
      alpha: exponent of |A|.
      norm: an estimate of |score| / sqrt(L); above 0.
    """
    values = sorted({way.value for way in ways})
    p_V = [sum(way.probability for way in ways if way.value == value) for value in values]
    total = 0.0
    for counts_V, played in multinomial(p_V, size):
        mean = float(np.dot(counts_V, values)) / size
        own_V, drawn_V, square_V = np.zeros((3, len(values)))
        for v, (value, p) in enumerate(zip(values, p_V, strict=True)):
            a = abs(value - mean)
            for way in ways if a > _NOISE else ():
                share = way.probability / p if way.value == value else 0.0
                weight = a**alpha * norm(way)
                own_V[v] += share * a**2 * way.square * way.tokens
                drawn_V[v] += share * weight * way.tokens
                square_V[v] += share * a**2 * way.square / weight
        n_V = np.array(counts_V)
        pairs = (n_V @ drawn_V) * (n_V @ square_V) - n_V @ (drawn_V * square_V)
        total += played * float(n_V @ own_V + pairs)
    return total / size**2


def _true_norm(way: Way) -> float:
    return math.sqrt(way.square / way.tokens)


def _optimal(way: Way) -> float:
    """What the sampling rule draws by, of an episode with the advantage 1."""
    reply = Completion(
        prompt_ids=(),
        reply_ids=tuple(range(len(way.chances))),
        trainable=(True,) * len(way.chances),
        logprobs=tuple(map(math.log, way.chances)),
    )
    return float(gradient_sizes([[1.0]], [[reply]])[0])


def _surprisal(way: Way) -> float:
    return math.sqrt(sum(-math.log(p) for p in way.chances) / way.tokens)


def _even(way: Way) -> float:
    return 1.0


ESTIMATES: Mapping[str, tuple[float, Size]] = {
    "|A|^0": (0.0, _even),
    "|A|^0.5": (0.5, _even),
    "|A|": (1.0, _even),
    "|A|^2": (2.0, _even),
    "surprisal": (1.0, _surprisal),
    "optimal": (1.0, _optimal),
}
"""By name, the exponent of |A| and the estimate of |score| / sqrt(L)."""


def draw_ratios(
    ways: Sequence[Way],
    *,
    size: int,
    estimates: Mapping[str, tuple[float, Size]] = ESTIMATES,
) -> list[float]:
    """The price of each draw, over that of the best one.

    Args:
      ways: in which an episode can go.
      size: G.
      estimates: the draws.

    Example:
      >>> [round(ratio, 2) for ratio in draw_ratios(GAMES["q .05, one step"], size=16)]
      [8.74, 3.48, 1.81, 1.06, 1.04, 1.0]
    """
    best = mean_price(ways, size=size, alpha=1.0, norm=_true_norm)
    return [
        mean_price(ways, size=size, alpha=alpha, norm=norm) / best
        for alpha, norm in estimates.values()
    ]


def corridor_ratios(corridor: Corridor, *, size: int, alphas: Sequence[float]) -> list[float]:
    """The price of one corrected draw by |A|^alpha, over that by |A| times the root mean square of the score.

    The score's mean square is that of a success or of a failure, which an episode's return determines.

    Args:
      corridor: the game, with steps that do not matter.
      size: G.
      alphas: exponents.

    Example:
      >>> long = Corridor(success_rate=0.05, horizon=20)
      >>> [round(x, 2) for x in corridor_ratios(long, size=16, alphas=(0, 0.5, 1, 2))]
      [1.36, 1.02, 1.19, 5.08]
    """
    q, squares = corridor.success_rate, (corridor.failure_square, corridor.success_square)
    known = [
        Way(probability=p, value=value, square=square + corridor.noise, tokens=corridor.steps)
        for p, value, square in zip((1 - q, q), (0.0, 1.0), squares, strict=True)
    ]
    return draw_ratios(known, size=size, estimates={f"{alpha}": (alpha, _even) for alpha in alphas})


def corridor_ways(corridor: Corridor) -> list[Way]:
    """Each number of wrong steps in a corridor of steps with two actions each, a whole number of them idle."""
    p, horizon, idle = corridor.right, corridor.horizon, round(corridor.irrelevant)
    return [
        Way(
            probability=binomial(horizon, wrong, 1 - p),
            value=float(not wrong),
            square=2 * ((horizon - wrong) * (1 - p) ** 2 + wrong * p**2) + idle / 2,
            tokens=horizon + idle,
            chances=(p,) * (horizon - wrong) + (1 - p,) * wrong + (0.5,) * idle,
        )
        for wrong in range(horizon + 1)
    ]


def arm_ways(arms: Mapping[str, Arm]) -> list[Way]:
    """Each arm with each of its payments; only the first token is a choice."""
    policy = {name: arm.probability for name, arm in arms.items()}
    chosen = [policy[name] for name, arm in arms.items() for _ in arm.pays]
    return [
        Way(
            probability=p,
            value=paid,
            square=float(score_A @ score_A),
            tokens=length,
            chances=(first,) + (1.0,) * (length - 1),
        )
        for first, (p, paid, length, score_A) in zip(chosen, outcomes(arms), strict=True)
    ]


GAMES: Mapping[str, Sequence[Way]] = {
    "q .05, one step": corridor_ways(Corridor(success_rate=0.05)),
    "q .05, 20 steps": corridor_ways(Corridor(success_rate=0.05, horizon=20)),
    "q .05, 20 and 20 idle": corridor_ways(Corridor(success_rate=0.05, horizon=20, irrelevant=20)),
    "q .5, 20 steps": corridor_ways(Corridor(success_rate=0.5, horizon=20)),
    "q .95, 20 steps": corridor_ways(Corridor(success_rate=0.95, horizon=20)),
    "lengths 1, 1, 20": arm_ways(LENGTHS),
    "risky against safe": arm_ways(RISKY),
    "lottery": arm_ways(LOTTERY),
}
"""Games by name."""
