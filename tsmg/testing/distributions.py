"""Rules of the distributions: probabilities, rewards, samplers, and states that are values."""

import copy
import itertools
import math
import pickle
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from tsmg.distribution import Distribution
from tsmg.errors import GameLawError, NotEnumerableError
from tsmg.game import AbstractExplicitGame, AnyGame, Transition
from tsmg.randomness import EpisodeKey, Purpose, Stream
from tsmg.testing.rule import Case, Finding, Met, Note, Outcome, Rule, relation, walk_rule
from tsmg.testing.walks import Visit, error_line

OUTCOMES = 512
"""Distributions with more outcomes than this are sampled only."""


def is_explicit(game: AnyGame) -> bool:
    """Whether the game states its distributions."""
    return isinstance(game, AbstractExplicitGame)


def table(dist: Distribution[Any], limit: int = OUTCOMES) -> Mapping[Any, Any] | None:
    """Value to probability, or ``None`` if the distribution is too large or can only be sampled."""
    try:
        pairs = list(itertools.islice(dist.enumerate(limit), limit + 1))
    except NotEnumerableError:
        return None
    if len(pairs) > limit:
        return None
    merged: dict[Any, Any] = {}
    for value, probability in pairs:
        merged[value] = merged.get(value, 0) + probability
    return merged


def wrong_probabilities(pmf: Mapping[Any, Any]) -> str:
    """What is wrong with the probabilities of a table; empty if nothing is."""
    values = list(pmf.values())
    if not all(0 <= p <= 1 + 1e-9 and math.isfinite(p) for p in values):  # sums are rounded
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
    """(visit, code, distribution, the draw that the walk made from it) of every step."""
    game: Any = case.game
    for before, after, _ in _steps(case):
        code = f"game.transition_dist(state, {joint_code(case, before, after)})"
        dist = game.transition_dist(before.state, {**(after.joint_action or {})})
        yield before.t, code, dist, Transition(after.state, after.rewards_N)


def joint_code(case: Case, before: Visit, after: Visit) -> str:
    """Code of the joint action between two visits, over ``game`` and ``state``, whatever the actions are."""
    return case.once(("code", before.t), lambda: _joint_code(case.game, before, after))


def _joint_code(game: AnyGame, before: Visit, after: Visit) -> str:
    parts = []
    for agent, action in (after.joint_action or {}).items():
        legal = game.legal_actions(before.state, agent)
        code = repr(action)
        if legal is not None and action in legal:
            code = f"game.legal_actions(state, {agent!r})[{legal.index(action)}]"
        parts.append(f"{agent!r}: {code}")
    return f"{{{', '.join(parts)}}}"


def observable(game: AnyGame, state: Any, rewards_N: Any) -> Any:
    """An outcome: the state, or what can be observed of it where a state also holds how it was reached."""
    if isinstance(game, AbstractExplicitGame):
        return state, tuple(rewards_N)
    texts_N = tuple(game.observation_text(state, agent) for agent in game.agents)
    return (
        bool(game.is_terminal(state)),
        tuple(game.acting_agents(state)),
        texts_N,
        tuple(rewards_N),
    )


@walk_rule(
    name="start-probabilities",
    requirement="the probabilities of the initial distribution are at least 0 and sum to 1",
    cause="a start is missing or counted twice",
    unit="game",
    applies=is_explicit,
    is_static=True,
)
def _start_probabilities(case: Case) -> Iterator[Outcome]:
    game: Any = case.game
    code = "game.initial_state_dist()"
    pmf = table(game.initial_state_dist())
    if pmf is None:
        yield Note(
            f"the distribution of the start has more than {OUTCOMES} outcomes, or can only be sampled"
        )
        return
    wrong = wrong_probabilities(pmf)
    yield Finding(0, f"{code} {wrong}", f"{code}.pmf()") if wrong else None


@walk_rule(
    name="probabilities",
    requirement="the probabilities of a step are at least 0 and sum to 1, and every draw has one of them",
    cause="a branch of the distribution is missing or counted twice",
    unit="distributions",
    applies=is_explicit,
)
def _probabilities(case: Case) -> Iterator[Outcome]:
    for at, code, dist, drawn in _dists(case):
        pmf = table(dist)
        if pmf is None:
            continue
        wrong = wrong_probabilities(pmf)
        if not wrong and not pmf.get(drawn, 0):
            wrong = f"gave {drawn!r:.200}, which has probability 0"
        yield Finding(at, f"{code} {wrong}", f"{code}.pmf()") if wrong else None


@walk_rule(
    name="one-law",
    requirement="the samplers of an explicit game draw from its distributions",
    cause="a sampler is written beside the distribution, or ignores the given stream",
    unit="draws",
    applies=is_explicit,
)
def _samplers(case: Case) -> Iterator[Outcome]:
    game: Any = case.game
    if case.walk.script.outcomes is not None:
        return  # nothing was drawn
    start = case.walk.visits[0].state
    stream = EpisodeKey(seed=case.walk.script.seed).stream(Purpose.START)
    dists = [(0, "game.initial_state_dist()", game.initial_state_dist(), start), *_dists(case)]
    streams = [stream, *(rng for _, _, rng in _steps(case))]
    for (at, code, dist, drawn), rng in zip(dists, streams, strict=True):
        expected = dist.sample(rng)
        seen = f"the sampler gave {drawn!r:.200}, its distribution gives {expected!r:.200} for the same stream"
        yield None if drawn == expected else Finding(at, seen, f"{code}.pmf()")


@walk_rule(
    name="rewards",
    requirement="a step gives each agent one finite reward",
    cause="a reward is missing, NaN or infinite",
    unit="steps",
)
def _rewards(case: Case) -> Iterator[Outcome]:
    agents = case.game.agents
    for visit in case.walk.visits[1:]:
        rewards_N = visit.rewards_N
        is_right = len(rewards_N) == len(agents) and all(map(math.isfinite, rewards_N))
        seen = f"rewards {rewards_N!r} for the agents {agents!r}"
        yield None if is_right else Finding(visit.t, seen)


@walk_rule(
    name="state-value",
    requirement="states are values: they can be hashed, and a later step does not change them",
    cause="a list, dictionary or array in the state, or a step that changes the state in place",
    unit="states",
)
def _values(case: Case) -> Iterator[Outcome]:
    game = case.game
    for visit in case.walk.visits:
        try:
            hash(visit.state)
        except TypeError as error:
            yield Finding(visit.t, f"a state cannot be hashed: {error}", "hash(state)")
            continue
        texts_N = tuple(game.observation_text(visit.state, agent) for agent in game.agents)
        seen = f"at the end of the walk an earlier state reads {texts_N!r:.200}, not {visit.texts_N!r:.200}"
        if texts_N != visit.texts_N:
            yield Finding(len(case.walk.visits) - 1, seen)
        yield None


@walk_rule(
    name="state-copies",
    requirement="a state is equal to its deep copy and to what its pickle gives, with an equal hash",
    cause="a state whose class defines no ==, or which holds an object that does not",
    unit="states",
)
def _copies(case: Case) -> Iterator[Outcome]:
    visits = case.walk.visits
    for visit in {v.t: v for v in (visits[0], visits[len(visits) // 2], visits[-1])}.values():
        try:
            stored = pickle.dumps(visit.state)
        except Exception as error:  # of a live environment, say: such states stay in their process
            yield Note(f"states cannot be pickled: {error_line(error)}")
            return
        unpickled = pickle.loads(stored)  # noqa: S301  # the state itself was pickled here
        copies = {"its pickle": unpickled, "its deep copy": copy.deepcopy(visit.state)}
        for name, other in copies.items():
            is_equal = other == visit.state and hash(other) == hash(visit.state)
            seen = f"{visit.state!r:.200} is not equal to {name}, {other!r:.200}"
            show = "import pickle; pickle.loads(pickle.dumps(state)) == state"
            yield None if is_equal else Finding(visit.t, seen, show)


@relation(
    name="state-tells-all",
    requirement="equal states have the same acting agents, legal actions, texts and end",
    cause="the game keeps a part of the state to itself, or == leaves a part out",
    unit="states",
)
def _alike(case: Case) -> Iterator[Met]:
    game = case.game
    for visit in case.walk.visits:
        legal = tuple(game.legal_actions(visit.state, agent) for agent in visit.acting)
        observed = (bool(visit.is_terminal), tuple(visit.acting), visit.texts_N, legal)
        yield Met(visit.state, observed, visit.t, f"{visit.state!r:.200}: {observed!r:.300}")


@walk_rule(
    name="branching",
    requirement="a state can be left a second time, and the same joint action and stream lead to the same state",
    cause="the game moves a part of the state along by itself, so that it cannot go back",
    unit="branches",
)
def _branching(case: Case) -> Iterator[Outcome]:
    """Leave an earlier state a second time, with the same joint action and stream: to the same state."""
    if case.walk.script.outcomes is not None:
        return  # nothing was drawn
    pairs = list(_steps(case))
    for before, after, rng in {
        p[0].t: p for p in (*pairs[:1], *pairs[len(pairs) // 2 :][:1])
    }.values():
        code = f"game.sample_transition(state, {joint_code(case, before, after)}, tsmg.Stream())"
        try:
            again = case.game.sample_transition(before.state, {**(after.joint_action or {})}, rng)
        except GameLawError as error:
            yield Note(str(error))
            return
        texts_N = tuple(case.game.observation_text(again.state, a) for a in case.game.agents)
        first = (after.state, after.rewards_N, after.texts_N)
        second = (again.state, again.rewards_N, texts_N)
        seen = f"the same step led to {first!r:.200}, then to {second!r:.200}"
        yield None if first == second else Finding(before.t, seen, code)


@relation(
    name="state-tells-outcomes",
    requirement="equal states and joint actions lead to the same outcome, for the same stream of chance",
    cause="== leaves out a part of the state that decides what follows or what is paid",
    unit="steps",
)
def _same_outcomes(case: Case) -> Iterator[Met]:
    game = case.game
    for before, after, _ in _steps(case):
        joint_action = after.joint_action or {}
        try:
            there = game.sample_transition(before.state, {**joint_action}, Stream("outcome"))
        except GameLawError:  # it cannot leave a state twice; the rule of branching notes it
            return
        seen = f"in {before.state!r:.200} {joint_action!r} leads to {there.state!r:.200}, rewards {there.rewards_N!r}"
        show = f"game.sample_transition(state, {joint_code(case, before, after)}, tsmg.Stream('outcome'))"
        key = (before.state, tuple(joint_action.items()))
        yield Met(key, observable(game, there.state, there.rewards_N), before.t, seen, show)


@walk_rule(
    name="arguments",
    requirement="a step leaves the joint action as it was given",
    cause="the transition clears or changes its argument (joint_action.pop, .clear): copy it first",
    unit="steps",
)
def _arguments(case: Case) -> Iterator[Outcome]:
    for before, after, _ in _steps(case):
        given, left = after.joint_action, after.given
        code = joint_code(case, before, after)
        show = f"given = {code}; game.sample_transition(state, given, tsmg.Stream()); given"
        seen = f"the joint action {given!r:.200} is {left!r:.200} after the step"
        yield None if given == left else Finding(before.t, seen, show)


RULES: tuple[Rule, ...] = (
    _start_probabilities,
    _probabilities,
    _samplers,
    _rewards,
    _values,
    _copies,
    _alike,
    _branching,
    _same_outcomes,
    _arguments,
)
