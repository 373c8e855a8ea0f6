"""``tsmg lab``: the table, the picture, and what it refuses."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import games
from algorithms.cli import main as cli
from proofs import analyse_estimator
from proofs.estimators.comparison import (
    ESTIMATORS,
    compare,
    plain_config,
    rows,
    word_policy_distribution,
)

run = functools.partial(CliRunner().invoke, cli.main)
WALK = ["lab", "LineWalk-v0", "--set", "length=2"]


def test_the_policy_has_the_games_words() -> None:
    dist = word_policy_distribution(games.make("KuhnPoker-v0"), spread=0.0)
    replies = {completion.reply_text for _, completion in dist.completions}
    assert replies == {"pass", "bet", ""}
    chances = torch.from_numpy(dist.probabilities_E)
    assert float(chances.sum()) == pytest.approx(1)
    assert not any(p.abs().max() for p in dist.parameters)  # no spread: the uniform policy
    wide = word_policy_distribution(games.make("KuhnPoker-v0"), spread=2.0)
    narrow = word_policy_distribution(games.make("KuhnPoker-v0"), spread=1.0)
    for one, other in zip(wide.parameters, narrow.parameters, strict=True):
        torch.testing.assert_close(one, 2 * other)


def test_estimators_are_compared_in_their_order() -> None:
    dist = word_policy_distribution(games.make("LineWalk-v0", length=2))
    config = plain_config(group_size=2, kept_episodes=1)
    told: list[str] = []
    found = compare(dist, config, report=told.append)
    assert list(found) == told == list(ESTIMATORS)
    assert all(one.exact for one in found.values())
    alone = analyse_estimator(dist, config)
    np.testing.assert_allclose(found["group mean"].mean_D, alone.mean_D)
    assert found["leave-one-out"].scale == pytest.approx(2 * alone.scale)
    headline, first, *_ = rows(found)
    assert headline[0] == "estimator" and first[:3] == ("group mean", "1.000", "0.500")


def test_the_command_prints_a_table_and_draws_it(tmp_path: Path) -> None:
    picture = tmp_path / "lab.png"
    result = run([*WALK, "--group-size", "2", "--kept", "1", "--plot", str(picture)])
    assert result.exit_code == 0, result.output
    assert "14 of 14 over all groups" in result.output
    assert picture.stat().st_size > 10_000
    drawn = run([*WALK, "--limit", "0", "--samples", "40", "--estimator", "credit=reward_to_go"])
    assert drawn.exit_code == 0, drawn.output
    assert "credit=reward_to_go" in drawn.output and "±" in drawn.output


def test_an_estimator_may_have_the_settings_of_its_credit() -> None:
    """At weight 0, what is compared at equal observations does not count."""
    estimators = (
        "credit=episode",
        "credit=anchor_state,anchor_weight=0",
        "credit=anchor_state,anchor_weight=9",
        "credit=role_baseline,baseline_decay=0.5",
    )
    options = [word for text in estimators for word in ("--estimator", text)]
    result = run([*WALK, "--group-size", "2", "--kept", "1", *options])
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.output.splitlines() if line.startswith("credit=")]
    plain, weightless, heavy, _ = (figures for _, *figures in rows)
    assert plain == weightless != heavy


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["lab", "Nope"], "no game is registered"),
        (["lab", "GaussianBandit-v0"], "cannot be enumerated|not enumerated"),
        ([*WALK, "--estimator", "colour=red"], "colour"),
        ([*WALK, "--estimator", "credit=best"], "'credit' must be one of"),
        ([*WALK, "--group-size", "2", "--kept", "3"], "'kept_episodes'"),
        (["lab", "KuhnPoker-v0", "--horizon", "0"], "horizon"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(options: list[str], message: str) -> None:
    result = run(options)
    assert result.exit_code == 2, result.output
    words = " ".join(result.output.split())
    assert any(part in words for part in message.split("|")), words
