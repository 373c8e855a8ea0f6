"""The programs of ``examples`` run, and do what they say."""

from pathlib import Path

import pytest

from algorithms import CloningConfig
from examples import credit_rule, define_a_game, ms_grpo_loop, self_play

TINY_CLONE = CloningConfig(width=64, layers=2, inner=128, episodes=300, steps=100)


def test_every_example_has_a_test():
    here = Path(__file__).read_text(encoding="utf-8")
    folder = Path(define_a_game.__file__).parent
    assert all(f"{file.stem}.main(" in here for file in folder.glob("[!_]*.py"))


@pytest.mark.slow
def test_the_plain_loop_improves_the_return(tmp_path, monkeypatch):
    monkeypatch.setenv("TSMG_CACHE", str(tmp_path))
    before, after = ms_grpo_loop.main(ms_grpo_loop.Settings(updates=10), episodes=100)
    assert after > before + 0.2


def test_the_documented_game_is_conformant(capsys):
    assert define_a_game.main(examples=20).is_conformant
    assert "return" in capsys.readouterr().out


def test_a_credit_rule_of_ones_own_trains():
    before, after = credit_rule.main()
    assert after > before + 0.2


@pytest.mark.slow
def test_the_learner_exploits_a_fixed_opponent_and_gains_nothing_against_itself():
    rewards = self_play.main()
    assert rewards["self-play"] == 0.0
    assert rewards["fixed opponent"] > 0.3  # at most 0.5
    assert rewards["alternating roles"] > 0.2
