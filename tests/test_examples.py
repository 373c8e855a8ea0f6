"""The programs of ``examples`` run, and do what they say."""

import re
import shlex
from pathlib import Path

import attrs
import pytest

from algorithms import CloningConfig
from examples import credit_rule, define_a_game, ms_grpo_loop, real_model, self_play
from tests.checkpoints import tiny_model

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


@pytest.mark.slow
def test_a_checkpoint_is_cloned_then_trained_and_goes_on_where_it_was_stopped(
    tmp_path, monkeypatch, capsys
):
    tiny_model("chat").save_pretrained(tmp_path / "checkpoint")
    fit = attrs.evolve(real_model.FIT, steps=2, batch=2, episodes=10, measured_prompts=4)
    algorithm = attrs.evolve(
        real_model.ALGORITHM,
        updates=2, groups=2, group_size=2, kept_episodes=1, max_reply_tokens=32,
    )  # fmt: skip
    run = attrs.evolve(real_model.RUN, checkpoint_every=1, final_episodes=4, evaluation_episodes=4)
    for name, settings in (("FIT", fit), ("ALGORITHM", algorithm), ("RUN", run)):
        monkeypatch.setattr(real_model, name, settings)
    words = [str(tmp_path / "checkpoint"), str(tmp_path), "--threads", "1", "--dtype", "mixed"]
    first = real_model.main(words)
    assert "update 2" in capsys.readouterr().out
    again = real_model.main(words)
    told = capsys.readouterr().out
    assert "resumed after update 2" in told and "nats from the player" not in told
    assert again.sampled.reward == first.sampled.reward


def options(makefile: str, name: str) -> dict[str, str]:
    """The options that a variable of the Makefile holds, by the names of settings."""
    value = re.search(rf"^{name} := ((?:.*\\\n)*.*)", makefile, re.MULTILINE)
    words = shlex.split(value[1].replace("\\\n", " ")) if value else []
    return {
        o.removeprefix("--").replace("-", "_"): v
        for o, v in zip(words[::2], words[1::2], strict=True)
    }


def test_make_real_and_its_twin_have_equal_settings():
    makefile = (Path(real_model.__file__).parents[1] / "Makefile").read_text(encoding="utf-8")
    spec = real_model.cold_start("CHECKPOINT", seed=0, threads=2, dtype="float32")
    cloning = options(makefile, "REAL_CLONING")
    assert cloning.pop("dtype") == "$(REAL_DTYPE)"
    assert cloning.pop("lora") == spec.policy.lora
    assert cloning.pop("player_set") == "attention=0.6"
    assert spec.policy.player_arguments == {"attention": 0.6}
    assert {name: getattr(spec.fit, name) for name in cloning} == pytest.approx(
        {name: float(value) for name, value in cloning.items()}
    )
    training = options(makefile, "REAL_TRAINING")
    assert training.pop("dtype") == "$(REAL_DTYPE)"
    settings = attrs.asdict(real_model.ALGORITHM) | attrs.asdict(real_model.RUN)
    assert {name: settings[name] for name in training} == pytest.approx(
        {name: float(value) for name, value in training.items()}
    )
