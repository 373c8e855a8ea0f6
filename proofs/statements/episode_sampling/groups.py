"""Groups to draw from, and draws by hand in fractions."""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, final

import attrs
from hypothesis import strategies as st

from proofs.estimators.arms import Arm, outcomes
from proofs.estimators.laboratory import EstimatorAnalysis
from proofs.statement import Array
from proofs.statements.cases import choice_case, random_cases
from tsmg import Finite

Returns = tuple[float, ...]
SKEWED = (3.0, 0.0, 0.0, 1.0)


@final
@attrs.frozen(kw_only=True)
class Choice:
    """One decision between arms, the size of a group, and the number of kept episodes."""

    arms: Mapping[str, Arm]
    size: int
    kept: int

    def analysis(self, **settings: Any) -> EstimatorAnalysis:
        """The analysis of the trainer's estimator, with these settings."""
        case = choice_case(
            {name: Finite(dict(arm.pays)) for name, arm in self.arms.items()},
            {name: arm.probability for name, arm in self.arms.items()},
            lengths={name: arm.length for name, arm in self.arms.items()},
            size=self.size,
        )
        return case.analysis(kept_episodes=self.kept, **settings)

    def outcomes(self) -> list[tuple[float, float, int, Array]]:
        """(probability, return, length, score in the logits of the arms) of each way in which an episode can go."""
        return list(outcomes(self.arms))


def unequal_returns(values: st.SearchStrategy[int], least: int = 2) -> st.SearchStrategy[Returns]:
    """Returns that are not all equal, in quarters, so that sums are exact."""
    groups = st.lists(values, min_size=least, max_size=7).filter(lambda group: len(set(group)) > 1)
    return groups.map(lambda group: tuple(value / 4 for value in group))


RETURNS = unequal_returns(st.integers(-8, 8))


def deviations(returns_G: Sequence[float]) -> list[Fraction]:
    """R - mean(R) in fractions."""
    exact = [Fraction(value) for value in returns_G]
    mean = sum(exact, Fraction(0)) / len(exact)
    return [value - mean for value in exact]


def shares(numbers: Sequence[Fraction]) -> list[float]:
    """Numbers over their sum; zeros where the sum is 0."""
    total = sum(numbers, Fraction(0))
    return [float(number / total) if total else 0.0 for number in numbers]


def ordered_draws(
    weights_G: Sequence[Fraction], count: int, drawn: tuple[int, ...] = ()
) -> Iterator[tuple[tuple[int, ...], Fraction]]:
    """Every order of successive draws without replacement, with its probability."""
    left = [e for e, weight in enumerate(weights_G) if weight and e not in drawn]
    if len(drawn) == count or not left:
        yield drawn, Fraction(1)
        return
    total = sum((weights_G[e] for e in left), Fraction(0))
    for e in left:
        for order, p in ordered_draws(weights_G, count, (*drawn, e)):
            yield order, weights_G[e] / total * p


THREE_ARMS = choice_case({"a": 1.0, "b": 0.0, "c": -1.0}, {"a": 0.5, "b": 0.3, "c": 0.2}, size=3)
ONE_STEP = random_cases(states=1, horizon=1, size=3)
