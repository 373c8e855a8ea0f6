"""Baselines of a result: the exact optimum, a uniform player and the game's own player, on the same episodes."""

import math
from collections.abc import Sequence
from typing import Any

from algorithms.play.evaluation import evaluate
from algorithms.play.matchups import AbstractMatchups
from algorithms.play.optimum import mean_optimal_return
from tsmg import (
    AbstractGame,
    AbstractPlayer,
    EpisodeSpec,
    GameLawError,
    PlayerPolicy,
    UniformPlayer,
)


def baseline_figures(
    game: AbstractGame[Any, Any],
    specs: Sequence[EpisodeSpec[Any]],
    *,
    matchups: AbstractMatchups | None = None,
) -> dict[str, Any]:
    """Baseline figures for a policy's results, as plain data for ``config.json``.

    Args:
      game: the game that is played.
      specs: the episodes.
      matchups: who plays whom; opponents that are models are not asked, and then no player is either.

    Returns:
      ``optimum``: the mean exact optimum (reward), or ``None``; ``uniform`` and ``scripted``: mean return, success
      rate and what the game measures of these players in the roles that learn, or ``None`` if there is no such
      player.
    """
    opponents = matchups.opponents() if matchups else ()
    cheap = all(isinstance(opponent, PlayerPolicy) for opponent in opponents)
    players = (UniformPlayer(game), game.scripted_player()) if cheap else (None, None)
    uniform, scripted = (_played(game, player, specs, matchups) for player in players)
    return {
        "optimum": mean_optimal_return(game, list(specs)),
        "uniform": uniform,
        "scripted": scripted,
    }


def _played(
    game: AbstractGame[Any, Any],
    player: AbstractPlayer[Any, Any] | None,
    specs: Sequence[EpisodeSpec[Any]],
    matchups: AbstractMatchups | None,
) -> dict[str, float | None] | None:
    """How a scripted player does; ``None`` if it cannot play."""
    if player is None:
        return None
    policy = PlayerPolicy(game, player)
    try:
        found = evaluate(game, policy, specs, matchups=matchups, max_failure_rate=1.0)
    except GameLawError:
        if not isinstance(player, UniformPlayer):
            raise
        return None  # where actions are not listed nobody can play uniformly
    if not math.isfinite(found.reward):
        return None
    success = None if math.isnan(found.success_rate) else found.success_rate
    return {
        "reward": found.reward,
        "success_rate": success,
        **{f"game/{name}": value for name, value in found.metrics.items()},
    }
