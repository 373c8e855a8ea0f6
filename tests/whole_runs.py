"""Whole runs that tests can afford, and what they leave in their folders."""

import json
import re
from pathlib import Path
from typing import Any

import games
from algorithms import MSGRPOConfig, RunConfig, RunSpec, run_training
from algorithms.runs.atomic import MANIFEST
from algorithms.training.spec import RunParts
from lap import LanguageAgentPolicy, MemorylessPrompt, Sampling
from tests.checkpoints import tiny_model
from tsmg import PlayRandomLegal, with_invalid_rule

CONFIG = MSGRPOConfig(
    updates=5, groups=2, group_size=4, kept_episodes=2, max_reply_tokens=6, learning_rate=1e-2
)
RUN = RunConfig(
    evaluate_every=2, evaluation_episodes=3, final_episodes=4, checkpoint_every=2, evaluation_seed=2
)


TIMED = re.compile(
    rb'"timings.jsonl": \d+, '
)  # a checkpoint knows how long the file of seconds was


class Teller:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def progress(self, stage: str, done: int, total: int) -> None: ...

    def update(self, update: Any) -> None: ...

    def evaluated(self, update: int, sampled: Any, greedy: Any) -> None: ...

    def message(self, text: str) -> None:
        self.heard.append(text)


def lap_policy(seed: int = 0) -> LanguageAgentPolicy[Any]:
    return LanguageAgentPolicy(
        prompt=MemorylessPrompt(with_rules=False),
        model=tiny_model(seed=seed),
        sampling=Sampling(max_reply_tokens=6),
    )


def run(
    folder: Path,
    *,
    resume: bool = False,
    settings: Any = RUN,
    config: Any = CONFIG,
    seed: int = 0,
    game: Any = None,
    policy: Any = None,
    track: Any = None,
) -> list[str]:
    """A run, by default on a game whose returns vary whatever is said; what its reporter was told."""
    game = game or with_invalid_rule(
        games.make("LineWalk-v0", horizon=8), PlayRandomLegal(penalty=0.1)
    )
    teller = Teller()
    run_training(
        RunSpec(algorithm=config, run=settings, labels={"title": "a test"}),
        folder,
        parts=RunParts(training_game=game, evaluation_game=game, policy=policy or lap_policy(seed)),
        reporter=teller,
        track=track,
        resume=resume,
    )
    return teller.heard


def contents(folder: Path) -> dict[str, bytes]:
    """All that a run leaves, but seconds, hashes, the picture, and what killed writes left."""
    left = ("timings.jsonl", "curve.png", MANIFEST)
    return {
        path.relative_to(folder).as_posix(): TIMED.sub(b"", path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in left and ".unfinished-" not in str(path)
    }


def lines(file: Path) -> list[dict[str, Any]]:
    """The records of a file of lines."""
    return [json.loads(line) for line in file.read_text().splitlines()]
