"""Rules of declared facts: what a game declares about itself holds along every walk."""

import itertools
import math
from collections.abc import Iterator

from tsmg.errors import GameLawError
from tsmg.game import AbstractExplicitGame, Facts
from tsmg.randomness import EpisodeKey, Purpose, Stream
from tsmg.testing.distributions import joint_code, observable, table
from tsmg.testing.rule import Case, Finding, Met, Note, Opposite, Outcome, Rule, relation, walk_rule
from tsmg.testing.told import KEY_IS_TEXT
from tsmg.testing.walks import Visit
from tsmg.text import Parsed

_TOLERANCE = 1e-9


def _contradictions(facts: Facts) -> Iterator[str]:
    if facts.perfect_information and facts.text_separates_states is False:
        yield "perfect_information (texts tell the whole state) and not text_separates_states"
    if facts.return_bounds is not None and not facts.return_bounds[0] <= facts.return_bounds[1]:
        yield f"return_bounds {facts.return_bounds} are in the wrong order"
    if facts.longest_game is not None and facts.longest_game < 1:
        yield f"longest_game is {facts.longest_game}"


@walk_rule(
    name="facts-agree",
    requirement="declared facts contradict neither each other nor the distributions",
    cause="a fact was copied from another game, or a setting of the game changes it",
    unit="game",
    is_static=True,
)
def _agree(case: Case) -> Iterator[Outcome]:
    game = case.game
    for seen in _contradictions(game.facts):
        yield Finding(0, f"declared: {seen}", "game.facts")
    if isinstance(game, AbstractExplicitGame) and game.facts.stochastic_start:
        pmf = table(game.initial_state_dist())
        if pmf is not None and len(pmf) == 1:
            seen = "stochastic_start is declared, but the initial distribution has one outcome"
            yield Finding(0, seen, "game.initial_state_dist().pmf()")
    yield None


@walk_rule(
    name="zero-sum",
    requirement="declared zero_sum: the rewards of every step sum to 0",
    cause="one agent's reward is missing or has the wrong sign",
    unit="steps",
    applies=lambda game: bool(game.facts.zero_sum),
)
def _zero_sum(case: Case) -> Iterator[Outcome]:
    for visit in case.walk.visits[1:]:
        total = sum(visit.rewards_N)
        is_zero = abs(total) <= _TOLERANCE * max(1.0, *map(abs, visit.rewards_N))
        seen = f"rewards {visit.rewards_N!r} sum to {total!r}"
        yield None if is_zero else Finding(visit.t, seen)


@walk_rule(
    name="return-bounds",
    requirement="declared return_bounds: every agent's undiscounted return lies within them",
    cause="the bounds forget a bonus, a cost per step or a number of rounds",
    unit="returns",
    applies=lambda game: game.facts.return_bounds is not None,
)
def _return_bounds(case: Case) -> Iterator[Outcome]:
    low, high = case.game.facts.return_bounds or (-math.inf, math.inf)
    last = case.walk.visits[-1]
    if not case.walk.is_whole or (last.is_terminal and case.game.is_truncated(last.state)):
        return
    at = last.t
    slack = _TOLERANCE * max(1.0, abs(low), abs(high))
    for n, agent in enumerate(case.game.agents):
        total = sum(visit.rewards_N[n] for visit in case.walk.visits[1:])
        seen = f"the return of {agent!r} is {total!r}, but its declared bounds are {low} to {high}"
        yield None if low - slack <= total <= high + slack else Finding(at, seen)


@walk_rule(
    name="longest-game",
    requirement="declared longest_game: the game is over after that many steps",
    cause="an end is not recognised, or the number is too small",
    unit="episodes",
    applies=lambda game: game.facts.longest_game is not None,
)
def _longest_game(case: Case) -> Iterator[Outcome]:
    longest = case.game.facts.longest_game or 0
    last = case.walk.visits[-1]
    if longest > case.subject.limit:
        limit = case.subject.limit
        yield Note(
            f"walks have {limit} steps, so {longest} are never reached (raise max_steps: --max-steps)"
        )
        return
    if last.is_terminal or last.t >= longest:
        seen = f"not over after {last.t} steps"
        yield None if last.is_terminal else Finding(last.t, seen, "game.is_terminal(state)")


@walk_rule(
    name="symmetric",
    requirement="declared symmetric: acting agents have equal actions; rewards swap with actions (without chance)",
    cause="rewards or actions depend on an agent's place",
    unit="checks",
    applies=lambda game: bool(game.facts.symmetric),
)
def _symmetric(case: Case) -> Iterator[Outcome]:
    """Agents that act together have the same action texts; without chance, swapped actions swap rewards."""
    game = case.game
    for visit in case.walk.visits:
        texts = [
            [game.action_text(visit.state, agent, a) for a in legal]
            for agent in (() if visit.is_terminal else visit.acting)
            if (legal := game.legal_actions(visit.state, agent)) is not None
        ]
        is_same = all(sorted(t) == sorted(texts[0]) for t in texts)
        yield None if is_same else Finding(visit.t, f"the agents' action texts are {texts!r}")
    if game.facts.stochastic_start is False and game.facts.stochastic_transitions is False:
        yield from _swapped(case)


def _swapped(case: Case) -> Iterator[Outcome]:
    """The walk with the actions of the first agent and of another one swapped."""
    game = case.game
    for other in range(1, len(game.agents)):
        order = list(game.agents)
        order[0], order[other] = order[other], order[0]
        names = dict(zip(game.agents, order, strict=True))
        state = case.walk.visits[0].state
        for visit in case.walk.visits[1:]:
            actions = {names[agent]: a for agent, a in (visit.joint_action or {}).items()}
            if set(actions) != set(game.acting_agents(state)):
                break
            state, rewards_N = game.sample_transition(state, actions, Stream("no chance"))
            expected = [visit.rewards_N[game.agents.index(name)] for name in order]
            seen = f"rewards {visit.rewards_N!r}, and with swapped actions {tuple(rewards_N)!r}"
            alike = (
                math.isclose(a, b, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
                for a, b in zip(rewards_N, expected, strict=True)
            )
            yield None if all(alike) else Finding(visit.t, seen)


@relation(
    name="information",
    requirement="texts and legal actions depend on no more than the agent's information_key",
    cause="an observation or the legal actions show what is hidden, or the key forgets what is shown",
    unit="texts",
    default=KEY_IS_TEXT,
)
def _information(case: Case) -> Iterator[Met]:
    game = case.game
    for visit in case.walk.visits:
        for agent, text in zip(game.agents, visit.texts_N, strict=True):
            known = game.information_key(visit.state, agent)
            is_text = bool(known == text)
            seen = f"{agent!r} knows {known!r:.200} and reads {text!r:.200}"
            show = f"game.observation_text(state, {agent!r})"
            yield Met(("text", agent, known), text, visit.t, seen, show, is_text)
            if agent in visit.acting and not visit.is_terminal:
                legal = game.legal_actions(visit.state, agent)
                seen = f"{agent!r} knows {known!r:.200}, and legal are {legal!r:.200}"
                show = f"game.legal_actions(state, {agent!r})"
                yield Met(("legal", agent, known), legal, visit.t, seen, show, is_text)


def _read(case: Case, visit: Visit, agent: str) -> Met:
    text = visit.texts_N[case.game.agents.index(agent)]
    seen = f"in {visit.state!r:.300} {agent!r} reads {text!r:.300}"
    show = f"game.observation_text(state, {agent!r})"
    return Met((agent, text), visit.state, visit.t, seen, show)


@relation(
    name="text-separates-states",
    requirement="declared text_separates_states: for the agent that acts, different states have different texts",
    cause="the text leaves a part of the state out",
    unit="texts",
    holds=lambda game: game.facts.text_separates_states,
    opposite=Opposite(
        requirement="declared text_separates_states=False: some states read alike to the agent that acts",
        denied="every state and step was visited, and the acting agent's text tells all states apart",
        cause="the fact was copied from another game, or the text shows what is hidden",
        doubt="no two of the states met read alike to the agent that acts",
    ),
)
def _by_acting_agents(case: Case) -> Iterator[Met]:
    for visit in case.walk.visits:
        for agent in () if visit.is_terminal else visit.acting:
            yield _read(case, visit, agent)


@relation(
    name="perfect-information",
    requirement="declared perfect_information: every agent's text tells the whole state",
    cause="the text leaves a part of the state out, perhaps only at the end",
    unit="texts",
    holds=lambda game: game.facts.perfect_information,
    opposite=Opposite(
        requirement="declared perfect_information=False: some states read alike to an agent",
        denied="every state was visited, and every agent's text tells all of them apart",
        cause="the texts show what is hidden; or nothing is (agents that act at once hide nothing here): declare True",
        doubt="no two of the states met read alike to an agent: perhaps the texts show what is hidden",
    ),
)
def _by_all_agents(case: Case) -> Iterator[Met]:
    for visit in case.walk.visits:
        for agent in case.game.agents:
            yield _read(case, visit, agent)


@relation(
    name="stochastic-start",
    requirement="stochastic_start is declared as it is: one start, or more",
    cause="the fact does not follow a setting of the game",
    unit="starts",
    holds=lambda game: _opposite(game.facts.stochastic_start),
)
def _starts(case: Case) -> Iterator[Met]:
    state = case.walk.visits[0].state
    yield Met("start", observable(case.game, state, ()), 0, f"the start {state!r:.300}", "state")


@relation(
    name="stochastic-transitions",
    requirement="stochastic_transitions is declared as it is: a step has one outcome, or more",
    cause="the fact does not follow a setting of the game",
    unit="steps",
    holds=lambda game: _opposite(game.facts.stochastic_transitions),
    opposite=Opposite(
        requirement="declared stochastic_transitions=True: some step has more than one outcome",
        denied="every step was taken, and each has one outcome",
        cause="the fact does not follow a setting of the game",
        doubt="no step was met with two outcomes",
    ),
)
def _steps(case: Case) -> Iterator[Met]:
    game = case.game
    steps = list(itertools.pairwise(case.walk.visits))
    for before, after in steps:
        key = (before.state, tuple((after.joint_action or {}).items()))
        seen = f"{after.joint_action!r} leads to {after.state!r:.200}, rewards {after.rewards_N!r}"
        show = f"game.sample_transition(state, {joint_code(case, before, after)}, tsmg.Stream(0))"
        value = observable(game, after.state, after.rewards_N)
        yield Met(key, value, before.t, seen, show)
    for before, after in steps[len(steps) // 2 :][:1]:
        yield from _other_draws(case, before, after)


def _other_draws(case: Case, before: Visit, after: Visit) -> Iterator[Met]:
    """The same step with other streams; nothing where the state cannot be left a second time."""
    joint_action = after.joint_action or {}
    for number in range(3):
        rng = Stream(number)
        try:
            state, rewards_N = case.game.sample_transition(before.state, {**joint_action}, rng)
        except GameLawError:
            return
        seen = f"{joint_action!r} leads to {state!r:.200}, rewards {rewards_N!r}"
        code = joint_code(case, before, after)
        show = f"game.sample_transition(state, {code}, tsmg.Stream({number}))"
        value = observable(case.game, state, rewards_N)
        yield Met((before.state, tuple(joint_action.items())), value, before.t, seen, show)


@relation(
    name="instances",
    requirement="declared start_is_instance: starts are instances that differ",
    cause="instance_key is the same for all starts, so none can be held out",
    unit="starts",
    holds=lambda game: False if game.facts.start_is_instance else None,
)
def _instances(case: Case) -> Iterator[Met]:
    key = case.game.instance_key(case.walk.visits[0].state)
    yield Met("instance", key, 0, f"instance {key!r:.200}", "game.instance_key(state)")


def _opposite(fact: bool | None) -> bool | None:
    return None if fact is None else not fact


@walk_rule(
    name="known-episodes",
    requirement="episodes with known returns have these returns",
    cause="a reward goes to the wrong agent, or an action that is legal is refused",
    unit="game",
    is_static=True,
)
def known_episodes(case: Case) -> Iterator[Outcome]:
    """Play each known episode; the rule is checked where the author gives any."""
    game = case.game
    for known in case.subject.known:
        key = EpisodeKey(seed=known.seed)
        state = game.sample_initial_state(key.stream(Purpose.START))
        returns_N = [0.0] * len(game.agents)
        for t, action in enumerate(known.actions):
            texts = {game.acting_agents(state)[0]: action} if isinstance(action, str) else action
            outcomes = {a: game.read_action(state, a, text) for a, text in texts.items()}
            actions = {a: o.action for a, o in outcomes.items() if isinstance(o, Parsed)}
            if len(actions) < len(outcomes):
                yield Finding(
                    0, f"{known.actions!r}: at step {t} {action!r} is read as {outcomes!r}"
                )
                return
            rng = key.stream(Purpose.CHANCE, step=t)
            state, rewards_N = game.sample_transition(state, actions, rng)
            returns_N = [a + b for a, b in zip(returns_N, rewards_N, strict=True)]
        seen = f"{known.actions!r} returns {tuple(returns_N)}, known is {known.returns_N}"
        close = all(
            math.isclose(a, b, abs_tol=_TOLERANCE)
            for a, b in zip(returns_N, known.returns_N, strict=True)
        )
        yield None if close else Finding(0, seen)


RULES: tuple[Rule, ...] = (
    _agree,
    _zero_sum,
    _return_bounds,
    _longest_game,
    _symmetric,
    _information,
    _by_acting_agents,
    _by_all_agents,
    _starts,
    _steps,
    _instances,
    known_episodes,
)
