"""A match: which replies it takes, in which order it reads them, and what it says of wrong ones."""

from typing import Any

import pytest

import games
from tsmg import EpisodeKey, EpisodeSpec, GameLawError, Malformed, PlayRandomLegal, Reply
from tsmg import with_invalid_rule as ruled
from tsmg.match import Match

WRONG = Reply(text="?", parser_outcome=Malformed("no action"))


def dilemma(number: int = 0) -> Match[Any]:
    """Two agents who act at once; invalid replies are replaced by a legal action that is drawn."""
    game = ruled(games.make("PrisonersDilemma-v0", rounds=1), PlayRandomLegal())
    return Match.begin(game, EpisodeSpec(key=EpisodeKey(seed=3, episode=number)))


def test_replies_are_those_of_the_agents_who_act() -> None:
    match = dilemma()
    one, other = match.acting
    for replies in ({}, {one: WRONG}, {one: WRONG, other: WRONG, "third": WRONG}):
        for moved in (match.move, lambda found: list(match.moves(found))):
            with pytest.raises(GameLawError, match=rf"\('{one}', '{other}'\) must reply \(got"):
                moved(replies)
    over = match.move({one: WRONG, other: WRONG})
    for replies in ({}, {one: WRONG, other: WRONG}):
        with pytest.raises(GameLawError, match=r"nobody must reply \(got"):
            over.move(replies)


def test_the_order_in_which_replies_are_told_changes_nothing() -> None:
    """Actions in the place of invalid replies are drawn one after the other, in the order of the game's agents."""
    drawn = set()
    for number in range(8):
        match = dilemma(number)
        one, other = match.acting
        told = match.move({one: WRONG, other: WRONG})
        turned = match.move({other: WRONG, one: WRONG})
        assert told.steps == turned.steps
        assert [step.agent for step in turned.steps[0].agent_steps] == [one, other]
        drawn.add(tuple(step.played for step in told.steps[0].agent_steps))
    assert len(drawn) > 2


def test_a_match_is_a_record_once_it_is_over() -> None:
    match = dilemma()
    with pytest.raises(GameLawError, match="the match is not over at step 0"):
        match.episode()
    over = match.move(dict.fromkeys(match.acting, WRONG))
    assert over.episode().steps == over.steps and len(over.steps) == 1


def test_whose_reading_failed_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    match = dilemma()

    def fail(closed: object, state: object, agent: str, outcome: object) -> None:
        if agent == match.acting[1]:
            raise ValueError("unreadable")

    monkeypatch.setattr(type(match.closed), "read", fail)
    with pytest.raises(ValueError, match="unreadable") as caught:
        match.move(dict.fromkeys(match.acting, WRONG))
    assert caught.value.__notes__ == [f"agent {match.acting[1]!r}"]
