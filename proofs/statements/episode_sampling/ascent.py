"""What draws by |A| ascend with many values of the return, and which draw is best."""

import itertools
import math
from typing import final

import attrs
import numpy as np
from hypothesis import strategies as st

from proofs.estimators.best_draw import best_probabilities, price
from proofs.estimators.risk import limit_weights
from proofs.exact.gradients import Array
from proofs.statement import Sides, statement


@final
@attrs.frozen(kw_only=True)
class Law:
    """Three returns, with relative frequencies, and the exponent of a draw."""

    returns: tuple[float, float, float]
    shares: tuple[int, int, int]
    alpha: float = 1.0

    @property
    def table(self) -> dict[float, float]:
        """The probability of each return."""
        return {r: n / sum(self.shares) for r, n in zip(self.returns, self.shares, strict=True)}

    def clearance(self) -> float:
        """How far V is from the nearest return, where |r - V| has a kink, and groups approach the limit slowly."""
        mean = sum(p * r for r, p in self.table.items())
        return min(abs(r - mean) for r in self.returns)

    def in_groups(self, others: int) -> Array:
        """U of one episode drawn by |A|^alpha, over all groups with so many others, by multinomials. Shape (3,)."""
        returns = np.array(self.returns)
        p = np.array(self.shares) / sum(self.shares)
        counts = np.array(
            [(a, b, others - a - b) for a in range(others + 1) for b in range(others + 1 - a)]
        )
        logs = np.array([math.lgamma(n + 1) for n in range(others + 1)])
        chances = np.exp(logs[others] - logs[counts].sum(axis=1) + counts @ np.log(p))
        size, found = others + 1, []
        for own in range(3):
            group = counts + np.eye(3, dtype=int)[own]
            a = returns - (group @ returns / size)[:, None]
            total = (group * np.abs(a) ** self.alpha).sum(axis=1)
            share = np.divide(
                np.abs(a[:, own]) ** self.alpha, total, where=total > 0, out=total * 0
            )
            found.append(size * float(chances @ (a[:, own] * share)))
        return np.array(found)


def _gaps(u: Array) -> Array:
    """Weights of returns but for a constant, which has no effect."""
    gaps: Array = u - u[0]
    return gaps


def _in_the_limit(law: Law) -> Array:
    """Extrapolated from groups of 120 and of 240, whose error is in proportion to 1 / G."""
    return _gaps(2 * law.in_groups(239) - law.in_groups(119))


def _the_mean(law: Law) -> Sides:
    """The estimate follows the mean return."""
    return _in_the_limit(law), _gaps(np.array(law.returns))


@statement(
    routes=("all groups of 120 and 240, extrapolated", "a closed form in the law of the return"),
    example=Law(returns=(-1.0, 0.0, 3.0), shares=(7, 2, 1)),
    cases=st.builds(
        Law,
        returns=st.sampled_from(((-1.0, 0.0, 3.0), (0.0, 1.0, 2.0), (-2.0, 0.5, 1.0))),
        shares=st.tuples(st.integers(2, 5), st.integers(2, 5), st.integers(2, 5)),
        alpha=st.sampled_from((1.0, 2.0)),
    ).filter(lambda law: law.clearance() > 0.25),
    sweep=10,
    tolerance=2e-3,
    wrong=_the_mean,
)
def few_drawn_by_size_ascend_signed_powers_of_deviations(law: Law) -> Sides:
    """Few episodes drawn from large groups follow grad E[sign(R - V) |R - V|^(1 + alpha)], V and a factor held fixed.

    So they seek skew: rare large gains count more than the mean says. Each side holds the weight of each return, less
    that of the first, where a return's weight is what the estimate multiplies the gradient of its probability with.

    Assumes: no correction, no std, whole-episode credit, constant weighting, groups on one start; K / G to 0 as G
    grows. Source: reconstructed.

    Theory: Theorem 8.5, Equation 8.8.
    """
    u = limit_weights(law.table, alpha=law.alpha)
    return _in_the_limit(law), _gaps(np.array([u[r] for r in law.returns]))


@final
@attrs.frozen(kw_only=True)
class Drawable:
    """Of each episode: |A| |score|, its tokens, and the weight that some draw gives it."""

    products: tuple[float, ...]
    tokens: tuple[int, ...]
    weights: tuple[int, ...]

    def prices(self) -> list[float]:
        """The price of the given draw, then of the best one."""
        products_G, tokens_G = np.array(self.products), np.array(self.tokens, dtype=np.float64)
        p_G = np.array(self.weights) / sum(self.weights)
        best_G = best_probabilities(products_G, tokens_G)
        return [price(products_G, tokens_G, p) for p in (p_G, best_G)]

    def least(self) -> float:
        """The square of the mean of |A| |score| sqrt(L): what no draw is below."""
        parts = (a * math.sqrt(n) for a, n in zip(self.products, self.tokens, strict=True))
        return (sum(parts) / len(self.products)) ** 2

    def excess(self) -> float:
        """Lagrange's identity: by how much the given draw is above, a sum of squares over pairs."""
        total = 0.0
        members = list(zip(self.products, self.tokens, self.weights, strict=True))
        for (a, n, p), (b, m, q) in itertools.combinations(members, 2):
            total += (a * math.sqrt(q * m / p) - b * math.sqrt(p * n / q)) ** 2
        return total / len(self.products) ** 2


def _lengths_left_out(drawn: Drawable) -> Sides:
    """The best draw is by |A| |score|, however long the episodes are."""
    products_G, tokens_G = np.array(drawn.products), np.array(drawn.tokens, dtype=np.float64)
    best = price(products_G, tokens_G, products_G / products_G.sum())
    return [drawn.prices()[0], best], [drawn.least() + drawn.excess(), drawn.least()]


_MEMBERS = st.tuples(st.floats(0.1, 3.0), st.integers(1, 20), st.integers(1, 5))


@statement(
    routes=("second moment times trained tokens", "Lagrange's identity"),
    example=Drawable(products=(1.0, 0.5, 2.0), tokens=(1, 1, 20), weights=(1, 2, 3)),
    cases=st.lists(_MEMBERS, min_size=2, max_size=6).map(
        lambda rows: Drawable(
            products=tuple(row[0] for row in rows),
            tokens=tuple(row[1] for row in rows),
            weights=tuple(row[2] for row in rows),
        )
    ),
    wrong=_lengths_left_out,
)
def the_best_corrected_draw_is_by_advantage_and_score_over_root_of_tokens(drawn: Drawable) -> Sides:
    """Second moment times trained tokens of a corrected draw is least at p in proportion to |A| |score| / sqrt(L).

    It exceeds the square of the mean of |A| |score| sqrt(L) by a sum of squares, which is 0 at that draw alone. Each
    side holds the price of some draw, then that of the best. Alpha = 1 is best where |score|^2 is in proportion to L.

    Assumes: one draw, or draws with replacement; corrected; advantages of 0 have nothing to be drawn for.
    Source: the inequality of Cauchy and Schwarz; Neyman (1934) for samples of unequal cost; reconstructed.

    Theory: Theorem 8.6, Equation 8.9.
    """
    return drawn.prices(), [drawn.least() + drawn.excess(), drawn.least()]
