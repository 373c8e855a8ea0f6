"""Returns of two values: the std rescales the gradient."""

import math
from collections.abc import Callable

from hypothesis import strategies as st

from proofs.estimators.corridor import binomial
from proofs.estimators.laboratory import Settings
from proofs.exact.gradients import Array, TrajectoryDistribution
from proofs.statement import Sides, statement
from proofs.statements.cases import BY_ESTIMATOR, Case, choice_case
from tsmg import Finite

POPULATION: Settings = {"std": "population", "eps": 0.0}
_LARGE = 4000


def coefficient(q: float, size: int) -> float:
    """The coefficient of the gradient of q: the expected population std of G draws of 0 or 1, over q (1 - q).

    The expected std is E[sqrt(n (G - n))] / G for n ~ Bin(G, q).
    """
    ks = range(1, size)
    mean_std = sum(binomial(size, k, q) * math.sqrt(k * (size - k)) for k in ks) / size
    return mean_std / (q * (1 - q))


def _two_valued_case(*, low: float, gap: float, weights: tuple[int, ...], size: int) -> Case:
    """Three arms: one pays more, one pays less, one either of the two."""
    high = low + gap
    paid: dict[str, float | Finite[float]] = {
        "good": high,
        "bad": low,
        "either": Finite({high: 0.25, low: 0.75}),
    }
    shares = (weight / sum(weights) for weight in weights)
    return choice_case(paid, dict(zip(paid, shares, strict=True)), size=size)


def _success(dist: TrajectoryDistribution) -> tuple[float, Array]:
    """The probability q of the greater return, and its gradient, by automatic differentiation."""
    returns_E = dist.returns_E("player")
    low, high = float(returns_E.min()), float(returns_E.max())
    q = float(dist.probabilities_E[returns_E == high].sum())
    return q, dist.autodiff_gradient_D() / (high - low)


_WEIGHTS = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))


def _large_groups_factor(case: Case) -> Sides:
    """The factor of large groups, 1 / sqrt(q (1 - q)), in a small one."""
    q, gradient_D = _success(case.dist)
    return case.estimate_D(**POPULATION), gradient_D / math.sqrt(q * (1 - q))


@statement(
    routes=(BY_ESTIMATOR, "a sum over n times autodiff"),
    example=_two_valued_case(low=0.0, gap=1.0, weights=(3, 5, 2), size=4),
    cases=st.builds(
        _two_valued_case,
        low=st.floats(-3, 3),
        gap=st.floats(0.1, 5),
        weights=_WEIGHTS,
        size=st.integers(2, 5),
    ),
    wrong=_large_groups_factor,
)
def with_two_values_the_std_rescales_the_gradient_of_success(case: Case) -> Sides:
    """With two values on one start, the expected estimate is grad q times E[sqrt(n (G - n))] / (G q (1 - q)).

    q is the probability of the greater return and n ~ Bin(G, q) the number of members that have it. So the direction is
    kept and the two values do not matter. Over several starts those that rarely or nearly always succeed weigh more,
    and the direction is not kept (``proofs.statements.starts``).

    Assumes: groups on one start, constant weighting, the group's mean, population std, eps 0, independent episodes.
    Source: reconstructed; the uneven weight of hard and easy tasks is in Dr. GRPO, arXiv:2503.20783.

    Theory: Theorem 6.2, Equation 6.5.
    """
    q, gradient_D = _success(case.dist)
    return case.estimate_D(**POPULATION), (coefficient(q, case.size) * gradient_D)


def _logarithm(q: float) -> Sides:
    """The objective is taken to be log q."""
    return coefficient(q, _LARGE), _slope(math.log, q)


@statement(
    routes=("a sum over n at G = 4000", "central differences of the arcsine"),
    example=0.2,
    cases=st.floats(0.1, 0.9),
    tolerance=5e-4,
    wrong=_logarithm,
)
def for_large_groups_the_objective_is_an_arcsine(q: float) -> Sides:
    """For large G, the factor before the gradient of q is the derivative of 2 arcsin(sqrt(q)).

    So with returns of two values a run with std climbs the mean over starts of 2 arcsin(sqrt(q)) in place of that of q.
    At G = 4000 and q in (0.1, 0.9) the factor is off by about 1 / (8 G q (1 - q)) of itself, at most 0.0004, which is
    what the tolerance allows.

    Assumes: as for two values. Source: reconstructed.

    Theory: Theorem 6.2.
    """
    return coefficient(q, _LARGE), _slope(lambda x: 2 * math.asin(math.sqrt(x)), q)


def _slope(function: Callable[[float], float], at: float, step: float = 1e-5) -> float:
    """The derivative by central differences."""
    return (function(at + step) - function(at - step)) / (2 * step)
