"""The sampling rule "optimal" is the best corrected draw, where what was recorded tells the norm of the score."""

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from proofs.small_games import FiniteGame, tabular_policy
from proofs.statement import Sides, statement
from proofs.statements.cases import BY_ESTIMATOR, Case
from proofs.statements.credit_rules.plain import PlainTrajectory, mean_of, ordered_groups
from tsmg import Transition, deterministic


def _two_words(early: float, late: float, prizes: tuple[float, float, float]) -> Case:
    """At first a prize ends the episode; else there is a second choice, between two other prizes."""
    stop, won, lost = prizes
    game = FiniteGame(
        starts=deterministic("early"),
        moves={
            "early": {
                ("a",): deterministic(Transition("end", (stop,))),
                ("b",): deterministic(Transition("late", (0.0,))),
            },
            "late": {
                ("a",): deterministic(Transition("end", (won,))),
                ("b",): deterministic(Transition("end", (lost,))),
            },
        },
    )
    dists = {"early": {"a": early, "b": 1 - early}, "late": {"a": late, "b": 1 - late}}
    return Case(game=game, policy=tabular_policy(("a", "b"), dists=dists, capacity=2), size=3)


_SHARES = st.floats(0.05, 0.95)


def _by_advantage_alone(case: Case) -> Sides:
    """The draw is by |A|, whatever the score and the length."""
    return _drawn(case, sampling="aaw"), _by_hand(case)


@statement(
    routes=(
        BY_ESTIMATOR + ", drawn",
        "p in proportion to |A| |score| / sqrt(L), every ordered group",
    ),
    example=_two_words(0.6, 0.1, (0.0, 1.0, -0.5)),
    cases=st.builds(
        _two_words,
        _SHARES,
        _SHARES,
        st.sampled_from(((0.0, 1.0, -0.5), (0.0, 1.0, 0.0), (1.0, 3.0, -1.0))),
    ),
    sweep=15,
    wrong=_by_advantage_alone,
)
def the_optimal_draw_is_by_the_true_score_of_two_words(case: Case) -> Sides:
    """Of policies that choose between two words, the draw "optimal" is by |A| |score| / sqrt(L) with the true score.

    It knows the words' log-probabilities alone: of two words the squared norm of a score in the logits is 2 (1 - p)^2.
    Each side holds the second moment of one corrected draw, and the mean number of tokens that it trains.

    Assumes: a context is met at most once in an episode, and each has logits of its own; no word likelier than 0.99;
    whole-episode credit, constant weighting; K = 1. Source: reconstructed.

    Theory: Equation 8.10.
    """
    return _drawn(case, sampling="optimal"), _by_hand(case)


def _drawn(case: Case, **settings: Any) -> list[float]:
    found = case.analysis(kept_episodes=1, corrected=True, **settings)
    return [found.variance + float(found.mean_D @ found.mean_D), found.trained_tokens]


def _by_hand(case: Case) -> list[float]:
    second = trained = 0.0
    for chance, group in ordered_groups(case):
        mean = mean_of([member.earned_from(0) for member in group])
        products = [abs(member.earned_from(0) - mean) * _norm(member) for member in group]
        sizes = [a / math.sqrt(member.tokens) for a, member in zip(products, group, strict=True)]
        if total := sum(sizes):
            for a, size, member in zip(products, sizes, group, strict=True):
                second += chance * (a**2 * total / size if size else 0.0) / case.size**2
                trained += chance * size / total * member.tokens
    return [second, trained]


def _norm(member: PlainTrajectory) -> float:
    return float(np.linalg.norm(member.scores_T_D.sum(axis=0)))
