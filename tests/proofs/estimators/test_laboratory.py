"""The laboratory: published figures, the trainer's own gradient, sampling, user's rules, refusals."""

import copy
import itertools
import math
import statistics
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from typeguard import suppress_type_checks

from algorithms import Estimator, MSGRPOConfig, MSGRPOTrainer
from algorithms.method.batch import RoleGroup
from lap import (
    LanguageAgentPolicy,
    MemorylessPrompt,
    Sampling,
    TransformersModel,
    WholeReplyParser,
)
from proofs import TrajectoryDistribution, analyse_estimator
from proofs.estimators.batches import Batches
from proofs.small_games import WORDS, choice_game, finite_games, random_policy, tabular_policy
from proofs.statements.cases import CARDS
from tests.own_rules import MovingAverage
from tests.strategies import examples
from tsmg import (
    EpisodeGroup,
    Facts,
    Finite,
    InvalidArgumentError,
    Transition,
)


def plain(**settings: Any) -> MSGRPOConfig:
    """Every episode of one group of four, no std."""
    settings = {"groups": 1, "group_size": 4, "sampling": "all", "std": "none", **settings}
    return MSGRPOConfig(**settings)


# ---- estimators ------------------------------------------------------------------------------

THREE = {"a": 0.5, "b": 0.4, "c": 1.0}
FORCED = {str(("c", n)): {"on": 1.0} for n in range(1, 20)}


def three_choices() -> TrajectoryDistribution:
    """Policy (.6, .2, .2), returns (.5, .4, 1), lengths (1, 1, 20)."""
    dists = {"choose": {"a": 0.6, "b": 0.2, "c": 0.2}, **FORCED}
    game = choice_game(THREE, lengths={"c": 20})
    return TrajectoryDistribution.of(game, tabular_policy(("a", "b", "c", "on"), dists=dists))


def over_rows(group: EpisodeGroup[Any], agent: str) -> list[list[float]]:
    """A user's own rule: returns relative to their mean over step rows, so that long episodes count more."""
    lengths = [len(episode.steps) for episode in group.episodes]
    returns = group.returns_G(agent)
    mean = sum(t * r for t, r in zip(lengths, returns, strict=True)) / sum(lengths)
    return [[r - mean] * t for t, r in zip(lengths, returns, strict=True)]


@pytest.mark.parametrize(
    ("weighting", "credit", "cosine"),
    [
        ("constant", None, 1.0),
        ("episode", None, 0.825),
        ("step", None, 0.833),
        ("constant", over_rows, 0.991),
        ("episode", over_rows, 0.981),
        ("step", over_rows, 0.694),
    ],
)
def test_cosines_computed_elsewhere(weighting: Any, credit: Any, cosine: float) -> None:
    """All 81 groups of four of the three choices; the figures are those of an independent enumeration."""
    dist = three_choices()
    config = plain(weighting=weighting)
    estimator = Estimator.of(config, dist.game.facts, credit=credit)
    found = analyse_estimator(dist, config, estimator=estimator)
    assert found.exact and found.batches == math.comb(3 + 4 - 1, 4)
    assert found.cosine == pytest.approx(cosine, abs=5e-4)
    wrong = (found.mean_D * dist.gradient_D < -1e-6).sum()
    assert wrong == (1 if (weighting, credit) == ("step", over_rows) else 0)


def test_moments_by_hand() -> None:
    """Two choices, pairs, policy (1/2, 1/2): half of the pairs differ, and then each score is -1/4 or 1/4."""
    game = choice_game({"a": 1.0, "b": 0.0})
    dist = TrajectoryDistribution.of(
        game, tabular_policy(("a", "b"), dists={"choose": {"a": 0.5, "b": 0.5}})
    )
    np.testing.assert_allclose(dist.gradient_D[:2], [0.25, -0.25])
    found = analyse_estimator(dist, plain(group_size=2))
    # a pair that differs gives (1/2) (1/2 score_a - 1/2 score_b) = (1/4, -1/4)
    np.testing.assert_allclose(found.mean_D[:2], [0.125, -0.125])
    np.testing.assert_allclose(
        found.covariance_D_D[:2, :2], np.array([[1, -1], [-1, 1]]) * (1 / 32 - 1 / 64)
    )
    assert found.variance == pytest.approx(2 / 64)
    assert found.snr == pytest.approx(1.0)
    assert (found.generated_tokens, found.trained_tokens) == pytest.approx((2, 2))
    drawn = analyse_estimator(dist, plain(group_size=2, sampling="aaw", kept_episodes=1))
    assert drawn.zero_variance_share == pytest.approx(0.5)
    assert drawn.trained_tokens == pytest.approx(1.0)  # those without variance for their KL
    assert drawn.snr_per_generated_token == pytest.approx(drawn.snr / 2)


def test_tokens_are_counted() -> None:
    """Replies of one or two tokens; those that are trained on are all, or the share that is drawn."""
    game = attrs.evolve(choice_game({"a": 1.0, "b": 0.0}), horizon=1)
    dist = TrajectoryDistribution.of(game, random_policy(game, WORDS, tokens=2))
    spoken = [
        sum(len(c.reply_ids) for _, c in x.episode.completions("player")) for x in dist.trajectories
    ]
    mean = float(dist.probabilities_E @ np.array(spoken))
    assert mean > 1.2
    every = analyse_estimator(dist, plain(group_size=2), limit=10**6)
    assert (every.generated_tokens, every.trained_tokens) == pytest.approx((2 * mean, 2 * mean))
    one = analyse_estimator(
        dist, plain(group_size=2, sampling="uniform", kept_episodes=1), limit=10**6
    )
    assert (one.generated_tokens, one.trained_tokens) == pytest.approx((2 * mean, mean))


def test_errors_are_those_of_the_groups_that_were_drawn() -> None:
    """Where groups are apart, as many single groups are drawn however many a batch has."""
    dist = three_choices()
    one, many = (
        analyse_estimator(dist, plain(groups=groups), limit=0, samples=400) for groups in (1, 16)
    )
    assert many.standard_error_D() == pytest.approx(one.standard_error_D())


SETTINGS: list[dict[str, Any]] = [
    {},
    {"sampling": "aaw", "kept_episodes": 2},
    {"sampling": "aaw", "kept_episodes": 2, "weighting": "step", "std": "population"},
    {"sampling": "uniform", "kept_episodes": 1, "credit": "reward_to_go"},
    {"sampling": "aaw", "kept_episodes": 2, "replacement": True, "corrected": True},
]


@pytest.mark.parametrize(
    "settings",
    [*SETTINGS[:2], *(pytest.param(s, marks=pytest.mark.slow) for s in SETTINGS[2:])],
)
@given(st.data())
@examples(0.05)
def test_drawn_groups_agree_with_all_groups(settings: dict[str, Any], data: Any) -> None:
    """Means within five standard errors, scalars' intervals near the exact figures; on any small game."""
    game = data.draw(finite_games(states=1, horizon=1))
    dist = TrajectoryDistribution.of(game, random_policy(game, WORDS))
    config = plain(group_size=3, **settings)
    exact = analyse_estimator(dist, config, limit=10**6)
    drawn = analyse_estimator(dist, config, limit=0, samples=400)
    assert exact.exact and not drawn.exact
    error = np.abs(drawn.mean_D - exact.mean_D)
    assert (error <= 5 * drawn.standard_error_D() + 1e-9 + 0.02 * math.sqrt(exact.variance)).all()
    assert drawn.generated_tokens == pytest.approx(exact.generated_tokens, rel=0.3)
    for name in ("trained_tokens", "zero_variance_share"):
        low, high = drawn.interval(name)
        assert low - (high - low) - 0.05 <= getattr(exact, name) <= high + (high - low) + 0.05


def test_the_interval_of_a_mean_is_students() -> None:
    """For a mean of blocks of equal size the jackknife is the usual standard error."""
    dist = three_choices()
    drawn = analyse_estimator(dist, plain(sampling="aaw", kept_episodes=1), limit=0, samples=200)
    means = [block.tokens[1] / block.weight for block in drawn._moments]
    assert len(means) == 20 and statistics.stdev(means) > 0
    low, high = drawn.interval("trained_tokens")
    assert (low + high) / 2 == pytest.approx(drawn.trained_tokens)
    assert (high - low) / 2 == pytest.approx(2.093 * statistics.stdev(means) / math.sqrt(20))


def test_independent_groups_divide_the_variance() -> None:
    dist = three_choices()
    one, four = analyse_estimator(dist, plain()), analyse_estimator(dist, plain(groups=4))
    assert four.exact
    np.testing.assert_allclose(four.mean_D, one.mean_D)
    assert four.variance == pytest.approx(one.variance / 4)
    assert four.snr_per_generated_token == pytest.approx(one.snr_per_generated_token)
    together = analyse_estimator(dist, plain(groups=2, weighting="step"), samples=200)
    assert not together.exact and together.batches == 200  # the mean length is that of the batch


def test_what_groups_share_is_minded() -> None:
    """A hidden coin decides what is good: within a coin the returns differ from those over both."""
    coin = choice_game({"a": Finite({1.0: 0.5, -1.0: 0.5}), "b": 0.0})
    hidden = attrs.evolve(
        coin,
        starts=Finite({"heads": 0.75, "tails": 0.25}),
        moves={
            side: {("a",): Finite({Transition("end", (pay,)): 1}), ("b",): Finite({Transition("end", (0.0,)): 1})}
            for side, pay in (("heads", 1.0), ("tails", -1.0))
        },
        texts={"heads": "choose", "tails": "choose"},
        facts=Facts(perfect_information=False),
    )  # fmt: skip
    dist = TrajectoryDistribution.of(
        hidden, tabular_policy(("a", "b"), dists={"choose": {"a": 0.5, "b": 0.5}})
    )
    found = {
        on: analyse_estimator(dist, plain(group_on=on))
        for on in ("nothing", "initial_state", "initial_information")
    }
    assert all(one.scale == pytest.approx(0.75) for one in found.values())
    spread = {on: one.variance for on, one in found.items()}
    assert spread["nothing"] == pytest.approx(spread["initial_information"])
    assert spread["nothing"] != pytest.approx(spread["initial_state"])
    resolved = analyse_estimator(dist, attrs.evolve(plain(), group_on="auto", std="auto")).estimator
    assert (resolved.group_on, resolved.std) == ("nothing", "population")


def test_refusals() -> None:
    dist = three_choices()
    with pytest.raises(InvalidArgumentError, match="common_chance"):
        analyse_estimator(dist, plain(common_chance=True))
    with pytest.raises(InvalidArgumentError, match="'samples' must be at least 20"):
        analyse_estimator(dist, plain(), samples=5)


# ---- the code that users run -----------------------------------------------------------------


@pytest.mark.parametrize("groups", ["regularised", "skipped"])
def test_trained_tokens_are_the_trainers(groups: str) -> None:
    """Zero-variance groups, half of all here, are trained on for their KL, unless they are skipped."""
    game = attrs.evolve(choice_game({"a": 1.0, "b": 0.0}), horizon=1)
    policy = tabular_policy(("a", "b"), dists={"choose": {"a": 0.5, "b": 0.5}})
    config = plain(
        group_size=2,
        sampling="aaw",
        kept_episodes=1,
        zero_variance_groups=groups,
        max_reply_tokens=1,
    )
    found = analyse_estimator(TrajectoryDistribution.of(game, policy), config)
    assert found.trained_tokens == pytest.approx(1.0 if groups == "regularised" else 0.5)
    assert found.zero_variance_share == pytest.approx(0.5)
    none = attrs.evolve(config, kl_coefficient=0.0)  # then there is nothing to train on them for
    assert analyse_estimator(found.dist, none).trained_tokens == pytest.approx(0.5)
    trainer = MSGRPOTrainer(game=game, policy=policy, config=attrs.evolve(config, groups=300))
    trained = trainer.update().metrics["trained_tokens"]
    assert trained is not None
    assert trained / 300 == pytest.approx(found.trained_tokens, abs=0.1)


def test_several_roles_have_the_trainers_scale() -> None:
    """The gradient of one update of two roles, against the laboratory's batch of the same groups."""
    dist = CARDS.dist
    policy = copy.deepcopy(CARDS.policy)
    config = plain(
        groups=3, group_size=2, kl_coefficient=0.0, max_grad_norm=1e9, max_reply_tokens=1
    )
    trainer = MSGRPOTrainer(game=CARDS.game, policy=policy, config=config)
    played = trainer.update().rollouts.groups

    def told(episode: Any) -> tuple[Any, ...]:
        return tuple(
            (step.reply.text, episode.episode_return(agent))
            for agent in CARDS.game.agents
            for step in episode.agent_steps(agent)
        )

    listed = {told(line.episode): line.episode for line in dist.trajectories}
    groups = [EpisodeGroup(episodes=tuple(listed[told(e)] for e in g.episodes)) for g in played]
    batches = Batches(dist=dist, estimator=trainer.estimator, config=config, classes=[])
    roles = batches.roles(groups)
    batch = batches._batch(roles, roles, trainer.estimator.draw(roles, []), groups=3, weight=1.0)
    (parameter,) = trainer.policy.model.network.parameters()
    assert parameter.grad is not None
    expected = batch.coefficients_C @ dist.scores_C_D
    assert np.abs(expected).max() > 0.01
    assert (-parameter.grad).flatten().numpy() == pytest.approx(expected, abs=1e-7)
    mean = analyse_estimator(dist, config)
    assert mean.scale == pytest.approx(1 / 2 / 2)  # (G - 1) / (G N)


def word_model(seed: int = 0) -> TransformersModel:
    """A causal network in float64 over six words, so that its replies can be listed."""
    words = ("<end>", "<unknown>", "a", "b", "x", "y")
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, "<unknown>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>", unk_token="<unknown>"
    )
    config = Qwen2Config(
        vocab_size=len(words),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=32,
        tie_word_embeddings=True,
        eos_token_id=0,
        bos_token_id=None,
        initializer_range=0.7,
    )
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        network = Qwen2ForCausalLM(config).double()
    return TransformersModel(network, wrapped, model_id="words", chat=False)


@suppress_type_checks  # shorter tests check types
def trainers_gradient(trainer: MSGRPOTrainer, dist: TrajectoryDistribution) -> np.ndarray:
    """The gradient of the trainer's own loss, averaged over all ordered groups and all selections."""
    config = trainer.config
    total = 0.0
    parameters = list(trainer.policy.model.network.parameters())
    for members in itertools.product(dist.trajectories, repeat=config.group_size):
        group = EpisodeGroup(episodes=tuple(line.episode for line in members))
        chance = math.prod(float(line.probability) for line in members)
        roles = trainer.estimator.role_groups([group], trainer.game.agents)
        for selected, p in trainer.estimator.draw_dist(roles).enumerate():
            trainer.batch_learner.optimizer.zero_grad()
            trainer.backward(trainer.estimator.rows(roles, selected, asked=1))
            grads = [torch.zeros_like(q) if q.grad is None else q.grad for q in parameters]
            total = total - chance * float(p) * torch.cat([g.flatten() for g in grads]).numpy()
    return np.asarray(total)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"sampling": "aaw", "kept_episodes": 1},
        *(
            pytest.param(settings, marks=pytest.mark.slow)
            for settings in (
                {"sampling": "aaw", "kept_episodes": 1, "weighting": "token", "std": "population"},
                {"credit": "reward_to_go", "weighting": "step"},
            )
        ),
    ],
)
@suppress_type_checks
def test_the_trainers_own_gradient_is_the_laboratorys(settings: dict[str, Any]) -> None:
    """Loss, padding, mask, micro-batches and network of a real run against the sum of scores."""
    game = choice_game({"a": 1.0, "b": -0.5}, lengths={"a": 2})
    game = attrs.evolve(game, texts={"choose": "x", ("a", 1): "y"})
    policy = LanguageAgentPolicy(
        prompt=MemorylessPrompt(with_rules=False),
        model=word_model(),
        parser=WholeReplyParser(),
        sampling=Sampling(max_reply_tokens=1),
    )
    config = plain(group_size=2, kl_coefficient=0.0, max_reply_tokens=1, token_budget=4, **settings)
    trainer = MSGRPOTrainer(game=attrs.evolve(game, horizon=2), policy=policy, config=config)
    dist = TrajectoryDistribution.of(trainer.game, trainer.policy)
    found = analyse_estimator(dist, config)
    assert found.exact
    measured = trainers_gradient(trainer, dist)
    scale = np.linalg.norm(found.mean_D)
    assert scale > 0.01
    assert np.linalg.norm(measured - found.mean_D) <= 1e-5 * scale
    other = analyse_estimator(
        dist, attrs.evolve(config, baseline="leave_one_out")
    )  # negative control
    assert np.linalg.norm(measured - other.mean_D) > 0.01 * scale


# ---- rules -----------------------------------------------------------------------------------


def test_groups_that_are_played_until_they_pass_are_conditioned_on() -> None:
    """With enough plays the mean is divided by the probability of a signal, and so are the tokens."""
    dist = three_choices()
    every = analyse_estimator(dist, plain())
    again = analyse_estimator(dist, plain(group_filter="signal", max_plays=60))
    signal = 1 - 0.6**4 - 2 * 0.2**4
    assert again.exact and again.mean_D == pytest.approx(every.mean_D / signal)
    assert again.generated_tokens == pytest.approx(every.generated_tokens / signal)
    square = every.variance + float(every.mean_D @ every.mean_D)
    assert again.variance == pytest.approx(
        square / signal - float(every.mean_D @ every.mean_D) / signal**2
    )
    twice = analyse_estimator(dist, plain(group_filter="signal", max_plays=2))
    found = 1 - (1 - signal) ** 2
    assert twice.mean_D == pytest.approx(every.mean_D * found / signal)
    assert twice.generated_tokens == pytest.approx(every.generated_tokens * found / signal)
    silent_share = (1 - signal) ** 2 + (1 - signal) * signal / 2  # both plays, or the first of two
    assert twice.zero_variance_share == pytest.approx(silent_share)
    once = analyse_estimator(dist, plain(group_filter="signal"))
    assert once.mean_D == pytest.approx(every.mean_D)  # a batch without a signal is a step of 0
    assert once.generated_tokens == pytest.approx(every.generated_tokens)
    settings = {"groups": 2, "group_filter": "signal", "max_plays": 50}
    drawn = analyse_estimator(dist, plain(**settings), samples=600)
    low, high = drawn.interval("scale")
    assert not drawn.exact and low - 0.1 < again.scale < high + 0.1
    policy = tabular_policy(("a", "b"), dists={"choose": {"a": 0.5, "b": 0.5}})
    silent = TrajectoryDistribution.of(choice_game({"a": 1.0, "b": 1.0}), policy)
    assert not analyse_estimator(silent, plain(group_filter="signal", max_plays=2)).mean_D.any()


def test_a_corrected_draw_of_ones_own_has_the_mean_of_all_episodes() -> None:
    dist, config = three_choices(), plain(kept_episodes=1, sampling="tests.own_rules:softmax_draw")
    own, every = analyse_estimator(dist, config), analyse_estimator(dist, plain())
    assert own.exact and own.mean_D == pytest.approx(every.mean_D)
    assert own.variance > 1.5 * every.variance
    samples = analyse_estimator(dist, config, limit=0, samples=4000)
    low, high = samples.interval("scale")
    assert low < own.scale < high


def test_a_batch_rule_changes_what_is_examined() -> None:
    dist = three_choices()
    every, divided = (
        analyse_estimator(dist, plain(batch_rule=name, eps=0.5)) for name in ("none", "return_std")
    )
    alone = analyse_estimator(dist, plain(std="sample", eps=0.5))
    assert divided.mean_D == pytest.approx(alone.mean_D)  # in a batch of one group
    assert divided.mean_D != pytest.approx(every.mean_D)
    several = analyse_estimator(dist, plain(groups=2, batch_rule="return_std"), samples=40)
    assert not several.exact


def test_a_rule_that_remembers_what_it_saw_is_noticed() -> None:
    seen: list[int] = []

    def counting(group: EpisodeGroup[Any], agent: str) -> list[list[float]]:
        seen.append(1)
        return [[float(len(seen))] * len(episode.steps) for episode in group.episodes]

    dist, config = three_choices(), plain()
    grows = iter(range(1, 9))

    def growing(role_groups: Any) -> Any:
        factor = next(grows)
        return [[[factor * a for a in row] for row in g.credits_G] for g in role_groups]

    with pytest.raises(
        InvalidArgumentError, match=r"'growing' must return the same .*StatefulRule"
    ):
        analyse_estimator(
            dist, config, estimator=Estimator.of(config, dist.game.facts, batch_rule=growing)
        )
    with pytest.raises(
        InvalidArgumentError, match=r"'counting' must return the same .*StatefulRule"
    ):
        analyse_estimator(
            dist, config, estimator=Estimator.of(config, dist.game.facts, credit=counting)
        )


def test_a_draw_that_remembers_and_a_rule_that_changes_late_are_noticed() -> None:
    calls = iter(range(1000))

    def next_one(role_group: RoleGroup) -> Finite[tuple[tuple[int, float], ...]]:
        return Finite({((next(calls) % len(role_group.returns_G), 1.0),): 1.0})

    def late(group: EpisodeGroup[Any], agent: str) -> list[list[float]]:
        share = 1.0 if next(calls) < 20 else 2.0  # while groups are listed
        pairs = zip(group.episodes, group.returns_G(agent), strict=True)
        return [[share * r] * len(episode.steps) for episode, r in pairs]

    dist, config = three_choices(), plain()
    for name, rules in (("next_one", {"sampling": next_one}), ("late", {"credit": late})):
        calls = iter(range(1000))
        with pytest.raises(InvalidArgumentError, match=f"'{name}' must return the same when"):
            analyse_estimator(
                dist, config, estimator=Estimator.of(config, dist.game.facts, **rules)
            )


def first_is_the_baseline(group: EpisodeGroup[Any], agent: str) -> list[list[float]]:
    """What each member has more than the first one."""
    returns = group.returns_G(agent)
    pairs = zip(group.episodes, returns, strict=True)
    return [[r - returns[0]] * len(episode.steps) for episode, r in pairs]


def the_last(role_group: RoleGroup) -> Finite[tuple[tuple[int, float], ...]]:
    return Finite({((len(role_group.returns_G) - 1, 1.0),): 1.0})


def test_groups_are_drawn_if_a_rule_depends_on_the_order_of_their_members() -> None:
    """A group is listed in one order only: half of the draws from pairs would be left out."""
    dist, config = three_choices(), plain(group_size=2, kept_episodes=1)
    for rules in ({"credit": first_is_the_baseline}, {"sampling": the_last}):
        made = Estimator.of(config, dist.game.facts, **rules)
        found = analyse_estimator(dist, config, estimator=made, samples=400)
        assert not found.exact
        low, high = found.interval("scale")
        assert (
            low < 1 / 2 < high
        )  # one of two episodes is trained on, whose baseline is the other or the mean
    assert analyse_estimator(dist, config).exact


def test_an_analysis_refuses_an_estimator_of_other_settings() -> None:
    dist = three_choices()
    other = Estimator.of(plain(group_size=3), dist.game.facts)
    with pytest.raises(InvalidArgumentError, match="'group_size' 3, and the settings say 2"):
        analyse_estimator(dist, plain(group_size=2), estimator=other)


def test_a_rule_with_a_state_is_examined_as_its_state_stands() -> None:
    dist, config = three_choices(), plain()
    rule = MovingAverage()
    estimator = Estimator.of(config, dist.game.facts, credit=rule)
    bare = analyse_estimator(dist, config, estimator=estimator)
    assert bare.bias_D == pytest.approx(np.zeros_like(bare.bias_D))  # a fixed baseline has no bias
    rule.averages["player"] = 0.5
    found = analyse_estimator(dist, config, estimator=estimator)
    assert found.bias_D == pytest.approx(np.zeros_like(bare.bias_D))
    assert found.variance < bare.variance and rule.averages == {"player": 0.5}
