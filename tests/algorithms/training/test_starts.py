"""Start rules in the trainer: what is played, weighed, remembered and saved."""

from pathlib import Path
from typing import Any

import attrs
import pytest

import games
from algorithms import MSGRPOConfig, MSGRPOTrainer
from algorithms.method.starts import CandidateStart, StartLaw
from algorithms.play.rollouts import collect_groups
from algorithms.play.starts import listed_starts
from algorithms.runs.state import TrainingState
from algorithms.training.clone_spec import CloneSpec
from algorithms.training.game_spec import GameSpec
from algorithms.training.snapshot import load_training_state, training_state
from algorithms.training.spec import RunSpec
from lap import LanguageAgentPolicy, MemorylessPrompt, TabularModel, WholeReplyParser
from proofs.small_games import FiniteGame
from tests.runs import SMALL_RUN
from tsmg import (
    AbstractExplicitGame,
    AbstractGame,
    Finite,
    InvalidArgumentError,
    PlayerPolicy,
    Transition,
    UniformPlayer,
    deterministic,
    with_horizon,
)
from tsmg.wrapped import AbstractWrappedSampledGame

HANOI = with_horizon(games.make("Hanoi-v0", disks=2, random_start=True), 3)
LEARNS = attrs.evolve(SMALL_RUN, starts="learnability", correct_starts=True)


def trainer(config: MSGRPOConfig, game: AbstractGame[Any, Any] = HANOI) -> MSGRPOTrainer:
    words = tuple(f"{a} to {b}" for a in "ABC" for b in "ABC" if a != b)
    policy = LanguageAgentPolicy(
        prompt=MemorylessPrompt(),
        model=TabularModel(words, capacity=500),
        parser=WholeReplyParser(),
    )
    return MSGRPOTrainer(game=game, policy=policy, config=config)


class Unlisted(AbstractWrappedSampledGame[Any, Any]):
    """The same game, whose law can only be sampled."""


def test_all_starts_of_a_game_or_candidates_by_its_law() -> None:
    listed = listed_starts(HANOI, seed=0, most=8)
    law = HANOI.initial_state_dist().pmf()
    assert {start.state: start.share for start in listed} == {s: float(p) for s, p in law.items()}
    sampled = [start.state for start in listed_starts(Unlisted(HANOI), seed=0, most=7)]
    drawn = listed_starts(HANOI, seed=0, most=7)
    assert {start.state: start.share for start in drawn} == {  # equal candidates are one start
        state: sampled.count(state) / 7 for state in sampled
    }
    assert len(drawn) < 7 and [start.number for start in drawn] == list(range(len(drawn)))
    many = [start.state for start in listed_starts(Unlisted(HANOI), seed=1, most=2000)]
    assert many[:7] != sampled
    assert all(many.count(state) / 2000 == pytest.approx(p, abs=0.04) for state, p in law.items())


def test_groups_begin_where_the_rule_says_and_are_weighed() -> None:
    """The first start is never begun on but by the floor, and each row has the weight of its start."""
    settings = {"groups": 30, "group_size": 2, "kept_episodes": 2, "sampling": "all"}
    rule = {"starts": "tests.own_rules:later_first", "start_floor": 0.1}
    config = attrs.evolve(LEARNS, **settings, **rule)
    made = trainer(config)
    compared = made.player.play_until_enough(0, made.estimator)
    law = made.estimator.start_law(made.player.starts)
    assert law is not None
    for role_group in compared.role_groups:
        (begun,) = {
            e.start.state.state
            for g in compared.rollouts.groups
            if g.episodes[0].key.group == role_group.number
            for e in g.episodes
        }
        assert role_group.start is not None
        assert begun == made.player.starts[role_group.start].state
        assert role_group.start_weight == law.weight(role_group.start)
        assert len(role_group.successes_G) == config.group_size
    numbers = [g.start for g in compared.role_groups]
    assert numbers.count(0) < 4 < numbers.count(len(made.player.starts) - 1)
    selected = made.estimator.draw_dist(compared.passed[:1]).support()[0]
    rows = made.estimator.rows(compared.passed[:1], selected, asked=1)
    plain = attrs.evolve(made.estimator, correct_starts=False)
    bare = plain.rows(compared.passed[:1], selected, asked=1)
    assert [row.weight for row in rows] == pytest.approx(
        [row.weight * compared.passed[0].start_weight for row in bare]
    )


def test_the_games_own_law_is_played_as_before() -> None:
    """No list of starts, no weights, and the same numbers as without any of this."""
    made = trainer(SMALL_RUN)
    compared = made.player.play_until_enough(0, made.estimator)
    assert made.player.starts == () and made.estimator.state() == {}
    assert {(g.start, g.start_weight, g.successes_G) for g in compared.role_groups} == {
        (None, 1.0, ())
    }


def test_who_shares_information_is_drawn_from_the_law_given_what_the_chosen_start_shows() -> None:
    """Starts 0 and 1 look alike: the rule chooses 1, and the members of its group stand on either, three to one."""
    pay = deterministic(Transition("end", (1.0,)))
    game = FiniteGame(
        starts=Finite({0: 0.6, 1: 0.2, 2: 0.2}),
        moves={n: {("a",): pay, ("b",): pay} for n in range(3)},
        texts={0: "x", 1: "x", 2: "y"},
    )
    law = StartLaw.of(listed_starts(game, seed=0, most=9), lambda listed: [0, 1, 0], floor=0.0)
    (group,) = collect_groups(
        game,
        PlayerPolicy(game, UniformPlayer(game)),
        seed=0,
        update=0,
        groups=1,
        group_size=400,
        group_on="initial_information",
        starts=law,
    ).groups
    begun = [episode.start.state.state for episode in group.episodes]
    assert set(begun) == {0, 1} and begun.count(0) / 400 == pytest.approx(0.75, abs=0.06)


def test_what_is_known_of_starts_is_saved_and_changes_what_is_played(tmp_path: Path) -> None:
    one = trainer(attrs.evolve(LEARNS, updates=4, groups=3, start_floor=0.0))
    for _ in range(2):
        one.update()
    training_state(one).save(tmp_path)
    rest = [one.update().metrics for _ in range(2)]
    other, forgetful = (trainer(one.config) for _ in range(2))
    load_training_state(other, TrainingState.load(tmp_path))
    assert other.estimator.state()["starts"]["counts"]
    assert [other.update().metrics for _ in range(2)] == rest
    load_training_state(forgetful, TrainingState.load(tmp_path))
    forgetful.estimator.load_state({"starts": {"counts": {}}})
    assert [forgetful.update().metrics for _ in range(2)] != rest


def test_a_run_that_hides_starts_is_refused_before_a_model_is_made() -> None:
    with pytest.raises(InvalidArgumentError, match="the members of a group share none here"):
        RunSpec(game=GameSpec(id="KuhnPoker-v0"), algorithm=LEARNS).check()
    with pytest.raises(InvalidArgumentError, match="'correct_starts' has no effect"):
        RunSpec(algorithm=attrs.evolve(SMALL_RUN, correct_starts=True)).check()
    with pytest.raises(InvalidArgumentError, match="the members of a group share none here"):
        trainer(LEARNS, games.make("KuhnPoker-v0"))


def test_a_start_rule_of_ones_own_sees_states(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[CandidateStart] = []

    def by_state(starts: list[CandidateStart]) -> list[float]:
        seen.extend(starts)
        return [1.0] * len(starts)

    monkeypatch.setattr("tests.own_rules.by_state", by_state, raising=False)
    made = trainer(attrs.evolve(LEARNS, starts="tests.own_rules:by_state"))
    made.update()
    assert seen == 3 * list(made.player.starts)  # at the first update it is asked twice more


def test_starts_of_a_foreign_environment_are_seeds_and_can_be_begun_on_again() -> None:
    """Groups on one candidate begin alike in every update, and no environment is held for it."""
    made = games.from_gymnasium("CartPole-v1", horizon=3)
    law = StartLaw.of(listed_starts(made, seed=0, most=4), lambda listed: [0, 1, 0, 0], floor=0.0)
    player = PlayerPolicy(made, UniformPlayer(made))
    seeds = {
        episode.start.state.state.seed
        for update in range(2)
        for group in collect_groups(
            made, player, seed=0, update=update, groups=2, group_size=2, starts=law
        ).groups
        for episode in group.episodes
    }
    assert seeds == {law.starts[1].state.seed} and law.starts[1].state is not law.starts[1].state


def test_starts_are_not_chosen_by_the_success_of_agents_that_win_from_each_other() -> None:
    """Refused before a model is made, and where objects are given; it goes with one learner, and with allies."""
    message = "'learnability' counts the successes of all agents that learn"
    nim = GameSpec(id="Nim-v0")
    with pytest.raises(InvalidArgumentError, match=message):
        RunSpec(game=nim, algorithm=LEARNS).check()
    RunSpec(game=nim, algorithm=LEARNS, opponent="uniform").check()
    allied = attrs.evolve(LEARNS, group_on="initial_information")
    RunSpec(game=GameSpec(id="Negotiation-v0"), algorithm=allied).check()
    own = attrs.evolve(LEARNS, starts="tests.own_rules:later_first")
    RunSpec(game=nim, algorithm=own).check()
    with pytest.raises(InvalidArgumentError, match=message):
        trainer(LEARNS, games.make("Nim-v0"))


def test_starts_are_not_chosen_by_success_where_none_is_defined() -> None:
    """Refused before anything is played, however the game is wrapped."""
    message = "'learnability' needs a game that defines success, and PublicGoods"
    goods = games.make("PublicGoods-v0")
    with pytest.raises(InvalidArgumentError, match=message):
        RunSpec(game=GameSpec(id="PublicGoods-v0"), algorithm=LEARNS).check()
    for game in (goods, Unlisted(goods)):
        with pytest.raises(InvalidArgumentError, match=message):
            trainer(LEARNS, game)
    trainer(LEARNS, Unlisted(HANOI))
    own = attrs.evolve(LEARNS, starts="tests.own_rules:later_first")
    RunSpec(game=GameSpec(id="PublicGoods-v0"), algorithm=own).check()


@pytest.mark.parametrize(
    ("disks", "share", "purpose"), [(2, 0.2, "evaluate on"), (2, 0.99, "train on")]
)
def test_a_part_without_starts_is_refused_before_the_run(
    disks: int, share: float, purpose: str
) -> None:
    few = GameSpec(id="Hanoi-v0", arguments={"disks": disks, "random_start": True}, held_out=share)
    message = f"'held_out' {share} leaves no start of Hanoi.* to {purpose}"
    with pytest.raises(InvalidArgumentError, match=message):
        RunSpec(game=few).check()
    with pytest.raises(InvalidArgumentError, match=message):
        CloneSpec(game=few).check()
    RunSpec(game=attrs.evolve(few, held_out=0.0)).check()
    several = attrs.evolve(few, arguments={"disks": 4, "random_start": True}, held_out=0.5)
    for part in several.split(several.build()):
        assert isinstance(part, AbstractExplicitGame) and part.initial_state_dist().pmf()
