"""Rules by name and of the user's own: how they are found, what they must return, and what they remember."""

import functools
import importlib
import json
import math
import re
import sys
from collections import defaultdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import attrs
import numpy as np
import pytest
from typeguard import suppress_type_checks

from algorithms import MSGRPOConfig
from algorithms.method.batch import RoleGroup
from algorithms.method.credit import CREDIT_RULES, CreditSettings
from algorithms.method.episode_sampling import Selected
from algorithms.method.estimator import Estimator
from algorithms.method.rules import find_rule, is_own
from tests.algorithms.method.test_estimator import walks
from tests.own_rules import MovingAverage, last_reply, softmax_draw
from tsmg import Facts, Finite, InvalidArgumentError, Stream

CONFIG = MSGRPOConfig(group_size=4, kept_episodes=2, std="none")
STATE = ("observe", "state", "load_state")


def estimator(**rules: Any) -> Estimator:
    return Estimator.of(CONFIG, Facts(), **rules)


def roles(made: Estimator) -> list[RoleGroup]:
    """The group of ``walks`` in its one role: returns 0, 0, 1, 1 and lengths 4, 3, 2, 4."""
    return made.role_groups([walks()], ["walker"])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("mine", "'credit' must be one of episode, or module:object \\(got 'mine'\\)"),
        (
            "no_module:rule",
            "'credit' cannot load 'no_module:rule': ModuleNotFoundError: No module named 'no_module'",
        ),
        (
            "tests.own_rules:none",
            "'credit' cannot load 'tests.own_rules:none': AttributeError: .* no attribute",
        ),
        ("tests.own_rules:__name__", "'credit' must name a rule"),
    ],
)
def test_what_names_no_rule_is_one_sentence(setting: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        find_rule(setting, {"episode": last_reply}, option="credit")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("def f(:", "SyntaxError: .*line 1"),
        ("rule = undefined_name", "NameError: name 'undefined_name' is not defined"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        (
            "class rule:\n  def __init__(self): raise RuntimeError('one\\ntwo')",
            "RuntimeError: one two",
        ),
        ("class rule:\n  def __init__(self, x): ...", "TypeError: .* required positional argument"),
        ("def __getattr__(name): raise KeyError(name)", "KeyError: '.*'"),
    ],
)
def test_whatever_the_code_of_a_rule_raises_is_one_sentence(
    code: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "their_rules.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "their_rules", raising=False)
    importlib.invalidate_caches()
    with pytest.raises(InvalidArgumentError) as caught:
        find_rule("their_rules:rule", {}, option="credit")
    sys.modules.pop("their_rules", None)
    assert re.fullmatch(f"'credit' cannot load 'their_rules:rule': {reason}.*", str(caught.value))


@pytest.mark.parametrize("value", ["mine", "a b:c", "a:b:c", 3, None])
@pytest.mark.parametrize("setting", ["credit", "sampling", "group_filter", "batch_rule", "starts"])
def test_a_setting_that_can_name_no_rule_is_refused_at_once(setting: str, value: object) -> None:
    with pytest.raises(InvalidArgumentError, match=f"'{setting}' must be one of .* module:object"):
        attrs.evolve(CONFIG, **{setting: value})


def test_settings_name_rules_of_ones_own() -> None:
    made = Estimator.of(
        attrs.evolve(
            CONFIG, credit="tests.own_rules:MovingAverage", sampling="tests.own_rules:softmax_draw"
        ),
        Facts(),
    )
    assert isinstance(made.credit, MovingAverage)
    assert made.sampling is softmax_draw and made.kept_episodes == 2


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (
            [[0.0] * 4, [0.0] * 3, [0.0] * 2],
            "rows of \\[4, 3, 2, 4\\] \\(got rows of \\[4, 3, 2\\]\\)",
        ),
        ([[0.0] * 4, [0.0] * 3, [0.0], [0.0] * 4], "got rows of \\[4, 3, 1, 4\\]"),
        (
            [[0.0] * 4, [0.0] * 3, [0.0, float("nan")], [0.0] * 4],
            "return 1 finite number \\(got \\(nan,\\)\\)",
        ),
        ([[0.0] * 4, [0.0] * 3, [0.0, (0.0, 1.0)], [0.0] * 4], "return 1 finite number "),
    ],
)
def test_what_is_no_advantage_for_each_completion_is_refused(returned: Any, message: str) -> None:
    def wrong(group: Any, agent: str) -> Any:
        return returned

    with pytest.raises(InvalidArgumentError, match=f"the rule 'wrong' must .*{message}"):
        roles(estimator(credit=wrong))


def test_a_rule_may_give_each_token_its_own_advantage() -> None:
    (found,) = roles(
        estimator(
            credit=lambda group, agent: [
                [(float(t),) for t, _ in enumerate(e.completions(agent))] for e in group.episodes
            ]
        )
    )
    assert found.credits_G[2] == ((0.0,), (1.0,))


def test_episodes_are_drawn_by_the_scores_of_the_credit_rule() -> None:
    rule = MovingAverage()
    rule.averages["walker"] = 1.0
    (found,) = roles(estimator(credit=rule))
    assert found.advantages_G == (-1.0, -1.0, 0.0, 0.0)
    assert roles(estimator(credit=last_reply))[0].advantages_G == (-0.5, -0.5, 0.5, 0.5)


def test_a_filter_says_which_groups_are_learnt_from_and_they_are_the_denominator() -> None:
    made = estimator(group_filter=lambda role_groups: [n == 1 for n in range(len(role_groups))])
    passed = made.passed(roles(made) * 3)
    assert len(passed) == 1
    selected = [Selected(group=0, episode=2, weight=1.0)]
    rows = made.rows(passed, selected, asked=3)
    assert [row.weight for row in rows] == [1 / 2] * 2  # one group of two episodes
    plain = estimator().rows(passed, selected, asked=3)
    assert [row.weight for row in plain] == [pytest.approx(1 / 6)] * 2
    assert made.rows([], [], asked=3) == []


def test_a_batch_rule_replaces_the_advantages_of_all_groups() -> None:
    made = estimator(
        batch_rule=lambda role_groups: [
            [[10 * a for a in row] for row in g.credits_G] for g in role_groups
        ]
    )
    (before, _) = both = roles(made) * 2
    for found in made.over_batch(both):
        assert found.credits_G[2] == (5.0, 5.0) and found.advantages_G == before.advantages_G
    assert made.over_batch([]) == []
    with pytest.raises(InvalidArgumentError, match="advantages for 2 groups \\(got 1\\)"):
        estimator(batch_rule=lambda role_groups: [role_groups[0].credits_G]).over_batch(both)
    with pytest.raises(
        InvalidArgumentError, match="rows of \\[4, 3, 2, 4\\] \\(got rows of \\[\\]"
    ):
        estimator(batch_rule=lambda role_groups: [[]]).over_batch(both[:1])


def test_a_draw_of_ones_own_is_drawn_as_its_distribution_says() -> None:
    made = estimator(sampling=softmax_draw)
    both = roles(made) * 2
    dist = made.draw_dist(both).pmf()
    assert len(dist) == 16 and sum(dist.values()) == pytest.approx(1)
    counts = dict.fromkeys(dist, 0)
    for n in range(4000):
        counts[tuple(made.draw(both, [Stream("draw", n, g) for g in range(2)]))] += 1
    for chosen, p in dist.items():
        assert [s.group for s in chosen] == [0, 1]
        assert counts[chosen] / 4000 == pytest.approx(float(p), abs=5 * (float(p) / 4000) ** 0.5)


@pytest.mark.parametrize("pairs", [((4, 1.0),), ((-1, 1.0),), ((0, -1.0),), ((0, float("nan")),)])
def test_a_draw_of_what_is_not_there_is_refused(pairs: Any) -> None:
    def wrong(role_group: RoleGroup) -> Finite[Any]:
        return Finite({pairs: 1})

    made = estimator(sampling=wrong)
    with pytest.raises(InvalidArgumentError, match="the rule 'wrong' must"):
        made.draw(roles(made), [Stream(0)])


def test_rules_with_a_state_are_observed_saved_and_restored_by_their_place() -> None:
    made = estimator(credit=MovingAverage())
    groups = roles(made)
    made.observe(groups)
    assert made.state() == {"credit": {"averages": {"walker": 0.25}}}
    assert roles(made)[0].credits_G[2] == (0.75, 0.75)
    other = estimator(credit=MovingAverage())
    other.load_state(made.state())
    assert roles(other) == roles(made)
    with pytest.raises(InvalidArgumentError, match=r"rules \[\] \(got \['credit'\]\)"):
        estimator().load_state(made.state())
    assert estimator().state() == {}


class Kept:
    """Credit 0, and a state of any kind, which an update sets."""

    def __init__(self, later: Any = None) -> None:
        self.kept: Any = {}
        self.later = later

    def __call__(self, group: Any, agent: str) -> list[list[float]]:
        return [[0.0] * len(list(episode.completions(agent))) for episode in group.episodes]

    def observe(self, role_groups: Any) -> None:
        self.kept = self.later

    def state(self) -> Any:
        return self.kept

    def load_state(self, state: Any) -> None:
        self.kept = state


CYCLE: dict[str, Any] = {}
CYCLE["itself"] = CYCLE


@pytest.mark.parametrize(
    "state",
    [
        {0: 1.0},
        {"deep": [{None: 1}]},
        {("a", "b"): 1},
        {"mean": np.float32(0.5)},
        {"number": np.int64(1)},
        {"means": np.ones(2)},
        {"seen": {1, 2}},
        MappingProxyType({"mean": 0.5}),
        b"bytes",
        CYCLE,
    ],
)
def test_a_state_that_json_does_not_give_back_is_refused_when_an_update_made_it(state: Any) -> None:
    made = estimator(credit=Kept(state))
    assert made.state() == {"credit": {}}
    message = re.escape(
        f"the rule 'Kept' must give a state that JSON can hold and give back (got {state!r:.100})"
    )
    with pytest.raises(InvalidArgumentError, match=f"^{message}$"):
        made.observe(roles(made))
    with pytest.raises(InvalidArgumentError, match=f"^{message}$"):
        made.state()


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"averages": {"walker": 0.5, "é": -math.inf}, "none": None, "on": True, "n": 10**30},
        {"pair": (1, 2.0), "list": [[], {}], "nan": math.nan},
        {"float": np.float64(0.1)},
        defaultdict(float, walker=0.5),
    ],
)
def test_a_state_that_json_gives_back_is_kept(state: Any) -> None:
    made = estimator(credit=Kept(state))
    made.observe(roles(made))
    assert made.state() == {"credit": state}
    text = json.dumps(made.state())
    assert json.dumps(json.loads(text)) == text


def test_the_librarys_own_states_are_not_looked_through_at_every_update(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Estimator.of(attrs.evolve(CONFIG, credit="role_baseline"), Facts())
    groups = roles(made)
    asked: list[object] = []
    monkeypatch.setattr(type(made.credit), "state", lambda self: asked.append(self) or {})
    made.observe(groups)
    assert not asked
    assert made.state() == {"credit": {}} and asked == [made.credit]


@pytest.mark.parametrize("place", ["credit", "group_filter", "batch_rule", "sampling", "starts"])
@pytest.mark.parametrize("missing", [*STATE, ("observe", "state"), ("state", "load_state")])
def test_a_part_of_a_state_is_refused_at_once(place: str, missing: Any) -> None:
    names = [missing] if isinstance(missing, str) else list(missing)
    methods = {name: getattr(Kept, name) for name in STATE if name not in names}
    rule = type("Partial", (), {"__call__": Kept.__call__, **methods})()
    with pytest.raises(
        InvalidArgumentError,
        match=r"^the rule 'Partial' must have all of the methods observe, state and load_state, or none of them "
        rf"\(got no {' and no '.join(names)}\)$",
    ):
        attrs.evolve(estimator(), **{place: rule})


def test_a_value_that_is_called_state_is_no_part_of_a_state() -> None:
    rule = Kept()
    with_value = type("WithValue", (), {"__call__": Kept.__call__, "state": "open"})()
    assert estimator(credit=with_value).state() == {}
    assert estimator(credit=rule).state() == {"credit": {}}


def test_rules_of_the_library_are_not_ones_own() -> None:
    for gae in ("turn", "subgoal"):
        settings = CreditSettings(std="none", eps=0.0, gae=gae)
        assert not any(is_own(make(settings)) for make in CREDIT_RULES.values())
    for own in (last_reply, functools.partial(last_reply), Kept(), Kept().__call__, len):
        assert is_own(own)


def test_a_draw_of_ones_own_beside_all_is_a_mean_over_the_episodes_that_are_meant_to_be_kept() -> (
    None
):
    every = attrs.evolve(CONFIG, sampling="all")
    assert Estimator.of(every, Facts()).kept_episodes == 4
    assert Estimator.of(every, Facts(), sampling=softmax_draw).kept_episodes == 2


@suppress_type_checks
@pytest.mark.parametrize("name", ["alpha", "floor", "replacement", "scope", "corrected"])
def test_settings_of_named_draws_are_refused_beside_a_draw_that_weighs_by_itself(name: str) -> None:
    value = {"alpha": 2.0, "floor": 0.5, "scope": "batch"}.get(name, True)
    for sampling in ("tests.own_rules:softmax_draw", "max_variance"):
        with pytest.raises(InvalidArgumentError, match=f"'{name}' has no effect with 'sampling'"):
            attrs.evolve(CONFIG, sampling=sampling, **{name: value})


def test_groups_of_equal_returns_have_no_variance_whatever_they_are_compared_with() -> None:
    made = Estimator.of(attrs.evolve(CONFIG, baseline="none", group_filter="signal"), Facts())
    (found,) = roles(made)
    same = attrs.evolve(found, returns_G=(1.0,) * 4, advantages_G=(1.0,) * 4)
    assert found.has_variance and same.has_signal and not same.has_variance
    assert made.passed([found, same]) == [found]
