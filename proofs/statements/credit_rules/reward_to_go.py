"""Credit for the reward-to-go: the expected gradient, and the draw of episodes."""

from collections.abc import Callable, Sequence

import numpy as np

from proofs.exact.gradients import Array
from proofs.statement import Sides, statement
from proofs.statements.cases import BY_AUTODIFF, BY_ESTIMATOR, Case, random_cases
from proofs.statements.credit_rules.plain import ROAD, Group, mean_of, ordered_groups


def _who_is_still_there(case: Case) -> Sides:
    """A step is compared only with the members whose episode has that step."""
    share = (case.size - 1) / case.size
    return case.estimate_D(credit="turn"), share * case.dist.autodiff_gradient_D()


@statement(
    routes=(BY_ESTIMATOR, BY_AUTODIFF),
    example=ROAD,
    cases=random_cases(states=1),
    wrong=_who_is_still_there,
)
def rewards_to_go_keep_the_gradient(case: Case) -> Sides:
    """Credit for the reward-to-go, relative to the whole group's mean, gives (G - 1) / G of the true gradient.

    Members whose episode is over at a step count with a reward-to-go of 0. So the baseline of a member depends on its
    own actions only through its own share.

    Assumes: constant weighting, no std, independent episodes. Source: the policy gradient theorem; reconstructed for
    groups.

    Theory: Theorem 9.1.
    """
    dist = case.dist
    share = (case.size - 1) / case.size
    return case.estimate_D(credit="reward_to_go"), share * dist.autodiff_gradient_D()


def _to_go_credit(group: Group) -> list[list[float]]:
    """The reward-to-go, relative to the mean over all members, those that have ended included."""
    longest = max(len(member.texts) for member in group)
    means = [mean_of([member.earned_from(t) for member in group]) for t in range(longest)]
    return [[w.earned_from(t) - means[t] for t in range(len(w.texts))] for w in group]


def _drawn_one(case: Case, sizes: Callable[[Group], Sequence[float]]) -> Array:
    """Expected trained tokens and expected estimate, when one member is drawn in proportion to its size."""
    total: Array = np.zeros(1 + case.dist.scores_C_D.shape[1])
    for p, group in ordered_groups(case):
        sizes_G = [size if size > 1e-9 else 0.0 for size in sizes(group)]
        for member, credit_T, size in zip(group, _to_go_credit(group), sizes_G, strict=True):
            if size:
                drawn = p * size / sum(sizes_G)
                total[0] += drawn * member.tokens
                total[1:] += drawn * (np.array(credit_T) @ member.scores_T_D)
    return total


def _whole_advantages(group: Group) -> list[float]:
    """|A_e|, with the advantage of the whole episode's return over the mean."""
    mean = mean_of([member.earned_from(0) for member in group])
    return [abs(member.earned_from(0) - mean) for member in group]


def _sums_of_credit(group: Group) -> list[float]:
    """The sum over steps of |A_{e,t}|."""
    return [sum(map(abs, credit_T)) for credit_T in _to_go_credit(group)]


def _drawn_by_credit(case: Case) -> Sides:
    """Episodes are drawn by the sum of their steps' absolute credit."""
    right, _ = credit_per_step_leaves_the_draw_to_whole_episodes.sides(case)
    return right, _drawn_one(case, _sums_of_credit)


@statement(
    routes=(BY_ESTIMATOR, "every ordered group, with p = |A| / sum |A|"),
    example=ROAD,
    cases=random_cases(states=1),
    sweep=15,
    wrong=_drawn_by_credit,
)
def credit_per_step_leaves_the_draw_to_whole_episodes(case: Case) -> Sides:
    """With credit per step, episodes are still drawn in proportion to the absolute advantage of the whole episode.

    Sides: the expected number of trained tokens, and the expected estimate, when one member of a group is drawn.

    Assumes: alpha 1, K = 1, no std. Source: reconstructed
    (``docs/theory/09_other_credit_rules.md``).
    """
    analysis = case.analysis(credit="reward_to_go", sampling="aaw", kept_episodes=1, alpha=1.0)
    return np.array([analysis.trained_tokens, *analysis.mean_D]), _drawn_one(
        case, _whole_advantages
    )
