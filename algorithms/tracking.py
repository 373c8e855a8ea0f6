"""The run folder: everything about a run, in files that a stranger can read.

config.json       the resolved configuration, versions and seeds
metrics.jsonl     one line per update or evaluation; the same bit for bit for the same seed and machine type
timings.jsonl     the seconds of each update, apart, since they never repeat
episodes.jsonl    a sample of whole transcripts
failures.jsonl    the episodes in which the game raised: the error, and what was played until then
checkpoints/      policies (safetensors), by update
curve.png         return, invalid rate and entropy over the updates
"""

import contextlib
import json
import math
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from tsmg import Episode, FailedEpisode, Parsed, RunFolderError, Step

CONFIG, METRICS, TIMINGS, EPISODES, FAILURES = (
    "config.json",
    "metrics.jsonl",
    "timings.jsonl",
    "episodes.jsonl",
    "failures.jsonl",
)
_LINES = (METRICS, TIMINGS, EPISODES, FAILURES)
_VERSIONS = ("tsmg", "torch", "transformers", "accelerate", "numpy", "gymnasium", "pettingzoo")


class RunFolder(contextlib.AbstractContextManager["RunFolder"]):
    """Writes a run's files; each line is flushed as it is written. Leaving its ``with`` block closes them.

    Args:
      path: the folder; it must not hold a run already.

    Raises:
      RunFolderError: it holds one, or cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if (self.path / CONFIG).exists():
            raise RunFolderError(
                f"{str(self.path)!r} already holds a run; choose another folder or remove it"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._files: dict[str, IO[str]] = {
                name: (self.path / name).open("w") for name in _LINES
            }
        except OSError as error:
            raise RunFolderError(f"cannot write to {str(self.path)!r}: {error}") from error

    def write_config(self, config: Mapping[str, Any]) -> None:
        """The resolved configuration, with the versions of what it ran on."""
        full = {**config, "versions": versions()}
        (self.path / CONFIG).write_text(json.dumps(full, indent=2, sort_keys=True) + "\n")

    def write(self, name: str, record: Mapping[str, Any]) -> None:
        """One line of a ``.jsonl`` file; a number that is not finite becomes null."""
        self._files[name].write(json.dumps(_finite(record)) + "\n")
        self._files[name].flush()

    def checkpoint(self, update: int) -> Path:
        """The folder of a checkpoint."""
        return self.path / "checkpoints" / f"update-{update:06d}"

    def __exit__(self, *raised: object) -> None:
        for file in self._files.values():
            file.close()


def versions() -> dict[str, str]:
    """The versions that a run's numbers depend on."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        **{name: _version(name) for name in _VERSIONS},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def read_lines(file: str | Path) -> list[dict[str, Any]]:
    """The records of a ``.jsonl`` file.

    Raises:
      RunFolderError: the file is missing or malformed; the message names file and line.
    """
    try:
        lines = Path(file).read_text().splitlines()
    except OSError as error:
        raise RunFolderError(f"cannot read {str(file)!r}: {error}") from error
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except ValueError as error:
            raise RunFolderError(f"{str(file)!r}, line {number}: {error}") from error
    return records


def transcript(episode: Episode[Any], *, update: int | None = None) -> dict[str, Any]:
    """An episode as plain data: what was read, replied, understood, played and earned."""
    return {
        "update": update,
        "game": episode.game,
        "seed": episode.key.seed,
        "group": episode.key.group,
        "episode": episode.key.episode,
        "ending": episode.ending.value,
        "returns": {agent: episode.episode_return(agent) for agent in episode.agents},
        "steps": _told(episode.steps),
        "final_observations": dict(episode.final_observations),
    }


def failure(episode: FailedEpisode[Any], *, update: int | None = None) -> dict[str, Any]:
    """An episode in which the game raised, as plain data: the error, and what was played until then."""
    return {
        "update": update,
        "seed": episode.key.seed,
        "phase": episode.key.phase.value,
        "group": episode.key.group,
        "episode": episode.key.episode,
        "error": episode.error,
        "steps": _told(episode.steps),
    }


def _told(steps: Sequence[Step[Any]]) -> list[dict[str, Any]]:
    return [
        {
            "t": step.t,
            "agents": [
                {
                    "agent": a.agent,
                    "observation": a.observation.text,
                    "feedback": a.observation.feedback,
                    "reply": a.reply.text,
                    "outcome": a.outcome.kind.value,
                    "action": str(a.outcome.action) if isinstance(a.outcome, Parsed) else None,
                    "logprob": sum(sum(call.logprobs) for call in a.reply.calls),
                }
                for a in step.agent_steps
            ],
            "rewards": list(step.rewards_N),
            "penalties": list(step.penalties_N),
        }
        for step in steps
    ]


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
