"""Who plays whom, and who learns: checked on matching pennies with tabular policies."""

import attrs
import pytest
import torch

import games
from algorithms import MSGRPOTrainer
from algorithms.play.matchups import AlternatingRoles, FixedOpponents, SelfPlay
from algorithms.training.past_opponents import PastOpponents
from lap import LanguageAgentPolicy, MemorylessPrompt, Sampling, TabularModel, WholeReplyParser
from tests.runs import SMALL_RUN
from tsmg import (
    EpisodeKey,
    History,
    InvalidArgumentError,
    Observation,
    PlayerPolicy,
    Request,
    UniformPlayer,
)

GAME = games.make("MatchingPennies-v0")
CONFIG = attrs.evolve(SMALL_RUN, updates=3)


def tabular():
    return LanguageAgentPolicy(
        prompt=MemorylessPrompt(with_rules=False),
        model=TabularModel(("heads", "tails"), capacity=50),
        parser=WholeReplyParser(),
    )


def weights(policy):
    return policy.model.network.state_dict()["logits"].clone()


def uniform():
    return PlayerPolicy(GAME, UniformPlayer(GAME))


def test_who_learns_in_each_group():
    learner, other = tabular(), uniform()
    learning = {"row": learner, "column": learner}
    assert SelfPlay().matchup(learning, 0).learners == ("row", "column")
    against = FixedOpponents({"column": other}).matchup(learning, 3)
    assert against.learners == ("row",)
    assert against.policies == {"row": learner, "column": other}
    first, second = (AlternatingRoles(other).matchup(learning, g) for g in (0, 1))
    assert (first.learners, second.learners) == (("row",), ("column",))
    assert second.policies == {"row": other, "column": learner}


@pytest.mark.parametrize(
    "matchups", [SelfPlay(), FixedOpponents({"column": uniform()}), AlternatingRoles(uniform())]
)
def test_only_learners_calls_are_learnt_from(matchups):
    trainer = MSGRPOTrainer(game=GAME, policy=tabular(), config=CONFIG, matchups=matchups)
    update = trainer.update()
    learners = [matchups.matchup(trainer.policies, g).learners for g in range(CONFIG.groups)]
    assert len(update.rollouts.groups) == CONFIG.groups
    rows = CONFIG.kept_episodes * sum(map(len, learners))
    assert update.metrics["kept_episodes"] <= rows
    assert update.metrics["trained_tokens"] > 0
    roles = {agent for names in learners for agent in names}
    by_agent = {name for name in update.metrics if name.startswith("reward/")}
    assert by_agent == ({f"reward/{agent}" for agent in roles} if len(roles) > 1 else set())


def test_a_frozen_language_agent_stays_as_it_is():
    learner, frozen = tabular(), tabular().with_sampling(Sampling(max_reply_tokens=2))
    before = weights(frozen)
    trainer = MSGRPOTrainer(
        game=GAME, policy=learner, config=CONFIG, matchups=FixedOpponents({"column": frozen})
    )
    start = weights(learner)
    trainer.train()
    assert torch.equal(weights(frozen), before)
    assert not torch.equal(weights(learner), start)


def test_agents_with_policies_of_their_own_learn_apart():
    """The first step of each is the one that it takes where the other does not learn."""
    config = attrs.evolve(CONFIG, updates=1, sampling="all", max_grad_norm=1e6)
    own = {"row": tabular(), "column": tabular()}
    MSGRPOTrainer(game=GAME, policy=own, config=config).train()
    for agent, other in (("row", "column"), ("column", "row")):
        alone = tabular()
        matchups = FixedOpponents({other: tabular()})
        MSGRPOTrainer(game=GAME, policy=alone, config=config, matchups=matchups).train()
        assert float(weights(alone).abs().max()) > 0.1
        torch.testing.assert_close(weights(own[agent]), weights(alone), rtol=1e-4, atol=1e-4)
    shared = tabular()
    MSGRPOTrainer(game=GAME, policy=shared, config=config).train()
    assert not torch.allclose(weights(shared), weights(own["row"]), atol=1e-2)


def test_the_best_reply_to_a_fixed_opponent_is_learnt():
    """Against a column player who always says heads, the row player's only best reply is heads."""
    from lap import ScriptedModel

    heads = LanguageAgentPolicy(
        prompt=MemorylessPrompt(), model=ScriptedModel(lambda _: "heads"), parser=WholeReplyParser()
    )
    config = attrs.evolve(CONFIG, updates=40)
    trainer = MSGRPOTrainer(
        game=GAME, policy=tabular(), config=config, matchups=FixedOpponents({"column": heads})
    )
    assert abs(trainer.evaluate(200).reward) < 0.5
    trainer.train()
    assert trainer.evaluate(200).reward > 0.9


def test_a_cast_must_give_everyone_a_policy_and_let_one_learn():
    other = uniform()
    for policy, matchups in (
        (tabular(), FixedOpponents({"row": other, "column": other})),
        ({"row": tabular()}, SelfPlay()),
    ):
        with pytest.raises(InvalidArgumentError, match="policy"):
            MSGRPOTrainer(game=GAME, policy=policy, config=CONFIG, matchups=matchups)


def request(group, episode):
    history = History(agent="row", rules="", turns=(), observation=Observation(text="go"))
    return Request(history=history, key=EpisodeKey(seed=0, group=group, episode=episode), step=0)


def test_past_selves_are_frozen_kept_to_a_size_and_shared_by_a_group():
    policy = tabular()
    past = PastOpponents(policy, every=2, size=3)
    for update in range(1, 9):
        with torch.no_grad():
            policy.model.logits.fill_(float(update))
        past.remember(policy, update)
    assert [float(weights(copy)[0, 0]) for copy in past.copies] == [4.0, 6.0, 8.0]
    met = {g: {past._index(request(g, e)) for e in range(16)} for g in range(40)}
    assert all(len(which) == 1 for which in met.values())
    assert {next(iter(which)) for which in met.values()} == {0, 1, 2}
    replies = past.reply([request(g, 0) for g in range(10)])
    assert len(replies) == 10
    for bad in ({"every": 0}, {"size": 0}):
        with pytest.raises(InvalidArgumentError):
            PastOpponents(policy, **bad)


def test_a_past_self_is_met_in_training():
    policy = tabular()
    past = PastOpponents(policy, every=1, size=2)
    trainer = MSGRPOTrainer(
        game=GAME, policy=policy, config=CONFIG, matchups=AlternatingRoles(past)
    )
    trainer.train()
    assert len(past.copies) == 2
    assert torch.equal(weights(past.copies[-1]), weights(trainer.policy))
    assert not torch.equal(weights(past.copies[0]), weights(past.copies[1]))


@pytest.mark.parametrize("followed", ["row", "column"])
def test_past_selves_follow_the_policy_that_they_were_made_of(followed):
    """Where several policies learn, an opponent's copies are of its own policy, and of no other."""
    policies = {"row": tabular(), "column": tabular()}
    past = PastOpponents(policies[followed], every=1, size=2)
    trainer = MSGRPOTrainer(
        game=GAME, policy=policies, config=CONFIG, matchups=AlternatingRoles(past)
    )
    trainer.train()
    row, column = (weights(trainer.policies[agent]) for agent in ("row", "column"))
    assert not torch.equal(row, column)
    assert torch.equal(weights(past.copies[-1]), {"row": row, "column": column}[followed])


def test_past_selves_of_a_policy_that_does_not_learn_are_refused():
    policies = {"row": tabular(), "column": tabular()}
    with pytest.raises(InvalidArgumentError, match="past opponents must follow a policy that"):
        MSGRPOTrainer(
            game=GAME,
            policy=policies,
            config=CONFIG,
            matchups=AlternatingRoles(PastOpponents(tabular())),
        )
    trainer = MSGRPOTrainer(  # where one policy learns there is no doubt
        game=GAME,
        policy=tabular(),
        config=CONFIG,
        matchups=AlternatingRoles(past := PastOpponents(tabular(), every=1)),
    )
    trainer.update()
    assert torch.equal(weights(past.copies[-1]), weights(trainer.policy))


@pytest.mark.parametrize(
    ("game", "settings", "std", "group_on"),
    [
        ("FrozenLake-v0", {}, "population", "initial_state"),
        ("KuhnPoker-v0", {}, "population", "nothing"),
        ("KuhnPoker-v0", {"group_on": "initial_state", "corrected": True}, "none", "initial_state"),
        ("FrozenLake-v0", {"common_chance": True, "corrected": True}, "none", "initial_state"),
        ("FrozenLake-v0", {"std": "sample"}, "sample", "initial_state"),
    ],
)
def test_what_auto_comes_to(game, settings, std, group_on):
    config = attrs.evolve(CONFIG, **settings)
    trainer = MSGRPOTrainer(game=games.make(game), policy=tabular(), config=config)
    assert (trainer.config.std, trainer.config.group_on) == (std, group_on)


def test_dividing_where_a_group_shares_hidden_cards_warns():
    config = attrs.evolve(CONFIG, std="population", group_on="initial_state", corrected=True)
    with pytest.warns(UserWarning, match="reverse which action"):
        MSGRPOTrainer(game=games.make("KuhnPoker-v0"), policy=tabular(), config=config)
