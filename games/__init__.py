"""Games that come with the library; importing this package registers them."""

from games.frozen_lake import FrozenLake
from tsmg import make, register, registered

register("FrozenLake-v0", FrozenLake)
register(
    "SlipperyFrozenLake-v0",
    FrozenLake,
    summary="Frozen Lake on slippery ice: a move may go sideways.",
    slippery=True,
    frozen_probability=0.9,
    horizon=15,
)

__all__ = ["FrozenLake", "make", "register", "registered"]
