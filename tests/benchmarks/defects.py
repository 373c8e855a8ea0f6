"""The seeded defects of ``tests/seeded.py``, and who notices them.

    python tests/benchmarks/defects.py [--subtle]

With ``--subtle``: those of ``tests/mutants.py``, and what this library's kit says of them.
The same rules, with the same defects, are checked by this library's kit, by PettingZoo's api_test, seed_test and
parallel_api_test, and by Gymnasium's check_env (where the holder plays and the guesser is scripted). Prints a table
with the rule of the kit and the steps of its shortest script, and in how many of 20 runs each other check raises or
warns where it does not on the environment without a defect. ``-v`` shows what it says.
"""

import contextlib
import functools
import io
import random
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete
from gymnasium.utils.env_checker import check_env
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.test import api_test, parallel_api_test, seed_test

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.mutants import NOTICED, SUBTLE, mutant
from tests.seeded import AGENTS, BEYOND, CARDS, CAUGHT, DEFECTS, KNOWN, LEGAL, Deal, FaceDown
from tests.seeded import legal as legal_actions
from tests.seeded import rewards as rewards_of
from tests.seeded import text as text_of
from tsmg.testing import check_game

ACTIONS = (*LEGAL[0], *LEGAL[1])  # a number per deed, the same for both agents
NO_WORDS = {"no-round-trip"}  # there, actions are numbers and have no texts
LENGTH = 96
RUNS = 20
TABLE = "{:<15}{:<31}{:>6}  {:<10}{:<10}{:<18}{:<10}"


class Rules:
    """The game with its seed and its defect, as far as all environments share it."""

    def __init__(self, defect: str) -> None:
        self.defect = defect
        self.deal = Deal(CARDS[0])
        self.rng = np.random.default_rng()

    def start(self, seed: int | None) -> None:
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        card = CARDS[int(self.rng.integers(3))]
        if self.defect == "global-state":
            random.seed(seed)
            card = random.choice(CARDS)
        elif self.defect == "seed-ignored":
            card = random.Random().choice(CARDS)
        elif self.defect == "one-card":
            card = CARDS[0]
        self.deal = Deal(card)

    def is_over(self) -> bool:
        return len(self.deal.deeds) >= 2

    def may_act(self) -> bool:
        return not self.is_over() or self.defect == "step-after-end"

    def play(self, number: int) -> tuple[float, float]:
        """Carry out a deed."""
        deed = ACTIONS[number]
        after = Deal(self.deal.card, (*self.deal.deeds[:1], deed))
        reward = rewards_of(after, self.defect)
        self.deal = after
        return reward

    def observation(self, agent: str) -> np.ndarray:
        """The text as bytes, padded."""
        said = text_of(self.deal, agent, self.defect).encode()
        return np.frombuffer(said.ljust(LENGTH, b"\0"), dtype=np.uint8)

    def mask(self) -> np.ndarray:
        legal = legal_actions(self.deal, self.defect)
        return np.array([name in legal for name in ACTIONS], dtype=np.int8)


def _text_space() -> gymnasium.spaces.Box:
    return gymnasium.spaces.Box(0, 255, (LENGTH,), np.uint8)


def _masked_space() -> gymnasium.spaces.Dict:
    mask = gymnasium.spaces.Box(0, 1, (len(ACTIONS),), np.int8)
    return gymnasium.spaces.Dict(observation=_text_space(), action_mask=mask)


class Turns(AECEnv):
    """The game as a PettingZoo environment, agent by agent."""

    metadata = {"name": "face_down_v0", "is_parallelizable": False}  # noqa: RUF012

    def __init__(self, defect: str) -> None:
        super().__init__()
        self.rules = Rules(defect)
        self.possible_agents = list(AGENTS)
        self.observation_spaces = {agent: _masked_space() for agent in AGENTS}
        self.action_spaces = {agent: Discrete(len(ACTIONS)) for agent in AGENTS}
        self.render_mode = None

    def observation_space(self, agent: str) -> Any:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Any:
        return self.action_spaces[agent]

    def observe(self, agent: str) -> dict[str, np.ndarray]:
        is_turn = agent == self.agent_selection
        mask = self.rules.mask() if is_turn else np.zeros(len(ACTIONS), np.int8)
        return {"observation": self.rules.observation(agent), "action_mask": mask}

    def reset(self, seed: int | None = None, options: Any = None) -> None:
        self.rules.start(seed)
        self.agents = list(AGENTS)
        self.agent_selection = AGENTS[0]
        self.rewards = dict.fromkeys(AGENTS, 0.0)
        self._cumulative_rewards = dict.fromkeys(AGENTS, 0.0)
        self.terminations = dict.fromkeys(AGENTS, False)
        self.truncations = dict.fromkeys(AGENTS, False)
        self.infos = {agent: {} for agent in AGENTS}

    def step(self, action: Any) -> None:
        if self.terminations[self.agent_selection] and not self.accepts_more(action):
            self._was_dead_step(action)
            return
        self._cumulative_rewards[self.agent_selection] = 0.0
        self.rewards = dict(zip(AGENTS, self.rules.play(int(action)), strict=True))
        self.terminations = dict.fromkeys(AGENTS, self.rules.is_over())
        self.agent_selection = AGENTS[1]
        self._accumulate_rewards()

    def accepts_more(self, action: Any) -> bool:
        return self.rules.defect == "step-after-end" and action is not None


class AtOnce(ParallelEnv):
    """The same, all agents at once; what is said out of turn does not count."""

    metadata = {"name": "face_down_parallel_v0"}  # noqa: RUF012

    def __init__(self, defect: str) -> None:
        self.rules = Rules(defect)
        self.possible_agents = list(AGENTS)
        self.agents: list[str] = []
        self.spaces = {agent: (_masked_space(), Discrete(len(ACTIONS))) for agent in AGENTS}

    def observation_space(self, agent: str) -> Any:
        return self.spaces[agent][0]

    def action_space(self, agent: str) -> Any:
        return self.spaces[agent][1]

    def _observations(self) -> dict[str, Any]:
        turn = AGENTS[min(len(self.rules.deal.deeds), 1)]
        idle = np.zeros(len(ACTIONS), np.int8)
        return {
            agent: {
                "observation": self.rules.observation(agent),
                "action_mask": self.rules.mask() if agent == turn else idle,
            }
            for agent in self.agents
        }

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.rules.start(seed)
        self.agents = list(AGENTS)
        return self._observations(), {agent: {} for agent in AGENTS}

    def step(self, actions: Any) -> Any:
        turn = AGENTS[min(len(self.rules.deal.deeds), 1)]
        number = int(actions[turn]) if turn in actions else 0
        if not self.rules.mask()[number]:  # sampled out of the mask: the first legal one instead
            number = int(np.argmax(self.rules.mask()))
        rewards = dict(zip(AGENTS, self.rules.play(number), strict=True))
        over = dict.fromkeys(AGENTS, self.rules.is_over())
        observations = self._observations()
        infos = {agent: {} for agent in AGENTS}
        if self.rules.is_over() and self.rules.defect != "step-after-end":
            self.agents = []
        return observations, rewards, over, dict.fromkeys(AGENTS, False), infos


class Alone(gymnasium.Env):
    """The same for the holder alone; the guesser takes its first legal action."""

    def __init__(self, defect: str) -> None:
        self.rules = Rules(defect)
        self.observation_space = _text_space()
        self.action_space = Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.rules.start(seed)
        return self.rules.observation("holder"), {}

    def step(self, action: Any) -> Any:
        if not self.rules.may_act():
            raise gymnasium.error.ResetNeeded("the episode is over")
        if not self.rules.is_over():
            self.rules.play(int(action))
        reward = self.rules.play(int(np.argmax(self.rules.mask())))[0]
        return self.rules.observation("holder"), reward, True, False, {}


def complaints(test: Callable[[], object]) -> list[str]:
    """What a test raises or warns of."""
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("always")
        try:
            test()
            raised = []
        except Exception as error:  # noqa: BLE001  # any complaint counts
            raised = [f"{type(error).__name__}: {error}"]
    return raised + [str(warning.message) for warning in caught]


TESTS: dict[str, Callable[[str], Callable[[], object]]] = {
    "api_test": lambda d: functools.partial(api_test, Turns(d), num_cycles=100),
    "seed_test": lambda d: functools.partial(seed_test, lambda: Turns(d), num_cycles=50),
    "parallel_api_test": lambda d: functools.partial(parallel_api_test, AtOnce(d), num_cycles=100),
    "check_env": lambda d: functools.partial(check_env, Alone(d), skip_render_check=True),
}


def kit(defect: str) -> tuple[str, str]:
    """The rule that is about the defect, and the steps of its shortest script."""
    make = functools.partial(FaceDown, defect=defect)
    report, by = check_game(make), ""
    if report.is_conformant:
        report, by = check_game(make, known=KNOWN), " (if given)"
    for violation in report.violations:
        if violation.rule == CAUGHT[defect]:
            return f"{violation.rule}{by}", str(violation.steps)
    return "missed", ""


def measure(defect: str, sound: dict[str, list[str]]) -> list[str]:
    """A row of the table."""
    row = [defect, *kit(defect)]
    for name, test in TESTS.items():
        if defect in NO_WORDS:
            row.append("no texts")
            continue
        runs = [[c for c in complaints(test(defect)) if c not in sound[name]] for _ in range(RUNS)]
        caught = [new for new in runs if new]
        row.append(f"{len(caught)}/{RUNS}")
        if caught and "-v" in sys.argv:
            print(f"  {defect}, {name}: {caught[0][0]:.150}")
    return row


def subtle(defect: str) -> str:
    """What the kit says of a defect of ``tests/mutants.py``: its rule about it, or the others that broke."""
    source = f"from tests.mutants import mutant\ngame = mutant({defect!r})()"
    report = check_game(mutant(defect), source=source)
    if NOTICED.get(defect) in report.broken:
        return NOTICED[defect]
    notes = ", a note" if report.result("information").notes else ""
    return f"by {', '.join(report.broken)}" if report.broken else f"missed{notes}"


def main() -> None:
    for defect, meaning in SUBTLE.items() if "--subtle" in sys.argv else ():
        print(f"{defect:<18}{subtle(defect):<24}{meaning}", flush=True)
    if "--subtle" in sys.argv:
        return
    sound = {name: complaints(test("")) for name, test in TESTS.items()}
    for name, said in sound.items():
        print(f"without a defect, {name}: {said or 'nothing'}")
    print(TABLE.format("defect", "tsmg check", "steps", *TESTS))
    for defect in (*DEFECTS, *BEYOND):
        print(TABLE.format(*measure(defect, sound)))


if __name__ == "__main__":
    main()
