"""Reading run folders back: whole ones, half-finished ones, and folders that are none.

What cannot be read is left out and told in one sentence that names the file and the field; the rest is still there.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from algorithms.errors import RunFolderError
from algorithms.runs.writer import CONFIG, EPISODES, EVALUATIONS, METRICS, TIMINGS, finite

Record = Mapping[str, Any]
# Parts of config.json that tell where a run was made, what it is called and what it found out, not what it is.
_NOT_COMPARED = ("cloning", "decoding", "references", "threads", "title", "versions")
SCENARIO = ("scenario", "game", "game_settings", "horizon", "held_out")
"""The parts of ``config.json`` that say what was played."""


@attrs.frozen(kw_only=True)
class Run:
    """A run as its folder tells it.

    Attributes:
      path: the folder.
      config: ``config.json``.
      updates: the lines of ``metrics.jsonl`` about updates, by update.
      evaluations: those about evaluations, by update.
      per_episode: the lines of ``evaluations.jsonl``, by update.
      episodes: the transcripts.
      seconds: of all updates together, in s.
      problems: what is missing or was left out, a sentence each.
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
    def planned_updates(self) -> int:
        """How many updates the configuration asks for."""
        return int(self.config["algorithm"]["updates"])

    @property
    def seed(self) -> Any:
        """The seed of the run."""
        return self.config["algorithm"].get("seed")

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

        The first and the last evaluation may have more episodes than those between. Where the episodes are not
        recorded, the curve is that of the evaluations as they were.

        Args:
          name: ``eval/...`` or ``eval_greedy/...``, of the success rate or the reward.
        """
        recorded = {r["update"]: episode_values(r, name) for r in self.per_episode}
        updates, values = self.curve(name)
        known = [recorded.get(update, {}) for update in updates]
        common = set.intersection(*map(set, known)) if known else set()
        if not common:
            return updates, values
        return updates, [sum(found[s] for s in common) / len(common) for found in known]

    def setting(self, field: str) -> Any:
        """A field of the configuration, by its name or by its dotted path; ``None`` where there is none."""
        return flat(self.config).get(full_name(self.config, field))


def episode_values(record: Record, name: str) -> dict[str, float]:
    """The value of a metric in each episode of an evaluation, by the episode's start; nothing where one has none.

    Args:
      record: a line of ``evaluations.jsonl``.
      name: of the metric: the success rate or the reward, with its prefix.
    """
    greedy = "greedy_" if name.startswith("eval_greedy") else ""
    kind = {"success_rate": "successes", "reward": "returns"}.get(name.rpartition("/")[2], "")
    values = record.get(f"{greedy}{kind}", [None])
    starts = record.get(f"{greedy}starts", [])
    if any(value is None for value in values) or len(set(starts)) < len(values):
        return {}
    return dict(zip(starts, map(float, values), strict=True))


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


def full_name(config: Record, field: str) -> str:
    """The dotted name of a field, which may be given by its last part."""
    names = flat(config)
    if field in names:
        return field
    return next((name for name in names if name.rpartition(".")[2] == field), field)


def settings_of(run: Run) -> dict[str, Any]:
    """All that makes runs alike or unlike, with dotted names: the configuration without seed and machine."""
    kept = {name: value for name, value in run.config.items() if name not in _NOT_COMPARED}
    found = {name: value for name, value in flat(kept).items() if name != "algorithm.seed"}
    return {name: json.dumps(value, sort_keys=True) for name, value in found.items()}


def scenario_of(run: Run) -> str:
    """What was played, in words."""
    config = run.config
    if config.get("scenario"):
        return str(config["scenario"])
    settings = config.get("game_settings") or {}
    told = [f"{name}={value}" for name, value in settings.items()]
    return ", ".join([str(config.get("game", "unnamed game")), *told])


def find_runs(folder: str | Path) -> list[Path]:
    """The run folders at or below a folder, in order; checkpoints are not looked into.

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
      RunFolderError: it holds no run that can be told from its files; the message names file and field.
    """
    path = Path(folder)
    config = _config(path / CONFIG)
    problems: list[str] = []

    def lines(name: str, check: Callable[[Any], str], needed: bool) -> list[Record]:
        return _lines(path / name, check, problems, needed=needed)

    metrics = _by_update(lines(METRICS, _metrics_fault, True))
    timings = lines(TIMINGS, _metrics_fault, False)
    run = Run(
        path=path,
        config=config,
        updates=tuple(r for r in metrics if not _is_evaluation(r)),
        evaluations=tuple(r for r in metrics if _is_evaluation(r)),
        per_episode=_by_update(lines(EVALUATIONS, _per_episode_fault, False)),
        episodes=tuple(lines(EPISODES, _episode_fault, False)),
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


def _config(file: Path) -> Record:
    try:
        config = json.loads(file.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        reason = error.strerror or "it cannot be read"
        raise RunFolderError(f"{str(file)!r} cannot be read: {reason}") from error
    except (ValueError, RecursionError) as error:
        raise RunFolderError(f"{str(file)!r} is not JSON: {error}") from error
    fault = _config_fault(config)
    if fault:
        raise RunFolderError(f"{str(file)!r} is no run's configuration: {fault}")
    return dict(config)


def _config_fault(config: Any) -> str:
    """What is wrong with a configuration; nothing if all is well."""
    if not isinstance(config, Mapping):
        return "it is no JSON object"
    for part in ("algorithm", "run"):
        if not isinstance(config.get(part), Mapping):
            return f"field {part!r} is missing or no JSON object"
    updates = config["algorithm"].get("updates")
    if not isinstance(updates, int) or isinstance(updates, bool) or updates < 0:
        return f"field 'algorithm.updates' must be a whole number (got {updates!r})"
    if not isinstance(config.get("game_settings", {}), Mapping):
        return "field 'game_settings' must be a JSON object"
    if not isinstance(config.get("references") or {}, Mapping):
        return "field 'references' must be a JSON object"
    return ""


def _lines(
    file: Path, check: Callable[[Any], str], problems: list[str], *, needed: bool
) -> list[Record]:
    """The lines of a file that pass a check; of the others, the first is told and all are counted."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError as error:
        if needed:
            problems.append(f"{str(file)!r} cannot be read: {error.strerror or error}")
        return []
    kept: list[Record] = []
    faults: list[str] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            record, fault = _line(line, check)
            if record is None:
                faults.append(f"line {number}: {fault}")
            else:
                kept.append(record)
    if faults:
        more = f" (and {len(faults) - 1} more lines)" if len(faults) > 1 else ""
        problems.append(f"{str(file)!r}, {faults[0]}; left out{more}")
    return kept


def _line(line: str, check: Callable[[Any], str]) -> tuple[Record | None, str]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        return None, f"not JSON ({error})"
    fault = check(record)
    return (None, fault) if fault else (record, "")


def _is_number(value: Any) -> bool:
    return finite(value) is not None


def _update_fault(record: Any) -> str:
    if not isinstance(record, Mapping):
        return "no JSON object"
    update = record.get("update")
    return "" if _is_number(update) else f"field 'update' must be a number (got {update!r})"


def _metrics_fault(record: Any) -> str:
    fault = _update_fault(record)
    if fault:
        return fault
    for name, value in record.items():
        if value is not None and not _is_number(value):
            return f"field {name!r} must be a number or null (got {value!r})"
    return ""


def _per_episode_fault(record: Any) -> str:
    fault = _update_fault(record)
    if fault:
        return fault
    for name in ("returns", "greedy_returns", "successes", "greedy_successes"):
        values = record.get(name)
        fits = isinstance(values, list) and all(_fits(name, value) for value in values)
        if not fits:
            return f"field {name!r} must be a list of {'truth values' if 'succ' in name else 'numbers'}"
    for prefix in ("", "greedy_"):
        starts = record.get(f"{prefix}starts")
        if not isinstance(starts, list) or not all(isinstance(start, str) for start in starts):
            return f"field '{prefix}starts' must be a list of texts"
        if (
            len({len(starts), len(record[f"{prefix}returns"]), len(record[f"{prefix}successes"])})
            > 1
        ):
            return f"fields '{prefix}starts', '{prefix}returns' and '{prefix}successes' must align"
    return ""


def _fits(name: str, value: Any) -> bool:
    return value in (True, False, None) if "successes" in name else _is_number(value)


def _episode_fault(record: Any) -> str:
    if not isinstance(record, Mapping):
        return "no JSON object"
    if not isinstance(record.get("returns"), Mapping):
        return "field 'returns' must be a JSON object"
    if not all(map(_is_number, record["returns"].values())):
        return "field 'returns' must hold numbers"
    steps = record.get("steps")
    if not isinstance(steps, list) or not all(map(_is_step, steps)):
        return "field 'steps' must be a list of steps with 'agents' and 'rewards'"
    return ""


def _is_step(step: Any) -> bool:
    return (
        isinstance(step, Mapping)
        and isinstance(step.get("agents"), list)
        and all(isinstance(agent, Mapping) for agent in step["agents"])
        and isinstance(step.get("rewards"), list)
        and all(map(_is_number, [*step["rewards"], *_list(step.get("penalties"))]))
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
