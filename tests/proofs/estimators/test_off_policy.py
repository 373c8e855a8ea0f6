"""Samplers that are not the learner: figures by another route, limits, and the command."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, final

import attrs
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from algorithms import MSGRPOConfig
from algorithms.method.batch import RoleGroup
from algorithms.method.clip_range import ClipRange
from algorithms.method.importance import ImportanceRule
from algorithms.method.ratios import RATIOS
from proofs.estimators.laboratory import analyse_estimator
from proofs.estimators.off_policy import OffPolicy, RatioToSampler, perturbed, stepped
from proofs.estimators.off_policy_table import (
    RULES,
    off_policy_rows,
    spelling_policy,
    spelt_game,
)
from proofs.small_games import choice_game, tabular_policy
from proofs.statements.cases import CARDS
from proofs.table_commands import off_policy as command
from tsmg import EpisodeGroup, InvalidArgumentError

PLAIN = MSGRPOConfig(
    groups=1, group_size=2, sampling="all", std="none", baseline="leave_one_out", kl_coefficient=0.0
)


def test_without_noise_it_is_the_laboratory() -> None:
    policy = spelling_policy(seed=3)
    pair = OffPolicy.of(spelt_game(), policy, policy)
    laboratory = analyse_estimator(pair.learner, PLAIN)
    for name, found in pair.analyse(PLAIN, RULES).items():
        assert found.mean_D == pytest.approx(laboratory.mean_D, abs=1e-12), name
        assert found.variance == pytest.approx(laboratory.variance)
        assert found.relative_bias < 1e-9


def test_a_cap_is_above_1() -> None:
    for cap in (1.0, 0.5, math.nan):
        with pytest.raises(InvalidArgumentError, match="'importance_cap' must be above 1"):
            ImportanceRule(kind="truncated", cap=cap)


def test_two_arms_by_hand() -> None:
    """One token, two arms that pay 1 and 0: every pair of episodes, in plain arithmetic."""
    learner = tabular_policy(("a", "b"), dists={"choose": {"a": 0.75, "b": 0.25}}, capacity=1)
    sampler = tabular_policy(("a", "b"), dists={"choose": {"a": 0.5, "b": 0.5}}, capacity=1)
    pair = OffPolicy.of(choice_game({"a": 1.0, "b": 0.0}), learner, sampler)
    scores = {"a": np.array([0.25, -0.25, 0.0]), "b": np.array([-0.75, 0.75, 0.0])}
    token, cispo = RATIOS["token"], RATIOS["cispo"]
    for rule, w in (
        (None, {"a": 1.0, "b": 1.0}),
        (RatioToSampler(kind=token), {"a": 0.0, "b": 0.0}),  # a rose and is good, b fell and is bad
        (RatioToSampler(kind=token, clip=ClipRange(high=0.6)), {"a": 1.5, "b": 0.0}),
        (RatioToSampler(kind=token, clip=ClipRange(low=0.6)), {"a": 0.0, "b": 0.5}),
        (RatioToSampler(kind=cispo), {"a": 1.2, "b": 0.8}),
        (ImportanceRule(kind="truncated", cap=math.inf), {"a": 1.5, "b": 0.5}),
        (ImportanceRule(kind="truncated", cap=1.25), {"a": 1.25, "b": 0.5}),
        (ImportanceRule(kind="masked", cap=1.75), {"a": 1.5, "b": 0.0}),
    ):
        pairs = itertools.product("ab", repeat=2)
        estimates = [
            sum(
                w[x] * ((x == "a") - (y == "a")) * scores[x]
                for x, y in ((one, other), (other, one))
            )
            / 2
            for one, other in pairs
        ]
        found = pair.analyse(PLAIN, {"": rule})[""]
        assert found.mean_D == pytest.approx(np.mean(estimates, axis=0))
        assert found.variance == pytest.approx(np.var(estimates, axis=0).sum())
    assert pair.learner.gradient_D == pytest.approx([3 / 16, -3 / 16, 0])


def test_a_ratio_that_has_moved_against_its_advantage_is_not_clipped() -> None:
    """The same arms, of which the worse has become likelier: a with 3/4, and b pays."""
    learner = tabular_policy(("a", "b"), dists={"choose": {"a": 0.75, "b": 0.25}}, capacity=1)
    sampler = tabular_policy(("a", "b"), dists={"choose": {"a": 0.5, "b": 0.5}}, capacity=1)
    pair = OffPolicy.of(choice_game({"a": 0.0, "b": 1.0}), learner, sampler)
    found = pair.analyse(PLAIN, {"": RatioToSampler(kind=RATIOS["token"])})[""]
    # with 1/2 the members differ: (1/2 times the scores of b, less 3/2 times those of a) / 2
    assert found.mean_D == pytest.approx(
        [(0.5 * -0.75 - 1.5 * 0.25) / 4, (0.5 * 0.75 - 1.5 * -0.25) / 4, 0]
    )
    assert found.relative_bias == pytest.approx(0, abs=1e-6)


def test_a_ratio_of_whole_episodes_is_the_mean_of_all_their_tokens() -> None:
    policy = spelling_policy()
    pair = OffPolicy.of(spelt_game(), policy, perturbed(policy, 0.3, seed=1))
    wide = ClipRange(low=math.inf, high=math.inf)
    rule = RatioToSampler(kind=RATIOS["gspo-episode"], clip=wide)
    found = pair._weighted_scores_P_D(rule, -1)
    bare = pair._weighted_scores_P_D(None, -1)
    lengths = [sum(len(pair._tokens_C[c][0]) for c in numbers) for numbers in pair._numbers_E]
    means_P = np.repeat(np.exp(pair.log_ratios_E / lengths), lengths)
    np.testing.assert_allclose(found, means_P[:, None] * bare)


def test_one_update_older_by_hand() -> None:
    """Two arms that pay 1 and 0, chosen with 1/2: the gradient is 1/4 and -1/4, and a step of 2 makes the odds e."""
    policy = tabular_policy(("a", "b"), dists={"choose": {"a": 0.5, "b": 0.5}}, capacity=1)
    game = choice_game({"a": 1.0, "b": 0.0})
    own = OffPolicy.of(game, policy, policy)
    assert own.learner.gradient_D == pytest.approx([1 / 4, -1 / 4, 0])
    before = policy.model.logits.detach().clone()
    pair = OffPolicy.of(game, stepped(policy, 2 * own.learner.gradient_D), policy)
    assert torch.equal(policy.model.logits, before)  # the copy has moved
    p = math.e / (1 + math.e)
    assert sorted(pair.log_ratios_E) == pytest.approx([math.log(2 * (1 - p)), math.log(2 * p)])
    rules = {"none": None, "episode": ImportanceRule(kind="truncated", level="episode", cap=2.0)}
    found = pair.analyse(PLAIN, rules)
    assert found["none"].mean_D == pytest.approx([1 / 4, -1 / 4, 0])  # (1 - p) / 4 + p / 4
    assert found["none"].relative_bias == pytest.approx(1 / 4 / (p * (1 - p)) - 1)
    assert found["episode"].mean_D == pytest.approx([p * (1 - p), -p * (1 - p), 0])


def cells_of(rows: list[tuple[str, ...]]) -> dict[str, list[tuple[float, ...]]]:
    return {name: [tuple(map(float, one.split())) for one in row] for name, *row in rows[1:]}


def test_the_table_says_what_the_page_says() -> None:
    tables = off_policy_rows(
        size=2, kept=1, policies=1, perturbations=(0.05, 1.0), steps=(0.1, 0.2)
    )
    *noisy, (older, rows) = tables.items()
    assert "one update older" in older and rows[0][1:] == ("step 0.1", "step 0.2")
    cells = cells_of(rows)
    assert cells["none"][1][0] == pytest.approx(2 * cells["none"][0][0], rel=0.05)
    assert cells["episode"][1][0] == 0 < cells["step"][1][0] < cells["none"][1][0]
    before = spelling_policy()
    gradient_D = OffPolicy.of(spelt_game(), before, before).learner.gradient_D
    pair = OffPolicy.of(spelt_game(), stepped(before, 0.2 * gradient_D), before)
    found = pair.analyse(PLAIN, {"": None})[""].relative_bias
    assert cells["none"][1][0] == round(found, 4) > 0
    assert cells["ratio token"] == cells["token"]  # so near that nothing is clipped
    for _, rows in noisy:
        cells = cells_of(rows)
        assert cells["ratio gspo"][0][0] > 0.5 > 10 * cells["ratio gspo, 0.2"][0][0]
        bias = {name: [one[0] for one in row] for name, row in cells.items()}
        assert bias["episode, no cap"] == [0, 0]
        assert bias["episode"][0] == 0 < bias["episode"][1]  # the cap is met at the greater noise
        assert bias["step"][0] < bias["none"][0]
        assert cells["episode, no cap"][1][1] > 1.5 * cells["none"][1][1]


def test_noise_is_what_it_says() -> None:
    policy = spelling_policy()
    apart = [
        perturbed(policy, size, seed=4).model.logits - policy.model.logits for size in (0.1, 0.2)
    ]
    finite = policy.model.logits.isfinite()
    torch.testing.assert_close(2 * apart[0][finite], apart[1][finite])
    assert 0.05 < float(apart[0][finite].detach().std()) < 0.2


def test_what_no_weight_corrects_is_refused() -> None:
    game = choice_game({"a": 1.0, "b": 0.0})
    wide = tabular_policy(("a", "b"), dists={"choose": {"a": 0.5, "b": 0.5}}, capacity=1)
    narrow = tabular_policy(("a", "b"), dists={"choose": {"a": 1.0}}, capacity=1)
    with pytest.raises(InvalidArgumentError, match=r"it plays 0\.500000 of what that plays"):
        OffPolicy.of(game, wide, narrow)
    with pytest.raises(InvalidArgumentError, match="one agent"):
        OffPolicy.of(CARDS.game, CARDS.policy, CARDS.policy)
    with pytest.raises(InvalidArgumentError, match="one group"):
        OffPolicy.of(game, wide, wide).analyse(attrs.evolve(PLAIN, groups=2), {})


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_rule": "whitened"},
        {"batch_rule": "return_std", "group_filter": "signal"},
        {"group_filter": "tests.proofs.estimators.test_off_policy:some_good"},
    ],
)
def test_rules_of_a_batch_are_those_of_the_laboratory(settings: dict[str, str]) -> None:
    policy = spelling_policy(seed=3)
    pair = OffPolicy.of(spelt_game(), policy, policy)
    config = attrs.evolve(PLAIN, **settings)
    found, laboratory = (
        pair.analyse(config, {"": None})[""],
        analyse_estimator(pair.learner, config),
    )
    assert laboratory.exact and found.mean_D == pytest.approx(laboratory.mean_D, abs=1e-12)
    assert found.variance == pytest.approx(laboratory.variance)
    plain = pair.analyse(PLAIN, {"": None})[""]
    assert found.variance != pytest.approx(plain.variance)  # the rules do something


def some_good(groups: Sequence[RoleGroup]) -> list[bool]:
    return [max(g.returns_G) >= 1 for g in groups]


def first_is_good(groups: Sequence[RoleGroup]) -> list[bool]:
    return [g.returns_G[0] > 0 for g in groups]


@final
class ReadsAtTheEnd:
    """Credits each reply with the length of what would be read at the end of the first episode."""

    def __init__(self) -> None:
        self.reading: Any = None

    def bind(self, reading: Any) -> None:
        self.reading = reading

    def __call__(self, group: EpisodeGroup[Any], agent: str) -> list[list[float]]:
        ends = [len(self.reading(e, agent).prompt_ids) for e in group.episodes]
        return [[float(n)] * len(e.steps) for n, e in zip(ends, group.episodes, strict=True)]


def test_rules_that_read_on_are_bound() -> None:
    policy = spelling_policy()
    pair = OffPolicy.of(spelt_game(), policy, policy)
    config = attrs.evolve(PLAIN, credit="tests.proofs.estimators.test_off_policy:ReadsAtTheEnd")
    found = pair.analyse(config, {"": None})[""]
    assert found.mean_D == pytest.approx(analyse_estimator(pair.learner, config).mean_D, abs=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"starts": "learnability", "group_on": "initial_state", "start_floor": 0.5},
            r"'starts' must be 'law', .* \(got 'learnability'\)",
        ),
        ({"branching": "tree", "group_size": 4}, r"'branching' must be 'none', .* \(got 'tree'\)"),
        ({"common_chance": True}, r"'common_chance' must be False, .* \(got True\)"),
        ({"max_plays": 3, "group_filter": "signal"}, r"'max_plays' must be 1, .* \(got 3\)"),
        (
            {"group_filter": "tests.proofs.estimators.test_off_policy:first_is_good"},
            "must not depend on the order of a group's members",
        ),
    ],
)
def test_groups_of_another_kind_are_refused(settings: dict[str, Any], message: str) -> None:
    policy = spelling_policy()
    pair = OffPolicy.of(spelt_game(), policy, policy)
    with pytest.raises(InvalidArgumentError, match=message):
        pair.analyse(attrs.evolve(PLAIN, **settings), {"": None})


def test_the_command() -> None:
    result = CliRunner().invoke(command, ["--policies", "1", "--size", "2", "--kept", "1"])
    assert result.exit_code == 0, result.output
    assert "corrected AAW" in result.output and "episode, no cap" in result.output
    wrong = CliRunner().invoke(command, ["--size", "2", "--kept", "3"])
    assert wrong.exit_code == 2 and "--kept must be at most --size" in wrong.output
