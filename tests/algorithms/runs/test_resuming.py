"""A run that is killed and resumed is the run that was never killed, byte for byte."""

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch

import games
from algorithms import Estimator, MSGRPOTrainer
from algorithms.errors import RunFolderError
from algorithms.method.credit import CreditRule
from algorithms.method.presets import PRESETS
from algorithms.play.matchups import AlternatingRoles
from algorithms.runs.atomic import (
    MANIFEST,
    corruption_reason,
    write_whole_file,
    write_whole_folder,
)
from algorithms.runs.checkpoints import (
    CHECKPOINTS,
    START,
    checkpoint_folder,
    remove_old_checkpoints,
    resume_point,
    save_checkpoint,
)
from algorithms.runs.state import TrainingState
from algorithms.training.parts import RunParts
from algorithms.training.past_opponents import PastOpponents
from algorithms.training.run import run_training
from algorithms.training.snapshot import load_training_state, training_state
from algorithms.training.spec import RunSpec
from lap import (
    LanguageAgentPolicy,
    LoraSettings,
    MemorylessPrompt,
    Sampling,
    TabularModel,
    WholeReplyParser,
)
from lap.testing.report import perturb
from tests.own_rules import MovingAverage, last_reply
from tests.runs import SMALL_RUN
from tests.whole_runs import CONFIG, RUN, contents, lap_policy, lines, run
from tsmg import PlayRandomLegal, with_invalid_rule


class Killed(BaseException):
    """What no handler of an error may catch, as nothing catches a SIGKILL."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing happened to."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    run(folder)
    return folder


def kill_at(patch: pytest.MonkeyPatch, number: int) -> list[str]:
    """Die at the so-manieth write, synchronisation, removal or renaming; returns the list of what was done."""
    done: list[str] = []

    def counted(name: str, function: Any) -> Any:
        def completion(*arguments: Any, **named: Any) -> Any:
            if len(done) == number:
                raise Killed
            done.append(name)
            return function(*arguments, **named)

        return completion

    from algorithms.runs import state
    from algorithms.runs import writer as tracking

    patch.setattr(os, "fsync", counted("fsync", os.fsync))
    patch.setattr(Path, "rename", counted("rename", Path.rename))
    patch.setattr(Path, "replace", counted("replace", Path.replace))
    patch.setattr(Path, "write_text", counted("write_text", Path.write_text))
    patch.setattr(shutil, "rmtree", counted("rmtree", shutil.rmtree))
    patch.setattr(state, "save_file", counted("save_file", state.save_file))
    patch.setattr(json, "dumps", counted("dumps", json.dumps))
    patch.setattr(tracking.RunFolder, "write", counted("line", tracking.RunFolder.write))
    return done


def test_what_a_run_does(whole: Path) -> None:
    records = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert len({record.get("grad_norm") for record in records}) > 4  # something is learnt
    names = sorted(path.name for path in (whole / CHECKPOINTS).iterdir())
    assert names == ["best", "update-000004", "update-000005"]
    assert all(corruption_reason(folder) is None for folder in (whole / CHECKPOINTS).iterdir())
    assert LanguageAgentPolicy.from_pretrained(checkpoint_folder(whole, 5)).model
    best = max(r["eval/reward"] for r in records if "eval/reward" in r)
    assert best > records[0]["eval/reward"]  # so that the best policy was written more than once


@pytest.mark.slow
def test_the_best_policy_is_that_of_the_best_evaluation(whole: Path, tmp_path: Path) -> None:
    run(tmp_path / "all", settings=attrs.evolve(RUN, keep_checkpoints=9))
    rewards = {
        int(m["update"]): m["eval/reward"]
        for m in reversed(lines(tmp_path / "all" / "metrics.jsonl"))
        if "eval/reward" in m
    }
    first = max(reversed(rewards), key=lambda update: rewards[update])
    wanted = contents(checkpoint_folder(tmp_path / "all", first))["model.safetensors"]
    for folder in (tmp_path / "all", whole):
        assert contents(folder / CHECKPOINTS / "best")["model.safetensors"] == wanted
    run(tmp_path / "none", settings=attrs.evolve(RUN, keep_best=False))
    assert not (tmp_path / "none" / CHECKPOINTS / "best").exists()


@pytest.fixture(scope="module")
def operations(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """All that a whole run does to the disk."""
    with pytest.MonkeyPatch.context() as patch:
        done = kill_at(patch, 10**9)
        run(tmp_path_factory.mktemp("runs") / "counted")
    return done


def resumed(folder: Path) -> dict[str, bytes]:
    """What a killed run leaves once it was gone on with."""
    random.seed(1)  # a run does not depend on global generators
    np.random.seed(2)  # noqa: NPY002
    torch.manual_seed(3)
    run(folder, resume=(folder / "config.json").exists())
    return contents(folder)


def killed(folder: Path, number: int, *, resume: bool = False) -> None:
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, number)
        with pytest.raises(Killed):
            run(folder, resume=resume)


@pytest.mark.parametrize(
    "point",
    [
        0.35,
        0.8,
        *(pytest.param(p, marks=pytest.mark.slow) for p in (0.0, 0.06, 0.2, 0.5, 0.65, 0.95)),
    ],
)
def test_a_killed_run_resumes_bit_for_bit(
    point: float, whole: Path, operations: list[str], tmp_path: Path
) -> None:
    killed(tmp_path, int(point * len(operations)))
    assert resumed(tmp_path) == contents(whole)


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again(
    whole: Path, operations: list[str], tmp_path: Path
) -> None:
    killed(tmp_path, len(operations) // 2)
    for number in (3, 40, 70, 20):
        killed(tmp_path, number, resume=True)
    assert resumed(tmp_path) == contents(whole)
    assert resumed(tmp_path) == contents(
        whole
    )  # a complete run evaluates once more, and is the same


def test_without_the_optimisers_memory_it_would_be_another_run(
    whole: Path, operations: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from algorithms.training import snapshot

    killed(tmp_path, int(0.6 * len(operations)))
    monkeypatch.setattr(snapshot, "load_optimizer_state", lambda optimizer, state: None)
    assert resumed(tmp_path)["metrics.jsonl"] != contents(whole)["metrics.jsonl"]


# ---- one checkpoint


STATES = [
    TrainingState(tensors={"w": torch.full((3,), float(n))}, values={"update": n}) for n in range(3)
]


def saved(folder: Path, update: int) -> None:
    def save_policy(place: Path) -> None:
        (place / "part").mkdir()
        (place / "part" / "policy.json").write_text(f"policy {update}")

    save_checkpoint(folder, update, save_policy=save_policy, training=STATES[update], lines={})
    remove_old_checkpoints(folder, update=update, keep=1)


def test_a_checkpoint_that_dies_at_any_point_leaves_a_whole_one(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        done = kill_at(patch, 10**9)
        saved(tmp_path / "counted", 1)
    assert {"fsync", "rename", "save_file", "write_text"} <= set(done)
    seen = []
    for number in range(len(done) + 1):  # the last one: while the old checkpoint is removed
        folder = tmp_path / str(number)
        saved(folder, 1)
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, number)
            with pytest.raises(Killed):
                saved(folder, 2)
        point = resume_point(folder)
        assert point.skipped == ()
        assert float(point.training.tensors["w"][0]) == point.update
        seen.append(point.update)
        saved(folder, 2)  # what was left of the first attempt is not in the way
        assert resume_point(folder).update == 2
        assert [one.name for one in (folder / CHECKPOINTS).iterdir()] == ["update-000002"]
    assert seen == sorted(seen) and set(seen) == {1, 2}


def test_what_is_replaced_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    folder, work = tmp_path / "best", tmp_path / ".unfinished-best"

    def write(text: str) -> None:
        write_whole_folder(folder, lambda place: (place / "policy").write_text(text) and None)

    write("old")
    with pytest.MonkeyPatch.context() as patch:
        total = len(killing_write(patch, 10**9, write))
    for number in range(total):
        write("old")
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            killing_write(patch, number, write)
        assert corruption_reason(folder) is None or corruption_reason(work) is None


def killing_write(patch: pytest.MonkeyPatch, number: int, write: Any) -> list[str]:
    done = kill_at(patch, number)
    write("new")
    return done


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))


HARMS = {
    "cut": (
        lambda f: os.truncate(f / "training.safetensors", 40),
        "training.safetensors has 40 bytes instead of",
    ),
    "flipped": (
        lambda f: flip(f / "training.safetensors"),
        "training.safetensors is not what was written",
    ),
    "missing": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
    "bare": (lambda f: (f / MANIFEST).unlink(), "manifest.json is missing or malformed"),
    "foolish": (lambda f: (f / MANIFEST).write_text("[]"), "manifest.json is missing or malformed"),
    "lines": (
        lambda f: os.truncate(f.parent.parent / "metrics.jsonl", 9),
        "metrics.jsonl has 9 bytes, but had",
    ),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_checkpoint_that_is_not_whole_is_skipped_with_its_reason(
    harm: str, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    do, reason = HARMS[harm]
    do(checkpoint_folder(folder, 5))
    heard = run(folder, resume=True)
    update = 0 if harm == "lines" else 4  # both checkpoints need more lines than there are
    assert f"resumed after update {update}" in heard
    assert any(f"update-000005: {reason}" in text for text in heard)
    assert contents(folder) == contents(whole)


def test_all_checkpoints_lost_begins_again(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    shutil.rmtree(folder / CHECKPOINTS)
    assert "resumed after update 0" in run(folder, resume=True)
    assert contents(folder) == contents(whole)


def test_only_json_and_safetensors_are_read(whole: Path) -> None:
    kinds = {path.suffix for path in whole.rglob("*") if path.is_file()}
    assert kinds <= {".json", ".jsonl", ".safetensors", ".png", ".jinja", ".txt"}


def test_how_many_checkpoints_stay(tmp_path: Path) -> None:
    for update in (1, 2, 3, 10):
        checkpoint_folder(tmp_path, update).mkdir(parents=True)
    remove_old_checkpoints(tmp_path, update=3, keep=2)
    names = sorted(path.name for path in (tmp_path / CHECKPOINTS).iterdir())
    assert names == ["update-000002", "update-000003", "update-000010"]
    write_whole_folder(tmp_path / START, lambda place: None)
    assert corruption_reason(tmp_path / START) is None


# ---- what is refused


def test_other_settings_and_other_policies_are_refused(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    before = contents(folder)
    with pytest.raises(RunFolderError, match=r"'algorithm.seed' is 0 in .* \(got 7\)"):
        run(folder, resume=True, config=attrs.evolve(CONFIG, seed=7))
    with pytest.raises(RunFolderError, match=r"'run.checkpoint_every' is 2"):
        run(folder, resume=True, settings=attrs.evolve(RUN, checkpoint_every=3))
    with pytest.raises(RunFolderError, match="must be the one that the saved training started"):
        run(folder, resume=True, seed=1)
    with pytest.raises(RunFolderError, match="already holds a run"):
        run(folder)
    with pytest.raises(RunFolderError, match=r"no run in .*no config.json"):
        run(tmp_path / "nowhere", resume=True)
    assert contents(folder) == before


def test_two_processes_cannot_write_one_run(whole: Path, tmp_path: Path) -> None:
    from algorithms.runs.writer import RunFolder

    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    with RunFolder(folder, kept=resume_point(folder).lines):
        before = contents(folder)
        with pytest.raises(RunFolderError, match="another process writes to it"):
            run(folder, resume=True)
        assert contents(folder) == before
    run(folder, resume=True)
    assert contents(folder) == contents(whole)


# ---- the trainer's state


def tabular() -> LanguageAgentPolicy[TabularModel]:
    return LanguageAgentPolicy(
        prompt=MemorylessPrompt(with_rules=False),
        model=TabularModel(("heads", "tails"), capacity=50),
        parser=WholeReplyParser(),
        sampling=Sampling(max_reply_tokens=2),
    )


def trainer(policy: Any, **past: int) -> MSGRPOTrainer:
    first = policy["row"] if isinstance(policy, dict) else policy
    return MSGRPOTrainer(
        game=games.make("MatchingPennies-v0"),
        policy=policy,
        config=attrs.evolve(SMALL_RUN, updates=8, kl_coefficient=0.1),
        matchups=AlternatingRoles(PastOpponents(first, **past)) if past else None,
    )


def test_a_run_with_rules_that_a_program_passes_is_resumed_with_the_same_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule has a state; the run is killed before its third update."""
    game = with_invalid_rule(games.make("LineWalk-v0", horizon=8), PlayRandomLegal(penalty=0.1))

    def go(name: str, rule: CreditRule, *, resume: bool = False) -> None:
        run_training(
            RunSpec(algorithm=CONFIG, run=attrs.evolve(RUN, checkpoint_every=1)),
            tmp_path / name,
            parts=RunParts(
                training_game=game,
                evaluation_game=game,
                policy=lap_policy(0),
                estimator=Estimator.of(CONFIG, game.facts, credit=rule),
            ),
            resume=resume,
        )

    go("whole", MovingAverage())
    update, done = MSGRPOTrainer.update, []

    def dies(self: MSGRPOTrainer) -> Any:
        if len(done) == 2:
            raise Killed
        done.append(1)
        return update(self)

    with monkeypatch.context() as patch:
        patch.setattr(MSGRPOTrainer, "update", dies)
        with pytest.raises(Killed):
            go("killed", MovingAverage())
    with pytest.raises(RunFolderError, match="credit"):
        go("killed", last_reply, resume=True)
    go("killed", MovingAverage(), resume=True)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_what_a_rule_remembers_is_part_of_the_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fresh() -> MSGRPOTrainer:
        made = trainer(tabular())
        own = attrs.evolve(made.config, credit="tests.own_rules:MovingAverage")
        made.estimator = Estimator.of(own, made.game.facts)
        return made

    one = fresh()
    for _ in range(3):
        one.update()
    training_state(one).save(tmp_path)
    rest = [one.update().metrics for _ in range(3)]
    other, forgetful = fresh(), fresh()
    load_training_state(other, TrainingState.load(tmp_path))
    assert other.estimator.state() != forgetful.estimator.state()
    assert [other.update().metrics for _ in range(3)] == rest
    monkeypatch.setattr(MovingAverage, "load_state", lambda self, state: None)
    load_training_state(forgetful, TrainingState.load(tmp_path))
    assert [forgetful.update().metrics for _ in range(3)] != rest
    with pytest.raises(RunFolderError, match="the saved state must be that of the rules"):
        load_training_state(trainer(tabular()), TrainingState.load(tmp_path))


@pytest.mark.parametrize("past", [{}, {"every": 1, "size": 2}, {"every": 3, "size": 5}])
@pytest.mark.parametrize("own", [False, True])
def test_a_trainer_goes_on_from_a_saved_state(
    past: dict[str, int], own: bool, tmp_path: Path
) -> None:
    def fresh() -> MSGRPOTrainer:
        return trainer({"row": tabular(), "column": tabular()} if own else tabular(), **past)

    one = fresh()
    for _ in range(4):
        one.update()
    training_state(one).save(tmp_path)
    rest = [one.update().metrics for _ in range(4)]
    other = fresh()
    load_training_state(other, TrainingState.load(tmp_path))
    assert [other.update().metrics for _ in range(4)] == rest
    (tmp_path / "end").mkdir()
    training_state(other).save(tmp_path / "end")
    training_state(one).save(tmp_path)
    for name in ("training.safetensors", "training.json"):
        assert (tmp_path / "end" / name).read_bytes() == (tmp_path / name).read_bytes()


@pytest.mark.parametrize("name", ["rae", "riskpo"])
def test_what_a_method_remembers_is_part_of_the_state(name: str, tmp_path: Path) -> None:
    """And without it the run would go on otherwise."""

    def fresh() -> MSGRPOTrainer:
        config = attrs.evolve(SMALL_RUN, updates=6, **PRESETS[name].settings)
        return MSGRPOTrainer(game=games.make("MatchingPennies-v0"), policy=tabular(), config=config)

    one = fresh()
    for _ in range(3):
        one.update()
    training_state(one).save(tmp_path)
    rest = [one.update().metrics for _ in range(3)]
    other, forgetful = fresh(), fresh()
    for trainer in (other, forgetful):
        load_training_state(trainer, TrainingState.load(tmp_path))
    assert [other.update().metrics for _ in range(3)] == rest
    assert other.estimator.state() == one.estimator.state()
    forgetful.estimator.load_state(fresh().estimator.state())
    assert [forgetful.update().metrics for _ in range(3)] != rest


def test_past_selves_are_part_of_the_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = trainer(tabular(), every=1, size=3)
    for _ in range(4):
        one.update()
    training_state(one).save(tmp_path)
    rest = [one.update().metrics for _ in range(4)]
    forgetful = trainer(tabular(), every=1, size=3)
    monkeypatch.setattr(PastOpponents, "load_state", lambda self, state: None)
    load_training_state(forgetful, TrainingState.load(tmp_path))
    assert [forgetful.update().metrics for _ in range(4)] != rest


@pytest.mark.parametrize("file", ["training.safetensors", "training.json"])
def test_a_malformed_state_is_one_sentence(file: str, tmp_path: Path) -> None:
    training_state(trainer(tabular())).save(tmp_path)
    (tmp_path / file).write_bytes(b"\x80no")
    with pytest.raises(RunFolderError, match="no training can be loaded"):
        TrainingState.load(tmp_path)


def test_a_state_of_another_network_is_refused(tmp_path: Path) -> None:
    from algorithms.runs.state import load_model_state, model_state

    small, large = TabularModel(("a",), capacity=3), TabularModel(("a",), capacity=4)
    with pytest.raises(RunFolderError, match=r"'logits' is \(4, 2\), .* \(here \(3, 2\)"):
        load_model_state(small, model_state(large))
    with pytest.raises(RunFolderError, match="no part 'none'"):
        training_state(trainer(tabular())).part("none")


@pytest.mark.parametrize(
    "tells", ["torch.backends.cpu.get_cpu_capability", "platform.python_version"]
)
def test_a_run_that_goes_on_elsewhere_says_that_numbers_may_differ(
    tells: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    differs = "other versions or on another machine"
    shutil.copytree(whole, tmp_path / "run")
    assert differs not in " ".join(run(tmp_path / "run", resume=True))
    monkeypatch.setattr(tells, lambda: "another")
    assert differs in " ".join(run(tmp_path / "run", resume=True))


@pytest.mark.slow
@pytest.mark.parametrize("learnt", [False, True], ids=["fresh", "learnt"])
def test_a_run_that_learns_adapters_is_resumed_and_keeps_little(
    tmp_path: Path, learnt: bool
) -> None:
    """Checkpoints hold the adapters, not the weights below them; other weights below are noticed.

    So are, where the adapters had learnt something before the run, other adapters.
    """

    def adapted(seed: int = 0) -> Any:
        policy = lap_policy(0 if learnt else seed)
        policy = attrs.evolve(policy, model=policy.model.with_lora(LoraSettings(r=2)))
        for _ in range(seed + 1 if learnt else 0):
            perturb(policy.model)
        return policy

    run(tmp_path / "whole", policy=adapted())
    update = MSGRPOTrainer.update

    def dying(self: MSGRPOTrainer) -> Any:
        if self.update_index == 3:
            raise Killed
        return update(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MSGRPOTrainer, "update", dying)
        with pytest.raises(Killed):
            run(tmp_path / "killed", policy=adapted())
    with pytest.raises(RunFolderError, match="'policy' must be the one"):
        run(tmp_path / "killed", policy=adapted(seed=1), resume=True)
    run(tmp_path / "killed", policy=adapted(), resume=True)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    training = TrainingState.load(checkpoint_folder(tmp_path / "whole", 5)).part("training")
    assert training.part("learner0").tensors
    assert all(".lora_" in name for name in training.part("learner0").tensors)


@pytest.mark.parametrize(
    "deadly", [5, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 4, 8))]
)
def test_a_tracker_is_told_of_every_record_once(tmp_path: Path, deadly: int) -> None:
    """It dies when it is about to be told; what came between the checkpoint and this is not told again."""
    told: list[tuple[int, bool]] = []

    def track(metrics: Any, update: int) -> None:
        if len(told) == deadly:
            raise Killed
        told.append((update, "reward" in metrics))

    folder = tmp_path / "run"
    with pytest.raises(Killed):
        run(folder, track=track)
    deadly = -1
    run(folder, track=track, resume=True)
    assert told == [
        (int(line["update"]), "reward" in line) for line in lines(folder / "metrics.jsonl")
    ]
    assert len(set(told)) == len(told)


def test_two_processes_that_write_one_file_do_not_meet(tmp_path, monkeypatch):
    """The second one writes while the first one has not renamed its file yet."""
    file, replace = tmp_path / "kept.json", Path.replace

    def meanwhile(self, target):
        monkeypatch.setattr(Path, "replace", replace)
        monkeypatch.setattr("os.getpid", lambda: 1)
        write_whole_file(file, "second")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", meanwhile)
    write_whole_file(file, "first")
    assert file.read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["kept.json"]
