"""The weight of a start, and of a return."""

import math
from collections.abc import Callable, Mapping
from typing import final

import attrs
import numpy as np
from hypothesis import strategies as st

from proofs.estimators.laboratory import Settings
from proofs.estimators.start_weights import pods, return_weights, start_weights
from proofs.statement import Sides, statement
from proofs.statements.cases import BY_ESTIMATOR, Case, choice_case, random_cases
from proofs.statements.normalisation.two_values import coefficient
from proofs.statements.starts.games import HARD_AND_EASY, SETTINGS, WEIGHING, Starts, starts_cases


def _one_weight_for_all(starts: Starts) -> Sides:
    """With two values the direction is right over all starts, too: one weight, at the mean success rate."""
    mean = float(np.dot(starts.shares, starts.rates))
    weight = start_weights(starts.case.config(**starts.settings), mean)
    return starts.expected(), starts.weighted(np.repeat(weight, len(starts.shares)))


@statement(
    routes=(BY_ESTIMATOR, "weights of starts, times gradients by autodiff"),
    example=HARD_AND_EASY,
    cases=starts_cases(SETTINGS, st.integers(2, 4)),
    wrong=_one_weight_for_all,
)
def each_start_has_a_weight_of_its_own(starts: Starts) -> Sides:
    """Over starts, the expected estimate is E[kappa(q(s)) grad q(s)], with a weight by a start's difficulty.

    With two values the direction is therefore right on each start, but over several starts only if kappa is constant.

    Assumes: returns of 0 or 1, groups on one start each, whole-episode credit, constant weighting, draws within groups.
    Source: reconstructed; that a std weighs tasks by their difficulty is in Dr. GRPO, arXiv:2503.20783.

    Theory: Theorem 6.3, Equation 6.6.
    """
    return starts.expected(), starts.weighted(starts.weights())


@final
@attrs.frozen(kw_only=True)
class Rate:
    """A success rate, a size of group, and the settings of a draw by advantage."""

    q: float
    size: int
    kept: int = 1
    alpha: float = 1.0
    std: str = "population"
    replacement: bool = False

    def weight(self) -> float:
        """The weight kappa by ``start_weights``."""
        case = choice_case({"a": 1.0, "b": 0.0}, {"a": self.q, "b": 1 - self.q}, size=self.size)
        config = case.config(
            sampling="aaw",
            kept_episodes=self.kept,
            alpha=self.alpha,
            std=self.std,
            eps=0.0,
            replacement=self.replacement,
        )
        return float(start_weights(config, self.q)[0])

    def listed(self) -> float:
        """The weight kappa over the number of successes and over the draws, one after the other."""
        total = 0.0
        for n in range(1, self.size):
            share = n / self.size
            scale = 1.0 if self.std == "none" else 1 / math.sqrt(share * (1 - share))
            gain, loss = (1 - share) * scale, share * scale
            p = math.comb(self.size, n) * self.q**n * (1 - self.q) ** (self.size - n)
            good = self._drawn(n, gain**self.alpha, loss**self.alpha)
            per_success = gain * good / self.q
            per_failure = loss * (self.kept - good) / (1 - self.q)
            total += p * (per_success + per_failure) / self.kept
        return total

    def _drawn(self, successes: int, gain: float, loss: float) -> float:
        """The expected number of successes among the draws, where each weighs so much and each failure so much."""
        dist = {0: 1.0}
        for n in range(self.kept):
            longer: dict[int, float] = {}
            for drawn, p in dist.items():
                if not p:
                    continue
                taken = (0, 0) if self.replacement else (drawn, n - drawn)
                good = (successes - taken[0]) * gain
                bad = (self.size - successes - taken[1]) * loss
                for more, weight in ((1, good), (0, bad)):
                    longer[drawn + more] = longer.get(drawn + more, 0.0) + p * weight / (good + bad)
            dist = longer
        return sum(drawn * p for drawn, p in dist.items())


def _as_if_all_were_kept(rate: Rate) -> Sides:
    """The draw is taken to change nothing: the weight of the full group."""
    return rate.weight(), coefficient(rate.q, rate.size)


@statement(
    routes=("G times the mean gain of a success", "a sum over successes and draws"),
    example=Rate(q=0.05, size=16, kept=8),
    cases=st.integers(2, 12).flatmap(
        lambda size: st.builds(
            Rate,
            q=st.floats(0.01, 0.99),
            size=st.just(size),
            kept=st.integers(1, size),
            alpha=st.sampled_from((0.0, 0.5, 1.0, 2.0)),
            std=st.sampled_from(("population", "none")),
            replacement=st.booleans(),
        )
    ),
    wrong=_as_if_all_were_kept,
)
def the_weight_of_a_start_is_the_mean_gain_of_a_success(rate: Rate) -> Sides:
    """kappa(q) = G E[c(1; n') - c(0; n')], n' ~ Bin(G - 1, q): a success's gain over a failure among the same others.

    c(r; n') is the expected coefficient of an episode of return r where n' of the others succeed. The other side counts
    the successes of the group, those among the drawn ones, and their mean scores: grad q / q, - grad q / (1 - q).

    Assumes: as for weights of starts. Source: reconstructed.

    Theory: Theorem 6.3, Equation 6.6.
    """
    return rate.weight(), rate.listed()


def _full_group(rate: Rate) -> Sides:
    """Drawing half successes and half failures is taken to leave the full group's weights."""
    full = [coefficient(rate.q, rate.size), (rate.size - 1) / rate.size]
    return _of_designs(rate), [*full, 1.0, full[1], full[0], full[0], full[0]]


@statement(
    routes=("start_weights", "closed forms in q and G"),
    example=Rate(q=0.05, size=16),
    cases=st.builds(Rate, q=st.floats(0.01, 0.99), size=st.integers(2, 24)),
    wrong=_full_group,
)
def weights_of_starts_have_closed_forms(rate: Rate) -> Sides:
    """The weights of seven designs, in closed form.

    With n successes in the group, full groups with std: E[sqrt(n (G - n))] / (G q (1 - q)); without: (G - 1) / G, or 1
    with leave-one-out. One episode by |A|, or draws with replacement, without std: half of
    (1 - q)/q (1 - (1 - q)^(G - 1)) + q/(1 - q) (1 - q^(G - 1)); with std: half the mean of
    sqrt((G - n)/n)/q + sqrt(n/(G - n))/(1 - q) over groups with signal, which is also that of two episodes of greatest
    variance with the group's advantages; renormalised as published: (1 - q^G - (1 - q)^G) / (2 q (1 - q)).

    Assumes: as for weights of starts; alpha = 1, eps 0. Source: reconstructed; PODS is arXiv:2504.13818.

    Theory: Theorem 6.3.
    """
    q, size = rate.q, rate.size
    rest = 1 - q
    one = (rest / q * (1 - rest ** (size - 1)) + q / rest * (1 - q ** (size - 1))) / 2
    divided = sum(
        math.comb(size, n)
        * q**n
        * rest ** (size - n)
        * (math.sqrt((size - n) / n) / q + math.sqrt(n / (size - n)) / rest)
        for n in range(1, size)
    )
    renormalised = (1 - q**size - rest**size) / (2 * q * rest)
    share = (size - 1) / size
    full = coefficient(q, size)
    return _of_designs(rate), [full, share, 1.0, one, divided / 2, divided / 2, renormalised]


def _of_designs(rate: Rate) -> list[float]:
    case = choice_case({"a": 1.0, "b": 0.0}, {"a": rate.q, "b": 1 - rate.q}, size=rate.size)
    one: Settings = {"sampling": "aaw", "kept_episodes": 1, "eps": 0.0}
    designs = (
        case.config(std="population", eps=0.0),
        case.config(),
        case.config(baseline="leave_one_out"),
        case.config(**one),
        case.config(**one, std="population"),
        pods(rate.size, 2, renormalised=False, eps=0.0),
        pods(rate.size, 2, eps=0.0),
    )
    return [float(start_weights(design, rate.q)[0]) for design in designs]


def _returns_themselves(case: Case) -> Sides:
    """The estimate follows the mean return."""
    return _followed(case, lambda law: {r: r * (case.size - 1) / case.size for r in law})


@statement(
    routes=(BY_ESTIMATOR, "weights of returns, differentiated automatically"),
    example=choice_case({"a": 3.0, "b": 0.0, "c": -1.0}, {"a": 0.2, "b": 0.5, "c": 0.3}, size=4),
    cases=random_cases(states=1, horizon=1, size=3),
    wrong=_returns_themselves,
)
def the_estimate_follows_a_weight_of_each_return(case: Case) -> Sides:
    """On one start, the expected estimate is the gradient of the mean of u(R), with u(r) = G E[c(r; the others)] fixed.

    The estimate therefore follows a functional of the return's distribution, which is the mean if u is linear.

    Assumes: groups on one start, whole-episode credit, constant weighting; one episode by |A|, population std.
    Source: reconstructed.

    Theory: Theorem 6.5, Equation 6.8.
    """
    config = case.config(**WEIGHING)
    return _followed(case, lambda law: return_weights(config, law))


def _followed(case: Case, weights: Callable[[dict[float, float]], Mapping[float, float]]) -> Sides:
    dist = case.dist
    returns_E = dist.returns_E("player")
    law: dict[float, float] = {}
    for r, p in zip(returns_E.tolist(), dist.probabilities_E.tolist(), strict=True):
        law[r] = law.get(r, 0.0) + p
    u = weights(law)
    values_E = np.array([u[r] for r in returns_E.tolist()])
    return case.estimate_D(**WEIGHING), dist.expectation_gradient_D("player", values_E)
