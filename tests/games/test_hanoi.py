"""The tower of Hanoi: least moves against a search, and moves that are legal."""

import itertools
from collections import deque

import pytest

from games.hanoi import AttentiveHanoi, Hanoi, Move, Pegs, least_moves, moved, moves
from tsmg import Illegal, Parsed, Stream


def distances(disks: int) -> dict[Pegs, int]:
    """The least number of moves to the goal, by breadth-first search (every move can be taken back)."""
    goal = (2,) * disks
    found, waiting = {goal: 0}, deque([goal])
    while waiting:
        pegs = waiting.popleft()
        for move in moves(pegs):
            after = moved(pegs, move)
            if after not in found:
                found[after] = found[pegs] + 1
                waiting.append(after)
    return found


@pytest.mark.parametrize("disks", [1, 2, 3, 5])
def test_least_moves_are_those_of_a_search(disks: int) -> None:
    found = distances(disks)
    assert len(found) == 3**disks
    assert {pegs: least_moves(pegs) for pegs in found} == found
    assert found[(0,) * disks] == 2**disks - 1 == max(found.values())


def test_no_disk_lies_on_a_smaller_one() -> None:
    for pegs in itertools.product(range(3), repeat=4):
        for move in moves(pegs):
            lying = [disk for disk, peg in enumerate(moved(pegs, move)) if peg == move.target]
            assert min(lying) == pegs.index(move.source)
    # three positions of towers allow two moves, all others three
    assert sorted(len(moves(p)) for p in itertools.product(range(3), repeat=3))[:4] == [2, 2, 2, 3]


def test_the_attentive_player_needs_no_move_too_many() -> None:
    player = AttentiveHanoi(attention=1.0)
    pegs: Pegs = (0, 0, 0, 0)
    for _ in range(15):
        pegs = moved(pegs, player.action_dist(pegs, "player").support()[0])
    assert pegs == (2, 2, 2, 2)
    mediocre = AttentiveHanoi(attention=0.5).action_dist((0, 0, 0), "player").pmf()
    assert mediocre == {Move(0, 2): 0.75, Move(0, 1): 0.25}


def test_texts_by_hand() -> None:
    game = Hanoi()
    assert game.observation_text((1, 0, 0), "player") == "A: 3 2\nB: 1\nC: empty"
    assert game.read_action((1, 0, 0), "player", "a TO c") == Parsed(Move(0, 2))
    assert game.read_action((1, 0, 0), "player", "A to B") == Illegal("A to B")
    assert game.observation_text((2, 2, 2), "player").endswith("The tower is on peg C.")


def test_scattered_disks_begin_anywhere_but_at_the_goal() -> None:
    game = Hanoi(disks=2, random_start=True)
    starts = game.initial_state_dist().support()
    assert len(set(starts)) == 8 and (2, 2) not in starts
    assert len({game.instance_key(start) for start in starts}) == 8
    assert Hanoi().horizon == 21


def test_many_disks_can_be_scattered() -> None:
    game = Hanoi(disks=30, random_start=True)
    starts = {game.sample_initial_state(Stream(n)) for n in range(20)}
    assert len(starts) == 20 and all(len(pegs) == 30 for pegs in starts)
    few = Hanoi(disks=9, random_start=True).initial_state_dist()
    assert len(few.pmf()) == 3**9 - 1 and few.prob((2,) * 9) == 0


def test_starts_are_listed_once() -> None:
    game = Hanoi(disks=2, random_start=True)
    assert game.initial_state_dist() is Hanoi(disks=2, random_start=True).initial_state_dist()
    assert len(game.initial_state_dist().pmf()) == 8
