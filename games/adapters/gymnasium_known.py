"""What is known of environments of Gymnasium and MiniGrid: names of actions, legends, texts and time limits."""

from collections.abc import Callable, Mapping
from typing import Any, final

import attrs
import gymnasium

from games.adapters import minigrid
from games.adapters.curated import RawEnv


@final
@attrs.frozen(kw_only=True)
class Known:
    """What is known of an environment.

    Attributes:
      names: of its actions, in order; none if they are not known.
      rules: the legend of what an agent reads, and the aim.
      observation_text: writes an observation.
      table_text: environment without wrappers and the number of a state -> the state's text.
      horizon: environment without wrappers -> its own time limit in steps.
    """

    names: tuple[str, ...] = ()
    rules: str = ""
    observation_text: Callable[[Any], str] | None = None
    table_text: Callable[[RawEnv, int], str] | None = None
    horizon: Callable[[RawEnv], int] | None = None


def known(made: gymnasium.Env[Any, Any]) -> Known:
    """What is known of an environment, by its class, whatever its id.

    A wrapper that changes a space changes the meaning of its numbers, so only what does not depend on them is kept.
    """
    raw = made.unwrapped
    own = _of_class(type(raw))
    if own is None:
        return Known()
    sees, acts = (
        getattr(made, name) == getattr(raw, name) for name in ("observation_space", "action_space")
    )
    return attrs.evolve(
        own,
        names=own.names if acts else (),
        rules=own.rules if sees and acts else "",
        observation_text=own.observation_text if sees else None,
    )


def _of_class(kind: type) -> Known | None:
    """What is known of a class: of Gymnasium's own by its name, of MiniGrid's by any base, since most are derived."""
    if any(base.__module__.partition(".")[0] == "minigrid" for base in kind.__mro__):
        return _GRID
    room, _, _ = kind.__module__.rpartition(".")
    return _KNOWN.get(kind.__name__) if room in _ROOMS else None


def _taxi_text(taxi: RawEnv, number: int) -> str:
    """Taxi in words, since the colours of its rendering have a meaning that plain text loses."""
    row, column, passenger, destination = (int(x) for x in taxi.decode(number))
    chart = "\n".join("".join(cell.decode() for cell in line) for line in taxi.desc)
    return (
        f"{chart}\nTaxi: row {row + 1}, column {column + 1}\nPassenger: {_PLACES[passenger]}\n"
        f"Destination: {_PLACES[destination]}"
    )


_GRID = Known(
    names=minigrid.ACTIONS,
    rules=minigrid.RULES,
    observation_text=minigrid.observation_text,
    horizon=minigrid.horizon,
)
_ROOMS = ("gymnasium.envs.toy_text", "gymnasium.envs.classic_control")
_PLACES = ("red", "green", "yellow", "blue", "in the taxi")
_KNOWN: Mapping[str, Known] = {
    "FrozenLakeEnv": Known(
        names=("left", "down", "right", "up"),
        rules=(
            "Cross the frozen lake from S to G without falling into a hole. S is the start, F is ice, H is a hole, "
            "and G is the goal; your own cell is in brackets."
        ),
    ),
    "CliffWalkingEnv": Known(
        names=("up", "right", "down", "left"),
        rules=(
            "Walk to T. You are x, o is a free cell, and C is the cliff: stepping on it costs 100 and takes you back "
            "to the start. Any other step costs 1."
        ),
    ),
    "TaxiEnv": Known(
        table_text=_taxi_text,
        names=("south", "north", "east", "west", "pickup", "dropoff"),
        rules=(
            "Pick up the passenger and take it to its destination. R, G, Y and B are the red, green, yellow and blue "
            "places, | is a wall, and : is an opening between two cells."
        ),
    ),
    "BlackjackEnv": Known(
        names=("stick", "hit"),
        rules=(
            "Get closer to 21 than the dealer without going over. You read the sum of your cards, the dealer's card "
            "(an ace is 1), and 1 if you hold an ace that counts as 11, otherwise 0."
        ),
    ),
    "CartPoleEnv": Known(
        names=("left", "right"),
        rules=(
            "Keep the pole upright by pushing the cart. You read the cart's position and velocity, and the pole's "
            "angle (in radians, to the right) and angular velocity."
        ),
    ),
    "MountainCarEnv": Known(
        names=("left", "none", "right"),
        rules="Drive the car up the hill on the right, to position 0.5. You read its position and velocity.",
    ),
    "AcrobotEnv": Known(
        names=("clockwise", "none", "counterclockwise"),
        rules=(
            "Swing the free end of two links above the line. You read the cosine and sine of the first link's angle "
            "(0 hangs down), those of the second link's angle to the first, and both angular velocities."
        ),
    ),
}
