"""Signal measured on groups that are played: against the laboratory, against all pairs, and what is refused."""

import math
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from typeguard import suppress_type_checks

import lap
from algorithms import Estimator, MSGRPOConfig
from proofs import Signal, TrajectoryDistribution, analyse_estimator, measure_signal
from proofs.commands import signal
from proofs.estimators.signal_to_noise import _Estimate, _Tally, comparison_rows, interval
from proofs.small_games import choice_game
from tests.own_rules import last_reply
from tests.proofs.estimators.test_laboratory import word_model
from tsmg import AbstractGame, InvalidArgumentError

GAME = attrs.evolve(
    choice_game({"a": 1.0, "b": -0.5}), texts={"choose": "x", ("a", 1): "y"}, horizon=1
)
CONFIG = MSGRPOConfig(group_size=4, kept_episodes=2, sampling="all", std="none", max_reply_tokens=1)


def word_game() -> AbstractGame[Any, Any]:
    return GAME


def word_policy() -> lap.LanguageAgentPolicy[Any]:
    return lap.LanguageAgentPolicy(
        prompt=lap.MemorylessPrompt(with_rules=False),
        model=word_model(),
        parser=lap.WholeReplyParser(),
        sampling=lap.Sampling(max_reply_tokens=1),
    )


@pytest.fixture(scope="module")
def measured() -> dict[str, Signal]:
    with suppress_type_checks():
        return measure_signal(GAME, word_policy(), CONFIG, ESTIMATORS, groups=400)


ESTIMATORS: dict[str, dict[str, Any]] = {
    "all": {},
    "divided": {"std": "population"},
    "aaw": {"sampling": "aaw"},
    "uniform": {"sampling": "uniform"},
    "pairs": {"group_size": 2},
}


def test_an_estimator_with_a_rule_of_ones_own_is_measured_as_its_settings_are() -> None:
    whole = attrs.evolve(CONFIG, sampling="all")
    named = {"credit": "tests.own_rules:last_reply"}
    given = Estimator.of(whole, GAME.facts, credit=last_reply)
    found = measure_signal(GAME, word_policy(), whole, {"a": named, "b": given}, groups=40)  # type: ignore[dict-item]
    assert found["a"].snrs.tolist() == found["b"].snrs.tolist() and found["a"].snr != 0
    other = Estimator.of(attrs.evolve(whole, group_size=2), GAME.facts)
    with pytest.raises(InvalidArgumentError, match="'group_size' 2"):
        measure_signal(GAME, word_policy(), whole, {"c": other}, groups=40)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_figures_are_those_of_the_laboratory(measured: dict[str, Signal], name: str) -> None:
    found = measured[name]
    dist = TrajectoryDistribution.of(GAME, word_policy())
    exact = analyse_estimator(dist, attrs.evolve(CONFIG, groups=1, **ESTIMATORS[name]))
    assert exact.exact
    low, high = interval(found.snrs)
    assert low < exact.snr < high
    assert high - low < 1.5 * exact.snr  # an interval that says something
    low, high = interval(found.cosines)
    assert low - 1e-9 <= exact.cosine <= high + 1e-9
    assert found.generated_tokens[0] == pytest.approx(exact.generated_tokens)
    assert found.trained_tokens[0] == pytest.approx(exact.trained_tokens, rel=0.15)
    assert found.zero_variance_share == pytest.approx(exact.zero_variance_share, abs=0.05)


def test_estimators_are_told_apart(measured: dict[str, Signal]) -> None:
    """Half of the episodes, drawn by chance, have less signal; the ratio of two is surer than either."""
    ratio = measured["uniform"].snrs / measured["all"].snrs
    low, high = interval(ratio)
    dist = TrajectoryDistribution.of(GAME, word_policy())
    half, whole = (
        analyse_estimator(dist, attrs.evolve(CONFIG, groups=1, **ESTIMATORS[name])).snr
        for name in ("uniform", "all")
    )
    assert low < half / whole < high < 1
    apart = [interval(measured[name].snrs) for name in ("uniform", "all")]
    assert (high - low) / ratio[0] < sum((b - a) / (a + b) for a, b in apart)
    assert len(comparison_rows(measured)) == 1 + len(ESTIMATORS)


def test_sums_are_over_pairs_of_different_groups() -> None:
    rng = np.random.default_rng(0)
    one, true = (rng.normal(0.3, 1.0, (40, 3)) for _ in range(2))

    def tallied(rows: np.ndarray) -> _Tally:
        tally = _Tally(40)
        for n, row in enumerate(rows):
            look = _Estimate(
                gradient_D=torch.tensor(row), generated=2, trained=1, zero_variance=0.5
            )
            tally.add(n, look, torch.tensor(true[n]))
        return tally

    found = tallied(one).signal(CONFIG, tallied(true))
    for left_out, value, cosine in zip((None, *range(20)), found.snrs, found.cosines, strict=True):
        kept = [n for n in range(40) if n // 2 != left_out]
        pairs = [(a, b) for a in kept for b in kept if a != b]
        own, across, exact = (
            np.mean([x[a] @ y[b] for a, b in pairs])
            for x, y in ((one, one), (one, true), (true, true))
        )
        variance = np.mean([one[a] @ one[a] for a in kept]) - own
        assert value == pytest.approx(np.sign(across) * across**2 / exact / variance)
        if left_out is None and own > 0 and exact > 0:
            assert cosine == pytest.approx(across / np.sqrt(own * exact))
    assert (found.generated_tokens == 2).all()
    assert found.snrs_per_trained_token[0] == found.snr
    assert found.zero_variance_share == 0.5


def test_too_little_said() -> None:
    """No interval where a figure without some block is not finite, and none that looks sure of itself."""
    values = np.ones(21)
    assert interval(values) == (1.0, 1.0)
    values[7] = np.inf
    assert all(map(math.isnan, interval(values)))


@pytest.mark.parametrize(
    ("estimator", "groups", "words"),
    [
        ({}, 39, "'groups' must be at least 40"),
        ({"group_size": 5}, 40, "'group_size' must be at most 4"),
        ({"group_on": "nothing"}, 40, "'group_on' must be 'initial_state'"),
        ({"common_chance": True}, 40, "'common_chance' off"),
    ],
)
def test_refused(estimator: dict[str, Any], groups: int, words: str) -> None:
    with pytest.raises(InvalidArgumentError, match=words):
        measure_signal(GAME, word_policy(), CONFIG, {"one": estimator}, groups=groups)


def test_a_policy_of_equal_returns_has_no_gradient() -> None:
    game = attrs.evolve(GAME, moves=choice_game({"a": 0.0, "b": 0.0}).moves)
    with pytest.raises(InvalidArgumentError, match="differ in return"):
        measure_signal(game, word_policy(), CONFIG, {"all": {}}, groups=40)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scope": "batch", "sampling": "aaw"}, "'scope' 'group'"),
        ({"weighting": "token"}, "'weighting' neither 'step' nor 'token'"),
        ({"batch_rule": "whitened"}, "'batch_rule' 'none'"),
        ({"group_filter": "signal"}, "'group_filter' must be 'all'"),
        ({"credit": "critic", "sampling": "all"}, "a rule with a state \\(credit\\) cannot be"),
        ({"credit": "role_baseline"}, "a rule with a state"),
    ],
)
def test_what_one_group_does_not_tell_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"estimator 'mine': .*{message}"):
        measure_signal(GAME, word_policy(), CONFIG, {"mine": settings}, groups=40)


def test_command(tmp_path: Path) -> None:
    word_policy().save_pretrained(tmp_path / "policy")
    arguments = [
        str(tmp_path / "policy"),
        *("--game", f"{__name__}:word_game", "--played", "40", "--threads", "1"),
        *("--group-size", "3", "--kept-episodes", "2", "--max-reply-tokens", "1"),
    ]
    result = CliRunner().invoke(signal, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    named = [line.split("  ")[0] for line in result.output.splitlines()]
    assert [name for name in named if name in ("aaw", "uniform", "all", "all of 2")] == [
        "aaw",
        "uniform",
        "all",
        "all of 2",
    ]
    chosen = [*arguments, "--estimator", "credit=reward_to_go", "--estimator", "credit=episode"]
    result = CliRunner().invoke(signal, chosen, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert result.output.rstrip().endswith("credit=reward_to_go")
    refused = CliRunner().invoke(signal, [*arguments, "--estimator", "speed=2"])
    assert refused.exit_code == 2
    assert "settings of 'tsmg train'" in refused.output
    for name in (
        "updates",
        "clip-low",
        "ratio",
        "kl-coefficient",
        "sharding",
    ):  # what has no effect is not offered
        assert CliRunner().invoke(signal, [*arguments, f"--{name}", "1"]).exit_code == 2


def test_settings_of_the_draw_are_not_those_of_the_truth() -> None:
    config = attrs.evolve(CONFIG, sampling="aaw", alpha=2.0, floor=0.5)
    (found,) = measure_signal(GAME, word_policy(), config, {"aaw": {}}, groups=40).values()
    assert found.groups == 40


def test_a_single_kept_episode_and_no_thread_are_answered_at_once(tmp_path: Path) -> None:
    """Before the policy is loaded, which is not there."""
    runner = CliRunner()
    none = runner.invoke(signal, [str(tmp_path), "--game", "LineWalk-v0", "--threads", "0"])
    assert none.exit_code == 2 and "0 is not in the range" in none.output
    bad = [str(tmp_path), "--estimator", "group_size=1"]
    refused = runner.invoke(signal, [*bad, "--game", "LineWalk-v0"])
    assert isinstance(refused.exception, InvalidArgumentError)
    assert "'group_size' must be at least 2" in str(refused.exception)
    one = runner.invoke(signal, [str(tmp_path), "--game", "LineWalk-v0", "--kept-episodes", "1"])
    assert "policy" in str(one.exception)
