"""Snake: the rules by hand, the published values, the distributions against each other."""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import games
from games.snake import Board, Direction, GreedySnake, SafeSnake, Snake
from tsmg import (
    Episode,
    EpisodeKey,
    EpisodeSpec,
    InvalidArgumentError,
    Parsed,
    PlayerPolicy,
    Purpose,
    Transition,
    UniformPlayer,
    play,
    with_horizon,
)

UP, DOWN, LEFT, RIGHT = Direction.UP, Direction.DOWN, Direction.LEFT, Direction.RIGHT


def board(*snakes: list[tuple[int, int]], size: int = 4, **foods: list[tuple[int, int]]) -> Board:
    kinds = tuple(tuple(sorted(foods.get(kind, []))) for kind in ("apple", "banana", "fire"))
    return Board(size, size, snakes=tuple(tuple(cells) for cells in snakes), foods=kinds)


def game(snakes: int = 1, **kwargs: Any) -> Snake:
    return Snake(width=4, height=4, snakes=snakes, **{"apples": 0, **kwargs})


def step(played: Snake, state: Board, *moves: Direction) -> Transition[Board]:
    joint = dict(zip(played.acting_agents(state), moves, strict=True))
    return played.transition_dist(state, joint).sample(EpisodeKey(seed=0).stream(Purpose.CHANCE))


def test_a_move_takes_the_body_along() -> None:
    state = board([(1, 1), (1, 0), (0, 0)])
    assert step(game(), state, UP).state.snakes == (((1, 2), (1, 1), (1, 0)),)


@pytest.mark.parametrize(("kind", "reward"), [("apple", 1.0), ("banana", 10.0), ("fire", -1.0)])
def test_eating_pays_grows_and_comes_back(kind: str, reward: float) -> None:
    state = board([(1, 1)], **{kind: [(1, 2)]})
    played = game(**{kind + "s": 1})
    state_after, rewards = step(played, state, UP)
    assert rewards == (reward,)
    assert state_after.snakes == (((1, 2), (1, 1)),)
    dist = played.transition_dist(state, {"snake_1": UP}).pmf()
    where = [t.state.foods[("apple", "banana", "fire").index(kind)] for t in dist]
    assert len(dist) == 14  # any cell but the snake's two
    assert {cell for (cell,) in where} == {(x, y) for x in range(4) for y in range(4)} - {
        (1, 2),
        (1, 1),
    }
    assert len(set(dist.values())) == 1


def test_the_dead_are_out_and_neither_act_nor_are_paid() -> None:
    played = Snake(width=4, height=4, snakes=3, apples=2, step_reward=-0.5, horizon=30)
    derived = with_horizon(played, 9)
    outs = 0
    policy = PlayerPolicy(played, UniformPlayer(played))
    for record in play(played, policy, [EpisodeSpec(key=EpisodeKey(seed=s)) for s in range(20)]):
        assert isinstance(record, Episode)
        for one in record.steps:
            state = one.state.state
            out = [n for n, agent in enumerate(played.agents) if played.is_out(state, agent)]
            assert out == [
                n for n, agent in enumerate(played.agents) if derived.is_out(state, agent)
            ]
            assert not {played.agents[n] for n in out} & set(played.acting_agents(state))
            assert all(one.rewards_N[n] == 0.0 for n in out)
            outs += len(out)
    assert outs > 10


@pytest.mark.parametrize(
    ("cells", "move"),
    [
        ([(0, 0)], LEFT),
        ([(0, 0)], DOWN),
        ([(3, 3)], UP),
        ([(3, 3)], RIGHT),
        ([(1, 1), (1, 2)], UP),
        ([(1, 1), (1, 2), (2, 2), (2, 1)], RIGHT),  # the tail, though it would move away
    ],
)
def test_walls_and_bodies_kill(cells: list[tuple[int, int]], move: Direction) -> None:
    played = game(step_reward=-0.5)
    state, rewards = step(played, board(cells), move)
    assert state.snakes == ((),)
    assert rewards == (-2.5,)
    assert played.is_terminal(state)


def test_heads_that_meet_both_die() -> None:
    played = game(2)
    state, rewards = step(played, board([(0, 0)], [(2, 0)]), RIGHT, LEFT)
    assert state.snakes == ((), ())
    assert rewards == (-2.0, -2.0)


def test_heads_that_swap_both_die() -> None:
    state, _ = step(game(2), board([(0, 0)], [(1, 0)]), RIGHT, LEFT)
    assert state.snakes == ((), ())


def test_running_into_another_kills_only_the_runner_and_it_vanishes() -> None:
    played = game(3)
    state, rewards = step(
        played, board([(0, 0)], [(2, 0), (1, 0), (1, 1)], [(3, 3)]), RIGHT, RIGHT, DOWN
    )
    assert state.snakes == ((), ((3, 0), (2, 0), (1, 0)), ((3, 2),))
    assert rewards == (-2.0, 0.0, 0.0)
    assert played.acting_agents(state) == ("snake_2", "snake_3")


def test_two_snakes_end_with_the_last_one() -> None:
    assert game(2).is_terminal(board([(0, 0)], []))
    assert not game(1).is_terminal(board([(0, 0)]))


def test_food_that_finds_no_free_cell_stays_away() -> None:
    played = Snake(width=2, height=1, snakes=1, apples=1)
    state = Board(2, 1, snakes=(((0, 0),),), foods=(((1, 0),), (), ()))
    after, rewards = step(played, state, RIGHT)
    assert after.foods == ((), (), ())
    assert rewards == (1.0,)


def test_the_initial_law_is_uniform_over_placements() -> None:
    dist = Snake(width=2, height=2, snakes=2, apples=1).initial_state_dist().pmf()
    assert len(dist) == 4 * 3 * 2
    assert set(dist.values()) == {next(iter(dist.values()))}
    assert sum(dist.values()) == 1


def test_grid_and_coordinates_say_the_same_board() -> None:
    state = board([(1, 0), (0, 0)], [(3, 3)], apple=[(2, 1)])
    played = game(2, apples=1)
    text = played.observation_text(state, "snake_2")
    assert text.split("\n") == [
        ". . . Y",
        ". . . .",
        ". . A .",
        "e E . .",
        "Board: 4 x 4",
        "Apples (+1): (2, 1)",
        "You: head (3, 3), body none",
        "Enemy: head (1, 0), body (0, 0)",
    ]


def test_a_grid_alone_does_not_declare_that_it_separates_states() -> None:
    square = [(0, 0), (0, 1), (1, 1), (1, 0)]
    other = [(0, 0), (1, 0), (1, 1), (0, 1)]
    grid, words = game(observation="grid"), game(observation="coordinates")
    a, b = board(square), board(other)
    assert grid.observation_text(a, "snake_1") == grid.observation_text(b, "snake_1")
    assert words.observation_text(a, "snake_1") != words.observation_text(b, "snake_1")
    assert (grid.facts.text_separates_states, words.facts.text_separates_states) == (False, True)


@pytest.mark.parametrize(
    "kwargs", [{"width": 0}, {"apples": -1}, {"snakes": 0}, {"apples": 17}, {"observation": "x"}]
)
def test_impossible_settings_are_refused(kwargs: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError):
        Snake(**{"width": 4, "height": 4, "snakes": 1, **kwargs})


# The published table: mean return (mean length) over 500 seeds of the reference implementation. The tolerance is
# four standard errors of the difference. An episode of 8 rounds is the beginning of one of 20.
PUBLISHED_EPISODES = 500
TABLE = [
    (8, "Snake-v0", "uniform", -0.81, 5.7),
    (8, "Snake-v0", "safe", 0.21, 7.6),
    (8, "Snake-v0", "greedy", 1.97, 7.7),
    (20, "Snake-v0", "uniform", -1.26, 9.1),
    (20, "Snake-v0", "safe", 0.49, 17.7),
    (20, "Snake-v0", "greedy", 4.52, 17.5),
    (20, "PoisonSnake-v0", "uniform", -1.90, None),
    (20, "PoisonSnake-v0", "safe", -0.83, None),
    (20, "PoisonSnake-v0", "greedy", -4.90, None),
]
PLAYERS: dict[str, Callable[[Snake], Any]] = {
    "uniform": UniformPlayer,
    "safe": lambda g: SafeSnake(game=g),
    "greedy": lambda g: GreedySnake(game=g),
}


@functools.cache
def rewards_of(id: str, player: str) -> list[tuple[float, ...]]:
    """The rewards of the first snake at each step of many episodes, against a safe one."""
    played = games.make(id)
    assert isinstance(played, Snake)
    policies = {
        "snake_1": PlayerPolicy(played, PLAYERS[player](played)),
        "snake_2": PlayerPolicy(played, SafeSnake(game=played)),
    }
    specs = [EpisodeSpec[Board](key=EpisodeKey(seed=7, episode=e)) for e in range(80)]
    records = play(played, policies, specs)
    return [e.rewards_T("snake_1") for e in records if isinstance(e, Episode)]


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and the standard error of its difference to a published mean."""
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
    return mean, math.sqrt(variance * (1 / len(values) + 1 / PUBLISHED_EPISODES))


@pytest.mark.parametrize(
    ("rounds", "id", "player", "value", "length"),
    [pytest.param(*row, marks=[pytest.mark.slow] if row[0] > 8 else []) for row in TABLE],
)
def test_scripted_players_score_as_published(
    rounds: int, id: str, player: str, value: float, length: float | None
) -> None:
    episodes = [rewards_T[:rounds] for rewards_T in rewards_of(id, player)]
    mean, error = mean_and_error([sum(rewards_T) for rewards_T in episodes])
    assert abs(mean - value) < 4 * error + 0.005  # the published values have two digits
    if length is not None:
        mean, error = mean_and_error([float(len(rewards_T)) for rewards_T in episodes])
        assert abs(mean - length) < 4 * error + 0.05


def test_the_tolerance_tells_the_players_apart() -> None:
    means = {p: mean_and_error([*map(sum, rewards_of("Snake-v0", p))]) for p in PLAYERS}
    for (a, (mean, error)), (b, (other, _)) in itertools.permutations(means.items(), 2):
        assert abs(mean - other) > 4 * error + 0.005, (a, b)


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.sampled_from(["uniform", "safe", "greedy"]))
def test_play_keeps_the_board_whole(seed: int, player: str) -> None:
    played = Snake(width=5, height=4, snakes=2, apples=2, bananas=1, fires=1, horizon=12)
    policy = PlayerPolicy(played, PLAYERS[player](played))
    (episode,) = play(played, policy, [EpisodeSpec(key=EpisodeKey(seed=seed))])
    assert isinstance(episode, Episode)
    for state in (*(s.state.state for s in episode.steps), episode.final_state.state):
        cells = [c for group in (*state.snakes, *state.foods) for c in group]
        assert len(cells) == len(set(cells))
        assert all(state.holds(cell) for cell in cells)
        assert [len(cells) for cells in state.foods] == [2, 1, 1]
        for agent in played.acting_agents(state):
            for action in played.legal_actions(state, agent):
                text = played.action_text(state, agent, action)
                assert played.read_action(state, agent, text) == Parsed(action)


def test_foods_are_kept_sorted_so_that_equal_boards_are_equal() -> None:
    state = board([(0, 0)], apple=[(1, 1)])
    assert state.with_food(0, (0, 3)) == attrs.evolve(state, foods=(((0, 3), (1, 1)), (), ()))
