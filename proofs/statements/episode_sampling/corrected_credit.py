"""What corrected draws restore: credit of steps only with a floor, and every weighting."""

import warnings
from typing import Any

import numpy as np

from proofs.exact.gradients import Array
from proofs.small_games import FiniteGame, tabular_policy
from proofs.statement import Sides, statement
from proofs.statements.by_hand import cosine
from proofs.statements.cases import BY_AUTODIFF, BY_ESTIMATOR, Case, random_cases
from proofs.statements.credit_rules.plain import ROAD, Group, expected_D, mean_of
from tsmg import Transition, deterministic

_NEEDS = "every ordered group, without the episodes of average return"


def _two_prizes_case() -> Case:
    """Two choices in a row, each paid at once, so that an early gain can make up for a late loss."""
    texts = ("early", "late")
    paid = {"early": {"a": 1.0, "b": 0.0}, "late": {"a": 1.0, "b": 0.0}}
    game = FiniteGame(
        starts=deterministic("early"),
        moves={
            text: {
                (word,): deterministic(Transition(to, (amount,)))
                for word, amount in paid[text].items()
            }
            for text, to in zip(texts, ("late", "end"), strict=True)
        },
    )
    dists = {"early": {"a": 0.3, "b": 0.7}, "late": {"a": 0.6, "b": 0.4}}
    return Case(game=game, policy=tabular_policy(("a", "b"), dists=dists, capacity=2), size=3)


def _corrected_D(case: Case, **settings: Any) -> Array:
    """The expected estimate of corrected draws, of which the settings warn. Shape (D,)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return case.estimate_D(**{"sampling": "aaw", "corrected": True, **settings})


def _with_cosine(case: Case, vector_D: Array) -> list[float]:
    truth_D = case.dist.gradient_D
    nothing = not (vector_D.any() and truth_D.any())
    return [*vector_D, 0.0 if nothing else cosine(vector_D, truth_D)]


def _advantages(group: Group) -> list[float]:
    returns_G = [member.earned_from(0) for member in group]
    advantages = [earned - mean_of(returns_G) for earned in returns_G]
    return [a if abs(a) > 1e-9 else 0.0 for a in advantages]


def _without_the_average(group: Group) -> list[list[float]]:
    """The reward-to-go of a step relative to all members, and nothing for an episode of average return."""
    longest = max(len(member.texts) for member in group)
    means = [mean_of([member.earned_from(t) for member in group]) for t in range(longest)]
    return [
        [(member.earned_from(t) - means[t]) if a else 0.0 for t in range(len(member.texts))]
        for member, a in zip(group, _advantages(group), strict=True)
    ]


def _mean_of_the_full_group(case: Case) -> Sides:
    """Corrected sampling has the mean of the full group, whatever the credit: (G - 1) / G of the true gradient."""
    found = _corrected_D(case, credit="reward_to_go", kept_episodes=1)
    return _with_cosine(case, found), _with_cosine(case, _full_group_D(case))


@statement(
    routes=(BY_ESTIMATOR, _NEEDS),
    example=_two_prizes_case(),
    cases=random_cases(states=1),
    sweep=15,
    shows=lambda side: bool(0.9 < side[-1] < 0.999),
    wrong=_mean_of_the_full_group,
)
def corrected_draws_lose_the_steps_of_average_episodes(case: Case) -> Sides:
    """With reward-to-go, corrected draws have the mean of the full group without its episodes of average return.

    An episode with A_e = 0 is never drawn, although its steps may have credit: an early gain that makes up for a late
    loss. Each side ends with the cosine with the true gradient.

    Assumes: constant weighting, the group's mean, no std. Source: reconstructed.

    Theory: Theorem 8.3.
    """
    found = _corrected_D(case, credit="reward_to_go", kept_episodes=1)
    by_hand = expected_D(case, _without_the_average)
    return _with_cosine(case, found), _with_cosine(case, by_hand)


def _without_a_floor(case: Case) -> Sides:
    """Draws have no floor, so that episodes of average return are never drawn."""
    found = _corrected_D(case, credit="reward_to_go", kept_episodes=1)
    return found, _full_group_D(case)


@statement(
    routes=(BY_ESTIMATOR + ", drawn with a floor", BY_AUTODIFF),
    example=_two_prizes_case(),
    cases=random_cases(states=1),
    sweep=15,
    wrong=_without_a_floor,
)
def a_floor_keeps_the_gradient_under_rewards_to_go(case: Case) -> Sides:
    """With a floor, corrected draws have the mean of the full group, with reward-to-go as with any credit of steps.

    Every episode can be drawn, and what it adds is divided by how likely it is drawn; groups of equal returns are
    drawn from, too. So the expected estimate is that of the whole groups: (G - 1) / G of the true gradient.

    Assumes: constant weighting, the group's mean, no std; a floor above 0. Source: reconstructed.

    Theory: Theorem 8.3, Equation 8.5.
    """
    return _corrected_D(case, credit="reward_to_go", kept_episodes=1, floor=0.25), _full_group_D(
        case
    )


def _by_whole_episodes(case: Case) -> Sides:
    """Draws are by the advantage of the whole episode, which is 0 although its steps have credit."""
    return _without_a_floor(case)


@statement(
    routes=(BY_ESTIMATOR + ", drawn by the credit itself", BY_AUTODIFF),
    example=_two_prizes_case(),
    cases=random_cases(states=1),
    sweep=15,
    wrong=_by_whole_episodes,
)
def draws_by_credit_keep_the_gradient_without_a_floor(case: Case) -> Sides:
    """The draw "optimal", corrected, has the mean of the full group under reward-to-go, with no floor.

    Its probabilities follow from the credit of the steps: what is never drawn has none, and adds nothing.

    Assumes: constant weighting, the group's mean, no std. Source: reconstructed.

    Theory: Theorem 8.3, Equation 8.10.
    """
    found = _corrected_D(case, sampling="optimal", credit="reward_to_go", kept_episodes=1)
    return found, _full_group_D(case)


def _full_group_D(case: Case) -> Array:
    share_D: Array = (case.size - 1) / case.size * case.dist.autodiff_gradient_D()
    return share_D


def _divided_by_what_was_drawn(case: Case) -> Sides:
    """The weighting "step" divides by the mean length of the drawn episodes: with one, by its own."""

    def per_step(group: Group) -> list[list[float]]:
        return [
            [a / len(member.texts)] * len(member.texts)
            for member, a in zip(group, _advantages(group), strict=True)
        ]

    return _corrected_D(case, weighting="step", kept_episodes=1), expected_D(case, per_step)


@statement(
    routes=(BY_ESTIMATOR + ", drawn", BY_ESTIMATOR + ", all episodes"),
    example=ROAD,
    cases=random_cases(states=1),
    sweep=15,
    wrong=_divided_by_what_was_drawn,
)
def corrected_draws_keep_the_weightings_by_mean_size(case: Case) -> Sides:
    """With the weightings "step" and "token" corrected draws have the mean of the full group.

    The mean sizes that they divide by are those of all played episodes.

    Assumes: whole-episode credit, the group's mean, no std. Source: reconstructed.

    Theory: Theorem 8.3.
    """
    kinds = ("step", "token")
    drawn = [_corrected_D(case, kept_episodes=1, weighting=kind) for kind in kinds]
    return np.concatenate(drawn), np.concatenate([case.estimate_D(weighting=k) for k in kinds])


def _uncorrected_per_step(case: Case) -> Sides:
    """Drawn episodes are not corrected for how likely they were drawn."""
    found = case.estimate_D(sampling="aaw", kept_episodes=1, weighting="episode")
    return found, case.estimate_D(weighting="episode")


@statement(
    routes=(BY_ESTIMATOR + ", drawn", BY_ESTIMATOR + ", all episodes"),
    example=ROAD,
    cases=random_cases(states=1),
    sweep=15,
    wrong=_uncorrected_per_step,
)
def corrected_draws_keep_the_weighting_by_episode(case: Case) -> Sides:
    """With the weighting "episode" corrected draws have the mean of the full group: its denominator is the episode's.

    Assumes: whole-episode credit, the group's mean, no std. Source: reconstructed.

    Theory: Theorem 8.3.
    """
    found = _corrected_D(case, kept_episodes=1, weighting="episode")
    return found, np.asarray(case.estimate_D(weighting="episode"))
