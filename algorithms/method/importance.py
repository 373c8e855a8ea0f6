"""Importance weights, which correct for replies that were sampled by another policy than the one that learns.

An inference engine computes in other types, or has older weights. The weight w of a token is a ratio of probabilities
under the policy that learns (before its first step) and under the sampler; the token's advantage is multiplied by it,
and the ratio of the surrogate is then to the policy that learns.

    token     w = p(token) / q(token)
    step      the product over the tokens of a completion
    episode   the product over the tokens of all of an agent's completions in an episode

Unlimited weights at the level "episode" restore the expected gradient if only one agent's replies are sampled so; those
at the level "step" do so if an episode is one step. Others in general do not: they leave out how likely the learning
policy would have reached the token's context, and what follows it (``docs/theory/11_ratios.md``).

Source: truncation (TIS) and masking (MIS) of tokens and sequences as in TRL (``vllm_importance_sampling_mode``) and
verl (``rollout_corr_helper``), whose bounds [1 / cap, cap] of a mask these are; a sequence there is a completion. The
level of an episode is [ours].
"""

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias, final

import attrs
import numpy as np
from numpy.typing import NDArray

from algorithms.method.clip_range import LOG_RATIO_LIMIT
from tsmg import InvalidArgumentError

ImportanceKind: TypeAlias = Literal["truncated", "masked"]
ImportanceLevel: TypeAlias = Literal["token", "step", "episode"]
Weights: TypeAlias = NDArray[np.float64]
DEFAULT_CAP = 2.0


@final
@attrs.frozen(kw_only=True)
class ImportanceRule:
    """How ratios of probabilities become importance weights.

    Attributes:
      kind: "truncated": min(w, cap); "masked": w within [1 / cap, cap], 0 outside.
      level: what a ratio is of.
      cap: above 1; infinite for no cap, if weights are truncated.

    Raises:
      InvalidArgumentError: a cap of at most 1, or a mask without one.

    Theory: Equation 11.6.
    """

    kind: ImportanceKind
    level: ImportanceLevel = "token"
    cap: float = attrs.field(default=DEFAULT_CAP)

    @cap.validator
    def _check(self, attribute: "attrs.Attribute[float]", value: float) -> None:
        if not value > 1:
            raise InvalidArgumentError(f"'importance_cap' must be above 1 (got {value})")
        if self.kind == "masked" and value == math.inf:
            raise InvalidArgumentError(
                "'importance_cap' must be finite if 'importance_weights' is masked, since no weight exceeds inf: set a "
                "finite cap, or truncated weights"
            )

    def limited(self, weights: Weights) -> Weights:
        """The weights, truncated or masked.

        Args:
          weights: w; any shape.

        Example:
          >>> w = np.array([0.25, 0.5, 2.0, 4.0])
          >>> ImportanceRule(kind="truncated", cap=2.0).limited(w).tolist()
          [0.25, 0.5, 2.0, 2.0]
          >>> ImportanceRule(kind="masked", cap=2.0).limited(w).tolist()
          [0.0, 0.5, 2.0, 0.0]
        """
        if self.kind == "truncated":
            return np.minimum(weights, self.cap)
        return np.where(self.is_limited(weights), 0.0, weights)

    def is_limited(self, weights: Weights) -> NDArray[np.bool_]:
        """Which weights are changed by the limits.

        Args:
          weights: w; any shape.

        Example:
          >>> ImportanceRule(kind="truncated", cap=2.0).is_limited(np.array([0.25, 4.0])).tolist()
          [False, True]
        """
        above = weights > self.cap
        return above if self.kind == "truncated" else above | (weights < 1 / self.cap)


def find_importance_rule(
    kind: Literal[ImportanceKind, "none"], *, level: ImportanceLevel, cap: float
) -> ImportanceRule | None:
    """The rule by its settings; ``None`` for the kind "none".

    Raises:
      InvalidArgumentError: the settings define no rule, or have no effect.

    Example:
      >>> find_importance_rule("none", level="token", cap=DEFAULT_CAP) is None
      True
    """
    if kind != "none":
        return ImportanceRule(kind=kind, level=level, cap=cap)
    unused = {"importance_level": (level, "token"), "importance_cap": (cap, DEFAULT_CAP)}
    for name, (value, default) in unused.items():
        if value != default:
            raise InvalidArgumentError(
                f"{name!r} has no effect without 'importance_weights' truncated or masked; set that, or leave {name!r} "
                f"out (got {value!r})"
            )
    return None


def importance_weights(
    log_ratios_L: Sequence[float], *, level: ImportanceLevel, episode_log_ratio: float
) -> Weights:
    """The unlimited weight of each token of a completion.

    Args:
      log_ratios_L: log p - log q of each token, in nats; 0 if the policy did not choose it. Shape (L,).
      level: what a ratio is of.
      episode_log_ratio: the sum of the log-ratios over the agent's completions of the episode, this one included.

    Returns:
      w. Shape (L,).

    Example:
      >>> twice_and_thrice = np.log([2, 3]).tolist()
      >>> for level in ("token", "step", "episode"):
      ...     importance_weights(twice_and_thrice, level=level, episode_log_ratio=math.log(9)).round(6).tolist()
      [2.0, 3.0]
      [6.0, 6.0]
      [9.0, 9.0]

    Theory: Definition 11.1, Equation 11.5.
    """
    of_tokens_L = np.asarray(log_ratios_L, dtype=np.float64)
    logs_L = {
        "token": of_tokens_L,
        "step": np.full_like(of_tokens_L, of_tokens_L.sum()),
        "episode": np.full_like(of_tokens_L, episode_log_ratio),
    }[level]
    weights_L: Weights = np.exp(np.clip(logs_L, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT))
    return weights_L


@final
@attrs.frozen(kw_only=True)
class ImportanceTally:
    """Sums over tokens of importance weights; those of micro-batches and processes add up.

    Attributes:
      tokens: how many tokens.
      total: of the unlimited weights.
      greatest: of the unlimited weights; 0 without tokens.
      limited: how many were truncated or masked.
      kept: of the limited weights.
      kept_squares: of their squares.
    """

    tokens: int = 0
    total: float = 0.0
    greatest: float = 0.0
    limited: int = 0
    kept: float = 0.0
    kept_squares: float = 0.0

    @classmethod
    def of(cls, weights: Weights, rule: ImportanceRule) -> "ImportanceTally":
        """The sums over some tokens' unlimited weights."""
        kept = rule.limited(weights)
        return cls(
            tokens=weights.size,
            total=float(weights.sum()),
            greatest=float(weights.max(initial=0.0)),
            limited=int(rule.is_limited(weights).sum()),
            kept=float(kept.sum()),
            kept_squares=float((kept**2).sum()),
        )

    def __add__(self, other: "ImportanceTally") -> "ImportanceTally":
        return ImportanceTally(
            tokens=self.tokens + other.tokens,
            total=self.total + other.total,
            greatest=max(self.greatest, other.greatest),
            limited=self.limited + other.limited,
            kept=self.kept + other.kept,
            kept_squares=self.kept_squares + other.kept_squares,
        )

    @property
    def metrics(self) -> dict[str, float | None]:
        """Mean and greatest weight, share of the limited ones, and effective sample size as a share of the tokens.

        Source: Kish's effective sample size, (sum w)^2 / sum w^2, of the limited weights, as verl logs it.

        Example:
          >>> rule = ImportanceRule(kind="truncated", cap=2.0)
          >>> ImportanceTally.of(np.array([1.0, 3.0]), rule).metrics["importance_effective_share"]
          0.9
        """
        n = max(1, self.tokens)
        return {
            "importance_mean": self.total / n,
            "importance_max": self.greatest,
            "importance_limited_share": self.limited / n,
            "importance_effective_share": (
                self.kept**2 / (n * self.kept_squares) if self.kept_squares else 0.0
            ),
        }
