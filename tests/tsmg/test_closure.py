"""The closed game: a stochastic game over strings, sampled and enumerated from one definition."""

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import pytest
from typeguard import suppress_type_checks

from tests.strategies import Coins, Countdown, Dice, Drift, agrees, slippery_lake
from tsmg import (
    ActionText,
    ClosedGame,
    ClosedState,
    Forfeit,
    Illegal,
    Malformed,
    NotEnumerableError,
    OutcomeKind,
    Parsed,
    ParseFailure,
    PlayDefault,
    PlayRandomLegal,
    StandStill,
    Stream,
    TextOutcome,
    with_invalid_rule,
)

HEADS, BAD, CUT = Parsed("Heads"), Illegal("?"), Malformed("cut")
PARSED, ILLEGAL, MALFORMED = OutcomeKind

Sampler = Callable[[ClosedState[Any], Mapping[str, TextOutcome[Any]], Stream], Any]

CASES: dict[str, tuple[Any, Any, dict[str, TextOutcome[Any]]]] = {
    "turn, valid": (Countdown(), (5, 0), {"first": Parsed(2)}),
    "turn, stand": (Countdown(invalid_rule=StandStill(penalty=1)), (5, 0), {"first": BAD}),
    "turn, random": (Countdown(invalid_rule=PlayRandomLegal(penalty=1)), (5, 1), {"second": CUT}),
    "turn, forfeit": (Countdown(invalid_rule=Forfeit(penalty=1)), (5, 0), {"first": CUT}),
    "both, valid": (Coins(), (), {"even": HEADS, "odd": HEADS}),
    "both, pass": (Coins(), (), {"even": HEADS, "odd": BAD}),
    "both, default": (
        Coins(invalid_rule=PlayDefault(action="Tails")),
        (),
        {"even": CUT, "odd": HEADS},
    ),
    "both, random": (Coins(invalid_rule=PlayRandomLegal()), (), {"even": CUT, "odd": BAD}),
    "chance alone": (Dice(), ("roll", 4), {}),
}


def closed_case(name: str) -> tuple[ClosedGame[Any, Any], ClosedState[Any], dict[str, Any]]:
    game, state, outcomes = CASES[name]
    closed: ClosedGame[Any, Any] = ClosedGame(game)
    return closed, closed.close(state), outcomes


@suppress_type_checks
def sampled_as_enumerated(name: str, sample: Sampler | None = None) -> bool:
    """Frequencies of ``sample_transition`` agree with ``transition_dist``, which sums to 1."""
    closed, state, outcomes = closed_case(name)
    dist = closed.transition_dist(state, outcomes).pmf()
    draw = sample or closed.sample_transition
    draws = [draw(state, outcomes, Stream("closed", name, i)) for i in range(500)]
    return sum(dist.values()) == 1 and agrees(draws, dist)


@pytest.mark.parametrize("name", CASES)
def test_one_law_is_sampled_and_enumerated(name: str) -> None:
    assert sampled_as_enumerated(name)


def test_a_sampler_with_another_rule_is_noticed() -> None:
    other = ClosedGame(with_invalid_rule(Coins(), PlayDefault(action="Pass")))
    assert not sampled_as_enumerated("both, random", other.sample_transition)


def test_the_law_of_a_random_action_is_a_mixture() -> None:
    """By hand: even plays a third each; the wind turns odd's coin with probability 1/4."""
    closed, state, _ = closed_case("both, random")
    dist = closed.transition_dist(state, {"even": BAD, "odd": HEADS})
    shown = {t.state.state[-1]: p for t, p in dist.pmf().items()}
    third = Fraction(1, 3)
    assert shown == {
        (even, odd): third * (Fraction(3, 4) if odd == "Heads" else Fraction(1, 4))
        for even in ("Heads", "Tails", "Pass")
        for odd in ("Heads", "Tails")
    }


def test_penalties_are_apart_from_rewards() -> None:
    game = Coins(invalid_rule=PlayDefault(action="Heads", penalty=3))
    closed: ClosedGame[Any, Any] = ClosedGame(game)
    outcomes = {"even": BAD, "odd": HEADS}
    for transition in closed.transition_dist(closed.close(()), outcomes).support():
        assert sum(transition.rewards_N) == 0  # zero-sum on what was played
        assert transition.penalties_N == (-3.0, 0.0)
        assert dict(transition.played or ()) == {"even": "Heads", "odd": "Heads"}
    drawn = closed.sample_transition(closed.close(()), outcomes, Stream(0))
    assert dict(drawn.played or ()) == {"even": "Heads", "odd": "Heads"}


def test_the_extended_state_remembers_the_last_outcome_of_each() -> None:
    closed: ClosedGame[Any, Any] = ClosedGame(Countdown())
    state = closed.close((5, 0))
    assert state.last_N == (None, None)
    state = closed.sample_transition(state, {"first": Parsed(1)}, Stream(0)).state
    assert (state.state, state.last_N) == ((4, 1), (PARSED, None))
    state = closed.sample_transition(state, {"second": CUT}, Stream(0)).state
    assert (state.state, state.last_N) == ((4, 1), (PARSED, MALFORMED))
    state = closed.sample_transition(state, {"second": BAD}, Stream(0)).state
    assert (state.state, state.last_N) == ((4, 1), (PARSED, ILLEGAL))


def test_standing_still_is_not_playing() -> None:
    closed, state, outcomes = closed_case("turn, stand")
    transition = closed.sample_transition(state, outcomes, Stream(0))
    assert transition.played is None
    assert transition.state.state == state.state
    assert (transition.rewards_N, transition.penalties_N) == ((0.0, 0.0), (-1.0, 0.0))


def test_forfeit_ends_the_game_for_all() -> None:
    closed, state, outcomes = closed_case("turn, forfeit")
    after = closed.sample_transition(state, outcomes, Stream(0)).state
    assert not closed.is_terminal(state)
    assert after.forfeited == {"first"}
    assert closed.is_terminal(after)
    assert closed.is_terminal(closed.close((0, 1)))


def test_reading_extends_psi_to_the_parsers_failures() -> None:
    closed: ClosedGame[Any, Any] = ClosedGame(Countdown())
    state = closed.close((5, 0))
    assert closed.read(state, "first", ActionText("Take 2")) == Parsed(2)
    assert closed.read(state, "first", ActionText("take 9")) == Illegal("take 9")
    assert closed.read(state, "first", ParseFailure("no tag")) == Malformed("no tag")


def test_feedback_follows_each_agents_own_last_text() -> None:
    game = Countdown(invalid_rule=StandStill(with_feedback=True))
    closed: ClosedGame[Any, Any] = ClosedGame(game)
    state = ClosedState((5, 0), (PARSED, ILLEGAL))
    assert closed.feedback_text(state, "first") == ""
    assert "legal action" in closed.feedback_text(state, "second")


def test_the_initial_law_is_closed() -> None:
    closed: ClosedGame[Any, Any] = ClosedGame(slippery_lake(size=2))
    dist = closed.initial_state_dist().pmf()
    assert len(dist) == 3
    assert all(state.last_N == (None,) and not state.forfeited for state in dist)


def test_sampled_games_have_no_laws() -> None:
    closed: ClosedGame[Any, Any] = ClosedGame(Drift())
    with pytest.raises(NotEnumerableError, match="Drift is a sampled game"):
        closed.initial_state_dist()
    with pytest.raises(NotEnumerableError, match="Drift is a sampled game"):
        closed.transition_dist(closed.close(0), {"player": Parsed(1)})
    transition = closed.sample_transition(closed.close(0), {"player": Parsed(1)}, Stream(0))
    assert transition.played == (("player", 1),)
    assert transition.state.state in (1, 2, 3)
