"""One of several processes that train together.

``torchrun --nproc_per_node N -m tests.processes_side learn FILE``, or ``... run FOLDER [options]``. With ``--recorded``
``learn`` has the episodes from a file, in place of playing them in each process.
``python -m tests.processes_side compare FILE`` says how far a file of ``learn`` is from what one process learns.
"""

import argparse
import atexit
import json
import os
import pickle
import signal
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from torch.distributed.tensor import DTensor

import games
from algorithms import Estimator, MSGRPOConfig, MSGRPOTrainer, RunSpec, run_training
from algorithms.distributed.processes import ALONE
from algorithms.distributed.sharding import gathered
from algorithms.errors import RunStoppedError
from algorithms.play.matchups import Matchup, distinct_matchups
from algorithms.play.rollouts import Rollouts
from algorithms.training.playing import GroupPlayer, Played, PlayedMatchup
from algorithms.training.spec import RunParts
from lap import LanguageAgentPolicy, LoraSettings, MemorylessPrompt, Sampling
from lap.testing.report import perturb
from tests.checkpoints import tiny_model
from tests.whole_runs import CONFIG, RUN, Teller
from tsmg import AbstractGame, PlayRandomLegal, with_horizon, with_invalid_rule

UPDATES = 5
CASES: dict[str, dict[str, Any]] = {
    "uneven": {"groups": 5},
    "one group": {"groups": 1},  # another process has nothing to play
    "no signal": {"groups": 3, "kl_coefficient": 0.0, "game": "silent"},  # nothing to learn
    "a rule with a state, played again": {
        "groups": 3, "credit": "tests.own_rules:MovingAverage", "group_filter": "signal", "max_plays": 2,
    },
    "starts chosen by success": {
        "groups": 3, "game": "Hanoi-v0", "starts": "learnability", "correct_starts": True,
    },
    "rollouts from each state": {
        "groups": 3, "branching": "vine", "credit": "vine", "rollouts": 2, "sampling": "all", "batch_rule": "whitened",
    },
    "trees": {"groups": 3, "branching": "tree", "credit": "tree", "sampling": "all"},
    "a critic of tokens": {"groups": 3, "credit": "critic", "gae": "token", "sampling": "all"},
    "a value head": {
        "groups": 3, "credit": "critic", "gae": "token", "sampling": "all", "critic": "head", "bootstrap": True,
    },
    "two roles": {"groups": 3, "game": "PrisonersDilemma-v0"},
    "whole episodes": {
        "groups": 3, "epochs": 2, "ratio": "gspo-episode", "importance_weights": "truncated",
        "importance_level": "episode",
    },
    "adapters, clipped": {"groups": 3, "lora": True, "max_grad_norm": 0.05},
    "KL measured": {"groups": 3, "kl_coefficient": 0.0},
    "adapters, KL measured": {"groups": 3, "kl_coefficient": 0.0, "lora": True},
    "learnt adapters": {"groups": 3, "kl_coefficient": 0.5, "lora": True, "learnt": True},
    "learnt adapters, KL measured": {
        "groups": 3, "kl_coefficient": 0.0, "lora": True, "learnt": True,
    },
}  # fmt: skip
WHOLE_LAYERS = {"a value head"}  # what does not go with layers that are divided


def game_of(name: str) -> AbstractGame[Any, Any]:
    """A game in which whatever is said leads somewhere; ``silent`` is one where it earns nothing."""
    if name == "silent":
        return games.make("FrozenLake-v0", horizon=1)
    if name == "Hanoi-v0":
        disks = with_horizon(games.make(name, disks=2, random_start=True), 4)
        return with_invalid_rule(disks, PlayRandomLegal(penalty=0.1))
    return with_invalid_rule(games.make(name), PlayRandomLegal(penalty=0.1))


def policy_of(seed: int, *, lora: bool = False, learnt: bool = False) -> LanguageAgentPolicy[Any]:
    model = tiny_model(seed=seed)
    model = model.with_lora(LoraSettings(r=4), seed=seed) if lora else model
    if learnt:
        perturb(model)
    return LanguageAgentPolicy(
        prompt=MemorylessPrompt(with_rules=False),
        model=model,
        sampling=Sampling(max_reply_tokens=6),
    )


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def trainer_of(
    *,
    game: str = "LineWalk-v0",
    lora: bool = False,
    learnt: bool = False,
    max_grad_norm: float = 1e9,
    **settings: Any,
) -> MSGRPOTrainer:
    """The trainer of a case. Each process starts from other weights: those of the first one count."""
    config = MSGRPOConfig(
        group_size=4,
        kept_episodes=2,
        max_reply_tokens=8,
        learning_rate=0.01,
        max_grad_norm=max_grad_norm,
        **settings,
    )
    policy = policy_of(rank(), lora=lora, learnt=learnt)
    return MSGRPOTrainer(game=game_of(game), policy=policy, config=config)


def learnt(trainer: MSGRPOTrainer, recorded: Sequence[Rollouts]) -> dict[str, Any]:
    """Updates by plain gradient descent on recorded episodes: the first gradient, weights before and after, metrics."""
    (learner,) = trainer.learners
    heads = learner.value_head.parameters() if learner.value_head else ()
    parameters = [*trainer.policy.model.network.parameters(), *heads]
    trainer.batch_learner.optimizer = torch.optim.SGD(parameters, lr=1.0)
    start = [numbers(p.detach()) for p in parameters]
    trainer.player = Replay(trainer.player, recorded)  # type: ignore[assignment]
    metrics = [trainer.update().metrics]
    gradient = [0.0 if p.grad is None else numbers(p.grad) for p in parameters]
    metrics += [trainer.update().metrics for _ in range(UPDATES - 1)]
    weights = [numbers(p.detach()) for p in parameters]
    return {"gradient": gradient, "start": start, "weights": weights, "metrics": metrics}


def numbers(tensor: torch.Tensor) -> list[float]:
    """All numbers of a tensor of which this process may hold a part."""
    (together,) = gathered({"": tensor}, keep=True).values()
    found: list[float] = together.reshape(-1).tolist()
    return found


def differences(found: Mapping[str, Any], alone: Mapping[str, Any]) -> dict[str, Any]:
    """How far two answers of ``learnt`` are apart, each as a norm over the norm of the second; 0 of nothing is 0.

    Returns:
      The difference of the first gradients, that of what the weights moved by, and how far they moved.
    """
    start = flat(alone["start"])
    gradient, expected = flat(found["gradient"]), flat(alone["gradient"])
    moved, expected_moved = flat(found["weights"]) - start, flat(alone["weights"]) - start
    return {
        "gradient": relative(gradient, expected),
        "moved": relative(moved, expected_moved),
        "distance": float(np.linalg.norm(expected_moved)),
    }


def flat(parts: Iterable[Any]) -> np.ndarray:
    return np.concatenate([np.atleast_1d(part) for part in parts])


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    apart, norm = np.linalg.norm(found - expected), np.linalg.norm(expected)
    return float(apart / norm) if norm else float(apart)


class Replay:
    """Plays groups that were recorded, whichever process asks for them."""

    def __init__(self, player: GroupPlayer, recorded: Sequence[Rollouts]) -> None:
        self.player, self.recorded = player, recorded

    def __getattr__(self, name: str) -> Any:
        return getattr(self.player, name)

    def play_until_enough(self, update: int, estimator: Estimator) -> Any:
        return GroupPlayer.play_until_enough(self, update, estimator)  # type: ignore[arg-type]

    def play(self, update: int, **options: Any) -> Any:
        return GroupPlayer.play(self, update, **options)  # type: ignore[arg-type]

    def collect(
        self, matchup: Matchup, groups: Sequence[int], update: int, starts: Any = None
    ) -> Rollouts:
        played = self.recorded[update].groups
        share = tuple(group for group in played if group.episodes[0].key.group in groups)
        for group in share if starts is not None else ():
            first = group.episodes[0]
            assert first.start.state.state == starts.draw(first.key).state, "begun elsewhere"
        return Rollouts(groups=share, failed=())


def record(trainer: MSGRPOTrainer) -> list[Rollouts]:
    """The episodes of each update, all played by the first weights, and each update's in one batch.

    They pass for those of the weights of each update, since others are not learnt from. A start rule is asked as its
    state stands when the update comes.
    """
    ((matchup, numbers),) = distinct_matchups(
        trainer.matchups, trainer.policies, trainer.config.groups
    )
    c, model, recorded = trainer.config, trainer.policy.model, []
    further = [n + play * c.groups for play in range(c.max_plays) for n in numbers]
    rules = Estimator.of(c, trainer.game.facts)
    for update in range(UPDATES):
        model.weights_version = update
        law = rules.start_law(trainer.player.starts)
        rollouts = trainer.player.collect(matchup, further, update, law)
        recorded.append(rollouts)
        part = PlayedMatchup(matchup=matchup, groups=further, rollouts=rollouts)
        played = Played(game=trainer.game, parts=(part,), failures=0, starts=law)
        rules.observe(played.compare(rules, ALONE)[0])
    model.weights_version = 0
    return recorded


def watch_updates(after: int, held: list[int]) -> None:
    """The last process gets a signal when this update is done; how many moments this process holds is kept."""
    update = MSGRPOTrainer.update

    def and_stop(trainer: MSGRPOTrainer) -> Any:
        done = update(trainer)
        optimizer: Any = trainer.batch_learner.optimizer
        optimizer = getattr(optimizer, "optim", optimizer)
        moments = [m for kept in optimizer.state.values() for m in kept.values() if m.ndim]
        mine = (m.to_local() if isinstance(m, DTensor) else m for m in moments)
        held[:] = [sum(m.numel() for m in mine)]
        if trainer.update_index == after and rank() == trainer.processes.count - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return done

    MSGRPOTrainer.update = and_stop  # type: ignore[method-assign]


def check_left(groups: list[weakref.ref[Any]]) -> None:
    """Nothing may hold the process group at the end: its threads, which want Python's lock, would abort the process."""
    if any(group() is not None for group in groups):
        os._exit(70)


def run(folder: Path, *, resume: bool, sharding: str = "none") -> str:
    """A whole run, with numbers of groups and episodes that do not divide; what it was told."""
    game, teller = game_of("LineWalk-v0"), Teller()
    try:
        run_training(
            RunSpec(
                algorithm=attrs.evolve(CONFIG, groups=3, learning_rate=1e-3, sharding=sharding),
                run=attrs.evolve(RUN, evaluation_episodes=3, final_episodes=5),
            ),
            folder,
            parts=RunParts(training_game=game, evaluation_game=game, policy=policy_of(rank())),
            reporter=teller,
            resume=resume,
        )
    except RunStoppedError as stopped:
        teller.message(str(stopped))
    return "\n".join(teller.heard)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("learn", "compare", "run"))
    parser.add_argument("place", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--stop-after", type=int, default=0)
    parser.add_argument("--sharding", default="none")
    parser.add_argument("--recorded", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.what == "run":
        held: list[int] = []
        watch_updates(arguments.stop_after, held)
        groups: list[weakref.ref[Any]] = []
        atexit.register(check_left, groups)  # called last
        heard = run(arguments.place, resume=arguments.resume, sharding=arguments.sharding)
        arguments.place.with_name(f"heard-{rank()}.txt").write_text(heard)
        arguments.place.with_name(f"held-{rank()}.txt").write_text(str(held[0]))
        groups.append(weakref.ref(torch.distributed.group.WORLD))
        return
    sharding = arguments.sharding
    kept = pickle.loads(arguments.recorded.read_bytes()) if arguments.recorded else {}
    found = {}
    for name, settings in CASES.items():
        if sharding != "fsdp" or name not in WHOLE_LAYERS:
            trainer = trainer_of(**settings, sharding=sharding)
            found[name] = learnt(trainer, kept.get(name) or record(trainer))
    if arguments.what == "compare":
        for name, ours in json.loads(arguments.place.read_text()).items():
            print(name, differences(ours, found[name]))
    elif rank() == 0:
        arguments.place.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
