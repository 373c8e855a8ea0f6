"""Sokoban: a published level's shortest solution, distances by the game's own steps, and levels that can be solved."""

from collections import deque

import pytest

from games.sokoban import (
    AttentiveSokoban,
    Position,
    Sokoban,
    Warehouse,
    distances,
    moved,
    read_level,
)
from tsmg import InvalidArgumentError, Stream

MICROBAN_1 = """\
####
# .#
#  ###
#*@  #
#  $ #
#  ###
####
"""


def test_the_first_level_of_microban_takes_33_steps() -> None:
    """Source: D. W. Skinner, "Microban", 2000 (the level); 33 steps is the published shortest solution."""
    game = Sokoban(level=MICROBAN_1)
    (start,) = game.initial_state_dist().support()
    assert distances(start.level)[start.position] == 33
    player, steps = AttentiveSokoban(attention=1.0), 0
    while not game.is_terminal(start):
        action = player.action_dist(start, "player").support()[0]
        ((start, rewards_N),) = game.transition_dist(start, {"player": action}).support()
        steps += 1
    assert steps == 33 and rewards_N == (1.0,)


def forward(game: Sokoban, start: Warehouse) -> dict[Warehouse, int | None]:
    """The least number of steps to the solution of every warehouse in reach, by the game's own transitions alone."""
    after: dict[Warehouse, list[Warehouse]] = {}
    queue = deque([start])
    while queue:
        here = queue.popleft()
        if here in after:
            continue
        after[here] = [
            t.state
            for action in game.legal_actions(here, "player")
            for t in game.transition_dist(here, {"player": action}).support()
        ]
        queue.extend(after[here])
    found: dict[Warehouse, int | None] = {w: 0 if game.is_terminal(w) else None for w in after}
    for length in range(1, len(after) + 1):
        new = [
            w
            for w, then in after.items()
            if found[w] is None and any(found[t] == length - 1 for t in then)
        ]
        if not new:
            break
        found |= dict.fromkeys(new, length)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_distances_are_those_of_the_games_own_steps(seed: int) -> None:
    game = Sokoban(rows=5, columns=6, boxes=1 + seed % 2, wall_probability=0.0, pulls=5)
    start = game.sample_initial_state(Stream("level", seed))
    found = forward(game, start)
    known = distances(start.level)
    assert found == {w: known.get(w.position) for w in found}
    assert found[start] and None in found.values()  # it can be solved, and spoilt


def test_every_level_can_be_solved_and_is_not() -> None:
    game = Sokoban(wall_probability=0.3, pulls=6)
    lengths = set()
    for seed in range(40):
        start = game.sample_initial_state(Stream("level", seed))
        assert start.position.boxes.bit_count() == start.level.goals.bit_count() == 2
        assert not start.position.boxes & ~start.level.floor
        lengths.add(distances(start.level)[start.position])
    assert min(lengths) > 0 and len(lengths) > 5


def where(row: int, column: int) -> int:
    return row * 6 + column


def test_boxes_are_pushed_one_at_a_time_and_not_pulled() -> None:
    level = read_level("######\n#@$-.#\n#-$$-#\n#-..-#\n######")
    first = level.position
    pushed = moved(level.level, first, "right")
    assert pushed is not None and pushed.player == where(1, 2)
    assert pushed.boxes == 1 << where(1, 3) | 1 << where(2, 2) | 1 << where(2, 3)
    back = moved(level.level, pushed, "left")
    assert back == Position(pushed.boxes, where(1, 1))
    low = moved(level.level, first, "down")
    assert low == Position(first.boxes, where(2, 1))
    assert moved(level.level, low, "right") is None  # two boxes
    assert moved(level.level, low, "left") is None  # a wall
    far = moved(level.level, pushed, "right")
    assert far is not None and moved(level.level, far, "right") is None  # a box at a wall


def test_texts_by_hand() -> None:
    text = "######\n#-+$*#\n#-$.-#\n######"
    game = Sokoban(level=text)
    (start,) = game.initial_state_dist().support()
    assert game.observation_text(start, "player") == "\n".join(
        " ".join(t) for t in text.split("\n")
    )
    assert game.legal_actions(start, "player") == ("left",)
    solved = Warehouse(start.level, Position(start.level.goals, where(1, 1)))
    assert game.observation_text(solved, "player").endswith("Every box is on a goal.")
    assert game.is_terminal(solved) and game.legal_actions(solved, "player") == ()


def test_the_player_that_looks_takes_the_shortest_way() -> None:
    game = Sokoban(rows=5, columns=5, boxes=1, wall_probability=0.0, pulls=4)
    player = AttentiveSokoban(attention=1.0)
    start = game.sample_initial_state(Stream("level", 7))
    left = distances(start.level)
    for action in player.action_dist(start, "player").support():
        after = moved(start.level, start.position, action)
        assert after is not None and left[after] == left[start.position] - 1
    lost = read_level("#####\n#$-@#\n#--.#\n#####")
    assert lost.position not in distances(lost.level)
    assert set(player.action_dist(lost, "player").support()) == {"left", "down"}


@pytest.mark.parametrize(
    ("level", "sentence"),
    [
        ("###\n#x#\n###", "rows of the signs"),
        ("####\n#@@#\n####", "with one player"),
        ("#####\n#@$-#\n#####", "as many goals"),
        ("#####\n#@$.-\n#####", "closed by walls"),
        ("#######\n#@-#$.#\n#######", "where the player can reach them"),
        ("#####\n#@-*#\n#####", "not be solved"),
        ("#######\n#@$$..#\n#######", "let the player take a step"),
    ],
)
def test_bad_levels_are_refused(level: str, sentence: str) -> None:
    with pytest.raises(InvalidArgumentError, match=sentence):
        Sokoban(level=level)


def test_settings_without_an_effect_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="'wall_probability' must be below 1"):
        Sokoban(wall_probability=1.0)
    with pytest.raises(InvalidArgumentError, match="'boxes' must be left out where 'level' is"):
        Sokoban(level="#####\n#@$.#\n#####", boxes=3)


def test_levels_without_room_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="must leave room to move 2 boxes"):
        Sokoban(rows=4, columns=4)
