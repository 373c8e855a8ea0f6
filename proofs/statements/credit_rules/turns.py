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
    """From each step on, relative to the mean of the others that have this step; 0 where no other has."""

    def credit(e: int, t: int) -> float:
        others = [w for j, w in enumerate(group) if j != e and len(w.texts) > t]
        if not others:
            return 0.0
        return group[e].earned_from(t) - mean_of([w.earned_from(t) for w in others])

    return [[credit(e, t) for t in range(len(walk.texts))] for e, walk in enumerate(group)]


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
    """Compared with the members alone that have an n-th turn, the expected estimate is no multiple of the gradient.

    Whoever is alone at a turn learns nothing from it, so turns count less the fewer members reach them, and that is
    the policy's doing. Both sides: the expected estimate, then the true gradient. Measured: cosine 0.88 in the example.

    Assumes: constant weighting, the mean of the others, no std. Source: reconstructed.
    """
    dist = case.dist
    analysis = case.analysis(credit="turn", baseline="leave_one_out")
    by_hand_D = expected_D(case, turn_credit)
    return (
        np.concatenate([analysis.mean_D, dist.gradient_D]),
        np.concatenate([by_hand_D, dist.autodiff_gradient_D()]),
    )


def _all_turns_alike(case: Case) -> Sides:
    """Every turn has company, which makes it the true gradient."""
    analysis = case.analysis(credit="turn", baseline="leave_one_out")
    return analysis.mean_D, _by_turns(case, company=False)


@statement(
    routes=(BY_ESTIMATOR, "the sum over turns in closed form"),
    example=ROAD,
    cases=random_cases(states=1),
    wrong=_all_turns_alike,
)
def turn_credit_weighs_a_turn_by_the_chance_of_company(case: Case) -> Sides:
    """Turn credit gives the n-th turn's part of the gradient times the chance that another member has one.

    With q the probability that an episode has an n-th turn, that is 1 - (1 - q)^(G - 1). There is no other bias: what
    the others earn from their n-th turns on does not depend on what one does at one's own.

    Assumes: constant weighting, the mean of the others, no std, independent episodes. Source: reconstructed.
    """
    analysis = case.analysis(credit="turn", baseline="leave_one_out")
    return analysis.mean_D, _by_turns(case, company=True)


def _by_turns(case: Case, *, company: bool) -> Array:
    """The sum over turns of their parts of the gradient, each times the probability that it has company."""
    walks = plain_trajectories(case.dist)
    total: Array = np.zeros(case.dist.scores_C_D.shape[1])
    for t in range(max(len(walk.texts) for walk in walks)):
        there = [walk for walk in walks if len(walk.texts) > t]
        q = sum(walk.probability for walk in there)
        factor = 1 - (1 - q) ** (case.size - 1) if company else 1.0
        for walk in there:
            total += factor * walk.probability * walk.earned_from(t) * walk.scores_T_D[t]
    return total
