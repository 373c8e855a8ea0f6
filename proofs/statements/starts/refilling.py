"""Groups without a signal that are played again: what dynamic sampling changes, and what it does not."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from proofs.exact.gradients import Array
from proofs.statement import Sides, statement
from proofs.statements.cases import BY_ESTIMATOR
from proofs.statements.credit_rules.plain import plain_trajectories
from proofs.statements.starts.games import HARD_AND_EASY, SETTINGS, Starts, starts_cases

_EVERY = tuple(s for s in SETTINGS if s["sampling"] == "all" and "eps" not in s)


def _the_same_start_again(starts: Starts) -> Sides:
    """A group without a signal is played again on the start that it had."""
    by_start = [_moments(starts, [start]) for start in range(len(starts.shares))]
    mean_D = sum(
        share * first_D / signal
        for share, (signal, first_D, _) in zip(starts.shares, by_start, strict=True)
    )
    return [*_gain_by_estimator(starts)], [_inverse_gain(starts), *np.asarray(mean_D)]


@statement(
    routes=(BY_ESTIMATOR, "every ordered group that has a signal"),
    example=Starts(
        shares=HARD_AND_EASY.shares,
        chances=HARD_AND_EASY.chances,
        size=3,
        settings={"sampling": "all", "std": "none"},
    ),
    cases=starts_cases(_EVERY, st.just(3)).filter(lambda s: any(0 < q < 1 for q in s.rates)),
    sweep=15,
    wrong=_the_same_start_again,
)
def refilling_groups_without_a_signal_is_neutral_in_direction(starts: Starts) -> Sides:
    """Playing groups on new starts until one has a signal divides the mean by Pr[signal] and keeps its direction.

    With P the probability of a signal, m and s2 the norm of the mean and the mean square of the estimate of groups that
    have one, the SNR per generated token grows by (s2 - P m^2) / (s2 - m^2). Each side holds the inverse of that, then
    the mean.

    Assumes: an estimate of 0 where there is no signal. Source: dynamic sampling is DAPO's, arXiv:2503.14476; the gain
    is reconstructed.

    Theory: Theorem 8.4.
    """
    signal, first_D, _ = _moments(starts, range(len(starts.shares)))
    return _gain_by_estimator(starts), [_inverse_gain(starts), *first_D / signal]


def _gain_by_estimator(starts: Starts) -> list[float]:
    """The formula, from the variance of all groups, and P in closed form."""
    found = starts.case.analysis(group_on="initial_state", **starts.settings)
    signal = sum(
        share * (1 - q**starts.size - (1 - q) ** starts.size)
        for share, q in zip(starts.shares, starts.rates, strict=True)
    )
    square = float(found.mean_D @ found.mean_D)
    m_square, second = square / signal**2, (found.variance + square) / signal
    return [(second - m_square) / (second - signal * m_square), *found.mean_D / signal]


def _inverse_gain(starts: Starts) -> float:
    """The SNR per generated token of all groups, over that of those with a signal, which cost 1 / P groups each."""
    signal, first_D, second = _moments(starts, range(len(starts.shares)))
    refilled_D = first_D / signal
    plain_noise = second - float(first_D @ first_D)
    refilled_noise = second / signal - float(refilled_D @ refilled_D)
    return signal * refilled_noise / plain_noise


def _moments(starts: Starts, numbers: Sequence[int]) -> tuple[float, Array, float]:
    """P, and sums over groups with a signal, with their probabilities: of the estimate, and of its squared norm."""
    case = starts.case
    share = sum(starts.shares[start] for start in numbers)
    members: dict[int, list[int]] = {start: [] for start in numbers}
    for place, trajectory in enumerate(case.dist.trajectories):
        if trajectory.start in members:
            members[trajectory.start].append(place)
    played = plain_trajectories(case.dist)
    signal, first_D, second = 0.0, np.zeros(case.dist.scores_C_D.shape[1]), 0.0
    for start, places in members.items():
        own = starts.shares[start]
        for group in itertools.product((played[place] for place in places), repeat=starts.size):
            chance = own / share * math.prod(member.probability / own for member in group)
            estimate_D = _estimate_D(
                starts,
                [member.earned_from(0) for member in group],
                [member.scores_T_D.sum(axis=0) for member in group],
            )
            if estimate_D is not None:
                signal += chance
                first_D = first_D + chance * estimate_D
                second += chance * float(estimate_D @ estimate_D)
    return signal, first_D, second


def _estimate_D(starts: Starts, returns: list[float], scores: list[Array]) -> Array | None:
    """The mean over members of advantage times score; ``None`` without a signal."""
    returns_G = np.array(returns)
    if not returns_G.std() > 0:
        return None
    scale = returns_G.std() + 0.0001 if starts.settings["std"] == "population" else 1.0
    if starts.settings.get("baseline") == "leave_one_out":
        scale *= (starts.size - 1) / starts.size
    estimate_D: Array = (returns_G - returns_G.mean()) / scale @ np.array(scores) / starts.size
    return estimate_D
