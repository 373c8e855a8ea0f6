"""Credit by a critic: by hand, in the laboratory, and the critics themselves."""

import json
import math
import zlib
from typing import Any

import attrs
import pytest
import torch

from algorithms import Estimator, MSGRPOConfig, MSGRPOTrainer
from algorithms.method.critic import CriticCredit
from algorithms.method.value_functions import Position, TableCritic, TextCritic
from games import LineWalk
from lap import LanguageAgentPolicy, Sampling, TabularModel, WholeReplyParser
from proofs import TrajectoryDistribution, analyse_estimator
from proofs.estimators.methods import _corridor, example_games
from proofs.small_games import tabular_policy
from tests.algorithms.method.test_estimator import walks
from tests.method_groups import group_of, said
from tsmg import EpisodeGroup, Facts, InvalidArgumentError

CONFIG = MSGRPOConfig(groups=1, group_size=2, sampling="all", std="none", kl_coefficient=0.0)


def rule_of(values: dict[str, float], gae_lambda: float, agent: str = "player") -> CriticCredit:
    """The rule with a table of these values."""
    rule = CriticCredit(TableCritic, gae_lambda=gae_lambda)
    critic = TableCritic()
    critic.known = dict(values)
    rule.critics[agent] = critic
    return rule


def places(*texts: str) -> list[Position]:
    """The first places of replies to these prompts."""
    return [Position(attrs.evolve(said(-1.0), prompt_text=text), 0) for text in texts]


def texts_of(group: EpisodeGroup[Any]) -> list[list[str]]:
    return [[c.prompt_text for _, c in e.completions("walker")] for e in group.episodes]


@pytest.mark.parametrize("gae_lambda", [0.0, 0.6, 1.0])
def test_advantages_are_sums_of_temporal_differences(gae_lambda: float) -> None:
    """sum_l lambda^l delta_{t+l}, written out: the walks pay 0, 0, 1, 1 at their ends."""
    group = walks()
    texts = texts_of(group)
    values = {text: 0.1 * n for n, text in enumerate(sorted({t for row in texts for t in row}))}
    found = rule_of(values, gae_lambda, "walker")(group, "walker")
    for row, advantages, end in zip(texts, found, (0, 0, 1, 1), strict=True):
        v = [*(values[text] for text in row), 0.0]
        delta = [(end if t == len(row) - 1 else 0) + v[t + 1] - v[t] for t in range(len(row))]
        expected = [
            sum(gae_lambda**k * d for k, d in enumerate(delta[t:])) for t in range(len(row))
        ]
        assert advantages == pytest.approx(expected)


def test_what_comes_later_is_discounted_by_the_steps_between() -> None:
    """Steps pay 1, 2 and 4, each counts half, and the agent is not asked at step 1; lambda is a half."""
    (walk,) = group_of([4.0], [3]).episodes
    first, silent, last = walk.steps
    silent = attrs.evolve(silent, agent_steps=(), rewards_N=(2.0,))
    steps = (attrs.evolve(first, rewards_N=(1.0,)), silent, last)
    group = EpisodeGroup(episodes=(attrs.evolve(walk, steps=steps, discount=0.5),))
    before, _, after = (c.prompt_text for _, c in walk.completions("player"))
    rule = rule_of({before: 1.0, after: 3.0}, 0.5)
    delta = (1 + 2 / 2 + 3 / 4 - 1, 4 - 3)
    (found,) = rule(group, "player")
    assert found == pytest.approx([delta[0] + 0.5 * delta[1] / 4, delta[1] / 4])


def test_a_rule_that_has_seen_nothing_has_values_of_0() -> None:
    assert CriticCredit(gae_lambda=1.0)(walks(), "walker") == [[0] * 4, [0] * 3, [1] * 2, [1] * 4]


@pytest.mark.parametrize("game", ["corridor", "hidden card", "repeated text"])
@pytest.mark.parametrize("values", [0.0, 0.7])
def test_at_lambda_1_the_gradient_is_true_whatever_the_critic_says(
    game: str, values: float
) -> None:
    """The negative control: at lambda 0 the same critic turns it."""
    dist = example_games()[game]
    texts = {c.prompt_text for _, c in dist.completions}
    wrong = {text: values * n for n, text in enumerate(sorted(texts))}

    def bias(gae_lambda: float) -> float:
        rule = rule_of(wrong, gae_lambda)
        estimator = Estimator.of(CONFIG, dist.game.facts, credit=rule)
        found = analyse_estimator(dist, CONFIG, estimator=estimator)
        return float(max(abs(found.bias_D)))

    assert bias(1.0) < 1e-9
    if game != "hidden card":  # its episodes have one step
        assert bias(0.0) > 1e-3


def test_with_the_true_values_every_lambda_is_unbiased_and_0_is_the_least_noisy() -> None:
    """Three steps that are right with 0.8, 0.7 and 0.6; the agent reads whether all were right so far."""
    chances = (0.8, 0.7, 0.6)
    game = attrs.evolve(_corridor(3), texts={})
    dists = {
        str((t, right)): {"right": chances[t], "wrong": 1 - chances[t]} for t, right in game.moves
    }
    policy = tabular_policy(("right", "wrong"), dists=dists)
    dist = TrajectoryDistribution.of(game, policy)
    prompts = {c.prompt_text.strip(): c.prompt_text for _, c in dist.completions}
    true = {prompts[str((t, True))]: math.prod(chances[t:]) for t in range(3)}
    exact = {**dict.fromkeys(prompts.values(), 0.0), **true}

    def analysis(rule: CriticCredit | None, **settings: Any) -> Any:
        config = attrs.evolve(CONFIG, **settings)
        estimator = Estimator.of(config, game.facts, credit=rule)
        return analyse_estimator(dist, config, estimator=estimator)

    found = [analysis(rule_of(exact, gae_lambda)) for gae_lambda in (0.0, 0.5, 1.0)]
    assert all(max(abs(one.bias_D)) < 1e-9 for one in found)
    bare = analysis(None, baseline="none", credit="reward_to_go")
    variances = [one.variance for one in (*found, bare)]
    assert variances == sorted(variances) and variances[0] < 0.8 * variances[-1]
    biased = analysis(rule_of(dict.fromkeys(exact, 0.3), 0.0))
    assert max(abs(biased.bias_D)) > 1e-3


def test_a_table_moves_towards_the_mean_of_an_update() -> None:
    critic = TableCritic(rate=0.25)
    assert critic.values(places("a")) == [0.0]
    critic.fit(places("a", "a", "b"), [1.0, 3.0, 6.0])
    assert critic.values(places("a", "b", "new")) == [2.0, 6.0, 4.0]
    critic.fit(places("a"), [10.0])
    assert critic.values(places("a", "b", "new")) == [4.0, 6.0, 5.0]
    other = TableCritic()
    other.load_state(json.loads(json.dumps(critic.state())))
    assert other.values(places("a", "b", "new")) == [4.0, 6.0, 5.0]


def test_a_network_reads_where_a_character_stands() -> None:
    """It fits a rule over boards and tells boards apart that it never read; bags of characters are all alike."""
    boards = [
        "\n".join("P" if n == place else "." for n in range(6)) + f"\n{mark}"
        for place in range(6)
        for mark in "xy"
    ]
    worth = [float(board.index("P") // 2) for board in boards]
    critic = TextCritic(steps=300, learning_rate=0.01)
    critic.fit(places(*boards[:-1]), worth[:-1])
    assert critic.values(places(*boards[:-1])) == pytest.approx(worth[:-1], abs=0.2)
    assert critic.values(places(*boards[-1:])) == pytest.approx(worth[-1:], abs=1.0)
    assert critic.values([]) == []


def test_a_network_goes_on_bit_for_bit_from_its_state() -> None:
    one, other = TextCritic(steps=5), TextCritic(steps=5, seed=1)
    texts, returns = places("a b", "b a", "c"), [1.0, 0.0, 2.0]
    one.fit(texts, returns)
    other.load_state(json.loads(json.dumps(one.state())))
    for critic in (one, other):
        critic.fit(texts, returns)
    assert one.values(texts) == other.values(texts)
    assert one.state() == other.state()
    before = torch.random.get_rng_state()
    TextCritic()
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(("gae", "tokens"), [("turn", 1), ("token", 2)])
def test_the_critic_of_a_run_learns_from_its_updates(gae: Any, tokens: int) -> None:
    """With two tokens a reply must also end after its word."""
    rule = CriticCredit(TableCritic, gae_lambda=0.9, gae=gae)
    config = MSGRPOConfig(
        updates=30,
        groups=4,
        group_size=8,
        sampling="all",
        batch_rule="whitened",
        max_reply_tokens=tokens,
        learning_rate=0.1,
        kl_coefficient=0.0,
    )
    game = LineWalk(length=4, horizon=4)
    policy = LanguageAgentPolicy(
        model=TabularModel(("left", "right")),
        parser=WholeReplyParser(),
        sampling=Sampling(max_reply_tokens=tokens),
    )
    trainer = MSGRPOTrainer(
        game=game,
        policy=policy,
        config=config,
        estimator=Estimator.of(config, game.facts, credit=rule),
    )
    before = trainer.evaluate(100).reward
    trainer.train()
    assert before < 0.5
    assert trainer.evaluate(100).reward > 0.9
    assert rule.critics["walker"].values(places("anything"))[0] > 0.5
    assert any("<0:" in text for text in rule.critics["walker"].state()["known"]) == (tokens == 2)
    other = Estimator.of(config, Facts(), credit=CriticCredit(TableCritic))
    other.load_state(json.loads(json.dumps(trainer.estimator.state())))
    assert other.state() == trainer.estimator.state()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CriticCredit(gae_lambda=1.1), "'gae_lambda' must be in"),
        (lambda: CriticCredit(gae="tokens"), "'gae' must be turn, token or bi_level"),  # type: ignore[arg-type]
        (lambda: TableCritic(rate=0.0), "'rate' must be in"),
    ],
)
def test_settings_out_of_range_are_refused(make: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        make()


def test_a_network_reads_each_prompt_once_for_all_places_of_its_replies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is read at a place is its whole text; another route gives the text as a prompt of its own."""
    reply = attrs.evolve(said(-1.0, -1.0, -1.0), prompt_text="a board\nof two lines")
    inside = [Position(reply, l) for l in (2, 0, 1)]
    whole = places(*(position.text for position in inside))
    one, other = TextCritic(steps=20), TextCritic(steps=20)
    one.fit(inside, [2.0, 0.0, 1.0])
    other.fit(whole, [2.0, 0.0, 1.0])
    expected = other.values(whole)
    assert one.values(inside) == pytest.approx(expected, abs=1e-4)
    assert max(expected) - min(expected) > 0.5
    assert len(one.values(places(""))) == 1
    read: list[bytes] = []
    plain = zlib.crc32

    def hashed(name: bytes) -> int:
        read.append(name)
        return plain(name)

    monkeypatch.setattr(zlib, "crc32", hashed)
    one.values(inside)
    assert read.count(b"board") == 1 and read.count(b"<0:0>") == 2


def test_half_a_character_has_a_feature() -> None:
    """Texts of strangers may hold one."""
    critic = TextCritic()
    assert critic._features("a \ud83d") != critic._features("a")
