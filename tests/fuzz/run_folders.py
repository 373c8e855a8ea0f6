"""Run folders of strangers: what can be read is read, the rest is told in a sentence."""

import json
from pathlib import Path
from typing import Any

import attrs

from algorithms.analysis.comparison import compare_runs
from algorithms.analysis.tables import markdown, tables
from algorithms.runs.checkpoints import best_reward
from algorithms.runs.reader import flat, read_run, read_runs, scenario_of, settings_of
from algorithms.runs.records import read_config, read_lines
from algorithms.training.run import check_same_run
from tests.fuzz.guard import Case, declared, scratch, wrong
from tests.fuzz.source import Source, altered, damaged
from tests.run_folders import write_run

MODULES = (
    "algorithms.runs.reader",
    "algorithms.runs.records",
    "algorithms.runs.schema",
    "algorithms.runs.writer",
    "algorithms.analysis.comparison",
    "algorithms.analysis.tables",
)
CASES = 20_000
_FILES = ("config.json", "metrics.jsonl", "evaluations.jsonl", "timings.jsonl", "episodes.jsonl")
_COMPARED = 40  # one in so many cases: intervals are resampled thousands of times

Records = dict[str, list[Any]]


def whole_records(folder: Path) -> Records:
    """The files of a sound run as plain data, a record a line."""
    run = write_run(folder, episodes=(transcript(),), successes=(0.2, 0.9), every=1)
    return {
        name: [json.loads(line) for line in (run / name).read_text().splitlines()]
        for name in _FILES
    }


def transcript() -> dict[str, Any]:
    """The line of an episode."""
    agent = {
        "agent": "player", "observation": "P F", "feedback": "", "reply": "<action>left</action>",
        "outcome": "parsed", "action": "0", "logprob": -0.5,
        "completions": [{"ids": [1], "logprobs": [-0.5], "texts": ["left"], "finished": True}],
    }  # fmt: skip
    step = {"t": 0, "agents": [agent], "rewards": [1.0], "penalties": [0.0]}
    return {
        "update": 1, "phase": "training", "game": "FrozenLake-v0", "seed": 0, "group": 0, "episode": 0,
        "ending": "terminated", "agents": ["player"], "discount": 1.0, "returns": {"player": 1.0},
        "successes": {"player": True}, "steps": [step], "final_observations": {"player": "F P"},
    }  # fmt: skip


def write_hostile(source: Source, folder: Path, records: Records) -> None:
    """The files of a run, most of them altered in one place or damaged."""
    for name, lines in records.items():
        kind = source.integer(0, 4)
        changed = [
            altered(source, line) if kind in (1, 2) and source.one_in(2) else line for line in lines
        ]
        data = "".join(json.dumps(line) + "\n" for line in changed).encode()
        (folder / name).write_bytes(damaged(source, data) if kind == 3 else data)


def check_readers(folder: Path) -> None:
    """The plain readers of a folder's files."""
    with declared():
        config = read_config(folder)
        flat(config)
        check_same_run(config, config, folder)
    for name in _FILES[1:]:
        with declared():
            best_reward(read_lines(folder / name))


def check_run(folder: Path) -> None:
    """All that a run says of itself."""
    with declared():
        run = read_run(folder)
        for value in (run.planned_updates, run.is_finished, run.seed, scenario_of(run)):
            str(value)
        settings_of(run)
        run.curve("reward")
        run.curve_alike("eval/success_rate")
        if not all(isinstance(problem, str) for problem in run.problems):
            raise wrong("wrong", f"the problems of a run are {run.problems!r}")


def prepare() -> Case:
    folder = scratch("runs")
    records, place = whole_records(folder / "whole"), folder / "hostile"
    place.mkdir()

    def case(source: Source) -> None:
        write_hostile(source, place, records)
        check_readers(place)
        check_run(place)
        if source.rarely(_COMPARED):
            with declared():
                runs, _ = read_runs([folder])
                runs = [attrs.evolve(run, path=run.path) for run in runs]
                for table in tables(compare_runs(runs)):
                    markdown(table)

    return case
