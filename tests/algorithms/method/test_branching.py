"""Branching: where branches begin, what their credit is, and what is refused."""

import functools
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms import Estimator, MSGRPOConfig
from algorithms.method.advantages import group_relative_advantages
from algorithms.method.branch_credit import tree_credit, vine_credit
from algorithms.method.branching import Tree, Vine, find_branching, shared_once, tree_numbers
from algorithms.method.risk_bundles import RiskBundles
from tests.method_groups import group_of
from tsmg import BranchPoint, EpisodeGroup, Facts, InvalidArgumentError, StateRollouts, Stream

CENTRED = functools.partial(group_relative_advantages, std="none")
RETURNS = st.integers(-8, 8).map(lambda n: n / 4)  # sums of them are exact
GROUP = group_of([1.0, 0.0], [3, 1])


def point(episode: int, step: int) -> BranchPoint:
    return BranchPoint(episode=episode, step=step)


def rollouts(episode: int, step: int, *paid: float) -> StateRollouts:
    returns = tuple((r,) for r in paid)
    return StateRollouts(point=point(episode, step), returns_K_N=returns, tokens_N=(len(paid),))


def vine(discount: float = 1.0, **values: float) -> EpisodeGroup[Any]:
    """Episodes of 3 steps and of 1, which share their first state; the first also has states of its own."""
    episodes = tuple(attrs.evolve(e, discount=discount) for e in GROUP.episodes)
    return EpisodeGroup(
        episodes=episodes,
        rollouts=(
            rollouts(0, 0, 0.0, 2 * values.get("a", 0.5)),
            rollouts(0, 1, values.get("b", 0.75)),
            rollouts(0, 2, values.get("c", 0.25)),
        ),
    )


def test_the_values_of_states_are_means_and_a_reply_has_what_it_adds() -> None:
    """V = 0.5, 0.75, 0.25; the first episode earns 1 at its last step. The second one ends with nothing at once."""
    assert vine_credit(vine(), "player") == [[0.25, -0.5, 0.75], [-0.5]]
    halved = vine_credit(vine(0.5), "player")  # discounted from the episode's start
    assert halved == [[0.375 - 0.5, 0.5 * (0.125 - 0.75), 0.25 * (1 - 0.25)], [-0.5]]


@given(a=RETURNS, b=RETURNS, c=RETURNS)
def test_what_is_gained_along_an_episode_is_its_return_less_the_first_value(
    a: float, b: float, c: float
) -> None:
    found = vine_credit(vine(a=a, b=b, c=c), "player")
    assert [sum(row) for row in found] == [1.0 - a, 0.0 - a]


def test_a_state_without_rollouts_is_named() -> None:
    group = attrs.evolve(vine(), rollouts=vine().rollouts[:2])
    with pytest.raises(InvalidArgumentError, match=r"'credit' 'vine' needs rollouts .* step 2"):
        vine_credit(group, "player")


def test_equal_states_share_their_rollouts() -> None:
    points = Vine(rollouts=3)(GROUP, ("player",), Stream(0), group_size=2)
    assert points == [point(0, t) for t in (0, 1, 2) for _ in range(3)]
    assert Vine(rollouts=3)(GROUP, ("another",), Stream(0), group_size=2) == []
    assert Vine().roots(5) == 5 and not Vine().trained


def test_branches_of_a_tree_begin_anywhere_alike() -> None:
    tree = Tree(trees=2)
    group = group_of([0.0, 0.0], [3, 1])
    drawn = [tree(group, ("player",), Stream(n), group_size=6) for n in range(600)]
    assert {len(points) for points in drawn} == {4} and tree.roots(6) == 2 and tree.trained
    assert all([p.episode for p in points] == [0, 0, 1, 1] for points in drawn)
    first = [points[0].step for points in drawn]
    assert np.bincount(first, minlength=3) == pytest.approx([200] * 3, abs=60)
    assert {points[3].step for points in drawn} == {0}
    assert len({tuple(p.step for p in points[:2]) for points in drawn}) == 9  # with replacement


ORIGINS = (None, None, point(0, 1), point(2, 2), point(1, 0))


def grown(returns_G: list[float]) -> EpisodeGroup[Any]:
    """Trees of three episodes and of two: the third leaves the first after a step, the fourth that one after two."""
    episodes = group_of(returns_G, [3, 1, 3, 3, 2]).episodes
    return EpisodeGroup(episodes=episodes, origins=ORIGINS)


def test_a_tree_is_compared_with_all_and_within_itself() -> None:
    """Returns 4, 0, 1, 1, 5: of mean 2.2; those of the trees are 4, 1, 1 and 0, 5, of means 2 and 2.5."""
    group = grown([4.0, 0.0, 1.0, 1.0, 5.0])
    assert tree_numbers(group) == [0, 1, 0, 0, 1]
    found = tree_credit(group, "player", relative=CENTRED)
    expected = [1.8 + 2, -2.2 - 2.5, -1.2 - 1, -1.2 - 1, 2.8 + 2.5]
    assert [len(row) for row in found] == [3, 1, 3, 3, 2]
    for row, advantage in zip(found, expected, strict=True):
        assert row == pytest.approx([advantage] * len(row))
    alone = attrs.evolve(group, origins=(None,) * 4 + (point(1, 0),))
    assert tree_credit(alone, "player", relative=CENTRED)[0] == pytest.approx([1.8] * 3)
    with pytest.raises(InvalidArgumentError, match="'credit' 'tree' needs groups"):
        tree_credit(attrs.evolve(group, origins=()), "player", relative=CENTRED)


def test_a_shared_step_has_the_sum_of_those_that_share_it() -> None:
    """Advantages 1, 10, 100, 1000, 10000 a completion: who shares a step can be read off its digits."""
    group = grown([0.0] * 5)
    rows = [[10.0**e] * n for e, n in enumerate((3, 1, 3, 3, 2))]
    expected = [[1101.0, 1.0, 1.0], [10.0], [1100.0, 100.0], [1000.0], [10000.0] * 2]
    assert shared_once(group, "player", rows, rule=tree_credit) == expected
    by_token: list[list[Any]] = [[(value,) for value in row] for row in rows]
    of_tokens = shared_once(group, "player", by_token, rule=tree_credit)
    assert of_tokens == [[(value,) for value in row] for row in expected]
    with pytest.raises(InvalidArgumentError, match="'tree_credit' must return an advantage"):
        shared_once(group, "player", rows[:4], rule=tree_credit)


@given(returns=st.lists(RETURNS, min_size=5, max_size=5), shift=RETURNS)
def test_a_shift_of_all_returns_changes_no_credit_of_a_tree(
    returns: list[float], shift: float
) -> None:
    before = tree_credit(grown(returns), "player", relative=CENTRED)
    after = tree_credit(grown([r + shift for r in returns]), "player", relative=CENTRED)
    for one, two in zip(before, after, strict=True):
        assert one == pytest.approx(two)


def test_the_estimator_learns_from_each_completion_once() -> None:
    config = MSGRPOConfig(
        branching="tree",
        credit="episode",
        sampling="all",
        baseline="none",
        std="none",
        group_size=6,
    )
    estimator = Estimator.of(config, Facts())
    group = grown([1.0, 10.0, 100.0, 1000.0, 10000.0])
    (found,) = estimator.role_groups([group], ["player"])
    assert found.credits_G == (
        (1101.0, 1.0, 1.0),
        (10.0,),
        (1100.0, 100.0),
        (1000.0,),
        (10000.0,) * 2,
    )
    assert [len(row) for row in found.completions_G] == [3, 1, 2, 1, 2]
    rows = estimator.rows([found], estimator.draw([found], [Stream(0)]), asked=1)
    assert len(rows) == 9 and {row.weight for row in rows} == {1 / 6}
    valued = attrs.evolve(GROUP, rollouts=vine().rollouts)
    (role,) = Estimator.of(MSGRPOConfig(), Facts()).role_groups([valued], ["player"])
    assert role.rollout_tokens == 4


TREE = {"branching": "tree", "credit": "tree", "sampling": "all"}
VINE = {"branching": "vine", "credit": "vine", "sampling": "all"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"credit": "vine"}, "'credit' 'vine' reads what 'branching' 'vine' plays: choose both"),
        ({"credit": "tree", "branching": "vine"}, "'credit' 'tree' reads what 'branching' 'tree'"),
        ({"branching": "vine"}, "'branching' 'vine' plays rollouts that 'credit' 'episode' does"),
        ({"rollouts": 3}, "'rollouts' has an effect only with 'branching' 'vine'"),
        ({**VINE, "trees": 4}, "'trees' has an effect only with 'branching' 'tree'"),
        (
            {**TREE, "group_size": 5},
            r"'group_size' must be a multiple of 'trees'.* \(got 5 and 2\)",
        ),
        ({**TREE, "group_size": 2}, r"'group_size' must be a multiple of 'trees'"),
        (
            {**TREE, "sampling": "aaw"},
            "'branching' 'tree' does not go with 'sampling' 'aaw': shared",
        ),
        ({**TREE, "ratio": "gspo-episode"}, "'branching' 'tree' does not go with 'ratio'"),
        (
            {**TREE, "importance_weights": "truncated", "importance_level": "episode"},
            "'branching' 'tree' does not go with 'importance_level' 'episode'",
        ),
        (
            {**VINE, "common_chance": True},
            "'branching' 'vine' does not go with 'common_chance' True",
        ),
        ({**VINE, "batch_rule": "risk"}, "'branching' 'vine' does not go with 'batch_rule' 'risk'"),
        ({"branching": "bush"}, "'branching' must be one of none, vine, tree, or module:object"),
    ],
)
def test_contradictory_settings_are_one_sentence(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        MSGRPOConfig(**settings)


def test_a_branching_of_ones_own_is_found_and_checked() -> None:
    sizes: dict[str, Any] = {"rollouts": 9, "trees": 2}
    assert find_branching("none", **sizes) is None
    assert find_branching("vine", rollouts=3, trees=2) == Vine(rollouts=3)
    assert find_branching("algorithms.method.branching:Tree", **sizes) == Tree(trees=2)
    config = MSGRPOConfig(branching="math:fsum")
    with pytest.raises(InvalidArgumentError, match="'branching' must be an object with 'trained'"):
        Estimator.of(config, Facts())
    config = MSGRPOConfig(branching="algorithms.method.branching:Tree")
    with pytest.raises(
        InvalidArgumentError, match="the rule 'Tree' does not go with 'sampling' 'aaw': shared"
    ):
        Estimator.of(config, Facts())
    risk = MSGRPOConfig(
        branching="algorithms.method.branching:Vine", credit="vine", sampling="all",
        batch_rule="risk",
    )  # fmt: skip
    with pytest.raises(InvalidArgumentError, match="'Vine' does not go with 'batch_rule' 'risk'"):
        Estimator.of(risk, Facts())
    config = MSGRPOConfig(branching="vine", credit="vine", sampling="all")
    with pytest.raises(InvalidArgumentError, match="'Vine' does not go with 'batch_rule' the rule"):
        Estimator.of(config, Facts(), batch_rule=RiskBundles())
