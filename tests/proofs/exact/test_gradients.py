"""The exact gradient by several routes, in one role and in several."""

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typeguard import suppress_type_checks

import games
from proofs import TrajectoryDistribution, central_differences
from proofs.small_games import WORDS, choice_game, finite_games, random_policy
from tests.strategies import examples
from tsmg import InvalidArgumentError, PlayerPolicy, UniformPlayer


@examples(0.6)
@given(st.data(), st.integers(1, 2), st.integers(0, 10_000))
@suppress_type_checks
def test_three_routes_to_the_true_gradient(data: st.DataObject, agents: int, seed: int) -> None:
    """Score sum, autodiff, and central differences of the value; two agents share their weights."""
    game = data.draw(finite_games(agents=agents, horizon=3 - agents))
    dist = TrajectoryDistribution.of(game, random_policy(game, WORDS, seed=seed))
    by_autodiff, by_differences = dist.autodiff_gradient_D(), central_differences(dist)
    np.testing.assert_allclose(dist.gradient_D, by_autodiff, atol=1e-12)
    distance = np.linalg.norm(dist.gradient_D - by_differences)
    assert distance <= 1e-6 * (np.linalg.norm(dist.gradient_D) + 1e-3)


def test_replies_of_several_tokens_count_whole() -> None:
    game = attrs.evolve(choice_game({"a": 1.0, "b": 0.0}), horizon=1)
    dist = TrajectoryDistribution.of(game, random_policy(game, WORDS, tokens=2))
    assert max(len(completion.reply_ids) for _, completion in dist.completions) == 2
    np.testing.assert_allclose(dist.gradient_D, central_differences(dist), atol=1e-8)
    assert np.linalg.norm(dist.gradient_D) > 0.01


def test_self_play_sums_each_roles_own_part() -> None:
    """In a zero-sum game the gradient of the summed returns is 0, and the sum of the roles' own parts is not."""
    game = games.make("KuhnPoker-v0")
    dist = TrajectoryDistribution.of(game, random_policy(game, ("pass", "bet"), seed=1))
    valid = [
        all(a.is_valid for s in x.episode.steps for a in s.agent_steps) for x in dist.trajectories
    ]
    summed_E = dist.returns_E("first") + dist.returns_E("second")
    assert not summed_E[valid].any() and np.linalg.norm(dist.gradient_D) > 0.1
    alone = TrajectoryDistribution.of(game, dist.policies, learners=["second"])
    np.testing.assert_allclose(alone.role_gradient_D("second"), alone.gradient_D)
    assert np.linalg.norm(alone.gradient_D - dist.gradient_D) > 0.01


@suppress_type_checks
def test_learners_of_their_own_have_weights_of_their_own() -> None:
    game = games.make("KuhnPoker-v0")
    first, second = (random_policy(game, ("pass", "bet"), seed=seed) for seed in (1, 2))
    dist = TrajectoryDistribution.of(game, {"first": first, "second": second})
    half = first.model.logits.numel()
    assert dist.gradient_D.shape == (half + second.model.logits.numel(),)
    assert not dist.role_gradient_D("first")[half:].any()
    np.testing.assert_allclose(dist.gradient_D, central_differences(dist), atol=1e-8)
    np.testing.assert_allclose(dist.gradient_D, dist.autodiff_gradient_D(), atol=1e-12)


def test_nobody_learns_without_a_language_agent() -> None:
    game = games.make("KuhnPoker-v0")
    uniform = PlayerPolicy(game, UniformPlayer(game))
    with pytest.raises(InvalidArgumentError, match="language-agent policy"):
        TrajectoryDistribution.of(game, uniform)
    dist = TrajectoryDistribution.of(
        game, {"first": uniform, "second": random_policy(game, ("pass", "bet"))}
    )
    assert dist.learners == ("second",)


def test_an_agent_without_a_policy_is_named() -> None:
    game = games.make("TicTacToe-v0")
    policy = random_policy(game, WORDS)
    with pytest.raises(InvalidArgumentError, match="'o'"):
        TrajectoryDistribution.of(game, {"x": policy})
