"""Run folders of older and newer versions: ``tests/data/run_schema_1`` was written before there were specifications."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from algorithms.cli.main import main
from algorithms.errors import RunFolderError
from algorithms.runs.reader import read_run, scenario_of
from algorithms.runs.records import read_config, read_lines
from algorithms.runs.schema import SCHEMA_VERSION, upgrade
from algorithms.training.run import run_training
from algorithms.training.spec import RunSpec
from tests.run_folders import write_run

OLD = Path(__file__).parents[2] / "data" / "run_schema_1"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy of the folder of schema version 1: 4 updates, of which the checkpoint after 2 is there."""
    return Path(shutil.copytree(OLD, tmp_path / "old"))


def test_an_older_run_is_read_under_the_present_names(old: Path) -> None:
    run = read_run(old)
    assert run.problems == () and run.is_finished
    assert run.setting("game") == "LineWalk-v0" and run.setting("length") == 4
    assert scenario_of(run) == "LineWalk-v0, length=4"
    assert run.setting("zero_variance_groups") == "skipped"
    assert run.setting("credit") == "reward_to_go"
    assert run.setting("horizon") == 6 and run.setting("held_out") == 0
    assert run.label("title") == "LineWalk-v0, tiny"
    assert set(run.config["baselines"]) == {"optimum", "uniform", "scripted"}
    spec = RunSpec.from_json(run.spec)
    assert spec.policy.model == "tiny" and spec.threads == 1 and spec.run.evaluate_every == 2


def test_an_older_run_is_compared_and_reported(old: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "new")
    compared = CliRunner().invoke(main, ["compare", str(old), str(tmp_path / "new")])
    assert compared.exit_code == 0 and "LineWalk-v0, length=4" in compared.output
    reported = CliRunner().invoke(main, ["report", str(old)])
    assert reported.exit_code == 0 and (old / "report.html").is_file()


ADDED = {"generated_tokens", "good_logprob", "bad_logprob", "distinct_starts", "effective_starts"}


@pytest.mark.parametrize("by_command", [True, False])
def test_an_older_run_is_resumed(old: Path, by_command: bool) -> None:
    """The two updates after the checkpoint are made again, and are what they were."""
    wanted = read_lines(OLD / "metrics.jsonl")
    if by_command:
        result = CliRunner().invoke(main, ["train", "--resume", str(old), "--updates", "4"])
        assert result.exit_code == 0, result.output
        assert "resumed after update 2" in result.output
    else:
        run_training(RunSpec.from_json(read_config(old)["spec"]), old, resume=True)
    found = read_lines(old / "metrics.jsonl")
    assert [set(record) - ADDED for record in found] == [set(r) for r in wanted]
    for record, before in zip(found, wanted, strict=True):
        known = {name: record[name] for name in before}
        assert known == pytest.approx(before, rel=1e-4, abs=1e-6)  # another processor rounds


def test_an_older_run_that_was_begun_from_python_is_read_but_not_resumed(old: Path) -> None:
    config = json.loads((old / "config.json").read_text())
    del config["command"]
    (old / "config.json").write_text(json.dumps(config))
    assert scenario_of(read_run(old)) == "LineWalk-v0"
    result = CliRunner().invoke(main, ["train", "--resume", str(old)])
    assert result.exit_code == 2 and "schema version 1" in " ".join(result.output.split())


def test_a_newer_run_is_refused_by_its_version() -> None:
    with pytest.raises(RunFolderError, match=f"schema version {SCHEMA_VERSION + 1}"):
        upgrade({"schema_version": SCHEMA_VERSION + 1}, "'config.json'")


@pytest.mark.parametrize("version", [0, -1, True, "2", None, 1.0])
def test_a_version_that_is_none_is_refused(version: Any) -> None:
    with pytest.raises(RunFolderError, match="'schema_version'"):
        upgrade({"schema_version": version}, "'config.json'")


def test_one_clip_range_becomes_two_limits() -> None:
    old = {"schema_version": SCHEMA_VERSION, "spec": {"algorithm": {"clip": 0.3, "seed": 5}}}
    settings = upgrade(old, "'config.json'")["spec"]["algorithm"]
    assert settings == {"clip_low": 0.3, "clip_high": 0.3, "seed": 5}
    assert upgrade({**old, "spec": {}}, "'config.json'")["spec"] == {}


def test_a_clip_range_above_one_had_no_lower_limit() -> None:
    for clip, low in ((1.0, 1.0), (1.5, math.inf)):
        old = {"schema_version": SCHEMA_VERSION, "spec": {"algorithm": {"clip": clip}}}
        settings = RunSpec.from_json(upgrade(old, "'config.json'")["spec"]).algorithm
        assert (settings.clip_low, settings.clip_high) == (low, clip)


def test_the_runs_of_older_experiments_have_labels_and_players() -> None:
    """Experiments wrote raw settings, and no command."""
    old = {
        "title": "t", "scenario": "lake", "trained_on": "lake", "arm": "large", "experiment": "e", "game": "Snake-v0",
        "game_settings": {"width": 5}, "horizon": 9, "held_out": 0.1, "model": "seed model", "recipe": {"width": 64},
        "player": "optimal", "player_settings": {}, "algorithm": {"updates": 3, "seed": 7}, "run": {},
        "references": {"optimum": 1.0}, "cloning": {"divergence": 0.1},
    }  # fmt: skip
    config = upgrade(old, "'config.json'")
    spec = RunSpec.from_json(config["spec"])
    assert spec.labels["arm"] == "large" and spec.game.arguments == {"width": 5}
    assert spec.game.horizon == 9 and spec.policy.model is None and spec.policy.player == "optimal"
    assert spec.policy.cloning is not None
    assert (spec.policy.cloning.width, spec.policy.cloning.seed) == (64, 7)
    assert config["baselines"] == {"optimum": 1.0} and "given_parts" not in config
