"""iota: four rules for invalid text, in turn-based and in simultaneous games."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import attrs
import pytest

from tests.strategies import Coins, Countdown, Dice
from tsmg import (
    AbstractInvalidRule,
    Distribution,
    Forfeit,
    GameLawError,
    Illegal,
    InvalidArgumentError,
    Malformed,
    OutcomeKind,
    Parsed,
    PlayDefault,
    PlayRandomLegal,
    Resolution,
    StandStill,
    TextOutcome,
    deterministic,
)

BAD = Illegal("?")
WORSE = Malformed("cut")
QUARTER = Fraction(1, 4)
TURN = (Countdown(), (5, 1), "second")
COINS = Coins(with_noop=False)

Table = dict[tuple[Any, ...] | None, Any]


def verdicts(
    rule: AbstractInvalidRule, game: Any, state: Any, outcomes: Mapping[str, TextOutcome[Any]]
) -> Mapping[Resolution, Any]:
    return rule.resolution_dist(game, state, outcomes).pmf()


@pytest.mark.parametrize(
    ("rule", "played", "forfeits"),
    [
        (StandStill(penalty=0.5), {None: 1}, set()),
        (PlayDefault(penalty=0.5, action=2), {(("second", 2),): 1}, set()),
        (
            PlayRandomLegal(penalty=0.5),
            {(("second", 1),): Fraction(1, 2), (("second", 2),): Fraction(1, 2)},
            set(),
        ),
        (Forfeit(penalty=0.5), {None: 1}, {"second"}),
    ],
)
@pytest.mark.parametrize("outcome", [BAD, WORSE])
def test_rules_where_one_agent_acts(
    rule: AbstractInvalidRule, played: Table, forfeits: set[str], outcome: TextOutcome[Any]
) -> None:
    game, state, agent = TURN
    assert verdicts(rule, game, state, {agent: outcome}) == {
        Resolution(joint_action=j, penalties_N=(0.0, -0.5), forfeits=frozenset(forfeits)): p
        for j, p in played.items()
    }


@pytest.mark.parametrize(
    ("rule", "one_bad", "both_bad", "forfeits"),
    [
        (StandStill(penalty=2), {("Heads", "Pass"): 1}, {("Pass", "Pass"): 1}, False),
        (
            PlayDefault(penalty=2, action="Tails"),
            {("Heads", "Tails"): 1},
            {("Tails", "Tails"): 1},
            False,
        ),
        (
            PlayRandomLegal(penalty=2),
            {("Heads", c): Fraction(1, 3) for c in ("Heads", "Tails", "Pass")},
            {
                (c, d): Fraction(1, 9)
                for c in ("Heads", "Tails", "Pass")
                for d in ("Heads", "Tails", "Pass")
            },
            False,
        ),
        (Forfeit(penalty=2), {None: 1}, {None: 1}, True),
    ],
)
def test_rules_where_both_act(
    rule: AbstractInvalidRule, one_bad: Table, both_bad: Table, forfeits: bool
) -> None:
    game = Coins()
    for first, table, paid in ((Parsed("Heads"), one_bad, 0.0), (WORSE, both_bad, -2.0)):
        offenders = {"odd"} if first == Parsed("Heads") else {"even", "odd"}
        dist = verdicts(rule, game, (), {"even": first, "odd": BAD})
        assert {tuple(sorted(v.joint_action)) if v.joint_action else None for v in dist} == {
            (("even", j[0]), ("odd", j[1])) if j else None for j in table
        }
        assert sorted(dist.values()) == sorted(table.values())
        assert {v.penalties_N for v in dist} == {(paid, -2.0)}
        assert {v.forfeits for v in dist} == {frozenset(offenders if forfeits else ())}


RULES = [StandStill(penalty=1), PlayDefault(penalty=1, action=1), PlayRandomLegal(), Forfeit()]


def pays_only_for_offences(rule: AbstractInvalidRule) -> bool:
    """Valid play is played as said and pays nothing; an offender pays at most 0, others nothing."""
    game, state, agent = TURN
    valid = verdicts(rule, game, state, {agent: Parsed(2)})
    invalid = verdicts(rule, game, state, {agent: BAD})
    return valid == {Resolution(joint_action=((agent, 2),), penalties_N=(0.0, 0.0)): 1} and all(
        v.penalties_N[0] == 0 and v.penalties_N[1] <= 0 for v in invalid
    )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_valid_play_is_left_alone(rule: AbstractInvalidRule) -> None:
    assert pays_only_for_offences(rule)


@pytest.mark.parametrize("rule", [StandStill(), PlayDefault(action="Heads"), PlayRandomLegal()])
@pytest.mark.parametrize("offender", ["even", "odd"])
def test_actions_are_played_in_the_order_of_the_agents(
    rule: AbstractInvalidRule, offender: str
) -> None:
    """Environments of other libraries take the actions of all agents in order."""
    outcomes = {agent: BAD if agent == offender else Parsed("Heads") for agent in Coins().agents}
    for resolution in rule.resolution_dist(Coins(), (), outcomes).support():
        assert [agent for agent, _ in resolution.joint_action or ()] == list(Coins().agents)


@attrs.frozen(kw_only=True)
class FineEveryone(AbstractInvalidRule):
    """A wrong rule: all agents pay for one offender."""

    def _resolve(self, game: Any, state: Any, offence: Any) -> Distribution[Resolution[Any]]:
        return deterministic(Resolution(joint_action=None, penalties_N=(-1.0,) * len(game.agents)))


def test_a_rule_that_fines_everyone_is_noticed() -> None:
    assert not pays_only_for_offences(FineEveryone())


def test_standing_still_needs_a_noop_where_several_act() -> None:
    with pytest.raises(GameLawError, match=r"Coins: 'StandStill' needs a declared 'noop_action'"):
        verdicts(StandStill(), COINS, (), {"even": BAD, "odd": Parsed("Heads")})


def test_impossible_actions_of_rules_are_refused() -> None:
    with pytest.raises(GameLawError, match="the default action 2 is not legal for 'second'"):
        verdicts(PlayDefault(action=2), Countdown(), (1, 1), {"second": BAD})

    class Unlisted(Dice):
        def legal_actions(self, state: Any, agent: str) -> Any:
            return None

    with pytest.raises(GameLawError, match="needs legal actions that can be listed"):
        verdicts(PlayRandomLegal(), Unlisted(), ("choose", 1), {"player": BAD})
    dist = verdicts(PlayDefault(action="hold"), Unlisted(), ("choose", 1), {"player": BAD})
    assert [v.joint_action for v in dist] == [(("player", "hold"),)]


@pytest.mark.parametrize("penalty", [-0.1, float("nan"), float("inf")])
def test_penalties_are_finite_and_not_negative(penalty: float) -> None:
    with pytest.raises(InvalidArgumentError, match="'penalty' must be finite and >= 0"):
        StandStill(penalty=penalty)


def test_feedback_is_told_only_when_asked_for() -> None:
    silent, frank = StandStill(), StandStill(with_feedback=True)
    assert {silent.feedback_text(kind) for kind in (None, *OutcomeKind)} == {""}
    assert frank.feedback_text(None) == frank.feedback_text(OutcomeKind.PARSED) == ""
    assert "did not name a legal action" in frank.feedback_text(OutcomeKind.ILLEGAL)
    assert "could not be read" in frank.feedback_text(OutcomeKind.MALFORMED)
