"""The command line: bad arguments end in one sentence and exit code 2, before anything slow starts."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from algorithms.cli import main
from tests.checkpoints import tiny_model


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
        (["train", "--chat"], "no chat template"),
        (["train", "--set", "size"], "--set takes NAME=VALUE"),
        (["train", "--set", "size=1"], "'size' must be an integer of at least 2"),
        (["train", "--set", "colour=red"], "colour"),
        (["train", "--held-out", "1.5"], "'held_out' must be in (0, 1)"),
        (["train", "--sampling", "best"], "best"),
        (["train", "--opponent", "uniform"], "a game of several agents"),
        (["train", "--game", "KuhnPoker-v0", "--opponent", "scripted"], "no scripted player"),
        (["train", "--game", "KuhnPoker-v0", "--opponent", "./nobody"], "no saved policy"),
        (["train", "--game", "KuhnPoker-v0", "--role", "first"], "--role needs an --opponent"),
        (
            ["train", "--game", "KuhnPoker-v0", "--opponent", "past", "--role", "third"],
            "--role must be one of first, second",
        ),
        (["play", "--game", "nothing"], "no game is registered as 'nothing'"),
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
        "import sys; from click.testing import CliRunner; from algorithms.cli import main;"
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
