"""Signal to noise at equal cost: AAW against uniform sampling."""

import itertools
import math
from fractions import Fraction
from typing import Literal

import numpy as np

from proofs.estimators.arms import Arm
from proofs.statement import Sides, statement
from proofs.statements.episode_sampling.groups import Choice, deviations, ordered_draws

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
    """If successes are rare, AAW sampling has a higher signal-to-noise ratio than uniform sampling, token for token.

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
    """If a bad choice has rare large wins, AAW sampling has a lower signal-to-noise ratio than uniform sampling.

    A risky arm pays 3 with probability 1/8, else -1; a safe one pays 0. The sides are as for the statement that it can
    beat uniform sampling; here the estimate still points the right way.

    Assumes: one of four episodes kept, constant weighting, no correction; this game.
    Source: arXiv:2508.10839 (the idea); the example was found here, and is measured.
    """
    return _ratios(case), _ratios_by_hand(case)


def _ratios(case: Choice) -> list[float]:
    """SNR per trained token of AAW and uniform sampling, and per generated token of both."""
    aaw, uniform = (
        case.analysis(sampling="aaw"),
        case.analysis(sampling="uniform"),
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
        a_G = deviations([paid for _, paid, *_ in group])
        weights_G = [abs(a) for a in a_G] if kind == "aaw" else [Fraction(1)] * case.size
        conditional_A, conditional_square = np.zeros(len(case.arms)), 0.0
        for drawn, p in ordered_draws(weights_G, case.kept):
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
