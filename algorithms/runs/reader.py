"""Reading run folders: complete ones, half-finished ones, and folders of something else.

What cannot be read is left out and reported in one sentence that names the file and the field; the rest is kept.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from algorithms.errors import RunFolderError
from algorithms.runs.records import (
    Record,
    episode_fault,
    metrics_fault,
    per_episode_fault,
    read_config,
    read_good_lines,
)
from algorithms.runs.writer import CONFIG, EPISODES, EVALUATIONS, METRICS, TIMINGS

# Parts of config.json that tell where a run was made, what it is called and what it found out, not what it is.
_NOT_COMPARED = (
    "algorithm.seed",
    "baselines",
    "cloning",
    "decoding",
    "labels.title",
    "policy.cloning.seed",
    "schema_version",
    "threads",
    "upgraded_from",
    "versions",
)


@attrs.frozen(kw_only=True)
class Run:
    """A run, as read from its folder.

    Attributes:
      path: the folder.
      config: ``config.json``, in the present form.
      updates: the lines of ``metrics.jsonl`` about updates, by update.
      evaluations: those about evaluations, by update.
      per_episode: the lines of ``evaluations.jsonl``, by update.
      episodes: the transcripts.
      seconds: of all updates together, in s.
      problems: what is missing or was left out, one sentence each.
    """

    path: Path
    config: Record
    updates: tuple[Record, ...]
    evaluations: tuple[Record, ...]
    per_episode: tuple[Record, ...] = ()
    episodes: tuple[Record, ...] = ()
    seconds: float = 0.0
    problems: tuple[str, ...] = ()

    @property
    def spec(self) -> Record:
        """The run's specification, as plain data."""
        spec: Record = self.config["spec"]
        return spec

    @property
    def settings(self) -> dict[str, Any]:
        """The specification and everything else in ``config.json``, with dotted names."""
        beside = {name: value for name, value in self.config.items() if name != "spec"}
        return flat({**self.spec, **beside})

    @property
    def planned_updates(self) -> int:
        """How many updates the configuration asks for."""
        return int(self.spec["algorithm"]["updates"])

    @property
    def seed(self) -> Any:
        """The seed of the run."""
        return self.spec["algorithm"].get("seed")

    def label(self, name: str) -> str | None:
        """A label of the run, such as ``arm`` or ``title``; ``None`` if it has none."""
        value = self.spec.get("labels", {}).get(name)
        return None if value is None else str(value)

    @property
    def is_finished(self) -> bool:
        """Whether the last evaluation came after the last update."""
        return bool(self.evaluations) and self.evaluations[-1]["update"] >= self.planned_updates

    def curve(self, name: str) -> tuple[list[float], list[float]]:
        """Updates and values of a metric, where it is defined."""
        source = self.evaluations if name.startswith("eval") else self.updates
        points = [(r["update"], r[name]) for r in source if r.get(name) is not None]
        return [u for u, _ in points], [v for _, v in points]

    def curve_alike(self, name: str) -> tuple[list[float], list[float]]:
        """The curve of an evaluation's metric on the episodes that every evaluation played.

        The first and the last evaluation may have more episodes than those in between. Episodes in which the metric is
        undefined, such as the success of a forfeited one, are not counted in that evaluation. If the episodes are not
        recorded, the curve is that of the whole evaluations.

        Args:
          name: ``eval/...`` or ``eval_greedy/...``, of the success rate, the reward or what the game measures.
        """
        recorded = {r["update"]: values_by_start(r, name) for r in self.per_episode}
        updates, values = self.curve(name)
        known = [recorded.get(update, {}) for update in updates]
        common = sorted(set.intersection(*map(set, known))) if known else []
        defined = [[value for s in common if (value := found[s]) is not None] for found in known]
        if not all(defined):
            return updates, values
        return updates, [sum(found) / len(found) for found in defined]

    def setting(self, field: str) -> Any:
        """A setting by its name or by its dotted path; of a section that has an id, the id; ``None`` if there is none.

        Example:
          >>> run = Run(path=Path(), config={"spec": {"game": {"id": "Snake-v0"}}}, updates=(), evaluations=())
          >>> run.setting("game"), run.setting("game.id"), run.setting("id")
          ('Snake-v0', 'Snake-v0', 'Snake-v0')
        """
        settings = self.settings
        names = [field, f"{field}.id", *(n for n in settings if n.rpartition(".")[2] == field)]
        return next((settings[name] for name in names if name in settings), None)


def episode_values(record: Record, name: str) -> dict[str, float]:
    """The value of a metric in each episode of an evaluation, by the episode's start; nothing where one has none.

    Args:
      record: a line of ``evaluations.jsonl``.
      name: of the metric: the success rate, the reward or what the game measures, with its prefix.
    """
    values = values_by_start(record, name)
    found = {start: value for start, value in values.items() if value is not None}
    return found if len(found) == len(values) else {}


def values_by_start(record: Record, name: str) -> dict[str, float | None]:
    """The same with ``None`` where the metric is undefined; nothing if starts occur more than once.

    Args:
      record: as for ``episode_values``.
      name: of the metric.
    """
    greedy = "greedy_" if name.startswith("eval_greedy") else ""
    _, _, short = name.partition("/")
    values: Sequence[float | None]
    if short.startswith("game/"):
        values = record.get(f"{greedy}metrics", {}).get(short.removeprefix("game/"), [])
    else:
        kind = {"success_rate": "successes", "reward": "returns"}.get(short, "")
        values = record.get(f"{greedy}{kind}", [])
    starts = record.get(f"{greedy}starts", [])
    if len(set(starts)) != len(values):
        return {}
    return {s: None if v is None else float(v) for s, v in zip(starts, values, strict=True)}


def flat(config: Record, prefix: str = "") -> dict[str, Any]:
    """A configuration with dotted names.

    Example:
      >>> flat({"algorithm": {"seed": 0}, "game": "Snake-v0"})
      {'algorithm.seed': 0, 'game': 'Snake-v0'}
    """
    found: dict[str, Any] = {}
    for name, value in config.items():
        nested = isinstance(value, Mapping) and value
        found.update(flat(value, f"{prefix}{name}.") if nested else {prefix + name: value})
    return found


def settings_of(run: Run) -> dict[str, str]:
    """All settings by which runs are grouped, with dotted names and values as JSON: no seed, no machine, no result."""
    return {
        name: json.dumps(value, sort_keys=True)
        for name, value in run.settings.items()
        if not any(f"{name}.".startswith(f"{part}.") for part in _NOT_COMPARED)
    }


def scenario_of(run: Run) -> str:
    """What was played, in words: the label, the game that a caller gave, or the id and its arguments."""
    if scenario := run.label("scenario"):
        return scenario
    if given := run.config.get("given_parts"):
        return str(given.get("game", "unnamed game"))
    game = run.spec.get("game", {})
    arguments = [f"{name}={value}" for name, value in game.get("arguments", {}).items()]
    return ", ".join([str(game.get("id", "unnamed game")), *arguments])


def find_runs(folder: str | Path) -> list[Path]:
    """The run folders at or below a folder, in order; checkpoints are not searched.

    Raises:
      RunFolderError: there is no such folder, or no run in it.
    """
    root = Path(folder)
    try:
        if not root.is_dir():
            raise RunFolderError(f"no folder at {str(root)!r}")
        found = list(_walk(root))
    except RunFolderError:
        raise
    except OSError as error:
        raise RunFolderError(f"{str(root)!r} cannot be searched: {error}") from error
    if not found:
        raise RunFolderError(f"no run in {str(root)!r} (no folder in it has {METRICS} or {CONFIG})")
    return found


def _walk(folder: Path) -> Iterator[Path]:
    if (folder / METRICS).exists() or (folder / CONFIG).exists():
        yield folder
        return
    for below in sorted(p for p in folder.iterdir() if p.is_dir() and not p.is_symlink()):
        yield from _walk(below)


def read_run(folder: str | Path) -> Run:
    """Read a run folder as far as it can be read.

    Args:
      folder: the run folder.

    Returns:
      The run; ``problems`` says what is missing or was left out.

    Raises:
      RunFolderError: its files do not describe a run; the message names file and field.
    """
    path = Path(folder)
    problems: list[str] = []
    config = read_config(path)
    metrics = _by_update(read_good_lines(path / METRICS, metrics_fault, problems, needed=True))
    timings = read_good_lines(path / TIMINGS, metrics_fault, problems)
    per_episode = read_good_lines(path / EVALUATIONS, per_episode_fault, problems)
    episodes = read_good_lines(path / EPISODES, episode_fault, problems)
    run = Run(
        path=path,
        config=config,
        updates=tuple(r for r in metrics if not _is_evaluation(r)),
        evaluations=tuple(r for r in metrics if _is_evaluation(r)),
        per_episode=_by_update(per_episode),
        episodes=tuple(episodes),
        seconds=sum(v for r in timings for k, v in r.items() if k != "update" and v is not None),
    )
    return attrs.evolve(run, problems=(*problems, *_gaps(run)))


def read_runs(folders: Sequence[str | Path]) -> tuple[list[Run], list[str]]:
    """All runs at or below some folders, each once, and a sentence for everything that could not be read.

    Raises:
      RunFolderError: nothing could be read at all.
    """
    runs: list[Run] = []
    problems: list[str] = []
    seen: set[Path] = set()
    for folder in folders:
        try:
            found = find_runs(folder)
        except RunFolderError as error:
            problems.append(str(error))
            continue
        for path in found:
            if path.resolve() in seen:
                continue
            seen.add(path.resolve())
            try:
                run = read_run(path)
            except RunFolderError as error:
                problems.append(str(error))
                continue
            runs.append(run)
            problems += run.problems
    if not runs:
        raise RunFolderError("; ".join(problems))
    return runs, problems


def _is_evaluation(record: Record) -> bool:
    return any(name.startswith("eval") for name in record)


def _by_update(records: Sequence[Record]) -> tuple[Record, ...]:
    """In the order of updates; of two lines of one kind for one update the later one holds."""
    last = {(record["update"], _is_evaluation(record)): record for record in records}
    return tuple(last[key] for key in sorted(last))


def _gaps(run: Run) -> list[str]:
    file = str(run.path / METRICS)
    if run.is_finished:
        return []
    if not run.evaluations:
        return [f"{file!r} has no evaluation yet (field 'eval/reward')"]
    done = max([0.0, *(r["update"] for r in run.updates)])
    return [f"{file!r} ends at update {done:.0f} of {run.planned_updates}: the run is not finished"]
