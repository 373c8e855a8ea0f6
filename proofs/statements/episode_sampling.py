"""What is drawn by absolute advantage (AAW), and what training on the drawn episodes does to the gradient."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal, final

import attrs
import numpy as np
from hypothesis import strategies as st

from algorithms import group_relative_advantages, inclusion_probabilities, sampling_weights
from algorithms.method.advantages import StdKind
from algorithms.method.episode_sampling import SamplingRule, selection_dist
from proofs.estimators.laboratory import EstimatorAnalysis, analyse_estimator
from proofs.statement import Array, Sides, statement
from proofs.statements.by_hand import expected_estimate_D
from proofs.statements.cases import Case, choice_case, random_cases
from tsmg import Finite

Returns = tuple[float, ...]
_SKEWED = (3.0, 0.0, 0.0, 1.0)


@final
@attrs.frozen(kw_only=True)
class Changed:
    """The returns of a group, and how they are shifted, scaled and put in another order."""

    returns_G: Returns
    shift: float
    scale: float
    order_G: tuple[int, ...]


@final
@attrs.frozen(kw_only=True)
class Successes:
    """A group with returns 1, for so many successes, and 0."""

    count: int
    size: int


@final
@attrs.frozen(kw_only=True)
class Draws:
    """So many successive draws from a group, in proportion to these numbers at first."""

    weights_G: tuple[int, ...]
    count: int


@final
@attrs.frozen(kw_only=True)
class Kept:
    """The returns of a group, and how many of its episodes are kept."""

    returns_G: Returns
    count: int


@final
@attrs.frozen(kw_only=True)
class Arm:
    """A choice: its probability, the distribution of what it pays, and how many steps an episode has after it."""

    probability: float
    pays: Mapping[float, float]
    length: int = 1


@final
@attrs.frozen(kw_only=True)
class Choice:
    """One decision between arms, the size of a group, and how many episodes are kept."""

    arms: Mapping[str, Arm]
    size: int
    kept: int

    def analyse_estimator(self, **settings: Any) -> EstimatorAnalysis:
        """What the laboratory finds."""
        case = choice_case(
            {name: Finite(dict(arm.pays)) for name, arm in self.arms.items()},
            {name: arm.probability for name, arm in self.arms.items()},
            lengths={name: arm.length for name, arm in self.arms.items()},
            size=self.size,
        )
        return analyse_estimator(case.dist, case.config(kept_episodes=self.kept, **settings))

    def outcomes(self) -> list[tuple[float, float, int, Array]]:
        """(probability, return, length, score in the logits of the arms) of each way in which an episode can go."""
        arms = list(self.arms.values())
        policy_A = np.array([arm.probability for arm in arms])
        return [
            (arm.probability * p, paid, arm.length, np.eye(len(arms))[a] - policy_A)
            for a, arm in enumerate(arms)
            for paid, p in arm.pays.items()
        ]


def _returns(values: st.SearchStrategy[int], least: int = 2) -> st.SearchStrategy[Returns]:
    """Returns that are not all equal, in quarters, so that sums are exact."""
    groups = st.lists(values, min_size=least, max_size=7).filter(lambda one: len(set(one)) > 1)
    return groups.map(lambda group: tuple(value / 4 for value in group))


_RETURNS = _returns(st.integers(-8, 8))


def _drawn_weights(returns_G: Returns, std: StdKind = "population") -> list[float]:
    """The library's distribution of the first draw."""
    dist = sampling_weights(group_relative_advantages(returns_G, std=std))
    return [float(dist.prob(e)) for e in range(len(returns_G))]


def _deviations(returns_G: Sequence[float]) -> list[Fraction]:
    """R - mean(R) in fractions."""
    exact = [Fraction(value) for value in returns_G]
    mean = sum(exact, Fraction(0)) / len(exact)
    return [value - mean for value in exact]


def _shares(numbers: Sequence[Fraction]) -> list[float]:
    """Numbers over their sum; zeros where it is 0."""
    total = sum(numbers, Fraction(0))
    return [float(number / total) if total else 0.0 for number in numbers]


def _ordered_draws(
    weights_G: Sequence[Fraction], count: int, drawn: tuple[int, ...] = ()
) -> Iterator[tuple[tuple[int, ...], Fraction]]:
    """Every order of successive draws without replacement, with its probability."""
    left = [e for e, weight in enumerate(weights_G) if weight and e not in drawn]
    if len(drawn) == count or not left:
        yield drawn, Fraction(1)
        return
    total = sum((weights_G[e] for e in left), Fraction(0))
    for e in left:
        for order, p in _ordered_draws(weights_G, count, (*drawn, e)):
            yield order, weights_G[e] / total * p


# ---- the distribution of the first draw ---------------------------------------------------------------


def _squared_advantages(returns_G: Returns) -> Sides:
    """Episodes are drawn by the squares of their advantages."""
    return _drawn_weights(returns_G), _shares([a * a for a in _deviations(returns_G)])


@statement(
    routes=(
        "the distribution of what is selected, one episode kept",
        "shares of |R - mean| in fractions",
    ),
    example=_SKEWED,
    cases=_RETURNS,
    wrong=_squared_advantages,
)
def the_first_draw_is_by_absolute_advantage(returns_G: Returns) -> Sides:
    """The first draw takes episode e with probability |A_e| / sum_j |A_j|.

    Assumes: alpha = 1; returns that are not all equal.
    Source: arXiv:2508.10839 (the idea); the formula is reconstructed.
    """
    dist = selection_dist([group_relative_advantages(returns_G)], SamplingRule(kind="aaw", kept=1))
    drawn_G = np.zeros(len(returns_G))
    for (one,), p in dist.enumerate():
        drawn_G[one.episode] += float(p)
    return drawn_G, _shares([abs(a) for a in _deviations(returns_G)])


@st.composite
def _changed_groups(draw: Any) -> Changed:
    returns_G = draw(_RETURNS)
    return Changed(
        returns_G=returns_G,
        shift=draw(st.integers(-400, 400)) / 4,
        scale=draw(st.floats(0.01, 100.0)),
        order_G=tuple(draw(st.permutations(range(len(returns_G))))),
    )


def _absolute_returns(case: Changed) -> Sides:
    """Episodes are drawn by the sizes of their returns."""

    def weights(returns_G: Returns) -> list[float]:
        return _shares([abs(Fraction(value)) for value in returns_G])

    return np.concatenate(_of_changed_groups(case, weights)), np.tile(weights(case.returns_G), 3)


@statement(
    routes=("the sampling weights of changed groups", "shares of |R - mean| in fractions"),
    example=Changed(returns_G=_SKEWED, shift=2.0, scale=3.0, order_G=(2, 0, 3, 1)),
    cases=_changed_groups(),
    wrong=_absolute_returns,
)
def the_first_draw_minds_neither_shift_nor_scale_nor_std_nor_order(case: Changed) -> Sides:
    """The first draw ignores the shift, the scale and the std of the returns, and their order.

    A permuted group has the permuted distribution.

    Assumes: alpha = 1; returns that are not all equal; a scale above 0.
    Source: arXiv:2508.10839 (the idea); the formula is reconstructed.
    """
    found = _of_changed_groups(case, _drawn_weights)
    exact_G = _shares([abs(a) for a in _deviations(case.returns_G)])
    return np.concatenate([*found, _drawn_weights(case.returns_G, "none")]), np.tile(exact_G, 4)


def _of_changed_groups(case: Changed, weights: Callable[[Returns], Sequence[float]]) -> list[Array]:
    """The weights of the shifted, of the scaled, and of the permuted group, the last put back in order."""
    returns_G = np.array(case.returns_G)
    order_G = np.array(case.order_G)
    back_G = np.empty(len(returns_G))
    back_G[order_G] = weights(tuple(returns_G[order_G]))
    shifted_G = np.array(weights(tuple(returns_G + case.shift)))
    return [shifted_G, np.array(weights(tuple(returns_G * case.scale))), back_G]


def _another_exponent(returns_G: Returns) -> Sides:
    """The exponent is 2."""
    return _above_the_mean(returns_G, alpha=2.0), 0.5


@statement(
    routes=("the sampling weights of those above the mean", "1/2"),
    example=_SKEWED,
    cases=_RETURNS,
    wrong=_another_exponent,
)
def the_first_draw_is_above_the_mean_half_the_time(returns_G: Returns) -> Sides:
    """The first draw has a return above the group's mean with probability 1/2.

    The advantages sum to 0, so those above weigh as much as those below.

    Assumes: alpha = 1; returns that are not all equal.
    Source: arXiv:2508.10839 (the idea); the formula is reconstructed.
    """
    return _above_the_mean(returns_G, alpha=1.0), 0.5


def _above_the_mean(returns_G: Returns, alpha: float) -> float:
    dist = sampling_weights(group_relative_advantages(returns_G), alpha=alpha)
    return math.fsum(dist.prob(e) for e, a in enumerate(_deviations(returns_G)) if a > 0)


def _sample_std(case: Successes) -> Sides:
    """The std divides the squares by G - 1."""
    return _successes(case, "sample"), _closed_form_of_successes(case)


@statement(
    routes=("the sampling weights and advantages", "closed forms in q"),
    example=Successes(count=1, size=4),
    cases=st.integers(2, 16).flatmap(
        lambda size: st.builds(Successes, count=st.integers(1, size - 1), size=st.just(size))
    ),
    wrong=_sample_std,
)
def with_binary_returns_the_first_draw_is_a_success_half_the_time(case: Successes) -> Sides:
    """With k successes in a group, q = k / G, the first draw is a success with probability 1/2, whatever k.

    The advantage is sqrt((1 - q) / q) for a success and - sqrt(q / (1 - q)) for a failure.

    Assumes: alpha = 1; 1 <= k < G; the population std, eps 0.
    Source: arXiv:2508.10839 (the idea); the formula is reconstructed.
    """
    return _successes(case, "population"), _closed_form_of_successes(case)


def _successes(case: Successes, std: StdKind) -> list[float]:
    """The probability of a success, and the advantages of a success and of a failure."""
    returns_G = [1.0] * case.count + [0.0] * (case.size - case.count)
    advantages_G = group_relative_advantages(returns_G, std=std, eps=0.0)
    dist = sampling_weights(advantages_G)
    p = math.fsum(dist.prob(e) for e in range(case.count))
    return [p, float(advantages_G[0]), float(advantages_G[-1])]


def _closed_form_of_successes(case: Successes) -> list[float]:
    q = case.count / case.size
    return [0.5, math.sqrt((1 - q) / q), -math.sqrt(q / (1 - q))]


# ---- inclusion, and its correction -----------------------------------------------------------

_DRAWS = st.integers(1, 4).flatmap(
    lambda count: st.builds(
        lambda weights: Draws(weights_G=tuple(weights), count=count),
        st.lists(st.sampled_from((0, 1, 2, 3, 5, 8, 100)), min_size=count + 1, max_size=6).filter(
            any
        ),
    )
)


def _draws_times_probability(case: Draws) -> Sides:
    """K p_e, at most 1: as if draws were with replacement."""
    return np.minimum(1.0, case.count * _probabilities(case)), _listed_inclusion(case)


@statement(
    routes=("the integral over a Poisson-binomial count", "every order of draws, in fractions"),
    example=Draws(weights_G=(4, 2, 1, 1), count=2),
    cases=_DRAWS,
    wrong=_draws_times_probability,
)
def inclusion_is_one_integral_over_clocks(case: Draws) -> Sides:
    """P(e is among K successive draws without replacement) is an integral over independent clocks.

    With T_j ~ Exp(p_j), it is the integral over t of p_e exp(- p_e t) P(fewer than K of the others ring before t).

    Assumes: nothing else. Source: a standard fact of successive sampling; reconstructed.
    """
    return inclusion_probabilities(_probabilities(case), case.count), _listed_inclusion(case)


def _probabilities(case: Draws) -> Array:
    weights_G = np.array(case.weights_G, dtype=np.float64)
    shares_G: Array = weights_G / weights_G.sum()
    return shares_G


def _listed_inclusion(case: Draws) -> list[float]:
    """The inclusion probabilities by listing every order of draws, in fractions."""
    included = [Fraction(0)] * len(case.weights_G)
    for order, p in _ordered_draws([Fraction(n) for n in case.weights_G], case.count):
        for e in order:
            included[e] += p
    return [float(p) for p in included]


@st.composite
def _kept_groups(draw: Any) -> Kept:
    returns_G = draw(_returns(st.integers(-4, 4)))
    return Kept(returns_G=returns_G, count=draw(st.integers(1, len(returns_G))))


def _uncorrected_in_a_group(case: Kept) -> Sides:
    """Drawn episodes are not corrected for how likely they were drawn."""
    return _expected_coefficients_G(case, corrected=False), _whole_coefficients_G(case)


@statement(
    routes=("all selections with their weights", "(R - mean) / G in fractions"),
    example=Kept(returns_G=_SKEWED, count=2),
    cases=_kept_groups(),
    wrong=_uncorrected_in_a_group,
)
def corrected_draws_give_each_group_its_whole_sum(case: Kept) -> Sides:
    """Divided by their inclusion probabilities, the drawn A_e are on average those of the whole group: every A_e / G.

    This holds in each group, so also for the mean over groups. Episodes of advantage 0 are never drawn, and add 0.

    Assumes: 1 <= K <= G; no std here, which would be a common factor of both sides.
    Source: arXiv:2508.10839 (the idea); the correction is Horvitz and Thompson's (1952), reconstructed.
    """
    return _expected_coefficients_G(case, corrected=True), _whole_coefficients_G(case)


def _expected_coefficients_G(case: Kept, *, corrected: bool) -> Array:
    """What each episode's score is multiplied by on average, over the draws from its group."""
    advantages_G = group_relative_advantages(case.returns_G, std="none")
    dist = selection_dist(
        [advantages_G], SamplingRule(kind="aaw", kept=case.count, corrected=corrected)
    )
    coefficients_G = np.zeros(len(case.returns_G))
    for selected, p in dist.enumerate():
        for one in selected:
            coefficients_G[one.episode] += float(p) * one.weight / case.count
    return coefficients_G * advantages_G


def _whole_coefficients_G(case: Kept) -> list[float]:
    return [float(a / len(case.returns_G)) for a in _deviations(case.returns_G)]


_THREE_ARMS = choice_case({"a": 1.0, "b": 0.0, "c": -1.0}, {"a": 0.5, "b": 0.3, "c": 0.2}, size=3)
_ONE_STEP = random_cases(states=1, horizon=1, size=3)


def _uncorrected(case: Case) -> Sides:
    """Drawn episodes are not corrected for how likely they were drawn."""
    dist = case.dist
    config = case.config(sampling="aaw", kept_episodes=2)
    share = (case.size - 1) / case.size
    return analyse_estimator(dist, config).mean_D, share * dist.autodiff_gradient_D()


@statement(
    routes=(
        "the trainer's estimator over all groups",
        "automatic differentiation of the value",
    ),
    example=_THREE_ARMS,
    cases=_ONE_STEP,
    wrong=_uncorrected,
)
def corrected_sampling_keeps_the_expected_gradient(case: Case) -> Sides:
    """Corrected, the expected estimate is that of the whole groups: (G - 1) / G of the true gradient.

    Assumes: constant weighting, no std, the group's mean as baseline, and neither KL nor entropy term: these would not
    be restored.
    Source: arXiv:2508.10839 (the idea); the formula is reconstructed.
    """
    dist = case.dist
    config = case.config(sampling="aaw", kept_episodes=2, corrected=True)
    share = (case.size - 1) / case.size
    return analyse_estimator(dist, config).mean_D, share * dist.autodiff_gradient_D()


# ---- what uncorrected draws learn from -------------------------------------------------------


def _plain_advantage(case: Case) -> Sides:
    """The effective advantage is A itself."""
    dist = case.dist
    returns_E = dist.returns_E("player").tolist()

    def coefficients(members: Sequence[int]) -> list[float]:
        return [float(a) / case.size for a in _deviations([returns_E[e] for e in members])]

    return _with_replacement_D(case), expected_estimate_D(dist, case.size, coefficients)


@statement(
    routes=("the trainer's estimator over all groups", "A|A| in all ordered groups, by hand"),
    example=_THREE_ARMS,
    cases=_ONE_STEP,
    wrong=_plain_advantage,
)
def drawn_with_replacement_the_effective_advantage_is_a_times_its_size(case: Case) -> Sides:
    """With replacement and no correction, the expected coefficient of e is A_e |A_e| / sum_j |A_j|.

    Assumes: alpha = 1, constant weighting, no std. A group whose returns are all equal adds 0.
    Source: arXiv:2508.10839 (the idea); the formula is reconstructed.
    """
    dist = case.dist
    returns_E = dist.returns_E("player").tolist()

    def coefficients(members: Sequence[int]) -> list[float]:
        a_G = _deviations([returns_E[e] for e in members])
        shares_G = _shares([abs(a) for a in a_G])
        return [float(a) * share for a, share in zip(a_G, shares_G, strict=True)]

    return _with_replacement_D(case), expected_estimate_D(dist, case.size, coefficients)


def _with_replacement_D(case: Case) -> Array:
    config = case.config(sampling="aaw", replacement=True, kept_episodes=2)
    return analyse_estimator(case.dist, config).mean_D


@st.composite
def _two_valued_choices(draw: Any) -> Case:
    """Two to four choices that succeed with different probabilities."""
    names = "abcd"[: draw(st.integers(2, 4))]
    chances = draw(
        st.lists(
            st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=len(names), max_size=len(names)
        ).filter(lambda drawn: len(set(drawn)) > 1)
    )
    shares = [draw(st.integers(1, 5)) for _ in names]
    low, high = draw(st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (-2.0, 0.5)]))
    dists = [Finite({high: q, low: 1 - q}) if 0 < q < 1 else (high if q else low) for q in chances]
    return choice_case(
        dict(zip(names, dists, strict=True)),
        {name: share / sum(shares) for name, share in zip(names, shares, strict=True)},
        size=3,
    )


_TWO_VALUED = choice_case(
    {"a": Finite({1.0: 0.5, 0.0: 0.5}), "b": 0.0, "c": 1.0}, {"a": 0.5, "b": 0.3, "c": 0.2}, size=3
)


def _three_returns(case: Case) -> Sides:
    """Returns take three values."""
    paid = {"a": Finite({3.0: 0.25, 0.0: 0.75}), "b": 0.0, "c": 1.0}
    other = choice_case(paid, {"a": 0.5, "b": 0.3, "c": 0.2}, size=case.size)
    return uncorrected_sampling_keeps_the_direction_with_two_returns.sides(other)


@statement(
    routes=("the trainer's estimator, normalised", "the gradient by autodiff, normalised"),
    example=_TWO_VALUED,
    cases=_two_valued_choices(),
    wrong=_three_returns,
)
def uncorrected_sampling_keeps_the_direction_with_two_returns(case: Case) -> Sides:
    """Where a return can only be one of two numbers, the expected estimate is along the true gradient.

    In each group all successes have one coefficient and all failures another.

    Assumes: constant weighting; 1 or 2 episodes kept; a gradient that is not 0.
    Source: arXiv:2508.10839 (the idea); the statement is reconstructed.
    """
    dist = case.dist
    true_D = _normalised(dist.autodiff_gradient_D())
    found = [
        _normalised(analyse_estimator(dist, case.config(sampling="aaw", kept_episodes=kept)).mean_D)
        for kept in (1, 2)
    ]
    return np.concatenate(found), np.concatenate([true_D, true_D])


def _normalised(vector_D: Array) -> Array:
    normalised_D: Array = vector_D / np.linalg.norm(vector_D)
    return normalised_D


_RISKY = Choice(
    arms={
        "risky": Arm(probability=0.5, pays={3.0: 0.2, -1.0: 0.8}),
        "safe": Arm(probability=0.5, pays={0.0: 1.0}),
    },
    size=4,
    kept=1,
)


def _corrected_for_inclusion(case: Choice) -> Sides:
    """Drawn episodes are corrected for how likely they were drawn."""
    return _preferences(case, corrected=True), _preferences_by_hand(case)


@statement(
    routes=("the trainer's estimator, and autodiff", "all ordered groups by hand"),
    example=_RISKY,
    shows=lambda side: bool(side[0] < -0.01 and side[1] > 0.01),
    wrong=_corrected_for_inclusion,
)
def uncorrected_sampling_can_reverse_which_choice_is_better(case: Choice) -> Sides:
    """With three returns, uncorrected sampling can learn to take the worse choice.

    A risky arm pays 3 with probability 1/5, else -1: less on average than a safe one, which pays 0. Each side holds
    the preference for the safe arm over the risky one, of the expected estimate and of the true gradient: the
    derivative along the logit of the one minus that of the other.

    Assumes: one of four episodes kept, constant weighting, equal probabilities.
    Source: arXiv:2508.10839 (the idea); the example was found here.
    """
    return _preferences(case, corrected=False), _preferences_by_hand(case)


def _preferences(case: Choice, *, corrected: bool) -> list[float]:
    """The preference of the second arm over the first: of the estimate, and of the true gradient."""
    found = case.analyse_estimator(sampling="aaw", corrected=corrected)
    both = found.mean_D, found.dist.autodiff_gradient_D()
    return [float(vector_D[1] - vector_D[0]) for vector_D in both]


def _preferences_by_hand(case: Choice) -> list[float]:
    """The same where one episode is kept, with p_e = |A_e| / sum |A|."""
    outcomes = case.outcomes()
    estimated = 0.0
    for group in itertools.product(outcomes, repeat=case.size):
        chance = math.prod(p for p, *_ in group)
        a_G = _deviations([paid for _, paid, *_ in group])
        for (*_, score_A), a, share in zip(group, a_G, _shares([*map(abs, a_G)]), strict=True):
            estimated += chance * share * float(a) * float(score_A[1] - score_A[0])
    true = sum(p * paid * float(score_A[1] - score_A[0]) for p, paid, _, score_A in outcomes)
    return [estimated, true]


# ---- signal and noise at equal cost ----------------------------------------------------------

_RARE_SUCCESS = Choice(
    arms={
        "right": Arm(probability=0.1, pays={1.0: 1.0}, length=2),
        "wrong": Arm(probability=0.9, pays={0.0: 1.0}),
    },
    size=4,
    kept=2,
)
_RATIO_ROUTES = ("the laboratory", "moments over all groups and orders of draws, by hand")


def _noise_within_groups_alone(case: Choice) -> Sides:
    """The variance is that of the draws within a group; how groups differ is forgotten."""
    return _ratios(case), _ratios_by_hand(case, between_groups=False)


@statement(
    routes=_RATIO_ROUTES,
    example=_RARE_SUCCESS,
    shows=lambda side: bool(side[0] > side[1] > 0 and side[2] > side[3] > 0),
    wrong=_noise_within_groups_alone,
)
def sampling_by_advantage_can_beat_uniform_sampling(case: Choice) -> Sides:
    """Where successes are rare, AAW sampling has more signal to noise than uniform sampling, token for token.

    A success has probability 1/10. Each side holds four ratios of squared signal to variance: of AAW and of uniform
    sampling per trained token, and of both per generated token.

    Assumes: two of four episodes kept, constant weighting, no correction; this game.
    Source: arXiv:2508.10839 (the idea); the example was found here, and is measured.
    """
    return _ratios(case), _ratios_by_hand(case)


_RARE_WIN = Choice(
    arms={
        "risky": Arm(probability=0.5, pays={3.0: 0.125, -1.0: 0.875}),
        "safe": Arm(probability=0.5, pays={0.0: 1.0}, length=2),
    },
    size=4,
    kept=1,
)


@statement(
    routes=_RATIO_ROUTES,
    example=_RARE_WIN,
    shows=lambda side: bool(0 < side[0] < side[1] and 0 < side[2] < side[3]),
    wrong=_noise_within_groups_alone,
)
def sampling_by_advantage_can_lose_to_uniform_sampling(case: Choice) -> Sides:
    """Where a bad choice has rare large wins, AAW sampling has less signal to noise than uniform sampling.

    A risky arm pays 3 with probability 1/8, else -1; a safe one pays 0. The sides are as for the statement that it can
    beat uniform sampling; here the estimate still points the right way.

    Assumes: one of four episodes kept, constant weighting, no correction; this game.
    Source: arXiv:2508.10839 (the idea); the example was found here, and is measured.
    """
    return _ratios(case), _ratios_by_hand(case)


def _ratios(case: Choice) -> list[float]:
    """SNR per trained token of AAW and uniform sampling, and per generated token of both."""
    aaw, uniform = (
        case.analyse_estimator(sampling="aaw"),
        case.analyse_estimator(sampling="uniform"),
    )
    return [
        aaw.snr_per_trained_token,
        uniform.snr_per_trained_token,
        aaw.snr_per_generated_token,
        uniform.snr_per_generated_token,
    ]


def _ratios_by_hand(case: Choice, *, between_groups: bool = True) -> list[float]:
    aaw = _snr_by_hand(case, "aaw", between_groups)
    uniform = _snr_by_hand(case, "uniform", between_groups)
    return [aaw[0], uniform[0], aaw[1], uniform[1]]


def _snr_by_hand(
    case: Choice, kind: Literal["aaw", "uniform"], between_groups: bool
) -> tuple[float, float]:
    """SNR per trained and per generated token: every ordered group, and every order of draws from it."""
    outcomes = case.outcomes()
    mean_A = np.zeros(len(case.arms))
    square = within = trained = 0.0
    for group in itertools.product(outcomes, repeat=case.size):
        chance = math.prod(p for p, *_ in group)
        a_G = _deviations([paid for _, paid, *_ in group])
        weights_G = [abs(a) for a in a_G] if kind == "aaw" else [Fraction(1)] * case.size
        conditional_A, conditional_square = np.zeros(len(case.arms)), 0.0
        for drawn, p in _ordered_draws(weights_G, case.kept):
            terms = [float(a_G[e]) * group[e][3] / case.kept for e in drawn]
            estimate_A = np.sum([np.zeros(len(case.arms)), *terms], axis=0)
            conditional_A += float(p) * estimate_A
            conditional_square += float(p) * float(estimate_A @ estimate_A)
            trained += chance * float(p) * sum(group[e][2] for e in drawn)
        mean_A += chance * conditional_A
        square += chance * conditional_square
        within += chance * (conditional_square - float(conditional_A @ conditional_A))
    true_A = np.sum([p * paid * score_A for p, paid, _, score_A in outcomes], axis=0)
    along = float(mean_A @ true_A) / float(np.linalg.norm(true_A))
    noise = square - float(mean_A @ mean_A) if between_groups else within
    snr = math.copysign(along**2, along) / noise
    generated = case.size * sum(p * length for p, _, length, _ in outcomes)
    return snr / trained, snr / generated
