"""A game by a reader of ``docs/tutorials/define_a_game.md`` and nothing else: it is checked, played and trained on."""

from pathlib import Path

import attrs
from click.testing import CliRunner

import algorithms
import tsmg
from algorithms.cli.main import main
from algorithms.runs.records import read_lines
from tsmg.testing import check_game

TINY = algorithms.CloningConfig(
    width=32, layers=1, heads=2, inner=48, episodes=20, steps=20, batch=8
)


@attrs.frozen(kw_only=True)
class Nim(tsmg.AbstractExplicitGame[tuple, tuple]):
    """Three heaps; take any number from one of them; who takes the last piece wins."""

    heaps: tuple = (1, 2, 3)
    horizon: int = 6
    agents = ("first", "second")
    invalid_rule = tsmg.Forfeit(penalty=1)
    facts = tsmg.Facts(zero_sum=True, perfect_information=True, text_separates_states=True)

    def initial_state_dist(self):
        return tsmg.deterministic((self.heaps, "first"))

    def is_terminal(self, state):
        return sum(state[0]) == 0

    def acting_agents(self, state):
        return () if self.is_terminal(state) else (state[1],)

    def legal_actions(self, state, agent):
        if agent not in self.acting_agents(state):
            return ()
        return tuple((heap, n) for heap in range(3) for n in range(1, state[0][heap] + 1))

    def transition_dist(self, state, joint_action):
        heaps, mover = state
        heap, count = joint_action[mover]
        left = tuple(size - count * (n == heap) for n, size in enumerate(heaps))
        rewards = (0, 0)
        if sum(left) == 0:
            rewards = (1, -1) if mover == "first" else (-1, 1)
        other = "second" if mover == "first" else "first"
        return tsmg.deterministic(tsmg.Transition((left, other), rewards))

    def rules_text(self, agent):
        return "Take pieces from one heap; the last piece wins. A move is heap and number: a2."

    def observation_text(self, state, agent):
        heaps = ", ".join(f"{name}: {size}" for name, size in zip("abc", state[0], strict=True))
        return f"{heaps}. You are {agent}; {state[1]} moves."

    def action_text(self, state, agent, action):
        return "abc"[action[0]] + str(action[1])


def run(*arguments: str, answers: str = "") -> str:
    done = CliRunner().invoke(main, arguments, input=answers)
    assert done.exit_code == 0, done.output
    return done.output


def test_it_is_conformant_and_plays_by_hand() -> None:
    check_game(Nim, max_examples=30).raise_if_broken()
    output = run("play", "--game", "tests.test_stranger:Nim", answers="a1\nb2\nc3\n")
    assert "first: terminated, return 1\n" in output


def test_it_trains(tmp_path: Path) -> None:
    algorithms.cloned_policy(Nim(), config=TINY, cache=tmp_path / "cache").save_pretrained(
        tmp_path / "tiny"
    )
    sizes = "--updates 2 --groups 2 --group-size 4 --kept-episodes 2 --final-episodes 4 --threads 1"
    run(
        *("train", "--game", "tests.test_stranger:Nim", "--model", str(tmp_path / "tiny")),
        *("--output", str(tmp_path / "run"), *sizes.split()),
    )
    lines = read_lines(tmp_path / "run" / "metrics.jsonl")
    assert [line["update"] for line in lines if "loss" in line] == [1, 2]
    assert {"reward/first", "reward/second"} <= set(lines[1])
