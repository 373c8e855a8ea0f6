"""Branches as they are played: from the right places, with streams of their own, and counted."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

import games
from algorithms import Estimator, MSGRPOConfig, MSGRPOTrainer
from algorithms.method.branching import Tree, Vine
from algorithms.method.ratios import SequenceRatio
from algorithms.play.branches import check_branches, with_branches
from algorithms.play.matchups import FixedOpponents
from algorithms.play.rollouts import Rollouts, collect_groups
from algorithms.runs.state import TrainingState
from algorithms.training import own_rules, playing
from algorithms.training.game_spec import GameSpec
from algorithms.training.snapshot import load_training_state, training_state
from algorithms.training.spec import RunSpec
from games.adapters import live
from lap import LanguageAgentPolicy, Sampling, TabularModel, WholeReplyParser
from proofs.small_games import tabular_policy
from tests.method_groups import other_first
from tsmg import (
    AbstractWrappedExplicitGame,
    BranchPoint,
    EpisodeGroup,
    Facts,
    FailedEpisode,
    GameLawError,
    InvalidArgumentError,
    PlayerPolicy,
    Stream,
    UniformPlayer,
)

GAME = games.make("LineWalk-v0", length=4, horizon=5)
LEARNERS = ("walker",)


class Changed(AbstractWrappedExplicitGame[Any, Any]):
    """The same walk with other attributes."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(GAME)
        for name, value in attributes.items():
            setattr(self, name, value)


VINE: dict[str, Any] = {
    "branching": "vine",
    "credit": "vine",
    "sampling": "all",
    "std": "none",
    "rollouts": 2,
}
TREE: dict[str, Any] = {"branching": "tree", "credit": "tree", "sampling": "all"}


@attrs.frozen
class Rolled:
    """One rollout from each of these points."""

    points: Callable[[EpisodeGroup[Any]], list[BranchPoint]]
    trained: bool = False

    def roots(self, group_size: int) -> int:
        return group_size

    def __call__(
        self, group: EpisodeGroup[Any], agents: Any, rng: Stream, *, group_size: int
    ) -> list[BranchPoint]:
        return self.points(group)


def last_steps(group: EpisodeGroup[Any]) -> list[BranchPoint]:
    return [BranchPoint(episode=e, step=len(x.steps) - 1) for e, x in enumerate(group.episodes)]


def policy() -> LanguageAgentPolicy[TabularModel]:
    return LanguageAgentPolicy(
        model=TabularModel(("left", "right")),
        parser=WholeReplyParser(),
        sampling=Sampling(max_reply_tokens=1),
    )


def roots(numbers: tuple[int, ...], size: int) -> Rollouts:
    return collect_groups(GAME, policy(), seed=3, update=1, groups=numbers, group_size=size)


def grown(branching: Any, numbers: tuple[int, ...] = (0, 1, 2), size: int = 4) -> Rollouts:
    played = roots(numbers, branching.roots(size))
    return with_branches(GAME, policy(), played, branching, learners=LEARNERS, group_size=size)


def test_the_branches_of_a_tree_are_whole_episodes_that_share_steps() -> None:
    found = grown(Tree(trees=2), size=8)
    assert len(found.groups) == 3 and not found.failed
    for group in found.groups:
        assert [e.key.episode for e in group.episodes] == list(range(8))
        assert group.origins[:2] == (None, None)
        for episode, origin in zip(group.episodes[2:], group.origins[2:], strict=True):
            assert origin is not None
            parent = group.episodes[origin.episode]
            assert episode.steps[: origin.step] == parent.steps[: origin.step]
            assert episode.start == parent.start
            assert episode.steps[origin.step].state == parent.steps[origin.step].state
    assert len({p.step for g in found.groups for p in g.origins if p is not None}) > 2


def test_a_group_of_which_a_root_failed_branches_from_the_others() -> None:
    whole = roots((0,), 2)
    lost = attrs.evolve(whole, groups=(EpisodeGroup(episodes=whole.groups[0].episodes[:1]),))
    found = with_branches(GAME, policy(), lost, Tree(trees=2), learners=LEARNERS, group_size=8)
    assert [len(group.episodes) for group in found.groups] == [4]


def test_the_rollouts_of_a_vine_are_paid_from_where_they_began() -> None:
    plain, halved = (
        with_branches(
            game, policy(), roots((0,), 4), Vine(rollouts=6), learners=LEARNERS, group_size=4
        )
        for game in (GAME, Changed(discount=0.5))
    )
    (group,) = plain.groups
    assert group.origins == () and len(group.episodes) == 4
    assert {len(found.returns_K_N) for found in group.rollouts} == {6}
    assert len({found.point for found in group.rollouts}) == len(group.rollouts) > 6
    returns = [r for found in group.rollouts for (r,) in found.returns_K_N]
    assert set(returns) == {0.0, 1.0} and len({tuple(f.returns_K_N) for f in group.rollouts}) > 3
    for one, two in zip(group.rollouts, halved.groups[0].rollouts, strict=True):
        left = 5 - one.point.step
        assert 6 <= one.tokens_N[0] <= 6 * left
        for (r,), (s,) in zip(one.returns_K_N, two.returns_K_N, strict=True):
            assert (r == 0) == (s == 0) and (r == 0 or s in {0.5**n for n in range(left)})


@pytest.mark.parametrize("branching", [Vine(rollouts=2), Tree(trees=2)])
def test_a_group_does_not_depend_on_what_is_played_beside_it(branching: Any) -> None:
    together = grown(branching).groups
    apart = [group for n in (2, 0, 1) for group in grown(branching, (n,)).groups]
    assert sorted(apart, key=lambda g: g.episodes[0].key.group) == list(together)
    assert len({(g.rollouts, tuple(e.steps for e in g.episodes[2:])) for g in together}) == 3


def test_branches_have_streams_of_their_own() -> None:
    """Two branches of one place differ, and a branch differs from what it left."""

    class Twice:
        trained = True

        def roots(self, group_size: int) -> int:
            return 1

        def __call__(
            self, group: Any, agents: Any, rng: Stream, *, group_size: int
        ) -> list[BranchPoint]:
            return [BranchPoint(episode=0, step=0)] * (group_size - 1)

    for group in grown(Twice(), size=9).groups:
        assert len({episode.steps for episode in group.episodes}) > 4


@pytest.mark.parametrize("at", [BranchPoint(episode=4, step=0), BranchPoint(episode=0, step=99)])
def test_a_branch_that_begins_nowhere_is_refused(at: BranchPoint) -> None:
    with pytest.raises(InvalidArgumentError, match="'Rolled' must return branch points at steps"):
        grown(Rolled(lambda group: [at]))


def trainer(**settings: Any) -> MSGRPOTrainer:
    small = {
        "groups": 3,
        "group_size": 4,
        "updates": 6,
        "max_reply_tokens": 1,
        "learning_rate": 0.1,
    }
    return MSGRPOTrainer(game=GAME, policy=policy(), config=MSGRPOConfig(**{**small, **settings}))


@pytest.mark.parametrize("settings", [VINE, TREE])
def test_a_run_goes_on_bit_for_bit(settings: dict[str, Any], tmp_path: Path) -> None:
    one = trainer(**settings)
    for _ in range(2):
        one.update()
    training_state(one).save(tmp_path)
    rest = [one.update().metrics for _ in range(2)]
    other = trainer(**settings)
    load_training_state(other, TrainingState.load(tmp_path))
    assert [other.update().metrics for _ in range(2)] == rest
    for ours, theirs in zip(
        *(t.policy.model.network.parameters() for t in (one, other)), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_all_that_is_sampled_is_counted_and_each_completion_trained_once() -> None:
    update = trainer(**VINE).update()
    lengths = [len(e.steps) for g in update.rollouts.groups for e in g.episodes]
    rollouts = [found.tokens_N[0] for g in update.rollouts.groups for found in g.rollouts]
    assert update.metrics["trained_tokens"] == sum(lengths)
    assert update.metrics["generated_tokens"] == sum(lengths) + sum(rollouts)
    grown_up = trainer(**TREE).update()
    own = sum(
        len(e.steps) - (0 if origin is None else origin.step)
        for g in grown_up.rollouts.groups
        for e, origin in zip(g.episodes, g.origins, strict=True)
    )
    assert grown_up.metrics["generated_tokens"] == grown_up.metrics["trained_tokens"] == own


@pytest.mark.parametrize("settings", [VINE, TREE])
def test_failures_are_a_share_of_all_that_was_played(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    monkeypatch.setattr(
        playing, "check_failures", lambda failed, episodes, *_, **__: counted.append(episodes) or 0
    )
    groups = trainer(**settings).update().rollouts.groups
    rollouts = sum(len(found.returns_K_N) for group in groups for found in group.rollouts)
    assert counted == [3 * 4 + rollouts] and (rollouts > 0) == (settings is VINE)


@pytest.mark.parametrize("change", [{"weighting": "episode"}, {"common_chance": True}])
def test_what_trained_branches_do_not_go_with_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match="'branching' 'tree' does not go with"):
        MSGRPOConfig(**TREE, group_size=4, **change)
    config = MSGRPOConfig(group_size=4, sampling="all", **change)
    (setting,) = change
    with pytest.raises(InvalidArgumentError, match=f"'Tree' does not go with {setting!r}"):
        Estimator.of(config, Facts(), branching=Tree())


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"ratio": "gspo-episode"}, "'ratio' 'gspo-episode'"),
        ({"ratio": "tests.own_rules:whole_episode_ratio"}, "'ratio' the rule 'SequenceRatio'"),
        (
            {"importance_weights": "truncated", "importance_level": "episode"},
            "'importance_level' 'episode'",
        ),
    ],
)
def test_rules_of_ones_own_are_held_against_each_other(
    settings: dict[str, Any], named: str
) -> None:
    """Before a model is loaded, and where objects are given; branches that are not trained on go with all."""
    own = {**TREE, "branching": "algorithms.method.branching:Tree", "credit": "episode"}
    config = MSGRPOConfig(**own, group_size=4, **settings)
    message = f"the rule 'Tree' does not go with {named}: shared steps"
    with pytest.raises(InvalidArgumentError, match=message):
        RunSpec(algorithm=config).check()
    with pytest.raises(InvalidArgumentError, match="the rule 'Tree' does not go with"):
        trainer(**own, **settings)
    valued = {
        **own,
        "branching": "algorithms.method.branching:Vine",
        "sampling": "aaw",
        "kept_episodes": 2,
    }
    RunSpec(algorithm=MSGRPOConfig(**valued, group_size=4, **settings)).check()


def test_a_ratio_that_is_given_is_held_against_trees() -> None:
    config = MSGRPOConfig(**TREE, group_size=4, max_reply_tokens=1)
    for kind, refused in ((SequenceRatio(whole_episodes=True), True), (SequenceRatio(), False)):
        with pytest.raises(InvalidArgumentError) if refused else nullcontext():
            MSGRPOTrainer(game=GAME, policy=policy(), config=config, ratio=kind)


def test_starts_are_counted_where_all_that_is_learnt_begins_there() -> None:
    """The steps that branches share would count for the first episode's return alone."""
    assert "effective_starts" in trainer(**VINE).update().metrics
    assert "effective_starts" not in trainer(**TREE).update().metrics


def test_a_run_asks_before_a_model_is_loaded_whether_its_game_branches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(own_rules, "check_branches", lambda game: asked.append(game.name))
    for settings in ({"kept_episodes": 2}, TREE):
        config = MSGRPOConfig(group_size=4, **settings)
        RunSpec(game=GameSpec(id="LineWalk-v0", held_out=0.0), algorithm=config).check()
    assert asked == ["LineWalk"]


def test_two_players_have_values_of_their_own() -> None:
    game = games.make("MatchingPennies-v0")
    made = MSGRPOTrainer(
        game=game,
        policy=LanguageAgentPolicy(
            model=TabularModel(("heads", "tails")),
            parser=WholeReplyParser(),
            sampling=Sampling(max_reply_tokens=1),
        ),
        config=MSGRPOConfig(groups=2, group_size=4, max_reply_tokens=1, **VINE),
    )
    update = made.update()
    for group in update.rollouts.groups:
        for found in group.rollouts:
            returns = [returns_N for returns_N in found.returns_K_N if min(returns_N) > -2]
            assert {sum(returns_N) for returns_N in returns} <= {0.0, -1.0}  # a forfeit costs 1
            assert found.tokens_N[0] == found.tokens_N[1] > 0
    assert update.metrics["trained_tokens"] == 2 * 2 * 4


def test_a_group_with_a_failed_branch_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    played = roots((0, 1), 4)

    def failing(game: Any, policy: Any, specs: Any) -> list[Any]:
        return [FailedEpisode(key=spec.key, error="broke", steps=()) for spec in specs[:1]] + [
            group.episodes[0] for group in played.groups for _ in specs[1:]
        ][: len(specs) - 1]

    monkeypatch.setattr("algorithms.play.branches.play", failing)
    found = with_branches(GAME, policy(), played, Vine(rollouts=1), learners=LEARNERS, group_size=4)
    assert [group.episodes[0].key.group for group in found.groups] == [1]
    assert [one.error for one in found.failed] == ["broke"]


def test_declared_bounds_hold_for_whole_episodes() -> None:
    """A rollout near the end earns less than a whole episode must, and the steps that it shares are counted."""
    played = roots((0, 1), 4)
    shifted = Rollouts(groups=tuple(map(raised, played.groups)), failed=())
    wholes = {
        base: with_branches(
            Changed(facts=Facts(return_bounds=(3.0, 9.0))),
            policy(),
            Rollouts(groups=groups, failed=()),
            Rolled(last_steps),
            learners=LEARNERS,
            group_size=4,
        )
        for base, groups in (("plain", played.groups), ("raised", shifted.groups))
    }
    assert len(wholes["raised"].groups) == 2 and not wholes["raised"].failed
    assert wholes["plain"].failed  # but for groups whose branches are cut at the time limit
    assert all(
        "its declared bounds are 3 to 9" in episode.error for episode in wholes["plain"].failed
    )


def raised(group: EpisodeGroup[Any]) -> EpisodeGroup[Any]:
    """The first step of each episode pays 4 more."""
    episodes = tuple(
        attrs.evolve(
            episode,
            steps=tuple(
                attrs.evolve(s, rewards_N=(s.rewards_N[0] + 4.0 * (s.t == 0),))
                for s in episode.steps
            ),
        )
        for episode in group.episodes
    )
    return EpisodeGroup(episodes=episodes)


def test_a_game_that_cannot_branch_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    check_branches(GAME)
    pytest.importorskip("gymnasium")
    import gymnasium

    taxi = games.from_gymnasium(gymnasium.make("Blackjack-v1"), horizon=5)
    check_branches(taxi)
    seen = iter(range(10**6))

    def restless(self: live.LiveGame, state: live.LiveState) -> Any:
        raise GameLawError(f"{self.name}: cannot be branched, {next(seen)}")

    monkeypatch.setattr(live.LiveGame, "_replayed", restless)
    with pytest.raises(InvalidArgumentError, match=r"'branching' must be none for .*Blackjack"):
        check_branches(taxi)


@pytest.mark.parametrize("trees", [1, 2])
def test_a_tree_in_which_no_learner_acts_has_episodes_from_its_start(trees: int) -> None:
    """Every group has all its members, and the trainer learns from those in which the learner acts."""
    game = other_first()
    settings = {"branching": "tree", "credit": "tree", "sampling": "all", "trees": trees}
    config = MSGRPOConfig(groups=12, group_size=4, updates=1, max_reply_tokens=1, **settings)
    policy = tabular_policy(("take", "pass"), capacity=4)
    other = PlayerPolicy(game, UniformPlayer(game))
    trainer = MSGRPOTrainer(
        game=game, policy=policy, config=config, matchups=FixedOpponents({"other": other})
    )
    compared = trainer.player.play_until_enough(0, trainer.estimator)
    assert [len(g.returns_G) for g in compared.role_groups] == [4] * 12
    whole = [
        [step.t for step in episode.steps]
        for group in compared.rollouts.groups
        for episode in group.episodes
    ]
    assert {tuple(times) for times in whole} == {(0,), (0, 1)}
    assert all(math.isfinite(x) for x in trainer.update().metrics.values() if x is not None)
