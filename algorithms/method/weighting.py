"""Weightings: how much each token of a kept episode counts in the loss.

The objective is a sum over kept episodes e, completions and tokens of w times the surrogate
(``docs/theory/07_weighting.md``). The weightings are different estimators [ours]; with
omega_e the sampling weight of the episode, B the number of groups and K how many episodes are meant to be
trained on of each (``Estimator.kept_episodes``):

    constant   omega_e / (B K)                unbiased up to the baseline
    episode    omega_e / (B K Y_e)            Y_e: the agent's completions; long episodes count less
    sequence   omega_e / (B K L_e)            L_e: the episode's trained tokens, as 1 / |o_i| in GRPO
    step       omega_e / (B K mean(Y))        mean over the played episodes: random, so biased
    token      omega_e / (B K mean(L))        likewise

The means are over all episodes of the groups, drawn or not, so that they do not depend on the draw:
corrected draws then have the mean of the full group with every weighting. Where all episodes are kept,
B K mean(Y) is sum_e Y_e, the plain denominator.

No weighting divides by the tokens of a single reply; with one reply per episode, "sequence" is GRPO's.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

from tsmg import InvalidArgumentError, ShapeError

WeightingKind = Literal["constant", "episode", "sequence", "step", "token"]


def token_weights(
    kind: WeightingKind,
    *,
    episode_weights_E: Sequence[float],
    tokens_per_completion: Sequence[Sequence[int]],
    denominator_episodes: int,
    drawn_from: Sequence[Sequence[int]] | None = None,
) -> list[list[float]]:
    """The weight w of every token of each completion of each kept episode.

    Compute it once for all kept episodes of an update, before they are split into
    mini-batches: the losses of the mini-batches then add up to the loss of the whole.
    Source: reconstructed [ours]; see the module's text for the formulas.

    Args:
      kind: the weighting.
      episode_weights_E: omega, sampling weights of the kept episodes, finite and at least 0.
        Shape (E,).
      tokens_per_completion: trainable tokens of each of the agent's completions. E rows of Y_e numbers.
      denominator_episodes: D, at least 1; E may be smaller, where groups were skipped.
      drawn_from: trainable tokens of each completion of every played episode, for the means of "step" and "token";
        ``None`` if all of them were kept.

    Returns:
      w, E rows of Y_e numbers; each holds for every token of its completion. Unit: 1 for "constant",
      1 / completion for "episode" and "step", 1 / token for "sequence" and "token".

    Raises:
      ShapeError: not one weight per episode.
      InvalidArgumentError: an unknown kind, a bad weight, a negative number of tokens, or D below
        1.

    Example:
      >>> token_weights("episode", episode_weights_E=[1.0, 1.0], tokens_per_completion=[[5], [5, 5]],
      ...     denominator_episodes=2)
      [[0.5], [0.25, 0.25]]

    Theory: Definition 7.1, Equation 7.1.
    """
    _check(episode_weights_E, tokens_per_completion, denominator_episodes)
    sizes_E = _sizes(
        kind, tokens_per_completion, tokens_per_completion if drawn_from is None else drawn_from
    )
    return [
        [weight / (denominator_episodes * size) if size else 0.0] * len(completions)
        for weight, size, completions in zip(
            episode_weights_E, sizes_E, tokens_per_completion, strict=True
        )
    ]


def _sizes(
    kind: WeightingKind,
    tokens_per_completion: Sequence[Sequence[int]],
    drawn_from: Sequence[Sequence[int]],
) -> list[float]:
    """What each episode is divided by, beside D; 0 if there is nothing to divide."""
    if kind == "constant":
        return [1.0] * len(tokens_per_completion)
    if kind in ("episode", "step"):
        size: Callable[[Sequence[int]], int] = len
    elif kind in ("sequence", "token"):
        size = sum
    else:
        raise InvalidArgumentError(
            f"'kind' must be constant, episode, sequence, step or token (got {kind!r})"
        )
    if kind in ("episode", "sequence"):
        return [float(size(completions)) for completions in tokens_per_completion]
    mean = sum(map(size, drawn_from)) / len(drawn_from) if drawn_from else 0.0
    return [mean] * len(tokens_per_completion)


def _check(
    weights_E: Sequence[float], tokens_per_completion: Sequence[Sequence[int]], denominator: int
) -> None:
    if len(weights_E) != len(tokens_per_completion):
        raise ShapeError(
            f"'episode_weights_E' must contain one weight per episode "
            f"(got {len(weights_E)} for {len(tokens_per_completion)} episodes)"
        )
    if not all(0 <= weight < math.inf for weight in weights_E):
        raise InvalidArgumentError(
            f"'episode_weights_E' must be finite and at least 0 (got {weights_E})"
        )
    if any(tokens < 0 for completions in tokens_per_completion for tokens in completions):
        raise InvalidArgumentError(
            f"'tokens_per_completion' must be at least 0 (got {tokens_per_completion})"
        )
    if denominator < 1:
        raise InvalidArgumentError(f"'denominator_episodes' must be at least 1 (got {denominator})")
