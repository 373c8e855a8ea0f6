"""Curated texts of the games of ``pettingzoo.classic``.

The texts are made for readers: boards with coordinates, cards and hints by name. Hidden information stays hidden: a
text is a function of what the environment, or the engine below it, shows to the reading agent.
"""

import importlib

from games.adapters.curated import Curated, RawEnv

_FOUND_IN = {
    "tictactoe_v3": ("boards", "TIC_TAC_TOE"),
    "connect_four_v3": ("boards", "CONNECT_FOUR"),
    "go_v5": ("go", "GO"),
    "chess_v6": ("chess", "CHESS"),
    "rps_v2": ("rps", "ROCK_PAPER_SCISSORS"),
    "leduc_holdem_v4": ("poker", "LEDUC"),
    "texas_holdem_v4": ("poker", "TEXAS"),
    "texas_holdem_no_limit_v6": ("poker", "TEXAS_NO_LIMIT"),
    "hanabi_v5": ("hanabi", "HANABI"),
}


def curated(raw: RawEnv) -> Curated | None:
    """The curated texts of an environment without wrappers, if it is one of ``pettingzoo.classic``."""
    name = raw.metadata.get("name")
    if name not in _FOUND_IN or not type(raw).__module__.startswith("pettingzoo.classic."):
        return None
    module, attribute = _FOUND_IN[name]
    found: Curated = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
    return found
