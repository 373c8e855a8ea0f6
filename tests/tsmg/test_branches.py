"""Episodes that begin in the middle of others: the same situation, streams of their own, whole records."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import games
from tests.strategies import Countdown
from tsmg import (
    Episode,
    EpisodeKey,
    EpisodeSpec,
    InvalidArgumentError,
    Match,
    PlayerPolicy,
    UniformPlayer,
    branch_start,
    branched,
    play,
    situations,
)


def played(game: Any, *specs: EpisodeSpec[Any]) -> list[Episode[Any]]:
    episodes = play(game, PlayerPolicy(game, UniformPlayer(game)), specs)
    assert all(isinstance(episode, Episode) for episode in episodes)
    return episodes  # type: ignore[return-value]


@pytest.mark.parametrize("game", [games.make("FrozenLake-v0"), Countdown(heap=9)])
@settings(max_examples=10)
@given(seed=st.integers(0, 1000), place=st.floats(0, 1))
def test_a_branch_goes_on_from_the_whole_situation(game: Any, seed: int, place: float) -> None:
    """With the old key it is the old episode again; with a new one, another that shares what came before."""
    (episode,) = played(game, EpisodeSpec(key=EpisodeKey(seed=seed)))
    step = min(int(place * len(episode.steps)), len(episode.steps) - 1)
    start = branch_start(episode, step)
    (again,) = played(game, EpisodeSpec(key=episode.key, start=start))
    assert branched(episode, step, again) == episode
    (other,) = played(game, EpisodeSpec(key=EpisodeKey(seed=seed, episode=7), start=start))
    whole = branched(episode, step, other)
    assert whole.steps[:step] == episode.steps[:step] and whole.start == episode.start
    assert [s.t for s in whole.steps] == list(range(len(whole.steps)))
    for agent in game.agents:
        paid = episode.rewards_T(agent)[:step]
        later = episode.discount**step * other.episode_return(agent)
        before = sum(episode.discount**t * r for t, r in enumerate(paid))
        assert whole.episode_return(agent) == pytest.approx(before + later)
    match: Match[Any] = Match.begin(game, EpisodeSpec(key=episode.key, start=start))
    told = {r.history.agent: r.history.turns for r in match.requests}
    for agent, turns in told.items():
        assert turns == tuple(own.turn for own in episode.agent_steps(agent))[: len(turns)]
        assert len(turns) == sum(
            own.agent == agent for s in episode.steps[:step] for own in s.agent_steps
        )


def test_branches_differ_from_each_other() -> None:
    game = games.make("FrozenLake-v0")
    (episode,) = played(game, EpisodeSpec(key=EpisodeKey(seed=0)))
    start = branch_start(episode, 0)
    specs = [EpisodeSpec(key=EpisodeKey(seed=0, episode=e), start=start) for e in range(1, 9)]
    assert len({branch.steps for branch in played(game, *specs)}) > 4


@pytest.mark.parametrize("step", [-1, 3, 99])
def test_there_is_no_branch_where_nothing_is_left_to_do(step: int) -> None:
    (episode,) = played(
        games.make("LineWalk-v0", length=2, horizon=3), EpisodeSpec(key=EpisodeKey(seed=1))
    )
    step = len(episode.steps) if step == 3 else step
    with pytest.raises(InvalidArgumentError, match="'step' must be one of the"):
        branch_start(episode, step)


@settings(max_examples=8)
@given(seed=st.integers(0, 1000))
def test_situations_are_alike_if_all_that_the_future_depends_on_is(seed: int) -> None:
    """The number is that of the start that a branch would have, by equality of the records."""
    game = games.make("LineWalk-v0", length=4, horizon=5)
    episodes = played(game, *(EpisodeSpec(key=EpisodeKey(seed=seed, episode=e)) for e in range(4)))
    numbers = situations(episodes)
    starts = [
        (number, branch_start(episode, t))
        for episode, row in zip(episodes, numbers, strict=True)
        for t, number in enumerate(row)
    ]
    assert [len(row) for row in numbers] == [len(episode.steps) for episode in episodes]
    for one, here in starts:
        for two, there in starts:
            same = (here.state, here.t, dict(here.turns)) == (
                there.state,
                there.t,
                dict(there.turns),
            )
            assert (one == two) == same
    middle = branch_start(episodes[0], len(episodes[0].steps) - 1)
    (late,) = played(game, EpisodeSpec(key=EpisodeKey(seed=seed, episode=9), start=middle))
    assert situations([late, branched(episodes[0], len(episodes[0].steps) - 1, late)])[0][0] != 1
