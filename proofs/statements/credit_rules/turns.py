"""Turn by turn: a step is compared with the same step of the other members."""

import numpy as np

from proofs.exact.gradients import Array
from proofs.statement import Sides, statement
from proofs.statements.by_hand import cosine
from proofs.statements.cases import BY_ESTIMATOR, Case, random_cases
from proofs.statements.credit_rules.plain import (
    BY_HAND,
    ROAD,
    Group,
    expected_D,
    mean_of,
    plain_trajectories,
)


def turn_credit(group: Group) -> list[list[float]]:
    """The reward-to-go, relative to the mean of the others that have this step; 0 if no other has."""

    def credit(e: int, t: int) -> float:
        others = [w for j, w in enumerate(group) if j != e and len(w.texts) > t]
        if not others:
            return 0.0
        return group[e].earned_from(t) - mean_of([w.earned_from(t) for w in others])

    return [[credit(e, t) for t in range(len(member.texts))] for e, member in enumerate(group)]


def turned(side: Array) -> bool:
    """Whether estimate and truth, the two halves, point in different directions."""
    estimate, truth = np.split(side, 2)
    return cosine(estimate, truth) < 0.99


def _whole_episodes(case: Case) -> Sides:
    """Whole episodes are compared."""
    dist = case.dist
    analysis = case.analysis(credit="episode", baseline="leave_one_out")
    _, by_hand = comparing_turn_by_turn_is_biased_where_the_policy_can_stop.sides(case)
    return np.concatenate([analysis.mean_D, dist.gradient_D]), by_hand


@statement(
    routes=(BY_ESTIMATOR, BY_HAND),
    example=ROAD,
    cases=random_cases(states=1),
    shows=turned,
    wrong=_whole_episodes,
)
def comparing_turn_by_turn_is_biased_where_the_policy_can_stop(case: Case) -> Sides:
    """Compared only with members that have an m-th turn, the expected estimate is no multiple of the gradient.

    A member that alone has a turn gets no signal from it, so turns that fewer members reach count less, and that
    depends on the policy. Both sides: the expected estimate, then the true gradient. Measured: cosine 0.88 in the
    example.

    Assumes: constant weighting, the mean of the others, no std. Source: reconstructed.

    Theory: Theorem 9.2.
    """
    dist = case.dist
    analysis = case.analysis(credit="turn", baseline="leave_one_out")
    by_hand_D = expected_D(case, turn_credit)
    return (
        np.concatenate([analysis.mean_D, dist.gradient_D]),
        np.concatenate([by_hand_D, dist.autodiff_gradient_D()]),
    )


def _all_turns_alike(case: Case) -> Sides:
    """Every turn is taken to have company, which gives the true gradient."""
    return case.estimate_D(credit="turn", baseline="leave_one_out"), _by_turns(case, company=False)


@statement(
    routes=(BY_ESTIMATOR, "the sum over turns in closed form"),
    example=ROAD,
    cases=random_cases(states=1),
    wrong=_all_turns_alike,
)
def turn_credit_weighs_a_turn_by_the_chance_of_company(case: Case) -> Sides:
    """Turn credit gives the m-th turn's part of the gradient times the probability that another member has one.

    With Y the number of turns of an episode, that is 1 - Pr[Y < m]^(G - 1). There is no other bias: what
    the others earn from their m-th turns on does not depend on a member's own actions.

    Assumes: constant weighting, the mean of the others, no std, independent episodes. Source: reconstructed.

    Theory: Theorem 9.2, Equation 9.4.
    """
    return case.estimate_D(credit="turn", baseline="leave_one_out"), _by_turns(case, company=True)


def _by_turns(case: Case, *, company: bool) -> Array:
    """The sum over turns of their parts of the gradient, each times the probability of company at the turn."""
    played = plain_trajectories(case.dist)
    total: Array = np.zeros(case.dist.scores_C_D.shape[1])
    for t in range(max(len(member.texts) for member in played)):
        there = [member for member in played if len(member.texts) > t]
        q = sum(member.probability for member in there)
        factor = 1 - (1 - q) ** (case.size - 1) if company else 1.0
        for member in there:
            total += factor * member.probability * member.earned_from(t) * member.scores_T_D[t]
    return total
