"""A pretrained model learns to act: ``python examples/real_model.py CHECKPOINT FOLDER`` (``--help`` has options).

This is ``make real`` in Python; that takes SmolLM2-135M-Instruct, of 135 million parameters. As the model comes, none
of its replies is a move of Frozen Lake. Two steps change that (``tsmg clone``, then ``tsmg train``):

1. cold start: the model imitates a myopic player, who most of the time steps towards the goal, avoids holes next to
   it, and does not plan. What it then knows is the form of a reply and to look at the map, not how to win.
2. MS-GRPO: episodes from one map are compared with each other, and all replies of the better ones become more likely.

Both are adapters (LoRA) of the frozen checkpoint, and both go on where they were stopped.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import final, get_args

import attrs

from algorithms import (
    CloneSpec,
    FitConfig,
    GameSpec,
    MSGRPOConfig,
    PolicySpec,
    RunConfig,
    RunSpec,
    clone_policy,
    run_training,
)
from algorithms.cloning.run import Measurement
from algorithms.play.evaluation import Evaluation
from algorithms.training.metrics import Update
from algorithms.training.policy_spec import Dtype
from algorithms.training.run import Result

LAKE = GameSpec(id="FrozenLake-v0")
PLAYER = {"attention": 0.6}  # else it moves at random, so that detours are tried, too
FIT = FitConfig(steps=200, learning_rate=2e-3)
ALGORITHM = MSGRPOConfig(
    updates=26,  # of 384 episodes: some 10,000 in all, of which at most half are learnt from
    groups=64,  # many maps and small groups: 32 groups of 12 learn their maps by heart
    group_size=6,
    kept_episodes=3,
    learning_rate=3e-4,
    kl_coefficient=0.0,
)
RUN = RunConfig(evaluate_every=13, checkpoint_every=13)


def cold_start(checkpoint: str, *, seed: int, threads: int, dtype: Dtype) -> CloneSpec:
    """The imitation of the player."""
    return CloneSpec(
        game=LAKE,
        policy=PolicySpec(model=checkpoint, lora="r=16", dtype=dtype, player_arguments=PLAYER),
        fit=attrs.evolve(FIT, seed=seed),
        threads=threads,
    )


def training(clone: Path, *, seed: int, threads: int, dtype: Dtype) -> RunSpec:
    """MS-GRPO from the clone on."""
    return RunSpec(
        game=LAKE,
        policy=PolicySpec(model=str(clone), dtype=dtype),
        algorithm=attrs.evolve(ALGORITHM, seed=seed),
        run=RUN,
        threads=threads,
    )


@final
class Printed:
    """Prints what a cloning and a run report."""

    def stage(self, text: str) -> None:
        print(text, flush=True)

    def step(self, done: int, steps: int, loss: float) -> None:
        """Measurements are enough."""

    def measured(self, measurement: Measurement, steps: int) -> None:
        print(
            f"step {measurement.step} of {steps}: {measurement.divergence:.3f} nats from the player",
            flush=True,
        )

    def progress(self, stage: str, done: int, total: int) -> None:
        """Nothing is made before training."""

    def update(self, update: Update) -> None:
        print(
            f"update {update.metrics['update']:.0f}: success {update.metrics['success_rate']:.3f}",
            flush=True,
        )

    def evaluated(self, update: int, sampled: Evaluation, greedy: Evaluation) -> None:
        print(
            f"held-out success: sampled {sampled.success_rate:.3f}, greedy {greedy.success_rate:.3f}",
            flush=True,
        )

    def message(self, text: str) -> None:
        print(text, flush=True)


def main(words: Sequence[str] | None = None) -> Result:
    """Both steps, each from where it was stopped.

    Args:
      words: of the command line; this program's unless given.
    """
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("checkpoint", help="a name, a folder, or a GGUF file")
    arguments.add_argument("folder", type=Path, help="where the clone and the run go")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--dtype", choices=get_args(Dtype), default="float32")
    given = arguments.parse_args(words)
    clone, run, printed = given.folder / "clone", given.folder / "train", Printed()
    if not (clone / "policy.json").exists():
        spec = cold_start(
            given.checkpoint, seed=given.seed, threads=given.threads, dtype=given.dtype
        )
        clone_policy(spec, clone, reporter=printed, resume=(clone / "clone.json").exists())
    return run_training(
        training(clone, seed=given.seed, threads=given.threads, dtype=given.dtype),
        run,
        reporter=printed,
        resume=(run / "config.json").exists(),
    )


if __name__ == "__main__":
    main()
