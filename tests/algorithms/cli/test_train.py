"""``tsmg train``: headings, files of settings, resuming what Python began and the other way round, quiet output."""

import functools
import json
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import attrs
import click
import pytest
from click.testing import CliRunner, Result

from algorithms import (
    GameSpec,
    MSGRPOConfig,
    MSGRPOTrainer,
    PolicySpec,
    RunConfig,
    RunSpec,
    run_training,
)
from algorithms.cli.main import main
from algorithms.cli.train import HEADINGS, train
from algorithms.method.credit import CREDIT_RULES
from algorithms.method.presets import PRESETS
from algorithms.runs.records import read_config
from algorithms.training.spec import RunParts
from tests.checkpoints import tiny_model
from tests.whole_runs import contents

SMALL = RunSpec(
    game=GameSpec(id="LineWalk-v0", held_out=0.0, horizon=3),
    algorithm=MSGRPOConfig(updates=3, groups=2, group_size=2, kept_episodes=2, max_reply_tokens=3),
    run=RunConfig(final_episodes=2, evaluation_episodes=2, checkpoint_every=1),
    threads=1,
)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def spec(tmp_path: Path) -> RunSpec:
    """A small run of a tiny model."""
    tiny_model(sharp=3.0).save_pretrained(tmp_path / "model")
    return attrs.evolve(SMALL, policy=PolicySpec(model=str(tmp_path / "model"), chat=False))


def test_a_method_is_settings_that_options_override(tmp_path: Path) -> None:
    """Files and options are above the method, and options above files; what is said goes to the standard error."""
    file = tmp_path / "run.toml"
    file.write_text("[algorithm]\ncorrected = true\nalpha = 2.0\nfloor = 0.5\n")
    options = ("--config", str(file), "--method", "ms-grpo-corrected", "--floor", "0.2")
    result = run("train", *options, "--show-config")
    assert result.exit_code == 0, result.output
    shown = RunSpec.from_json(tomllib.loads(result.stdout)).algorithm
    assert shown == MSGRPOConfig(std="none", alpha=2.0, floor=0.2, corrected=True)
    differences = "std 'none' (default 'auto'), corrected True (default False)"
    assert result.stderr == f"method ms-grpo-corrected: {differences}\n"
    assert (
        run("train", "--method", "ms-grpo", "--show-config").stdout
        == run("train", "--show-config").stdout
    )


def test_a_method_refuses_what_would_make_another_of_it(tmp_path: Path) -> None:
    told = run("train", "--method", "pods", "--kept-episodes", "4", "--show-config")
    assert told.exit_code == 0, told.output
    assert RunSpec.from_json(tomllib.loads(told.stdout)).algorithm == MSGRPOConfig(
        **PRESETS["pods"].settings, kept_episodes=4
    )
    assert "\n  [source] arXiv:2504.13818" in told.stderr and "\n  [ours] ties" in told.stderr
    refused = run("train", "--method", "pods", "--sampling", "all", "--show-config")
    assert refused.exit_code != 0
    assert "'pods' is not 'pods' with 'sampling' 'all': it needs 'max_variance'" in refused.output
    (tmp_path / "run.toml").write_text('[algorithm]\nsampling = "all"\n')
    beside = ("train", "--method", "pods", "--config", str(tmp_path / "run.toml"), "--show-config")
    assert run(*beside).stderr == refused.stderr
    mended = run(*beside, "--sampling", "max_variance")  # an option is above the file
    assert mended.exit_code == 0 and "sampling 'max_variance'" in mended.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("ms-grpo", "--sampling", "all"),
            "is not 'ms-grpo' with 'sampling' 'all': it needs 'aaw'",
        ),
        (("ms-grpo-corrected", "--std", "sample"), "'std' 'sample': it needs 'none'"),
        (("turn-ppo", "--gae", "token"), "is not 'turn-ppo' with 'gae' 'token': it needs 'turn'"),
    ],
)
def test_a_contradiction_is_one_sentence(words: tuple[str, ...], said: str) -> None:
    result = run("train", "--method", *words, "--show-config")
    assert result.exit_code != 0 and said in " ".join(result.output.split())


def test_a_misspelt_rule_is_refused_before_a_model_is_cloned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's module is found where the user stands; options and files are read alike."""
    monkeypatch.chdir(tmp_path)
    Path("rules_here.py").write_text("def late(group, agent): ...\n")
    Path("run.toml").write_text('[algorithm]\ncredit = "rules_here:typo"\n')
    for given in (("--credit", "rules_here:typo"), ("--config", "run.toml")):
        result = run("train", "--game", "LineWalk-v0", "--output", "out", *given)
        assert result.exit_code == 2 and "has no attribute 'typo'" in " ".join(
            result.output.split()
        )
        assert not Path("out").exists()


def test_a_resumed_run_keeps_its_method(spec: RunSpec, tmp_path: Path) -> None:
    run_training(spec, tmp_path / "run", reporter=None)
    result = run("train", "--resume", str(tmp_path / "run"), "--method", "ms-grpo-corrected")
    assert result.exit_code != 0 and "a resumed run keeps its settings" in result.output


def test_every_option_stands_under_one_heading() -> None:
    names = Counter(name for group in HEADINGS.values() for name in group)
    assert set(names.values()) == {1}
    assert set(names) == {parameter.name for parameter in train.params}
    output = run("train", "--help").output
    places = [output.index(f"\n{heading}:") for heading in HEADINGS]
    assert places == sorted(places)


def test_help_keeps_the_case_of_symbols() -> None:
    output = " ".join(run("train", "--help").output.split())
    for text in ("G, episodes per group.", "K, episodes per group that", "of |A|", "the KL to"):
        assert text in output


def test_help_explains_every_credit_rule_and_breaks_no_option() -> None:
    """Where click breaks a line at a hyphen, there is none; a space after one is in the text itself."""
    (about,) = (p for p in train.params if p.name == "credit")
    assert isinstance(about, click.Option) and about.help is not None
    assert "- " not in about.help
    missing = [name for name in CREDIT_RULES if f"{name}: " not in about.help.lower()]
    assert missing == []


def test_settings_come_from_a_file_and_options_override_them(tmp_path: Path) -> None:
    shown = run("train", "--show-config", "--updates", "7", "--set", "size=5", "--role", "player")
    assert shown.exit_code == 0, shown.output
    (tmp_path / "run.toml").write_text(shown.output)
    again = run("train", "--config", str(tmp_path / "run.toml"), "--show-config")
    assert again.output == shown.output
    changed = run(
        "train",
        "--config",
        str(tmp_path / "run.toml"),
        "--seed",
        "3",
        "--set",
        "horizon=4",
        "--show-config",
    )
    assert "updates = 7" in changed.output and "\nseed = 3" in changed.output
    assert "size = 5\nhorizon = 4" in changed.output


def test_a_bad_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("[algorithm]\nupdate = 3\n")
    result = run("train", "--config", str(tmp_path / "run.toml"))
    assert result.exit_code == 2
    said = " ".join(result.output.split())
    assert "unknown key 'update' in section 'algorithm'" in said and "'updates'" in said


class Killed(BaseException):
    """What no handler of an error may catch."""


def kill_after(updates: int, patch: pytest.MonkeyPatch) -> None:
    update = MSGRPOTrainer.update

    def dying(self: MSGRPOTrainer) -> Any:
        if self.update_index == updates:
            raise Killed
        return update(self)

    patch.setattr(MSGRPOTrainer, "update", dying)


@pytest.mark.parametrize("begun_by_command", [True, False])
def test_a_run_is_resumed_by_the_command_and_from_python_however_it_began(
    spec: RunSpec, begun_by_command: bool, tmp_path: Path
) -> None:
    (tmp_path / "run.json").write_text(json.dumps(spec.to_json()))
    begin = ("train", "--config", str(tmp_path / "run.json"), "--output")
    folders = [tmp_path / name for name in ("whole", "by command", "from python")]
    assert run(*begin, str(folders[0])).exit_code == 0
    for folder in folders[1:]:
        begin_again = (
            functools.partial(
                CliRunner().invoke, main, [*begin, str(folder)], catch_exceptions=False
            )
            if begun_by_command
            else functools.partial(run_training, spec, folder)
        )
        with pytest.MonkeyPatch.context() as patch:
            kill_after(2, patch)
            with pytest.raises(Killed):
                begin_again()
    result = run("train", "--resume", str(folders[1]))
    assert result.exit_code == 0, result.output
    assert "resumed after update 2" in result.output
    run_training(spec, folders[2], resume=True)
    assert contents(folders[0]) == contents(folders[1]) == contents(folders[2])
    recorded = RunSpec.from_json(read_config(folders[0])["spec"])
    assert recorded == attrs.evolve(spec, algorithm=recorded.algorithm)
    assert "auto" not in attrs.asdict(recorded.algorithm).values()


def test_a_run_of_given_parts_is_resumed_from_python_alone(spec: RunSpec, tmp_path: Path) -> None:
    built = spec.build()
    run_training(spec, tmp_path / "run", parts=built)
    config = read_config(tmp_path / "run")
    assert config["given_parts"] == {"game": "LineWalk"}
    result = run("train", "--resume", str(tmp_path / "run"))
    assert result.exit_code == 2 and "'given_parts'" in " ".join(result.output.split())
    again = RunParts(
        training_game=built.training_game,
        evaluation_game=built.evaluation_game,
        policy=spec.build().policy,
    )
    run_training(spec, tmp_path / "run", parts=again, resume=True)


def test_a_process_without_a_terminal_prints_whole_lines_and_no_bars(
    spec: RunSpec, tmp_path: Path
) -> None:
    (tmp_path / "run.json").write_text(json.dumps(spec.to_json()))
    command = [sys.executable, "-m", "algorithms.cli", "train", "--config", "run.json"]
    done = subprocess.run(
        [*command, "--output", "out"],
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "60", "PYTHONPATH": str(Path(__file__).parents[3])},
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert not any(mark in done.stdout for mark in ("\r", "it/s", "shards", "weights", "━", "█"))
    assert sum(bool(re.match(r"update +\d+: sampled: .*; greedy: return", x)) for x in lines) == 2
    pattern = r"update 3 of 3: return \S+, success \S+, invalid \S+, [\d.]+ episodes/s, \d+:\d\d:\d\d left"
    assert any(re.fullmatch(pattern, line) for line in lines), done.stdout
    assert lines[-1].startswith("run folder: out; next: tsmg report out, tsmg evaluate ")
