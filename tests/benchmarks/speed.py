"""How fast are games and adapters, against Gymnasium's and TextArena's own environments?

    python tests/benchmarks/speed.py [--repetitions 9] [--steps 20000] [--without-textarena]

The two sides of a line take turns, with moves of the same distribution; times are CPU times of one thread; a figure
is the median over the repetitions, and a ratio the median of the repetitions' ratios. TextArena is installed into a
temporary environment of its own, with a process of its own that plays when asked.
"""

import argparse
import itertools
import random
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import gymnasium

import games
from tsmg import (
    AbstractGame,
    ActionText,
    EpisodeKey,
    EpisodeSpec,
    Parsed,
    PlayerPolicy,
    Reply,
    Request,
    Stream,
    UniformPlayer,
    play,
)

Side = Callable[[int], float]
"""From the number of a repetition to the microseconds of a step."""

OTHER_SIDE = Path(__file__).with_name("textarena_side.py")
PLANS = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--steps", type=int, default=20_000, help="per side and repetition")
    parser.add_argument("--without-textarena", action="store_true")
    arguments = parser.parse_args()
    lines = [*frozen_lake(arguments.steps), *adapters(arguments.steps)]
    head("microseconds", "ours", "theirs", "ratio", "extra")
    for line in lines:
        show(line, arguments.repetitions)
    if not arguments.without_textarena:
        with tempfile.TemporaryDirectory() as folder, TextArena(Path(folder)) as other:
            for line in tic_tac_toe(other, arguments.steps):
                show(line, arguments.repetitions)


def head(*names: str) -> None:
    print(f"{names[0]:<58}" + "".join(f"{name:>10}" for name in names[1:]), flush=True)


class Trajectory(NamedTuple):
    """Two sides to compare."""

    name: str
    ours: Side
    theirs: Side


def show(line: Trajectory, repetitions: int) -> None:
    """Let the sides take turns, the first repetition unseen."""
    pairs = [(line.ours(n), line.theirs(n)) for n in range(repetitions + 1)][1:]
    ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    extra = statistics.median(a - b for a, b in pairs)
    print(f"{line.name:<58}{ours:>10.2f}{theirs:>10.2f}{ratio:>10.2f}{extra:>10.2f}", flush=True)


def per_step(steps: int, act: Callable[[], None]) -> float:
    start = time.process_time()
    act()
    return 1e6 * (time.process_time() - start) / steps


# ---- one step through the public interface -------------------------------------------------------


def interface(game: AbstractGame[Any, Any], told: Sequence[str], steps: int) -> Side:
    """Observation text, reading of the action, transition; starts and ends of episodes are part of it.

    Args:
      game: a game of one agent.
      told: the texts of the actions that are drawn from.
      steps: how many.
    """
    (agent,) = game.agents
    limit = game.horizon or steps

    def side(repetition: int) -> float:
        draw = random.Random(repetition)
        texts = draw.choices(told, k=steps)

        def act() -> None:
            rng = Stream("speed", repetition)
            state, t = game.sample_initial_state(rng), 0
            for text in texts:
                game.observation_text(state, agent)
                outcome = game.read_action(state, agent, text)
                joint = {agent: outcome.action}  # type: ignore[union-attr]
                state, _ = game.sample_transition(state, joint, rng)
                t += 1
                if game.is_terminal(state) or t == limit:
                    state, t = game.sample_initial_state(rng), 0

        return per_step(steps, act)

    return side


def bare(env: gymnasium.Env[Any, Any], steps: int, *, limit: int) -> Side:
    """An environment without wrappers, text or time limit of its own."""
    count = int(env.action_space.n)  # type: ignore[attr-defined]

    def side(repetition: int) -> float:
        draw = random.Random(repetition)
        actions = draw.choices(range(count), k=steps)

        def act() -> None:
            env.reset(seed=repetition)
            t = 0
            for action in actions:
                _, _, terminated, _, _ = env.step(action)
                t += 1
                if terminated or t == limit:
                    env.reset()
                    t = 0

        return per_step(steps, act)

    return side


@attrs.frozen
class Teller:
    """Says the drawn texts; a step of an episode is one text."""

    texts: tuple[str, ...]

    def reply(self, requests: Sequence[Request]) -> Sequence[Reply]:
        return [self._reply(request) for request in requests]

    def _reply(self, request: Request) -> Reply:
        text = self.texts[(request.key.episode * 31 + request.step) % len(self.texts)]
        return Reply(text=text, parser_outcome=ActionText(text))


def runner(game: AbstractGame[Any, Any], told: Sequence[str], steps: int) -> Side:
    """The same through the runner, with histories, records and the invalid rule."""

    def side(repetition: int) -> float:
        draw = random.Random(repetition)
        teller, done, seconds = Teller(tuple(draw.choices(told, k=997))), 0, 0.0
        for group in itertools.count():
            keys = [EpisodeKey(seed=repetition, group=group, episode=e) for e in range(PLANS)]
            specs: list[EpisodeSpec[Any]] = [EpisodeSpec(key=key) for key in keys]
            start = time.process_time()
            records = play(game, teller, specs)
            seconds += time.process_time() - start
            done += sum(len(record.steps) for record in records)
            if done >= steps:
                break
        return 1e6 * seconds / done

    return side


# ---- the comparisons -----------------------------------------------------------------------------


MAP = ("SFFF", "FHFH", "FFFH", "HFFG")
MOVES = ("left", "down", "right", "up")


def frozen_lake(steps: int) -> Iterator[Trajectory]:
    """The native lake with all its text against Gymnasium's bare one, on one map."""
    for slippery in (False, True):
        native = games.FrozenLake(map=MAP, slippery=slippery, horizon=100)
        env = gymnasium.make("FrozenLake-v1", is_slippery=slippery).unwrapped
        name = f"Frozen Lake{', slippery' if slippery else ''}"
        theirs = bare(env, steps, limit=100)
        yield Trajectory(
            f"{name}: interface / bare Gymnasium", interface(native, MOVES, steps), theirs
        )
        yield Trajectory(f"{name}: runner / bare Gymnasium", runner(native, MOVES, steps), theirs)


Begin = Callable[[random.Random], Callable[[], int]]
"""Begins an episode; what it returns plays the episode to its end, and counts the steps."""


def adapters(steps: int) -> Iterator[Trajectory]:
    """Adapted environments, text and reading included, against the same ones bare."""
    for id in ("FrozenLake-v1", "CliffWalking-v1", "Taxi-v4", "Blackjack-v1", "CartPole-v1"):
        ours = adapted(games.from_gymnasium(id, horizon=100))
        theirs = unadapted(gymnasium.make(id).unwrapped)
        sides = stepping(ours, steps // 4), stepping(theirs, steps // 4)
        yield Trajectory(f"from_gymnasium({id!r}): a step / bare", *sides)
        sides = beginning(ours, steps // 20), beginning(theirs, steps // 20)
        yield Trajectory(f"from_gymnasium({id!r}): a start / bare", *sides)


def stepping(begin: Begin, steps: int) -> Side:
    """Steps, without the starts of the episodes."""

    def side(repetition: int) -> float:
        draw, done, seconds = random.Random(repetition), 0, 0.0
        while done < steps:
            episode = begin(draw)
            start = time.process_time()
            done += episode()
            seconds += time.process_time() - start
        return 1e6 * seconds / done

    return side


def beginning(begin: Begin, count: int) -> Side:
    """Starts of episodes."""

    def side(repetition: int) -> float:
        draw = random.Random(repetition)
        return per_step(count, lambda: [begin(draw) for _ in range(count)])

    return side


def adapted(game: AbstractGame[Any, Any]) -> Begin:
    """Random legal moves through the public interface."""
    (agent,) = game.agents

    def begin(draw: random.Random) -> Callable[[], int]:
        rng = Stream("speed", draw.random())
        first = game.sample_initial_state(rng)
        numbers = draw.choices(range(60), k=100)  # 60 is a multiple of every number of actions
        told = [game.action_text(first, agent, a) for a in game.legal_actions(first, agent) or ()]

        def episode() -> int:
            state = first
            for t, number in enumerate(numbers):
                game.observation_text(state, agent)
                outcome = game.read_action(state, agent, told[number % len(told)])
                action = outcome.action if isinstance(outcome, Parsed) else 0
                state, _ = game.sample_transition(state, {agent: action}, rng)
                if game.is_terminal(state):
                    return t + 1
            return len(numbers)

        return episode

    return begin


def unadapted(env: gymnasium.Env[Any, Any]) -> Begin:
    """Random moves in the environment without its wrappers."""
    count = int(env.action_space.n)  # type: ignore[attr-defined]

    def begin(draw: random.Random) -> Callable[[], int]:
        env.reset()
        actions = [number % count for number in draw.choices(range(60), k=100)]

        def episode() -> int:
            for t, action in enumerate(actions):
                _, _, terminated, _, _ = env.step(action)
                if terminated:
                    return t + 1
            return len(actions)

        return episode

    return begin


Games = list[list[int]]
"""Of each game, the cells (1 to 9) in the order of the moves."""


def random_games(repetition: int, steps: int) -> Games:
    """Random valid games of tic-tac-toe, of that many moves in all or a few more."""
    game = games.make("TicTacToe-v0")
    policy = PlayerPolicy(game, UniformPlayer(game))
    played: Games = []
    while sum(map(len, played)) < steps:
        keys = [EpisodeKey(seed=repetition, group=len(played), episode=e) for e in range(PLANS)]
        for record in play(game, policy, [EpisodeSpec(key=key) for key in keys]):
            played.append([int(step.agent_steps[0].reply.text) for step in record.steps])
    return played


def tic_tac_toe(other: "TextArena", steps: int) -> Iterator[Trajectory]:
    """Text in, text out, the same random games."""
    for id, count in (("TicTacToe-v0-raw", steps // 4), ("TicTacToe-v0", steps // 100)):
        yield Trajectory(
            f"tic-tac-toe: interface / {id}", native_games(count), other.side(id, count)
        )
        yield Trajectory(f"tic-tac-toe: runner / {id}", runner_games(count), other.side(id, count))


def native_games(steps: int) -> Side:
    game = games.TicTacToe()

    def side(repetition: int) -> float:
        played = random_games(repetition, steps)
        told = [[str(cell) for cell in cells] for cells in played]

        def act() -> None:
            rng = Stream("speed", repetition)
            for texts in told:
                state = game.sample_initial_state(rng)
                for text in texts:
                    (agent,) = game.acting_agents(state)
                    game.observation_text(state, agent)
                    outcome = game.read_action(state, agent, text)
                    joint = {agent: outcome.action}  # type: ignore[union-attr]
                    state, _ = game.sample_transition(state, joint, rng)
                assert game.is_terminal(state)

        return per_step(sum(map(len, played)), act)

    return side


def runner_games(steps: int) -> Side:
    game = games.TicTacToe()

    def side(repetition: int) -> float:
        played = random_games(repetition, steps)

        @attrs.frozen
        class Replayer:
            def reply(self, requests: Sequence[Request]) -> Sequence[Reply]:
                texts = (str(played[r.key.episode][r.step]) for r in requests)
                return [Reply(text=text, parser_outcome=ActionText(text)) for text in texts]

        keys = [EpisodeKey(seed=repetition, episode=e) for e in range(len(played))]
        specs: list[EpisodeSpec[Any]] = [EpisodeSpec(key=key) for key in keys]

        def act() -> None:
            for start in range(0, len(specs), PLANS):
                play(game, Replayer(), specs[start : start + PLANS])

        return per_step(sum(map(len, played)), act)

    return side


class TextArena:
    """A process that has TextArena and plays given games when asked."""

    def __init__(self, folder: Path) -> None:
        print(f"installing textarena into {folder}", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True)
        python = folder / "bin" / "python"
        pip = [
            str(python),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--quiet",
            "--disable-pip-version-check",
        ]
        subprocess.run([*pip, "textarena"], check=True)
        self._process = subprocess.Popen(
            [str(python), str(OTHER_SIDE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> "TextArena":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def side(self, id: str, steps: int) -> Side:
        """Plays the same games as ours."""

        def side(repetition: int) -> float:
            played = random_games(repetition, steps)
            assert self._process.stdin and self._process.stdout
            cells = ",".join("".join(map(str, game)) for game in played)
            print(id, cells, file=self._process.stdin, flush=True)
            return float(self._process.stdout.readline())

        return side


if __name__ == "__main__":
    main()
