"""Gathering: laws by hand, the lone player's optimum in closed form, the dilemma by exact best replies, and metrics."""

import functools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms.play.optimum import optimal_return
from games.gathering import ACTIONS, Board, Gatherer, Gathering, Player
from games.social import equality, social_metrics, sustainability
from games.walkers import Walker, towards
from tests.strategies import examples
from tsmg import Episode, EpisodeKey, EpisodeSpec, InvalidArgumentError, PlayerPolicy, play


def player(row: int, column: int, facing: str = "up", hits: int = 0) -> Player:
    return Player(Walker((row, column), facing), hits)


def after(game: Gathering, board: Board, *actions: str) -> dict[Board, Fraction]:
    """The boards that may follow, and how likely they are."""
    acting = game.acting_agents(board)
    dist = game.transition_dist(board, dict(zip(acting, actions, strict=True)))
    return dist.map(lambda transition: transition.state).pmf()


LINE = Gathering(players=3, rows=1, columns=6, radius=0, reach=3, hits=2, tagged_steps=2)


def test_one_of_those_who_want_a_cell_gets_it_and_all_look_where_they_went() -> None:
    game = Gathering(players=2, rows=1, columns=7, radius=0)
    board = Board((player(0, 0), player(0, 2)), (0,))
    first = Board((player(0, 1, "right"), player(0, 2, "left")), (0,))
    second = Board((player(0, 0, "right"), player(0, 1, "left")), (0,))
    assert after(game, board, "right", "left") == {first: Fraction(1, 2), second: Fraction(1, 2)}


def test_nobody_enters_a_cell_where_somebody_was_or_leaves_the_grid() -> None:
    board = Board((player(0, 0), player(0, 1), player(0, 5)), (0,))
    (moved,) = after(LINE, board, "right", "left", "right")
    assert [p.walker for p in moved.players] == [
        Walker((0, 0), "right"),
        Walker((0, 1), "left"),
        Walker((0, 5), "right"),
    ]


def test_a_beam_hits_the_first_player_within_reach_after_the_moves() -> None:
    board = Board((player(0, 0, "right"), player(0, 2), player(0, 4)), (3,))
    (near,) = after(LINE, board, "tag", "stay", "stay")
    assert [p.hits for p in near.players] == [0, 1, 0]
    far = Board((player(0, 0, "right"), player(0, 4), player(0, 5)), (3,))
    assert [p.hits for p in next(iter(after(LINE, far, "tag", "stay", "stay"))).players] == [0] * 3
    assert [p.hits for p in next(iter(after(LINE, far, "tag", "left", "stay"))).players] == [
        0,
        1,
        0,
    ]


def test_a_tagged_player_is_out_and_comes_back_beside_the_orchard() -> None:
    board = Board((player(0, 0, "right", 1), player(0, 1, "left", 1), player(0, 5)), (3,))
    (out,) = after(LINE, board, "tag", "stay", "tag")
    assert out.players[1] == Player(None, out=2) and LINE.acting_agents(out) == (
        "player_1",
        "player_3",
    )
    assert out.players[0].hits == 1  # what player_3 looks at is the wall
    (later,) = after(LINE, out, "stay", "stay")
    assert later.players[1] == Player(None, out=1)
    back = after(LINE, later, "stay", "stay")
    free = {(0, 1), (0, 2), (0, 4)}  # (0, 3) has the tree
    assert {b.players[1].walker: p for b, p in back.items()} == {
        Walker(cell, "up"): Fraction(1, 3) for cell in free
    }


def test_both_of_two_who_tag_each_other_are_out_and_chance_moves_alone() -> None:
    game = Gathering(players=2, rows=1, columns=5, radius=0, hits=1, tagged_steps=1)
    board = Board((player(0, 0, "right"), player(0, 1, "left")), (0,))
    (out,) = after(game, board, "tag", "tag")
    assert game.acting_agents(out) == () and len(after(game, out)) == 4 * 3


@pytest.mark.parametrize(("delay", "horizon"), [(1, 7), (3, 9), (2, 3)])
def test_a_lone_player_waits_at_the_only_tree(delay: int, horizon: int) -> None:
    """One apple at first, and another whenever delay + 1 steps have passed."""
    game = Gathering(players=1, rows=1, columns=2, radius=0, apple_delay=delay, horizon=horizon)
    assert optimal_return(game, Board((player(0, 0),), (0,)), horizon) == 1 + (horizon - 1) // (
        delay + 1
    )


def best_reply(game: Gathering, board: Board, steps: int, actions: tuple[str, ...]) -> float:
    """The greatest expected return of player_1 with some actions, where player_2 peacefully goes for the apples."""
    tree = (game.rows // 2, game.columns // 2)

    @functools.cache
    def value(state: Board, left: int) -> float:
        if not left:
            return 0.0
        acting = game.acting_agents(state)
        joint = {}
        if "player_2" in acting:
            joint["player_2"] = (towards(state.present[1].cell, [tree]) or ("stay",))[0]
        choices = actions if "player_1" in acting else (None,)

        def worth(own: str | None) -> float:
            taken = joint | ({"player_1": own} if own else {})
            dist = game.transition_dist(state, taken)
            return sum(
                float(p) * (t.rewards_N[0] + value(t.state, left - 1)) for t, p in dist.enumerate()
            )

        return max(map(worth, choices))

    return value(board, steps)


def test_aggression_pays_where_apples_are_scarce_and_not_where_they_abound() -> None:
    """The dilemma of the paper, by exact best replies to a player that only gathers."""
    peaceful = tuple(action for action in ACTIONS if action != "tag")
    scarce = Gathering(rows=1, columns=4, radius=0, apple_delay=2, hits=1, tagged_steps=4)
    board = Board((player(0, 0, "right"), player(0, 2)), (0,))
    assert best_reply(scarce, board, 6, ACTIONS) > best_reply(scarce, board, 6, peaceful)
    ample = Gathering(rows=1, columns=7, radius=2, apple_delay=1, hits=1, tagged_steps=4)
    board = Board((player(0, 0, "right"), player(0, 6)), (0,) * 5)
    assert best_reply(ample, board, 4, ACTIONS) == best_reply(ample, board, 4, peaceful) == 4


def test_texts_by_hand() -> None:
    game = Gathering(players=2, rows=2, columns=3, radius=0)
    board = Board((player(1, 1, "left", 1), Player(None, out=3)), (2,))
    assert game.observation_text(board, "player_1").split("\n") == [
        "You are player_1.",
        ". . .",
        ". 1 .",
        "player_1: row 2, column 2, looks left, hit 1 time.",
        "player_2: out for 3 more steps.",
        "Apples will grow back at: row 2, column 2, in 2 steps.",
    ]


def test_the_gatherer_goes_for_what_it_can_have_first() -> None:
    game = Gathering(players=2, rows=1, columns=7, radius=1)
    board = Board((player(0, 0, "right"), player(0, 6)), (2, 5, 0))
    looking = Gatherer(game=game, attention=1.0, aggression=0.0)
    assert looking.action_dist(board, "player_1").pmf() == {"right": 1}
    assert looking.action_dist(board, "player_2").pmf() == {"left": 1}
    bare = Board((player(0, 2), player(0, 6)), (5, 4, 0))
    assert looking.action_dist(bare, "player_1").pmf() == {"right": 1}
    near = Board((player(0, 0, "right"), player(0, 3)), (2, 5, 0))
    fierce = Gatherer(game=game, attention=1.0, aggression=1.0)
    assert fierce.action_dist(near, "player_1").pmf() == {"tag": 1}


def episode(game: Gathering, seed: int) -> Episode[Board]:
    policy = PlayerPolicy(game, Gatherer(game=game, attention=1.0, aggression=0.9))
    (record,) = play(game, policy, [EpisodeSpec(key=EpisodeKey(seed=seed))])
    assert isinstance(record, Episode)
    return record


def test_metrics_are_the_papers_formulas() -> None:
    """As the paper writes them: double sums, and the observations of who is timed out."""
    game = Gathering(players=3, rows=3, columns=5, hits=1, horizon=25)
    record = episode(game, seed=0)
    rewards = np.array([record.rewards_T(a) for a in record.agents])
    returns, steps = rewards.sum(axis=1), rewards.shape[1]
    gaps = np.abs(returns[:, None] - returns[None, :]).sum()
    times = [np.flatnonzero(row).mean() + 1 for row in rewards if row.any()]
    read = np.array(
        [[any(a.agent == n for a in s.agent_steps) for n in record.agents] for s in record.steps]
    )
    assert 0 < read.mean() < 1 and len(times) > 1
    assert game.metrics(record, "player_2") == pytest.approx(
        {
            "efficiency": returns.sum() / steps,
            "equality": 1 - gaps / (2 * 3 * returns.sum()),
            "sustainability": np.mean(times),
            "peace": read.sum() / steps,
        }
    )


def test_metrics_that_are_not_defined_are_left_out() -> None:
    game = Gathering(players=1, rows=1, columns=9, radius=0, horizon=2)
    record = episode(game, seed=3)
    assert sum(record.rewards_T("player_1")) == 0
    assert game.metrics(record, "player_1") == {"efficiency": 0.0}
    assert social_metrics(record, idle_T=[0, 1])["peace"] == 0.5
    assert equality([3.0, -1.0]) is None and sustainability([(0, -1), (0, 0)]) is None


@examples(0.3)
@given(st.lists(st.integers(0, 9), min_size=2, max_size=5).filter(any), st.integers(1, 9))
def test_equality_knows_neither_names_nor_units(returns_N: list[int], unit: int) -> None:
    found = equality(returns_N)
    assert found is not None and 1 / len(returns_N) - 1e-12 <= found <= 1
    assert equality([unit * r for r in reversed(returns_N)]) == pytest.approx(found)


def test_a_start_is_declared_as_chance_where_there_are_several() -> None:
    for columns in (2, 3):
        game = Gathering(players=1, rows=1, columns=columns, radius=0)
        starts = len(list(game.initial_state_dist().support()))
        assert (starts, game.facts.stochastic_start) == (columns - 1, columns > 2)


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="'players' must be at most 5"):
        Gathering(players=6)
    with pytest.raises(InvalidArgumentError, match="must leave 2 cells beside the orchard"):
        Gathering(rows=1, columns=3)
