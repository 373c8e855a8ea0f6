"""Anchor states: a step is compared with the steps of the group that read the same text."""

import numpy as np

from proofs.exact.gradients import Array
from proofs.small_games import FiniteGame, tabular_policy
from proofs.statement import Sides, statement
from proofs.statements.by_hand import cosine
from proofs.statements.cases import BY_ESTIMATOR, Case, random_cases
from proofs.statements.credit_rules.plain import (
    BY_HAND,
    Group,
    PlainTrajectory,
    expected_D,
    mean_of,
)
from proofs.statements.credit_rules.turns import turn_credit, turned
from tsmg import Finite, Transition, deterministic

_DOOR_GAME = FiniteGame(
    starts=Finite({"left": 0.5, "right": 0.5}),
    moves={
        "left": {
            ("stop",): deterministic(Transition("end", (1.0,))),
            ("go",): deterministic(Transition("door", (0.0,))),
        },
        "right": {
            ("stop",): deterministic(Transition("end", (0.0,))),
            ("go",): deterministic(Transition("door", (0.5,))),
        },
        "door": {
            ("stop",): deterministic(Transition("end", (0.0,))),
            ("go",): deterministic(Transition("end", (3.0,))),
        },
    },
    discount=0.5,
)
_DOOR = Case(
    game=_DOOR_GAME,
    policy=tabular_policy(
        ("stop", "go"),
        dists={
            "left": {"stop": 0.5, "go": 0.5},
            "right": {"stop": 0.5, "go": 0.5},
            "door": {"stop": 0.5, "go": 0.5},
        },
        capacity=3,
    ),
    size=3,
)
_LOGITS = 3  # of two words and the end, in each state


def _anchor_credit(group: Group, *, from_start: bool = False) -> list[list[float]]:
    """The return minus the group's mean, plus the reward-to-go minus its mean over steps of equal text.

    A step whose text occurs nowhere else in the group has the first part alone.
    """
    mean = mean_of([member.earned_from(0) for member in group])

    def earned(member: PlainTrajectory, t: int) -> float:
        return member.earned_from(t, since=0 if from_start else t)

    def credit(member: PlainTrajectory, t: int) -> float:
        alike = [
            earned(other, u)
            for other in group
            for u, text in enumerate(other.texts)
            if text == member.texts[t]
        ]
        step = earned(member, t) - mean_of(alike) if len(alike) > 1 else 0.0
        return member.earned_from(0) - mean + step

    return [[credit(member, t) for t in range(len(member.texts))] for member in group]


def _turned_but_not_within_a_state(side: Array) -> bool:
    """Whether estimate and truth differ in direction, though not in the logits of any one state."""
    estimate, truth = np.split(side, 2)
    rows = zip(estimate.reshape(-1, _LOGITS), truth.reshape(-1, _LOGITS), strict=True)
    return turned(side) and all(cosine(one, other) > 1 - 1e-9 for one, other in rows)


def _discounted_from_the_start(case: Case) -> Sides:
    """The reward-to-go is discounted from the first step of the episode."""
    right, _ = anchor_states_weigh_states_by_how_often_they_are_shared.sides(case)
    by_hand_D = expected_D(case, lambda group: _anchor_credit(group, from_start=True))
    return right, np.concatenate([by_hand_D, case.dist.autodiff_gradient_D()])


@statement(
    routes=(BY_ESTIMATOR, BY_HAND),
    example=_DOOR,
    cases=random_cases(states=1),
    sweep=15,
    shows=_turned_but_not_within_a_state,
    wrong=_discounted_from_the_start,
)
def anchor_states_weigh_states_by_how_often_they_are_shared(case: Case) -> Sides:
    """Anchor-state credit points along the gradient within each state, but not as a whole.

    A step's part is relative to the steps of the group that read the same text, so a state that several members reach
    counts more than one that few reach; and the reward-to-go is discounted from the step itself. Both sides: the
    expected estimate, then the true gradient. Measured: cosine 0.988 in the example, and 1 within each of its three
    states, which no episode visits twice: the estimate is 1.08, 1.08 and 1.5 times the gradient there.

    Assumes: constant weighting, the mean, no std. Source: GiGPO, arXiv:2505.10978, with a step's weight of 1 and no
    std; the bias is reconstructed.

    Theory: Equation 9.5.
    """
    dist = case.dist
    analysis = case.analysis(credit="anchor_state")
    by_hand_D = expected_D(case, _anchor_credit)
    return (
        np.concatenate([analysis.mean_D, dist.gradient_D]),
        np.concatenate([by_hand_D, dist.autodiff_gradient_D()]),
    )


_LOOP_GAME = FiniteGame(
    starts=deterministic("first"),
    moves={
        "first": {
            ("go",): deterministic(Transition("second", (2.0,))),
            ("stop",): deterministic(Transition("end", (3.0,))),
        },
        "second": {
            ("go",): deterministic(Transition("end", (-1.0,))),
            ("stop",): deterministic(Transition("end", (3.0,))),
        },
    },
    texts={"first": "on?", "second": "on?"},
)
_LOOP = Case(
    game=_LOOP_GAME,
    policy=tabular_policy(("go", "stop"), dists={"on?": {"go": 0.3, "stop": 0.7}}, capacity=1),
)


def _both_reversed(side: Array) -> bool:
    """Whether both estimates increase a logit that should decrease."""
    return bool(side[0] > 0.01 and side[1] > 0.01 and side[2] < -0.01)


def _whole_episodes_again(case: Case) -> Sides:
    """Whole episodes are compared, in both places."""
    dist = case.dist
    turns = case.analysis(baseline="leave_one_out")
    anchors = case.analysis()
    _, by_hand = where_a_text_recurs_turns_and_anchors_can_reverse_the_gradient.sides(case)
    return _first(turns.mean_D, anchors.mean_D, dist.gradient_D), by_hand


@statement(
    routes=(BY_ESTIMATOR, BY_HAND),
    example=_LOOP,
    shows=_both_reversed,
    wrong=_whole_episodes_again,
)
def where_a_text_recurs_turns_and_anchors_can_reverse_the_gradient(case: Case) -> Sides:
    """If an episode can read the same text twice, both comparisons of steps can prefer the worse action.

    The policy goes on with probability 0.3 at either of two steps that read alike, and would earn more if it stopped
    more often. Both sides: the component of "go" in the estimate by turns, in that by anchor states, and in the truth.

    Assumes: constant weighting, no std, the mean of the others (turns) or of all (anchor states), G = 2.
    Source: reconstructed; found by a search over small games.
    """
    dist = case.dist
    turns = case.analysis(credit="turn", baseline="leave_one_out")
    anchors = case.analysis(credit="anchor_state")
    return (
        _first(turns.mean_D, anchors.mean_D, dist.gradient_D),
        _first(
            expected_D(case, turn_credit),
            expected_D(case, _anchor_credit),
            dist.autodiff_gradient_D(),
        ),
    )


def _first(*vectors: Array) -> list[float]:
    """The first component of each."""
    return [float(vector_D[0]) for vector_D in vectors]
