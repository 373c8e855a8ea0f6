"""Rules of the text maps: phi and psi are total and pure, and canonical texts are read back."""

from collections.abc import Iterator
from typing import Any

from tsmg.randomness import Stream
from tsmg.testing.generators import foreign_generators
from tsmg.testing.interface import sampled
from tsmg.testing.rule import Case, Finding, Outcome, Rule, walk_rule
from tsmg.testing.told import answers_alike
from tsmg.testing.walks import Visit, error_line
from tsmg.text import Illegal, Malformed, OutcomeKind, Parsed


@walk_rule(
    name="observation-pure",
    requirement="an observation text depends on the state and the agent alone",
    cause="the text is drawn at random, counts its calls, or reads the instance's own memory",
    unit="texts",
)
def _pure(case: Case) -> Iterator[Outcome]:
    game, fresh = case.game, case.subject.make()
    for visit in case.walk.visits:
        with foreign_generators(1):
            again_N = [game.observation_text(visit.state, agent) for agent in game.agents]
        with foreign_generators(2):
            elsewhere_N = [fresh.observation_text(visit.state, agent) for agent in game.agents]
        told_N = zip(game.agents, visit.texts_N, again_N, elsewhere_N, strict=True)
        for agent, text, again, elsewhere in told_N:
            is_same = text == again == elsewhere
            seen = f"{agent!r} reads {text!r:.200}, then {again!r:.200}, in a fresh game {elsewhere!r:.200}"
            show = f"game.observation_text(state, {agent!r})"
            yield None if is_same else Finding(visit.t, seen, show)


def _turns(case: Case) -> Iterator[tuple[Visit, str]]:
    """(visit, agent) for every acting agent."""
    for visit in case.walk.visits:
        for agent in () if visit.is_terminal else visit.acting:
            yield visit, agent


@walk_rule(
    name="action-round-trip",
    requirement="read_action finds each legal action in its canonical text",
    cause="two actions have one text (after psi's folding), or action_text and read_action disagree",
    unit="actions",
)
def _round_trip(case: Case) -> Iterator[Outcome]:
    game = case.game
    for visit, agent in _turns(case):
        for action in sampled(game.legal_actions(visit.state, agent)):
            text = game.action_text(visit.state, agent, action)
            call = f"game.read_action(state, {agent!r}, {text!r})"
            outcome = _read(case, visit, agent, text)
            is_right = isinstance(outcome, Parsed) and outcome.action == action
            seen = f"{action!r} is written {text!r}, which is read as {outcome!r}"
            yield None if is_right else Finding(visit.t, seen, call)


def _read(case: Case, visit: Visit, agent: str, text: str) -> Any:
    """The outcome of psi, or its exception as text."""
    try:
        return case.game.read_action(visit.state, agent, text)
    except Exception as error:
        return f"an exception, {error_line(error)}"


def _variants(case: Case) -> list[str]:
    """The script's text, alone and joined to a canonical text; canonical texts and words of the walk's states."""
    text = case.walk.script.text
    shown = [case.game.rules_text(agent) for agent in case.game.agents]
    shown += [told for visit in case.walk.visits[-2:] for told in visit.texts_N]
    words = sorted({word for told in shown for word in str(told).split()})
    canonical = {
        case.game.action_text(visit.state, agent, action)
        for visit, agent in _turns(case)
        for action in sampled(case.game.legal_actions(visit.state, agent), 4)
    }
    known = sampled(sorted(canonical), 6)
    return [
        text,
        *known,
        *sampled(words, 12),
        *(word + text for word in known[:1]),
        *(text + word for word in known[:1]),
    ]


@walk_rule(
    name="reading-total",
    requirement="read_action answers any text, twice the same, and never with an illegal action",
    cause="int() or an index on a text that is no number, or a reading that guesses",
    unit="texts",
)
def _reading_total(case: Case) -> Iterator[Outcome]:
    variants = _variants(case)
    for visit, agent in _turns(case):
        first = [_read(case, visit, agent, text) for text in variants]
        with foreign_generators(1):
            second = [_read(case, visit, agent, text) for text in variants]
        for text, outcome, again in zip(variants, first, second, strict=True):
            call = f"game.read_action(state, {agent!r}, {text!r})"
            wrong = _wrong_outcome(case, visit, agent, outcome)
            if outcome != again:
                wrong = f"first {outcome!r:.100}, then {again!r:.100}"
            seen = f"{text!r:.100} is read as {wrong}"
            yield Finding(visit.t, seen, call) if wrong else None


def _wrong_outcome(case: Case, visit: Visit, agent: str, outcome: object) -> str:
    if isinstance(outcome, Parsed):
        is_legal = _is_legal(case, visit, agent, outcome.action)
        return "" if is_legal else f"{outcome!r}, which is not legal"
    return "" if isinstance(outcome, Illegal | Malformed) else f"{outcome!s:.200}"


def _is_legal(case: Case, visit: Visit, agent: str, action: Any) -> bool:
    legal = case.game.legal_actions(visit.state, agent)
    return legal is None or action in legal


@walk_rule(
    name="invalid-text",
    requirement="the invalid rule answers an unreadable text in every state, whenever it is asked",
    cause="StandStill without a noop_action where several act, or a default action that is not legal",
    unit="turns",
)
def _invalid_text(case: Case) -> Iterator[Outcome]:
    """The invalid rule, with one unreadable text at a time."""
    for visit, agent in _turns(case):
        try:
            wrong = _wrong_resolution(case, visit, agent)
        except Exception as error:
            wrong = f"raised {error_line(error)}"
        seen = f"an unreadable text of {agent!r}: {wrong}"
        yield Finding(visit.t, seen, "game.invalid_rule") if wrong else None


def _wrong_resolution(case: Case, visit: Visit, agent: str) -> str:
    game = case.game
    outcomes: dict[str, Any] = {}
    for other in visit.acting:
        actions = sampled(game.legal_actions(visit.state, other), 1)
        outcomes[other] = Parsed(actions[0]) if actions else Malformed("not listed")
    outcomes[agent] = Malformed("nothing to read")
    dist = game.invalid_rule.resolution_dist(game, visit.state, outcomes)
    if not answers_alike(dist, game.invalid_rule.resolution_dist(game, visit.state, outcomes)):
        return "it is answered otherwise when asked again: the rule remembers"
    resolution = dist.sample(Stream("invalid"))
    if not isinstance(game.invalid_rule.feedback_text(OutcomeKind.MALFORMED), str):
        return "its feedback is no text"
    played = dict(resolution.joint_action or ())
    if played and set(played) != set(visit.acting):
        return f"actions of {sorted(played)} are played where {visit.acting!r} act"
    wrong = [name for name, action in played.items() if not _is_legal(case, visit, name, action)]
    return f"{played!r} is played, which is not legal for {wrong}" if wrong else ""


RULES: tuple[Rule, ...] = (
    _pure,
    _round_trip,
    _reading_total,
    _invalid_text,
)
