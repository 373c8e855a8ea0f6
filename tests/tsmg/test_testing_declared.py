"""The conformance kit: what a game does not declare, what a whole enumeration denies, and where a check stops."""

from collections.abc import Hashable
from typing import Any

import attrs
import pytest
from click.testing import CliRunner

import tsmg
from algorithms.cli.main import main
from tests.mutants import MISSED, NOTICED, SUBTLE, Gifts, mutant
from tests.tsmg.test_testing import Countdown, Ladder, Memory, Unlisted, broken, declared, quick
from tsmg import Facts, Stream, Transition
from tsmg.testing import Status, check_game
from tsmg.testing.enumeration import enumerate_game
from tsmg.testing.rule import Case
from tsmg.testing.twins import Twins
from tsmg.testing.walks import Script, Subject

# ---- information that is hidden ------------------------------------------------------------------


class Bluff(Memory):
    """One of two reads a coin that neither should see; the information key is the default."""

    agents = ("first", "second")
    facts = Facts(perfect_information=False)

    def sample_initial_state(self, rng: Stream) -> Any:
        return (rng.integer(2), 0)

    def sample_transition(self, state: Any, joint_action: Any, rng: Stream) -> Transition[Any]:
        return Transition((state[0], state[1] + len(joint_action)), (0.0, 0.0))

    def is_terminal(self, state: Any) -> bool:
        return state[1] == 2

    def acting_agents(self, state: Any) -> tuple[str, ...]:
        return () if self.is_terminal(state) else self.agents[:1]

    def observation_text(self, state: Any, agent: str) -> str:
        return f"step {state[1]}, coin {state[0] if agent == 'first' else 'unknown'}"


class Keyed(Bluff):
    """The same, but it says what an agent may know."""

    def information_key(self, state: Any, agent: str) -> Hashable:
        return state[1]


@pytest.mark.parametrize("rule", ["information", "information-told"])
def test_a_key_that_is_the_text_is_not_declared(rule: str) -> None:
    result = quick(Bluff).result(rule)
    assert (result.status, result.count) == (Status.NOT_DECLARED, 0)
    assert "override information_key" in result.notes[0]
    open_game = quick(Countdown).result(rule)
    assert (open_game.status, open_game.notes) == (Status.NOT_DECLARED, ())


def test_a_key_that_says_less_than_the_text_is_compared() -> None:
    assert quick(Keyed).broken == ("information",)
    assert quick(Gifts).result("information-told").status is Status.OK


def test_a_whole_enumeration_denies_hidden_information() -> None:
    hides = declared(text_separates_states=None, perfect_information=False)
    report = quick(hides)
    (violation,) = report.violations
    assert violation.rule == "perfect-information"
    assert violation.requirement.startswith("declared perfect_information=False")
    assert "tells all of them apart" in violation.seen and "declare True" in violation.cause
    few = check_game(hides, max_examples=1, max_steps=2)
    result = few.result("perfect-information")
    assert few.is_conformant and result.status is Status.NOT_SEEN
    assert "perhaps the texts show what is hidden" in result.notes[0]


def test_chance_is_denied_where_every_step_has_one_outcome() -> None:
    chance = declared(stochastic_transitions=True)
    assert quick(chance, rules=["stochastic-transitions"]).broken == ("stochastic-transitions",)


# ---- states that are equal ------------------------------------------------------------------------


def test_equal_starts_that_differ_are_played_alike() -> None:
    make = mutant("state-forgets")
    game, limit = make(), 2
    subject = Subject(make=make, limit=limit, full=limit)
    twins, found = Twins(subject, game), []
    for seed in range(20):
        case = Case.of(subject, Script(seed=seed, moves=(3,)))
        found += [tuple(subject.walk(game, script).visits[0].state for script in twins.equal(case))]
    pairs = [pair for pair in found if pair]
    assert pairs and all(one == other and one.luck != other.luck for one, other in pairs)
    assert not any([*twins.equal(Case.of(subject, Script(outcomes=(0,))))])


# ---- defects that are hard to see ------------------------------------------------------------------


def test_every_defect_is_noticed_or_called_missed() -> None:
    assert {*NOTICED} | MISSED == {*SUBTLE} and {"magic-word", "half-shown"} <= MISSED


def test_cards_that_all_read_are_noticed_though_no_key_is_declared() -> None:
    assert check_game(mutant("all-shown"), max_examples=40).broken == (NOTICED["all-shown"],)


@pytest.mark.parametrize("defect", ["half-shown", "magic-word"])
def test_what_is_missed_is_known(defect: str) -> None:
    report = quick(mutant(defect))
    assert report.is_conformant and report.result("information").notes


def test_a_step_that_changes_its_argument_is_the_only_cause() -> None:
    source = "from tests.mutants import mutant\ngame = mutant('joint-cleared')()"
    report = quick(mutant("joint-cleared"), source=source)
    assert report.broken == ("arguments",)
    (violation,) = report.violations
    assert "copy it first" in violation.cause and violation.script.endswith("given")
    names: dict[str, Any] = {}
    exec(violation.script, names)
    assert names["given"] == {}


def test_a_message_that_raises_is_quoted() -> None:
    (violation,) = quick(mutant("three-words")).violations
    assert violation.rule == "free-text" and "the step raised IndexError" in violation.seen
    assert "game.read_action(state, 'ann', 'say: " in violation.script


def test_players_may_use_what_they_read_before_where_the_key_is_the_text() -> None:
    class Recalls(tsmg.AbstractPlayer[Any, Any]):
        def action_dist(self, state: Any, agent: str) -> Any:
            return tsmg.deterministic(state[0] if state[1] else 0)

    class Once(Bluff):
        """Shows the coin at the first step only."""

        def observation_text(self, state: Any, agent: str) -> str:
            return f"step {state[1]}, coin {'' if state[1] else state[0]}"

        def scripted_player(self) -> Any:
            return Recalls()

    class Never(Once):
        """Shows no coin."""

        def observation_text(self, state: Any, agent: str) -> str:
            return f"step {state[1]}"

    assert quick(Once).result("player-information").status is Status.OK
    assert quick(Never).broken == ("player-information",)


# ---- checks that stop --------------------------------------------------------------------------------


def _no_deck(self: Any, rng: Stream) -> Any:
    raise ValueError("no deck")


def test_a_start_that_raises_is_told_alone() -> None:
    report = quick(broken(Memory, sample_initial_state=_no_deck))
    (violation,) = report.violations
    assert violation.seen == "sample_initial_state raised ValueError: no deck"
    assert violation.cause.startswith("no episode begins")
    assert [r.rule for r in report.results] == [
        "agents",
        "method-names",
        "step-limit",
        "plays-through",
    ]
    assert "the other rules were not checked" in str(report)
    unreadable = broken(Memory, observation_text=lambda self, state, agent: "x"[1:][0])
    (violation,) = quick(unreadable).violations
    assert violation.cause == "no episode begins: the method raises in the first state"


def test_a_start_that_raises_for_some_seeds_does_not_stop_the_check() -> None:
    def sometimes(self: Any, rng: Stream) -> Any:
        return 0 if rng.integer(2) else _no_deck(self, rng)

    report = quick(broken(Memory, sample_initial_state=sometimes))
    assert not report.is_cut_short and report.walks > 1
    assert report.broken == ("plays-through",)


def test_agents_that_are_a_text_are_told_alone() -> None:
    report = quick(broken(Memory, agents="ann"))
    (violation,) = report.violations
    assert violation.cause == "a text: a tuple of one needs a comma, ('ann',)"
    assert [result.rule for result in report.results] == ["agents"]


LONG = Facts(longest_game=40)


@pytest.mark.parametrize(
    ("make", "stopped"),
    [
        (lambda: Countdown(heap=40, facts=LONG), "more than 64 steps (raise max_examples: --examples)"),
        (mutant(""), ""),
        (lambda: tsmg.make("FrozenLake-v0", size=6), "more than 64 starts, or no list of them"),
        (lambda: tsmg.make("Negotiation-v0"), "legal actions are not listed"),
        (Unlisted, "the game does not state its distributions"),
        (Ladder, "states more than 64 steps from the start"),
    ],
)  # fmt: skip
def test_reports_say_where_the_enumeration_stopped(make: Any, stopped: str) -> None:
    examples = 1 if stopped.startswith("more") else 60
    report = check_game(make, max_examples=examples, rules=["types"])
    assert report.not_enumerated == stopped
    assert (f"not enumerated: {stopped}" in report.summary) == bool(stopped)


def test_distributions_that_are_too_large_stop_the_enumeration() -> None:
    game = tsmg.make("GaussianBandit-v0")
    found = enumerate_game(Subject(make=lambda: game, limit=3, full=3), game, 64)
    assert found.stopped == "more than 64 outcomes of a step, or no list of them"


# ---- the command line ----------------------------------------------------------------------------------


def run(*arguments: str) -> Any:
    return CliRunner().invoke(main, ["check", "--examples", "5", *arguments])


def test_texts_of_actions_can_be_given() -> None:
    name = "tests.tsmg.test_testing:Unlisted"
    blind = run(name)
    assert blind.exit_code == 1 and "action_texts (--text)" in " ".join(blind.output.split())
    told = run(name, "--text", "0", "--text", "1")
    assert told.exit_code == 0, told.output


def test_walks_can_be_longer_or_shorter() -> None:
    name = "tests.tsmg.test_testing:Ladder"
    short = run(name, "--set", "bad=0", "--max-steps", "7")
    assert "not enumerated: states more than 7 steps from the start" in short.output
    whole = run(name, "--max-steps", "100", "--examples", "40")
    assert whole.exit_code == 1 and "rewards: a step gives" in whole.output
    assert run(name, "--max-steps", "0").exit_code == 2


def test_a_walk_that_ends_at_the_limit_is_not_blamed_on_missing_texts() -> None:
    report = check_game(
        attrs.evolve(mutant("magic-word")(), horizon=2), max_steps=1, max_examples=5
    )
    assert "whole-episodes" not in report.broken
    assert "raise max_steps" in report.result("whole-episodes").notes[0]
