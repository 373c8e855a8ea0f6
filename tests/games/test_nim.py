"""Nim: Bouton's theorem against the whole tree, moves, ends, and the perfect player."""

import functools
import itertools
from typing import Any

import pytest
from typeguard import suppress_type_checks

from games.nim import AttentiveNim, Heaps, Nim, Take, taken, takes, wins
from tsmg import Illegal, InvalidArgumentError, Parsed

GAMES = [
    Nim(heaps=heaps, misere=misere)
    for heaps in ((3, 2, 2), (1, 1, 1), (4, 3))
    for misere in (False, True)
]


@functools.cache
def value(game: Nim, state: Heaps) -> float:
    """The return of the first player under best play, by the game's own transitions."""
    if game.is_terminal(state):
        return 0.0
    (agent,) = game.acting_agents(state)
    values = []
    for take in game.legal_actions(state, agent):
        ((after, rewards_N),) = game.transition_dist(state, {agent: take}).support()
        values.append(rewards_N[0] + value(game, after))
    return max(values) if agent == "first" else min(values)


def agrees(theorem: Any, game: Nim) -> bool:
    """The theorem is right in every position that the heaps contain."""
    positions = itertools.product(*(range(size + 1) for size in game.heaps))
    states = [Heaps(sizes, turn) for sizes in positions for turn in (0, 1) if any(sizes)]
    return all(
        (value(game, state) > 0) == (theorem(state.sizes, misere=game.misere) == (state.turn == 0))
        for state in states
    )


@pytest.mark.parametrize("game", GAMES)
def test_boutons_theorem_is_the_value_of_the_whole_tree(game: Nim) -> None:
    assert agrees(wins, game)
    assert agrees(wins, Nim(heaps=game.heaps, misere=game.misere))


def _blind(sizes: tuple[int, ...], *, misere: bool) -> bool:
    """A wrong theorem, which knows only ordinary play."""
    return wins(sizes)


def test_a_theorem_that_ignores_misere_play_is_noticed() -> None:
    assert agrees(_blind, Nim(heaps=(4, 3)))
    assert not agrees(_blind, Nim(heaps=(1, 1, 1), misere=True))


@pytest.mark.parametrize("misere", [False, True])
def test_the_perfect_player_wins_every_won_position(misere: bool) -> None:
    player = AttentiveNim(misere=misere, attention=1.0)
    for sizes in itertools.product(range(5), repeat=3):
        if any(sizes) and wins(sizes, misere=misere):
            for take in player.action_dist(Heaps(sizes), "first").support():
                assert not wins(taken(sizes, take), misere=misere)


def test_the_scripted_player_is_the_attentive_one_of_its_game() -> None:
    assert Nim(misere=True).scripted_player() == AttentiveNim(misere=True)
    dist = AttentiveNim(attention=0.5).action_dist(Heaps((1, 2)), "first").pmf()
    assert sum(dist.values()) == 1
    assert dist[Take(1, 1)] == max(dist.values())


def test_texts_and_moves_by_hand() -> None:
    game, state = Nim(heaps=(1, 2)), Heaps((1, 2))
    assert game.observation_text(state, "second") == (
        "Heap 1: 1\nHeap 2: 2\nYou are second. It is the turn of first."
    )
    assert takes((1, 2)) == (Take(1, 0), Take(1, 1), Take(2, 1))
    assert game.read_action(state, "first", "Take 2 from heap 2") == Parsed(Take(2, 1))
    assert game.read_action(state, "first", "take 2 from heap 1") == Illegal("take 2 from heap 1")
    assert game.read_action(state, "second", "take 1 from heap 1") == Illegal("take 1 from heap 1")


@pytest.mark.parametrize("heaps", [(), (0,), (1.5,), ("x",), 3, "345"])
def test_heaps_are_numbers_of_objects(heaps: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="'heaps' must"):
        Nim(heaps=heaps)


def test_misere_is_true_or_false() -> None:
    with (
        suppress_type_checks(),
        pytest.raises(InvalidArgumentError, match="'misere' must be True or False"),
    ):
        Nim(misere="no")  # type: ignore[arg-type]
