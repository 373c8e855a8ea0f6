"""Bias and variance of weights and ratios on one small game: for noise, and for a sampler one update older."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import attrs
import numpy as np
import torch

from algorithms import MSGRPOConfig
from algorithms.method.clip_range import ClipRange
from algorithms.method.importance import ImportanceRule
from algorithms.method.ratios import RATIOS
from lap import LanguageAgentPolicy, TabularModel
from proofs.estimators.off_policy import (
    GroupDraws,
    OffPolicy,
    Policy,
    RatioToSampler,
    Rules,
    perturbed,
    stepped,
)
from proofs.exact.gradients import TrajectoryDistribution
from proofs.small_games import FiniteGame, tabular_policy
from tsmg import Finite, Transition, deterministic

PERTURBATIONS = (0.01, 0.05, 0.2, 1.0)
STEPS = (0.1, 0.5, 1.0, 5.0)
CAP = 2.0
RULES: Rules = {
    "none": None,
    "token": ImportanceRule(kind="truncated", level="token", cap=CAP),
    "token, masked": ImportanceRule(kind="masked", level="token", cap=CAP),
    "step": ImportanceRule(kind="truncated", level="step", cap=CAP),
    "step, masked": ImportanceRule(kind="masked", level="step", cap=CAP),
    "episode": ImportanceRule(kind="truncated", level="episode", cap=CAP),
    "episode, masked": ImportanceRule(kind="masked", level="episode", cap=CAP),
    "episode, no cap": ImportanceRule(kind="truncated", level="episode", cap=math.inf),
    "ratio token": RatioToSampler(kind=RATIOS["token"]),
    "ratio gspo": RatioToSampler(kind=RATIOS["gspo"], clip=ClipRange(low=3e-4, high=4e-4)),
    "ratio gspo, 0.2": RatioToSampler(kind=RATIOS["gspo"]),
    "ratio cispo": RatioToSampler(kind=RATIOS["cispo"], clip=ClipRange(low=math.inf)),
    "ratio minpro": RatioToSampler(kind=RATIOS["minpro"], clip=ClipRange(low=math.inf)),
}
"""The rows of the table by name: neither, importance weights, and ratio kinds with the ranges of their sources."""


def spelt_game() -> FiniteGame:
    """Two steps of two words each: the first reply chooses a door, and the second an action behind it."""
    pays = {
        "ab": {"aa": 3.0, "ab": 0.0, "ba": 0.0, "bb": 1.0},
        "ba": {"aa": 0.0, "ab": 2.0, "ba": 1.0, "bb": 0.0},
    }
    replies = ("aa", "ab", "ba", "bb")
    doors: dict[tuple[str, ...], Finite[Transition[str]]] = {
        (reply,): deterministic(Transition(reply if reply in pays else "end", (0.5 * (reply == "bb"),)))
        for reply in replies
    }  # fmt: skip
    behind: dict[str, dict[tuple[str, ...], Finite[Transition[str]]]] = {
        door: {(reply,): deterministic(Transition("end", (paid,))) for reply, paid in paid.items()}
        for door, paid in pays.items()
    }
    return FiniteGame(starts=deterministic("doors"), moves={"doors": doors, **behind}, horizon=2)


def spelling_policy(*, seed: int = 0, spread: float = 1.0) -> LanguageAgentPolicy[TabularModel]:
    """A policy of random logits for ``spelt_game`` whose replies are of two words, "a" or "b" each.

    Args:
      seed: seed of the logits.
      spread: their standard deviation.
    """
    policy = tabular_policy(("a", "b"), capacity=16, tokens=2)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        policy.model.logits.normal_(generator=generator).mul_(spread)
        policy.model.logits[:, -1] = -math.inf  # never ends a reply early
    return policy


Moves: TypeAlias = Callable[[Policy, Sequence[float], int], list[tuple[Policy, Policy]]]
"""From a policy, sizes and a seed to the policy that learns and the sampler, for each size."""


def _noise(policy: Policy, sizes: Sequence[float], seed: int) -> list[tuple[Policy, Policy]]:
    """The sampler is the learner with noise."""
    return [(policy, perturbed(policy, size, seed=seed + 1)) for size in sizes]


def _update(policy: Policy, sizes: Sequence[float], seed: int) -> list[tuple[Policy, Policy]]:
    """The sampler is the learner before a step along the exact gradient; nothing is drawn, whatever the seed."""
    gradient_D = TrajectoryDistribution.of(spelt_game(), policy).gradient_D
    return [(stepped(policy, size * gradient_D), policy) for size in sizes]


def off_policy_rows(
    *,
    kept: int = 2,
    size: int = 3,
    policies: int = 8,
    perturbations: Sequence[float] = PERTURBATIONS,
    steps: Sequence[float] = STEPS,
) -> dict[str, list[tuple[str, ...]]]:
    """Relative bias, and variance over that of groups that the learner plays itself, as text, by what is drawn.

    Args:
      kept: K.
      size: G.
      policies: number of random policies, over which medians are taken.
      perturbations: standard deviations of the noise in the sampler's logits.
      steps: factors of the exact gradient by which the learner has moved since it was the sampler.
    """
    whole = MSGRPOConfig(
        groups=1,
        group_size=size,
        kept_episodes=kept,
        std="none",
        baseline="leave_one_out",
        sampling="all",
    )
    drawn = attrs.evolve(whole, sampling="aaw", corrected=True)
    noise = {f"noise {one:g}": one for one in perturbations}
    older = {f"step {one:g}": one for one in steps}
    return {
        "every episode": _table(whole, _noise, noise, policies),
        "corrected AAW": _table(drawn, _noise, noise, policies),
        "every episode, a sampler that is one update older": _table(
            whole, _update, older, policies
        ),
    }


def _table(
    config: MSGRPOConfig, moves: Moves, sizes: Mapping[str, float], policies: int
) -> list[tuple[str, ...]]:
    """Medians over policies of relative bias and relative variance, as text, by rule and by how the sampler differs."""
    game, found = spelt_game(), []
    dist = TrajectoryDistribution.of(game, spelling_policy())
    draws = GroupDraws.of(dist, config)  # which do not depend on the policy
    for seed in range(policies):
        policy = spelling_policy(seed=seed)
        own: dict[int, float] = {}  # variance by learner
        for learner, sampler in moves(policy, list(sizes.values()), seed):
            if id(learner) not in own:
                groups = OffPolicy.of(game, learner, learner)
                own[id(learner)] = groups.figures(draws, {"": None})[""].variance
            figures = OffPolicy.of(game, learner, sampler).figures(draws, RULES).values()
            scale = own[id(learner)]
            found.append([(one.relative_bias, one.variance / scale) for one in figures])
    shape = (policies, len(sizes), len(RULES), 2)
    medians = np.median(np.reshape(found, shape), axis=0).swapaxes(0, 1)
    return [
        ("correction", *sizes),
        *(
            (name, *(f"{bias:.4f} {spread:.2f}" for bias, spread in row))
            for name, row in zip(RULES, medians.tolist(), strict=True)
        ),
    ]
