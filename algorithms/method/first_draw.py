"""The probabilities of the first draw from a group: by |A|^alpha, or by the size of a gradient, mixed with a floor.

Successive draws use the same probabilities among the remaining episodes (``episode_sampling``).

- "aaw": p_e in proportion to |A_e|^alpha. Source: arXiv:2508.10839, absolute advantages [paper]; the formula and the
  exponent are reconstructed [ours].
- "optimal": p_e in proportion to |A_e| |score_e| / sqrt(L_e), with L_e the episode's trained tokens, at which a
  corrected draw has the least second moment for the tokens that it trains (Equation 8.9) [ours]. The norm of
  the score is estimated from what was recorded (``gradient_sizes``).
- "uniform": equal for all episodes.

With a floor lambda the draw is uniform with probability lambda: p_e = (1 - lambda) p_e + lambda / G, above 0 for every
episode, whatever the credit of its steps, and also where there is no signal.
"""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from algorithms.method.advantages import (
    SIGNAL_TOLERANCE,
    Advantage,
    Numbers,
    finite_vector,
    rounding_noise,
    signal_mask,
    token_advantages,
)
from algorithms.method.weighting import WeightingKind
from tsmg import Completion, Finite, InvalidArgumentError, NoSignalError

SamplingKind = Literal["aaw", "optimal", "uniform", "all"]
SAMPLING_KINDS: tuple[SamplingKind, ...] = get_args(SamplingKind)

_LEAST_RATIO = 1e-100  # the least p_e / max p of an episode with a signal: it stays drawable
# Lower bound of a token's 1 - p; it bounds the weights of corrected draws.
_LEAST_SURPRISE = 0.01


def sampling_weights(
    advantages_G: Numbers, *, alpha: float = 1.0, floor: float = 0.0
) -> Finite[int]:
    """AAW sampling weights, p_e = (1 - floor) |A_e|^alpha / sum_j |A_j|^alpha + floor / G.

    Source: arXiv:2508.10839 (the idea) [paper]; the formula and the floor are reconstructed [ours].

    Args:
      advantages_G: A, group-relative advantages. Shape (G,), finite; unit: reward / std.
      alpha: exponent, finite and at least 0; 0 is uniform over the episodes with a signal.
      floor: share of the uniform distribution, in [0, 1].

    Returns:
      Distribution over episode indices 0..G-1. An advantage within ``SIGNAL_TOLERANCE * max(1,
      max |A|)`` of 0 has probability exactly 0 without a floor; every other one more than 0, whatever alpha.

    Raises:
      ShapeError: ``advantages_G`` is not one-dimensional, or G is 0.
      InvalidArgumentError: an advantage is not finite, alpha is negative or not finite, or the floor is not in [0, 1].
      NoSignalError: every advantage is 0, and there is no floor (the caller skips and counts such groups).

    Example:
      >>> sampling_weights([1.0, -1.0, 0.0, 0.0]).prob(0)
      0.5
      >>> dict(sampling_weights([1.0, -1.0, 0.0, 0.0], floor=0.5).enumerate())
      {0: 0.375, 1: 0.375, 2: 0.125, 3: 0.125}

    Theory: Definition 8.1, Equation 8.1, Equation 8.5.
    """
    vector_G = finite_vector("advantages_G", advantages_G)
    probabilities_G = first_draw_probabilities(vector_G, "aaw", alpha=alpha, floor=floor)
    if probabilities_G is None:
        raise NoSignalError(
            f"every advantage is 0 to within {SIGNAL_TOLERANCE:g} (got {vector_G.tolist()}): "
            "are all returns of the group equal?"
        )
    return Finite(tuple(enumerate(probabilities_G.tolist())))


def gradient_sizes(
    credits_G: Sequence[Sequence[Advantage]],
    completions_G: Sequence[Sequence[Completion]],
    *,
    weighting: WeightingKind = "constant",
) -> NDArray[np.float64]:
    """How much an episode can move the weights for what it costs: the root of sum_t A_t^2 |score_t|^2 over L.

    |score_t|^2 is estimated by the sum of (1 - M)^2 over the sampled tokens, M being how likely each was: the squared
    norm of a token's score in its logits is between that and twice as much, and just twice as much where there are two
    tokens to choose from. With whole-episode credit this is |A| |score| / sqrt(L). With credit by step an episode of
    average return counts as far as its steps do, and an episode whose steps are all without credit not at all. A
    token that was likelier than 0.99 counts as if it were not, which bounds the weights of corrected draws.

    Source: ``docs/theory/08_aaw_episode_sampling.md`` (Equation 8.9) [ours].

    Args:
      credits_G: for each episode, the advantage of each of the agent's completions, or of each token, finite.
      completions_G: for each episode, the completions, with the log-probabilities of their tokens.
      weighting: of tokens; "episode" divides by the number of completions, "sequence" by that of tokens, the others by
        what all have in common.

    Returns:
      Shape (G,), at least 0; 0 for an episode without credit or without trained tokens.

    Example:
      >>> import math
      >>> sampled = Completion(prompt_ids=(), reply_ids=(3,), trainable=(True,), logprobs=(math.log(0.5),))
      >>> gradient_sizes([[1.0], [-3.0, 1.0]], [[sampled], [sampled, sampled]]).round(3).tolist()
      [0.5, 1.118]

    Theory: Equation 8.10.
    """
    moves_G = [
        [move for pair in zip(*of_episode, strict=True) for move in _token_moves(*pair)]
        for of_episode in zip(credits_G, completions_G, strict=True)
    ]
    noise = rounding_noise([a for moves in moves_G for a, _ in moves])
    sizes = []
    for moves, completions_T in zip(moves_G, completions_G, strict=True):
        square = sum((a * surprise) ** 2 for a, surprise in moves if abs(a) > noise)
        divisor = {"episode": len(completions_T), "sequence": len(moves)}.get(weighting, 1)
        sizes.append(math.sqrt(square / len(moves)) / divisor if moves else 0.0)
    return np.array(sizes)


def _token_moves(credit: Advantage, completion: Completion) -> list[tuple[float, float]]:
    """The advantage and the surprise, 1 - p, of each token that is trained on."""
    advantages = token_advantages(credit, len(completion.reply_ids))
    return [
        (advantage, max(-math.expm1(logprob), _LEAST_SURPRISE))
        for advantage, logprob, sampled in zip(
            advantages, completion.logprobs, completion.trainable, strict=True
        )
        if sampled
    ]


def first_draw_probabilities(
    values_G: NDArray[np.float64], kind: SamplingKind, *, alpha: float = 1.0, floor: float = 0.0
) -> NDArray[np.float64] | None:
    """The probabilities of the first draw from these episodes.

    Source: the module's text.

    Args:
      values_G: for "aaw" advantages; for "optimal" ``gradient_sizes``, at least 0. Shape (G,), G >= 1, finite.
      kind: how they become probabilities; not "all", which draws nothing.
      alpha: exponent of "aaw".
      floor: share of the uniform distribution, in [0, 1].

    Returns:
      p. Shape (G,), sum 1. ``None`` if nothing can be drawn: no value differs from 0, and there is no floor.

    Raises:
      InvalidArgumentError: another kind, a bad alpha or floor, or a negative size.

    Example:
      >>> first_draw_probabilities(np.array([3.0, 1.0, 0.0]), "optimal", floor=0.3).round(3).tolist()
      [0.625, 0.275, 0.1]
      >>> first_draw_probabilities(np.zeros(2), "aaw", floor=0.3).tolist()
      [0.5, 0.5]

    Theory: Equation 8.1, Equation 8.5, Equation 8.10.
    """
    if not 0 <= alpha < math.inf:
        raise InvalidArgumentError(f"'alpha' must be finite and at least 0 (got {alpha})")
    if not 0 <= floor <= 1:
        raise InvalidArgumentError(f"'floor' must be in [0, 1] (got {floor})")
    if kind not in ("aaw", "optimal", "uniform"):
        raise InvalidArgumentError(f"'kind' must be aaw, optimal or uniform (got {kind!r})")
    if kind == "optimal" and (values_G < 0).any():
        raise InvalidArgumentError(
            f"'values_G' must be at least 0 for 'optimal' (got {values_G.tolist()})"
        )
    even_G = np.full(values_G.size, 1 / values_G.size)
    drawable_G = signal_mask(values_G) if kind == "aaw" else values_G > 0
    if kind == "uniform" or (floor and not drawable_G.any()):
        return even_G
    if not drawable_G.any():
        return None
    sizes_G = np.abs(values_G) / np.abs(values_G).max()
    powers_G = np.maximum(sizes_G**alpha if kind == "aaw" else sizes_G, _LEAST_RATIO)
    weights_G = np.where(drawable_G, powers_G, 0.0)
    probabilities_G: NDArray[np.float64] = weights_G / weights_G.sum()
    return (1 - floor) * probabilities_G + floor * even_G
