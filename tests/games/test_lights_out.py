"""Lights Out: solutions against a search of the whole board, and the published ranks."""

import itertools
from collections import deque
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from games.lights_out import AttentiveLightsOut, LightsOut, least_solution, presses
from tests.strategies import agrees, draws_of, examples
from tsmg import Parsed


def distances(game: LightsOut) -> dict[int, int]:
    """The least number of presses from every board that can be solved, by breadth-first search from the goal."""
    found, waiting = {0: 0}, deque([0])
    while waiting:
        board = waiting.popleft()
        for cell in range(game.size**2):
            # a press undoes itself
            (after,) = (t.state for t in game.transition_dist(board, {"player": cell}).support())
            if after not in found:
                found[after] = found[board] + 1
                waiting.append(after)
    return found


@pytest.mark.parametrize("size", [2, 3, pytest.param(4, marks=pytest.mark.slow)])
def test_least_solutions_are_those_of_a_search(size: int) -> None:
    found = distances(LightsOut(size=size))
    for board in range(2 ** (size * size)):
        solution = least_solution(size, board)
        assert (solution is None) == (board not in found)
        assert solution is None or solution.bit_count() == found[board]


@pytest.mark.parametrize(("size", "idle"), [(2, 0), (3, 0), (4, 4), (5, 2), (6, 0), (9, 8)])
def test_boards_have_the_published_nullities(size: int, idle: int) -> None:
    """Anderson and Feil, 1998, for 5; OEIS A159257 for all."""
    from games.lights_out import _reduced

    rows, none = _reduced(size)
    assert (len(rows), len(none)) == (size * size - idle, idle)


@examples(0.3)
@given(st.integers(0, 2**25 - 1))
def test_pressing_a_solution_puts_every_light_out(cells: int) -> None:
    pressed = [presses(5)[cell] for cell in range(25) if cells >> cell & 1]
    board = 0
    for lights in pressed:
        board ^= lights
    solution = least_solution(5, board)
    assert solution is not None and solution.bit_count() <= min(cells.bit_count(), 15)
    for cell in range(25):
        board ^= presses(5)[cell] if solution >> cell & 1 else 0
    assert board == 0


def test_a_press_is_seen_on_the_board() -> None:
    game = LightsOut()
    corner = game.transition_dist(0b111, {"player": 0}).support()[0].state
    assert game.observation_text(corner, "player") == ". . O\nO . .\n. . ."
    assert game.read_action(corner, "player", "1 3") == Parsed(2)
    assert game.observation_text(0, "player").endswith("Every light is out.")


def test_starts_are_solvable_and_every_board_of_3_x_3_is_as_likely() -> None:
    dist = LightsOut().initial_state_dist()
    assert dist.pmf() == {board: Fraction(1, 511) for board in range(1, 512)}
    small = LightsOut(size=2).initial_state_dist()
    assert agrees(draws_of(small.sample, 600), small.pmf())
    large = draws_of(LightsOut(size=4).initial_state_dist().sample, 50)
    assert all(least_solution(4, board) for board in large)


def test_the_attentive_player_never_needs_more_presses_than_the_least() -> None:
    player, found = AttentiveLightsOut(size=3, attention=1.0), distances(LightsOut())
    for board in itertools.islice(found, 1, None, 37):
        left = board
        for _ in range(found[board]):
            cell = player.action_dist(left, "player").support()[0]
            left ^= presses(3)[cell]
        assert left == 0
    mediocre = AttentiveLightsOut(size=3).action_dist(presses(3)[4], "player").pmf()
    assert (
        sum(mediocre.values()) == 1
        and len(mediocre) == 9
        and max(mediocre, key=mediocre.__getitem__) == 4
    )
