"""Weightings: how much each token of a kept episode counts in the loss.

The objective is a sum over kept episodes e, completions and tokens of w times the surrogate
(``docs/formalism/07_weighting.md``). The weightings are different estimators [ours]; with
omega_e the sampling weight of the episode, B the number of groups and K how many episodes are meant to be
trained on of each (``Estimator.kept_episodes``):

    constant   omega_e / (B K)                unbiased up to the baseline
    episode    omega_e / (B K Y_e)            Y_e: the agent's completions; long episodes count less
    sequence   omega_e / (B K L_e)            L_e: the episode's trained tokens, as 1 / |o_i| in GRPO
    step       omega_e / (B K mean(Y))        mean over the kept episodes: random, so biased
    token      omega_e / (B K mean(L))        likewise

Where nothing was skipped and every omega is 1, B K mean(Y) is sum_e Y_e over the kept episodes, the
plain denominator. Where fewer than B K episodes were kept, the missing ones (groups without signal)
count in the denominator as episodes of mean size, so that a batch with many such groups takes a
smaller step in all of them. The mean is weighted by omega: corrected weights make it an
estimate of the mean over all episodes that could have been drawn, whatever the sampling preferred.

No weighting divides by the tokens of a single reply: with one reply an episode, "sequence" is GRPO's.
"""

import math
from collections.abc import Sequence
from typing import Literal

from tsmg import InvalidArgumentError, ShapeError

WeightingKind = Literal["constant", "episode", "sequence", "step", "token"]


def token_weights(
    kind: WeightingKind,
    *,
    episode_weights_E: Sequence[float],
    tokens_per_completion: Sequence[Sequence[int]],
    denominator_episodes: int,
) -> list[list[float]]:
    """The weight w of every token of each completion of each kept episode.

    To be computed once for all kept episodes of an update, before they are split into
    mini-batches: the losses of the mini-batches then add up to the loss of the whole.
    Source: reconstructed [ours]; see the module's text for the formulas.

    Args:
      kind: the weighting.
      episode_weights_E: omega, sampling weights of the kept episodes, finite and at least 0.
        Shape (E,).
      tokens_per_completion: trainable tokens of each of the agent's completions. E rows of Y_e numbers.
      denominator_episodes: D, at least 1; E may be smaller, where groups were skipped.

    Returns:
      w, E rows of Y_e numbers; each holds for every token of its completion. Unit: 1 for "constant",
      1 / completion for "episode" and "step", 1 / token for "sequence" and "token".

    Raises:
      ShapeError: not one weight an episode.
      InvalidArgumentError: an unknown kind, a bad weight, a negative number of tokens, or B K below
        1.

    Example:
      >>> token_weights("episode", episode_weights_E=[1.0, 1.0], tokens_per_completion=[[5], [5, 5]],
      ...     denominator_episodes=2)
      [[0.5], [0.25, 0.25]]

    Theory: Definition 7.1, Equation 7.1.
    """
    _check(episode_weights_E, tokens_per_completion, denominator_episodes)
    sizes_E = _sizes(kind, episode_weights_E, tokens_per_completion)
    return [
        [weight / (denominator_episodes * size) if size else 0.0] * len(completions)
        for weight, size, completions in zip(
            episode_weights_E, sizes_E, tokens_per_completion, strict=True
        )
    ]


def _sizes(
    kind: WeightingKind, weights_E: Sequence[float], tokens_per_completion: Sequence[Sequence[int]]
) -> list[float]:
    """What each episode is divided by, beside D."""
    completions_E = [float(len(completions)) for completions in tokens_per_completion]
    if kind == "constant":
        return [1.0] * len(completions_E)
    if kind == "episode":
        return completions_E
    tokens_E = [float(sum(completions)) for completions in tokens_per_completion]
    if kind == "sequence":
        return tokens_E
    if kind == "step":
        return [_mean(completions_E, weights_E)] * len(completions_E)
    if kind == "token":
        return [_mean(tokens_E, weights_E)] * len(completions_E)
    raise InvalidArgumentError(
        f"'kind' must be constant, episode, sequence, step or token (got {kind!r})"
    )


def _mean(sizes_E: Sequence[float], weights_E: Sequence[float]) -> float:
    """The weighted mean; 0 where no weight is above 0, since then nothing is to be divided."""
    total = math.fsum(weights_E)
    return (
        math.fsum(w * n for w, n in zip(weights_E, sizes_E, strict=True)) / total if total else 0.0
    )


def _check(
    weights_E: Sequence[float], tokens_per_completion: Sequence[Sequence[int]], denominator: int
) -> None:
    if len(weights_E) != len(tokens_per_completion):
        raise ShapeError(
            f"'episode_weights_E' must hold one weight an episode "
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
