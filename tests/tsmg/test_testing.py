"""The conformance kit: sound games pass, and every rule rejects a game that breaks it."""

import functools
import importlib
import itertools
import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner

import games
import tsmg
from algorithms.cli.main import main
from games.matrix import MatrixGame
from tests.mutants import NOTICED, Gifts, mutant
from tests.seeded import BEYOND, CAUGHT, DEFECTS, KNOWN, FaceDown
from tests.strategies import Coins
from tsmg import (
    AbstractExplicitGame,
    AbstractSampledGame,
    ConformanceError,
    Distribution,
    Facts,
    Finite,
    Illegal,
    InvalidArgumentError,
    Parsed,
    PlayDefault,
    Stream,
    TextOutcome,
    Transition,
    deterministic,
    uniform,
)
from tsmg.testing import RULES, Report, Status, check_game, replay
from tsmg.testing.enumeration import enumerate_game
from tsmg.testing.twins import Twins
from tsmg.testing.walks import Script, Subject

LIGHT = {
    "Cleanup-v0",
    "FiningCleanup-v0",
    "SmallCleanup-v0",
    "Gathering-v0",
    "SmallGathering-v0",
    "Game2048-v0",
    "Sokoban-v0",
    "SmallSokoban-v0",
    "SmallSnake-v0",
    "FrozenLake-v0",
    "SlipperyFrozenLake-v0",
    "Snake-v0",
    "PoisonSnake-v0",
    "SnakeDuel-v0",
    "ConnectFour-v0",
    "LargeLightsOut-v0",
    "Mastermind-v0",
}
HEAVY = {"Werewolf-v0", "LargeWerewolf-v0"}
Heap = tuple[int, int]


# ---- sound games -------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Countdown(AbstractExplicitGame[Heap, int]):
    """Two players take 1 or 2 from a heap in turn; who takes the last one wins."""

    heap: int = 4
    facts: Facts = Facts(
        zero_sum=True,
        perfect_information=True,
        text_separates_states=True,
        stochastic_start=False,
        stochastic_transitions=False,
        return_bounds=(-1.0, 1.0),
        longest_game=4,
    )
    agents = ("first", "second")

    def initial_state_dist(self) -> Distribution[Heap]:
        return deterministic((self.heap, 0))

    def is_terminal(self, state: Heap) -> bool:
        return state[0] == 0

    def acting_agents(self, state: Heap) -> tuple[str, ...]:
        return (self.agents[state[1]],) if state[0] else ()

    def legal_actions(self, state: Heap, agent: str) -> tuple[int, ...]:
        return tuple(n for n in (1, 2) if n <= state[0])

    def transition_dist(
        self, state: Heap, joint_action: Mapping[str, int]
    ) -> Distribution[Transition[Heap]]:
        ((_, taken),) = joint_action.items()
        left, mover = state[0] - taken, state[1]
        won = (1.0, -1.0) if mover == 0 else (-1.0, 1.0)
        return deterministic(Transition((left, 1 - mover), (0.0, 0.0) if left else won))

    def observation_text(self, state: Heap, agent: str) -> str:
        return f"{state[0]} left. It is {self.agents[state[1]]}'s move."

    def action_text(self, state: Heap, agent: str, action: int) -> str:
        return str(action)


def quick(make: Any, **kwargs: Any) -> Report:
    return check_game(make, **{"max_examples": 15, **kwargs})


def test_a_game_of_thirty_lines_passes() -> None:
    report = check_game(Countdown, max_examples=40)
    report.raise_if_broken()
    assert report.result("zero-sum").status is Status.OK
    assert report.result("known-episodes").status is Status.NOT_DECLARED
    assert report.whole > 20


IDS = [spec.id for spec in games.registered()]
IN_ONE_PROCESS = [rule.name for rule in RULES if rule.name != "hash-seed"]


@pytest.mark.parametrize(
    "id",
    [pytest.param(id, marks=pytest.mark.slow) if id == "LargeWerewolf-v0" else id for id in IDS],
)
def test_every_registered_game_passes(id: str) -> None:
    examples = 2 if id in HEAVY else 4 if id in LIGHT else 10
    make = functools.partial(tsmg.make, id)
    quick(make, max_examples=examples, rules=IN_ONE_PROCESS).raise_if_broken()


def test_a_registered_game_is_the_same_in_another_process() -> None:
    report = quick(functools.partial(tsmg.make, "Snake-v0"), max_examples=1, rules=["hash-seed"])
    report.raise_if_broken()
    assert report.result("hash-seed").count > 1


TOLD_OF_ALL = """
import json, games, tsmg
from tsmg.testing.elsewhere import told
every = {spec.id: tsmg.make(spec.id) for spec in games.registered()}
print(json.dumps({id: told(game, min(tsmg.step_limit(game), 12), ()) for id, game in every.items()}))
"""


def test_every_registered_game_is_the_same_in_another_process() -> None:
    """As the rule sees it, but for all games in one pair of processes with different hash seeds."""
    told = [
        subprocess.Popen(
            [sys.executable, "-c", TOLD_OF_ALL],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("0", "20011")
    ]
    one, other = (json.loads(process.communicate()[0]) for process in told)
    assert set(one) == set(IDS) and all(map(any, one.values()))
    assert [id for id in one if one[id] != other[id]] == []


@attrs.frozen(kw_only=True)
class Ladder(AbstractExplicitGame[int, int]):
    """Counts to 100 alone; one rung pays what is no number."""

    bad: int = 90
    agents = ("player",)
    horizon = 100

    def initial_state_dist(self) -> Distribution[int]:
        return deterministic(0)

    def is_terminal(self, state: int) -> bool:
        return state == 100

    def acting_agents(self, state: int) -> tuple[str, ...]:
        return self.agents if state < 100 else ()

    def legal_actions(self, state: int, agent: str) -> tuple[int, ...]:
        return (1,)

    def transition_dist(
        self, state: int, joint_action: Mapping[str, int]
    ) -> Distribution[Transition[int]]:
        reward = math.nan if state + 1 == self.bad else 0.0
        return deterministic(Transition(state + 1, (reward,)))

    def observation_text(self, state: int, agent: str) -> str:
        return str(state)

    def action_text(self, state: int, agent: str, action: int) -> str:
        return str(action)


def test_states_beyond_the_limit_of_the_walks_are_not_called_visited() -> None:
    report = quick(Ladder, max_examples=40, rules=["plays-through", "rewards"])
    assert report.is_conformant and report.enumerated is None
    (note,) = report.result("plays-through").notes
    assert note.startswith("states more than 64 steps from the start were not visited")
    whole = quick(
        lambda: Ladder(bad=0), max_examples=40, max_steps=100, rules=["plays-through", "rewards"]
    )
    assert whole.enumerated == 101 and not whole.result("plays-through").notes
    assert quick(Ladder, max_examples=40, max_steps=100, rules=["rewards"]).broken == ("rewards",)


@pytest.mark.parametrize(
    ("imported", "seen"),
    [
        ("print('hello'); os.write(1, b'hello')", ""),
        ("raise OSError('the disk is full')", "OSError: the disk is full"),
    ],
)
def test_another_process_may_print_and_tells_why_it_fails(
    imported: str, seen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"loud_{bool(seen)}".lower()
    loud = f"import os\nif os.environ.get('PYTHONHASHSEED') == '20011': {imported}\n"
    made = "from tests.tsmg.test_testing import Countdown\ndef make():\n    return Countdown()\n"
    (tmp_path / f"{module}.py").write_text(loud + made)
    monkeypatch.syspath_prepend(str(tmp_path))
    report = quick(importlib.import_module(module).make, max_examples=1, rules=["hash-seed"])
    assert report.is_conformant
    result = report.result("hash-seed")
    assert [seen in note for note in result.notes] == ([True] if seen else [])
    assert (result.count > 1) == (not seen)


def test_a_process_that_cannot_start_breaks_no_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    report = quick(Countdown, max_examples=1, rules=["hash-seed"])
    assert report.is_conformant and "No such file" in report.result("hash-seed").notes[0]


def test_twins_play_the_same_moves() -> None:
    game = tsmg.make("KuhnPoker-v0")
    script = Script(seed=1, moves=(3,), rest=5)
    twins = list(Twins(Subject(make=lambda: game, limit=9, full=9), game).of(script))
    assert twins
    for twin in twins:
        assert twin.seed != script.seed and list(twin.choices()) == list(script.choices())


def test_only_the_same_exception_follows_from_another() -> None:
    def text(self: Any, state: Any, agent: str) -> str:
        if state[0] == 1:
            raise ValueError(f"no text of {state}")
        return f"{state}"

    def key(self: Any, start: Any) -> str:
        raise KeyError("no name")

    report = quick(broken(observation_text=text, instance_key=key))
    assert {"plays-through", "instance-key"} <= set(report.broken) or "types" in report.broken
    others = [v for v in report.violations if v.rule != "plays-through"]
    assert any("KeyError" in v.seen for v in others), report
    assert not any("ValueError" in v.seen for v in others), report


def test_an_instance_can_be_checked_too() -> None:
    quick(FaceDown()).raise_if_broken()


def test_chance_that_moves_alone_is_walked_through() -> None:
    class Windy(Memory):
        facts = Facts(stochastic_transitions=True)

        def acting_agents(self, state: Any) -> tuple[str, ...]:
            return self.agents if state == 0 else ()

        def sample_transition(self, state: Any, joint_action: Any, rng: Stream) -> Transition[Any]:
            if state >= 3:
                raise ValueError("over")
            return Transition(state + 1 + (not joint_action and rng.integer(2)), (0.0,))

        def is_terminal(self, state: Any) -> bool:
            return state >= 3

    report = quick(Windy)
    report.raise_if_broken()
    assert report.result("stochastic-transitions").status is Status.OK and report.whole


@pytest.mark.parametrize("id", ["FrozenLake-v1", "CartPole-v1", "Blackjack-v1"])
def test_adapted_environments_pass(id: str) -> None:
    from games.adapters.gymnasium import from_gymnasium

    quick(lambda: from_gymnasium(id, horizon=20), max_examples=5, max_steps=12).raise_if_broken()


# ---- eight seeded defects ------------------------------------------------------------------------

STEPS = {"step-after-end": 2, "wrong-legal": 2, "clipped": 2}
"""How many steps the shortest scripts make; 0 for other defects."""


def seeded(defect: str) -> Callable[[], FaceDown]:
    return functools.partial(FaceDown, defect=defect)


def test_the_game_without_a_defect_passes() -> None:
    quick(FaceDown, known=KNOWN).raise_if_broken()


@pytest.mark.parametrize("defect", CAUGHT)
def test_seeded_defects_are_caught_and_shrunk(defect: str) -> None:
    report = quick(seeded(defect), known=KNOWN)
    rule, steps = CAUGHT[defect], STEPS.get(defect, 0)
    assert rule in report.broken, str(report)
    violation = next(v for v in report.violations if v.rule == rule)
    assert violation.steps == steps, str(violation)
    with pytest.raises(ConformanceError, match=rule):
        report.raise_if_broken()


def test_there_are_eight_defects_and_some_more() -> None:
    assert len(DEFECTS) == 8 and set(CAUGHT) == {*DEFECTS, *BEYOND}


def test_a_swapped_reward_needs_a_known_episode() -> None:
    """Swapped rewards are zero-sum and within the bounds: no fact of this game speaks of who wins."""
    assert quick(seeded("wrong-agent")).broken == ()


def test_a_missing_legal_action_needs_a_known_episode() -> None:
    assert quick(seeded("missing-legal")).broken == ()
    assert quick(seeded("missing-legal"), known=KNOWN).broken == ("known-episodes",)


def test_witnesses_are_shrunk() -> None:
    """Random walks switch on and off; the script that is reported only switches on."""
    (violation,) = quick(Lamp, rules=["plays-through"]).violations
    assert violation.steps == 8
    assert "replay(game, seed=0, moves=(1, 1, 1, 1, 1, 1, 1, 1))" in violation.script
    assert violation.script.endswith("# " + "; ".join(["player: 1"] * 8))
    with pytest.raises(ZeroDivisionError, match="burnt out"):
        replay(Lamp(), moves=(1,) * 8)


@pytest.mark.parametrize(
    ("rule", "number"),
    [("one-law", 0), ("branching", 0), ("same-seed", 0), ("probabilities", 0), ("end", 2)],
)
def test_scripts_run_as_they_stand(rule: str, number: int) -> None:
    """Whatever the script is about: moves of the game, chosen outcomes, streams, or another instance."""
    source = f"from tests.tsmg.test_testing import BROKEN\ngame = BROKEN[{rule!r}][{number}]()"
    (violation,) = quick(BROKEN[rule][number], rules=[rule], source=source).violations
    exec(violation.script, {})


def test_actions_of_any_kind_can_be_written_into_scripts() -> None:
    lake = functools.partial(games.FrozenLake, map=("SF", "FG"), slippery=True)
    source = "import games\ngame = games.FrozenLake(map=('SF', 'FG'), slippery=True)"
    wrong = attrs.evolve(lake().facts, stochastic_transitions=False)

    def make() -> Any:
        game = lake()
        object.__setattr__(game, "facts", wrong)
        return game

    (violation,) = quick(make, rules=["stochastic-transitions"], source=source).violations
    assert "Move" not in violation.script.partition("#")[0]
    exec(violation.script, {})


def test_scripts_run_and_show_what_they_say() -> None:
    report = quick(seeded("leak"))
    (violation,) = report.violations
    *lines, last = violation.script.splitlines()
    names: dict[str, Any] = {}
    shown = []
    for line in [*lines, last]:
        if line.startswith("game.observation_text"):
            shown.append(eval(line, names))
        else:
            exec(line, names)
    assert len(shown) == 2 and shown[0] != shown[1]
    assert all(repr(text) in violation.seen for text in shown)


# ---- a game that breaks each rule ----------------------------------------------------------------


def broken(base: type = Countdown, **changes: Any) -> Callable[[], Any]:
    """A maker of a game with other attributes and methods."""
    return type("Broken", (base,), changes)


def declared(**facts: Any) -> Callable[[], Any]:
    """A maker of a countdown with other facts."""
    return functools.partial(Countdown, facts=attrs.evolve(Countdown().facts, **facts))


_COUNTER = itertools.count()


class Memory(AbstractSampledGame[int, int]):
    """Counts steps to 3; ``memory`` is where a broken one keeps what belongs into the state."""

    horizon = 3
    agents = ("player",)
    memory: Any = None

    def sample_initial_state(self, rng: Stream) -> Any:
        return 0

    def sample_transition(self, state: Any, joint_action: Any, rng: Stream) -> Transition[Any]:
        return Transition(state + 1, (float(joint_action["player"]),))

    def is_terminal(self, state: Any) -> bool:
        return state == 3

    def acting_agents(self, state: Any) -> tuple[str, ...]:
        return () if self.is_terminal(state) else self.agents

    def legal_actions(self, state: Any, agent: str) -> Any:
        return () if self.is_terminal(state) else (0, 1)

    def observation_text(self, state: Any, agent: str) -> str:
        return f"step {state}"

    def action_text(self, state: Any, agent: str, action: int) -> str:
        return str(action)


class Pointed(Memory):
    """Moves a counter of its own along, so that it cannot go back."""

    def sample_initial_state(self, rng: Stream) -> Any:
        self.memory = 0
        return 0

    def sample_transition(self, state: Any, joint_action: Any, rng: Stream) -> Transition[Any]:
        self.memory += 1
        return Transition(self.memory, (1.0,))


class Wandering(Memory):
    """One episode leaves something to the next."""

    def sample_initial_state(self, rng: Stream) -> Any:
        self.memory = 1 if self.memory is None else self.memory + 1
        return 0 if self.memory == 1 else 1


class Numbered(Memory):
    """Every instance is different."""

    def __init__(self) -> None:
        self.memory = next(_COUNTER)

    def observation_text(self, state: Any, agent: str) -> str:
        return f"game {self.memory}, step {state}"


class Peeking(Memory):
    """Chance is read off the global generator, which is left as it was."""

    def sample_initial_state(self, rng: Stream) -> Any:
        return random.getstate()[1][0] % 2


class Seeding(Memory):
    """Gives the global generator the seed that Hypothesis gives it too."""

    def sample_initial_state(self, rng: Stream) -> Any:
        random.seed(0)
        return 0


class Lamp(Memory):
    """Burns out once it was switched on eight times, of twenty."""

    horizon = 20

    def sample_initial_state(self, rng: Stream) -> Any:
        return (0, 0)

    def sample_transition(self, state: Any, joint_action: Any, rng: Stream) -> Transition[Any]:
        switched = joint_action["player"]
        if state[1] == 7 and switched:
            raise ZeroDivisionError("burnt out")
        return Transition((state[0] + 1, state[1] + switched), (0.0,))

    def is_terminal(self, state: Any) -> bool:
        return state[0] == 20


class Rigged(Memory):
    """What is legal depends on a coin that nobody sees."""

    def sample_initial_state(self, rng: Stream) -> Any:
        return (0, rng.integer(2))

    def sample_transition(self, state: Any, joint_action: Any, rng: Stream) -> Transition[Any]:
        return Transition((state[0] + len(joint_action), state[1]), (0.0,))

    def is_terminal(self, state: Any) -> bool:
        return state[0] == 3

    def legal_actions(self, state: Any, agent: str) -> Any:
        return () if self.is_terminal(state) else (0, 1)[state[1] :]

    def observation_text(self, state: Any, agent: str) -> str:
        return f"step {state[0]}"


class Shared(Memory):
    """All instances have one memory."""

    board: dict[str, int] = {}  # noqa: RUF012

    def sample_initial_state(self, rng: Stream) -> Any:
        self.board["seed"] = rng.integer(1000)
        return 0

    def sample_transition(self, state: Any, joint_action: Any, rng: Stream) -> Transition[Any]:
        return Transition(state + 1, (float(self.board["seed"]),))


@attrs.frozen
class Hiding:
    """Leaves a part of itself out of ==."""

    step: int
    luck: int = attrs.field(eq=False)


class Hidden(Memory):
    """Equal states that read differently."""

    def sample_initial_state(self, rng: Stream) -> Any:
        return Hiding(0, rng.integer(9))

    def sample_transition(self, state: Any, joint_action: Any, rng: Stream) -> Transition[Any]:
        return Transition(Hiding(state.step + 1, state.luck), (1.0,))

    def is_terminal(self, state: Any) -> bool:
        return state.step == 3

    def observation_text(self, state: Any, agent: str) -> str:
        return f"step {state.step}, luck {state.luck}"


class Listed(Memory):
    """A list as the state."""

    def sample_initial_state(self, rng: Stream) -> Any:
        return [0]

    def sample_transition(self, state: Any, joint_action: Any, rng: Stream) -> Transition[Any]:
        return Transition([state[0] + 1], (1.0,))

    def is_terminal(self, state: Any) -> bool:
        return state[0] == 3


@attrs.define(eq=True, unsafe_hash=True)
class Slate:
    """A state that can be written on."""

    step: int


class InPlace(Memory):
    """A step that changes the state itself."""

    def sample_initial_state(self, rng: Stream) -> Any:
        return Slate(0)

    def sample_transition(self, state: Any, joint_action: Any, rng: Stream) -> Transition[Any]:
        state.step += 1
        return Transition(Slate(state.step), (1.0,))

    def is_terminal(self, state: Any) -> bool:
        return state.step >= 3

    def observation_text(self, state: Any, agent: str) -> str:
        return f"step {state.step}"


class Unlisted(Memory):
    """Legal actions that are not listed."""

    def legal_actions(self, state: Any, agent: str) -> Any:
        return () if self.is_terminal(state) else None

    def read_action(self, state: Any, agent: str, text: str) -> TextOutcome[int]:
        return Parsed(int(text)) if text in {"0", "1"} else Illegal(text)


class Chat(Memory):
    """One who says anything, three times, and reads it between quotation marks."""

    def sample_initial_state(self, rng: Stream) -> Any:
        return ()

    def sample_transition(self, state: Any, joint_action: Any, rng: Stream) -> Transition[Any]:
        return Transition((*state, joint_action["player"]), (0.0,))

    def is_terminal(self, state: Any) -> bool:
        return len(state) == 3

    def legal_actions(self, state: Any, agent: str) -> Any:
        return () if self.is_terminal(state) else None

    def action_text(self, state: Any, agent: str, action: Any) -> str:
        return str(action)

    def read_action(self, state: Any, agent: str, text: str) -> TextOutcome[Any]:
        return Parsed(text) if text and len(state) < 3 else Illegal(text)

    def observation_text(self, state: Any, agent: str) -> str:
        return "\n".join(map(ascii, state))

    def scripted_player(self) -> Any:
        return Fixed("hello")


def _unmarked(self: Any, state: Any, agent: str) -> str:
    return "\n".join(state)


def _without_line_feeds(self: Any, state: Any, agent: str) -> str:
    return "\n".join(text.replace("\n", " ") for text in state)


def _but_separators(self: Any, state: Any, agent: str) -> str:
    return "\n".join(ascii(text).replace("\\u2028", "\u2028 ") for text in state).replace("'", "")


def _quoted_as_it_is(self: Any, state: Any, agent: str) -> str:
    return "\n".join(f'"{text}".' for text in state)


def _but_pages(self: Any, state: Any, agent: str) -> str:
    return "\n".join(ascii(text).replace("\\x0c", "\x0c") for text in state)


def _polite(self: Any, state: Any, joint_action: Any, rng: Stream) -> Any:
    after = Chat.sample_transition(self, state, joint_action, rng)
    return Transition(after.state, (1 / after.state[-1].isprintable() - 1,))


class Token:
    """A value without ==."""


class Nameless(Memory):
    """A state that is equal to itself alone."""

    def sample_initial_state(self, rng: Stream) -> Any:
        return (0, Token())

    def sample_transition(self, state: Any, joint_action: Any, rng: Stream) -> Transition[Any]:
        return Transition((state[0] + len(joint_action), state[1]), (0.0,))

    def is_terminal(self, state: Any) -> bool:
        return state[0] == 3

    def observation_text(self, state: Any, agent: str) -> str:
        return f"step {state[0]}"


class Basket(Memory):
    """Shows a set in its own order."""

    def observation_text(self, state: Any, agent: str) -> str:
        return f"step {state}: {', '.join({f'fruit {n}' for n in range(20)})}"


def _halved_start(self: Any) -> Any:
    return Finite([((4, 0), Fraction(1, 2))], trusted=True)


def _halved_step(self: Any, state: Any, joint_action: Any) -> Any:
    ((value, _),) = Countdown.transition_dist(self, state, joint_action).enumerate()
    return Finite([(value, 0.5)], trusted=True)


def _own_sampler(self: Any, state: Any, joint_action: Any, rng: Stream) -> Any:
    move = Countdown.transition_dist(self, state, joint_action).sample(rng)
    return Transition(move.state, (5.0, -5.0)) if rng.random() < 0.5 else move


def _paid(*rewards_N: Any) -> Callable[..., Any]:
    """A transition with these rewards."""

    def transition_dist(self: Any, state: Any, joint_action: Any) -> Any:
        dist = Countdown.transition_dist(self, state, joint_action)
        return dist.map(lambda move: Transition(move.state, rewards_N))

    return transition_dist


def _raises(self: Any, state: Any, joint_action: Any) -> Any:
    if state[0] == 2:
        raise ZeroDivisionError("two are left")
    return Countdown.transition_dist(self, state, joint_action)


def _drawn_globally(self: Any, state: Any, joint_action: Any) -> Any:
    random.random()
    return Countdown.transition_dist(self, state, joint_action)


def _numbered(self: Any, state: Any, agent: str, text: str) -> TextOutcome[int]:
    taken = int(text)
    return Parsed(taken) if taken in self.legal_actions(state, agent) else Illegal(text)


def _guessing(self: Any, state: Any, agent: str, text: str) -> TextOutcome[int]:
    return Parsed(2 if "2" in text else 1)


def _counting(self: Any, state: Any, agent: str) -> str:
    return f"{state} {next(_COUNTER)}"


class Greedy(tsmg.AbstractPlayer[Any, Any]):
    """Takes 2, also of 1."""

    def action_dist(self, state: Any, agent: str) -> Distribution[int]:
        return deterministic(2)


BROKEN: dict[str, list[Callable[[], Any]]] = {
    "agents": [broken(agents=("first", "first")), broken(Memory, agents=()), broken(agents="ann")],
    "whole-episodes": [Unlisted],
    "state-copies": [Nameless],
    "hash-seed": [functools.partial(Basket)],
    "method-names": [
        broken(rules_texts=lambda self, agent: "Take 1 or 2."),
        broken(Memory, noop_actions=lambda self, state, agent: 0),
    ],
    "step-limit": [declared(longest_game=None), broken(discount=1.5)],
    "plays-through": [broken(transition_dist=_raises)],
    "types": [
        broken(transition_dist=_paid(1.0, None)),
        broken(observation_text=lambda self, state, agent: state),
        broken(is_terminal=lambda self, state: int(state[0] == 0)),
        broken(legal_actions=lambda self, s, agent: [n for n in (1, 2) if n <= s[0]]),
        broken(acting_agents=lambda self, s: [self.agents[s[1]]] if s[0] else ()),
        broken(rules_text=lambda self, agent: None),
        broken(instance_key=lambda self, start: 3),
    ],
    "acting-agents": [
        broken(acting_agents=lambda self, s: ("third",) if s[0] else ()),
        broken(Coins, acting_agents=lambda self, s: ("odd", "even") if len(s) < 3 else ()),
    ],
    "legal-actions": [
        broken(legal_actions=lambda self, state, agent: (1,) if state[0] > 1 else ()),
        broken(legal_actions=lambda self, state, agent: (1, 1) if state[0] else ()),
        broken(noop_action=lambda self, state, agent: 0),
    ],
    "end": [
        broken(acting_agents=lambda self, state: (self.agents[state[1]],)),
        broken(legal_actions=lambda self, state, agent: (1,)),
        broken(
            Memory,
            sample_transition=lambda self, s, joint_action, rng: Transition(s + 1, (1.0,)),
        ),
    ],
    "success": [
        broken(success=lambda self, episode, agent: 0.5),
        broken(success=lambda self, episode, agent: episode.steps[9] is None),
    ],
    "metrics": [
        broken(metrics=lambda self, episode, agent: {"share": math.nan}),
        broken(metrics=lambda self, episode, agent: {"share": None}),
        broken(metrics=lambda self, episode, agent: {"share": 1 / (len(episode.steps) - 3)}),
    ],
    "observation-pure": [
        broken(observation_text=_counting),
        broken(observation_text=lambda self, state, agent: f"{state} {random.random()}"),
    ],
    "action-round-trip": [
        broken(action_text=lambda self, state, agent, action: "take"),
        broken(action_text=lambda self, state, agent, action: "aA"[action - 1]),
    ],
    "reading-total": [broken(read_action=_numbered), broken(read_action=_guessing)],
    "free-text": [
        broken(Chat, action_text=lambda self, state, agent, action: action.strip()),
        broken(Chat, sample_transition=_polite),
        broken(Chat, observation_text=lambda self, s, a: None if "@" in "".join(s) else ""),
    ],
    "forged-lines": [
        broken(Chat, observation_text=_unmarked),
        broken(Chat, observation_text=_without_line_feeds),
        broken(Chat, observation_text=_but_separators),
        broken(Chat, observation_text=_quoted_as_it_is),
        broken(Chat, observation_text=_but_pages),
    ],
    "invalid-text": [
        broken(invalid_rule=PlayDefault(action=2)),
        functools.partial(Coins, with_noop=False),
    ],
    "start-probabilities": [broken(initial_state_dist=_halved_start)],
    "probabilities": [broken(transition_dist=_halved_step)],
    "one-law": [broken(sample_transition=_own_sampler)],
    "rewards": [
        broken(transition_dist=_paid(0.0, math.nan)),
        broken(transition_dist=_paid(math.inf, 0.0)),
        broken(transition_dist=_paid(0.0)),
    ],
    "state-value": [Listed, InPlace],
    "state-tells-all": [Hidden],
    "branching": [Pointed],
    "scripted-player": [broken(scripted_player=lambda self: Greedy())],
    "global-generators": [broken(transition_dist=_drawn_globally), Seeding],
    "same-seed": [Wandering, Numbered, Peeking],
    "seed-matters": [declared(stochastic_start=True), declared(stochastic_transitions=True)],
    "interleaving": [Shared],
    "facts-agree": [
        declared(text_separates_states=False),
        declared(return_bounds=(1.0, -1.0)),
        declared(stochastic_start=True),
    ],
    "zero-sum": [broken(transition_dist=_paid(1.0, 0.0))],
    "return-bounds": [declared(return_bounds=(-1.0, 0.5))],
    "longest-game": [declared(longest_game=3), broken(Memory, facts=Facts(longest_game=2))],
    "symmetric": [
        lambda: Asymmetric(payoffs=(((1, 0), (2, 0)), ((3, 0), (0, 5)))),
        lambda: Asymmetric(payoffs=(((0, 0),) * 2,) * 2, row_actions=("left", "right")),
    ],
    "information": [seeded("leak"), Rigged],
    "text-separates-states": [broken(observation_text=lambda self, state, agent: str(state[1]))],
    "perfect-information": [
        broken(observation_text=lambda self, s, agent: str(s) if self.acting_agents(s) else "over"),
        declared(text_separates_states=None, perfect_information=False),
    ],
    "stochastic-start": [broken(initial_state_dist=lambda self: uniform([(4, 0), (3, 0)]))],
    "stochastic-transitions": [
        broken(
            transition_dist=lambda self, state, joint_action: uniform(
                [Transition((0, 0), (0.0, 0.0)), Transition((0, 1), (0.0, 0.0))]
            )
        )
    ],
    "known-episodes": [seeded("wrong-agent")],
}


class Asymmetric:
    """Makes a matrix game that is declared symmetric, whatever its payoffs."""

    def __new__(cls, **kwargs: Any) -> Any:
        game = MatrixGame(**kwargs)
        object.__setattr__(game, "facts", attrs.evolve(game.facts, symmetric=True))
        return game


for _defect in ("joint-order", "key-peeks", "out-but-paid", "rules-count", "key-by-id"):
    BROKEN.setdefault(NOTICED[_defect], []).append(functools.partial(Gifts, defect=_defect))
for _defect in (
    "rule-remembers",
    "player-remembers",
    "success-drawn",
    "metrics-count",
    "list-actions",
    "three-words",
):
    BROKEN[NOTICED[_defect]].append(mutant(_defect))
for _defect in ("player-peeks", "state-forgets", "joint-cleared"):
    BROKEN[NOTICED[_defect]] = [mutant(_defect)]


def test_every_rule_has_a_game_that_breaks_it() -> None:
    """But ``instances``, which is seen or not seen."""
    assert {rule.name for rule in RULES} == {*BROKEN, "instances"}


@pytest.mark.parametrize(
    ("rule", "number"), [(rule, n) for rule, makers in BROKEN.items() for n in range(len(makers))]
)
def test_broken_games_are_rejected(rule: str, number: int) -> None:
    known = KNOWN if rule == "known-episodes" else ()
    report = quick(BROKEN[rule][number], known=known, rules=[rule])
    assert report.broken == (rule,), str(report)
    (violation,) = report.violations
    assert violation.seen and violation.cause and violation.steps <= 6
    assert report.result(rule).status is Status.BROKEN


# ---- how faults are found, and which are told -----------------------------------------------------


class Rare(Countdown):
    """Only those who take one at a time, to the last but one, meet the fault."""

    def __init__(self, fault: str, heap: int = 16) -> None:
        object.__setattr__(self, "heap", heap)
        object.__setattr__(self, "fault", fault)
        longest = heap - (fault == "longest")
        facts = attrs.evolve(Countdown().facts, longest_game=longest, stochastic_transitions=None)
        object.__setattr__(self, "facts", facts)

    def initial_state_dist(self) -> Distribution[Any]:
        return deterministic((self.heap, 0, 0))

    def is_terminal(self, state: Any) -> bool:
        return bool(state[0] == 0)

    def transition_dist(self, state: Any, joint_action: Any) -> Any:
        ((_, taken),) = joint_action.items()
        left, ones = state[0] - taken, state[2] + (taken == 1)
        won = (1.0, -1.0) if state[1] == 0 else (-1.0, 1.0)
        if ones == self.heap - 1 and self.fault == "raise":
            raise ZeroDivisionError("rare")
        if ones == self.heap - 1 and self.fault == "bonus":
            won = (9.0, -9.0)
        over = left == 0 or (ones == self.heap - 1 and self.fault == "bonus")
        return deterministic(Transition((left, 1 - state[1], ones), won if over else (0.0, 0.0)))

    def observation_text(self, state: Any, agent: str) -> str:
        return f"{state}"


@pytest.mark.parametrize(
    ("fault", "rule"),
    [("raise", "plays-through"), ("longest", "longest-game"), ("bonus", "return-bounds")],
)
def test_small_games_are_enumerated_whole(fault: str, rule: str) -> None:
    """One random walk of thirty thousand takes one at a time; the enumeration finds it."""
    report = check_game(lambda: Rare(fault), max_examples=80, max_steps=30, rules=[rule])
    assert report.broken == (rule,), str(report)
    sound = check_game(lambda: Rare(""), max_examples=80, max_steps=30, rules=[rule])
    assert sound.is_conformant and sound.enumerated == sum(17 - 2 * twos for twos in range(9))
    assert "all 81 different ones" in str(sound)


class Winding(AbstractExplicitGame[int, int]):
    """Nine states; at each another one of two actions goes on and pays, and the other one jumps."""

    agents = ("player",)
    horizon = 20

    def __init__(self, pay: float, **facts: Any) -> None:
        self.pay, self.facts = pay, Facts(**facts)

    def initial_state_dist(self) -> Distribution[int]:
        return deterministic(0)

    def is_terminal(self, state: int) -> bool:
        return state >= 8

    def acting_agents(self, state: int) -> tuple[str, ...]:
        return () if self.is_terminal(state) else self.agents

    def legal_actions(self, state: int, agent: str) -> tuple[int, ...]:
        return () if self.is_terminal(state) else (0, 1)

    def transition_dist(self, state: int, joint_action: Mapping[str, int]) -> Any:
        goes_on = joint_action["player"] == (state // 2) % 2
        after = min(8, state + (1 if goes_on else 2))
        return deterministic(Transition(after, (self.pay * goes_on,)))

    def observation_text(self, state: int, agent: str) -> str:
        return str(state)

    def action_text(self, state: int, agent: str, action: int) -> str:
        return str(action)


@pytest.mark.parametrize(
    ("rule", "pay", "wrong", "right"),
    [
        ("return-bounds", 1.0, {"return_bounds": (0.0, 7.5)}, {"return_bounds": (0.0, 8.0)}),
        ("return-bounds", -1.0, {"return_bounds": (-7.5, 0.0)}, {"return_bounds": (-8.0, 0.0)}),
        ("longest-game", 0.0, {"longest_game": 7}, {"longest_game": 8}),
    ],
)
def test_extreme_episodes_are_walked_though_every_step_was_walked_before(
    rule: str, pay: float, wrong: dict[str, Any], right: dict[str, Any]
) -> None:
    found = enumerate_game(Subject(make=Winding, limit=20, full=20), Winding(pay), 64)
    assert found is not None and found.longest == 8 and not found.is_cut_off
    report = check_game(lambda: Winding(pay, **wrong), max_examples=1, rules=[rule])
    assert report.broken == (rule,), str(report)
    assert check_game(lambda: Winding(pay, **right), max_examples=1, rules=[rule]).is_conformant


def test_an_enumeration_notes_bounds_that_are_too_large_and_horizons_that_are_too_small() -> None:
    loose = quick(declared(longest_game=9), rules=["longest-game", "step-limit"])
    assert loose.result("longest-game").notes == (
        "the longest game has 4 steps, but 9 are declared",
    )
    short = quick(lambda: broken(horizon=3)(facts=Facts()), rules=["step-limit"])
    assert short.result("step-limit").notes == ("the horizon of 3 steps cuts some episodes off",)
    assert quick(Countdown, rules=["step-limit"]).result("step-limit").notes == ()


def _unpaid(self: Any, state: Any, joint_action: Any) -> Any:
    """A transition whose rewards are another NaN each time."""
    dist = Countdown.transition_dist(self, state, joint_action)
    return dist.map(lambda move: Transition(move.state, (0.0, float("nan"))))


class Late(Memory):
    """Two players; at the third step one of them reads the other's coin of twenty."""

    agents = ("first", "second")

    def sample_initial_state(self, rng: Stream) -> Any:
        return (rng.integer(20), ())

    def sample_transition(self, state: Any, joint_action: Any, rng: Stream) -> Transition[Any]:
        return Transition((state[0], (*state[1], *joint_action.values())), (0.0, 0.0))

    def is_terminal(self, state: Any) -> bool:
        return len(state[1]) == 3

    def acting_agents(self, state: Any) -> tuple[str, ...]:
        return () if self.is_terminal(state) else self.agents[:1]

    def legal_actions(self, state: Any, agent: str) -> Any:
        return tuple(range(12)) if agent in self.acting_agents(state) else ()

    def observation_text(self, state: Any, agent: str) -> str:
        leaks = self.is_terminal(state) and agent == "first"
        return f"{agent}, {state[1]}{state[0] if leaks else ''}"

    def information_key(self, state: Any, agent: str) -> Any:
        return agent, state[1]


def test_the_same_moves_are_played_from_starts_that_look_alike() -> None:
    report = check_game(Late, max_examples=8, rules=["information"])
    assert report.broken == ("information",)


@pytest.mark.parametrize(
    ("make", "root", "followers"),
    [
        (
            broken(transition_dist=_unpaid),
            "rewards",
            {"same-seed", "interleaving", "branching", "stochastic-transitions", "zero-sum", "one-law"},
        ),
        (broken(transition_dist=_raises), "plays-through", set()),
        (
            broken(transition_dist=_drawn_globally, observation_text=lambda self, s, agent: f"{s}{random.random()}"),
            "global-generators",
            {"observation-pure", "same-seed"},
        ),
    ],
)  # fmt: skip
def test_what_follows_from_another_fault_is_no_violation(
    make: Any, root: str, followers: set[str]
) -> None:
    report = quick(make, max_examples=8)
    assert report.broken == (root,), str(report)
    follows = {r.rule for r in report.results if r.status is Status.FOLLOWS}
    assert followers <= follows
    assert all(report.result(rule).notes[0] == f"follows from {root}" for rule in follows)


def test_an_exception_is_blamed_on_the_method_that_raised_it() -> None:
    (violation,) = quick(broken(transition_dist=_raises), rules=["plays-through"]).violations
    assert violation.seen == "transition_dist raised ZeroDivisionError: two are left"
    assert violation.cause.startswith("a fault in the step itself")
    unreadable = broken(observation_text=lambda self, state, agent: f"{1 // (state[0] - 2)}")
    (violation,) = quick(unreadable, rules=["plays-through"]).violations
    assert "ZeroDivisionError" in violation.seen
    assert violation.cause == "the method does not know a state that can be reached"


# ---- what is not broken, but not seen either -------------------------------------------------------


def test_what_is_declared_but_never_met_is_said() -> None:
    one_map = quick(lambda: games.FrozenLake(map=["SF", "FG"]))
    assert one_map.result("instances").status is Status.NOT_DECLARED
    no_holes = quick(
        functools.partial(games.FrozenLake, size=2, frozen_probability=1), rules=["instances"]
    )
    assert no_holes.result("instances").status is Status.NOT_SEEN
    lakes = quick(functools.partial(games.FrozenLake, size=3), rules=["instances"])
    assert lakes.result("instances").status is Status.OK


def test_large_laws_are_sampled_not_enumerated() -> None:
    report = quick(functools.partial(games.FrozenLake, size=6), rules=["start-probabilities"])
    result = report.result("start-probabilities")
    assert result.status is Status.NOT_SEEN
    assert "more than 512 outcomes" in result.notes[0]


def test_actions_that_are_not_listed_are_taken_from_texts() -> None:
    blind = quick(Unlisted)
    assert blind.whole == 0 and blind.broken == ("whole-episodes",)
    assert "ship a scripted_player, or pass action_texts" in blind.violations[0].cause
    told = quick(Unlisted, action_texts=("0", "1", "2"))
    assert told.is_conformant and told.whole > 5


def test_free_text_that_is_quoted_passes() -> None:
    """Also where each line of a message begins with a mark, and where a state cannot be left twice."""
    marked = broken(Chat, observation_text=lambda self, s, a: "\n".join(
        f"> {line}" for text in s for line in text.splitlines()
    ))  # fmt: skip
    for make in (Chat, marked):
        report = quick(make)
        report.raise_if_broken()
        assert report.result("free-text").count > 50 < report.result("forged-lines").count
    assert quick(Unbranchable).result("free-text").status is Status.NOT_DECLARED


class Timid(Unlisted):
    """Its scripted player never plays the action that raises."""

    def scripted_player(self) -> Any:
        return Fixed(0)

    def sample_transition(self, state: Any, joint_action: Any, rng: Stream) -> Transition[Any]:
        if joint_action["player"] == 1:
            raise ZeroDivisionError("one")
        return super().sample_transition(state, joint_action, rng)


class Fixed(tsmg.AbstractPlayer[Any, Any]):
    """Plays one action."""

    def __init__(self, action: Any) -> None:
        self.action = action

    def action_dist(self, state: Any, agent: str) -> Distribution[Any]:
        return deterministic(self.action)


def test_texts_are_tried_beside_the_scripted_player() -> None:
    assert quick(Timid).is_conformant
    assert quick(Timid, action_texts=("1",)).broken == ("plays-through",)


class Unbranchable(Memory):
    """Says that it cannot be branched."""

    def sample_initial_state(self, rng: Stream) -> Any:
        self.memory = 0
        return 0

    def sample_transition(self, state: Any, joint_action: Any, rng: Stream) -> Transition[Any]:
        if state != self.memory:
            raise tsmg.GameLawError("Unbranchable: cannot be branched")
        self.memory += 1
        return Transition(state + 1, (1.0,))


def test_a_game_that_says_that_it_cannot_be_branched_is_noted() -> None:
    report = quick(Unbranchable)
    assert "branching" not in report.broken
    assert "cannot be branched" in report.result("branching").notes[0]


class Drawn(Memory):
    """Draws a number a step; the last one is not told."""

    facts = Facts(perfect_information=True)

    def sample_initial_state(self, rng: Stream) -> Any:
        return ()

    def sample_transition(self, state: Any, joint_action: Any, rng: Stream) -> Transition[Any]:
        return Transition((*state, rng.integer(10**6 * len(joint_action))), (0.0,))

    def is_terminal(self, state: Any) -> bool:
        return len(state) == 3

    def observation_text(self, state: Any, agent: str) -> str:
        return f"step {len(state)}: {state[:2]}"


def test_chance_is_drawn_anew_where_walks_fork() -> None:
    first, second = (
        replay(Drawn(), moves=(0, 0, 0)),
        replay(Drawn(), moves=(0, 0, 0), redrawn_from=2),
    )
    assert first.state[:2] == second.state[:2] and first.state != second.state
    (violation,) = check_game(Drawn, rules=["perfect-information"]).violations
    assert violation.script.count("redrawn_from=2") == 1


# ---- the report ------------------------------------------------------------------------------------


def test_all_broken_rules_are_reported_at_once() -> None:
    report = quick(
        broken(transition_dist=_paid(1.0, math.nan), rules_text=lambda self, agent: 3),
        rules=["types", "rewards", "zero-sum", "end"],
    )
    assert {"rewards", "types"} <= set(report.broken)


def test_checks_repeat_and_leave_the_global_generators_alone() -> None:
    before = random.getstate()
    kwargs = {"rules": ["information", "types"]}
    assert quick(seeded("leak"), **kwargs) == quick(seeded("leak"), **kwargs)
    assert random.getstate() == before


def test_replay_makes_the_walk_of_a_script() -> None:
    walk = replay(Countdown(), moves=(1, 0))
    assert walk.state == (1, 0)
    assert walk.actions_text(2) == "first: 2; second: 1"
    both = replay(Coins(), moves=(5,)).visits[-1]
    assert both.joint_action == {"even": "Pass", "odd": "Tails"}
    with pytest.raises(tsmg.GameLawError, match="move 3 cannot be made"):
        replay(Countdown(), moves=(1, 1, 0))


def test_makers_that_make_no_game_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="'make_game' must make a game"):
        check_game(dict)
    with pytest.raises(InvalidArgumentError, match="'max_examples' must be at least 1"):
        check_game(Countdown, max_examples=0)
    with pytest.raises(InvalidArgumentError, match="'rules' must be names of rules"):
        check_game(Countdown, rules=["zerosum"])


def test_the_kit_is_imported_only_when_asked_for() -> None:
    code = "import sys, tsmg; assert 'hypothesis' not in sys.modules and 'tsmg.testing' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- the command line ------------------------------------------------------------------------------


def run(*arguments: str) -> Any:
    return CliRunner().invoke(main, ["check", "--examples", "5", *arguments])


def test_the_command_line_tells_how_every_rule_fared() -> None:
    result = run("KuhnPoker-v0")
    assert result.exit_code == 0, result.output
    assert all(rule.name in result.output for rule in RULES)
    assert "no rule is broken" in result.output


def test_the_command_line_exits_with_1_where_a_rule_is_broken() -> None:
    result = run("tests.seeded:FaceDown", "--set", "defect=leak")
    assert result.exit_code == 1, result.output
    assert "information: texts and legal actions depend on no more" in result.output
    assert "game = games.make('tests.seeded:FaceDown', defect='leak')" in result.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["FrozenLaek-v0"], "did you mean 'FrozenLake-v0'"),
        (["FrozenLake-v0", "--set", "size"], "--set takes NAME=VALUE"),
        (["FrozenLake-v0", "--examples", "0"], "0"),
        (["fractions:Fraction"], "must name a game"),
    ],
)
def test_bad_arguments_exit_with_2(arguments: list[str], sentence: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert sentence in " ".join(result.output.split())
