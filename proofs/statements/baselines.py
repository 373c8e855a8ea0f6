"""Group baselines and the expected gradient: constant weighting, no std, on-policy."""

import numpy as np

from proofs.statement import Sides, statement
from proofs.statements.by_hand import episode_scores_E_D
from proofs.statements.cases import (
    BY_AUTODIFF,
    BY_ESTIMATOR,
    CARDS,
    Case,
    choice_case,
    random_cases,
)

_ROUTES = (BY_ESTIMATOR, BY_AUTODIFF)
_EXAMPLE = choice_case({"a": 1.0, "b": 0.0, "c": -1.0}, {"a": 0.5, "b": 0.3, "c": 0.2}, size=3)


def _all_of_the_gradient(case: Case) -> Sides:
    """The share of an episode's own return is left out."""
    return case.dist.autodiff_gradient_D(), case.estimate_D()


@statement(
    routes=_ROUTES,
    example=_EXAMPLE,
    cases=random_cases(states=1),
    wrong=_all_of_the_gradient,
)
def the_groups_own_mean_gives_a_share_of_the_gradient(case: Case) -> Sides:
    """Relative to the mean of the whole group, the expected estimate is (G - 1) / G of the true gradient.

    An episode's own return is part of its baseline, and costs 1 / G of the signal.

    Assumes: constant weighting, no std, episodes drawn independently from the policy itself.
    Source: a standard fact; reconstructed for whole episodes.

    Theory: Theorem 6.1, Equation 6.2.
    """
    dist = case.dist
    share = (case.size - 1) / case.size
    return case.estimate_D(), share * dist.autodiff_gradient_D()


def _own_return_included(case: Case) -> Sides:
    """The baseline is the mean of all members."""
    return case.estimate_D(), case.dist.autodiff_gradient_D()


@statement(
    routes=_ROUTES,
    example=_EXAMPLE,
    cases=random_cases(states=1),
    wrong=_own_return_included,
)
def the_mean_of_the_others_gives_the_gradient(case: Case) -> Sides:
    """Relative to the mean of the other members, the expected estimate is the true gradient.

    Assumes: as for the group's own mean. Source: RLOO, arXiv:2402.14740.

    Theory: Theorem 6.1, Equation 6.3.
    """
    dist = case.dist
    return case.estimate_D(baseline="leave_one_out"), dist.autodiff_gradient_D()


def _one_baseline_for_both(case: Case) -> Sides:
    """Both roles are compared with the mean over both, as if there were one learner with the summed return."""
    dist = case.dist
    share = (case.size - 1) / (case.size * len(dist.learners))
    summed_E = np.sum([dist.returns_E(agent) for agent in dist.learners], axis=0)
    scores_E_D = np.sum([episode_scores_E_D(dist, agent) for agent in dist.learners], axis=0)
    pooled_D = share * (dist.probabilities_E * summed_E) @ scores_E_D
    return case.estimate_D(), pooled_D


@statement(
    routes=_ROUTES,
    example=CARDS,
    cases=random_cases(agents=2, states=1, horizon=1),
    wrong=_one_baseline_for_both,
)
def each_role_has_its_own_baseline(case: Case) -> Sides:
    """In self-play of N roles the expected estimate is (G - 1) / (G N) of the sum of the roles' own gradients.

    Each role's returns are compared with the same role's returns in the other episodes, and the estimate is a mean over
    the roles.

    Assumes: as for the group's own mean; all roles share their weights. Source: reconstructed.

    Theory: Theorem 6.1.
    """
    dist = case.dist
    share = (case.size - 1) / (case.size * len(dist.learners))
    return case.estimate_D(), share * dist.autodiff_gradient_D()
