"""Several processes come to the update that one comes to, write one run folder, and stop and go on together."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.utils import DistributedType
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

import games
from algorithms import MSGRPOConfig, MSGRPOTrainer
from algorithms.distributed.processes import ALONE, Processes, _buckets, make_accelerator
from algorithms.distributed.sharding import Sharding, shardable
from algorithms.method.batch import TrainingRow, part_of_rows
from algorithms.play.matchups import AlternatingRoles
from algorithms.training.past_opponents import PastOpponents
from lap import TabularModel
from tests import processes_side
from tests.whole_runs import contents, lines
from tsmg import Completion, InvalidArgumentError


def launch(count: int, *arguments: object) -> None:
    """Start so many processes of ``tests.processes_side`` on the CPU, and wait for them."""
    torchrun = ("torch.distributed.run", "--standalone", "--nproc_per_node", str(count))
    command = [sys.executable, "-m", *torchrun, "-m", "tests.processes_side", *map(str, arguments)]
    ended = subprocess.run(
        command,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,  # processes that do not make as many passes wait for ever
    )
    assert ended.returncode == 0, ended.stderr[-3000:]


def about(line, tolerance):
    """A line of metrics up to rounding; what is not defined stays so."""
    return {
        name: None if value is None else pytest.approx(value, rel=tolerance, abs=tolerance)
        for name, value in line.items()
    }


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The file of the episodes of each case, and what one process learns from them."""
    episodes, alone = {}, {}
    for name, case in processes_side.CASES.items():
        trainer = processes_side.trainer_of(**case)
        episodes[name] = processes_side.record(trainer)
        alone[name] = processes_side.learnt(trainer, episodes[name])
    file = tmp_path_factory.mktemp("recorded") / "episodes.pickle"
    file.write_bytes(pickle.dumps(episodes))
    return file, alone


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["none", "fsdp"])
@pytest.mark.parametrize("count", [2, 4])
def test_as_many_processes_as_you_like_give_the_same_gradient_and_weights(
    tmp_path, recorded, count, sharding
):
    episodes, alone = recorded
    file = tmp_path / "learnt.json"
    launch(count, "learn", file, "--sharding", sharding, "--recorded", episodes)
    found = json.loads(file.read_text())
    left_out = processes_side.WHOLE_LAYERS if sharding == "fsdp" else set()
    assert found.keys() == alone.keys() - left_out
    for case, ours in found.items():
        apart = processes_side.differences(ours, alone[case])
        assert apart["gradient"] <= 1e-5 and apart["moved"] <= 1e-5
        assert (apart["distance"] == 0) == (case == "no signal")
        for line, other in zip(ours["metrics"], alone[case]["metrics"], strict=True):
            assert line == about(other, 1e-4)


@pytest.mark.slow
def test_a_run_of_two_processes_is_one_run_and_goes_on_after_a_signal_to_either(tmp_path):
    unsharded, stopped, divided = (tmp_path / n / "run" for n in ("whole", "stopped", "divided"))
    for folder in (unsharded, stopped, divided):
        folder.parent.mkdir()
    launch(2, "run", unsharded)
    heard = processes_side.run(tmp_path / "alone", resume=False)
    assert (unsharded.parent / "heard-0.txt").read_text() == heard
    assert (unsharded.parent / "heard-1.txt").read_text() == ""
    for line, other in zip(
        lines(unsharded / "metrics.jsonl"), lines(tmp_path / "alone" / "metrics.jsonl"), strict=True
    ):
        assert line == about(other, 1e-3)
    assert lines(unsharded / "evaluations.jsonl") == lines(tmp_path / "alone" / "evaluations.jsonl")

    launch(2, "run", stopped, "--stop-after", 3)  # a signal to the second process, not to the first
    for n in (0, 1):
        said = (stopped.parent / f"heard-{n}.txt").read_text()
        assert "stopped by SIGTERM after update 3, with a checkpoint" in said
    launch(2, "run", stopped, "--resume")
    assert contents(stopped) == contents(unsharded)

    # divided moments are the same numbers, and are whole again in checkpoints
    launch(2, "run", divided, "--sharding", "zero1", "--stop-after", 3)
    launch(2, "run", divided, "--sharding", "zero1", "--resume")
    assert but_for_config(contents(divided)) == but_for_config(contents(unsharded))
    all_moments = held_by(unsharded, 0)
    shares = [held_by(divided, n) for n in (0, 1)]
    assert held_by(unsharded, 1) == all_moments == sum(shares) and max(shares) < 0.6 * all_moments


@pytest.mark.slow
def test_divided_weights_are_whole_again_in_what_is_written(tmp_path):
    """A run that was stopped goes on bit for bit; figures and policies are those of one process, up to rounding."""
    unsharded, stopped = (tmp_path / n / "run" for n in ("whole", "stopped"))
    for folder in (unsharded, stopped):
        folder.parent.mkdir()
    launch(2, "run", unsharded, "--sharding", "fsdp")
    launch(2, "run", stopped, "--sharding", "fsdp", "--stop-after", 3)
    launch(2, "run", stopped, "--sharding", "fsdp", "--resume")
    assert contents(stopped) == contents(unsharded)
    processes_side.run(tmp_path / "alone", resume=False)
    for line, other in zip(
        lines(unsharded / "metrics.jsonl"), lines(tmp_path / "alone" / "metrics.jsonl"), strict=True
    ):
        assert line == about(other, 1e-3)
    place = Path("checkpoints") / "update-000005"
    ours, theirs = (
        load_file(run / place / "model.safetensors") for run in (unsharded, tmp_path / "alone")
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-4) for name in theirs)
    configs = [(run / place / "config.json").read_text() for run in (unsharded, tmp_path / "alone")]
    assert configs[0] == configs[1]
    shares = [held_by(unsharded, n) for n in (0, 1)]
    moments = 2 * sum(weight.numel() for weight in theirs.values())
    assert max(shares) < 0.9 * moments  # of layers half each, of the rest all


def but_for_config(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if name != "config.json"}


def held_by(folder: Path, process: int) -> int:
    """How many moments a process held after its last update."""
    return int((folder.parent / f"held-{process}.txt").read_text())


# ---- shares


def row(prompt: int, reply: int) -> TrainingRow:
    completion = Completion(
        prompt_ids=(1,) * prompt,
        reply_ids=(2,) * reply,
        trainable=(True,) * reply,
        logprobs=(0.0,) * reply,
        finished=True,
        prompt_text="",
        reply_text="",
        model_id="",
        weights_version=0,
    )
    return TrainingRow(agent="a", completion=completion, advantage=1.0, weight=1.0)


@given(
    sizes=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 9)), max_size=40),
    parts=st.integers(1, 7),
)
def test_rows_are_dealt_whole_in_order_and_about_evenly(sizes, parts):
    rows = [row(*size) for size in sorted(sizes)]
    dealt = [part_of_rows(rows, part, parts) for part in range(parts)]
    assert [one for part in dealt for one in part] == rows

    def tokens(some):
        unlike = {(one.completion.prompt_ids, one.completion.reply_ids) for one in some}
        return sum(map(len, {p for p, _ in unlike})) + sum(len(r) for _, r in unlike)

    if rows:
        largest = max(
            len(one.completion.prompt_ids) + len(one.completion.reply_ids) for one in rows
        )
        assert max(map(tokens, dealt)) <= tokens(rows) / parts + 2 * largest


@given(items=st.lists(st.integers()), count=st.integers(1, 5))
def test_every_item_is_one_processs(items, count):
    shares = [Processes(index=n, count=count).scatter(items) for n in range(count)]
    assert sorted(x for share in shares for x in share) == sorted(items)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_gradients_are_summed_in_buckets_of_one_type(monkeypatch):
    monkeypatch.setattr("algorithms.distributed.processes._BUCKET", 10)
    made = [torch.nn.Parameter(torch.zeros(n)) for n in (4, 4, 4, 20)]
    made.append(torch.nn.Parameter(torch.zeros(2, dtype=torch.float64)))
    assert [[p.numel() for p in bucket] for bucket in _buckets(made)] == [[4, 4], [4], [20], [2]]
    ALONE.sum_gradients(made)
    assert all(p.grad is None for p in made)


@pytest.mark.parametrize("kind", ["FSDP", "DEEPSPEED", "MEGATRON_LM"])
def test_a_launcher_that_divides_weights_is_refused(monkeypatch, kind):
    """Before anything is played: it would wait for ever in the first learning pass."""

    class Launched:
        distributed_type = DistributedType(kind)
        num_processes = 2

        def __init__(self, **named):
            pass

    monkeypatch.setattr("algorithms.distributed.processes.Accelerator", Launched)
    with pytest.raises(InvalidArgumentError, match=f"does not support {kind}"):
        make_accelerator()


def test_what_cannot_be_sharded_is_refused(monkeypatch):
    with pytest.raises(InvalidArgumentError, match="a network with layers"):
        shardable(TabularModel(("1", "2"), capacity=1))
    two = Processes(index=0, count=2)
    monkeypatch.setattr(Processes, "of", lambda accelerator: two)
    policy = processes_side.policy_of(0)
    with pytest.raises(InvalidArgumentError, match="opponents from the past"):
        MSGRPOTrainer(
            game=games.make("TicTacToe-v0"),
            policy=policy,
            config=MSGRPOConfig(sharding="fsdp"),
            matchups=AlternatingRoles(PastOpponents(policy)),
        )


@pytest.mark.parametrize("replies", [(3, 1), ()])
def test_processes_that_share_layers_make_as_many_passes(monkeypatch, replies):
    """What another process has more is made up for by batches that add nothing."""
    rows = [row(2, reply) for reply in replies]
    sharding = Sharding("none")
    assert sharding.micro_batches(rows, 3) == [[each] for each in rows]
    monkeypatch.setattr(Processes, "of", lambda accelerator: Processes(index=0, count=2))
    sharding = Sharding("fsdp")
    other = (3, [row(5, 2)])
    monkeypatch.setattr(Processes, "gather", lambda self, items: [*items, other])
    batches = sharding.micro_batches(rows, 3)
    assert batches[: len(rows)] == [[each] for each in rows] and len(batches) == 3
    for (padding,) in batches[len(rows) :]:
        assert padding.weight == 0 and not any(padding.completion.trainable)
        assert padding.completion.prompt_ids == (rows or other[1])[0].completion.prompt_ids


def test_alone_nothing_is_sent():
    assert ALONE.gather(iter([1, 2])) == [1, 2] and ALONE.broadcast("x") == "x" and ALONE.is_first


def test_files_of_a_process_that_does_not_write_are_none(tmp_path: Path):
    from algorithms.runs.writer import NullRunFolder

    with NullRunFolder(tmp_path / "run") as files:
        files.write_config({})
        files.write("metrics.jsonl", {})
        assert files.sync() == {} and not files.path.exists()
