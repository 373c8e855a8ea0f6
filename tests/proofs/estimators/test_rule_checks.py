"""What the laboratory makes of rules: those that look at the order of members, at starts, or that are not pure."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from algorithms import Estimator, MSGRPOConfig, MSGRPOTrainer
from algorithms.method.batch import RoleGroup
from algorithms.method.branch_credit import vine_credit
from proofs import TrajectoryDistribution, analyse_estimator
from proofs.estimators.batches import Batches, group_classes
from proofs.exact.gradients import Array
from proofs.small_games import FiniteGame, choice_game, tabular_policy
from proofs.statements.cases import Case
from tsmg import BranchPoint, EpisodeGroup, Finite, InvalidArgumentError, Transition, deterministic

Group = EpisodeGroup[Any]


def paid(amount: float, to: str = "end") -> Finite[Transition[Any]]:
    return deterministic(Transition(to, (amount,)))


def gate() -> Case:
    """Stop for 1, or go on into a hall where stopping pays 0 and going on pays 3."""
    game = FiniteGame(
        starts=deterministic("gate"),
        moves={
            "gate": {("stop",): paid(1.0), ("go",): paid(0.0, "hall")},
            "hall": {("stop",): paid(0.0), ("go",): paid(3.0)},
        },
    )
    dists = {"gate": {"stop": 0.6, "go": 0.4}, "hall": {"stop": 0.5, "go": 0.5}}
    policy = tabular_policy(("stop", "go"), dists=dists, capacity=2)
    return Case(game=game, policy=policy, size=3)


def even(numbers: Sequence[float], group: Group) -> list[list[float]]:
    """A number for each reply of each episode."""
    return [[x] * len(e.steps) for x, e in zip(numbers, group.episodes, strict=True)]


# ---- the order of members --------------------------------------------------------------------


def batch_by_place(groups: Sequence[RoleGroup]) -> list[list[list[float]]]:
    return [[[float(e)] * len(row) for e, row in enumerate(g.credits_G)] for g in groups]


def first_is_not_worse(groups: Sequence[RoleGroup]) -> list[bool]:
    return [g.returns_G[0] >= g.returns_G[1] for g in groups]


def first_is_the_best(groups: Sequence[RoleGroup]) -> list[bool]:
    return [g.returns_G[0] == max(g.returns_G) for g in groups]


def credit_by_place(group: Group, agent: str) -> list[list[float]]:
    return even([e * r for e, r in enumerate(group.returns_G(agent))], group)


def by_the_first_rollout(group: Group, agent: str) -> list[list[float]]:
    """What a start is worth by the first of its rollouts, less by the last."""
    returns = group.rollouts[0].returns_K_N
    return even([returns[0][0] - returns[-1][0]] * len(group.episodes), group)


def centred_rewards(groups: Sequence[RoleGroup]) -> list[list[list[float]]]:
    means = [sum(g.returns_G) / len(g.returns_G) for g in groups]
    return [
        [[r - mean] * len(row) for r, row in zip(g.returns_G, g.credits_G, strict=True)]
        for g, mean in zip(groups, means, strict=True)
    ]


def some_is_good(groups: Sequence[RoleGroup]) -> list[bool]:
    return [max(g.returns_G) >= 1 for g in groups]


def listed_credit(group: Group, agent: str) -> list[list[float]]:
    return vine_credit(group, agent)


def over_trees(group: Group, agent: str) -> list[list[float]]:
    returns = group.returns_G(agent)
    return even([r - sum(returns) / len(returns) for r in returns], group)


VINE = {"branching": "vine", "credit": "vine", "rollouts": 2, "baseline": "none"}
TREE = {"branching": "tree", "trees": 2, "group_size": 6}


@pytest.mark.parametrize(
    ("settings", "rules"),
    [
        ({}, {"batch_rule": batch_by_place}),
        ({}, {"group_filter": first_is_not_worse}),
        ({}, {"group_filter": first_is_the_best}),
        ({}, {"batch_rule": batch_by_place, "group_filter": some_is_good}),
        (VINE, {"credit": credit_by_place}),
        (VINE, {"credit": by_the_first_rollout}),
        (TREE, {"credit": credit_by_place}),
    ],
)
def test_groups_are_drawn_if_any_rule_depends_on_an_order(
    settings: dict[str, Any], rules: dict[str, Any]
) -> None:
    case = gate()
    config = case.config(**settings)
    estimator = Estimator.of(config, case.game.facts, **rules)
    assert not analyse_estimator(case.dist, config, estimator=estimator, samples=20).exact


@pytest.mark.parametrize(
    ("settings", "rules"),
    [
        ({}, {"batch_rule": centred_rewards}),
        ({}, {"group_filter": some_is_good}),
        ({}, {"batch_rule": centred_rewards, "group_filter": some_is_good}),
        (VINE, {"credit": listed_credit}),
        (TREE, {"credit": over_trees}),
        ({}, {"group_filter": lambda groups: [False] * len(groups)}),
    ],
)
def test_groups_are_listed_if_no_rule_does(settings: dict[str, Any], rules: dict[str, Any]) -> None:
    case = gate()
    config = case.config(**settings)
    estimator = Estimator.of(config, case.game.facts, **rules)
    assert analyse_estimator(case.dist, config, estimator=estimator).exact


def mean_over_orders(dist: TrajectoryDistribution, config: MSGRPOConfig, made: Estimator) -> Array:
    """The expected estimate by all groups in all orders, for rules that train on every episode."""
    classes = group_classes(dist, "nothing")
    batches = Batches(dist=dist, estimator=made, config=config, classes=classes)
    mean_C = np.zeros(len(dist.completions))
    for members in itertools.product(dist.trajectories, repeat=config.group_size):
        roles = batches.roles([EpisodeGroup(episodes=tuple(line.episode for line in members))])
        passed = made.over_batch(made.passed(roles))
        weight = math.prod(float(line.probability) for line in members)
        batch = batches._batch(roles, passed, made.draw(passed, []), groups=1, weight=weight)
        mean_C += weight * batch.coefficients_C
    return np.asarray(mean_C @ dist.scores_C_D)


@pytest.mark.parametrize(
    "rules", [{"batch_rule": batch_by_place}, {"group_filter": first_is_not_worse}]
)
def test_what_is_then_drawn_is_the_mean_over_all_orders(rules: dict[str, Any]) -> None:
    case = gate()
    config = case.config(group_size=2)
    made = Estimator.of(config, case.game.facts, **rules)
    found = analyse_estimator(case.dist, config, estimator=made, samples=2000)
    error_D = found.mean_D - mean_over_orders(case.dist, config, made)
    assert (np.abs(error_D) <= 4 * found.standard_error_D() + 1e-12).all()


def test_the_members_that_are_tried_have_different_returns() -> None:
    """The first two of three choices pay the same, so that a pair of them would tell nothing."""

    def first_is_the_baseline(group: Group, agent: str) -> list[list[float]]:
        returns = group.returns_G(agent)
        return even([r - returns[0] for r in returns], group)

    game = choice_game({"a": 0.0, "b": 0.0, "c": 1.0})
    dists = {"choose": {"a": 0.4, "b": 0.4, "c": 0.2}}
    case = Case(game=game, policy=tabular_policy(("a", "b", "c"), dists=dists))
    assert not case.analysis(rule=first_is_the_baseline).exact


# ---- what groups say of their starts ---------------------------------------------------------


def two_starts() -> Case:
    """Three quarters begin at 0, where "a" pays 1, and the others at 1, where it pays 2; "b" pays 0.5."""
    game = FiniteGame(
        starts=Finite({0: 0.75, 1: 0.25}),
        moves={n: {("a",): paid(n + 1.0), ("b",): paid(0.5)} for n in (0, 1)},
        texts={0: "x", 1: "y"},
    )
    dists = {"x": {"a": 0.3, "b": 0.7}, "y": {"a": 0.6, "b": 0.4}}
    return Case(game=game, policy=tabular_policy(("a", "b"), dists=dists), size=2)


def evenly(starts: Sequence[object]) -> list[float]:
    return [1.0] * len(starts)


def only_one(starts: Sequence[object]) -> list[float]:
    return [0.0, 1.0]


def on_one(groups: Sequence[RoleGroup]) -> list[bool]:
    return [g.start == 1 for g in groups]


def test_a_filter_sees_the_start_of_each_group() -> None:
    """A quarter of the groups pass, those on start 1; what they give is what groups on start 1 alone do."""
    case = two_starts()
    config = case.config(group_on="initial_state", start_floor=0.0)
    alone, listed = (
        analyse_estimator(case.dist, config, estimator=made)
        for made in (
            Estimator.of(config, case.game.facts, starts=only_one),
            Estimator.of(config, case.game.facts, starts=evenly, group_filter=on_one),
        )
    )
    assert listed.exact and np.abs(alone.mean_D).max() > 0.01
    assert listed.mean_D == pytest.approx(alone.mean_D / 4)
    made = listed.estimator
    drawn = analyse_estimator(case.dist, config, estimator=made, limit=0, samples=800)
    assert not drawn.exact and drawn.trained_tokens == pytest.approx(2 / 4, abs=0.1)
    assert listed.trained_tokens == pytest.approx(2 / 4)


def test_rules_are_told_of_groups_what_the_trainer_tells_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Number, start, its weight and successes, over two plays of three groups, none of which passes."""
    monkeypatch.setattr(
        FiniteGame, "success", lambda self, episode, agent: episode.episode_return(agent) > 0.75
    )
    told: list[list[RoleGroup]] = []

    def none(groups: Sequence[RoleGroup]) -> list[bool]:
        told.append(list(groups))
        return [False] * len(groups)

    case = two_starts()
    settings = {"groups": 3, "max_plays": 2, "start_floor": 0.5, "max_reply_tokens": 1}
    config = case.config(group_on="initial_state", group_filter="signal", **settings)
    made = Estimator.of(config, case.game.facts, group_filter=none, starts=lambda _: [1.0, 5.0])

    def seen() -> set[tuple[Any, ...]]:
        numbers = [[g.number for g in groups] for groups in told]
        assert [0, 1, 2] in numbers and [0, 1, 2, 3, 4, 5] in numbers
        assert all(
            g.successes_G == tuple(r > 0.75 for r in g.returns_G) for groups in told for g in groups
        )
        return {(g.start, round(g.start_weight, 9)) for groups in told for g in groups}

    analyse_estimator(case.dist, config, estimator=made, samples=40)
    here = seen()
    told.clear()
    trainer = MSGRPOTrainer(game=case.game, policy=case.policy, config=config, estimator=made)
    for _ in range(5):
        trainer.update()
    assert here == seen() and {start for start, _ in here} == {0, 1}


# ---- rules that are not pure -----------------------------------------------------------------


def test_a_branching_that_is_not_pure_is_named_itself() -> None:
    class Wavering:
        trained = True
        calls = 0

        def roots(self, group_size: int) -> int:
            return group_size // 2

        def __call__(self, group: Group, *_: Any, group_size: int) -> list[BranchPoint]:
            self.calls += 1
            return [
                BranchPoint(episode=e, step=min(len(episode.steps) - 1, self.calls % 2))
                for e, episode in enumerate(group.episodes)
            ]

    case = gate()
    config = case.config(group_size=4)
    made = Estimator.of(config, case.game.facts, branching=Wavering())
    with pytest.raises(InvalidArgumentError, match=r"'Wavering' must return the same"):
        analyse_estimator(case.dist, config, estimator=made, samples=20)
