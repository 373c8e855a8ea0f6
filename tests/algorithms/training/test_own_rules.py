"""Rules of a user's own in the trainer: what one remembers without saying so is refused at its first update."""

import functools
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from algorithms.method.estimator import Estimator
from tests.algorithms.method.test_rule_answers import CONFIG, GAME, completions, credit_of, trainer
from tests.own_rules import MovingAverage, softmax_draw
from tsmg import BranchPoint, Finite, InvalidArgumentError

SHARED = attrs.evolve(CONFIG, group_on="initial_state")


class Hidden:
    """Remembers a mean of what it was asked, and has no state."""

    def __init__(self) -> None:
        self.mean = 0.0

    def __call__(self, group: Any, agent: str) -> list[list[float]]:
        before, returns = self.mean, group.returns_G(agent)
        self.mean = (self.mean + sum(returns) / len(returns) + 1.0) / 2
        return [[r - before] * completions(e) for e, r in zip(group.episodes, returns, strict=True)]


class HiddenScores:
    """Its credit is always the same; the scores by which it lets episodes be drawn are not."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, group: Any, agent: str) -> list[list[float]]:
        return [[0.0] * completions(episode) for episode in group.episodes]

    def scores(self, group: Any, agent: str) -> list[float]:
        self.calls += 1
        return [float(self.calls)] * len(group.episodes)


def hidden_in_a_function() -> Callable[[Any, str], list[list[float]]]:
    rule = Hidden()

    def remembering(group: Any, agent: str) -> list[list[float]]:
        return rule(group, agent)

    return remembering


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (Hidden(), "Hidden"),
        (HiddenScores(), "HiddenScores"),
        (hidden_in_a_function(), "remembering"),
        (functools.partial(hidden_in_a_function()), "remembering"),
    ],
)
def test_a_rule_that_changes_as_it_is_asked_is_refused_at_the_first_update(
    rule: Any, name: str
) -> None:
    made = trainer(credit=rule)
    with pytest.raises(
        InvalidArgumentError,
        match=f"^the rule '{name}' must return the same when it is asked again; what it remembers belongs in a state",
    ):
        made.update()
    assert made.update_index == 0


def filtering() -> Callable[[Any], list[bool]]:
    """A filter that lets one group less through whenever it is asked."""
    asked: list[None] = []

    def fewer(role_groups: Any) -> list[bool]:
        asked.append(None)
        return [n >= len(asked) - 1 for n in range(len(role_groups))]

    return fewer


def growing() -> Callable[[Any], list[Any]]:
    """A batch rule that adds how often it was asked."""
    asked: list[None] = []

    def larger(role_groups: Any) -> list[Any]:
        asked.append(None)
        return [
            [[a + len(asked) for a in credit_T] for credit_T in g.credits_G] for g in role_groups
        ]

    return larger


def alternating() -> Callable[[Any], Finite[Any]]:
    """A draw of the first episode or the last one, in turn."""
    asked: list[None] = []

    def other(role_group: Any) -> Finite[Any]:
        asked.append(None)
        return Finite(((((len(asked) % 2, 1.0),), 1.0),))

    return other


@pytest.mark.parametrize(
    ("place", "rule", "name"),
    [
        ("group_filter", filtering(), "fewer"),
        ("batch_rule", growing(), "larger"),
        ("sampling", alternating(), "other"),
    ],
)
def test_every_rule_that_changes_as_it_is_asked_is_refused(
    place: str, rule: Any, name: str
) -> None:
    made = trainer(config=attrs.evolve(CONFIG, groups=1), **{place: rule})
    with pytest.raises(
        InvalidArgumentError,
        match=f"^the rule '{name}' must return the same when it is asked again",
    ):
        made.update()
    assert made.update_index == 0


def test_a_start_rule_that_changes_as_it_is_asked_is_refused() -> None:
    asked: list[None] = []

    def changing(starts: Any) -> list[float]:
        asked.append(None)
        return [float(len(asked) + start.number) for start in starts]

    made = trainer(config=SHARED, starts=changing)
    with pytest.raises(
        InvalidArgumentError, match=r"^the rule 'changing' must return the same when"
    ):
        made.update()
    assert made.update_index == 0


@attrs.frozen
class Drawn:
    """A branch of each episode, from a step that is drawn."""

    trained: bool

    def roots(self, group_size: int) -> int:
        return group_size // 2

    def __call__(self, group: Any, agents: Any, rng: Any, *, group_size: int) -> list[BranchPoint]:
        return [BranchPoint(episode=e, step=rng.choice(range(2))) for e in range(self.roots(4))]


@attrs.frozen
class Wandering(Drawn):
    """The same, from the next step whenever it is asked."""

    asked: list[None] = attrs.field(factory=list)

    def __call__(self, group: Any, agents: Any, rng: Any, *, group_size: int) -> list[BranchPoint]:
        self.asked.append(None)
        step = len(self.asked) % 2
        return [BranchPoint(episode=e, step=step) for e in range(self.roots(4))]


@pytest.mark.parametrize("trained", [True, False])
def test_branching_that_changes_as_it_is_asked_is_refused(trained: bool) -> None:
    made = trainer(config=SHARED, branching=Wandering(trained=trained))
    with pytest.raises(InvalidArgumentError, match=r"^the rule 'Wandering' must return the same"):
        made.update()
    assert made.update_index == 0


@pytest.mark.parametrize(
    ("place", "rule"),
    [
        ("group_filter", lambda role_groups: [True] * len(role_groups)),
        ("batch_rule", lambda role_groups: [g.credits_G for g in role_groups]),
        ("sampling", softmax_draw),
        ("starts", lambda starts: [1.0 + start.number for start in starts]),
        ("branching", Drawn(trained=True)),
        ("branching", Drawn(trained=False)),
    ],
)
def test_rules_that_do_not_change_pass(place: str, rule: Any) -> None:
    trainer(config=SHARED, **{place: rule}).update()


class Counting:
    """A rule that counts how often it was asked, and answers nothing by that."""

    def __init__(self, rule: Any) -> None:
        self.rule, self.calls = rule, 0

    def __call__(self, group: Any, agent: str) -> Any:
        self.calls += 1
        return self.rule(group, agent)


def test_a_rule_of_ones_own_is_asked_again_only_once_and_about_one_group() -> None:
    rule = Counting(credit_of(float))
    made = trainer(config=attrs.evolve(CONFIG, updates=3), credit=rule)
    calls = []
    for _ in range(3):
        made.update()
        calls.append(rule.calls)
    assert calls == [3, 5, 7]  # of two groups each


def test_a_rule_of_the_library_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    plain = Estimator.role_groups

    def counted(self: Estimator, groups: Any, agents: Any) -> Any:
        asked.append(len(groups))
        return plain(self, groups, agents)

    monkeypatch.setattr(Estimator, "role_groups", counted)
    trainer().update()
    assert asked == [1, 1]


@pytest.mark.parametrize(
    "config",
    [CONFIG, attrs.evolve(CONFIG, group_on="initial_state", starts="learnability")],
    ids=["law", "starts"],
)
def test_rules_that_remember_in_a_state_pass(config: Any) -> None:
    made = trainer(config=config, credit=MovingAverage())
    made.update()
    assert made.estimator.state()["credit"]["averages"].keys() == {GAME.agents[0]}


class ByNumber:
    """Means by a number, which JSON turns into text."""

    def __init__(self) -> None:
        self.means: dict[Any, float] = {}

    def __call__(self, group: Any, agent: str) -> list[list[float]]:
        mean = self.means.get(0, 0.0)
        pairs = zip(group.episodes, group.returns_G(agent), strict=True)
        return [[r - mean] * completions(episode) for episode, r in pairs]

    def observe(self, role_groups: Any) -> None:
        self.means[0] = role_groups[0].returns_G[0]

    def state(self) -> dict[Any, float]:
        return dict(self.means)

    def load_state(self, state: Any) -> None:
        self.means = dict(state)


def test_a_state_that_could_not_be_resumed_is_refused_at_the_first_update() -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"^the rule 'ByNumber' must give a state that JSON can hold and"
    ):
        trainer(credit=ByNumber()).update()
