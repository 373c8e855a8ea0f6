"""What the settings say of a game: what ``auto`` comes to, and which combinations are biased."""

import itertools
import warnings
from typing import Any

import attrs
import pytest

from algorithms import Estimator, MSGRPOConfig
from algorithms.method.config import resolved_std
from algorithms.method.estimator_settings import check_estimator
from algorithms.method.fit_to_game import bias_warnings
from tests.own_rules import last_reply, softmax_draw
from tsmg import Facts, InvalidArgumentError

SEEN, HIDDEN = Facts(perfect_information=True), Facts(perfect_information=False)
SHARED = {"group_on": "initial_state"}


@pytest.mark.parametrize(
    ("settings", "facts", "about"),
    [
        ({}, SEEN, []),
        ({}, HIDDEN, []),
        ({"std": "population"}, HIDDEN, []),
        (SHARED, SEEN, []),
        (SHARED, HIDDEN, ["'sampling'"]),
        ({**SHARED, "std": "none"}, HIDDEN, ["'sampling'"]),
        ({**SHARED, "std": "none", "corrected": True}, HIDDEN, []),
        ({**SHARED, "std": "none", "sampling": "all"}, HIDDEN, []),
        ({**SHARED, "std": "sample", "sampling": "uniform"}, HIDDEN, ["'std'"]),
        ({**SHARED, "std": "population"}, HIDDEN, ["'std'", "'sampling'"]),
        ({"common_chance": True}, SEEN, ["'sampling'"]),
        ({"common_chance": True, "sampling": "all"}, SEEN, []),
        ({"common_chance": True, "floor": 0.5}, SEEN, ["'sampling'"]),
        ({"common_chance": True, "floor": 1.0}, SEEN, []),
        ({"common_chance": True, "sampling": "optimal", "corrected": True}, SEEN, []),
    ],
)
def test_what_a_group_shares_unseen_is_warned_of(settings, facts, about):
    found = bias_warnings(MSGRPOConfig(**settings), facts)
    assert [warning.split(" ")[0] for warning in found] == about
    assert all("reverse which action is better" in warning for warning in found)


def test_none_is_not_said_to_help_where_the_draw_reverses():
    """An earlier version said that std 'none' cannot reverse: with an uncorrected draw it can."""
    config = MSGRPOConfig(std="none", group_on="initial_state")
    (warning,) = bias_warnings(config, HIDDEN)
    assert "with std 'none' too" in warning and "'corrected' cannot" in warning


def test_rules_that_are_given_are_warned_of_as_named_ones_are():
    corrected = MSGRPOConfig(corrected=True, std="none")
    with pytest.warns(UserWarning, match="do not restore credit 'last_reply'"):
        Estimator.of(corrected, SEEN, credit=last_reply)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Estimator.of(corrected, SEEN, credit=last_reply, sampling=softmax_draw)


def test_an_estimator_that_keeps_another_number_of_episodes_is_refused():
    config = MSGRPOConfig(group_size=4, kept_episodes=4)
    one = Estimator.of(attrs.evolve(config, kept_episodes=1), SEEN)
    with pytest.raises(InvalidArgumentError, match="'kept_episodes' 1, and the settings say 4"):
        check_estimator(one, config, SEEN)
    whole = attrs.evolve(config, sampling="all", kept_episodes=2)
    for given in ({}, {"sampling": softmax_draw}):
        check_estimator(Estimator.of(whole, SEEN, **given), whole, SEEN)


@pytest.mark.parametrize(
    ("credit", "sampling", "corrected", "floor"),
    [
        (credit, sampling, corrected, floor)
        for credit, sampling, corrected, floor in itertools.product(
            ("episode", "reward_to_go", "turn", "anchor_state"),
            ("aaw", "optimal", "uniform", "all"),
            (True, False),
            (0.0, 0.1),
        )
        if not floor or sampling in ("aaw", "optimal")
    ],
)
def test_corrections_that_do_not_correct_are_warned_of(credit, sampling, corrected, floor):
    config = MSGRPOConfig(credit=credit, sampling=sampling, corrected=corrected, floor=floor)
    found = " ".join(bias_warnings(config, SEEN))
    lost = corrected and sampling == "aaw" and credit != "episode" and not floor
    assert (f"do not restore credit {credit!r}" in found) == lost
    bare = sampling == "optimal" and not corrected
    assert ("surprising replies are weighted more" in found) == bare
    assert bool(found) == (lost or bare)


def test_an_estimator_warns_and_is_made_all_the_same():
    config = MSGRPOConfig(corrected=True, credit="reward_to_go")
    with pytest.warns(UserWarning, match="do not restore credit 'reward_to_go'"):
        assert Estimator.of(config, SEEN).sampling.corrected


@pytest.mark.parametrize(
    ("settings", "facts", "std"),
    [
        ({}, SEEN, "population"),
        ({}, HIDDEN, "population"),
        (SHARED, HIDDEN, "none"),
        ({"common_chance": True}, SEEN, "none"),
        ({"common_chance": True, "std": "sample"}, SEEN, "sample"),
    ],
)
def test_which_std(settings, facts, std):
    assert resolved_std(MSGRPOConfig(**settings), facts) == std


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"credit": "max_variance"},
            "'credit' 'max_variance' compares.*choose both.*'sampling' 'aaw'",
        ),
        (
            {"sampling": "max_variance", "corrected": True},
            "'corrected' has no effect with 'sampling'",
        ),
        ({"sampling": "max_variance", "kept_episodes": 1}, "'kept_episodes' must be at least 2"),
        ({"anchor_weight": -1.0}, "'anchor_weight' must be at least 0"),
        ({"kl_coefficient": float("inf")}, r"'kl_coefficient' must be finite and at least 0"),
        ({"temperature": float("inf")}, r"'temperature' must be finite and above 0.0 \(got inf\)"),
        ({"min_p": 1.0}, r"'min_p' must be at least 0.0 and below 1.0 \(got 1.0\)"),
        ({"baseline_decay": 1.5}, "'baseline_decay' must be at least 0.0 and at most 1"),
    ],
)
def test_draws_by_variance_and_settings_of_rules_are_checked(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        MSGRPOConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "owner"),
    [
        ({"anchor_weight": 0.5}, "'credit' 'anchor_state'"),
        ({"baseline_decay": 0.5}, "'credit' 'role_baseline'"),
        ({"gae_lambda": 0.5, "credit": "turn"}, "'credit' 'critic'"),
        ({"kept_groups": 0.5, "group_filter": "signal"}, "'group_filter' 'variance'"),
    ],
)
def test_a_setting_without_the_rule_that_reads_it_is_refused(
    settings: dict[str, Any], owner: str
) -> None:
    name = next(iter(settings))
    with pytest.raises(InvalidArgumentError, match=f"'{name}' has an effect only with {owner}"):
        MSGRPOConfig(**settings)


@pytest.mark.parametrize(
    ("sampling", "name", "value"),
    [
        ("all", "alpha", 2.0),
        ("all", "floor", 0.5),
        ("all", "replacement", True),
        ("all", "scope", "batch"),
        ("uniform", "alpha", 2.0),
        ("uniform", "floor", 0.5),
        ("optimal", "alpha", 2.0),
    ],
)
def test_a_setting_that_a_draw_does_not_read_is_refused(
    sampling: str, name: str, value: object
) -> None:
    with pytest.raises(InvalidArgumentError, match=f"'{name}' has no effect with 'sampling'"):
        MSGRPOConfig(sampling=sampling, **{name: value})
    MSGRPOConfig(sampling="aaw", **{name: value})
