"""``--subgoals``: which policies ask for such replies, and what it does not go with."""

from pathlib import Path
from typing import Any

import attrs
import pytest

import games
from algorithms.cloning.config import CloningConfig
from algorithms.method.config import MSGRPOConfig
from algorithms.method.presets import PRESETS
from algorithms.training.policies import load_policy
from algorithms.training.policy_spec import PolicySpec
from algorithms.training.spec import RunSpec
from lap import LanguageAgentPolicy, SubgoalParser, TagParser
from tests.checkpoints import tiny_model
from tsmg import InvalidArgumentError

SUBGOAL = {"credit": "critic", "sampling": "all", "gae": "subgoal"}
GAME = games.make("LineWalk-v0")


def loaded(folder: Path, *, subgoals: bool) -> LanguageAgentPolicy[Any]:
    return load_policy(
        GAME,
        str(folder),
        chat=None,
        thinking=None,
        dtype="float32",
        history=0,
        subgoals=subgoals,
        cloning=CloningConfig(),
        report=None,
    )


def test_a_checkpoint_and_a_saved_policy_get_the_form(tmp_path: Path) -> None:
    """With an action of the game; without the option both keep theirs, and a prefilled tag of another form goes."""
    checkpoint, saved = tmp_path / "checkpoint", tmp_path / "saved"
    tiny_model().save_pretrained(checkpoint)
    LanguageAgentPolicy(model=tiny_model(), prefill="<action>").save_pretrained(saved)
    for folder in (checkpoint, saved):
        found = loaded(folder, subgoals=True)
        assert (found.parser, found.prefill) == (SubgoalParser("left"), "")
        assert isinstance(loaded(folder, subgoals=False).parser, TagParser)
    LanguageAgentPolicy(model=tiny_model(), parser=SubgoalParser("bet")).save_pretrained(saved)
    assert loaded(saved, subgoals=False).parser == SubgoalParser("left")  # of this game


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "a behaviour-cloned model says actions alone; name a checkpoint by 'model'"),
        ({"model": "x", "thinking": True}, "'subgoals' does not go with 'thinking'"),
        ({"model": "x", "examples": 2}, "'subgoals' does not go with 'examples'"),
        ({"model": "x", "constrained": True}, "'subgoals' does not go with 'constrained'"),
    ],
)
def test_what_it_does_not_go_with(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidArgumentError, match=sentence):
        PolicySpec(subgoals=True, **settings).check(GAME, trains=True)


def test_the_method_needs_replies_with_subgoals(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path)
    config = MSGRPOConfig(**PRESETS["hiper"].settings)
    policy = PolicySpec(model=str(tmp_path))
    with pytest.raises(InvalidArgumentError, match=r"'gae' 'subgoal'.*: choose 'subgoals', too"):
        RunSpec(policy=policy, algorithm=config).check()
    RunSpec(policy=attrs.evolve(policy, subgoals=True), algorithm=config).check()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"gae": "subgoal"}, "'gae' has an effect only with 'credit' 'critic'"),
        ({"segment_lambda": 0.5}, "'segment_lambda' has an effect only with 'gae' 'subgoal'"),
        ({**SUBGOAL, "critic": "head"}, "'gae' 'subgoal' does not go with 'critic' 'head'"),
        (
            {**SUBGOAL, "branching": "tree", "group_size": 4},
            "'gae' 'subgoal' does not go with 'branching' 'tree'",
        ),
        (
            {**SUBGOAL, "segment_lambda": 1.5},
            "'segment_lambda' must be at least 0.0 and at most 1.0",
        ),
    ],
)
def test_settings_that_contradict_it(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidArgumentError, match=sentence):
        MSGRPOConfig(**settings)
