"""The weights of all learners together: sharded, as the state of a trainer, and as checkpoints."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from algorithms.distributed.sharding import Sharding
from algorithms.errors import RunFolderError
from algorithms.method.estimator import Estimator
from algorithms.runs.state import (
    TrainingState,
    as_saved,
    load_model_state,
    load_optimizer_state,
    model_state,
    optimizer_state,
)
from algorithms.training.batch_learner import BatchLearner
from algorithms.training.learner import Learner
from algorithms.training.past_opponents import PastOpponents
from algorithms.training.playing_ahead import PlayAhead
from tsmg import InvalidArgumentError


def shard_learners(
    learners: Sequence[Learner], past: Sequence[PastOpponents], sharding: Sharding
) -> None:
    """Leave each process its shards of all policies and reference policies, if that is requested.

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


class Snapshotted(Protocol):
    """The saved parts of a trainer; ``MSGRPOTrainer`` describes them."""

    learners: tuple[Learner, ...]
    past_opponents: tuple[PastOpponents, ...]
    batch_learner: BatchLearner
    sharding: Sharding
    estimator: Estimator
    ahead: PlayAhead
    update_index: int


def training_state(trainer: Snapshotted) -> TrainingState:
    """All that further updates depend on, besides game, settings and reference policies.

    Args:
      trainer: where processes divide something, all call this and the state of the first one is whole.
    """
    keep = trainer.sharding.keeps_state
    parts = {
        f"learner{n}": model_state(learner.policy.model, keep=keep)
        for n, learner in enumerate(trainer.learners)
    }
    parts |= {f"past{n}": past.state() for n, past in enumerate(trainer.past_opponents)}
    parts |= {f"behind{n}": state for n, state in enumerate(trainer.ahead.behind)}
    parts["optimizer"] = optimizer_state(trainer.batch_learner.optimizer, keep=keep)
    return TrainingState.of(
        parts,
        update=trainer.update_index,
        token_budget=trainer.batch_learner.token_budget,
        starts=[learner.reference_digest for learner in trainer.learners],
        rules=trainer.estimator.state(),
    )


def load_training_state(trainer: Snapshotted, state: TrainingState) -> None:
    """Let a trainer continue from a state that ``training_state`` returned.

    Args:
      trainer: of the same game, settings, matchups and reference policies.
      state: of the trainer that was saved.

    Raises:
      RunFolderError: it belongs to other reference policies or other networks, or is malformed.
    """
    if list(state.values["starts"]) != [learner.reference_digest for learner in trainer.learners]:
        raise RunFolderError("'policy' must be the one that the saved training started from")
    for n, learner in enumerate(trainer.learners):
        load_model_state(learner.policy.model, state.part(f"learner{n}"))
    for n, opponent in enumerate(trainer.past_opponents):
        opponent.load_state(state.part(f"past{n}"))
    played = [f"behind{n}" for n in range(len(trainer.learners)) if f"behind{n}" in state.values]
    trainer.ahead.behind = tuple(state.part(name) for name in played)
    trainer.ahead.forget()
    load_optimizer_state(trainer.batch_learner.optimizer, state.part("optimizer"))
    with as_saved():
        trainer.estimator.load_state(state.values.get("rules", {}))
    trainer.update_index = state.values["update"]
    trainer.batch_learner.token_budget = state.values["token_budget"]


def policy_saver(trainer: Snapshotted, *, everywhere: bool = False) -> Callable[[Path], None]:
    """A function that saves the current policies into a folder, which one process can call alone.

    Args:
      trainer: several policies have a folder each, named by the first agent of each; where processes divide weights,
        all call this together.
      everywhere: whether processes other than the first save them, too.
    """
    learners = trainer.learners
    weights = [
        trainer.sharding.whole_weights(learner.policy.model.network, everywhere=everywhere)
        for learner in learners
    ]

    def save(folder: Path) -> None:
        for learner, whole_weights in zip(learners, weights, strict=True):
            place = folder if len(learners) == 1 else folder / learner.agents[0]
            learner.policy.save_pretrained(place, weights=whole_weights)

    return save
