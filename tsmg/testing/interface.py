"""Rules of the interface: returned types, acting agents, legal actions, and the end of a game."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

from tsmg.distribution import Distribution
from tsmg.errors import InvalidArgumentError
from tsmg.game import AbstractExplicitGame, AnyGame
from tsmg.match import EpisodeSpec, step_limit
from tsmg.misnamed import misnamed
from tsmg.randomness import EpisodeKey, Stream
from tsmg.records import FailedEpisode, Reply, Request
from tsmg.runner import play
from tsmg.testing.generators import foreign_generators
from tsmg.testing.rule import Case, Finding, Note, Outcome, Rule, walk_rule
from tsmg.testing.walks import Visit, Walk, error_line, options_of
from tsmg.text import ActionText


@walk_rule(
    name="plays-through",
    requirement="no method raises on legal play",
    cause="the method does not know a state that can be reached",
    unit="walks",
    needs_start=False,
)
def _plays_through(case: Case) -> Iterator[Outcome]:
    walk = case.walk
    if walk.error:
        method = walk.error.partition(" ")[0]
        cause = ""
        if method in ("sample_initial_state", "initial_state_dist"):
            cause = "no episode begins: the method that makes the first state raises"
        elif not walk.visits:
            cause = "no episode begins: the method raises in the first state"
        elif method in ("sample_transition", "transition_dist"):
            cause = "a fault in the step itself, or legal_actions offers an action that it does not know"
        yield Finding(len(walk.script.moves), walk.error, cause=cause, exception=walk.exception)
    yield None


@walk_rule(
    name="whole-episodes",
    requirement="a walk comes to the end of an episode, so that ends and returns are checked at all",
    cause="legal_actions is None, and nothing says what may be played: ship a scripted_player, or pass action_texts "
    "(--text)",
    unit="episodes",
    one_suffices=True,
)
def _whole_episodes(case: Case) -> Iterator[Outcome]:
    game, walk = case.game, case.walk
    last = walk.visits[-1]
    if walk.is_whole:
        yield None
    elif walk.error or last.is_terminal:
        return
    elif not all(options_of(game, last.state, a, case.subject.action_texts) for a in last.acting):
        yield Finding(
            last.t, f"nothing can be chosen for {last.acting!r}", "game.acting_agents(state)"
        )
    elif last.t >= case.subject.limit:
        note = f"episodes may have more than the {last.t} steps of a walk: raise max_steps (--max-steps)"
        yield Note(note)


def _wrong_type(value: object, expected: Any) -> str:
    try:
        check_type(value, expected, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
    except TypeCheckError as error:
        return f"{error} (got {value!r:.80})"
    return ""


def _typed(case: Case, visit: Visit) -> Iterator[tuple[str, object, Any]]:
    """(code, value, type) of everything that the game answers at a visit."""
    game, state = case.game, visit.state
    yield "game.is_terminal(state)", visit.is_terminal, bool
    yield "game.acting_agents(state)", visit.acting, tuple[str, ...]
    if visit.joint_action is not None:
        yield "rewards", visit.rewards_N, tuple[float, ...]
    for agent, text in zip(game.agents, visit.texts_N, strict=True):
        yield f"game.observation_text(state, {agent!r})", text, str
    for agent in visit.acting:
        legal = game.legal_actions(state, agent)
        yield f"game.legal_actions(state, {agent!r})", legal, tuple[Any, ...] | None
        for action in sampled(legal, 8):
            call = f"game.action_text(state, {agent!r}, {action!r})"
            yield call, game.action_text(state, agent, action), str


def _typed_once(case: Case) -> Iterator[tuple[str, object, Any]]:
    game = case.game
    yield "game.agents", game.agents, tuple[str, ...]
    yield "game.horizon", game.horizon, int | None
    yield "game.discount", game.discount, float
    yield "game.instance_key(state)", game.instance_key(case.walk.visits[0].state), str
    for agent in game.agents:
        yield f"game.rules_text({agent!r})", game.rules_text(agent), str
    if isinstance(game, AbstractExplicitGame):
        yield "game.initial_state_dist()", game.initial_state_dist(), Distribution


@walk_rule(
    name="types",
    requirement="every method returns the type that the interface states",
    cause="a list for a tuple, a NumPy value for a Python one, or None for a text",
    unit="values",
)
def _types(case: Case) -> Iterator[Outcome]:
    for visit in case.walk.visits:
        values = _typed(case, visit)
        for code, value, expected in (*(_typed_once(case) if visit.t == 0 else ()), *values):
            wrong = _wrong_type(value, expected)
            yield Finding(visit.t, f"{code}: {wrong}", f"{code}") if wrong else None


@walk_rule(
    name="acting-agents",
    requirement="acting agents are agents of the game, each once, in the order of 'agents'",
    cause="a misspelt name, or names in another order",
    unit="states",
)
def _acting(case: Case) -> Iterator[Outcome]:
    agents = list(case.game.agents)
    for visit in case.walk.visits:
        acting = list(visit.acting)
        is_right = acting == [agent for agent in agents if agent in acting]
        seen = f"acting agents {visit.acting!r} of {case.game.agents!r}"
        yield None if is_right else Finding(visit.t, seen, "game.acting_agents(state)")


@walk_rule(
    name="legal-actions",
    requirement="every acting agent has a legal action; legal actions can be hashed and differ; a no-op is one of them",
    cause="is_terminal misses an end, or acting_agents names an agent that is out of the game",
    unit="turns",
)
def _legal(case: Case) -> Iterator[Outcome]:
    game = case.game
    for visit in case.walk.visits:
        for agent in () if visit.is_terminal else visit.acting:
            legal = game.legal_actions(visit.state, agent)
            if legal is None:
                continue
            show = f"game.legal_actions(state, {agent!r})"
            distinct = _distinct(legal)
            if distinct is None:
                seen = f"legal actions of {agent!r} cannot be hashed: {legal!r:.200}"
                cause = "a list, dictionary or array as an action: use a tuple, a number or a text"
                yield Finding(visit.t, seen, show, cause)
            elif not legal or distinct < len(legal):
                yield Finding(visit.t, f"{agent!r} acts with legal actions {legal!r}", show)
            noop = game.noop_action(visit.state, agent)
            if noop is not None and noop not in legal:
                seen = f"noop_action {noop!r} of {agent!r} is not among {legal!r}"
                yield Finding(visit.t, seen, f"game.noop_action(state, {agent!r})")
            yield None


def _distinct(legal: Sequence[Any]) -> int | None:
    """The number of different actions; ``None`` if one cannot be hashed."""
    try:
        return len(set(legal))
    except TypeError:
        return None


@walk_rule(
    name="end",
    requirement="after the end no agent acts, no action is legal, and a step is refused or changes nothing",
    cause="acting_agents, legal_actions or the transition do not look at is_terminal",
    unit="ends",
)
def _end(case: Case) -> Iterator[Outcome]:
    game = case.game
    for visit in case.walk.visits:
        if not visit.is_terminal:
            continue
        if visit.acting:
            yield Finding(visit.t, f"over, but {visit.acting!r} act", "game.acting_agents(state)")
        for agent in game.agents:
            legal = game.legal_actions(visit.state, agent)
            seen = f"over, but {legal!r} are legal for {agent!r}"
            yield (
                Finding(visit.t, seen, f"game.legal_actions(state, {agent!r})") if legal else None
            )
        yield _moved_after_the_end(case, visit)


def _moved_after_the_end(case: Case, visit: Visit) -> Outcome:
    """No agent acts, so the only joint action is the empty one: it is refused, or changes nothing."""
    try:
        after = case.game.sample_transition(visit.state, {}, Stream("after the end"))
    except Exception:
        return None
    if after.state == visit.state and not any(after.rewards_N):
        return None
    seen = f"over, but a step leads to {after!r:.200}"
    return Finding(visit.t, seen, "game.sample_transition(state, {}, tsmg.Stream())")


@walk_rule(
    name="step-limit",
    requirement="an episode ends: there is a horizon or a declared longest game; the discount is in [0, 1]",
    cause="neither 'horizon' nor 'facts.longest_game' is set",
    unit="game",
    is_static=True,
    needs_start=False,
)
def _step_limit(case: Case) -> Iterator[Outcome]:
    try:
        step_limit(case.game)
    except InvalidArgumentError as error:
        yield Finding(0, str(error), "tsmg.step_limit(game)")
    if not 0 <= case.game.discount <= 1:
        yield Finding(
            0, f"'discount' must be in [0, 1] (got {case.game.discount})", "game.discount"
        )
    yield None


@walk_rule(
    name="agents",
    requirement="there are agents, and their names differ",
    cause="'agents' is empty or names one twice",
    unit="game",
    is_static=True,
    needs_start=False,
)
def _agents(case: Case) -> Iterator[Outcome]:
    agents: object = case.game.agents
    if isinstance(agents, str):
        cause = f"a text: a tuple of one needs a comma, ({agents!r},)"
        yield Finding(0, f"agents are the letters of {agents!r}", "game.agents", cause)
        return
    agents = case.game.agents
    is_right = agents and len(set(agents)) == len(agents) and all(agents)
    yield None if is_right else Finding(0, f"agents are {agents!r}", "game.agents")


@walk_rule(
    name="method-names",
    requirement="no method's name is almost that of an interface method that is not overridden",
    cause="a misspelt name: nobody calls the method, and the default is used",
    unit="game",
    is_static=True,
    needs_start=False,
)
def _names(case: Case) -> Iterator[Outcome]:
    for name, own in misnamed(type(case.game)).items():
        yield Finding(0, f"{own!r} is defined, and {name!r} is not", f"game.{own}")
    yield None


@attrs.frozen
class _Follower:
    """A policy that replies with the actions of a walk."""

    game: AnyGame
    walk: Walk

    def reply(self, requests: Sequence[Request]) -> list[Reply]:
        return [self._reply(request) for request in requests]

    def _reply(self, request: Request) -> Reply:
        agent = request.history.agent
        joint_action = self.walk.visits[request.step + 1].joint_action or {}
        text = self.game.action_text(request.state, agent, joint_action[agent])
        return Reply(text=text, parser_outcome=ActionText(text))


@walk_rule(
    name="success",
    requirement="the runner plays the episode; success(episode, agent) is True, False or None, also when asked again",
    cause="success returns a number, reads what an episode does not have, or is drawn or counted",
    unit="episodes",
)
def _success(case: Case) -> Iterator[Outcome]:
    yield from _judged(case, "success", bool | None)


@walk_rule(
    name="metrics",
    requirement="metrics(episode, agent) names finite numbers, whatever was played, also when asked again",
    cause="metrics divides by what may be 0, keeps NaN or None for what is not defined (leave it out), or remembers",
    unit="episodes",
)
def _metrics(case: Case) -> Iterator[Outcome]:
    yield from _judged(case, "metrics", Mapping[str, float])


def _judged(case: Case, method: str, expected: Any) -> Iterator[Outcome]:
    """Let the runner play the walk's episode, and look at what a method of the game says about it."""
    game, at = case.game, len(case.walk.visits) - 1
    episode = case.once("played", lambda: _played(case))
    if episode is None:
        return
    if isinstance(episode, FailedEpisode):
        yield Finding(at, f"tsmg.play failed: {episode.error}")
        return
    judge = getattr(game, method)
    for agent in game.agents:
        try:
            said = judge(episode, agent)
            with foreign_generators(1):
                again = judge(episode, agent)
        except Exception as error:
            yield Finding(at, f"{method}(episode, {agent!r}) raised {error_line(error)}")
            continue
        wrong = _wrong_type(said, expected) or _not_finite(said)
        if not wrong and said != again:
            wrong = f"{said!r:.200}, and {again!r:.200} when it is asked again"
        yield Finding(at, f"{method}(episode, {agent!r}): {wrong}") if wrong else None


def _played(case: Case) -> Any:
    """The walk's episode as the runner plays it; ``None`` if the walk is not whole, or has its own chance."""
    walk, at = case.walk, len(case.walk.visits) - 1
    has_own_chance = walk.script.redrawn_from is not None or walk.script.outcomes is not None
    is_played = walk.is_whole and not has_own_chance  # the runner draws chance from the seed
    if not is_played or not (walk.visits[at].is_terminal or at == case.game.horizon):
        return None
    spec = EpisodeSpec[Any](key=EpisodeKey(seed=walk.script.seed))
    (episode,) = play(case.game, _Follower(case.game, walk), [spec])
    return episode


def _not_finite(said: object) -> str:
    """The first of the named numbers that is not finite, if there is one."""
    named = said.items() if isinstance(said, Mapping) else ()
    return next((f"{name!r} is {value}" for name, value in named if not math.isfinite(value)), "")


def sampled(actions: Sequence[Any] | None, count: int = 64) -> Sequence[Any]:
    """At most ``count`` of the actions, evenly spaced."""
    actions = actions or ()
    return actions[:: max(1, math.ceil(len(actions) / count))]


RULES: tuple[Rule, ...] = (
    _agents,
    _names,
    _step_limit,
    _plays_through,
    _whole_episodes,
    _types,
    _acting,
    _legal,
    _end,
    _success,
    _metrics,
)
