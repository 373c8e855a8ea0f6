"""The episodes of a report, as the page's viewer reads them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from algorithms.analysis.groups import Group
from algorithms.analysis.report.texts import shown_data
from algorithms.runs.reader import Run
from algorithms.runs.records import Record
from algorithms.runs.writer import finite


def viewer_data(groups: Sequence[Group], *, per_run: int) -> list[Any]:
    """A sample of each run's transcripts: the last evaluation's first, then training's from late to early.

    Args:
      groups: groups of runs; the viewer filters by their names.
      per_run: number of transcripts of each run.
    """
    return [
        shown_data(_episode(group, run, record))
        for group in groups
        for run in group.runs
        for record in _sample(run.episodes, per_run)
    ]


def _sample(episodes: Sequence[Record], count: int) -> list[Record]:
    """Half from the last evaluation, half spread evenly over training; more of one where the other has less."""
    evaluated = [e for e in episodes if e.get("phase") == "evaluation"]
    trained = [e for e in episodes if e.get("phase") != "evaluation"]
    spread = max(count // 2, count - len(evaluated))
    step = max(1, math.ceil(len(trained) / spread)) if spread else 1
    kept = trained[::-1][::step][:spread]
    return [*evaluated[: count - len(kept)], *kept]


def _episode(group: Group, run: Run, record: Record) -> dict[str, Any]:
    returns: Mapping[str, Any] = record["returns"]
    agents = record.get("agents")
    names = [str(a) for a in agents] if isinstance(agents, list) else [str(a) for a in returns]
    steps = [_step(step, names) for step in record["steps"]]
    outcomes = [agent["outcome"] for step in steps for agent in step["agents"]]
    return {
        "scenario": group.scenario,
        "arm": group.name,
        "seed": str(run.seed),
        "update": finite(record.get("update")),
        "phase": str(record.get("phase", "training")),
        "success": _success(record.get("successes")),
        "ending": str(record.get("ending", "")),
        "discount": finite(record.get("discount")) or 1.0,
        "returns": {str(agent): value for agent, value in returns.items()},
        "invalid": sum(outcome != "parsed" for outcome in outcomes),
        "steps": steps,
        "final": _texts(record.get("final_observations")),
    }


def _success(successes: object) -> bool | None:
    """Whether any agent succeeded; ``None`` if the game does not say."""
    values = list(successes.values()) if isinstance(successes, Mapping) else []
    known = [value for value in values if isinstance(value, bool)]
    return any(known) if known else None


def _texts(value: object) -> dict[str, str]:
    return {str(k): str(v) for k, v in value.items()} if isinstance(value, Mapping) else {}


def _step(step: Record, names: Sequence[str]) -> dict[str, Any]:
    penalties = step.get("penalties")
    return {
        "t": finite(step.get("t")) or 0.0,
        "agents": [_agent(agent) for agent in step["agents"]],
        "rewards": dict(zip(names, step["rewards"], strict=False)),
        "penalties": dict(zip(names, penalties, strict=False))
        if isinstance(penalties, list)
        else {},
    }


def _agent(agent: Record) -> dict[str, object]:
    logprob = finite(agent.get("logprob"))
    return {
        "agent": str(agent.get("agent", "")),
        "observation": str(agent.get("observation", "")),
        "feedback": str(agent.get("feedback") or ""),
        "reply": str(agent.get("reply", "")),
        "outcome": str(agent.get("outcome", "")),
        "action": None if agent.get("action") is None else str(agent["action"]),
        "probability": None if logprob is None else _probability(logprob),
        "tokens": _tokens(
            agent.get("completions", agent.get("calls"))
        ),  # schema version 1 said calls
    }


def _probability(logprob: float) -> float:
    return float(f"{math.exp(min(logprob, 0.0)):.3g}")


def _tokens(completions: object) -> list[list[object]]:
    """[text, probability] of each token of the reply; the text of a token is its id where it is not recorded."""
    tokens: list[list[object]] = []
    for completion in completions if isinstance(completions, list) else []:
        if not isinstance(completion, dict):
            continue
        ids, logprobs = (completion.get(name) for name in ("ids", "logprobs"))
        if not isinstance(ids, list) or not isinstance(logprobs, list):
            continue
        texts = completion.get("texts")
        texts = texts if isinstance(texts, list) else [f"#{token}" for token in ids]
        for text, logprob in zip(texts, logprobs, strict=False):
            value = finite(logprob)
            tokens.append([str(text), None if value is None else _probability(value)])
    return tokens
