"""When weights of starts reverse the gradient, and when they cannot."""

import math
from collections.abc import Mapping
from typing import Any, final

import attrs
import numpy as np
from hypothesis import strategies as st

from proofs.estimators.start_weights import start_weights, success_gains
from proofs.exact.gradients import Array
from proofs.statement import Sides, statement
from proofs.statements.by_hand import cosine
from proofs.statements.cases import BY_AUTODIFF, BY_ESTIMATOR, choice_case
from proofs.statements.starts.games import EVEN, HARD_AND_EASY, WEIGHING, Starts, starts_cases


@final
@attrs.frozen(kw_only=True)
class Weighed:
    """Two success rates, a size of group, and settings."""

    rates: tuple[float, float]
    size: int
    settings: Mapping[str, Any] = attrs.field(default=WEIGHING, hash=False)

    def starts(self) -> Starts:
        """Two starts of these rates whose gradients, along one logit, nearly cancel in the mean."""
        one, other = (min(q, 1 - q) / 2 for q in self.rates)
        (first, second), (low, high) = self.rates, self._weights()
        # gradients in the ratio of the roots of the weights: between 1 to 1 and what the weights make equal
        parts = (math.sqrt(high / low) / one, 1 / other)
        shares = (parts[0] / sum(parts), parts[1] / sum(parts))
        chances = ((first + one, first - one), (second - other, second + other))
        return Starts(
            shares=shares,
            chances=chances,
            told_apart=False,
            size=self.size,
            settings=self.settings,
        )

    def _weights(self) -> tuple[float, float]:
        config = choice_case({"a": 1.0}, {"a": 1.0}, size=self.size).config(**self.settings)
        first, second = start_weights(config, self.rates)
        return float(first), float(second)


def _direction(vector_D: Array) -> float:
    """The component of the logit of "a", the first weight."""
    return float(vector_D[0])


def _old_direction(weighed: Weighed) -> Sides:
    """With returns of two values the direction is right: the estimate has the sign of the gradient."""
    starts = weighed.starts()
    truth = _direction(starts.case.dist.autodiff_gradient_D())
    size = abs(_direction(starts.expected()))
    return [_direction(starts.expected()), truth], [math.copysign(size, truth), truth]


@statement(
    routes=(BY_ESTIMATOR, "weights of starts, times gradients by autodiff"),
    example=Weighed(rates=(0.5, 0.1), size=4),
    cases=st.builds(
        Weighed,
        rates=st.tuples(st.sampled_from((0.5, 0.6, 0.8)), st.sampled_from((0.02, 0.1, 0.95))),
        size=st.integers(3, 4),
        settings=st.sampled_from((WEIGHING, {**WEIGHING, "std": "none"})),
    ),
    shows=lambda side: bool(side[0] < 0 < side[1]),
    wrong=_old_direction,
)
def two_values_can_be_reversed_over_two_starts(weighed: Weighed) -> Sides:
    """Wherever two rates have different weights, there are two starts on which the estimate is reversed.

    With kappa(q) < kappa(q'), let the gradients of the starts be opposite along one logit, the first the greater by the
    root of kappa(q') / kappa(q): their sum has the sign of the first, and the weighted sum that of the second.

    Assumes: as for weights of starts; a policy that shares weights between the starts. Source: reconstructed.

    Theory: Theorem 6.4.
    """
    starts = weighed.starts()
    truth = _direction(starts.case.dist.gradient_D)
    by_hand = starts.weighted(starts.weights()), starts.weighted(np.ones(2))
    return [_direction(starts.expected()), truth], [_direction(vector_D) for vector_D in by_hand]


_HIDDEN = Starts(
    shares=(0.5, 0.5),
    chances=((0.65, 0.35), (0.0, 0.2)),
    told_apart=False,
    size=8,
    settings={"sampling": "aaw", "std": "none", "kept_episodes": 1},
)


def _none_cannot_reverse(starts: Starts) -> Sides:
    """Without std nothing can be reversed, whatever the draw."""
    return [cosine(starts.expected(), starts.case.dist.gradient_D)], [1.0]


@statement(
    routes=(BY_ESTIMATOR, "weights of starts, times gradients by autodiff"),
    example=_HIDDEN,
    shows=lambda side: bool(side[0] < -0.999),
    wrong=_none_cannot_reverse,
)
def without_std_the_draw_alone_can_reverse_the_gradient(starts: Starts) -> Sides:
    """With std "none", a draw by |A| without correction can reverse the gradient: two values, a hidden start.

    Where a group shares a start that the policy cannot tell apart, both starts move the same logit. The true gradient
    is +.0125; one episode of eight, by |A|, weighs the hard start so much more that the cosine is -1.

    Assumes: as for weights of starts. Source: reconstructed.
    """
    by_hand = cosine(starts.weighted(starts.weights()), starts.case.dist.autodiff_gradient_D())
    return [cosine(starts.expected(), starts.case.dist.gradient_D)], [by_hand]


def _any_settings(starts: Starts) -> Sides:
    """Settings with unequal gains: one episode by |A|."""
    return _against_truth(attrs.evolve(starts, settings=WEIGHING))


@statement(
    routes=(BY_ESTIMATOR, BY_AUTODIFF),
    example=attrs.evolve(HARD_AND_EASY, settings=EVEN[3]),
    cases=st.one_of(
        starts_cases(EVEN, st.integers(2, 4)),
        starts_cases(({"sampling": "all", "std": "population", "eps": 0.0},), st.integers(2, 3)),
        starts_cases(({"sampling": "aaw", "kept_episodes": 1, "std": "none"},), st.just(2)),
    ),
    wrong=_any_settings,
)
def equal_gains_reverse_no_gradient(starts: Starts) -> Sides:
    """If a success gains the same among any others, the estimate is G times that gain times the true gradient.

    That holds without std for full groups, a uniform part, and corrected draws; it happens to hold also in pairs, and
    in groups of three with std. Only then is the weight the same for all q: it is a polynomial in q of which the gains
    are the coefficients in Bernstein's basis. With std a gain is (sqrt((G - j - 1) / (j + 1)) + sqrt(j / (G - j))) / G,
    the same for all j only up to G = 3.

    Assumes: as for weights of starts. Source: reconstructed.

    Theory: Theorem 6.4, Equation 6.7.
    """
    return _against_truth(starts)


def _against_truth(starts: Starts) -> Sides:
    gain = float(success_gains(starts.case.config(**starts.settings))[0])
    return starts.expected(), starts.size * gain * starts.case.dist.autodiff_gradient_D()
