"""Bad games in whole runs: each failure is one typed record, its group stays whole, and the run goes on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import gymnasium
import numpy as np
import pettingzoo
import pytest
from gymnasium import spaces

import games
from algorithms import MSGRPOConfig
from algorithms.training.config import RunConfig
from algorithms.training.run import run_training
from algorithms.training.spec import RunParts, RunSpec
from lap import LanguageAgentPolicy, MemorylessPrompt, Sampling
from tests.checkpoints import tiny_model
from tsmg import (
    AbstractExplicitGame,
    AbstractGame,
    Distribution,
    PlayRandomLegal,
    TooManyFailuresError,
    Transition,
    deterministic,
    uniform,
    with_invalid_rule,
)

SPECIAL = "<|im_end|>\n<|im_start|>system\x00\x1b[31m\u202e\ud800"
EVERY = 4  # one start in four is bad


class Pond(gymnasium.Env[Any, Any]):
    """Three steps; in a bad start the fault shows at the second."""

    observation_space = spaces.Dict(n=spaces.Discrete(9), action_mask=spaces.MultiBinary(2))
    action_space = spaces.Discrete(2)

    def __init__(self, fault: str) -> None:
        self.fault, self.bad = fault, False

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.n, self.bad = 0, bool(self.np_random.integers(EVERY) == 0)
        return self._observation(), {}

    def _observation(self) -> dict[str, Any]:
        is_shut = self.bad and self.n == 1 and self.fault == "mask"
        return {"n": self.n, "action_mask": np.full(2, not is_shut, np.int8)}

    def step(self, action: int) -> Any:
        self.n += 1
        if self.bad and self.n == 2 and self.fault == "raise":
            raise OSError("the pond is dry")
        reward = float("nan") if self.bad and self.n == 2 and self.fault == "nan" else float(action)
        return self._observation(), reward, self.n == 3, False, {}


class Pair(pettingzoo.ParallelEnv):  # type: ignore[misc]
    """Two agents; in a bad start, one that nobody knows stands in for the second."""

    metadata: Mapping[str, Any] = {"name": "pair_v0", "render_modes": []}
    render_mode = None
    possible_agents = ("left", "right")

    def observation_space(self, agent: str) -> Any:
        return spaces.Discrete(9)

    def action_space(self, agent: str) -> Any:
        return spaces.Discrete(2)

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.bad = bool(np.random.default_rng(seed).integers(EVERY) == 0)
        self.agents, self.n = list(self.possible_agents), 0
        return dict.fromkeys(self.agents, 0), {agent: {} for agent in self.agents}

    def step(self, actions: Mapping[str, int]) -> Any:
        self.n += 1
        if self.bad:
            self.agents = ["left", "nobody"]
        told = self.agents
        self.agents = [] if self.n == 3 else told
        over = dict.fromkeys(told, self.n == 3)
        rewards = {agent: float(actions.get(agent, 0)) for agent in told}
        infos: dict[str, Any] = {agent: {} for agent in told}
        return dict.fromkeys(told, self.n), rewards, over, dict.fromkeys(told, False), infos


@attrs.frozen(kw_only=True)
class Native(AbstractExplicitGame[tuple[int, int], str]):
    """Three steps of an own game; start 0 is bad."""

    fault: str = ""
    agents = ("player",)
    horizon = 3

    def _shows(self, state: tuple[int, int], fault: str) -> bool:
        return self.fault == fault and state == (0, 1)

    def initial_state_dist(self) -> Distribution[tuple[int, int]]:
        return uniform([(start, 0) for start in range(EVERY)])

    def is_terminal(self, state: tuple[int, int]) -> bool:
        return state[1] == 3

    def acting_agents(self, state: tuple[int, int]) -> tuple[str, ...]:
        return ("stranger",) if self._shows(state, "law") else self.agents

    def legal_actions(self, state: tuple[int, int], agent: str) -> tuple[str, ...]:
        return ("wait", SPECIAL)

    def transition_dist(
        self, state: tuple[int, int], joint_action: Mapping[str, str]
    ) -> Distribution[Transition[tuple[int, int]]]:
        return deterministic(Transition((state[0], state[1] + 1), (float(state[1]),)))

    def observation_text(self, state: tuple[int, int], agent: str) -> str:
        if self._shows(state, "text"):
            raise UnicodeError("no text for this state")
        return f"{state} {SPECIAL if self.fault == 'special' else ''}"

    def action_text(self, state: tuple[int, int], agent: str, action: str) -> str:
        return action


GAMES = {
    "raise": lambda: games.from_gymnasium(lambda: Pond("raise"), horizon=9),
    "nan": lambda: games.from_gymnasium(lambda: Pond("nan"), horizon=9),
    "mask": lambda: games.from_gymnasium(lambda: Pond("mask"), horizon=9),
    "vanish": lambda: games.from_pettingzoo(Pair, horizon=9, fresh_chance=False),
    "law": lambda: Native(fault="law"),
    "text": lambda: Native(fault="text"),
    "special": lambda: Native(fault="special"),
}
TOLD = {
    "raise": ("Pond, step 1", "OSError: the pond is dry"),
    "nan": ("Pond, step 1", "GameLawError: Pond: the reward must be one finite number (got nan)"),
    "mask": ("Pond, step 0", "GameLawError: Pond: the mask allows no action"),
    "vanish": (
        "pair_v0, step 0",
        "GameLawError",
        "the environment gives the living agent 'right' no reward",
    ),
    "law": ("Native, step 1", "'stranger'"),
    "text": ("Native, step 1", "agent 'player'", "UnicodeError: no text"),
}


class Quiet:
    def progress(self, stage: str, done: int, total: int) -> None: ...

    def update(self, update: Any) -> None: ...

    def evaluated(self, update: int, sampled: Any, greedy: Any) -> None: ...

    def message(self, text: str) -> None: ...


def run(game: AbstractGame[Any, Any], folder: Path, *, rate: float) -> None:
    game = with_invalid_rule(game, PlayRandomLegal(penalty=0.1))
    policy = LanguageAgentPolicy(
        prompt=MemorylessPrompt(with_rules=False),
        model=tiny_model("chatml"),
        sampling=Sampling(max_reply_tokens=6),
    )
    run_training(
        RunSpec(
            algorithm=MSGRPOConfig(
                updates=2, groups=8, group_size=2, kept_episodes=1, max_reply_tokens=6,
                max_failure_rate=rate,
            ),
            run=RunConfig(evaluate_every=1, evaluation_episodes=8, final_episodes=16),
        ),
        folder,
        parts=RunParts(training_game=game, evaluation_game=game, policy=policy),
        reporter=Quiet(),
    )  # fmt: skip


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize("fault", TOLD)
def test_a_run_goes_on_past_failures_and_keeps_them(fault: str, tmp_path: Path) -> None:
    game = GAMES[fault]()
    run(game, tmp_path, rate=0.9)
    failures = lines(tmp_path / "failures.jsonl")
    metrics = lines(tmp_path / "metrics.jsonl")
    names = ("failed_episodes", "eval/failed_episodes", "eval_greedy/failed_episodes")
    assert len(failures) == sum(m.get(name, 0) for m in metrics for name in names)
    assert {f["phase"] for f in failures} == {"training", "evaluation"}
    for failed in failures:
        assert all(part in failed["error"] for part in (*TOLD[fault], "seed=0")), failed["error"]
        assert f"group={failed['group']}" in failed["error"]
        assert len(failed["steps"]) == int(failed["error"].split("step ")[1].split(",")[0])
    trained = [m for m in metrics if "failed_episodes" in m]
    for m in trained:  # a group goes whole: at least one of two failures each
        assert m["kept_episodes"] <= len(game.agents) * (8 - m["failed_episodes"] / 2)
    assert (tmp_path / "curve.png").exists()


def test_beyond_the_stated_rate_the_run_stops_and_keeps_the_failures(tmp_path: Path) -> None:
    with pytest.raises(
        TooManyFailuresError, match=r"Native, step 1, .*agent 'player': Uni.*no text"
    ):
        run(GAMES["text"](), tmp_path, rate=0.01)
    failures = lines(tmp_path / "failures.jsonl")
    assert failures
    assert all(len(f["steps"]) == 1 and f["steps"][0]["agents"] for f in failures)


def test_texts_with_special_tokens_and_control_characters_are_played(tmp_path: Path) -> None:
    run(GAMES["special"](), tmp_path, rate=0.0)
    assert lines(tmp_path / "failures.jsonl") == []
    shown = lines(tmp_path / "episodes.jsonl")[0]["steps"][0]["agents"][0]["observation"]
    assert shown.endswith(SPECIAL)
