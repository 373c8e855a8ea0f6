"""The run folder: everything about a run, in files that any tool can read.

config.json       the resolved configuration, versions and seeds
metrics.jsonl     one line per update or evaluation; the same bit for bit for the same seed and machine type
evaluations.jsonl one line per evaluation: return and success of each episode, so that runs can be compared in pairs
timings.jsonl     the seconds of each update, kept apart since they are not reproducible
episodes.jsonl    a sample of whole transcripts
failures.jsonl    the episodes in which the game raised: the error, and what was played until then
warnings.jsonl    what looked wrong during the run
start/            the policy before training (safetensors)
checkpoints/      policies and the state of training, by update; see ``algorithms.runs.checkpoints``
curve.png         return, invalid rate and entropy over the updates
"""

import contextlib
import json
import math
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from algorithms.errors import RunFolderError
from algorithms.runs.atomic import sync, write_whole_file, writing
from algorithms.runs.schema import SCHEMA_VERSION
from tsmg import AgentStep, Completion, Episode, FailedEpisode, Parsed, Step

if TYPE_CHECKING:  # it needs torch, and who reads a run folder does not
    from algorithms.play.evaluation import Evaluation

if sys.platform != "win32":
    import fcntl

CONFIG, METRICS, EVALUATIONS, TIMINGS, EPISODES, FAILURES, WARNINGS = (
    "config.json",
    "metrics.jsonl",
    "evaluations.jsonl",
    "timings.jsonl",
    "episodes.jsonl",
    "failures.jsonl",
    "warnings.jsonl",
)
_LINES = (METRICS, EVALUATIONS, TIMINGS, EPISODES, FAILURES, WARNINGS)
_PLACES = 4  # of a token's log-probability in a transcript, which people read
_VERSIONS = ("tsmg", "torch", "transformers", "accelerate", "numpy", "gymnasium", "pettingzoo")


def check_new(path: str | Path) -> None:
    """Refuse a folder that holds a run.

    Args:
      path: the folder.

    Raises:
      RunFolderError: it holds one.
    """
    if (Path(path) / CONFIG).exists():
        raise RunFolderError(
            f"{str(path)!r} already holds a run; choose another folder or remove it"
        )


class RunFolder(contextlib.AbstractContextManager["RunFolder"]):
    """Writes a run's files; each line is flushed as it is written. Leaving its ``with`` block closes them.

    One process at a time can write to a folder.

    Args:
      path: the folder; it must not hold a run already, unless that run is resumed.
      kept: to resume a run, how many bytes of each line-based file to keep; none of a file that is not named.

    Raises:
      RunFolderError: it holds a run and ``kept`` is not given, another process writes to it, or it cannot be written.
    """

    def __init__(self, path: str | Path, *, kept: Mapping[str, int] | None = None) -> None:
        self.path = Path(path)
        if kept is None:
            check_new(self.path)
        self._open = contextlib.ExitStack()
        self._files: dict[str, IO[str]] = {}
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock()
            for name in _LINES:
                file = (self.path / name).open("a")
                self._files[name] = self._open.enter_context(file)
                file.truncate((kept or {}).get(name, 0))
        except OSError as error:
            self._open.close()
            raise RunFolderError(f"cannot write to {str(self.path)!r}: {error}") from error

    def _lock(self) -> None:
        """Keep other processes out, until this one closes the folder or ends in any way."""
        if sys.platform == "win32":
            return
        folder = os.open(self.path, os.O_RDONLY)
        self._open.callback(os.close, folder)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunFolderError("another process writes to it") from error
        except OSError:
            pass  # a file system without locks

    def write_config(self, config: Mapping[str, Any]) -> None:
        """The resolved configuration, with the version of its schema and the versions of what it ran on.

        Raises:
          RunFolderError: it cannot be written.
        """
        full = {"schema_version": SCHEMA_VERSION, **config, "versions": versions()}
        text = json.dumps(full, indent=2, sort_keys=True) + "\n"
        write_whole_file(self.path / CONFIG, text)

    def write(self, name: str, record: Mapping[str, Any]) -> None:
        """One line of a ``.jsonl`` file; a number that is not finite becomes null.

        Raises:
          RunFolderError: it cannot be written, for example because the disk is full.
        """
        with writing(self.path / name):
            self._files[name].write(json.dumps(_finite(record)) + "\n")
            self._files[name].flush()

    def sync(self) -> dict[str, int]:
        """Synchronise all lines to the disk; returns how many bytes each file has."""
        for name in self._files:
            sync(self.path / name)
        return {name: (self.path / name).stat().st_size for name in self._files}

    def __exit__(self, *raised: object) -> None:
        # each line was flushed: closing can only fail where writing did
        with contextlib.suppress(OSError):
            self._open.close()


class NullRunFolder(contextlib.AbstractContextManager["NullRunFolder"]):
    """The run folder for a process that writes nothing, since another one does.

    Args:
      path: the run folder.
      kept: as for ``RunFolder``.
    """

    def __init__(self, path: str | Path, *, kept: Mapping[str, int] | None = None) -> None:
        self.path = Path(path)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Nothing."""

    def write(self, name: str, record: Mapping[str, Any]) -> None:
        """Nothing."""

    def sync(self) -> dict[str, int]:
        """Nothing."""
        return {}

    def __exit__(self, *raised: object) -> None:
        """Nothing."""


def versions() -> dict[str, str]:
    """What a run's numbers depend on besides its settings: versions, and the instruction set that torch uses here."""
    import torch  # noqa: PLC0415 - who reads a run folder does without

    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        **{name: _version(name) for name in _VERSIONS},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def finite(value: Any) -> float | None:
    """A number as a finite float; ``None`` for everything else, such as integers that are too large for one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


# The texts of a call's reply tokens; ``None`` if its tokenizer is not at hand.
TokenTexts = Callable[[Completion], Sequence[str] | None]


def transcript(
    episode: Episode[Any],
    *,
    update: int | None = None,
    successes: Mapping[str, bool | None] | None = None,
    metrics: Mapping[str, Mapping[str, float]] | None = None,
    token_texts: TokenTexts | None = None,
) -> dict[str, Any]:
    """An episode as plain data: observations, replies, parsed actions, played actions and rewards.

    Args:
      episode: the record.
      update: how many updates were done before.
      successes: the game's verdict for each agent.
      metrics: the game's metrics for each agent.
      token_texts: returns the texts of a completion's tokens.
    """
    return {
        "update": update,
        "phase": episode.key.phase.value,
        "game": episode.game,
        "seed": episode.key.seed,
        "group": episode.key.group,
        "episode": episode.key.episode,
        "ending": episode.ending.value,
        "agents": list(episode.agents),
        "discount": episode.discount,
        "returns": {agent: episode.episode_return(agent) for agent in episode.agents},
        "successes": dict(successes or {}),
        "metrics": {agent: dict(named) for agent, named in (metrics or {}).items()},
        "steps": _told(episode.steps, token_texts),
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
        "steps": _told(episode.steps, None),
    }


def evaluation_record(update: int, sampled: "Evaluation", greedy: "Evaluation") -> dict[str, Any]:
    """An evaluation, episode by episode.

    Episodes with equal ``starts`` began alike, so they can be compared in pairs.
    """
    return {
        "update": float(update),
        "starts": list(sampled.starts),
        "returns": list(sampled.returns),
        "successes": list(sampled.successes),
        "metrics": {name: list(values) for name, values in sampled.measured.items()},
        "greedy_starts": list(greedy.starts),
        "greedy_returns": list(greedy.returns),
        "greedy_successes": list(greedy.successes),
        "greedy_metrics": {name: list(values) for name, values in greedy.measured.items()},
    }


def _told(steps: Sequence[Step[Any]], token_texts: TokenTexts | None) -> list[dict[str, Any]]:
    return [
        {
            "t": step.t,
            "agents": [_agent_told(a, token_texts) for a in step.agent_steps],
            "rewards": list(step.rewards_N),
            "penalties": list(step.penalties_N),
        }
        for step in steps
    ]


def _agent_told(step: AgentStep, token_texts: TokenTexts | None) -> dict[str, Any]:
    completions = step.reply.completions
    return {
        "agent": step.agent,
        "observation": step.observation.text,
        "feedback": step.observation.feedback,
        "reply": step.reply.text,
        "outcome": step.outcome.kind.value,
        "action": str(step.outcome.action) if isinstance(step.outcome, Parsed) else None,
        "logprob": sum(sum(completion.logprobs) for completion in completions),
        "completions": [_completion_record(completion, token_texts) for completion in completions],
    }


def _completion_record(completion: Completion, token_texts: TokenTexts | None) -> dict[str, Any]:
    texts = token_texts(completion) if token_texts else None
    return {
        "ids": list(completion.reply_ids),
        "logprobs": [round(logprob, _PLACES) for logprob in completion.logprobs],
        "texts": None if texts is None else list(texts),
        "finished": completion.finished,
    }


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
