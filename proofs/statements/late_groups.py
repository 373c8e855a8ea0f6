"""Groups that are played while others are learnt: the effect of dropping late ones on the estimate."""

import itertools
from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

from proofs.exact.gradients import Array
from proofs.small_games import WORDS, FiniteGame, finite_games, random_policy
from proofs.statement import Sides, statement
from proofs.statements.cases import BY_AUTODIFF, SEEDS, Case, choice_case

_BY_GROUPS = "the mean over all groups of two episodes, one by one"
_STEPS = 1  # an episode of more steps makes its group late


def _mean_of_groups_D(case: Case, counts: Callable[[int], bool]) -> Array:
    """The mean estimate of groups of two whose episodes have lengths that count. Shape (D,)."""
    dist = case.dist
    probabilities_E, returns_E = dist.probabilities_E, dist.returns_E("player")
    scores_E_D = dist.counts_E_C("player") @ dist.scores_C_D
    on_time = [e for e, one in enumerate(dist.trajectories) if counts(len(one.episode.steps))]
    total_D, learnt = np.zeros(scores_E_D.shape[1]), 0.0
    for e, other in itertools.product(on_time, repeat=2):
        p = probabilities_E[e] * probabilities_E[other]
        learnt += p
        advantage = (returns_E[e] - returns_E[other]) / 2
        total_D += p * advantage * (scores_E_D[e] - scores_E_D[other])
    return total_D / learnt if learnt else total_D


def _late_groups_dropped(case: Case) -> Sides:
    """Groups with an episode of more than one step come too late, and are dropped."""
    return _mean_of_groups_D(case, lambda steps: steps <= _STEPS), case.dist.autodiff_gradient_D()


def _walk(game: FiniteGame, seed: int) -> Case:
    return Case(game=game, policy=random_policy(game, WORDS, seed=seed))


@statement(
    routes=(_BY_GROUPS, BY_AUTODIFF),
    example=choice_case(
        {"a": 0.0, "b": 1.0, "c": 2.0}, {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, lengths={"c": 2}
    ),
    cases=st.builds(_walk, finite_games(), SEEDS),
    wrong=_late_groups_dropped,
)
def groups_that_are_waited_for_give_the_gradient(case: Case) -> Sides:
    """If every group that was begun is learnt from, however long it lasts, the mean estimate is the gradient.

    If late groups are dropped, the estimate is that of another distribution, without long episodes. In the example the
    best choice, of two steps, is never compared: the estimate teaches the better of the two short ones, although
    it pays no more than the policy's mean, where the gradient is 0.

    Assumes: groups of two, relative to each other, one agent, weights that are not stale.
    Source: reconstructed [ours].
    """
    return _mean_of_groups_D(case, lambda steps: True), case.dist.autodiff_gradient_D()
