"""Run specifications: the round trip through JSON and TOML, what is refused, and what is built."""

import json
import tomllib
from pathlib import Path
from typing import Any

import attrs
import pytest

import lap
from algorithms import (
    CloneSpec,
    CloningConfig,
    GameSpec,
    MSGRPOConfig,
    PolicySpec,
    RunConfig,
    RunSpec,
    run_training,
)
from algorithms.errors import RunFolderError
from algorithms.training.plain_data import to_toml
from algorithms.training.spec import read_spec
from tests.checkpoints import tiny_model
from tsmg import InvalidArgumentError, UnknownGameError

FULL = RunSpec(
    game=GameSpec(
        id="Snake-v0", arguments={"width": 5, "a b": [1, (2.5, "x\n\"'\x7fé")]}, horizon=7
    ),
    policy=PolicySpec(cloning=CloningConfig(width=64, seed=3), player_arguments={"slip": 0.1}),
    algorithm=MSGRPOConfig(updates=3, learning_rate=1e-20, seed=5),
    run=RunConfig(keep_best=False),
    opponent="past",
    role="first",
    labels={"arm": "large"},
)


@pytest.mark.parametrize("spec", [RunSpec(), FULL])
def test_a_spec_survives_json_and_toml(spec: RunSpec, tmp_path: Path) -> None:
    assert RunSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    assert RunSpec.from_json(tomllib.loads(to_toml(spec))) == spec
    for name, text in (("run.toml", to_toml(spec)), ("run.json", json.dumps(spec.to_json()))):
        (tmp_path / name).write_text(text)
        assert read_spec(tmp_path / name) == spec


def test_an_argument_that_is_nothing_is_a_comment() -> None:
    text = to_toml(RunSpec(game=GameSpec(arguments={"size": None, "slip": 0.5})))
    assert "# size is unset\nslip = 0.5\n" in text
    assert tomllib.loads(text)["game"]["arguments"] == {"slip": 0.5}


def test_a_folder_with_a_run_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.delattr("algorithms.training.run._built_parts")
    with pytest.raises(RunFolderError, match="already holds a run"):
        run_training(RunSpec(), tmp_path)


def test_every_setting_is_in_the_toml() -> None:
    text = to_toml(RunSpec())
    for part in (RunSpec, GameSpec, PolicySpec, MSGRPOConfig, RunConfig):
        assert all(field.name in text for field in attrs.fields(part))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"algorithm": {"learning_rat": 1}}, ["'learning_rat'", "'algorithm'", "'learning_rate'"]),
        ({"algoritm": {}}, ["'algoritm'", "top level", "'algorithm'"]),
        ({"policy": {"cloning": {"layer": 1}}}, ["'layer'", "'policy.cloning'", "'layers'"]),
        ({"game": 3}, ["'game'", "table"]),
        ({"game": {"arguments": [1]}}, ["'game.arguments'", "table"]),
        ({"algorithm": {"updates": "3"}}, ["'algorithm.updates'", "int"]),
        ({"algorithm": {"updates": 0}}, ["'algorithm'", "'updates'", "at least 1"]),
        ({"algorithm": {"credit": "to_go"}}, ["'credit'", "reward_to_go"]),
        ({"game": {"held_out": 1}}, ["'held_out'", "(0, 1)"]),
        ({"schema_version": 3}, ["'schema_version'", "3", "newer"]),
        ({"schema_version": "2"}, ["'schema_version'", "unknown"]),
    ],
)
def test_a_bad_spec_is_refused_by_key_section_and_file(
    data: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    (tmp_path / "run.json").write_text(json.dumps(data))
    with pytest.raises(InvalidArgumentError) as caught:
        read_spec(tmp_path / "run.json")
    assert all(word in str(caught.value) for word in [*words, "run.json"])


@pytest.mark.parametrize("text", ["[", "a = ", "x" * 10, "a = " + "[" * 9999])
def test_a_file_that_is_no_toml_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(InvalidArgumentError, match=r"run\.toml"):
        read_spec(tmp_path / "run.toml")
    with pytest.raises(InvalidArgumentError, match="nowhere"):
        read_spec(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import nothing_of_that_name", "nothing_of_that_name"),
        ("1 / 0", "division by zero"),
        ("(", "SyntaxError"),
    ],
)
def test_a_game_that_cannot_be_imported_says_which_module_and_why(
    code: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "their_game.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UnknownGameError) as caught:
        GameSpec(id="their_game:Game").build()
    assert "'their_game'" in str(caught.value) and reason in str(caught.value)


@pytest.mark.parametrize(
    "setting", ["credit", "batch_rule", "group_filter", "sampling", "starts", "ratio"]
)
def test_a_rule_that_cannot_be_loaded_is_refused_before_anything_is_made(setting: str) -> None:
    settings = {setting: "tests.own_rules:typo"}
    spec = RunSpec.from_json({"game": {"id": "LineWalk-v0"}, "algorithm": settings})
    with pytest.raises(InvalidArgumentError, match=rf"^'{setting}' cannot load .*:typo'"):
        spec.check()


def test_a_ratio_must_be_a_ratio_kind() -> None:
    with pytest.raises(InvalidArgumentError, match="'ratio' must be a ratio kind"):
        RunSpec(algorithm=MSGRPOConfig(ratio="math:fsum")).check()


def test_arguments_are_plain_data() -> None:
    with pytest.raises(InvalidArgumentError, match="plain data"):
        GameSpec(arguments={"map": object()})


def test_the_seed_of_cloning_is_that_of_the_run_where_it_is_left_out() -> None:
    spec = RunSpec.from_json({"algorithm": {"seed": 9}, "policy": {"cloning": {"width": 16}}})
    assert spec.policy.cloning == CloningConfig(width=16, seed=9)
    spec = RunSpec.from_json({"algorithm": {"seed": 9}, "policy": {"cloning": {"seed": 1}}})
    assert spec.policy.cloning == CloningConfig(seed=1)
    clone = CloneSpec.from_json({"fit": {"seed": 9}, "policy": {"cloning": {"width": 16}}})
    assert clone.policy.cloning == CloningConfig(width=16, seed=9)
    assert CloneSpec.from_json(clone.to_json()) == clone


def test_a_network_that_is_made_and_one_that_is_there_are_two_things(tmp_path: Path) -> None:
    policy = PolicySpec(model=str(tmp_path), cloning=CloningConfig(width=16))
    with pytest.raises(InvalidArgumentError, match="leave it or 'model' out"):
        policy.check()
    with pytest.raises(InvalidArgumentError, match="'width' must be a multiple of twice 'heads'"):
        CloningConfig(width=12, heads=4)


def test_what_is_built_is_what_is_named(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path / "model")
    spec = RunSpec(
        game=GameSpec(arguments={"map": ["SF", "FG"]}, horizon=3),
        policy=PolicySpec(model=str(tmp_path / "model"), history=2, chat=False),
        threads=1,
    )
    parts = spec.build()
    assert parts.training_game.name == parts.evaluation_game.name == "FrozenLake"
    assert not isinstance(parts.policy, dict) and "turns=2" in repr(parts.policy.prompt)


def test_a_player_is_cloned_on_the_training_part_alone() -> None:
    training, evaluation = RunSpec(policy=PolicySpec(player="optimal")).games()
    assert type(training.scripted_player()).__name__ == "OptimalPlayer"
    assert type(evaluation.scripted_player()).__name__ != "OptimalPlayer"
    with pytest.raises(InvalidArgumentError, match="no scripted player"):
        RunSpec(
            game=GameSpec(id="KuhnPoker-v0"), policy=PolicySpec(player_arguments={"a": 1})
        ).games()
    with pytest.raises(InvalidArgumentError, match="'player_arguments'"):
        RunSpec(policy=PolicySpec(player_arguments={"a": 1})).games()


@pytest.mark.parametrize(("game", "held_out"), [("LineWalk-v0", 0.0), ("FrozenLake-v0", 0.2)])
def test_a_run_records_what_it_held_out(game: str, held_out: float, tmp_path: Path) -> None:
    """Starts that are no instances are never held out, whatever the spec asks for."""
    tiny = lap.LanguageAgentPolicy(
        prompt=lap.MemorylessPrompt(with_rules=False),
        model=tiny_model(),
        sampling=lap.Sampling(max_reply_tokens=6),
    )
    tiny.save_pretrained(tmp_path / "tiny")
    spec = RunSpec(
        game=GameSpec(id=game, held_out=0.2, horizon=2),
        policy=PolicySpec(model=str(tmp_path / "tiny")),
        algorithm=MSGRPOConfig(
            updates=1, groups=1, group_size=2, kept_episodes=1, max_reply_tokens=6
        ),
        run=RunConfig(final_episodes=2, evaluation_episodes=2),
        threads=1,
    )
    run_training(spec, tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["spec"]["game"]["held_out"] == held_out
