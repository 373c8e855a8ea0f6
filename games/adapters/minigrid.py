"""Texts of MiniGrid and BabyAI: the mission, the carried object, a chart of the view, and where its objects are.

An agent sees 7 x 7 cells from behind: it stands in the middle of the last row and looks towards the first. Nothing of
MiniGrid is imported; the codes of objects, colours and states are those of ``minigrid.core.constants`` (3.2).
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from games.adapters.curated import RawEnv

ACTIONS: Final = ("left", "right", "forward", "pickup", "drop", "toggle", "done")
RULES: Final = (
    "You move through a grid and have a mission. Left and right turn you, forward moves you, pickup takes the object "
    "in front of you (you can carry one), drop puts it there, toggle opens or closes the door or opens the box in "
    "front of you; a locked door needs the key of its colour. In the chart you are @ and look up: # is a wall, . is "
    "a free cell, ? is a cell that you cannot see, D is a door, K is a key, O is a ball, B is a box, G is the goal, "
    "and ~ is lava."
)
_DIRECTIONS = ("east", "south", "west", "north")
_SYMBOLS = "?.#.DKOBG~X"
_OBJECTS = {4: "door", 5: "key", 6: "ball", 7: "box", 8: "goal", 9: "lava", 10: "agent"}
_COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
_DOORS = ("open", "closed", "locked")
_PLAIN = (8, 9, 10)  # their colour means nothing
_DOOR = 4
_MISSIONS = 8  # by which a time limit is found


def observation_text(observation: Mapping[str, Any]) -> str:
    """The text of an observation of MiniGrid.

    Args:
      observation: with ``image`` (objects, colours and states, by column and row; shape (W, H, 3)), ``direction`` and
        ``mission``.
    """
    image = np.asarray(observation["image"])
    width, height = image.shape[:2]
    own = image[width // 2, height - 1]
    carried = _named(own) if own[0] in _OBJECTS else "nothing"
    rows = [
        "".join(
            "@" if (x, y) == (width // 2, height - 1) else _SYMBOLS[int(image[x, y, 0])]
            for x in range(width)
        )
        for y in range(height)
    ]
    lines = (
        f"Mission: {observation['mission']}",
        f"You look {_DIRECTIONS[int(observation['direction'])]} and carry {carried}.",
        *rows,
        *(_places(image) or ["You see no object."]),
    )
    return "\n".join(lines)


def horizon(raw: RawEnv) -> int:
    """The greatest time limit of some missions, in steps: that of BabyAI depends on the mission.

    Args:
      raw: the environment without wrappers.
    """
    limits = []
    for seed in range(_MISSIONS):
        raw.reset(seed=seed)
        limits.append(int(raw.max_steps))
    return max(limits)


def _places(image: NDArray[Any]) -> list[str]:
    """What is where, the nearest first: steps forward and to a side."""
    return [text for _, text in sorted(_seen(image))]


def _seen(image: NDArray[Any]) -> Iterator[tuple[tuple[int, int, int], str]]:
    width, height = image.shape[:2]
    for x in range(width):
        for y in range(height):
            side, ahead = x - width // 2, height - 1 - y
            if int(image[x, y, 0]) in _OBJECTS and (side, ahead) != (0, 0):
                steps = [f"{ahead} forward"] if ahead else []
                steps += [f"{abs(side)} {'right' if side > 0 else 'left'}"] if side else []
                place = (ahead + abs(side), ahead, side)
                yield place, f"You see {_named(image[x, y])}, {' and '.join(steps)}."


def _named(cell: NDArray[Any]) -> str:
    """An object with its article, its colour and the state of a door."""
    kind, colour, state = (int(code) for code in cell)
    words = [_OBJECTS[kind]] if kind in _PLAIN else [_COLOURS[colour], _OBJECTS[kind]]
    if kind == _DOOR:
        words.insert(0, _DOORS[state])
    if _OBJECTS[kind] == "lava":
        return "lava"
    article = "an" if words[0][0] in "aeiou" else "a"
    return " ".join(["the" if _OBJECTS[kind] == "goal" else article, *words])
