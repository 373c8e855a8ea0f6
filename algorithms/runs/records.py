"""The records of a run folder: its configuration and its line-based files, each checked as it is read."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from algorithms.errors import RunFolderError
from algorithms.runs.schema import upgrade
from algorithms.runs.writer import CONFIG, finite

Record = Mapping[str, Any]
Check = Callable[[Any], str]
"""Returns what is wrong with a record; empty if nothing is."""


def read_config(folder: str | Path) -> dict[str, Any]:
    """The configuration of a run, upgraded to the current form.

    Raises:
      RunFolderError: there is none, it is malformed, or a newer tsmg wrote it; the message names file and field.
    """
    file = Path(folder) / CONFIG
    try:
        config: Any = json.loads(file.read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError as error:
        raise RunFolderError(f"no run in {str(folder)!r} (there is no {CONFIG})") from error
    except OSError as error:
        reason = error.strerror or "it cannot be read"
        raise RunFolderError(f"{str(file)!r} cannot be read: {reason}") from error
    except (ValueError, RecursionError) as error:
        raise RunFolderError(f"{str(file)!r} is malformed: {error}") from error
    if not isinstance(config, dict):
        raise RunFolderError(f"{str(file)!r} is malformed: it is not a JSON object")
    upgraded = upgrade(config, repr(str(file)))
    fault = _config_fault(upgraded)
    if fault:
        raise RunFolderError(f"{str(file)!r} is malformed: {fault}")
    return upgraded


def _config_fault(config: Record) -> str:
    """What is wrong with a configuration in the present form, as far as readers rely on it."""
    spec = config.get("spec")
    if not isinstance(spec, Mapping):
        return "field 'spec' is missing or not a JSON object"
    for part in ("algorithm", "run"):
        if not isinstance(spec.get(part), Mapping):
            return f"field 'spec.{part}' is missing or not a JSON object"
    updates = spec["algorithm"].get("updates")
    if not isinstance(updates, int) or isinstance(updates, bool) or updates < 0:
        return (
            f"field 'spec.algorithm.updates' must be a whole number of at least 0 (got {updates!r})"
        )
    for part in ("game", "policy", "labels"):
        if not isinstance(spec.get(part, {}), Mapping):
            return f"field 'spec.{part}' must be a JSON object"
    if not isinstance(spec.get("game", {}).get("arguments", {}), Mapping):
        return "field 'spec.game.arguments' must be a JSON object"
    for name in ("baselines", "given_parts"):
        if not isinstance(config.get(name) or {}, Mapping):
            return f"field {name!r} must be a JSON object"
    return ""


def read_lines(file: str | Path) -> list[dict[str, Any]]:
    """The records of a ``.jsonl`` file.

    Raises:
      RunFolderError: the file is missing or malformed; the message names file and line.
    """
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunFolderError(f"cannot read {str(file)!r}: {error}") from error
    records = []
    for number, record, fault in _parsed(text, object_fault):
        if fault:
            raise RunFolderError(f"{str(file)!r}, line {number}: {fault}")
        records.append(dict(record))
    return records


def read_good_lines(
    file: Path, check: Check, problems: list[str], *, needed: bool = False
) -> list[Record]:
    """The records of a ``.jsonl`` file that pass a check; the others are left out.

    Args:
      file: which may be missing or damaged.
      check: of a record.
      problems: receives a sentence about what was left out: the first fault, and the number of lines.
      needed: whether a missing file is a problem.
    """
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        if needed:
            problems.append(f"{str(file)!r} cannot be read: {error.strerror or error}")
        return []
    parsed = list(_parsed(text, check))
    faults = [f"line {number}: {fault}" for number, _, fault in parsed if fault]
    if faults:
        rest = len(faults) - 1
        more = f" (and {rest} more line{'s' if rest > 1 else ''})" if rest else ""
        problems.append(f"{str(file)!r}, {faults[0]}; left out{more}")
    return [record for _, record, fault in parsed if not fault]


def _parsed(text: str, check: Check) -> Iterator[tuple[int, Record, str]]:
    """(number, record, what is wrong with it) of every line that is not blank."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, {}, f"not JSON ({error})"
            continue
        fault = check(record)
        yield number, {} if fault else record, fault


def object_fault(record: Any) -> str:
    """A record is a JSON object."""
    return "" if isinstance(record, Mapping) else "not a JSON object"


def _is_number(value: Any) -> bool:
    return finite(value) is not None


def _update_fault(record: Any) -> str:
    if not isinstance(record, Mapping):
        return object_fault(record)
    update = record.get("update")
    return "" if _is_number(update) else f"field 'update' must be a number (got {update!r})"


def metrics_fault(record: Any) -> str:
    """What is wrong with the metrics of an update or an evaluation."""
    fault = _update_fault(record)
    if fault:
        return fault
    for name, value in record.items():
        if value is not None and not _is_number(value):
            return f"field {name!r} must be a number or null (got {value!r})"
    return ""


def per_episode_fault(record: Any) -> str:
    """What is wrong with an evaluation, episode by episode."""
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
        metrics = record.get(f"{prefix}metrics", {})
        if not isinstance(metrics, Mapping) or not all(
            isinstance(values, list)
            and len(values) == len(starts)
            and all(value is None or _is_number(value) for value in values)
            for values in metrics.values()
        ):
            return f"field '{prefix}metrics' must have a number or null for each episode under each name"
    return ""


def _fits(name: str, value: Any) -> bool:
    return value in (True, False, None) if "successes" in name else _is_number(value)


def episode_fault(record: Any) -> str:
    """What is wrong with a transcript."""
    if not isinstance(record, Mapping):
        return object_fault(record)
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
