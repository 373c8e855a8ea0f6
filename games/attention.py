"""Players that look only sometimes, as the scripted players of several games do."""

from fractions import Fraction
from typing import TypeVar

from tsmg import Distribution, mixture

A = TypeVar("A")


def attentive(
    attention: float, looking: Distribution[A], otherwise: Distribution[A]
) -> Distribution[A]:
    """The actions of a player that looks with a given probability.

    Args:
      attention: the probability that it looks, in [0, 1].
      looking: its actions if it looks.
      otherwise: its actions if it does not.

    Example:
      >>> from tsmg import deterministic
      >>> attentive(0.4, deterministic("win"), deterministic("pass")).prob("win")
      Fraction(2, 5)
    """
    share = Fraction(str(attention))
    return mixture([(share, looking), (1 - share, otherwise)])
