"""Generalised advantages over tokens and over both levels: by hand, and their laws."""

from collections.abc import Sequence
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms import MSGRPOConfig
from algorithms.method.critic import CriticCredit
from algorithms.method.value_functions import Position
from lap.engine.scoring import sampled_places
from tests.method_groups import group_of, said
from tsmg import Completion, Ending, EpisodeGroup, InvalidArgumentError

LEVELS = ("turn", "token", "bi_level")


class Told:
    """Values that are given by prompt and place; a place after an episode has those of the prompt "end"."""

    def __init__(self, values: dict[str, Sequence[float]]) -> None:
        self.told = dict(values)
        self.calls = 0
        self.asked: list[str] = []

    def values(self, positions: Sequence[Position]) -> list[float]:
        self.calls += 1
        self.asked += [p.completion.prompt_text for p in positions]
        return [self.told[p.completion.prompt_text][p.tokens] for p in positions]

    def fit(self, positions: Sequence[Position], returns: Sequence[float]) -> None:
        self.fitted = [
            (p.completion.prompt_text, p.tokens, r) for p, r in zip(positions, returns, strict=True)
        ]

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: Any) -> None: ...


def played(
    replies: Sequence[Completion], paid: Sequence[float], discount: float
) -> EpisodeGroup[Any]:
    """An episode in which "player" replies at steps 0 and 2, and is not asked at step 1; terminated."""
    (walk,) = group_of([0.0], [3]).episodes
    steps = []
    for step, reward in zip(walk.steps, paid, strict=True):
        (own,) = step.agent_steps
        number, silent = divmod(step.t, 2)
        mine = attrs.evolve(own, reply=attrs.evolve(own.reply, completions=(replies[number],)))
        agent_steps = () if silent else (mine,)
        steps.append(attrs.evolve(step, agent_steps=agent_steps, rewards_N=(float(reward),)))
    ended = attrs.evolve(walk, steps=tuple(steps), discount=discount, ending=Ending.TERMINATED)
    return EpisodeGroup(episodes=(ended,))


def prompted(text: str, *logprobs: float, trainable: Sequence[bool] | None = None) -> Completion:
    return attrs.evolve(said(*logprobs, trainable=trainable), prompt_text=text)


FIRST = prompted("first", -1.0, -1.0, -1.0)
SECOND = prompted("second", 0.0, -1.0, -1.0, trainable=(False, True, True))  # one token is given
EPISODE = played((FIRST, SECOND), (1.0, 2.0, 8.0), 0.5)
VALUES = {"first": (1.0, 2.0, 3.0), "second": (99.0, 4.0, 6.0), "end": (10.0,)}


def rule_with(values: dict[str, Sequence[float]], gae: Any, **settings: Any) -> CriticCredit:
    rule = CriticCredit(gae=gae, **settings)
    rule.critics["player"] = Told(values)
    rule.bind(lambda episode, agent: prompted("end", -1.0))
    return rule


def advantages(gae: Any, *, ending: Ending = Ending.TERMINATED, **settings: Any) -> list[Any]:
    (episode,) = EPISODE.episodes
    group = EpisodeGroup(episodes=(attrs.evolve(episode, ending=ending),))
    (found,) = rule_with(VALUES, gae, gae_lambda=0.5, **settings)(group, "player")
    return list(found)


def test_two_replies_of_three_and_two_tokens_by_hand() -> None:
    """Half of what comes a step later counts: 1 + 2/2 is earned from step 0 to 2, and then a quarter counts.

    Turns: the second has 8 - 4 = 4, the first 2 + 4/4 - 1 = 2 and 1/4 * 1/2 * 4 of the second. Tokens, from behind:
    8 - 6 = 2 and (6 - 4) + 1/2 * 2 = 3; 2 + 4/4 - 3 = 0 and 1/8 * 3; (3 - 2) + 1/2 * 3/8; (2 - 1) + 1/2 * 19/16. Both:
    4 + 4 - 6 = 2 and again 3; 5/2 + 1 - 3 = 1/2, (3 - 2) + 1/4, (2 - 1) + 5/8. What is at step 2 counts a quarter.
    """
    assert advantages("turn") == [2.5, 4 / 4]
    assert advantages("token") == [(1 + 19 / 32, 1 + 3 / 16, 3 / 8), (0.0, 3 / 4, 2 / 4)]
    assert advantages("bi_level") == [(1.625, 1.25, 0.5), (0.0, 3 / 4, 2 / 4)]


@pytest.mark.parametrize("gae", LEVELS)
@pytest.mark.parametrize("ending", list(Ending))
def test_only_what_was_cut_off_goes_on_and_only_if_asked(gae: Any, ending: Ending) -> None:
    """10 is what comes next: from step 2 it is a step away, and counts as 5 more that are earned there."""
    plain = advantages(gae)
    assert advantages(gae, ending=ending) == plain
    found = advantages(gae, ending=ending, bootstrap=True)
    goes_on = ending is Ending.TRUNCATED
    assert (found != plain) == goes_on
    if goes_on:
        paid_more = played((FIRST, SECOND), (1.0, 2.0, 8.0 + 5.0), 0.5)
        (expected,) = rule_with(VALUES, gae, gae_lambda=0.5)(paid_more, "player")
        assert found == expected


@pytest.mark.parametrize("gae", LEVELS)
@pytest.mark.parametrize("bootstrap", [False, True])
def test_an_agent_that_never_replies_has_no_advantages(gae: Any, bootstrap: bool) -> None:
    """As where another agent ends the game before its first turn; values of other episodes stay with theirs."""
    (episode,) = EPISODE.episodes
    cut = attrs.evolve(episode, ending=Ending.TRUNCATED)
    steps = tuple(attrs.evolve(step, agent_steps=()) for step in cut.steps)
    group = EpisodeGroup(episodes=(attrs.evolve(cut, steps=steps), cut))
    settings: dict[str, Any] = {"gae_lambda": 0.5, "bootstrap": bootstrap}
    silent, found = rule_with(VALUES, gae, **settings)(group, "player")
    assert silent == []
    assert found == advantages(gae, ending=Ending.TRUNCATED, bootstrap=bootstrap)


def test_returns_that_critics_are_fitted_to() -> None:
    """With 8 at the end: 8 at step 2 and 1 + 2/2 + 8/4 at step 0; if cut, 10 more a step later."""
    (episode,) = EPISODE.episodes
    cut = attrs.evolve(episode, ending=Ending.TRUNCATED)
    for bootstrap, expected in ((False, [4.0, 6.0, 8.0]), (True, [5.25, 8.5, 13.0])):
        rule = rule_with(VALUES, "token", bootstrap=bootstrap)
        assert rule.to_go(cut, "player") == expected
        assert rule.to_go(episode, "player") == [4.0, 6.0, 8.0]


def test_what_follows_the_end_is_asked_for_once_for_a_whole_group() -> None:
    """Advantages and returns share it, once and until the critic learns."""
    (episode,) = EPISODE.episodes
    cut = attrs.evolve(episode, ending=Ending.TRUNCATED)
    group = EpisodeGroup(episodes=(cut, attrs.evolve(cut)))
    rule = rule_with(VALUES, "turn", bootstrap=True)
    critic = rule.critics["player"]
    assert isinstance(critic, Told)
    rule(group, "player")
    assert [rule.to_go(one, "player")[-1] for one in group.episodes] == [13.0, 13.0]
    assert [critic.asked.count("end"), critic.calls] == [2, 1]
    critic.told["end"] = (20.0,)
    assert [rule.to_go(one, "player")[-1] for one in group.episodes] == [18.0, 18.0]
    rule(group, "player")
    rule.observe([])
    critic.told["end"] = (2.0,)
    assert rule.to_go(cut, "player")[-1] == 9.0
    rule(group, "player")
    rule.load_state({})
    assert rule.to_go(cut, "player")[-1] == 8.0


def test_what_would_be_read_next_must_be_known() -> None:
    rule = CriticCredit(bootstrap=True)
    rule(EPISODE, "player")  # it ended by itself
    (episode,) = EPISODE.episodes
    with pytest.raises(InvalidArgumentError, match="call its 'bind'"):
        rule.to_go(attrs.evolve(episode, ending=Ending.TRUNCATED), "player")


NUMBERS = st.floats(-8, 8, width=16)
DRAWN = st.tuples(
    st.lists(NUMBERS, min_size=3, max_size=3),
    st.lists(NUMBERS, min_size=3, max_size=3),
    st.sampled_from((1.0, 0.5)),
    st.sampled_from(((True, True, True), (False, True, True), (False, False, True))),
)


def drawn_episode(drawn: Any) -> tuple[EpisodeGroup[Any], dict[str, Sequence[float]]]:
    paid, values, discount, trainable = drawn
    second = prompted("second", -1.0, -1.0, -1.0, trainable=trainable)
    return played((FIRST, second), paid, discount), {"first": values, "second": values[::-1]}


@given(drawn=DRAWN, gae=st.sampled_from(("token", "bi_level")))
def test_at_lambda_1_an_advantage_is_the_return_minus_the_value(drawn: Any, gae: Any) -> None:
    group, values = drawn_episode(drawn)
    (episode,) = group.episodes
    (found,) = rule_with(values, gae, gae_lambda=1.0)(group, "player")
    rewards, g = episode.rewards_T("player"), episode.discount
    for (t, completion), row in zip(episode.completions("player"), found, strict=True):
        to_go = sum(g ** (k - t) * r for k, r in enumerate(rewards) if k >= t)
        places = sampled_places(completion)
        expected = [
            g**t * (to_go - values[completion.prompt_text][l]) if l in places else 0.0
            for l in range(3)
        ]
        assert row == pytest.approx(expected, abs=1e-9)


@given(drawn=DRAWN, shift=NUMBERS, gae_lambda=st.sampled_from((0.0, 0.5, 1.0)))
def test_a_shift_of_all_values(drawn: Any, shift: float, gae_lambda: float) -> None:
    """Without discount it moves the last token by -c, and the n-th before it by -c lambda^n: a baseline at lambda 1."""
    group, values = drawn_episode((drawn[0], drawn[1], 1.0, drawn[3]))
    moved = {text: [v + shift for v in row] for text, row in values.items()}
    before, after = (
        _tokens(group, rule_with(told, "token", gae_lambda=gae_lambda)) for told in (values, moved)
    )
    expected = [a - shift * gae_lambda**n for n, a in enumerate(reversed(before))]
    assert after[::-1] == pytest.approx(expected, abs=1e-9)


def _tokens(group: EpisodeGroup[Any], rule: CriticCredit) -> list[float]:
    """The advantages of all sampled tokens of the episode, in order."""
    (episode,), (found,) = group.episodes, rule(group, "player")
    return [
        row[l]
        for (_, completion), row in zip(episode.completions("player"), found, strict=True)
        for l in sampled_places(completion)
    ]


@given(drawn=DRAWN, gae_lambda=st.sampled_from((0.0, 0.5, 1.0)), gae=st.sampled_from(LEVELS))
def test_replies_of_one_token_are_turns(drawn: Any, gae_lambda: float, gae: Any) -> None:
    paid, values, discount, _ = drawn
    group = played((prompted("first", -1.0), prompted("second", -1.0)), paid, discount)
    told = {"first": values[:1], "second": values[1:2]}
    (found,) = rule_with(told, gae, gae_lambda=gae_lambda)(group, "player")
    (expected,) = rule_with(told, "turn", gae_lambda=gae_lambda)(group, "player")
    flat = [a[0] if isinstance(a, tuple) else a for a in found]
    assert flat == pytest.approx(expected, abs=1e-9)


def test_a_place_is_told_by_what_was_sampled_before_it() -> None:
    assert [Position(SECOND, l).text for l in (0, 1, 2)] == ["second", "second", "second\n<0:1>"]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"gae": "token"}, "'gae' has an effect only with 'credit' 'critic'"),
        ({"bootstrap": True}, "'bootstrap' has an effect only with 'credit' 'critic'"),
        ({"critic": "head"}, "'critic' has an effect only with 'credit' 'critic'"),
        (
            {"credit": "critic", "value_coefficient": 0.2},
            "'value_coefficient' has an effect only with",
        ),
        (
            {"credit": "critic", "critic": "head", "sharding": "fsdp"},
            "does not go with 'sharding' 'fsdp'",
        ),
        ({"credit": "critic", "gae": "reply"}, "'gae' must be one of turn, token, bi_level"),
    ],
)
def test_settings_without_effect_are_refused(settings: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidArgumentError, match=name):
        MSGRPOConfig(**settings)
