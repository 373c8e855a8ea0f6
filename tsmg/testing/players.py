"""Rules of the scripted player: it plays what is legal, and decides by what its agent knows."""

from collections.abc import Iterator, Mapping
from typing import Any

from tsmg.distribution import Distribution
from tsmg.game import AnyGame
from tsmg.randomness import Stream
from tsmg.testing.distributions import table, wrong_probabilities
from tsmg.testing.rule import Case, Finding, Met, Outcome, Rule, relation, walk_rule
from tsmg.testing.told import answers_alike, histories

_DIGITS = 9
"""Probabilities that agree to so many digits count as equal."""


def _has_player(game: AnyGame) -> bool:
    return game.scripted_player() is not None


Answers = tuple[Distribution[Any], Distribution[Any]]


def _answers(case: Case) -> Mapping[tuple[int, str], Answers]:
    """What the player answers, asked twice in a row, at each (visit, acting agent) of the walk."""

    def asked() -> Mapping[tuple[int, str], Answers]:
        player: Any = case.game.scripted_player()
        return {
            (visit.t, agent): (
                player.action_dist(visit.state, agent),
                player.action_dist(visit.state, agent),
            )
            for visit in case.walk.visits
            for agent in (() if visit.is_terminal else visit.acting)
        }

    return case.once("answers", asked)


def _code(agent: str) -> str:
    return f"game.scripted_player().action_dist(state, {agent!r})"


@walk_rule(
    name="scripted-player",
    requirement="the scripted player plays legal actions, with probabilities that sum to 1, whenever it is asked",
    cause="legal_actions and the scripted player disagree, or the player remembers what it was asked",
    unit="turns",
    applies=_has_player,
)
def _scripted(case: Case) -> Iterator[Outcome]:
    for (t, agent), (dist, again) in _answers(case).items():
        state = case.walk.visits[t].state
        pmf = table(dist) or {dist.sample(Stream("scripted")): 1}
        legal = case.game.legal_actions(state, agent)
        wrong = wrong_probabilities(pmf)
        if not answers_alike(dist, again):
            wrong = wrong or "differs when it is asked again in the same state"
        if legal is not None:
            foreign = [action for action, p in pmf.items() if p and action not in legal]
            wrong = wrong or (f"plays {foreign!r}, legal are {legal!r}" if foreign else "")
        yield Finding(t, f"{_code(agent)} {wrong}", f"{_code(agent)}.pmf()") if wrong else None


@relation(
    name="player-information",
    requirement="where an agent knows the same (information_key), its scripted player decides the same",
    cause="the player looks at what is hidden from its agent; or it uses what information_key leaves out",
    unit="turns",
    holds=lambda game: None if game.facts.perfect_information or not _has_player(game) else True,
)
def _informed(case: Case) -> Iterator[Met]:
    """Where the key is the text, what was read before counts as known, too."""
    answers = _answers(case)
    for n, agent in enumerate(case.game.agents):
        for visit, told, known in histories(case, n):
            if (visit.t, agent) not in answers:
                continue
            knows = told if known == visit.texts_N[n] else ("key", known)
            decides = _decision(answers[visit.t, agent][0])
            seen = (
                f"{agent!r} knows {known!r:.200} and its player's distribution is {decides!r:.200}"
            )
            yield Met((agent, knows), decides, visit.t, seen, f"{_code(agent)}.pmf()")


def _decision(dist: Distribution[Any]) -> Any:
    """A distribution to compare: its probabilities, rounded, or a few draws where it cannot be listed."""
    pmf = table(dist)
    if pmf is None:
        return [dist.sample(Stream("decision", number)) for number in range(3)]
    return {action: round(float(p), _DIGITS) for action, p in pmf.items() if p}


RULES: tuple[Rule, ...] = (
    _scripted,
    _informed,
)
