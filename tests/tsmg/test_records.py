"""Records: what an episode says about itself, against an episode written by hand."""

import pickle
from typing import Any

import attrs
import pytest

from tests.strategies import slippery_lake, specs, uniform_policy
from tsmg import (
    ActionText,
    AgentStep,
    ClosedState,
    Completion,
    Ending,
    Episode,
    EpisodeGroup,
    EpisodeKey,
    Illegal,
    Observation,
    OutcomeKind,
    Parsed,
    Reply,
    Start,
    Step,
    TextOutcome,
    Turn,
    play,
)

KEY = EpisodeKey(seed=1, group=2, episode=3)
EARLIER = Turn(observation=Observation(text="before"), reply="hm", kind=OutcomeKind.PARSED)


def completion(number: int) -> Completion:
    return Completion(
        prompt_ids=(1, 2), reply_ids=(number,), trainable=(True,), logprobs=(-0.5,), model_id="m"
    )


def agent_step(agent: str, outcome: TextOutcome[Any], *numbers: int) -> AgentStep:
    reply = Reply(
        text=f"reply {numbers}",
        parser_outcome=ActionText("x"),
        completions=tuple(map(completion, numbers)),
    )
    return AgentStep(
        agent=agent,
        observation=Observation(text=f"{agent} sees {numbers}"),
        reply=reply,
        outcome=outcome,
    )


def state(number: int) -> ClosedState[int]:
    return ClosedState(number, (None, None))


GOOD, BAD = Parsed(1), Illegal("x")
EPISODE: Episode[int] = Episode(
    game="By hand",
    agents=("a", "b"),
    discount=0.5,
    key=KEY,
    start=Start(state=state(7), turns={"a": (EARLIER,)}, t=4),
    steps=(
        Step(
            t=4,
            state=state(7),
            agent_steps=(agent_step("a", GOOD, 10, 11), agent_step("b", BAD, 20)),
            rewards_N=(1.0, -1.0),
            penalties_N=(0.0, -0.25),
        ),
        Step(t=5, state=state(8), agent_steps=(), rewards_N=(2.0, 0.0), penalties_N=(0.0, 0.0)),
        Step(
            t=6,
            state=state(9),
            agent_steps=(agent_step("b", BAD, 21, 22),),
            rewards_N=(4.0, 8.0),
            penalties_N=(0.0, -0.5),
        ),
    ),
    final_state=state(10),
    final_observations={"a": "end", "b": "end"},
    ending=Ending.TERMINATED,
)


def test_rewards_and_returns() -> None:
    assert EPISODE.rewards_T("a") == (1.0, 2.0, 4.0)
    assert EPISODE.rewards_T("b") == (-1.25, 0.0, 7.5)
    assert EPISODE.rewards_T("b", penalties=False) == (-1.0, 0.0, 8.0)
    assert EPISODE.episode_return("a") == 1 + 0.5 * 2 + 0.25 * 4
    assert EPISODE.episode_return("b") == -1.25 + 0.25 * 7.5
    assert EPISODE.episode_return("b", penalties=False) == -1 + 0.25 * 8
    assert EPISODE.episode_return("a") != sum(EPISODE.rewards_T("a"))  # a return without gamma
    other = attrs.evolve(EPISODE, discount=1.0)
    assert EpisodeGroup(episodes=(EPISODE, other)).returns_G("a") == (3.0, 7.0)


def test_steps_calls_and_invalid_texts_of_one_agent() -> None:
    assert [index for index, _ in EPISODE.completions("b")] == [0, 2, 2]
    assert [made.reply_ids for _, made in EPISODE.completions("b")] == [(20,), (21,), (22,)]
    assert [made.reply_ids for _, made in EPISODE.completions("a")] == [(10,), (11,)]
    assert (EPISODE.invalid_count("a"), EPISODE.invalid_count("b")) == (0, 2)
    assert [step.agent for step in EPISODE.agent_steps("b")] == ["b", "b"]
    assert [step.is_valid for step in EPISODE.agent_steps("b")] == [False, False]


@pytest.mark.parametrize(
    ("record", "field"),
    [(EPISODE, "steps"), (EPISODE.steps[0], "t"), (completion(1), "reply_ids"), (KEY, "seed")],
)
def test_records_are_immutable(record: Any, field: str) -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(record, field, None)


def test_records_survive_a_pickle() -> None:
    game = slippery_lake()
    episodes = play(game, uniform_policy(game), specs(2))
    assert pickle.loads(pickle.dumps(episodes)) == episodes
    assert pickle.loads(pickle.dumps(EPISODE)) == EPISODE
