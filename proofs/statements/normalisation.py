"""What dividing by the standard deviation of a group does to the expected gradient (eps is 0 throughout)."""

import math
from typing import Any, final

import attrs
import numpy as np
from hypothesis import strategies as st

from algorithms.play.rollouts import collect_groups
from lap import LanguageAgentPolicy, TabularModel
from proofs.estimators.aaw_map import binomial
from proofs.estimators.laboratory import analyse_estimator
from proofs.exact.gradients import Array, TrajectoryDistribution
from proofs.small_games import FiniteGame, choice_game, tabular_policy
from proofs.statement import Sides, statement
from proofs.statements.by_hand import expected_estimate_D
from proofs.statements.cases import Case, choice_case
from tsmg import Finite, Transition, deterministic

_POPULATION = {"std": "population", "eps": 0.0}
_LARGE = 4000
_CHECKED_GROUPS = 40


def _mean_std(q: float, size: int) -> float:
    """E[sqrt(K (G - K))] / G for K ~ Bin(G, q): the expected population std of G draws of 0 or 1."""
    ks = range(1, size)
    return sum(binomial(size, k, q) * math.sqrt(k * (size - k)) for k in ks) / size


def _coefficient(q: float, size: int) -> float:
    """By what the gradient of q is multiplied: the expected std over the variance q (1 - q)."""
    return _mean_std(q, size) / (q * (1 - q))


# ---- two values ------------------------------------------------------------------------------


def _two_valued_case(*, low: float, gap: float, weights: tuple[int, ...], size: int) -> Case:
    """Three arms: one pays more, one pays less, one either of the two."""
    high = low + gap
    paid = {"good": high, "bad": low, "either": Finite({high: 0.25, low: 0.75})}
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
    return analyse_estimator(case.dist, case.config(**_POPULATION)).mean_D, gradient_D / math.sqrt(
        q * (1 - q)
    )


@statement(
    routes=("the trainer's estimator over all groups", "a sum over K times autodiff"),
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
    """With returns of two values, the expected estimate is grad q times E[sqrt(K (G - K))] / (G q (1 - q)).

    q is the probability of the greater return and K ~ Bin(G, q) the number of members that have it. So the direction is
    kept, the two values do not matter, and tasks that rarely or nearly always succeed weigh more.

    Assumes: constant weighting, the group's mean, population std, eps 0, independent episodes.
    Source: reconstructed; the uneven weight of hard and easy tasks is in Dr. GRPO, arXiv:2503.20783.
    """
    q, gradient_D = _success(case.dist)
    return analyse_estimator(case.dist, case.config(**_POPULATION)).mean_D, (
        _coefficient(q, case.size) * gradient_D
    )


def _logarithm(q: float) -> Sides:
    """The objective is taken to be log q."""
    return _coefficient(q, _LARGE), _slope(math.log, q)


@statement(
    routes=("a sum over K at G = 4000", "central differences of the arcsine"),
    example=0.2,
    cases=st.floats(0.1, 0.9),
    tolerance=5e-4,
    wrong=_logarithm,
)
def for_large_groups_the_objective_is_an_arcsine(q: float) -> Sides:
    """For large G, the factor before the gradient of q is the derivative of 2 arcsin(sqrt(q)).

    So with returns of two values a run with std climbs 2 arcsin(sqrt(q)) in place of q. At G = 4000 and q in (0.1, 0.9)
    the factor is off by about 1 / (8 G q (1 - q)) of itself, at most 0.0004, which is what the tolerance allows.

    Assumes: as for two values. Source: reconstructed.
    """
    return _coefficient(q, _LARGE), _slope(lambda x: 2 * math.asin(math.sqrt(x)), q)


def _slope(function: Any, at: float, step: float = 1e-5) -> float:
    """The derivative by central differences."""
    return float(function(at + step) - function(at - step)) / (2 * step)


# ---- three values ----------------------------------------------------------------------------


def _rare_prize_case(*, chance: float, prize: float, share: float, size: int) -> Case:
    """A risky arm that pays a prize or nothing, and a safe one that pays 1."""
    paid = {"risky": Finite({prize: chance, 0.0: 1 - chance}), "safe": 1.0}
    return choice_case(paid, {"risky": share, "safe": 1 - share}, size=size)


def _risky_over_safe(vector_D: Array) -> float:
    """How much faster the logit of the first word grows than that of the second."""
    return float(vector_D[0] - vector_D[1])


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
    found = analyse_estimator(dist, case.config())
    _, by_hand = with_three_values_the_std_can_prefer_the_worse_action.sides(case)
    return [_risky_over_safe(found.mean_D), _risky_over_safe(dist.gradient_D)], by_hand


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
    """Where returns take three values, dividing by the std can make the worse action the more likely one.

    Risky pays 5 with probability 0.3 and else 0, safe pays 1: risky is worth 1.5. But a group with a prize has a large
    std, so the prize counts little, and the estimate prefers safe. Both sides: estimate and truth, each as the
    component of risky minus that of safe.

    Assumes: as for two values, but for the returns; G = 4 in the example. Source: reconstructed.
    """
    dist = case.dist
    found = analyse_estimator(dist, case.config(**_POPULATION))
    by_hand_D = _standardised_estimate_D(dist, case.size)
    truth_D = dist.autodiff_gradient_D()
    return (
        [_risky_over_safe(found.mean_D), _risky_over_safe(dist.gradient_D)],
        [_risky_over_safe(by_hand_D), _risky_over_safe(truth_D)],
    )


# ---- what a group shares ---------------------------------------------------------------------


@final
@attrs.frozen(kw_only=True)
class _Gamble:
    """Risky pays a prize with some chance and else costs 1; safe pays nothing.

    Attributes:
      prize: what risky pays when it is lucky.
      chance: how likely luck is.
      q: the probability that the policy plays risky.
      size: G.
    """

    prize: float = 10.0
    chance: float = 1 / 3
    q: float = 0.5
    size: int = 8

    @property
    def outcomes(self) -> dict[float, float]:
        """What risky can pay, and how likely."""
        return {self.prize: self.chance, -1.0: 1 - self.chance}

    @property
    def policy(self) -> LanguageAgentPolicy[TabularModel]:
        """The policy, whose first weight is the logit of risky."""
        dists = {"choose": {"risky": self.q, "safe": 1 - self.q}}
        return tabular_policy(("risky", "safe"), dists=dists)

    @property
    def hidden(self) -> Case:
        """Luck is complete in the first state, which the agent cannot see."""
        nothing = deterministic(Transition("end", (0.0,)))
        game = FiniteGame(
            starts=Finite(self.outcomes),
            moves={
                paid: {("risky",): deterministic(Transition("end", (paid,))), ("safe",): nothing}
                for paid in self.outcomes
            },
            texts=dict.fromkeys(self.outcomes, "choose"),
        )
        return Case(game=game, policy=self.policy, size=self.size)

    @property
    def drawn(self) -> Case:
        """Luck is complete after the choice."""
        return self.with_payment(Finite(self.outcomes))

    def with_payment(self, paid: float | Finite[float]) -> Case:
        """Risky pays this, or by this distribution."""
        game = choice_game({"risky": paid, "safe": 0.0})
        return Case(game=game, policy=self.policy, size=self.size)

    def per_variance(self, vector_D: Array) -> float:
        """The component of risky's logit, as a multiple of q (1 - q)."""
        return float(vector_D[0]) / (self.q * (1 - self.q))

    @property
    def closed_form(self) -> tuple[float, float]:
        """Estimate and truth where the members of a group share the luck.

        In a group of one luck the returns take two values, so only the sign of what risky pays is left.
        """
        truth = self.prize * self.chance - (1 - self.chance)
        return (2 * self.chance - 1) * _coefficient(self.q, self.size), truth


_GAMBLES = st.builds(
    _Gamble,
    prize=st.sampled_from((3.0, 10.0)),
    chance=st.sampled_from((0.2, 1 / 3, 0.5)),
    q=st.sampled_from((0.2, 0.5, 0.8)),
    size=st.integers(2, 8),
)


def _reference_values(side: Array) -> bool:
    """The figures of the reference values, derived independently of this library."""
    return [round(float(x), 2) for x in side] == [-0.62, 2.67]


def _nothing_shared(gamble: _Gamble) -> Sides:
    """The members of a group have initial states of their own (which keeps the sign here)."""
    case = gamble.hidden
    found = analyse_estimator(case.dist, case.config(group_on="nothing", **_POPULATION))
    truth_D = case.dist.gradient_D
    return [gamble.per_variance(found.mean_D), gamble.per_variance(truth_D)], gamble.closed_form


@statement(
    routes=("the trainer's estimator over all groups", "a sum over K in closed form"),
    example=_Gamble(),
    cases=_GAMBLES,
    shows=_reference_values,
    wrong=_nothing_shared,
)
def a_shared_hidden_state_can_reverse_the_gradient(gamble: _Gamble) -> Sides:
    """Where a group shares a hidden state, dividing by the std can make the worse action the more likely one.

    Risky pays 10 with probability 1/3 and else -1, safe pays 0; which it is, is fixed for a group. Within a group only
    the sign of the payment is left, and two signs in three are negative. Both sides: estimate and truth, in multiples
    of q (1 - q).

    Assumes: as for two values; groups on the initial state. Source: reconstructed.
    """
    case = gamble.hidden
    found = analyse_estimator(case.dist, case.config(group_on="initial_state", **_POPULATION))
    truth_D = case.dist.gradient_D
    return [gamble.per_variance(found.mean_D), gamble.per_variance(truth_D)], gamble.closed_form


def _own_chance(gamble: _Gamble) -> Sides:
    """Each member draws for itself (which keeps the sign here)."""
    case = gamble.drawn
    found = analyse_estimator(case.dist, case.config(**_POPULATION))
    truth_D = case.dist.gradient_D
    return [gamble.per_variance(found.mean_D), gamble.per_variance(truth_D)], gamble.closed_form


@statement(
    routes=("a mixture of examinations, one per draw", "a sum over K in closed form"),
    example=_Gamble(),
    cases=_GAMBLES,
    shows=_reference_values,
    wrong=_own_chance,
)
def shared_chance_can_reverse_the_gradient(gamble: _Gamble) -> Sides:
    """Where a group shares its chance draws, dividing by the std can make the worse action the more likely one.

    As with a shared hidden state, but what risky pays is drawn after the choice, once for the group. Given the draw the
    game is without chance, so the expected estimate is the mixture of those of the games with the payment fixed. That
    the runner's common chance pays all members alike who play risky, is looked at in groups that it plays.

    Assumes: as for two values; common chance. Source: reconstructed.
    """
    _see_that_luck_is_shared(gamble)
    estimate = 0.0
    for paid, p in gamble.outcomes.items():
        fixed = gamble.with_payment(paid)
        found = analyse_estimator(fixed.dist, fixed.config(**_POPULATION))
        estimate += p * gamble.per_variance(found.mean_D)
    return [estimate, gamble.per_variance(gamble.drawn.dist.gradient_D)], gamble.closed_form


def _see_that_luck_is_shared(gamble: _Gamble) -> None:
    """Raises where the runner pays members of one group differently for risky, or all groups alike."""
    played = collect_groups(
        gamble.drawn.game,
        gamble.policy,
        seed=0,
        update=0,
        groups=_CHECKED_GROUPS,
        group_size=gamble.size,
        common_chance=True,
    )
    paid = [set(group.returns_G("player")) - {0.0} for group in played.groups]
    if max(map(len, paid)) != 1 or len(set().union(*paid)) != len(gamble.outcomes):
        raise AssertionError(
            f"risky must pay the same within a group and vary between (got {paid})"
        )


# ---- constants and units ---------------------------------------------------------------------


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

    Sides: the expected estimate without std, then with it: of the changed game; and of the game as it was, the first
    part times the scale.

    Assumes: the group's mean as baseline, eps 0, a scale above 0. Source: reconstructed.
    """
    return _estimates(units, baseline="mean"), _predicted(units)


def _estimates(units: _NewUnits, *, baseline: str) -> Array:
    """Of the changed game, by the trainer's estimator."""
    case = units.case(changed=True)
    kinds: tuple[dict[str, Any], ...] = ({"std": "none"}, _POPULATION)
    configs = [case.config(baseline=baseline, **kind) for kind in kinds]
    return np.concatenate([analyse_estimator(case.dist, config).mean_D for config in configs])


def _predicted(units: _NewUnits) -> Array:
    """Of the game as it was, group by group."""
    case = units.case(changed=False)
    dist, size = case.dist, case.size
    returns_E = dist.returns_E("player")

    def deviations(members: Any) -> list[float]:
        returns_G = returns_E[list(members)]
        return [float(r - returns_G.mean()) / size for r in returns_G]

    plain_D = expected_estimate_D(dist, size, deviations)
    return np.concatenate([units.scale * plain_D, _standardised_estimate_D(dist, size)])
