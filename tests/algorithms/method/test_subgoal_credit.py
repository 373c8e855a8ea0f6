"""Credit on two levels: by hand, by sums in place of recursions, its laws, and which tokens have which advantage."""

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms import Estimator, MSGRPOConfig, MSGRPOTrainer
from algorithms.method.batch import RoleGroup
from algorithms.method.critic import CriticCredit
from algorithms.method.presets import PRESETS
from algorithms.method.subgoal_credit import SubgoalCredit, ValuedTurn, two_level_advantages
from algorithms.method.subgoal_replies import PARTS, Part, read_replies
from algorithms.method.value_functions import Position, TableCritic
from algorithms.method.whitened_parts import WhitenedParts
from algorithms.play.after_episodes import read_at_end
from algorithms.runs.state import TrainingState
from algorithms.training.snapshot import load_training_state, training_state
from games import LineWalk
from lap import LanguageAgentPolicy, MemorylessPrompt, Prompt, Sampling, SubgoalParser, TabularModel
from lap.subgoals import read_subgoals
from tests.checkpoints import tiny_model
from tests.method_groups import group_of, role_group
from tsmg import Completion, Ending, Episode, EpisodeGroup, InvalidArgumentError

KEEP, SWITCH = "<switch>KEEP</switch>", "<switch>SWITCH</switch>"
GOAL, ACT = "<subgoal>key</subgoal>", "<action>up</action>"
PIECES = (KEEP, SWITCH, GOAL, ACT, "up", " ")


def said(*pieces: str, prompt: str = "") -> Completion:
    """A reply of these tokens."""
    return Completion(
        prompt_ids=(),
        reply_ids=tuple(map(PIECES.index, pieces)),
        trainable=(True,) * len(pieces),
        logprobs=(0.0,) * len(pieces),
        prompt_text=prompt,
        reply_text="".join(pieces),
    )


@final
class Reading:
    """Tokens are those of ``PIECES``; after an episode an agent would read "end"."""

    def __call__(self, episode: Episode[Any], agent: str) -> Completion:
        return said("up", prompt="end")

    def spelling(self, agent: str) -> Callable[[Sequence[int]], str]:
        return lambda ids: "".join(PIECES[n] for n in ids)


@final
class Told:
    """Values by prompt; it notes where it was asked and what it was to learn."""

    def __init__(self, values: dict[str, float]) -> None:
        self.told = values
        self.asked: list[tuple[str, int]] = []

    def values(self, positions: Sequence[Position]) -> list[float]:
        self.asked += [(p.completion.prompt_text, p.tokens) for p in positions]
        return [self.told[p.completion.prompt_text] for p in positions]

    def fit(self, positions: Sequence[Position], returns: Sequence[float]) -> None:
        places = [(p.completion.prompt_text, p.tokens) for p in positions]
        self.fitted = list(zip(places, returns, strict=True))

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: Any) -> None: ...


def played(
    replies: Sequence[Completion | None], paid: Sequence[float], *, discount: float = 1.0
) -> EpisodeGroup[Any]:
    """An episode of a step for each reply; "player" is not asked where there is none."""
    (walk,) = group_of([0.0], [1]).episodes
    (step,) = walk.steps
    (own,) = step.agent_steps
    steps = []
    for t, (completion, reward) in enumerate(zip(replies, paid, strict=True)):
        mine = attrs.evolve(own, reply=attrs.evolve(own.reply, completions=(completion,)))
        agent_steps = () if completion is None else (mine,)
        steps.append(attrs.evolve(step, t=t, agent_steps=agent_steps, rewards_N=(float(reward),)))
    ended = attrs.evolve(walk, steps=tuple(steps), discount=discount, ending=Ending.TERMINATED)
    return EpisodeGroup(episodes=(ended,))


REPLIES = (
    said(KEEP, GOAL, " ", ACT, prompt="0"),  # a segment begins, whatever is said
    said(KEEP, GOAL, ACT, prompt="1"),
    None,
    said(SWITCH, GOAL, ACT, prompt="3"),
    said("up", prompt="4"),
)
EPISODE = played(REPLIES, (1, 2, 4, 4, 8), discount=0.5)
VALUES: dict[Part, dict[str, float]] = {
    "switch": {"0": 1.0, "1": 1.0, "3": 2.0, "4": 2.0, "end": 10.0},
    "subgoal": {"0": 2.0, "3": 6.0},  # of others nobody asks
    "action": {"0": 3.0, "1": 4.0, "3": 2.0, "4": 6.0},
}


def rule_with(values: dict[Part, dict[str, float]], **settings: Any) -> SubgoalCredit:
    rule = SubgoalCredit(TableCritic, **settings)
    rule.critics["player"] = {part: Told(values[part]) for part in PARTS}
    rule.bind(Reading())
    return rule


def test_four_replies_of_two_segments_by_hand() -> None:
    """Half of what comes a step later counts. The second reply earns 2 + 4/2 until the third, of which 1/4 counts.

    From behind, the second segment brings 8 and 4 + 8/2: switches 8 - 2 and 8 - 2, the actions 8 - 6 = 2 and
    4 + (6 + 2/2)/2 - 2 = 5.5, the subgoal 8 - 6 = 2. The first one ends with 6, the value of that subgoal: 4 + 6/4
    and 1 + 5.5/2, switches 4.5 and 2.75, actions 4 + 6/4 - 4 = 1.5 and 1 + (4 + 1.5/2)/2 - 3 = 0.375, and the subgoal
    3.75 - 2 + 1/8 * 1/2 * 2, since 3 steps lie between the two. Steps count 1, 1/2, 1/8 and 1/16 from the start.
    """
    rule = rule_with(VALUES, turn_lambda=0.5, segment_lambda=0.5)
    (found,) = rule(EPISODE, "player")
    assert found == [
        (2.75, 1.875, 0.0, 0.375),
        (4.5 / 2, 0.0, 1.5 / 2),
        (6 / 8, 2 / 8, 5.5 / 8),
        (2 / 16,),
    ]
    critics: Any = rule.critics["player"]
    assert critics["switch"].asked == [("0", 0), ("1", 0), ("3", 0), ("4", 0)]
    assert critics["subgoal"].asked == [("0", 0), ("3", 0)]
    assert critics["action"].asked == [("0", 2), ("1", 2), ("3", 2), ("4", 0)]


@pytest.mark.parametrize("ending", list(Ending))
def test_what_was_cut_off_goes_on_with_the_value_of_what_would_be_read(ending: Ending) -> None:
    """10 a step later is as much as 5 that are paid at the last step."""
    (episode,) = EPISODE.episodes
    group = EpisodeGroup(episodes=(attrs.evolve(episode, ending=ending),))
    rule = rule_with(VALUES, turn_lambda=0.5, bootstrap=True)
    goes_on = ending is Ending.TRUNCATED
    more = played(REPLIES, (1, 2, 4, 4, 8 + 5 * goes_on), discount=0.5)
    assert rule(group, "player") == rule_with(VALUES, turn_lambda=0.5)(more, "player")
    assert rule.to_go(group.episodes[0], "player")[3:] == [8 + 2.5 * goes_on, 8 + 5 * goes_on]
    assert rule_with(VALUES)(group, "player") == rule_with(VALUES)(EPISODE, "player")


def test_returns_that_critics_are_fitted_to_share_what_advantages_asked_for() -> None:
    """Once, and until a critic learns or is loaded."""
    (episode,) = EPISODE.episodes
    cut = attrs.evolve(episode, ending=Ending.TRUNCATED)
    rule = rule_with(VALUES, bootstrap=True)
    switch: Any = rule.critics["player"]["switch"]
    rule(EpisodeGroup(episodes=(cut,)), "player")
    assert rule.to_go(cut, "player")[-1] == 13.0
    assert switch.asked.count(("end", 0)) == 1
    rule(EpisodeGroup(episodes=(cut,)), "player")
    rule.observe([])
    switch.told = {**switch.told, "end": 20.0}
    assert rule.to_go(cut, "player")[-1] == 18.0
    rule(EpisodeGroup(episodes=(cut,)), "player")
    rule.load_state({})
    assert rule.to_go(cut, "player")[-1] == 8.0


NUMBERS = st.floats(-8, 8, width=16)
TURNS = st.lists(
    st.builds(
        ValuedTurn,
        begins=st.booleans(),
        earned=NUMBERS,
        discount=st.sampled_from((1.0, 0.5, 0.25)),
        switch=NUMBERS,
        subgoal=NUMBERS,
        action=NUMBERS,
    ),
    min_size=1,
    max_size=6,
)
LAMBDAS = st.sampled_from((0.0, 0.5, 1.0))


def segments(turns: Sequence[ValuedTurn]) -> list[list[int]]:
    starts = [n for n, turn in enumerate(turns) if turn.begins or n == 0]
    return [list(range(a, b)) for a, b in itertools.pairwise([*starts, len(turns)])]


@given(turns=TURNS, turn_lambda=LAMBDAS, segment_lambda=LAMBDAS, end=NUMBERS)
def test_recursions_are_sums_of_differences(
    turns: list[ValuedTurn], turn_lambda: float, segment_lambda: float, end: float
) -> None:
    """Within a segment, and over the segments that follow, written out."""
    found = two_level_advantages(
        turns, turn_lambda=turn_lambda, segment_lambda=segment_lambda, end=end
    )
    parted = segments(turns)
    ends = [*(turns[segment[0]].subgoal for segment in parted[1:]), end]

    def far(first: int, last: int) -> float:
        return math.prod(turns[n].discount for n in range(first, last))

    for k, segment in enumerate(parted):
        stop = segment[-1] + 1
        for t in segment:
            paid = sum(far(t, n) * turns[n].earned for n in range(t, stop))
            to_come = paid + far(t, stop) * ends[k]
            assert found[t]["switch"] == pytest.approx(to_come - turns[t].switch)
            following = [*(turns[n].action for n in range(t + 1, stop)), ends[k]]
            deltas = [
                turns[n].earned + turns[n].discount * v - turns[n].action
                for n, v in zip(range(t, stop), following, strict=True)
            ]
            summed = sum(far(t, t + j) * turn_lambda**j * d for j, d in enumerate(deltas))
            assert found[t]["action"] == pytest.approx(summed, abs=1e-9)
        starts = [segment[0] for segment in parted]
        surplus = sum(
            far(starts[k], starts[m])
            * segment_lambda ** (m - k)
            * (found[starts[m]]["switch"] + turns[starts[m]].switch - turns[starts[m]].subgoal)
            for m in range(k, len(parted))
        )
        assert found[starts[k]]["subgoal"] == pytest.approx(surplus, abs=1e-9)
    assert {n for n, row in enumerate(found) if "subgoal" in row} == {s[0] for s in parted}


@given(turns=TURNS, lam=LAMBDAS, end=NUMBERS)
def test_segments_of_one_reply_have_the_advantages_of_turns_and_no_others_matter(
    turns: list[ValuedTurn], lam: float, end: float
) -> None:
    """A segment for each reply: the recursion over segments is that over turns with the subgoals' values."""
    alone = [attrs.evolve(turn, begins=True) for turn in turns]
    found = two_level_advantages(alone, turn_lambda=0.3, segment_lambda=lam, end=end)
    one = [attrs.evolve(turn, begins=False, action=turn.subgoal) for turn in turns]
    of_turns = two_level_advantages(one, turn_lambda=lam, segment_lambda=0.3, end=end)
    assert [row["subgoal"] for row in found] == pytest.approx(
        [row["action"] for row in of_turns], abs=1e-9
    )


@given(
    paid=st.lists(NUMBERS, min_size=1, max_size=4),
    discount=st.sampled_from((1.0, 0.5)),
    lam=LAMBDAS,
    ending=st.sampled_from(Ending),
    bootstrap=st.booleans(),
)
def test_ordinary_replies_have_the_advantages_of_turns(
    paid: list[float], discount: float, lam: float, ending: Ending, bootstrap: bool
) -> None:
    """Those of the rule over turns, with the values of actions; no policy is asked how a token is spelt."""
    replies = [said("up", "up", prompt=str(n)) for n in range(len(paid))]
    (episode,) = played(replies, paid, discount=discount).episodes
    group = EpisodeGroup(episodes=(attrs.evolve(episode, ending=ending),))
    values = {str(n): float(n * n) for n in range(len(paid))} | {"end": 3.0}
    turn = CriticCredit(gae_lambda=lam, bootstrap=bootstrap)
    turn.critics["player"] = Told(values)
    turn.bind(Reading())
    (expected,) = turn(group, "player")
    rule = rule_with(dict.fromkeys(PARTS, values), turn_lambda=lam, bootstrap=bootstrap)
    if not bootstrap:
        rule.reading = None
    (found,) = rule(group, "player")
    assert found == [pytest.approx((a, a), abs=1e-9) for a in expected]


TEXTS = (
    "é🔑<switch>SWITCH</switch>🔑\n<subgoal>🔑é</subgoal>é<action>up</action>",
    "<switch>KEEP</switch><subgoal>key</subgoal><action>up</action> ",
    "<subgoal>🔑</subgoal>🔑",
    "<subgoal>a<switch>KEEP</switch>b</subgoal><action>up</action>",
    "up 🔑<action>up</action>",
)


def spelt(ids: Sequence[int], tokens: Sequence[bytes]) -> str:
    """With each byte of a character that is not complete spelt as one mark, as byte fallback does."""
    whole = b"".join(tokens[n] for n in ids)
    for left in range(4):
        try:
            return whole[: len(whole) - left].decode() + "\ufffd" * left
        except UnicodeDecodeError:
            continue
    raise AssertionError


@given(text=st.sampled_from(TEXTS), drawn=st.data(), is_first=st.booleans())
def test_each_token_has_the_first_part_that_it_shares_a_byte_with(
    text: str, drawn: Any, is_first: bool
) -> None:
    """However the reply is cut into tokens, also within characters, with the end token last."""
    raw = text.encode()
    cuts = sorted(drawn.draw(st.sets(st.integers(1, len(raw) - 1), max_size=len(raw) - 1)))
    tokens = [raw[a:b] for a, b in itertools.pairwise([0, *cuts, len(raw)])] + [b""]
    reply = attrs.evolve(
        said(*(["up"] * len(tokens))), reply_ids=tuple(range(len(tokens))), reply_text=text
    )
    replies = [reply] if is_first else [said("up"), reply]
    read = read_replies(replies, lambda ids: spelt(ids, tokens))[-1]
    told = read_subgoals(text)
    assert read.begins == (is_first or told.switches)
    spans: dict[Part, set[int]] = {
        part: set(range(*(len(text[:edge].encode()) for edge in span))) if span else set()
        for part, span in zip(
            PARTS, (told.switch_span, told.subgoal_span, told.action_span), strict=True
        )
    }
    expected: list[Part | None] = []
    last: dict[Part, int] = {}
    begin = 0
    for l, token in enumerate(tokens):
        own = set(range(begin, begin + len(token)))
        begin += len(token)
        last |= {part: l for part in PARTS if own & spans[part]}
        rest: Part | None = None if spans["action"] else "action"
        part = next((part for part in PARTS if own & spans[part]), rest)
        expected.append(None if part == "subgoal" and not read.begins else part)
    if not spans["switch"] and not spans["subgoal"]:
        expected = ["action"] * len(tokens)
    assert list(read.parts_L) == expected
    said_parts: tuple[Part, ...] = ("subgoal", "switch")
    after = [last[part] + 1 for part in said_parts if spans[part] and last[part] + 1 < len(tokens)]
    assert read.acts_at == (after[0] if after else 0)


@pytest.mark.parametrize("text", TEXTS)
def test_parts_are_found_in_the_tokens_of_a_real_tokenizer(text: str) -> None:
    """Its bytes are joined into words; the tokens of a part stand for that part, and for little else."""
    model = tiny_model()
    reader = read_at_end(LineWalk(), {"walker": LanguageAgentPolicy(model=model)})
    completion = model.written(Prompt(()), text)
    (read,) = read_replies([completion], reader.spelling("walker"))
    told = read_subgoals(text)
    for part, span in (("switch", told.switch_span), ("subgoal", told.subgoal_span)):
        own = [l for l, one in enumerate(read.parts_L) if one == part]
        assert bool(own) == (span is not None)
        if span is not None and told.switch_span != (10, 31):  # one within the other
            assert own == list(range(own[0], own[-1] + 1))
            said_there = model.text([completion.reply_ids[l] for l in own])
            assert text[slice(*span)] in said_there and len(said_there) - (span[1] - span[0]) <= 2


def test_the_critics_learn_what_follows_each_part() -> None:
    """Returns from the reply on: 8 at the last, 4 + 4 at the third, 2 + 2 + 2, and 1 + 3."""
    rule = rule_with(VALUES)
    completions = tuple(reply for reply in REPLIES if reply)
    group = role_group([0.0], [[0.0] * 4], [completions])
    rule.observe([attrs.evolve(group, rewards_to_go_G=((4.0, 6.0, 8.0, 8.0),))])
    critics: Any = rule.critics["player"]
    places = [("0", 0), ("1", 0), ("3", 0), ("4", 0)]
    assert critics["switch"].fitted == list(zip(places, (4.0, 6.0, 8.0, 8.0), strict=True))
    assert critics["subgoal"].fitted == [(("0", 0), 4.0), (("3", 0), 8.0)]
    acting = [("0", 2), ("1", 2), ("3", 2), ("4", 0)]
    assert critics["action"].fitted == list(zip(acting, (4.0, 6.0, 8.0, 8.0), strict=True))


def test_each_part_is_whitened_over_replies() -> None:
    """Switches 1, 3, 5 and actions 2, 4, 9, 9, of two agents; the long action counts once, and 7 where nothing is."""
    rule = WhitenedParts(0.0)
    rule.bind(Reading())
    first, second = said(KEEP, GOAL, " ", ACT), said(SWITCH, GOAL, ACT, "up")
    groups = [
        role_group([0.0], [[(1.0, 6.0, 7.0, 2.0), (3.0, 8.0, 4.0, 7.0)]], [[first, second]]),
        role_group([0.0], [[(5.0, 0.0, 9.0), 9.0]], [[said(KEEP, GOAL, ACT), said("up", "up")]]),
        role_group([0.0], [[1.0]], [[said("up")]], agent="other"),
    ]
    found = rule(groups)
    assert found[2] == [[(0.0,)]]  # alone, without any deviation
    s, a = math.sqrt(8 / 3), math.sqrt((16 + 4 + 9 + 9) / 4)
    g = math.sqrt((36 + 64 + 0) / 3 - (14 / 3) ** 2)
    wanted = [
        [(-2 / s, (6 - 14 / 3) / g, 0.0, -4 / a), (0.0, (8 - 14 / 3) / g, -2 / a, 0.0)],
        [(2 / s, -14 / 3 / g, 3 / a), (3 / a, 3 / a)],
    ]
    assert [row for (row,) in found[:2]] == [[pytest.approx(x) for x in row] for row in wanted]


def test_a_rule_that_is_bound_to_no_policy_says_so() -> None:
    """Where a reply has parts whose tokens must be found."""
    rules: list[Any] = [
        lambda: SubgoalCredit()(EPISODE, "player"),
        lambda: WhitenedParts()([role_group([0.0], [[0.0]], [[said(KEEP, ACT)]])]),
    ]
    for rule in rules:
        with pytest.raises(InvalidArgumentError, match="call its 'bind'"):
            rule()
    for setting in ("turn_lambda", "segment_lambda"):
        with pytest.raises(InvalidArgumentError, match=f"{setting!r} must be in"):
            SubgoalCredit(**{setting: -0.1})


def two_level_trainer(updates: int) -> MSGRPOTrainer:
    words = (KEEP, SWITCH, GOAL, "<action>left</action>", "<action>right</action>")
    policy = LanguageAgentPolicy(
        prompt=MemorylessPrompt(with_rules=False),
        model=TabularModel(words),
        parser=SubgoalParser(),
        sampling=Sampling(max_reply_tokens=3),
    )
    small: dict[str, Any] = {"updates": updates, "groups": 4, "group_size": 8}
    more = {"learning_rate": 0.3, "max_reply_tokens": 3, "kl_coefficient": 0.0}
    config = MSGRPOConfig(**{**PRESETS["hiper"].settings, **small, **more})
    game = LineWalk(length=4, horizon=4)
    estimator = Estimator.of(config, game.facts, credit=SubgoalCredit(TableCritic))
    return MSGRPOTrainer(game=game, policy=policy, config=config, estimator=estimator)


def test_a_run_learns_with_it() -> None:
    trainer = two_level_trainer(12)
    before = trainer.evaluate(60).reward
    trainer.train()
    after = trainer.evaluate(60).reward
    assert before < 0.5 and after > 0.8, (before, after)


def test_a_run_goes_on_bit_for_bit_with_its_critics(tmp_path: Path) -> None:
    """And without them it would go on otherwise."""
    one = two_level_trainer(6)
    for _ in range(3):
        one.update()
    training_state(one).save(tmp_path)
    assert set(one.estimator.state()["credit"]["walker"]) == set(PARTS)
    rest = [one.update().metrics for _ in range(3)]
    other, forgetful = two_level_trainer(6), two_level_trainer(6)
    for trainer in (other, forgetful):
        load_training_state(trainer, TrainingState.load(tmp_path))
    assert [other.update().metrics for _ in range(3)] == rest
    assert other.estimator.state() == one.estimator.state()
    forgetful.estimator.load_state({"credit": {}})
    assert [forgetful.update().metrics for _ in range(3)] != rest


def test_credits_of_a_group_are_those_of_its_roles() -> None:
    """The trainer's own groups: a row for each token, and 0 only at kept subgoals and between parts."""
    trainer = two_level_trainer(1)
    compared = trainer.player.play_until_enough(0, trainer.estimator)
    groups: list[RoleGroup] = list(compared.passed)
    tokens = [
        (part, a)
        for group in groups
        for credits_T, completions in zip(group.credits_G, group.completions_G, strict=True)
        for credit, reply in zip(
            credits_T, read_replies(completions, trainer.policy.model.text), strict=True
        )
        for part, a in zip(reply.parts_L, credit, strict=True)
    ]
    assert {part for part, _ in tokens} == {*PARTS, None}
    assert all(a == 0.0 for part, a in tokens if part is None)
    assert any(a != 0.0 for part, a in tokens if part == "subgoal")
