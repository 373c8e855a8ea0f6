"""Rules of what must not depend on how or how often it is asked: rules, joint actions, and what agents know."""

import itertools
from collections.abc import Hashable, Iterator
from typing import Any

from tsmg.distribution import Distribution
from tsmg.errors import GameLawError
from tsmg.randomness import Stream
from tsmg.testing.generators import foreign_generators
from tsmg.testing.rule import Case, Finding, Met, Outcome, Rule, relation, walk_rule
from tsmg.testing.walks import Visit

KEY_IS_TEXT = (
    "nothing to compare, since the information key is the text itself: override information_key as what the agent may "
    "know, and a text that shows more will be found"
)
"""The note on a game that does not override ``information_key``."""


@walk_rule(
    name="rules-pure",
    requirement="rules_text and instance_key are the same whenever they are asked, in a fresh game too",
    cause="the text counts its calls, or the key is made of an id or a hash that differs from process to process",
    unit="games",
)
def _rules(case: Case) -> Iterator[Outcome]:
    game, fresh = case.game, case.subject.make()
    start = case.walk.visits[0].state
    for agent in game.agents:
        told = game.rules_text(agent)
        with foreign_generators(1):
            again = game.rules_text(agent), fresh.rules_text(agent)
        seen = f"the rules for {agent!r} are {told!r:.200}, then {again[0]!r:.200} and {again[1]!r:.200}"
        is_same = again == (told, told)
        yield None if is_same else Finding(0, seen, f"game.rules_text({agent!r})")
    keys = game.instance_key(start), game.instance_key(start), fresh.instance_key(start)
    seen = (
        f"the key of the instance is {keys[0]!r:.100}, then {keys[1]!r:.100} and {keys[2]!r:.100}"
    )
    yield None if len(set(keys)) == 1 else Finding(0, seen, "game.instance_key(state)")


@walk_rule(
    name="joint-order",
    requirement="a step depends on who does what, not on the order in which a joint action names the agents",
    cause="the transition reads joint_action.values() in order, instead of joint_action[agent]",
    unit="steps",
)
def _joint_order(case: Case) -> Iterator[Outcome]:
    game, visits = case.game, case.walk.visits
    for before, after in itertools.pairwise(visits):
        joint_action = after.joint_action or {}
        if len(joint_action) < 2:
            continue
        turned = dict(reversed([*joint_action.items()]))
        places = []
        for order in (dict(joint_action), turned):
            stream = case.walk.script.chance(before.t)
            try:
                there = game.sample_transition(before.state, order, stream)
            except GameLawError:  # it cannot leave a state twice; the rule of branching notes it
                return
            places.append((there.state, tuple(there.rewards_N)))
        seen = f"{joint_action!r} leads to {places[0]!r:.200}, and in the other order to {places[1]!r:.200}"
        show = f"game.sample_transition(state, {turned!r}, tsmg.Stream())"
        yield None if places[0] == places[1] else Finding(before.t, seen, show)


@walk_rule(
    name="out",
    requirement="an agent that is out stays out, does not act, and gets no reward any more",
    cause="is_out looks at something that comes back, or a dead agent is still paid",
    unit="agents that are out",
)
def _out(case: Case) -> Iterator[Outcome]:
    game, gone = case.game, set[str]()
    for visit in case.walk.visits:
        for n, agent in enumerate(game.agents):
            is_out = game.is_out(visit.state, agent)
            if not is_out and agent not in gone:
                continue
            wrong = "is out, and then is not" if not is_out else ""
            if agent in visit.acting:
                wrong = "is out, but acts"
            if agent in gone and visit.rewards_N[n]:
                wrong = f"is out, but is paid {visit.rewards_N[n]}"
            gone.add(agent)
            show = f"game.is_out(state, {agent!r})"
            yield Finding(visit.t, f"{agent!r} {wrong}", show) if wrong else None


@relation(
    name="information-told",
    requirement="an agent that read the same, did the same and got the same knows the same (information_key)",
    cause="information_key holds something that no text told the agent, such as a hidden card",
    unit="histories",
    default=KEY_IS_TEXT,
)
def _told(case: Case) -> Iterator[Met]:
    for n, agent in enumerate(case.game.agents):
        for visit, told, known in histories(case, n):
            text = visit.texts_N[n]
            seen = f"{agent!r} read {text!r:.200} and knows {known!r:.200}"
            show = f"game.information_key(state, {agent!r})"
            yield Met((agent, told), known, visit.t, seen, show, bool(known == text))


def histories(case: Case, n: int) -> Iterator[tuple[Visit, Hashable, Hashable]]:
    """(visit, what the agent was told and did up to it, its information key) of agent number ``n``."""
    game, agent = case.game, case.game.agents[n]
    told: Hashable = ()
    for visit in case.walk.visits:
        own = (visit.joint_action or {}).get(agent)
        legal = None
        if agent in visit.acting and not visit.is_terminal:
            legal = game.legal_actions(visit.state, agent)
        paid = visit.rewards_N[n] if visit.rewards_N else 0.0
        told = (told, own, paid, visit.texts_N[n], legal, visit.acting)
        yield visit, told, game.information_key(visit.state, agent)


def answers_alike(once: Distribution[Any], again: Distribution[Any]) -> bool:
    """Whether two distributions give the same draws for the same streams; as much as any distribution can be asked."""
    first, second = (
        [dist.sample(Stream("asked twice", n)) for n in range(3)] for dist in (once, again)
    )
    return first == second


RULES: tuple[Rule, ...] = (_rules, _joint_order, _out, _told)
