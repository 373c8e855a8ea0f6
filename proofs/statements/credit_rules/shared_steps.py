"""Shared steps: the advantages of a group's episodes are averaged over equal steps."""

from typing import Any, final

import attrs
import numpy as np

from algorithms.method.advantages import group_relative_advantages
from algorithms.method.episode_credit import Group
from lap import AbstractParser, WholeReplyParser
from proofs.estimators.laboratory import EstimatorAnalysis
from proofs.exact.gradients import Array
from proofs.small_games import FiniteGame, choice_game, tabular_policy
from proofs.statement import Sides, statement
from proofs.statements.cases import BY_ESTIMATOR, Case, random_cases
from tsmg import ActionText, Finite, ParserOutcome, Transition, deterministic


def _to(state: str, paid: float = 0.0) -> Finite[Transition[Any]]:
    return deterministic(Transition(state, (paid,)))


_FROM_ADVANTAGES = "the same with the advantages of whole episodes"


_HALLS = Case(
    game=FiniteGame(
        starts=deterministic("gate"),
        moves={
            "gate": {("go",): _to("hall"), ("stop",): _to("end", 1.0)},
            "hall": {("go",): _to("room"), ("stop",): _to("end", 2.0)},
            "room": {("go",): _to("end", 4.0), ("stop",): _to("end")},
        },
    ),
    policy=tabular_policy(
        ("go", "stop"),
        dists={room: {"go": 0.5, "stop": 0.5} for room in ("gate", "hall", "room")},
        capacity=3,
    ),
    size=3,
)


def _moments(found: EstimatorAnalysis) -> Array:
    """The expected estimate and its covariance, one after the other."""
    return np.concatenate([found.mean_D, found.covariance_D_D.ravel()])


def _weighted_by_length(case: Case) -> Sides:
    """Each episode's tokens are weighted by one over their number."""
    credits = ("shared_steps", "episode")
    pooled, whole = (case.analysis(credit=c, weighting="sequence") for c in credits)
    return _moments(pooled), _moments(whole)


@statement(
    routes=(BY_ESTIMATOR, _FROM_ADVANTAGES),
    example=_HALLS,
    cases=random_cases(horizon=2, size=3),
    sweep=40,
    wrong=_weighted_by_length,
)
def shared_steps_of_equal_prompts_and_replies_change_nothing(case: Case) -> Sides:
    """With constant weights, averaging advantages over equal steps does not change any group's estimate.

    Equal steps have one prompt and one reply here, and so one score. n terms of that score with the advantages
    A_1 .. A_n add up to n times their mean, times the score. So mean and covariance of the estimate do not change,
    whatever the returns are. Averaging has an effect only with weights that differ by episode, a clipped ratio, a draw
    of some episodes, or replies that name one action in several ways.

    Assumes: the first optimiser step on a batch; every episode trained on; prompts of what is read now, replies that
    are the action's text.
    Source: reconstructed [ours]; the rule is SALT's, arXiv:2510.20022.

    Theory: Theorem 9.3, Equation 9.8.
    """
    return _moments(case.analysis(credit="shared_steps")), _moments(case.analysis())


@final
class _Lowered(AbstractParser):
    """Capital letters say what small ones do."""

    def parse(self, reply: str) -> ParserOutcome:
        found = WholeReplyParser().parse(reply)
        return ActionText(found.text.lower()) if isinstance(found, ActionText) else found

    def instructions(self) -> str:
        return ""

    def wrap(self, text: str) -> str:
        return text

    def is_complete(self, prefix: str) -> bool:
        return False


def _spoken(p: float = 0.3) -> Case:
    """One choice; "a" and "A" are one action, which pays 2 or nothing, and "b" pays a half."""
    policy = tabular_policy(
        ("a", "A", "b"), dists={"choose": {"a": p, "A": 0.6 - p, "b": 0.4}}, capacity=1
    )
    game = choice_game({"a": Finite({2.0: 0.5, 0.0: 0.5}), "b": 0.5})
    return Case(game=game, policy=attrs.evolve(policy, parser=_Lowered()), size=3)


def _whatever_was_done(group: Group, agent: str) -> list[list[float]]:
    returns_G = group.returns_G(agent)
    mean = float(group_relative_advantages(returns_G, std="none").mean())
    return [[mean] for _ in returns_G]


def _shared_by_reading(case: Case) -> Sides:
    """Steps are equal where the same is read, whatever is done."""
    return case.estimate_D(rule=_whatever_was_done), case.estimate_D()


@statement(
    routes=(BY_ESTIMATOR, _FROM_ADVANTAGES),
    example=_spoken(),
    wrong=_shared_by_reading,
)
def shared_steps_of_several_replies_keep_the_mean(case: Case) -> Sides:
    """If several replies name one action, averaging over them does not change the expected estimate.

    Given the actions and the returns of a group, how each action was said is drawn apart from them, with one mean score
    for all replies that say it. So A_1 .. A_n may be exchanged for their mean.

    Assumes: as above, but for replies; what is read after an action does not tell how it was said.
    Source: reconstructed [ours]: Rao and Blackwell's argument.
    """
    return case.estimate_D(credit="shared_steps"), case.estimate_D()


def _as_before(case: Case) -> Sides:
    """The variance is taken to stay as well."""
    return case.analysis(credit="shared_steps").variance, case.analysis().variance


def _spared(case: Case) -> float:
    """The mean of sum_i (A_i^2 - mean^2) over the replies of the action, times the variance of a score, by hand.

    In a group of three, n say the action and k of them are paid 2; who does not say it is paid a half; A = R - mean R.
    Constant weights are 1/3. The score of a reply, given that it says the action, is 1 in its own logit and a constant:
    its variance is 2 s (1 - s), s the share of "a" among the two.
    """
    p_a, share = 0.6, 0.5
    total = 0.0
    for n in range(4):
        p_n = (1, 3, 3, 1)[n] * p_a**n * (1 - p_a) ** (3 - n)
        for k in range(n + 1):
            ways = {0: 1, n: 1}.get(k, n)
            mean = (2 * k + (3 - n) / 2) / 3
            squares = k * (2 - mean) ** 2 + (n - k) * mean**2
            pooled = (2 * k / n - mean) ** 2 * n if n else 0.0
            total += p_n * ways / 2**n * (squares - pooled)
    return total * 2 * share * (1 - share) / 9


@statement(
    routes=(BY_ESTIMATOR, "the variance without it, less what is spared by hand"),
    example=_spoken(),
    wrong=_as_before,
)
def shared_steps_of_several_replies_have_less_variance(case: Case) -> Sides:
    """The variance falls by the scatter of advantages within a step, times that of the scores of its replies.

    In the example the action is written in two equally likely ways, and pays 2 or nothing by chance. How it is written
    has nothing to do with what it pays, and the average over the episodes that took it removes that noise.

    Assumes: as above.
    Source: reconstructed [ours]: the variance given the actions, of which the advantages of a step are constants.
    """
    pooled = case.analysis(credit="shared_steps").variance
    return pooled, case.analysis().variance - _spared(case)
