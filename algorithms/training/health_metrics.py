"""Figures of an update's health: how likely good replies are, how many starts are learnt from, how far ratios go.

All follow from what an update has computed anyway; no model is called.
"""

import math
from collections.abc import Hashable, Iterator, Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from algorithms.method.advantages import Advantage
from algorithms.method.batch import RoleGroup
from algorithms.method.clip_range import ClipRange
from algorithms.method.episode_sampling import Selected, effective_sample_size
from algorithms.method.ratios import ScoredTokens
from algorithms.play.evaluation import mean
from tsmg import Completion

_TAIL = 0.99


def reply_likelihoods(role_groups: Sequence[RoleGroup]) -> dict[str, float | None]:
    """How likely replies were when they were sampled: means over the tokens of good replies, and of bad ones.

    Good tokens have a positive advantage, bad ones a negative one. In a collapse by lazy likelihood displacement, the
    likelihood of good replies stagnates and then falls, while the return does not rise.

    Source: what is watched is that of arXiv:2512.04220; tokens in place of whole replies are ours [ours].

    Args:
      role_groups: the groups that are learnt from, with the advantages that they are learnt with.

    Returns:
      ``good_logprob`` and ``bad_logprob``, in nats a token; ``None`` if there is no such token.
    """
    sums, counts = {True: 0.0, False: 0.0}, {True: 0, False: 0}
    for advantage, logprobs in _likelihoods(role_groups):
        if advantage and logprobs:
            sums[advantage > 0] += math.fsum(logprobs)
            counts[advantage > 0] += len(logprobs)
    good, bad = (sums[side] / counts[side] if counts[side] else None for side in (True, False))
    return {"good_logprob": good, "bad_logprob": bad}


def _likelihoods(
    role_groups: Sequence[RoleGroup],
) -> Iterator[tuple[float, Sequence[float]]]:
    """An advantage, and the log-probabilities of the tokens that have it and that the policy chose."""
    for role_group in role_groups:
        for credits_T, completions_T in zip(
            role_group.credits_G, role_group.completions_G, strict=True
        ):
            for credit, completion in zip(credits_T, completions_T, strict=True):
                if isinstance(credit, tuple):
                    chosen = zip(credit, completion.logprobs, completion.trainable, strict=True)
                    yield from ((a, (logprob,)) for a, logprob, own in chosen if own)
                else:
                    yield credit, _chosen(completion)


def _chosen(completion: Completion) -> Sequence[float]:
    if all(completion.trainable):
        return completion.logprobs
    return [p for p, own in zip(completion.logprobs, completion.trainable, strict=True) if own]


def start_coverage(
    role_groups: Sequence[RoleGroup], drawn: Sequence[Selected], *, corrected: bool = False
) -> dict[str, float]:
    """How many starts an update met, and of how many it learns in effect.

    A group g counts as much as its coefficients follow its returns,

        kappa_g = G sum_e c_e (R_e - mean R) / sum_e (R_e - mean R)^2,    c_e = (weight of e) (its mean advantage),

    and 0 where its returns are all equal. For successes and failures this is G times what a success's coefficient
    exceeds a failure's by, the kappa(q) of its start at the group's own success rate (but for a factor that all groups
    share). With kappa_s the sum over the groups on a start s, the effective number of starts is
    (sum_s kappa_s)^2 / sum_s kappa_s^2: 1 if everything is learnt from one start, and the number of starts if all count
    alike.

    A start is what the agent reads first, or those who act before it, or the number of the start that a start rule
    chose; each role has its own.

    Source: kappa is that of ``docs/theory/06_baselines_and_std.md`` (eq-start-weight) [ours]; the effective number
    is Kish's.

    Args:
      role_groups: the groups that are learnt from, whose members share their starts.
      drawn: the episodes that are trained on; ``group`` indexes ``role_groups``.
      corrected: whether the loss of each group is multiplied by its start's weight.

    Returns:
      ``distinct_starts`` and ``effective_starts``; the latter is 0 where nothing is learnt.
    """
    coefficients = [np.zeros(len(g.returns_G)) for g in role_groups]
    for chosen in drawn:
        credits_T = role_groups[chosen.group].credits_G[chosen.episode]
        coefficients[chosen.group][chosen.episode] += chosen.weight * _mean_credit(credits_T)
    kappas: dict[Hashable, float] = {}
    for role_group, c_G in zip(role_groups, coefficients, strict=True):
        weight = role_group.start_weight if corrected else 1.0
        start = _start(role_group)
        kappas[start] = kappas.get(start, 0.0) + weight * _listened_to(role_group, c_G)
    return {
        "distinct_starts": float(len(kappas)),
        "effective_starts": effective_sample_size(list(kappas.values())),
    }


def _mean_credit(credits_T: Sequence[Advantage]) -> float:
    """The mean advantage of an episode's completions, those without tokens left out; 0 without any."""
    whole = [mean(a) if isinstance(a, tuple) else a for a in credits_T if a != ()]
    return sum(whole) / len(whole) if whole else 0.0


def _listened_to(role_group: RoleGroup, c_G: NDArray[np.float64]) -> float:
    """kappa_g, at least 0: how much coefficients of these episodes follow their returns."""
    if not role_group.has_variance:
        return 0.0
    centred_G = np.array(role_group.returns_G)
    centred_G -= centred_G.mean()
    slope = float(c_G @ centred_G) / float(centred_G @ centred_G)
    return max(0.0, len(c_G) * slope)


def _start(role_group: RoleGroup) -> Hashable:
    """What tells the start of a group from others."""
    if role_group.start is not None:
        return role_group.agent, role_group.start
    return role_group.agent, role_group.opening


@final
class RatioTail:
    """The log-ratios of the tokens of a pass, with the sign of each token's advantage.

    Args:
      after_steps: whether the pass comes after optimiser steps on the batch, which then displace likelihoods. Before
        them, a ratio describes the server that played.
    """

    def __init__(self, *, after_steps: bool = True) -> None:
        self.after_steps = after_steps
        self.log_ratios: list[NDArray[np.float64]] = []
        self.signs: list[NDArray[np.float64]] = []

    def add(self, scored: ScoredTokens) -> None:
        """Add the tokens of a micro-batch."""
        mask_B_L = scored.mask_B_L
        for kept, values_B_L in (
            (self.log_ratios, scored.log_ratios_B_L.detach()),
            (self.signs, scored.advantages_B_L.sign()),
        ):
            kept.append(values_B_L[mask_B_L].double().numpy(force=True))

    @classmethod
    def total(cls, tails: Sequence["RatioTail"]) -> "RatioTail":
        """The tokens of several processes, at least one."""
        total = cls(after_steps=tails[0].after_steps)
        for tail in tails:
            total.log_ratios += tail.log_ratios
            total.signs += tail.signs
        return total

    def metrics(self, clip: ClipRange) -> dict[str, float | None]:
        """How far the probabilities of tokens are from those at sampling, before the last step of an update.

        The mean log-ratio over tokens of a positive advantage is the displacement of good replies' likelihood: what
        arXiv:2512.04220 calls lazy where it is not above a small number.

        Args:
          clip: the range of ratios.

        Returns:
          Metrics; ``None`` if there is no token. Displacements only after steps.
        """
        if not sum(map(len, self.log_ratios)):
            return dict.fromkeys(
                (*_RATIO_NAMES, *(_DISPLACEMENT_NAMES if self.after_steps else ()))
            )
        log_ratios, signs = np.concatenate(self.log_ratios), np.concatenate(self.signs)
        ratios = np.exp(log_ratios)
        least, greatest = clip.limits
        outside = (ratios < least) | (ratios > greatest)
        extent = (
            float(ratios.max()),
            float(ratios.min()),
            float(np.exp(np.quantile(np.abs(log_ratios), _TAIL))),
            float(outside.mean()),
        )
        found: dict[str, float | None] = dict(zip(_RATIO_NAMES, extent, strict=True))
        if self.after_steps:
            for name, sign in zip(_DISPLACEMENT_NAMES, (1, -1), strict=True):
                own = log_ratios[signs == sign]
                found[name] = float(own.mean()) if own.size else None
        return found


_RATIO_NAMES = ("ratio_max", "ratio_min", "ratio_p99", "ratio_outside_share")
_DISPLACEMENT_NAMES = ("good_displacement", "bad_displacement")
