"""Rules of the laws: probabilities, rewards, samplers, and states that are values."""

import itertools
import math
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from tsmg.distribution import Distribution
from tsmg.errors import GameLawError, NotEnumerableError
from tsmg.game import AbstractExplicitGame, Transition
from tsmg.randomness import EpisodeKey, Purpose, Stream
from tsmg.testing.rule import Case, Finding, Game, Met, Note, Outcome, Relation, WalkRule
from tsmg.testing.walks import Visit

ATOMS = 512
"""Laws with more atoms than this are sampled only."""


def is_explicit(game: Game) -> bool:
    """Whether the game states its laws."""
    return isinstance(game, AbstractExplicitGame)


def table(dist: Distribution[Any], limit: int = ATOMS) -> Mapping[Any, Any] | None:
    """Value to probability, or ``None`` where the law is too large or can only be sampled."""
    try:
        atoms = list(itertools.islice(dist.enumerate(limit), limit + 1))
    except NotEnumerableError:
        return None
    if len(atoms) > limit:
        return None
    merged: dict[Any, Any] = {}
    for value, probability in atoms:
        merged[value] = merged.get(value, 0) + probability
    return merged


def _wrong_probabilities(dist: Mapping[Any, Any]) -> str:
    values = list(dist.values())
    if not all(0 <= p <= 1 and math.isfinite(p) for p in values):
        return f"has probabilities {values!r:.200}"
    is_rational = all(isinstance(p, int | Fraction) for p in values)
    total = sum(values)
    is_one = total == 1 if is_rational else abs(total - 1) <= 1e-9
    return "" if is_one else f"sums to {total} ({values!r:.200})"


def _steps(case: Case) -> Iterator[tuple[Visit, Visit, Stream]]:
    """(visit, next visit, the stream of chance between them)."""
    for before, after in itertools.pairwise(case.walk.visits):
        yield before, after, case.walk.script.chance(before.t)


def _dists(case: Case) -> Iterator[tuple[int, str, Distribution[Any], Any]]:
    """(visit, code, law, the draw that the walk made from it) of every step."""
    game: Any = case.game
    for before, after, _ in _steps(case):
        code = f"game.transition_dist(state, {after.joint_action!r})"
        dist = game.transition_dist(before.state, after.joint_action)
        yield before.t, code, dist, Transition(after.state, after.rewards_N)


def _start_law(case: Case) -> Iterator[Outcome]:
    game: Any = case.game
    code = "game.initial_state_dist()"
    atoms = table(game.initial_state_dist())
    if atoms is None:
        yield Note(f"the law of the start has more than {ATOMS} atoms, or can only be sampled")
        return
    wrong = _wrong_probabilities(atoms)
    yield Finding(0, f"{code} {wrong}", f"{code}.pmf()") if wrong else None


def _probabilities(case: Case) -> Iterator[Outcome]:
    for at, code, dist, drawn in _dists(case):
        atoms = table(dist)
        if atoms is None:
            continue
        wrong = _wrong_probabilities(atoms)
        if not wrong and not atoms.get(drawn, 0):
            wrong = f"gave {drawn!r:.200}, which has probability 0"
        yield Finding(at, f"{code} {wrong}", f"{code}.pmf()") if wrong else None


def _one_law(case: Case) -> Iterator[Outcome]:
    game: Any = case.game
    start = case.walk.visits[0].state
    stream = EpisodeKey(seed=case.walk.script.seed).stream(Purpose.START)
    dists = [(0, "game.initial_state_dist()", game.initial_state_dist(), start), *_dists(case)]
    streams = [stream, *(rng for _, _, rng in _steps(case))]
    for (at, code, dist, drawn), rng in zip(dists, streams, strict=True):
        expected = dist.sample(rng)
        told = (
            f"the sampler gave {drawn!r:.200}, the law gives {expected!r:.200} for the same stream"
        )
        yield None if drawn == expected else Finding(at, told, f"{code}.pmf()")


def _rewards(case: Case) -> Iterator[Outcome]:
    agents = case.game.agents
    for visit in case.walk.visits[1:]:
        rewards_N = visit.rewards_N
        is_right = len(rewards_N) == len(agents) and all(map(math.isfinite, rewards_N))
        told = f"rewards {rewards_N!r} for the agents {agents!r}"
        yield None if is_right else Finding(visit.t, told)


def _values(case: Case) -> Iterator[Outcome]:
    game = case.game
    for visit in case.walk.visits:
        try:
            hash(visit.state)
        except TypeError as error:
            yield Finding(visit.t, f"a state cannot be hashed: {error}", "hash(state)")
            continue
        texts_N = tuple(game.observation_text(visit.state, agent) for agent in game.agents)
        told = f"at the end of the walk an earlier state reads {texts_N!r:.200}, not {visit.texts_N!r:.200}"
        if texts_N != visit.texts_N:
            yield Finding(len(case.walk.visits) - 1, told)
        yield None


def _alike(case: Case) -> Iterator[Met]:
    game = case.game
    for visit in case.walk.visits:
        legal = tuple(game.legal_actions(visit.state, agent) for agent in visit.acting)
        looks = (bool(visit.is_terminal), tuple(visit.acting), visit.texts_N, legal)
        yield Met(visit.state, looks, visit.t, f"{visit.state!r:.200}: {looks!r:.300}")


def _branching(case: Case) -> Iterator[Outcome]:
    """Leave an earlier state again: by the same joint action and stream, to the same place."""
    pairs = list(_steps(case))
    for before, after, rng in {
        p[0].t: p for p in (*pairs[:1], *pairs[len(pairs) // 2 :][:1])
    }.values():
        code = f"game.sample_transition(state, {after.joint_action!r}, stream)"
        try:
            again = case.game.sample_transition(before.state, after.joint_action or {}, rng)
        except GameLawError as error:
            yield Note(str(error))
            return
        texts_N = tuple(case.game.observation_text(again.state, a) for a in case.game.agents)
        first = (after.state, after.rewards_N, after.texts_N)
        second = (again.state, again.rewards_N, texts_N)
        told = f"the same step led to {first!r:.200}, then to {second!r:.200}"
        yield None if first == second else Finding(before.t, told, code)


def _scripted(case: Case) -> Iterator[Outcome]:
    player = case.game.scripted_player()
    if player is None:
        return
    for visit in case.walk.visits:
        for agent in () if visit.is_terminal else visit.acting:
            dist = player.action_dist(visit.state, agent)
            atoms = table(dist) or {dist.sample(Stream("scripted")): 1}
            legal = case.game.legal_actions(visit.state, agent)
            code = f"game.scripted_player().action_dist(state, {agent!r})"
            wrong = _wrong_probabilities(atoms)
            if legal is not None:
                foreign = [action for action, p in atoms.items() if p and action not in legal]
                wrong = wrong or (f"plays {foreign!r}, legal are {legal!r}" if foreign else "")
            yield Finding(visit.t, f"{code} {wrong}", f"{code}.pmf()") if wrong else None


RULES = (
    WalkRule(
        name="start-probabilities",
        dist="the probabilities of the initial law are at least 0 and sum to 1",
        cause="a start is missing or counted twice",
        unit="game",
        check=_start_law,
        applies=is_explicit,
        is_static=True,
    ),
    WalkRule(
        name="probabilities",
        dist="the probabilities of a step are at least 0 and sum to 1, and what is drawn is among them",
        cause="a branch of the law is missing or counted twice",
        unit="laws",
        check=_probabilities,
        applies=is_explicit,
    ),
    WalkRule(
        name="one-law",
        dist="the samplers of an explicit game draw from its laws",
        cause="a sampler is written beside the law, or does not use the stream that it is given",
        unit="draws",
        check=_one_law,
        applies=is_explicit,
    ),
    WalkRule(
        name="rewards",
        dist="a step gives each agent one finite reward",
        cause="a reward is missing, NaN or infinite",
        unit="steps",
        check=_rewards,
    ),
    WalkRule(
        name="state-value",
        dist="states are values: they can be hashed, and a later step does not change them",
        cause="a list, dictionary or array in the state, or a step that changes the state in place",
        unit="states",
        check=_values,
    ),
    Relation(
        name="state-tells-all",
        dist="equal states look alike: who acts, what is legal, what is read, whether it is over",
        cause="the game keeps something that belongs into the state, or == leaves a part out",
        unit="states",
        met=_alike,
    ),
    WalkRule(
        name="branching",
        dist="a state can be left again, and the same joint action and stream lead to the same place",
        cause="the game moves something of its own along, so that a state cannot be returned to",
        unit="branches",
        check=_branching,
    ),
    WalkRule(
        name="scripted-player",
        dist="the scripted player plays legal actions, with probabilities that sum to 1",
        cause="legal_actions and the scripted player disagree",
        unit="turns",
        check=_scripted,
        applies=lambda game: game.scripted_player() is not None,
    ),
)
