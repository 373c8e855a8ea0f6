"""What the first update says of a run that cannot learn: one cause, a real reply, and help that fits the run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner

from algorithms import GameSpec, MSGRPOTrainer, PolicySpec, RunSpec
from algorithms.cli.main import main
from algorithms.training.first_update import Situation, first_update_warnings
from algorithms.training.health import HealthWarning
from algorithms.training.metrics import Update
from lap import LanguageAgentPolicy, MemorylessPrompt, TabularModel, TagParser, WholeReplyParser
from tests.checkpoints import tiny_model
from tests.runs import SMALL_RUN
from tests.whole_runs import lines
from tsmg import (
    AbstractExplicitGame,
    PlayRandomLegal,
    Transition,
    UniformPlayer,
    deterministic,
    with_invalid_rule,
    with_player,
)

RUN = Situation(
    game="--game Arms-v0",
    model="ckpt",
    max_reply_tokens=3,
    groups=8,
    group_size=8,
    temperature=1.0,
)


@attrs.frozen(kw_only=True)
class Arms(AbstractExplicitGame[int, str]):
    """One decision: arm a pays 1, arm b pays 0, or both pay the same."""

    agents = ("player",)
    horizon = 1
    pays: Mapping[str, float] = {"a": 1.0, "b": 0.0}
    listed: bool = True

    def initial_state_dist(self):  # type: ignore[no-untyped-def]
        return deterministic(0)

    def is_terminal(self, state: int) -> bool:
        return state < 0

    def acting_agents(self, state: int) -> tuple[str, ...]:
        return self.agents

    def legal_actions(self, state: int, agent: str) -> tuple[str, ...] | None:
        return ("a", "b") if self.listed else None

    def transition_dist(self, state, joint_action):  # type: ignore[no-untyped-def]
        return deterministic(Transition(-1, (self.pays[joint_action["player"]],)))

    def observation_text(self, state: int, agent: str) -> str:
        return "a machine"

    def action_text(self, state: int, agent: str, action: str) -> str:
        return action

    def success(self, episode, agent):  # type: ignore[no-untyped-def]
        return None


def first_update(*words: str, game: Any = None, parser: Any = None, **settings: Any) -> Update:
    """The first update of a model that says a few of these words, drawn uniformly, and then stops."""
    policy = LanguageAgentPolicy(
        prompt=MemorylessPrompt(with_rules=False),
        model=TabularModel(words, capacity=500),
        parser=parser or WholeReplyParser(),
    )
    config = attrs.evolve(SMALL_RUN, **settings)
    return MSGRPOTrainer(game=game or Arms(), policy=policy, config=config).update()


def found(update: Update, game: Any = None, **changes: Any) -> list[HealthWarning]:
    return first_update_warnings(update, game or Arms(), attrs.evolve(RUN, **changes))


def the_message(name: str, *arguments: Any, **changes: Any) -> str:
    (warning,) = found(*arguments, **changes)
    assert warning.name == f"cannot-learn-{name}" and not warning.is_collapse
    return warning.message


def test_a_run_that_learns_is_told_nothing() -> None:
    update = first_update("a", "b")
    assert 0 < (update.metrics["invalid_rate"] or 0) < 0.9
    assert found(update) == []


def test_invalid_replies_are_told_with_one_of_them_and_what_helps() -> None:
    update = first_update("no\x1b[2J\n")
    told = the_message("invalid", update)
    assert "100% of the replies name no legal action, such as " in told
    assert "'no\\x1b[2J\\n" in told and "\x1b" not in told
    assert "the model does not know the form that the parser reads" in told
    first, *options = told.splitlines()
    assert first.endswith("begin anew with one or more of:")
    assert [line.split("  ")[1] for line in options] == [
        "--examples 2",
        "--prefill",
        "--constrained",
    ]


def test_a_form_that_is_known_is_another_cause_than_one_that_is_not() -> None:
    words = ("<action>no</action>", "<action>nay</action>")
    told = the_message("invalid", first_update(*words, parser=TagParser()))
    assert "the model knows the form, but not the actions of the game" in told
    told = the_message("invalid", first_update("no", "nay", parser=TagParser()))
    assert "the model does not know the form that the parser reads" in told


def test_an_excerpt_is_short() -> None:
    told = the_message("invalid", first_update("long " * 60))
    assert "'..., so that no reply" in told
    assert len(told.splitlines()[0]) < 400


def test_replies_that_are_cut_are_the_cause_and_not_the_form() -> None:
    update = first_update("x", "y", "z", max_reply_tokens=1)
    assert (update.metrics["cut_rate"] or 0) > 0.5
    told = the_message("cut", update, max_reply_tokens=1)
    assert "replies are cut at max_reply_tokens = 1, and 100% name no legal action" in told
    assert told.splitlines()[1].split() == ["--max-reply-tokens", "4", "longer", "replies"]
    assert "--examples 2" in told


def test_a_valid_reply_is_no_example_of_what_was_cut() -> None:
    update = first_update("a", max_reply_tokens=1)  # says "a", which is cut, or nothing
    rates = {**update.metrics, "invalid_rate": 0.6, "cut_rate": 0.6}
    assert "such as" not in the_message("cut", attrs.evolve(update, metrics=rates))


def test_replies_that_are_cut_and_valid_are_none_of_its_affair() -> None:
    assert found(first_update("a", "b", "b ", max_reply_tokens=1)) == []


@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_groups_that_are_all_alike(reward: float) -> None:
    """Without a definition of success nobody can say that all is well."""
    game = with_invalid_rule(Arms(pays={"a": reward, "b": reward}), PlayRandomLegal())
    told = the_message("silent", first_update("a", "b", game=game), game)
    assert f"all returns are equal within every group (their mean is {reward:g})" in told
    assert "--group-size 16" in told and "--temperature 1.5" in told


def test_few_groups_may_be_alike_by_chance_and_success_is_well() -> None:
    update = first_update("a", "b")
    silent = {**update.metrics, "invalid_rate": 0.0, "frac_reward_zero_std": 1.0}
    assert the_message("silent", attrs.evolve(update, metrics=silent))
    for change in ({"success_rate": 0.9}, {"frac_reward_zero_std": 0.9}):
        assert found(attrs.evolve(update, metrics={**silent, **change})) == []
    assert found(attrs.evolve(update, metrics=silent), groups=3) == []
    share = attrs.evolve(
        update.rollouts, groups=update.rollouts.groups[:1]
    )  # of one of several processes
    assert the_message("silent", attrs.evolve(update, metrics=silent, rollouts=share))


def options(update: Update, game: Any = None, **changes: Any) -> list[str]:
    (warning,) = found(update, game, **changes)
    return [line.strip().partition("  ")[0] for line in warning.message.splitlines()[1:]]


def test_only_options_that_fit_the_run_are_named(tmp_path: Path) -> None:
    update, game = first_update("no"), with_player(Arms(), UniformPlayer(Arms()))
    clone = "tsmg clone --game Arms-v0 --model ckpt"
    assert options(update, game) == ["--examples 2", "--prefill", "--constrained", clone]
    assert options(update, game, lora="r=16") == [
        "--examples 2", "--prefill", "--constrained", f"{clone} --lora r=16",
    ]  # fmt: skip
    assert options(update, game, examples=2, prefill=True, constrained=True) == [clone]
    assert options(update, Arms(listed=False)) == ["--examples 2", "--prefill"]
    assert options(update, game, model=None) == ["--constrained", "--config FILE"]
    (tmp_path / "policy.json").write_text("{}")
    saved = options(update, game, model=str(tmp_path))
    assert saved == ["--constrained", f"tsmg clone --game Arms-v0 --model {tmp_path}"]


def test_from_python_no_options_are_named() -> None:
    update = first_update("no")
    (warning,) = found(update)
    (bare,) = first_update_warnings(update, Arms(), attrs.evolve(RUN, game=None))
    assert bare.message == warning.message.partition("; begin anew")[0]


def test_the_situation_of_a_run_names_its_game() -> None:
    spec = RunSpec(
        game=GameSpec(
            id="FrozenLake-v0", arguments={"size": 5, "name": "a b"}, horizon=7, held_out=0.5
        ),
        policy=PolicySpec(model="ckpt", lora="r=4"),
    )
    situation = Situation.of(spec, is_given=False)
    game = "--game FrozenLake-v0 --set size=5 --set 'name=a b' --horizon 7"
    assert situation.game == f"{game} --held-out 0.5"
    assert spec.game.options(split=False) == game
    assert GameSpec().options() == "--game FrozenLake-v0"
    assert (situation.model, situation.lora, situation.max_reply_tokens) == ("ckpt", "r=4", 16)
    assert Situation.of(spec, is_given=True).game is None


def test_a_run_says_so_at_once_and_records_it(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path / "model")
    small = "--updates 1 --groups 4 --group-size 2 --kept-episodes 2 --final-episodes 2 --threads 1"
    model, output = str(tmp_path / "model"), str(tmp_path / "run")
    arguments = ["train", *small.split(), "--model", model, "--output", output, "--horizon", "3"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    (warning,) = lines(tmp_path / "run" / "warnings.jsonl")
    assert warning["update"] == 1
    assert warning["warning"].startswith("this run cannot learn as it is: ")
    assert f"tsmg clone --game FrozenLake-v0 --horizon 3 --model {model}" in warning["warning"]
    assert f"update 1: {warning['warning']}" in result.output
