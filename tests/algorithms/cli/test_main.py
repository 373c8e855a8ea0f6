"""The command line: bad arguments end in one sentence and exit code 2, before anything slow starts."""

import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys

import click
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from algorithms.cli.__main__ import run as run_process
from algorithms.cli.main import main
from lap import LanguageAgentPolicy, Sampling, policy
from tests.checkpoints import tiny_model
from tests.letter_model import LetterModel
from tests.whole_runs import contents, lines


def run(*arguments, input=None):
    return CliRunner().invoke(main, arguments, input=input)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "--game", "FrozenLaek-v0"], "did you mean 'FrozenLake-v0'"),
        (["train", "--game", "no_such_module:Game"], "cannot load the game"),
        (["train", "--kept-episodes", "17"], "'kept_episodes' must be at most 'group_size'"),
        (["train", "--group-size", "1"], "'group_size' must be at least 2"),
        (["train", "--horizon", "0"], "'horizon' must be at least 1"),
        (["train", "--set", "horizon=0"], "'horizon' must be an integer of at least 1"),
        (["train", "--temperature", "-1"], "'temperature' must be above 0"),
        (["evaluate", "--temperature", "-1"], "-1"),
        (["train", "--model", "./nowhere"], "no checkpoint at './nowhere'"),
        (["evaluate", "--model", "/no/such/folder"], "no checkpoint at '/no/such/folder'"),
        (["train", "--model", "/no/such/file.gguf"], "no file at '/no/such/file.gguf'"),
        (["evaluate", "--model", __file__], "is not a GGUF file"),
        (["train", "--chat"], "no chat template"),
        (["train", "--dtype", "mixed"], "a behaviour-cloned model is small and of float32"),
        (
            ["evaluate", "--model", "http://localhost/v1#m", "--dtype", "bfloat16"],
            "an endpoint has its own data type; leave 'dtype' out",
        ),
        (["train", "--set", "size"], "--set takes NAME=VALUE"),
        (["train", "--set", "size=1"], "'size' must be an integer of at least 2"),
        (["train", "--set", "colour=red"], "colour"),
        (["train", "--held-out", "1.5"], "'held_out' must be in (0, 1)"),
        (["train", "--sampling", "best"], "best"),
        (["train", "--resume", "./nowhere"], "no run in 'nowhere' (there is no config.json)"),
        (["train", "--opponent", "uniform"], "a game of several agents"),
        (["train", "--game", "KuhnPoker-v0", "--opponent", "scripted"], "no scripted player"),
        (["train", "--game", "KuhnPoker-v0", "--opponent", "./nobody"], "no saved policy"),
        (["train", "--game", "KuhnPoker-v0", "--role", "first"], "'role' needs an 'opponent'"),
        (
            ["train", "--game", "KuhnPoker-v0", "--opponent", "past", "--role", "third"],
            "'role' must be one of first, second",
        ),
        (["play", "--game", "nothing"], "no game is registered as 'nothing'"),
        (["play", "--held-out", "0.5"], "--held-out"),
        (
            [
                *["evaluate", "--game", "KuhnPoker-v0", "--opponent", "past", "--model"],
                "http://localhost/v1#m",
            ],
            "an endpoint has no past copies: choose another 'opponent'",
        ),
    ],
)
def test_one_sentence_and_exit_code_2(arguments, sentence):
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert sentence in " ".join(result.output.split())
    assert "Traceback" not in result.output


def test_a_model_without_a_chat_template_is_refused(tmp_path):
    tiny_model("plain").save_pretrained(tmp_path)
    result = run("evaluate", "--model", str(tmp_path), "--chat", "--episodes", "1")
    assert result.exit_code == 2
    assert "no chat template" in result.output


@pytest.mark.parametrize(
    "arguments",
    [["--kept-episodes", "99"], ["--game", "KuhnPoker-v0", "--opponent", "./nobody"]],
)
def test_refusals_do_not_wait_for_torch(arguments):
    code = (
        "import sys; from click.testing import CliRunner; from algorithms.cli.main import main;"
        f"r = CliRunner().invoke(main, ['train', *{arguments}]);"
        "assert r.exit_code == 2, r.output; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_every_option_has_help():
    for command in main.commands.values():
        assert command.help
        for option in command.params:
            if isinstance(option, click.Option):  # click has no help for arguments
                assert option.help, (command.name, option.name)


def test_games_are_listed_with_one_line_each():
    lines = run("games").output.splitlines()
    assert any(line.startswith("FrozenLake-v0 ") and len(line) > 30 for line in lines)


def test_a_person_plays_through_the_same_texts():
    """Rules once, then observations; a wrong word is answered, and the game goes on."""
    moves = "\n".join(["jump", "\x1b[31mdown", *["down", "right"] * 6])
    result = run("play", "--set", "map=['SF','FG']", input=moves + "\n")
    assert result.exit_code == 0, result.output
    assert result.output.count("You cross a frozen lake") == 1
    assert "named no legal action: illegal" in result.output
    assert "You reached the goal." in result.output
    assert "terminated, return 1, penalties -0.2 for 2 invalid" in result.output


def test_a_checkpoint_takes_the_same_road_as_the_seed_model(tmp_path):
    """``--model`` with any local checkpoint: train two updates, evaluate what was saved."""
    tiny_model("chatml", sharp=3.0).save_pretrained(tmp_path / "model")
    output = tmp_path / "run"
    arguments = ("--updates", "2", "--groups", "2", "--group-size", "4", "--kept-episodes", "2")
    small = ("--final-episodes", "3", "--max-reply-tokens", "3", "--horizon", "2")
    result = run(
        "train", "--model", str(tmp_path / "model"), "--output", str(output), *arguments, *small
    )
    assert result.exit_code == 0, result.output
    assert "exact optimum of the same starts" in result.output
    assert (output / "curve.png").is_file()
    checkpoint = str(output / "checkpoints" / "update-000002")
    again = run("evaluate", "--model", checkpoint, "--episodes", "3", "--horizon", "2")
    assert again.exit_code == 0, again.output
    assert "3 episodes" in again.output
    taken = run("train", "--model", checkpoint, "--output", str(output))
    assert taken.exit_code == 2
    assert "already holds a run" in taken.output


SHORT = (
    "--no-chat --held-out 0 --updates 4 --groups 2 --group-size 4 --kept-episodes 2 --final-episodes 3 "
    "--evaluation-episodes 3 --checkpoint-every 2 --max-reply-tokens 3 --horizon 2 --threads 1"
)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """Folders of a run, and of the same run when it was sent a SIGTERM; and the result of that."""
    from algorithms import MSGRPOTrainer

    folder = tmp_path_factory.mktemp("runs")
    tiny_model(sharp=3.0).save_pretrained(folder / "model")
    begin = ("train", "--model", str(folder / "model"), *SHORT.split())
    assert run(*begin, "--output", str(folder / "whole")).exit_code == 0
    learn = MSGRPOTrainer.update

    def signalled(self):
        if self.update_index == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return learn(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MSGRPOTrainer, "update", signalled)
        result = run(*begin, "--output", str(folder / "cut"))
    return folder, result


def test_a_signal_ends_with_a_line_that_says_how_to_resume(interrupted):
    folder, result = interrupted
    assert result.exit_code == 128 + signal.SIGTERM
    last = result.output.strip().splitlines()[-1]
    assert "stopped by SIGTERM after update 3" in last
    assert last.endswith(f"tsmg train --resume {folder / 'cut'}")
    assert "Traceback" not in result.output


def test_a_resumed_command_needs_nothing_but_the_folder(interrupted, tmp_path):
    folder, _ = interrupted
    there = tmp_path / "elsewhere"  # neither the run nor its model is where it was
    shutil.copytree(folder / "cut", there)
    (folder / "model").rename(folder / "gone")
    try:
        result = run("train", "--resume", str(there), "--updates", "4")
    finally:
        (folder / "gone").rename(folder / "model")
    assert result.exit_code == 0, result.output
    assert "resumed after update 3" in " ".join(result.output.split())
    found, wanted = contents(there), contents(folder / "whole")
    shared = {name for name in wanted if "update-000002" not in name}  # given up for the signal's
    assert {name: found.get(name) for name in shared} == {name: wanted[name] for name in shared}
    before = json.loads((there / "metrics.jsonl").read_text().splitlines()[0])
    assert f"before  sampled: return {before['eval/reward']:.3f}" in result.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--updates", "9"], "keeps its settings: 'algorithm.updates' is 4 in"),
        (["--game", "KuhnPoker-v0"], "keeps its settings: 'game.id' is 'FrozenLake-v0' in"),
        (["--set", "size=5"], "keeps its settings: 'game.arguments' is {} in"),
        (["--no-keep-best"], "keeps its settings: 'run.keep_best' is True in"),
        (["--output", "elsewhere"], "leave --output out"),
    ],
)
def test_a_resumed_command_refuses_other_settings(arguments, sentence, interrupted):
    folder = interrupted[0] / "cut"
    before = contents(folder)
    result = run("train", "--resume", str(folder), *arguments)
    assert result.exit_code == 2
    assert sentence in " ".join(result.output.split())
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({}, "is malformed"),
        ({"schema_version": 3}, "schema version 3, of a newer tsmg"),
        ({"algorithm": {"updates": 3}, "run": {}, "game": "FrozenLake-v0"}, "schema version 1"),
    ],
)
def test_a_folder_that_cannot_be_resumed_is_refused(config, sentence, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    result = run("train", "--resume", str(tmp_path))
    assert result.exit_code == 2
    assert sentence in " ".join(result.output.split())


def test_adapters_are_learnt_saved_evaluated_and_merged(tmp_path):
    """``--lora`` on a checkpoint that thinks aloud; the run resumes nothing that it does not have."""
    tiny_model("chatml", sharp=3.0).save_pretrained(tmp_path / "model")
    output = tmp_path / "run"
    arguments = ("--updates", "2", "--groups", "2", "--group-size", "4", "--kept-episodes", "2")
    small = ("--final-episodes", "3", "--max-reply-tokens", "12", "--horizon", "2", "--thinking")
    options = ("--lora", "r=2", "--recompute", "--top-p", "0.9", "--dtype", "mixed")
    result = run(
        "train", "--model", str(tmp_path / "model"), "--output", str(output),
        *arguments, *small, *options,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    config = json.loads((output / "config.json").read_text())
    policy = config["spec"]["policy"]
    assert policy["lora"] == "r=2" and policy["dtype"] == "mixed"
    assert "</think>" in config["parser"]
    checkpoint = output / "checkpoints" / "update-000002"
    assert (checkpoint / "adapter_config.json").is_file()
    assert not (checkpoint / "model.safetensors").exists()
    few = ("--episodes", "3", "--horizon", "2")
    adapted = run("evaluate", "--model", str(checkpoint), *few)
    assert adapted.exit_code == 0, adapted.output
    merged = run("merge", str(checkpoint), str(tmp_path / "merged"))
    assert merged.exit_code == 0, merged.output
    whole = run("evaluate", "--model", str(tmp_path / "merged"), *few)
    assert whole.output.splitlines()[-2:] == adapted.output.splitlines()[-2:]
    again = run("merge", str(checkpoint), str(tmp_path / "merged"))
    assert again.exit_code == 2 and "already exists" in again.output
    nothing = run("merge", str(tmp_path / "merged"), str(tmp_path / "other"))
    assert nothing.exit_code == 2 and "no adapters" in nothing.output


def test_a_saved_policy_with_adapters_goes_on_learning_them(tmp_path):
    """Trained further by its folder alone: the reference is that policy, and new adapters on top are refused."""
    tiny_model(sharp=3.0).save_pretrained(tmp_path / "model")
    few = (
        "--updates", "2", "--groups", "2", "--group-size", "4", "--kept-episodes", "2", "--final-episodes", "3",
        "--max-reply-tokens", "3", "--horizon", "2", "--learning-rate", "0.05", "--entropy-coefficient", "0.5",
    )  # fmt: skip
    runs = [tmp_path / "first", tmp_path / "second"]
    model = (str(tmp_path / "model"), "--lora", "r=2")
    first = run("train", "--model", *model, "--output", str(runs[0]), *few)
    assert first.exit_code == 0, first.output
    learnt = runs[0] / "checkpoints" / "update-000002"
    second = run("train", "--model", str(learnt), "--output", str(runs[1]), *few)
    assert second.exit_code == 0, second.output
    start, end = (
        load_file(folder / "adapter_model.safetensors")
        for folder in (runs[1] / "start", runs[1] / "checkpoints" / "update-000002")
    )
    saved = load_file(learnt / "adapter_model.safetensors")
    assert all(torch.equal(start[name], saved[name]) for name in saved)
    assert any(not torch.equal(start[name], end[name]) for name in start)
    kls = [line["kl"] for line in lines(runs[1] / "metrics.jsonl") if "kl" in line]
    assert kls[0] == pytest.approx(0, abs=1e-6) and kls[-1] > 1e-6
    refused = run("train", "--model", str(learnt), "--lora", "r=2", "--output", str(tmp_path / "x"))
    assert refused.exit_code == 2
    said = " ".join(refused.output.split())
    assert "already has adapters" in said and "tsmg merge" in said
    shutil.rmtree(tmp_path / "model")
    gone = run("train", "--model", str(learnt), "--output", str(tmp_path / "y"))
    assert gone.exit_code == 2 and "which is missing" in " ".join(gone.output.split())


def test_a_policy_of_another_backend_is_found_by_its_package_or_refused(tmp_path, monkeypatch):
    small = ("--episodes", "2", "--horizon", "2")
    LanguageAgentPolicy(
        model=LetterModel("ab"), sampling=Sampling(max_reply_tokens=2)
    ).save_pretrained(tmp_path)
    monkeypatch.delitem(policy._LOADERS, "letters")
    refused = run("evaluate", "--model", str(tmp_path), *small)
    assert refused.exit_code == 2
    assert "belongs to the backend 'letters', which is unknown" in " ".join(refused.output.split())
    entry = importlib.metadata.EntryPoint(
        "letters", "tests.letter_model:load_letters", "tsmg.backends"
    )
    real = importlib.metadata.entry_points
    monkeypatch.setattr(
        importlib.metadata,
        "entry_points",
        lambda **wanted: [entry] if wanted.get("name") == "letters" else real(**wanted),
    )
    found = run("evaluate", "--model", str(tmp_path), *small)
    assert found.exit_code == 0, found.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--lora", "rank=3"), "LoRA takes"),
        (("--lora", "r=0"), "'r' must be at least 1"),
        (("--max-reply-tokens", "1"), "'max_reply_tokens' must be at least"),
        (("--thinking",), "no chat template"),
    ],
)
def test_what_cannot_be_learnt_is_refused_before_the_run(tmp_path, options, said):
    tiny_model("plain").save_pretrained(tmp_path / "model")
    model = () if "--thinking" in options else ("--model", str(tmp_path / "model"))
    result = run("train", *model, "--output", str(tmp_path / "run"), *options)
    assert result.exit_code == 2, result.output
    assert said in " ".join(result.output.split())
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize(("given", "kept"), [(None, "2000"), ("7", "7")])
def test_threads_soon_give_their_core_away_unless_told_otherwise(monkeypatch, given, kept):
    """The library that torch's threads come from reads the variable when it is loaded."""
    monkeypatch.setenv("GOMP_SPINCOUNT", given or "")
    if given is None:
        monkeypatch.delenv("GOMP_SPINCOUNT")
    seen = []
    monkeypatch.setattr(
        "algorithms.cli.main.main", lambda **_: seen.append(os.environ["GOMP_SPINCOUNT"])
    )
    handler = signal.getsignal(signal.SIGINT)
    try:
        run_process()
    finally:
        signal.signal(signal.SIGINT, handler)
    assert seen == [kept]
