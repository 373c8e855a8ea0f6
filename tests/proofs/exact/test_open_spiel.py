"""Exact values against OpenSpiel's own solvers, which share no code with ours."""

import warnings
from typing import Any

import pytest

import games
from proofs import expected_returns, nash_conv
from tsmg import AbstractPlayer, Finite, UniformPlayer

pyspiel = pytest.importorskip("pyspiel")

GAMES = (
    "kuhn_poker",
    "kuhn_poker(players=3)",
    "leduc_poker",
    "tiny_hanabi",
    "goofspiel(num_cards=3,imp_info=True,points_order=descending)",
    "liars_dice(dice_sides=3,numdice=1)",
)


def theirs(name: str) -> tuple[Any, Any, Any, Any]:
    """OpenSpiel's game, one move at a time, and its modules of policies and solvers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from its own imports
        from open_spiel.python import policy
        from open_spiel.python.algorithms import expected_game_score, exploitability
    game = pyspiel.load_game(name)
    if game.get_type().dynamics == pyspiel.GameType.Dynamics.SIMULTANEOUS:
        game = pyspiel.convert_to_turn_based(game)
    return game, policy, exploitability, expected_game_score


@pytest.mark.parametrize(
    "name",
    [pytest.param(g, marks=[pytest.mark.slow] if g == "leduc_poker" else []) for g in GAMES],
)
def test_values_and_nash_conv_of_uniform_play(name: str) -> None:
    game = games.from_open_spiel(name)
    uniform = dict.fromkeys(game.agents, UniformPlayer(game))
    other, policy, exploitability, scores = theirs(name)
    dist = policy.UniformRandomPolicy(other)
    values = scores.policy_value(other.new_initial_state(), [dist] * other.num_players())
    assert list(expected_returns(game, uniform).values()) == pytest.approx(list(values), abs=1e-9)
    conv = exploitability.nash_conv(other, dist, use_cpp_br=False)
    assert nash_conv(game, uniform) == pytest.approx(float(conv))


@pytest.mark.parametrize("iterations", [3, 300])
def test_a_policy_that_openspiel_found(iterations: int) -> None:
    """Its counterfactual regret minimisation on Kuhn poker, early and late, judged by both."""
    other, _, exploitability, scores = theirs("kuhn_poker")
    from open_spiel.python.algorithms import cfr

    solver = cfr.CFRSolver(other)
    for _ in range(iterations):
        solver.evaluate_and_update_policy()
    found = solver.average_policy()
    game = games.from_open_spiel("kuhn_poker")

    class Theirs(AbstractPlayer[Any, Any]):
        def action_dist(self, state: Any, agent: str) -> Finite[Any]:
            dist = found.policy_for_key(game.information_key(state, agent)[0])
            legal = game.legal_actions(state, agent)
            assert legal is not None and len(legal) == len(dist)
            return Finite(dict(zip(legal, map(float, dist), strict=True)))

    players = dict.fromkeys(game.agents, Theirs())
    conv = exploitability.nash_conv(other, found, use_cpp_br=False)
    assert nash_conv(game, players) == pytest.approx(float(conv), abs=1e-9)
    values = scores.policy_value(other.new_initial_state(), [found] * 2)
    mine = expected_returns(game, players)
    assert list(mine.values()) == pytest.approx(list(values), abs=1e-9)
    if iterations == 300:
        assert next(iter(mine.values())) == pytest.approx(-1 / 18, abs=0.01)
