"""Regret matching: play each action of a repeated matrix game in proportion to its regret so far.

Source: S. Hart, A. Mas-Colell, "A simple adaptive procedure leading to correlated equilibrium", 2000 (after D.
Blackwell, "An analog of the minimax theorem for vector payoffs", 1956).
"""

from fractions import Fraction
from typing import final

import attrs

from games.matrix import MatrixGame, Rounds
from tsmg import AbstractPlayer, Distribution, Finite, uniform


def action_regrets(game: MatrixGame, state: Rounds, agent: str) -> tuple[Fraction, ...]:
    """How much more each action would have paid in all rounds so far, given the other player's actions.

    Args:
      game: the game; its payoffs are read as exact fractions.
      state: the rounds so far.
      agent: name of the agent.

    Source: S. Hart, A. Mas-Colell, 2000.

    Example:
      >>> pennies = MatrixGame(payoffs=(((1, -1), (-1, 1)), ((-1, 1), (1, -1))))
      >>> [str(r) for r in action_regrets(pennies, Rounds(((0, 1), (0, 0))), "row")]
      ['0', '0']
    """
    own = game.agents.index(agent)
    # the payoffs of the agent, a row per action of its own
    table = [[Fraction(pair[own]) for pair in row] for row in game.payoffs]
    if own:
        table = [list(column) for column in zip(*table, strict=True)]
    others = [pair[1 - own] for pair in state.played]
    got = sum((table[pair[own]][pair[1 - own]] for pair in state.played), Fraction(0))
    return tuple(sum((row[other] for other in others), Fraction(0)) - got for row in table)


@final
@attrs.frozen(kw_only=True)
class RegretMatcher(AbstractPlayer[Rounds, int]):
    """Plays each action in proportion to its regret, if that is positive; any action if none is.

    Whatever the other player does, its expected regret after T rounds is at most the greatest difference of its payoffs
    times the square root of the product of T and its number of actions.

    Attributes:
      game: the game.

    Source: S. Hart, A. Mas-Colell, 2000.
    """

    game: MatrixGame

    def action_dist(self, state: Rounds, agent: str) -> Distribution[int]:
        regrets = action_regrets(self.game, state, agent)
        weights = {action: regret for action, regret in enumerate(regrets) if regret > 0}
        if not weights:
            return uniform(range(len(regrets)))
        total = sum(weights.values())
        return Finite({action: weight / total for action, weight in weights.items()})
