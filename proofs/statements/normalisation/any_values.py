"""Returns of any values: the std can reverse the gradient, and cancels the unit."""

import math
from collections.abc import Sequence
from typing import final

import attrs
import numpy as np
from hypothesis import strategies as st

from proofs.estimators.laboratory import Settings
from proofs.exact.gradients import Array, TrajectoryDistribution
from proofs.statement import Sides, statement
from proofs.statements.by_hand import expected_estimate_D, first_over_second
from proofs.statements.cases import Case, choice_case
from proofs.statements.normalisation.two_values import POPULATION
from tsmg import Finite


def _rare_prize_case(*, chance: float, prize: float, share: float, size: int) -> Case:
    """A risky arm that pays a prize or nothing, and a safe one that pays 1."""
    paid: dict[str, float | Finite[float]] = {
        "risky": Finite({prize: chance, 0.0: 1 - chance}),
        "safe": 1.0,
    }
    return choice_case(paid, {"risky": share, "safe": 1 - share}, size=size)


def _standardised(returns_G: Array) -> Array:
    """Deviations from the mean over the population std; zeros where all returns are equal."""
    deviations_G = returns_G - returns_G.mean()
    std = math.sqrt(float((deviations_G**2).mean()))
    return deviations_G / std if std > 1e-9 else np.zeros_like(deviations_G)


def _standardised_estimate_D(dist: TrajectoryDistribution, size: int) -> Array:
    """The expected estimate with std, group by group."""
    returns_E = dist.returns_E("player")
    return expected_estimate_D(
        dist, size, lambda members: (_standardised(returns_E[list(members)]) / size).tolist()
    )


def _reversed(side: Array) -> bool:
    """Whether the estimate and the truth have clearly opposite signs."""
    return bool(side[0] < -0.01 and side[1] > 0.01)


def _undivided(case: Case) -> Sides:
    """Advantages are not divided by the std."""
    dist = case.dist
    analysis = case.analysis()
    _, by_hand = with_three_values_the_std_can_prefer_the_worse_action.sides(case)
    return [first_over_second(analysis.mean_D), first_over_second(dist.gradient_D)], by_hand


@statement(
    routes=("the trainer's estimator, score sum", "every ordered group, autodiff"),
    example=_rare_prize_case(chance=0.3, prize=5.0, share=0.5, size=4),
    cases=st.builds(
        _rare_prize_case,
        chance=st.sampled_from((0.1, 0.3, 0.5)),
        prize=st.sampled_from((2.0, 5.0, 20.0)),
        share=st.sampled_from((0.2, 0.5, 0.8)),
        size=st.integers(2, 4),
    ),
    shows=_reversed,
    wrong=_undivided,
)
def with_three_values_the_std_can_prefer_the_worse_action(case: Case) -> Sides:
    """If returns take three values, dividing by the std can make the worse action the more likely one.

    Risky pays 5 with probability 0.3 and otherwise 0, safe pays 1: risky is worth 1.5. But a group with a prize has a
    large std, so the prize counts little, and the estimate prefers safe. Both sides: estimate and truth, each as the
    component of risky minus that of safe.

    Assumes: as for two values, but for the returns; G = 4 in the example. Source: reconstructed.

    Theory: Equation 6.4.
    """
    dist = case.dist
    analysis = case.analysis(**POPULATION)
    by_hand_D = _standardised_estimate_D(dist, case.size)
    truth_D = dist.autodiff_gradient_D()
    return (
        [first_over_second(analysis.mean_D), first_over_second(dist.gradient_D)],
        [first_over_second(by_hand_D), first_over_second(truth_D)],
    )


@final
@attrs.frozen(kw_only=True)
class _NewUnits:
    """One decision whose returns are multiplied by ``scale`` and moved by ``shift``."""

    returns: tuple[float, ...]
    scale: float
    shift: float
    size: int

    def case(self, *, changed: bool) -> Case:
        """The decision, among as many arms as there are returns, the first ones played more often."""
        scale, shift = (self.scale, self.shift) if changed else (1.0, 0.0)
        arms = [f"arm{n}" for n in range(len(self.returns))]
        total = sum(range(1, len(arms) + 1))
        return choice_case(
            {arm: scale * r + shift for arm, r in zip(arms, self.returns, strict=True)},
            {arm: (len(arms) - n) / total for n, arm in enumerate(arms)},
            size=self.size,
        )


def _no_baseline(units: _NewUnits) -> Sides:
    """Returns are not compared with anything."""
    return _estimates(units, baseline="none"), _predicted(units)


@statement(
    routes=("the trainer's estimator on the changed game", "every ordered group as it was"),
    example=_NewUnits(returns=(1.0, 0.0, -1.0), scale=3.0, shift=2.0, size=3),
    cases=st.builds(
        _NewUnits,
        returns=st.tuples(*(st.integers(-3, 3).map(float) for _ in range(3))),
        scale=st.floats(0.25, 4),
        shift=st.floats(-5, 5),
        size=st.integers(2, 4),
    ),
    wrong=_no_baseline,
)
def constants_cancel_and_the_std_cancels_the_unit(units: _NewUnits) -> Sides:
    """Adding a constant to all returns changes nothing; a new unit rescales the estimate, but not with std.

    Sides: the expected estimate without std, then with it; of the changed game, and of the original game, with the
    first part times the scale.

    Assumes: the group's mean as baseline, eps 0, a scale above 0. Source: reconstructed.
    """
    return _estimates(units, baseline="mean"), _predicted(units)


def _estimates(units: _NewUnits, *, baseline: str) -> Array:
    """The estimates of the changed game, by the trainer's estimator."""
    case = units.case(changed=True)
    kinds: tuple[Settings, ...] = ({"std": "none"}, POPULATION)
    return np.concatenate([case.estimate_D(baseline=baseline, **kind) for kind in kinds])


def _predicted(units: _NewUnits) -> Array:
    """The estimates that the original game predicts, group by group."""
    case = units.case(changed=False)
    dist, size = case.dist, case.size
    returns_E = dist.returns_E("player")

    def deviations(members: Sequence[int]) -> list[float]:
        returns_G = returns_E[list(members)]
        return [float(r - returns_G.mean()) / size for r in returns_G]

    plain_D = expected_estimate_D(dist, size, deviations)
    return np.concatenate([units.scale * plain_D, _standardised_estimate_D(dist, size)])
