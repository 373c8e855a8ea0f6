"""Which rules break because another one is broken: the report names the root, and leaves out what follows from it."""

from collections.abc import Collection, Mapping

ROOTS: Mapping[str, tuple[str, ...]] = {
    "acting-agents": ("legal-actions", "invalid-text"),
    "arguments": (
        "plays-through", "success", "metrics", "one-law", "probabilities", "branching", "joint-order", "free-text",
        "forged-lines", "same-seed", "interleaving", "stochastic-transitions", "symmetric", "state-tells-outcomes",
    ),
    "types": ("information", "text-separates-states", "perfect-information"),
    "rewards": (
        "same-seed", "interleaving", "branching", "one-law", "probabilities", "stochastic-transitions", "zero-sum",
        "return-bounds", "symmetric", "state-tells-outcomes",
        "success", "metrics",
    ),
    "global-generators": (
        "same-seed", "observation-pure", "interleaving", "branching", "one-law", "state-tells-all", "seed-matters",
        "stochastic-start", "stochastic-transitions", "hash-seed", "rules-pure", "information-told",
        "state-tells-outcomes", "scripted-player", "player-information", "success", "metrics",
    ),
    "observation-pure": (
        "same-seed", "interleaving", "branching", "state-tells-all", "state-value", "information",
        "text-separates-states", "perfect-information", "hash-seed",
    ),
    "same-seed": (
        "interleaving", "branching", "one-law", "state-tells-all", "stochastic-start", "stochastic-transitions",
        "hash-seed", "state-tells-outcomes",
    ),
    "branching": ("state-tells-outcomes",),
    "state-tells-outcomes": ("stochastic-transitions",),
    "state-tells-all": ("state-tells-outcomes",),
    "scripted-player": ("player-information",),
    "probabilities": ("one-law",),
    "start-probabilities": ("one-law",),
    "text-separates-states": ("perfect-information",),
}  # fmt: skip
"""A rule, and those that break where it is broken."""

EXCEPTIONS = "plays-through"
"""The rule that reports exceptions; the same exception in another rule follows from it."""
LEAKS = "information"
"""The rule that reports leaks; that nothing is hidden, though it is declared, follows from it."""


def root_of(
    rule: str,
    broken: Collection[str],
    *,
    repeats_exception: bool = False,
    is_denied: bool = False,
) -> str | None:
    """The broken rule from which this broken one follows, or ``None`` if it is a root itself.

    Args:
      rule: the broken rule.
      broken: all broken rules.
      repeats_exception: whether it was broken by the exception that ``plays-through`` reports.
      is_denied: whether it is broken because the opposite of it is declared and everything visited denies that.

    Example:
      >>> root_of("interleaving", {"interleaving", "rewards"})
      'rewards'
      >>> root_of("rewards", {"interleaving", "rewards"}) is None
      True
    """
    if repeats_exception and rule != EXCEPTIONS and EXCEPTIONS in broken:
        return EXCEPTIONS
    if is_denied and LEAKS in broken:
        return LEAKS
    root = next((root for root, names in ROOTS.items() if root in broken and rule in names), None)
    return root and (root_of(root, broken) or root)
