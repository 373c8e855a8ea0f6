"""The weights of all learners together: sharded, as the state of a trainer, and as checkpoints."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from algorithms.distributed.sharding import Sharding
from algorithms.errors import RunFolderError
from algorithms.runs.state import (
    TrainingState,
    load_model_state,
    load_optimizer_state,
    model_state,
    optimizer_state,
)
from algorithms.training.learner import Learner
from algorithms.training.past_opponents import PastOpponents
from tsmg import InvalidArgumentError


def shard_learners(
    learners: Sequence[Learner], past: Sequence[PastOpponents], sharding: Sharding
) -> None:
    """Leave to each process its shards of all policies and reference policies, where that is asked for.

    Args:
      learners: the policies that learn; their digests are computed before.
      past: the opponents that are copies of them.
      sharding: how weights are divided.

    Raises:
      InvalidArgumentError: a model cannot be sharded, or an opponent copies it.
    """
    if not sharding.divides_weights:
        return
    if past:
        raise InvalidArgumentError("'sharding' fsdp does not go with opponents from the past")
    for learner in learners:
        _ = learner.reference_digest  # of whole weights
    sharding.divide([p.model for x in learners for p in (x.policy, x.reference)])


def training_state(
    learners: Sequence[Learner],
    past: Sequence[PastOpponents],
    optimizer: torch.optim.Optimizer,
    sharding: Sharding,
    *,
    update: int,
    token_budget: int,
) -> TrainingState:
    """All that further updates depend on, beside game, settings and reference policies.

    Args:
      learners: the policies that learn.
      past: the opponents that are copies of them.
      optimizer: the optimiser of the learners.
      sharding: where processes divide something, all call this and the state of the first one is whole.
      update: how many updates were done.
      token_budget: most tokens of a micro-batch.
    """
    keep = sharding.keeps_state
    parts = {f"learner{n}": model_state(x.policy.model, keep=keep) for n, x in enumerate(learners)}
    parts |= {f"past{n}": opponent.state() for n, opponent in enumerate(past)}
    parts["optimizer"] = optimizer_state(optimizer, keep=keep)
    return TrainingState.of(
        parts,
        update=update,
        token_budget=token_budget,
        starts=[learner.reference_digest for learner in learners],
    )


def load_training_state(
    state: TrainingState,
    learners: Sequence[Learner],
    past: Sequence[PastOpponents],
    optimizer: torch.optim.Optimizer,
) -> tuple[int, int]:
    """Restore what ``training_state`` gave.

    Returns:
      How many updates were done, and the token budget.

    Raises:
      RunFolderError: it belongs to other reference policies or other networks, or is malformed.
    """
    if list(state.values["starts"]) != [learner.reference_digest for learner in learners]:
        raise RunFolderError("'policy' must be the one that the saved training started from")
    for n, learner in enumerate(learners):
        load_model_state(learner.policy.model, state.part(f"learner{n}"))
    for n, opponent in enumerate(past):
        opponent.load_state(state.part(f"past{n}"))
    load_optimizer_state(optimizer, state.part("optimizer"))
    return state.values["update"], state.values["token_budget"]


def policy_saver(
    learners: Sequence[Learner], sharding: Sharding, *, everywhere: bool
) -> Callable[[Path], None]:
    """A function that saves the policies as they stand into a folder, so that one process alone can.

    Args:
      learners: the policies; several have a folder each, named by the first agent of each.
      sharding: where processes divide weights, all call this together.
      everywhere: whether other processes than the first are to save them as well.
    """
    weights = [
        sharding.whole_weights(learner.policy.model.network, everywhere=everywhere)
        for learner in learners
    ]

    def save(folder: Path) -> None:
        for learner, whole_weights in zip(learners, weights, strict=True):
            place = folder if len(learners) == 1 else folder / learner.agents[0]
            learner.policy.save_pretrained(place, weights=whole_weights)

    return save
