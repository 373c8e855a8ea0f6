"""Group-relative advantages: how much better an episode did than the group that it was played in.

One tolerance runs through this module and ``episode_sampling``: a quantity of at most
``SIGNAL_TOLERANCE * max(1, largest size)`` is rounding noise, and counts as exactly 0. So returns
such as 0.1 + 0.2 and 0.3 are equal, and an episode that only noise separates from its group's
mean has no influence.

Source: arXiv:2508.10839 (returns relative to their group) [paper]; std, eps, baselines and the
tolerance are ours [ours].
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tsmg import InvalidArgumentError, ShapeError

# One number per episode.
Numbers = Sequence[float] | NDArray[np.float64]
# Of a completion: one number, or one for each token of the reply.
Advantage = float | tuple[float, ...]
StdKind = Literal["population", "sample", "none"]
BaselineKind = Literal["mean", "leave_one_out", "none"]
GaeKind = Literal["turn", "token", "bi_level"]
GaeSetting = Literal[GaeKind, "subgoal"]
CriticKind = Literal["text", "head"]

SIGNAL_TOLERANCE = 1e-9

_LARGEST = 1e100  # squares of what is larger would leave the range of float64


def group_relative_advantages(
    returns_G: Numbers,
    *,
    std: StdKind = "population",
    eps: float = 1e-4,
    baseline: BaselineKind = "mean",
) -> NDArray[np.float64]:
    """Group-relative advantages, A_e = (R_e - b_e) / (std(R) + eps).

    Source: arXiv:2508.10839 (the return of the whole episode, relative to its group) [paper]; the
    formula, the kind of std and eps are reconstructed [ours]. Dividing by the std is not harmless:
    when a group shares something that the agent cannot see, or when returns take more than two
    values, it can reverse which action is better (``docs/theory/06_baselines_and_std.md``);
    ``std="none"`` switches it off.

    Args:
      returns_G: R, whole-episode returns of one group. Shape (G,), G >= 2, finite (at most 1e100
        in size). Unit: reward.
      std: "population" divides squares by G, "sample" by G - 1; "none" gives A_e = R_e - mean(R).
      eps: added to the std, at least 0. Unit: reward. Not used with "none".
      baseline: b. "mean": of the whole group, the episode's own return included, which makes the expected gradient
        (G - 1) / G of the true one (without std). "leave_one_out": the mean of the others, which leaves it as it is
        (RLOO, arXiv:2402.14740); it is G / (G - 1) times the advantage over the mean. "none": 0.

    Returns:
      A, of mean 0 (but for the baseline "none"). Shape (G,), float64; unit: reward / std, or reward with the std
      "none". Returns that equal the mean to within ``SIGNAL_TOLERANCE * max(1, max |R|)`` get exactly 0 (but for the
      baseline "none"). Permuting the group permutes A, bit for bit.

    Raises:
      ShapeError: ``returns_G`` is not one row of numbers, or is empty.
      InvalidArgumentError: a group of one, a return that is not finite, a bad ``std`` or ``eps``.

    Example:
      >>> group_relative_advantages([1.0, 0.0, 0.0, 1.0], eps=0.0).tolist()
      [1.0, -1.0, -1.0, 1.0]
      >>> group_relative_advantages([0.1 + 0.2, 0.3]).tolist()
      [0.0, 0.0]

    Theory: Definition 5.1, Equation 5.3, Equation 6.1, Equation 6.3, Equation 6.4.
    """
    returns_G = finite_vector("returns_G", returns_G)
    if returns_G.size < 2:
        raise InvalidArgumentError(
            "'returns_G' must hold at least 2 episodes (got 1): a single one has no group to compare with"
        )
    if not 0 <= eps < math.inf:
        raise InvalidArgumentError(f"'eps' must be finite and at least 0 (got {eps})")
    centred_G = _centred(returns_G)
    scale = _std(centred_G, std)
    gains_G = _over_baseline(returns_G, centred_G, baseline)
    return gains_G if scale is None or not centred_G.any() else gains_G / (scale + eps)


def token_advantages(advantage: Advantage, tokens: int) -> tuple[float, ...]:
    """The advantage of each token of a reply.

    Example:
      >>> token_advantages(0.5, 2), token_advantages((1.0, 0.0), 2)
      ((0.5, 0.5), (1.0, 0.0))
    """
    return advantage if isinstance(advantage, tuple) else (advantage,) * tokens


def mapped(advantage: Advantage, change: Callable[[float], float]) -> Advantage:
    """A changed advantage, of the whole completion or of each token.

    Example:
      >>> mapped(0.5, abs), mapped((-1.0, 0.0), abs)
      (0.5, (1.0, 0.0))
    """
    return tuple(map(change, advantage)) if isinstance(advantage, tuple) else change(advantage)


def has_signal(advantages_G: Numbers) -> bool:
    """Whether some advantage differs from 0, so that there is something to learn from.

    Args:
      advantages_G: A. Shape (G,), finite.

    Returns:
      True if some |A_e| exceeds ``SIGNAL_TOLERANCE * max(1, max |A|)``.

    Raises:
      ShapeError: not one row of numbers, or empty.
      InvalidArgumentError: an advantage is not finite.

    Example:
      >>> has_signal([0.5, -0.5]), has_signal([1e-17, -1e-17])
      (True, False)
    """
    return bool(signal_mask(finite_vector("advantages_G", advantages_G)).any())


def signal_mask(advantages_G: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which advantages differ from 0 by more than rounding noise.

    Args:
      advantages_G: A. Shape (G,), G >= 1, finite.

    Returns:
      |A_e| > ``SIGNAL_TOLERANCE * max(1, max |A|)``. Shape (G,), bool.

    Example:
      >>> signal_mask(np.array([0.5, -0.5, 1e-17])).tolist()
      [True, True, False]
    """
    return np.abs(advantages_G) > rounding_noise(advantages_G)


def finite_vector(name: str, values: object) -> NDArray[np.float64]:
    """A caller's argument as one row of finite numbers.

    Args:
      name: the argument's name, for messages.
      values: one row of numbers.

    Returns:
      The values. Shape (G,), G >= 1, float64.

    Raises:
      ShapeError: not one row of numbers, or empty.
      InvalidArgumentError: a number is not finite, or above 1e100 in size.

    Example:
      >>> finite_vector("rewards", (1, 2)).tolist()
      [1.0, 2.0]
    """
    try:
        vector = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ShapeError(
            f"'{name}' must be a one-dimensional sequence of numbers (got {values!r})"
        ) from error
    if vector.ndim != 1 or not vector.size:
        raise ShapeError(f"'{name}' must have shape (G,) with G >= 1 (got shape {vector.shape})")
    if not (np.abs(vector) <= _LARGEST).all():
        raise InvalidArgumentError(
            f"'{name}' must be finite and at most {_LARGEST:g} in absolute value (got {vector.tolist()})"
        )
    return vector


def rounding_noise(values: Numbers) -> float:
    """The size up to which a quantity computed from these values is rounding noise.

    Example:
      >>> rounding_noise([0.5, -20.0]), rounding_noise([])
      (2e-08, 1e-09)
    """
    return SIGNAL_TOLERANCE * max(1.0, float(np.abs(values).max(initial=0.0)))


def without_noise(values: Sequence[float]) -> list[float]:
    """Values, of which those that differ by no more than rounding noise are equal: each is the least of them.

    Example:
      >>> without_noise([0.1 + 0.2, 1.0, 0.3])
      [0.3, 1.0, 0.3]
    """
    noise, least = rounding_noise(values), -math.inf
    levels: dict[float, float] = {}
    for value in sorted(values):
        least = value if value - least > noise else least
        levels[value] = least
    return [levels[value] for value in values]


def beyond_noise(std: float, values: Sequence[float]) -> float:
    """The standard deviation of some values, 0 if it is only rounding noise.

    Example:
      >>> beyond_noise(1.0, [1.0, 3.0]), beyond_noise(1e-17, [0.3, 0.3])
      (1.0, 0.0)
    """
    return std if std > rounding_noise(values) else 0.0


def mean_and_std(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and the standard deviation of the population, 0 if it is only rounding noise; both 0 of no values.

    Example:
      >>> mean_and_std([1.0, 3.0]), mean_and_std([0.3, 0.1 + 0.2])[1], mean_and_std([])
      ((2.0, 1.0), 0.0, (0.0, 0.0))
    """
    if not values:
        return 0.0, 0.0
    mean = math.fsum(values) / len(values)
    std = math.sqrt(math.fsum((a - mean) ** 2 for a in values) / len(values))
    return mean, beyond_noise(std, values)


def _centred(returns_G: NDArray[np.float64]) -> NDArray[np.float64]:
    """R - mean(R), with what is only rounding noise set to 0."""
    centred_G = returns_G - math.fsum(returns_G) / returns_G.size
    return np.where(np.abs(centred_G) > rounding_noise(returns_G), centred_G, 0.0)


def _over_baseline(
    returns_G: NDArray[np.float64], centred_G: NDArray[np.float64], kind: BaselineKind
) -> NDArray[np.float64]:
    """R - b."""
    if kind == "mean":
        return centred_G
    if kind == "leave_one_out":
        return centred_G * (returns_G.size / (returns_G.size - 1))
    if kind == "none":
        return returns_G
    raise InvalidArgumentError(f"'baseline' must be mean, leave_one_out or none (got {kind!r})")


def _std(centred_G: NDArray[np.float64], kind: StdKind) -> float | None:
    """The standard deviation of centred values; ``None`` for the kind "none"."""
    if kind == "none":
        return None
    degrees = {"population": centred_G.size, "sample": centred_G.size - 1}.get(kind)
    if degrees is None:
        raise InvalidArgumentError(f"'std' must be population, sample or none (got {kind!r})")
    return math.sqrt(math.fsum(centred_G**2) / degrees)
