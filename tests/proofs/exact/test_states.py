"""State graphs: known numbers of states, distributions that sum to 1, and refusals."""

from collections import Counter
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typeguard import suppress_type_checks

import games
from proofs import expected_returns, state_graph, trajectories
from proofs.small_games import WORDS, finite_games, tabular_policy
from tests.strategies import Coins, Countdown, examples
from tsmg import NotEnumerableError, PlayerPolicy, UniformPlayer


@suppress_type_checks
def test_tic_tac_toe_has_its_known_number_of_positions() -> None:
    """5478 positions can be reached, 958 of them final (a count that is published in many places)."""
    graph = state_graph(games.make("TicTacToe-v0"), invalid=False)
    assert len(graph.states) == 5478
    assert len(graph.states) - len(graph.edges) == 958
    by_depth = [Counter(graph.depths)[n] for n in range(10)]
    assert by_depth == [1, 9, 72, 252, 756, 1260, 1520, 1140, 390, 78]


@examples(0.4)
@given(st.data(), st.integers(1, 2))
@suppress_type_checks
def test_the_graph_holds_what_play_meets(data: Any, agents: int) -> None:
    """Every state of every line of play is in it, at no smaller depth, and its distributions sum to 1."""
    game = data.draw(finite_games(agents=agents, horizon=2))
    graph = state_graph(game)
    numbers = {state: n for n, state in enumerate(graph.states)}
    for trajectory in trajectories(game, tabular_policy(WORDS)):
        for step in trajectory.episode.steps:
            assert graph.depths[numbers[step.state]] <= step.t
        assert trajectory.episode.final_state in numbers
    assert sum(p for _, p in graph.starts) == 1
    for edges in graph.edges.values():
        for dist in edges.values():
            assert sum(Fraction(p) for _, p in dist) == 1


def test_invalid_texts_lead_to_states_of_their_own() -> None:
    valid = state_graph(Countdown(), invalid=False)
    whole = state_graph(Countdown())
    assert {s.state for s in valid.states} == {s.state for s in whole.states}
    assert len(whole.states) > len(valid.states)
    first = whole.edges[0]
    assert len(first) == 2 + 2  # take 1, take 2; illegal, malformed


def test_chance_alone_and_simultaneous_moves() -> None:
    graph = state_graph(Coins(rounds=1), invalid=False)
    assert len(graph.edges[0]) == 9
    game = games.make("KuhnPoker-v0")
    deals = state_graph(game, invalid=False)
    assert len(deals.starts) == 6 and sum(p for _, p in deals.starts) == 1
    met = {
        s.state.state
        for x in trajectories(game, PlayerPolicy(game, UniformPlayer(game)))
        for s in x.episode.steps
    }
    assert met <= {closed.state for closed in deals.states}


def test_refusals() -> None:
    with pytest.raises(NotEnumerableError, match=r"more than 100 states: \d+ after step \d"):
        state_graph(games.make("TicTacToe-v0"), limit=100)
    with pytest.raises(NotEnumerableError):
        state_graph(games.make("GaussianBandit-v0"))


def test_a_game_with_very_many_starts_is_refused_at_once() -> None:
    """Some 10^9 boards of Snake: the starts are bounded before any is played."""
    game = games.make("Snake-v0")
    uniform = UniformPlayer(game)
    for look in (
        lambda: state_graph(game, limit=100),
        lambda: trajectories(game, PlayerPolicy(game, uniform), limit=100),
        lambda: expected_returns(game, dict.fromkeys(game.agents, uniform), limit=100),
    ):
        with pytest.raises(NotEnumerableError, match="more than 100"):
            look()
