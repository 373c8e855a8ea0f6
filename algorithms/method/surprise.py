"""A batch rule: advantages are weighted by how sure the policy was of a step, and of the next one (EMPG)."""

import math
from collections.abc import Sequence

from algorithms.method.advantages import Advantage, mapped
from algorithms.method.batch import RoleGroup, places_by_agent
from tsmg import Completion

SHARPNESS = 1.0
BONUS_SHARPNESS = 1.0
BONUS = 0.1
_EPS = 1e-8


def surprise(completion: Completion) -> float | None:
    """The mean of -log p over the sampled tokens of a completion, in nats; ``None`` if there is none.

    Source: ours [ours].

    Example:
      >>> sure = Completion(prompt_ids=(), reply_ids=(1, 2), trainable=(True, True), logprobs=(0.0, -1.0))
      >>> surprise(sure)
      0.5
    """
    sampled = [-p for p, own in zip(completion.logprobs, completion.trainable, strict=True) if own]
    return math.fsum(sampled) / len(sampled) if sampled else None


def surprise_modulated(role_groups: Sequence[RoleGroup]) -> list[list[list[Advantage]]]:
    """Advantages that count more if the policy was sure, with a bonus for being sure at the next step.

        H_t the surprise of step t, min-max scaled over the batch:  h_t = (H_t - min H) / (max H - min H)
        A'_t = A_t g(h_t) + zeta exp(-k' h_{t+1}),  g(h) = exp(-k h) / mean over the batch of exp(-k h)
        A''_t = A'_t - mean over the batch's steps of A'

    with k = k' = 1 and zeta = 0.1, and no bonus at an episode's last step.

    Source: EMPG, arXiv:2509.09265, by the pseudocode of its project page. There H_t is the mean entropy of a step's
    tokens. Entropies are not recorded; the surprise -log p of what was sampled is, and has the entropy as its mean
    [ours]. Agents are compared apart from each other [ours].

    Args:
      role_groups: the groups of a batch, in their roles.

    Example:
      >>> sure, unsure = (
      ...     Completion(prompt_ids=(), reply_ids=(1,), trainable=(True,), logprobs=(p,)) for p in (-0.1, -2.1)
      ... )
      >>> group = RoleGroup(number=0, agent="player", returns_G=(1.0, 0.0), advantages_G=(1.0, -1.0),
      ...     credits_G=((1.0, 1.0), (-1.0,)), completions_G=((sure, unsure), (unsure,)))
      >>> [[round(a, 3) for a in row] for row in surprise_modulated([group])[0]]
      [[1.177, 0.047], [-1.224]]
    """
    changed: dict[int, list[list[Advantage]]] = {}
    for places in places_by_agent(role_groups).values():
        changed |= zip(places, _of_agent([role_groups[n] for n in places]), strict=True)
    return [changed[n] for n in range(len(role_groups))]


def _of_agent(role_groups: Sequence[RoleGroup]) -> list[list[list[Advantage]]]:
    """The new advantages of groups that are seen in one role."""
    surprises = [[[surprise(c) for c in row] for row in g.completions_G] for g in role_groups]
    known = [h for rows in surprises for row in rows for h in row if h is not None]
    if not known:
        return [[list(row) for row in g.credits_G] for g in role_groups]
    least, span = min(known), max(known) - min(known) + _EPS
    gains = [math.exp(-SHARPNESS * (h - least) / span) for h in known]
    mean_gain = math.fsum(gains) / len(gains) + _EPS

    def modulated(a: Advantage, h: float | None, following: float | None) -> Advantage:
        if h is None:
            return a
        gain = math.exp(-SHARPNESS * (h - least) / span) / mean_gain
        bonus = 0.0
        if following is not None:
            bonus = BONUS * math.exp(-BONUS_SHARPNESS * (following - least) / span)
        return _line(a, gain, bonus)

    changed = [
        [
            list(map(modulated, credits_T, h_T, (*h_T[1:], None)))
            for credits_T, h_T in zip(g.credits_G, rows, strict=True)
        ]
        for g, rows in zip(role_groups, surprises, strict=True)
    ]
    hs = (h for rows in surprises for h_T in rows for h in h_T)
    steps = (a for rows in changed for row in rows for a in row)
    means = [_mean(a) for a, h in zip(steps, hs, strict=True) if h is not None]
    mean = math.fsum(means) / len(means)
    return [[[_line(a, 1.0, -mean) for a in row] for row in rows] for rows in changed]


def _line(a: Advantage, slope: float, shift: float) -> Advantage:
    """Slope * a + shift, for a whole completion or for each token."""
    return mapped(a, lambda x: slope * x + shift)


def _mean(a: Advantage) -> float:
    return math.fsum(a) / len(a) if isinstance(a, tuple) else a
