"""Runs that play on inference servers: they learn as others do, go on elsewhere, and refuse bad settings at once."""

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner

import games
from algorithms import Estimator, MSGRPOTrainer, RunSpec
from algorithms.cli.main import main
from algorithms.training.playing import Compared
from lap import ModelError, TransformersModel
from lap.remote.client import EngineError
from tests.engine_server import FakeEngine, serving, split_policy
from tests.whole_runs import CONFIG, lines
from tsmg import InvalidArgumentError, PlayRandomLegal, with_invalid_rule

pytest.importorskip("peft")

SMALL = attrs.evolve(CONFIG, updates=2, group_size=2, kept_episodes=2)
GAME = with_invalid_rule(games.make("LineWalk-v0"), PlayRandomLegal(penalty=0.1))
TRAIN = (
    *("train", "--game", "LineWalk-v0", "--held-out", "0", "--lora", "r=4", "--groups", "2"),
    *("--group-size", "2", "--kept-episodes", "2", "--updates", "2", "--final-episodes", "2"),
    *("--max-reply-tokens", "6", "--learning-rate", "0.01", "--checkpoint-every", "1"),
    *("--threads", "1"),
)


def trainer(tiny_checkpoint: Path, engines: list[FakeEngine]) -> MSGRPOTrainer:
    return MSGRPOTrainer(game=GAME, policy=split_policy(tiny_checkpoint, engines), config=SMALL)


def told(*options: str) -> Any:
    return CliRunner().invoke(main, [*TRAIN, *options])


def test_updates_are_played_with_the_newest_weights(
    tiny_checkpoint: Path, engine: FakeEngine
) -> None:
    run = trainer(tiny_checkpoint, [engine])
    run.evaluate(2)
    updates = [run.update() for _ in range(2)]
    after = run.evaluate(2)
    names = [
        body["lora_name"].rpartition("-")[2] for body in engine.bodies("/v1/load_lora_adapter")
    ]
    assert names == ["v0", "v1", "v2"]
    for version, update in enumerate(updates):
        assert 0 < (update.metrics["canary_max_deviation"] or 0) < 1e-4
        assert (update.metrics["ratio_max_deviation"] or 0) < 1e-4
        assert 1 <= (update.metrics["ratio_p99"] or 0) < 1 + 1e-4
        assert "good_displacement" not in update.metrics  # no step came before its only pass
        completions = [
            completion
            for group in update.rollouts.groups
            for episode in group.episodes
            for _, completion in episode.completions(*GAME.agents)
        ]
        assert {completion.weights_version for completion in completions} == {version}
    assert after.failed == ()


def test_a_server_that_dies_loses_no_group_and_is_told_of(tiny_checkpoint: Path) -> None:
    with serving(tiny_checkpoint, 2) as engines:
        run = trainer(tiny_checkpoint, engines)
        run.update()
        engines[0].lives = engines[0].replies + 10  # after the canary, in the middle of the update
        update = run.update()
        assert len(update.rollouts.groups) == SMALL.groups and update.rollouts.failed == ()
        (note,) = update.notes
        assert engines[0].url in note and "it is no longer used" in note
        assert run.take_notes() == ()
        engines[0].lives = 10**9
        run.evaluate(2)
        assert run.take_notes() == (f"the engine at {engines[0].url} answers again",)


@attrs.define
class PlaysAgain:
    """Plays nothing: the episodes are those of an update before."""

    compared: Compared
    starts: tuple[()] = ()

    def play_until_enough(self, update: int, estimator: Estimator) -> Compared:
        return self.compared


def test_replies_of_other_weights_are_not_learnt_from(
    tiny_checkpoint: Path, engine: FakeEngine
) -> None:
    run = trainer(tiny_checkpoint, [engine])
    run._push_weights()
    run.player = PlaysAgain(run.player.play_until_enough(0, run.estimator))  # type: ignore[assignment]
    run.update()
    before = {name: t.clone() for name, t in run.policy.model.learned_tensors().items()}
    with pytest.raises(ModelError, match="weights of version 0, but those that learn are of ver"):
        run.update()
    after = run.policy.model.learned_tensors()
    assert all(bool((after[name] == t).all()) for name, t in before.items())


@pytest.mark.slow
def test_a_run_on_engines_from_the_command_line_and_resumed_elsewhere(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TSMG_ENGINE_KEY", "of-nobodys-business")
    run = tmp_path / "run"
    shared = tmp_path / "weights"
    with serving(tiny_checkpoint) as (engine,):
        options = [
            "--model",
            str(tiny_checkpoint),
            "--engine",
            engine.url,
            "--engine-folder",
            str(shared),
        ]
        done = told(*options, "--output", str(run))
        assert done.exit_code == 0, done.output
        assert [path.name for path in shared.iterdir()] == ["version-000002"]
        assert engine.bodies("/v1/completions")
        written = json.loads((run / "config.json").read_text())["spec"]
        assert written["engine"] == engine.url
        metrics = [line for line in lines(run / "metrics.jsonl") if "reward" in line]
        assert all(line["canary_max_deviation"] < 1e-4 for line in metrics)
        saved = TransformersModel.from_pretrained(run / "start")
        assert saved.has_adapters
    with serving(tiny_checkpoint) as (other,):
        for name in ("checkpoints/000002", "checkpoints/2"):
            _remove(run / name)
        resumed = CliRunner().invoke(main, ["train", "--resume", str(run), "--engine", other.url])
        assert resumed.exit_code == 0, resumed.output
        assert other.bodies("/v1/completions")
        assert "of-nobodys-business" not in done.output + resumed.output
        kept = [file.read_bytes() for file in run.rglob("*") if file.is_file()]
        assert kept and not any(b"of-nobodys-business" in data for data in kept)
        again = [line for line in lines(run / "metrics.jsonl") if "reward" in line]
        assert [line["update"] for line in again] == [1, 2]
    plain = tmp_path / "plain"
    assert told("--model", str(tiny_checkpoint), "--output", str(plain)).exit_code == 0
    refused = CliRunner().invoke(main, ["train", "--resume", str(plain), "--engine", "http://a:1"])
    assert refused.exit_code == 2 and "it was played without 'engine'" in refused.output


def _remove(folder: Path) -> None:
    if folder.is_dir():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--engine", "127.0.0.1:8000"), "with its scheme"),
        (("--engine", "http://me:secret@a:1"), "a key is read from TSMG_ENGINE_KEY"),
        (("--engine", "http://a:1,http://a:1"), "must name each server once"),
        (("--engine", "http://a:1", "--constrained"), "'constrained' draws along the legal"),
        (("--engine", "http://a:1", "--top-k", "3"), "leave 'top_k' or 'engine' out"),
        (("--engine", "http://a:1", "--engine-timeout", "0"), "must be above 0"),
        (("--engine", "http://a:1", "--engine-timeout", "inf"), "at most 86400"),
        (("--engine", "http://a:1", "--engine-timeout", "nan"), "must be above 0"),
        (("--engine", "http://[::1"), "must be a URL such as"),
        (("--engine-folder", "weights"), "'engine_folder' needs 'engine'"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_loaded(
    tiny_checkpoint: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    result = told("--model", str(tiny_checkpoint), "--output", str(tmp_path / "run"), *options)
    assert result.exit_code == 2 and message in result.output, result.output
    assert "secret" not in result.output and not (tmp_path / "run").exists()


def test_a_cloned_model_has_no_server() -> None:
    spec = RunSpec(engine="http://a:1")
    with pytest.raises(InvalidArgumentError, match="name the same checkpoint by 'model'"):
        spec.check()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"statuses": {"/v1/models": (404, {"detail": "Not Found"})}}, "not a completions server"),
        ({"name": "base", "url_model": "#other"}, "serves base (asked for 'other')"),
        ({"statuses": {"/v1/load_lora_adapter": (404, {})}}, "start it with --enable-lora"),
        ({"tokenizer_shift": 1}, "has another tokenizer"),
        ({"context": 8}, "do not fit the model's context of 8"),
        ({"heat": 2.0}, "does not play the policy that learns"),
    ],
)
def test_a_server_that_does_not_fit_is_refused_before_the_first_update(
    tiny_checkpoint: Path, engine: FakeEngine, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    model = change.pop("url_model", "")
    vars(engine).update(change)
    output = ["--model", str(tiny_checkpoint), "--output", str(tmp_path / "run")]
    result = told(*output, "--engine", engine.url + model)
    assert result.exit_code != 0 and message in result.output, result.output
    assert "Traceback" not in result.output
    metrics = tmp_path / "run" / "metrics.jsonl"
    assert not metrics.exists() or not lines(metrics)


def test_nobody_answers(tiny_checkpoint: Path, tmp_path: Path) -> None:
    result = told(
        "--model", str(tiny_checkpoint), "--output", str(tmp_path), "--engine", "http://127.0.0.1:9"
    )
    assert result.exit_code != 0 and "the engine at http://127.0.0.1:9 fails at" in result.output


def test_an_engine_error_is_an_error_of_models() -> None:
    assert issubclass(EngineError, ModelError)
