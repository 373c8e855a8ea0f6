"""Before the first optimiser step, sampling and scoring must agree: the same weights give a token the same probability.

The first pass over new episodes uses the weights that played them, so every probability ratio is 1 up to rounding. If
it is not, an engine does not compute what it reports (because of a window, a mask, a temperature, the kept tokens), and
every gradient would be that of another policy.
"""

import math
from collections.abc import Sequence

import torch

from algorithms.distributed.sharding import Sharding
from algorithms.method.batch import TrainingRow
from algorithms.method.config import MSGRPOConfig
from algorithms.training.learner import Learner
from lap import ModelError
from lap.agreement import (
    LOGPROB_TOLERANCES,
    MEAN_LOGPROB_TOLERANCES,
    Disagreement,
    largest_disagreement,
)
from lap.model import PushingModel


def ratio_tolerance(learners: Sequence[Learner]) -> float:
    """The greatest |log ratio| that rounding explains, by the types that the models compute in, in nats."""
    return max(LOGPROB_TOLERANCES[learner.policy.model.compute_dtype] for learner in learners)


def narrow_range_warning(learners: Sequence[Learner], config: MSGRPOConfig) -> str | None:
    """Why ratios would be clipped before the first step, for nothing but how replies are sampled.

    Args:
      learners: the policies that learn.
      config: the settings.

    Returns:
      A sentence; ``None`` if the clip range is wider than rounding moves ratios, or if ratios are to the learner's own
      probabilities, as with importance weights.
    """
    clip = config.clip_range
    types = {learner.policy.model.compute_dtype for learner in learners}
    if any(isinstance(learner.policy.model, PushingModel) for learner in learners):
        types.add(torch.bfloat16)  # in which an engine may compute
    coarsest = max(types, key=lambda dtype: MEAN_LOGPROB_TOLERANCES[dtype])
    rounding = MEAN_LOGPROB_TOLERANCES[coarsest]
    if config.importance_rule is not None or min(clip.low, clip.high) > rounding:
        return None
    low, high = clip.limits
    return (
        f"the clip range [{low:g}, {high:g}] is narrower than rounding may move ratios if replies are sampled in "
        f"{str(coarsest).removeprefix('torch.')} ({rounding:g} on average), so many tokens may have no gradient from "
        "the first step on ('importance_weights' 'truncated', with which ratios are to the learner's own "
        "probabilities; or float32)"
    )


def check_ratios(
    deviation: float,
    learners: Sequence[Learner],
    rows: Sequence[TrainingRow],
    sharding: Sharding,
    *,
    token_budget: int,
) -> None:
    """Refuse to learn if sampling and scoring disagree beyond rounding; all processes call this together.

    Args:
      deviation: the greatest |ratio - 1| of this process's rows in the first pass over them.
      learners: the policies that learn, with the weights that played.
      rows: this process's rows; they are scored again only if the check fails, to find the token.
      sharding: how they are divided.
      token_budget: most tokens of a forward pass.

    Raises:
      ModelError: they do; the message names the token with both log-probabilities, and what to do.
    """
    tolerance = ratio_tolerance(learners)
    accepted = _as_ratio(tolerance)
    if all(one <= accepted for one in sharding.processes.gather([deviation])):  # NaN is not
        return
    found = _largest_disagreement(learners, rows, sharding, token_budget=token_budget)
    everyones = sharding.processes.gather([] if found is None else [found])
    worst = max(everyones, key=lambda one: one.size)
    if worst.size <= tolerance:  # a ratio above 1, of exp(d), is farther from it than exp(-d)
        return
    types = ", ".join(sorted({str(x.policy.model.compute_dtype) for x in learners}))
    raise ModelError(
        f"sampling and scoring disagree, so nothing can be learnt: before the first optimiser step token "
        f"{worst.position} (id {worst.token}) of the reply {worst.reply!r:.100} has the log-probability "
        f"{worst.scored:.4f}, but {worst.recorded:.4f} was recorded as it was sampled with the same weights; the "
        f"greatest |log ratio| is {worst.size:.2g}, and rounding in {types.replace('torch.', '')} explains "
        f"{tolerance:g}: check the model's architecture and backend with lap.testing.check_model, and try another "
        "checkpoint or --dtype float32"
    )


def check_versions(
    learners: Sequence[Learner], rows: Sequence[TrainingRow], *, staleness: int = 0
) -> None:
    """Refuse to learn from replies of other weights than the expected ones.

    Args:
      learners: the policies that learn.
      rows: what was played.
      staleness: how many versions older the weights are that played, exactly.

    Raises:
      ModelError: a record is of another version; the message names both.
    """
    for learner in learners:
        learning = learner.policy.model.weights_version
        version = learning - staleness
        due = f", and those that play are to be of version {version}" if staleness else ""
        for row in learner.own(rows):
            if row.completion.weights_version != version:
                raise ModelError(
                    f"a reply of {row.completion.model_id!r} was sampled with the weights of version "
                    f"{row.completion.weights_version}, but those that learn are of version {learning}{due}: "
                    "the sampler does not have the current weights"
                )


def _as_ratio(tolerance: float) -> float:
    """The smallest |ratio - 1| that a |log ratio| above the tolerance can have."""
    return -math.expm1(-tolerance)


@torch.no_grad()
def _largest_disagreement(
    learners: Sequence[Learner],
    rows: Sequence[TrainingRow],
    sharding: Sharding,
    *,
    token_budget: int,
) -> Disagreement | None:
    """The token of this process's rows with the greatest |log ratio|."""
    found = []
    for learner in learners:
        for batch in sharding.micro_batches(learner.own(rows), token_budget):
            completions = [row.completion for row in batch]
            scores = learner.policy.model.logprobs(completions, sampling=learner.policy.sampling)
            worst = largest_disagreement(completions, scores)
            found += [worst] if worst else []
    return max(found, key=lambda one: one.size, default=None)
