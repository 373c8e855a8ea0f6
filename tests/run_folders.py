"""Run folders that tests write by hand."""

import json
from pathlib import Path
from typing import Any

EPISODES = 20
_LABELS = ("title", "scenario", "trained_on", "arm")


def write_run(
    path: Path,
    *,
    seed: int = 0,
    successes: tuple[float, ...] = (0.2, 0.5, 0.95),
    every: int = 5,
    game: str = "FrozenLake-v0",
    starts: str = "same",
    episodes: tuple[dict[str, Any], ...] = (),
    described: dict[str, Any] | None = None,
    **algorithm: Any,
) -> Path:
    """A finished run with evaluations of these success rates, each over 20 episodes, the first ones successes.

    What is ``described`` becomes a label or the player of the policy, or stands at the top level of the configuration.
    """
    path.mkdir(parents=True)
    updates = every * (len(successes) - 1)
    beside = dict(described or {})
    labels = {"title": f"{beside.pop('game', game)}, a test"}
    labels |= {name: beside.pop(name) for name in _LABELS if name in beside}
    policy = {"player": beside.pop("player")} if "player" in beside else {}
    run = {"evaluation_episodes": EPISODES, "final_episodes": EPISODES, "evaluation_seed": 0}
    config = {
        "schema_version": 2,
        "spec": {
            "game": {"id": (described or {}).get("game", game), "arguments": {}},
            "policy": policy,
            "algorithm": {"updates": updates, "seed": seed, "sampling": "aaw", **algorithm},
            "run": run,
            "labels": labels,
        },
        "baselines": {
            "optimum": 0.99,
            "uniform": {"reward": 0.02, "success_rate": 0.02},
            "scripted": {"reward": 0.3, "success_rate": 0.3},
        },
    }
    (path / "config.json").write_text(json.dumps(config | beside))
    metrics, per_episode = [], []
    for n, rate in enumerate(successes):
        metrics.append({"update": float(every * n), **_evaluation(rate)})
        won = [i < round(rate * EPISODES) for i in range(EPISODES)]
        returns = [float(w) for w in won]
        per_episode.append(
            {
                "update": float(every * n),
                "starts": [f"{starts} {i}" for i in range(EPISODES)],
                "returns": returns,
                "successes": won,
                "greedy_starts": [f"{starts} {i}" for i in range(EPISODES)],
                "greedy_returns": returns,
                "greedy_successes": won,
            }
        )
    for update in range(1, updates + 1):
        share = update / updates
        metrics.append(
            {"update": update, "reward": share, "success_rate": share, "invalid_rate": 0.1,
             "entropy": 1 - share, "kl": None, "trained_tokens": 300.0, "reply_length": 3.0,
             "episode_length": 2.0}
        )  # fmt: skip
    write_lines(path / "metrics.jsonl", metrics)
    write_lines(path / "evaluations.jsonl", per_episode)
    write_lines(
        path / "timings.jsonl",
        [{"update": u, "seconds_playing": 1.5, "seconds_learning": 0.5} for u in range(updates)],
    )
    write_lines(path / "episodes.jsonl", list(episodes))
    return path


def _evaluation(rate: float) -> dict[str, float]:
    return {
        f"{prefix}/{name}": value
        for prefix in ("eval", "eval_greedy")
        for name, value in (("success_rate", rate), ("reward", rate), ("invalid_rate", 0.01))
    }


def write_lines(file: Path, records: list[Any]) -> None:
    file.write_text("".join(json.dumps(record) + "\n" for record in records))


def episode(**changes: Any) -> dict[str, Any]:
    """A transcript of one step."""
    return {
        "update": 5,
        "phase": "training",
        "game": "FrozenLake",
        "seed": 0,
        "group": 0,
        "episode": 0,
        "ending": "terminated",
        "agents": ["player"],
        "returns": {"player": 1.0},
        "successes": {"player": True},
        "steps": [
            {
                "t": 0,
                "agents": [
                    {
                        "agent": "player",
                        "observation": "P G",
                        "feedback": "",
                        "reply": "<action>right</action>",
                        "outcome": "parsed",
                        "action": "Move.RIGHT",
                        "logprob": -0.7,
                        "completions": [
                            {
                                "ids": [1, 2],
                                "logprobs": [-0.5, -0.2],
                                "texts": ["<action>", "right</action>"],
                                "finished": True,
                            }
                        ],
                    }
                ],
                "rewards": [1.0],
                "penalties": [0.0],
            }
        ],
        "final_observations": {"player": "F P\nYou reached the goal."},
        **changes,
    }
