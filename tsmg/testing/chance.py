"""Rules of chance: seeds determine everything, and a game draws from the given streams alone."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from tsmg.game import AnyGame
from tsmg.randomness import Stream
from tsmg.testing.generators import foreign_generators, global_states
from tsmg.testing.rule import Case, Finding, Outcome, Rule, walk_rule
from tsmg.testing.walks import CHOICES, Script, Visit, Walk, visits

SEEDS = 64
"""The number of seeds that are tried before declared chance counts as missing."""


def _difference(a: tuple[Visit, ...], b: tuple[Visit, ...]) -> tuple[int, str] | None:
    """The first visit at which two walks differ, and how."""
    for first, second in zip(a, b, strict=False):
        if first.state != second.state:
            return first.t, f"{first.state!r:.200} and {second.state!r:.200}"
        if first.seen != second.seen:
            return first.t, f"{first.seen!r:.200} and {second.seen!r:.200}"
        if hash(first.state) != hash(second.state):
            return first.t, f"equal states {first.state!r:.200} with two hashes"
    return None if len(a) == len(b) else (min(len(a), len(b)), "one goes on, the other does not")


@walk_rule(
    name="same-seed",
    requirement="the same seed and choices give the same states, texts and rewards, in any instance",
    cause="a generator of the game's own, the time, or memory that one episode leaves to the next",
    unit="episodes",
)
def _same_seed(case: Case) -> Iterator[Outcome]:
    """Again with the same instance, and with a fresh one, under other states of the global generators."""
    subject, script = case.subject, case.walk.script
    again: tuple[tuple[str, Callable[[], AnyGame]], ...] = (
        ("the same game", lambda: case.game),
        ("a fresh game", subject.make),
    )
    for number, (name, make) in enumerate(again):
        with foreign_generators(number):
            walk = subject.walk(make(), script)
        differs = _difference(case.walk.visits, walk.visits)
        if differs and not case.walk.error:
            yield Finding(differs[0], f"played again in {name}: {differs[1]}", _show(script))
        yield None


def _show(script: Script) -> str:
    return f"replay(game, {script.arguments()}).visits"


@walk_rule(
    name="seed-matters",
    requirement="where chance is declared, two seeds give two episodes",
    cause="the stream is not used, or the game declares chance that it does not have",
    unit="game",
    applies=lambda game: bool(game.facts.stochastic_start or game.facts.stochastic_transitions),
    is_static=True,
)
def _seed_matters(case: Case) -> Iterator[Outcome]:
    """The same choices with many seeds: where chance is declared, some episodes differ."""
    choices = Stream("choices")
    moves = tuple(choices.integer(CHOICES) for _ in range(case.subject.limit))
    first: Walk | None = None
    for seed in range(SEEDS):
        walk = case.subject.walk(case.subject.make(), Script(seed=seed, moves=moves))
        first = first or walk
        if [v.seen for v in walk.visits] != [v.seen for v in first.visits]:
            yield None
            return
    seen = f"seeds 0 to {SEEDS - 1} give the same episode"
    yield Finding(0, seen, "[replay(game, seed=n).state for n in range(4)]")


@walk_rule(
    name="interleaving",
    requirement="two interleaved episodes in two instances are the same as each alone",
    cause="instances share memory: a class attribute, a module variable, a cache with a wrong key",
    unit="episodes",
)
def _interleaving(case: Case) -> Iterator[Outcome]:
    """Two interleaved walks in two instances: each is the same as alone."""
    subject, script = case.subject, case.walk.script
    other = attrs.evolve(script, seed=script.seed + 1)
    if case.walk.error:
        return
    games = (subject.make(), subject.make())
    beside = subject.walk(subject.make(), other)
    if beside.error:
        return  # its own walk says so
    steps = [visits(games[0], script, subject.action_texts)]
    steps.append(visits(games[1], other, subject.action_texts))
    walked: list[list[Visit]] = [[], []]
    try:
        for pair in itertools.zip_longest(*steps):
            for walk, visit in zip(walked, pair, strict=True):
                walk.extend(() if visit is None else (visit,))
    except Exception as error:
        yield Finding(len(walked[0]), f"interleaved, one raised {type(error).__name__}: {error}")
        return
    for alone, walk in zip((case.walk, beside), walked, strict=True):
        differs = _difference(alone.visits, tuple(walk))
        seen = f"alone and interleaved with another instance: {differs[1]}" if differs else ""
        yield Finding(differs[0], seen, _show(script)) if differs else None


@walk_rule(
    name="global-generators",
    requirement="no global random generator is drawn from or seeded",
    cause="random.random(), random.seed() or numpy.random.* instead of the given stream",
    unit="steps",
)
def _global_generators(case: Case) -> Iterator[Outcome]:
    subject, script = case.subject, case.walk.script
    with foreign_generators(0):
        before = global_states()
        game = subject.make()
        yield _touched(before, 0, "making the game")
        steps = visits(game, script, subject.action_texts)
        for t in range(len(case.walk.visits)):
            before = global_states()
            visit = next(steps, None)
            if visit is None:
                return
            for agent in game.agents:
                game.rules_text(agent)
                if not visit.is_terminal and agent in visit.acting:
                    game.read_action(visit.state, agent, script.text)
            yield _touched(before, t, "the step" if t else "the start")


def _touched(before: Any, at: int, seen: str) -> Outcome:
    after = global_states()
    names = [name for name, state in before.items() if after.get(name, state) != state]
    show = "random.getstate()"
    return Finding(at, f"{seen} touches {', '.join(names)}", show) if names else None


RULES: tuple[Rule, ...] = (
    _global_generators,
    _same_seed,
    _seed_matters,
    _interleaving,
)
