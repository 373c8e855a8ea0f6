"""Episodes that begin in the middle of others: values by rollouts, and trees of episodes."""

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from algorithms.method.batch import rewards_to_go
from algorithms.method.branch_credit import vine_credit
from algorithms.method.episode_credit import Group
from proofs.small_games import WORDS, FiniteGame, random_policy
from proofs.statement import Sides, statement
from proofs.statements.cases import BY_AUTODIFF, BY_ESTIMATOR, CARDS, SEEDS, Case, random_cases
from tsmg import BranchPoint, EpisodeGroup, StateRollouts, Transition, deterministic, situations

_ROUTES = (BY_ESTIMATOR, BY_AUTODIFF)


def _own_return_included(case: Case) -> Sides:
    """The episode itself is one of the two whose mean return is the value of a state."""
    dist = case.dist
    episodes = [trajectory.episode for trajectory in dist.trajectories]
    numbers = situations(episodes)
    to_go = {a: [rewards_to_go(episode, a) for episode in episodes] for a in dist.game.agents}
    p_E = dist.probabilities_E
    places = [(e, t) for e, row in enumerate(numbers) for t in range(len(row))]
    values: dict[int, tuple[float, ...]] = {}
    for number in range(1 + max(max(row, default=0) for row in numbers)):
        alike = [(e, t) for e, t in places if numbers[e][t] == number]
        p = sum(p_E[e] for e, _ in alike)
        values[number] = tuple(
            sum(p_E[e] * to_go[agent][e][t] for e, t in alike) / p for agent in dist.game.agents
        )
    estimate_C = np.zeros(len(dist.completions))
    for e, episode in enumerate(episodes):
        own = tuple(
            StateRollouts(
                point=BranchPoint(episode=0, step=t),
                returns_K_N=(values[number], tuple(to_go[a][e][t] for a in dist.game.agents)),
                tokens_N=(0,) * len(dist.game.agents),
            )
            for t, number in enumerate(numbers[e])
        )
        group = EpisodeGroup(episodes=(episode,), rollouts=own)
        for agent in dist.learners:
            (credits_T,) = vine_credit(group, agent)
            for (_, completion), credit in zip(episode.completions(agent), credits_T, strict=True):
                estimate_C[dist.completion_number(agent, completion)] += p_E[e] * credit
    return estimate_C @ dist.scores_C_D, dist.autodiff_gradient_D()


@statement(
    routes=_ROUTES,
    example=CARDS,
    cases=st.one_of(random_cases(states=1), random_cases(agents=2, states=1, horizon=1)),
    sweep=4,
    wrong=_own_return_included,
)
def values_by_rollouts_leave_the_gradient(case: Case) -> Sides:
    """With what a reply adds to a state's value, by K rollouts from each state, the estimate is 1 / N of the gradient.

    N agents learn. A rollout from a state is drawn independently of what is replied there, so that its return is a
    baseline, however few there are, and whether or not episodes that come to equal states share them. The next state's
    rollouts have the mean of what follows.

    Assumes: constant weighting, no std, every episode trained on.
    Source: VinePPO, arXiv:2410.01679 (the values); that the estimate is unbiased is reconstructed.
    """
    dist = case.dist
    estimate_D = case.estimate_D(branching="vine", credit="vine", rollouts=2)
    return len(dist.learners) * estimate_D, dist.autodiff_gradient_D()


_PATHS = FiniteGame(
    starts=deterministic("start"),
    moves={
        "start": {
            ("a",): deterministic(Transition("left", (0.5,))),
            ("b",): deterministic(Transition("right", (0.0,))),
        },
        "left": {
            ("a",): deterministic(Transition("end", (0.0,))),
            ("b",): deterministic(Transition("end", (1.0,))),
        },
        "right": {
            ("a",): deterministic(Transition("end", (3.0,))),
            ("b",): deterministic(Transition("end", (-1.0,))),
        },
    },
    horizon=2,
)


def _in_two_steps(seed: int) -> Case:
    """A game in which every episode has two steps, under a policy of random weights."""
    return Case(game=_PATHS, policy=random_policy(_PATHS, WORDS, seed=seed), size=2)


def _each_shared_step_once(group: Group, agent: str) -> Sequence[Sequence[float]]:
    (origin,) = (point for point in group.origins if point is not None)
    return [
        [r / 2 if t < origin.step else r for t, _ in episode.completions(agent)]
        for episode, r in zip(group.episodes, group.returns_G(agent), strict=True)
    ]


def _shared_steps_once(case: Case) -> Sides:
    """A step that two episodes share counts once, with the mean of their returns."""
    wrong_D = case.estimate_D(
        branching="tree", trees=1, baseline="none", rule=_each_shared_step_once
    )
    return wrong_D, case.dist.autodiff_gradient_D()


@statement(
    routes=_ROUTES,
    example=_in_two_steps(3),
    cases=st.builds(_in_two_steps, SEEDS),
    sweep=10,
    wrong=_shared_steps_once,
)
def whole_returns_of_a_tree_give_the_gradient_where_all_episodes_are_as_long(case: Case) -> Sides:
    """With whole returns, no baseline, and a shared step counted for each episode that shares it, it is the gradient.

    A branch from a step that was drawn uniformly is, with the steps that it shares, distributed as any episode is.
    Counting shared steps once would weigh early steps less than late ones, of which a tree has more. Where the length
    of an episode depends on its end, so does how often its early steps are drawn, and the estimate turns.

    Assumes: constant weighting, one round of branching, every episode of one length.
    Source: reconstructed; trees as in Tree-GRPO, arXiv:2509.21240.
    """
    estimate_D = case.estimate_D(branching="tree", trees=1, credit="episode", baseline="none")
    return estimate_D, case.dist.autodiff_gradient_D()
