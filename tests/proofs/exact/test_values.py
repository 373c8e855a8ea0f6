"""Exact values: against enumerations by another route, known answers, and refusals."""

from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typeguard import suppress_type_checks

import games
from games.kuhn_poker import KuhnEquilibrium
from games.matrix import MatrixGame
from games.tic_tac_toe import PerfectTicTacToe
from lap import (
    LanguageAgentPolicy,
    LastTurnsPrompt,
    MemorylessPrompt,
    Sampling,
    TabularModel,
    WholeReplyParser,
)
from proofs import InducedPlayer, best_response_return, expected_returns, nash_conv
from tests.games import test_small_games as by_enumeration
from tests.strategies import Drift, examples
from tsmg import (
    AbstractExplicitGame,
    AbstractPlayer,
    EpisodeKey,
    EpisodeSpec,
    Finite,
    GameLawError,
    InvalidArgumentError,
    NotEnumerableError,
    Transition,
    UniformPlayer,
    deterministic,
    play,
    uniform,
    with_horizon,
)

KUHN = games.make("KuhnPoker-v0")


def both(player):
    return {"first": player, "second": player}


def test_kuhn_has_its_published_values():
    """H. W. Kuhn, 1950: -1/18 to the first player; 11/12 for the uniform policy is OpenSpiel's value."""
    for bluff in (0.0, 0.1, 1 / 3):
        players = both(KuhnEquilibrium(bluff=bluff))
        assert expected_returns(KUHN, players)["first"] == pytest.approx(-1 / 18)
        assert nash_conv(KUHN, players) == pytest.approx(0, abs=1e-12)
    assert nash_conv(KUHN, both(UniformPlayer(KUHN))) == pytest.approx(11 / 12)


@examples(0.3)
@given(st.lists(st.floats(0.01, 0.99), min_size=12, max_size=12))
@suppress_type_checks
def test_nash_conv_is_that_of_all_pure_strategies(bets):
    """The same by trying each of the 64 pure strategies of both players."""

    class Anyone(AbstractPlayer[Any, Any]):
        def action_dist(self, state, agent):
            card = ("jack", "queen", "king").index(state.cards[("first", "second").index(agent)])
            spot = [(), ("pass",), ("bet",), ("pass", "bet")].index(state.deeds)
            p = bets[3 * spot + card]
            return Finite({"bet": p, "pass": 1 - p})

    player = Anyone()
    assert nash_conv(KUHN, both(player)) == pytest.approx(by_enumeration.nash_conv(player))


@pytest.mark.slow
@suppress_type_checks
def test_perfect_play_of_tic_tac_toe_cannot_be_beaten():
    game = games.make("TicTacToe-v0")
    perfect, uniform = PerfectTicTacToe(), UniformPlayer(game)
    players = {"x": perfect, "o": perfect}
    assert nash_conv(game, players) == pytest.approx(0)
    beaten = best_response_return(game, {"o": uniform}, "x")
    assert beaten > expected_returns(game, {"x": perfect, "o": uniform})["x"] > 0.9


PAYOFF = st.integers(-3, 3).map(float)


@given(st.lists(st.tuples(PAYOFF, PAYOFF), min_size=6, max_size=6), st.integers(1, 2))
def test_best_responses_in_matrix_games(cells, rounds):
    """Against a uniform player every round has the best expected payoff: the greatest mean of a row."""
    game = MatrixGame(payoffs=(tuple(cells[:3]), tuple(cells[3:])), rounds=rounds)
    uniform = UniformPlayer(game)
    row = np.array(game.payoffs)[:, :, 0]
    column = np.array(game.payoffs)[:, :, 1]
    best_row = best_response_return(game, {"column": uniform}, "row")
    best_column = best_response_return(game, {"row": uniform}, "column")
    assert best_row == pytest.approx(rounds * row.mean(1).max())
    assert best_column == pytest.approx(rounds * column.mean(0).max())
    values = expected_returns(game, {"row": uniform, "column": uniform})
    assert values["row"] == pytest.approx(rounds * row.mean())


def test_a_best_response_must_not_see_the_hidden_card():
    """Negative control: with the whole state as knowledge the value is greater."""
    equilibrium = {"first": KuhnEquilibrium()}
    honest = best_response_return(KUHN, equilibrium, "second")

    @attrs.frozen(kw_only=True)
    class Peeking(AbstractExplicitGame[Any, Any]):
        agents = KUHN.agents
        horizon = KUHN.horizon

        def information_key(self, state, agent):
            return state

        initial_state_dist = staticmethod(KUHN.initial_state_dist)
        transition_dist = staticmethod(KUHN.transition_dist)
        is_terminal = staticmethod(KUHN.is_terminal)
        acting_agents = staticmethod(KUHN.acting_agents)
        legal_actions = staticmethod(KUHN.legal_actions)
        observation_text = staticmethod(KUHN.observation_text)
        action_text = staticmethod(KUHN.action_text)

    assert honest == pytest.approx(1 / 18)
    assert best_response_return(Peeking(), equilibrium, "second") > honest + 0.1


def test_the_horizon_cuts_and_the_discount_counts():
    game = games.make("LineWalk-v0", length=2)
    uniform = {"walker": UniformPlayer(game)}
    assert expected_returns(game, uniform)["walker"] == pytest.approx(0.5)
    longer = games.make("LineWalk-v0", length=4)
    walker = {"walker": UniformPlayer(longer)}
    assert best_response_return(longer, {}, "walker") == pytest.approx(1.0)
    cut = with_horizon(longer, 1)
    assert best_response_return(cut, {}, "walker") == pytest.approx(0.0)
    assert 0 < expected_returns(with_horizon(longer, 4), walker)["walker"] < 0.5


def test_what_cannot_be_walked_is_refused():
    uniform = UniformPlayer(KUHN)
    with pytest.raises(NotEnumerableError, match="more than 10 nodes"):
        expected_returns(KUHN, both(uniform), limit=10)
    with pytest.raises(InvalidArgumentError, match="second"):
        nash_conv(KUHN, {"first": uniform})
    drift = Drift()
    players = dict.fromkeys(drift.agents, UniformPlayer(drift))
    for value in (expected_returns, nash_conv):
        with pytest.raises(NotEnumerableError, match="Drift is a sampled game"):
            value(drift, players)


def tabular():
    return LanguageAgentPolicy(
        prompt=MemorylessPrompt(with_rules=False),
        model=TabularModel(("pass", "bet"), capacity=60),
        parser=WholeReplyParser(),
        sampling=Sampling(max_reply_tokens=2),
    )


@pytest.mark.slow
def test_the_induced_law_is_that_of_the_replies():
    """Frequencies of played actions, given that they were valid, against the distribution from log-probabilities."""
    policy = tabular()
    state = next(s for s, _ in KUHN.initial_state_dist().enumerate())
    player = InducedPlayer(KUHN, policy, least=0.1)
    dist = player.action_dist(state, "first").pmf()
    assert dist["bet"] == pytest.approx(0.5)
    prompt = policy.model.contexts[0][0]
    policy.model.logits.data[policy.model.row(prompt)] = policy.model.logits.new_tensor(
        [0.0, 1.0, 0.5]
    )
    player = InducedPlayer(KUHN, policy, least=0.1)
    expected = player.action_dist(state, "first").pmf()["bet"]
    assert expected == pytest.approx(np.e / (1 + np.e), rel=1e-6)
    specs = [EpisodeSpec(key=EpisodeKey(seed=0, episode=i)) for i in range(3000)]
    firsts = [e.steps[0].agent_steps[0] for e in play(KUHN, policy, specs)]
    mine = [
        a
        for a in firsts
        if a.is_valid and a.observation.text == KUHN.observation_text(state, "first")
    ]
    share = sum(a.outcome.action == "bet" for a in mine) / len(mine)
    assert abs(share - expected) < 4 * (0.25 / len(mine)) ** 0.5
    assert len(mine) > 100


def test_a_policy_that_says_something_else_has_no_induced_law():
    state = next(s for s, _ in KUHN.initial_state_dist().enumerate())
    player = InducedPlayer(KUHN, tabular())
    assert sum(player.reply_dist(state, "first").values()) == pytest.approx(2 / 9)
    with pytest.raises(GameLawError, match="canonical replies"):
        player.action_dist(state, "first")
    with pytest.raises(InvalidArgumentError):
        InducedPlayer(KUHN, tabular(), least=0)
    with_logit_cache = attrs.evolve(tabular(), prompt=LastTurnsPrompt(with_rules=False))
    with pytest.raises(InvalidArgumentError, match="without memory"):
        InducedPlayer(KUHN, with_logit_cache)


@attrs.frozen(kw_only=True)
class Doors(AbstractExplicitGame[int, str]):
    """Two rooms that read alike and have different doors; or nobody lists them."""

    agents = ("player",)
    horizon = 1
    listed: bool = True

    def initial_state_dist(self):
        return uniform([1, 2])

    def is_terminal(self, state):
        return state == 0

    def acting_agents(self, state):
        return self.agents

    def legal_actions(self, state, agent):
        return {1: ("a", "b"), 2: ("b", "c")}[state] if self.listed else None

    def transition_dist(self, state, joint_action):
        return deterministic(Transition(0, (0.0,)))

    def observation_text(self, state, agent):
        return "a room"

    def action_text(self, state, agent, action):
        return action


def test_states_that_read_alike_may_have_different_actions():
    game = Doors()
    policy = attrs.evolve(
        tabular(),
        model=TabularModel(("a", "b", "c"), capacity=9),
        sampling=Sampling(max_reply_tokens=1),
    )
    player = InducedPlayer(game, policy, least=0.1)
    for state in (1, 2, 1):
        support = player.action_dist(state, "player").support()
        assert set(support) == set(game.legal_actions(state, "player"))


def test_actions_that_are_not_listed_have_no_best_response():
    with pytest.raises(NotEnumerableError, match="no legal actions are listed for player"):
        best_response_return(Doors(listed=False), {}, "player")
