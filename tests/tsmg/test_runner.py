"""The runner: an episode is a function of its own plan, and nothing that is said can stop a run."""

import itertools
import random
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typeguard import suppress_type_checks

from games.frozen_lake import FrozenLake
from tests.strategies import (
    SOUND_GAMES,
    Coins,
    Countdown,
    Dice,
    Drift,
    Faulty,
    Mumbler,
    examples,
    mumbler,
    slippery_lake,
    specs,
    texts,
    uniform_policy,
)
from tsmg import (
    AbstractGame,
    ActionText,
    AgentPolicy,
    ClosedState,
    Ending,
    Episode,
    EpisodeKey,
    EpisodeSpec,
    Facts,
    FailedEpisode,
    Forfeit,
    InvalidArgumentError,
    NoReplyError,
    OutcomeKind,
    Phase,
    PlayDefault,
    PlayRandomLegal,
    Purpose,
    Reply,
    Request,
    StandStill,
    Start,
    Stream,
    distinct_episodes,
    draw_start,
    play,
    step_limit,
    with_invalid_rule,
)

Game = AbstractGame[Any, Any]
RULES = [StandStill(), PlayRandomLegal(penalty=0.5), Forfeit(), StandStill(with_feedback=True)]


def _name(value: object) -> str:
    return type(value).__name__


def one(game: Game, policy: AgentPolicy, **kwargs: Any) -> Any:
    return play(game, policy, specs(1, **kwargs))[0]


# ---- independence of the batch ---------------------------------------------------------------


@suppress_type_checks
def independent_of_the_batch(game: Game, policy: AgentPolicy, count: int = 5) -> bool:
    """An episode is the same played with others, alone, in reverse order and beside itself."""
    batch = specs(count)
    together = play(game, policy, batch)
    alone = [play(game, policy, [spec])[0] for spec in batch]
    backwards = play(game, policy, batch[::-1])[::-1]
    twice = play(game, policy, [*batch, *batch])
    return together == alone == backwards and twice == together * 2


@pytest.mark.parametrize("game", SOUND_GAMES, ids=_name)
@pytest.mark.parametrize("rule", RULES, ids=_name)
def test_an_episode_does_not_depend_on_the_batch(game: Game, rule: Any) -> None:
    assert independent_of_the_batch(with_invalid_rule(game, rule), mumbler(game))


@attrs.frozen
class OneGenerator:
    """A wrong policy: all its replies come from one generator."""

    game: Game
    generator: random.Random = attrs.field(factory=lambda: random.Random(0))

    def reply(self, requests: Sequence[Request]) -> Sequence[Reply]:
        texts = [self.generator.choice(("take 1", "take 2")) for _ in requests]
        return [Reply(text=text, parser_outcome=ActionText(text)) for text in texts]


def test_a_policy_with_one_generator_is_noticed() -> None:
    assert not independent_of_the_batch(Countdown(), OneGenerator(Countdown()))


def test_different_episodes_differ() -> None:
    game = slippery_lake()
    records = play(game, uniform_policy(game), specs(8))
    other = play(game, uniform_policy(game), specs(8, seed=1))
    assert len({record.final_observations["player"] for record in (*records, *other)}) > 8


def test_global_generators_are_left_alone() -> None:
    before = random.getstate()
    play(Coins(), uniform_policy(Coins()), specs(3))
    assert random.getstate() == before


@attrs.frozen
class Watcher:
    """Plays as its policy does, and keeps the requests of every call."""

    policy: AgentPolicy
    batches: list[list[Request]] = attrs.field(factory=list)

    def reply(self, requests: Sequence[Request]) -> Sequence[Reply]:
        self.batches.append(list(requests))
        return self.policy.reply(requests)

    @property
    def requests(self) -> list[Request]:
        return [request for batch in self.batches for request in batch]


def test_one_batched_call_for_each_policy_and_step() -> None:
    game = Coins(rounds=3)
    shared = Watcher(uniform_policy(game))
    play(game, shared, specs(4))
    assert [len(batch) for batch in shared.batches] == [8, 8, 8]
    own = {agent: Watcher(uniform_policy(game)) for agent in game.agents}
    records = play(game, own, specs(4))
    assert records == play(game, shared, specs(4))
    for agent, watcher in own.items():
        assert [len(batch) for batch in watcher.batches] == [4, 4, 4]
        assert {request.history.agent for request in watcher.requests} == {agent}


# ---- random streams --------------------------------------------------------------------------


@suppress_type_checks
def never_shares_a_draw(stream_of: Callable[[Request], Stream], game: Game) -> bool:
    """No two requests of a run share a draw with each other, nor with starts and chance."""
    watcher = Watcher(uniform_policy(game))
    keys = [
        EpisodeKey(seed=s, group=g, episode=e) for s, g, e in itertools.product((0, 1), repeat=3)
    ]
    play(game, watcher, [EpisodeSpec(key=key) for key in keys])
    streams = [stream_of(request) for request in watcher.requests]
    streams += [key.stream(Purpose.CHANCE, step=t) for key in keys for t in range(3)]
    streams += [key.stream(Purpose.START) for key in keys]
    draws = [stream.at(k) for stream in streams for k in range(4)]
    return len(watcher.requests) == 48 and len(set(draws)) == len(draws)


def test_simultaneous_agents_never_share_a_draw() -> None:
    assert never_shares_a_draw(Request.stream, Coins())
    assert never_shares_a_draw(lambda request: request.stream(completion=1), Coins())


@pytest.mark.parametrize(
    "shared",
    [
        lambda request: request.key.stream(Purpose.POLICY, step=request.step),
        lambda request: request.key.stream(Purpose.POLICY, agent=request.history.agent),
        lambda request: request.key.shared().stream(
            Purpose.POLICY, step=request.step, agent=request.history.agent
        ),
        lambda request: request.key.stream(Purpose.CHANCE, step=request.step),
    ],
    ids=["agents", "steps", "episodes", "policy and chance"],
)
def test_shared_draws_are_noticed(shared: Callable[[Request], Stream]) -> None:
    assert not never_shares_a_draw(shared, Coins())


def groups_share_their_start(draw: Callable[[EpisodeKey], Start[Any]]) -> bool:
    """Members of a group start alike; other groups, updates, phases and seeds do not (nearly all)."""
    others = [
        *({"group": g} for g in range(1, 7)),
        *({"update": u} for u in range(1, 7)),
        *({"seed": s} for s in range(1, 7)),
        *({"phase": phase} for phase in (Phase.EVALUATION, Phase.CLONING)),
    ]
    keys = [EpisodeKey(seed=0), *(EpisodeKey(**{"seed": 0} | other) for other in others)]
    groups = [{draw(attrs.evolve(key, episode=e)).state for e in range(5)} for key in keys]
    return all(len(group) == 1 for group in groups) and len(set.union(*groups)) > len(keys) - 4


def test_members_of_a_group_share_their_start() -> None:
    assert groups_share_their_start(lambda key: draw_start(slippery_lake(), key.shared()))


@pytest.mark.parametrize(
    "draw",
    [
        lambda key: draw_start(slippery_lake(), key),
        lambda key: draw_start(slippery_lake(), EpisodeKey(seed=0)),
        lambda key: draw_start(slippery_lake(), EpisodeKey(seed=key.seed)),
    ],
    ids=["own start", "one start for all", "one start a seed"],
)
def test_starts_that_are_shared_wrongly_are_noticed(draw: Callable[[EpisodeKey], Any]) -> None:
    assert not groups_share_their_start(draw)


def test_a_plan_without_a_start_draws_its_own() -> None:
    game = slippery_lake()
    for spec in specs(3):
        record = play(game, uniform_policy(game), [spec])[0]
        assert isinstance(record, Episode)
        assert record.start == draw_start(game, spec.key)


def walks(common_chance: bool, texts: tuple[str, ...]) -> tuple[set[Any], set[Any]]:
    """The sets of texts said and of cells visited in a group on slippery ice."""
    game = FrozenLake(map=("FFFF", "FSFF", "FFFF", "FFFF"), slippery=True, horizon=6)
    records = play(game, Mumbler(texts), specs(6, common_chance=common_chance))
    said = {tuple(s.agent_steps[0].reply.text for s in record.steps) for record in records}
    walked = {tuple(s.state.state.position for s in record.steps) for record in records}
    return said, walked


def test_common_chance_shares_chance_and_not_the_policy() -> None:
    one_way = ("right",)
    said, walked = walks(True, one_way)
    assert (len(said), len(walked)) == (1, 1)
    said, walked = walks(False, one_way)
    assert len(said) == 1 < len(walked)
    said, _ = walks(True, ("right", "left", "down", "up"))
    assert len(said) > 3


# ---- how episodes end ------------------------------------------------------------------------


def tells_endings_apart(ending: Callable[[Any], Ending]) -> bool:
    """A terminal state at step H is a termination; a state that goes on is a truncation."""
    take_one = Mumbler(("take 1",))
    records = {h: one(Countdown(heap=3, horizon=h), take_one) for h in (2, 3, 4)}
    return [ending(records[h]) for h in (2, 3, 4)] == [
        Ending.TRUNCATED,
        Ending.TERMINATED,
        Ending.TERMINATED,
    ]


def test_termination_and_truncation() -> None:
    assert tells_endings_apart(lambda record: record.ending)


def test_a_truncation_by_length_alone_is_noticed() -> None:
    def by_length(record: Any) -> Ending:
        return Ending.TRUNCATED if len(record.steps) in (2, 3) else Ending.TERMINATED

    assert not tells_endings_apart(by_length)


def test_forfeit_and_empty_episodes() -> None:
    game = Countdown(invalid_rule=Forfeit(penalty=2))
    record = one(game, {"first": Mumbler(("take 1",)), "second": Mumbler((None,))})  # type: ignore[arg-type]
    assert record.ending is Ending.FORFEITED
    assert record.final_state.forfeited == {"second"}
    assert (record.episode_return("first"), record.episode_return("second")) == (0.0, -2.0)
    over = Start(state=ClosedState((0, 1), (None, None)), t=3)
    record = one(game, Mumbler((None,)), start=over)
    assert (record.steps, record.ending) == ((), Ending.TERMINATED)
    late = Start(state=ClosedState((2, 1), (None, None)), t=12)
    assert one(game, Mumbler((None,)), start=late).ending is Ending.TRUNCATED


def test_the_last_observation_is_recorded() -> None:
    record = one(Countdown(heap=1), Mumbler(("take 1",)))
    assert record.final_observations == dict.fromkeys(record.agents, "0 left. It is second's move.")
    assert (record.game, record.agents) == ("Countdown", ("first", "second"))
    assert (record.rewards_T("first"), record.discount) == ((1.0,), 1.0)


def test_chance_moves_alone_where_nobody_acts() -> None:
    watcher = Watcher(uniform_policy(Dice()))
    for record in play(Dice(), watcher, specs(5)):
        assert isinstance(record, Episode)
        assert all(
            bool(step.agent_steps) == (step.state.state[0] == "choose") for step in record.steps
        )
        assert record.steps[0].state.state[0] == "roll"
        assert record.ending is Ending.TERMINATED
    assert {request.state[0] for request in watcher.requests} == {"choose"}


def test_step_limits() -> None:
    assert step_limit(Countdown(horizon=3)) == 3
    assert step_limit(Coins(rounds=3)) == 3  # the longest game
    assert step_limit(Coins(rounds=3, horizon=2)) == 2
    with pytest.raises(InvalidArgumentError, match="Countdown: 'horizon' must be set"):
        play(Countdown(horizon=None), uniform_policy(Countdown()), [])
    with pytest.raises(InvalidArgumentError, match=r"'horizon' must be at least 1 \(got 0\)"):
        play(Countdown(horizon=0), uniform_policy(Countdown()), specs(1))


# ---- starts in the middle of an episode ---------------------------------------------------------


def middle(record: Episode[Any], index: int) -> Start[Any]:
    """A start at one step of an episode, with the histories up to there."""
    turns = {
        agent: tuple(
            a.turn for s in record.steps[:index] for a in s.agent_steps if a.agent == agent
        )
        for agent in record.agents
    }
    return Start(state=record.steps[index].state, turns=turns, t=record.steps[index].t)


@suppress_type_checks
def continues_alike(
    game: Game, policy: AgentPolicy, start: Callable[[Episode[Any], int], Start[Any]]
) -> bool:
    """Replaying from any step of an episode, with its key, gives the rest of the episode."""
    for spec in specs(4):
        record = play(game, policy, [spec])[0]
        assert isinstance(record, Episode)
        for index in range(len(record.steps)):
            again = play(game, policy, [EpisodeSpec(key=spec.key, start=start(record, index))])[0]
            if not isinstance(again, Episode) or again.steps != record.steps[index:]:
                return False
            if (again.final_state, again.ending) != (record.final_state, record.ending):
                return False
    return True


@attrs.frozen
class Remembering:
    """Says 1 or 2 by how many turns it remembers and by its own draw."""

    def reply(self, requests: Sequence[Request]) -> Sequence[Reply]:
        return [self._reply(request) for request in requests]

    def _reply(self, request: Request) -> Reply:
        number = 1 + (len(request.history.turns) + request.stream().integer(2)) % 2
        return Reply(text=f"take {number}", parser_outcome=ActionText(f"take {number}"))


@pytest.mark.parametrize("game", SOUND_GAMES, ids=_name)
def test_a_start_in_the_middle_continues_the_same(game: Game) -> None:
    assert continues_alike(game, mumbler(game), middle)


def test_a_start_has_histories_and_wrong_starts_are_noticed() -> None:
    game, policy = Countdown(heap=7), Remembering()
    assert continues_alike(game, policy, middle)
    assert not continues_alike(game, policy, lambda r, i: attrs.evolve(middle(r, i), t=0))
    assert not continues_alike(game, policy, lambda r, i: attrs.evolve(middle(r, i), turns={}))


# ---- histories -------------------------------------------------------------------------------


def test_an_agent_is_shown_its_own_past_alone() -> None:
    game = Coins(invalid_rule=StandStill(with_feedback=True))
    watchers = {"even": Watcher(Mumbler(("Heads",))), "odd": Watcher(Mumbler(("Tails", "??")))}
    record = play(game, watchers, specs(1))[0]
    assert isinstance(record, Episode)
    for agent, watcher in watchers.items():
        for t, request in enumerate(watcher.requests):
            history = request.history
            assert (history.agent, request.step, len(history.turns)) == (agent, t, t)
            assert history.turns == tuple(s.turn for s in record.agent_steps(agent)[:t])
            assert history.observation.text == game.observation_text(request.state, agent)
            last = history.turns[-1].kind if history.turns else None
            assert bool(history.observation.feedback) == (last is OutcomeKind.ILLEGAL)


# ---- bad replies and bad games ---------------------------------------------------------------

DEFAULTS = {"Countdown": 1, "Coins": "Heads", "Dice": "hold", "Drift": 1}


@examples(0.4)
@given(st.sampled_from(SOUND_GAMES), st.sampled_from(range(5)), st.lists(texts(), min_size=1))
def test_no_reply_can_stop_a_run(game: Game, rule: int, said: list[str]) -> None:
    default = (
        DEFAULTS.get(game.name)
        or game.legal_actions(game.sample_initial_state(Stream(0)), game.agents[0])[0]
    )  # type: ignore[index]
    game = with_invalid_rule(game, [*RULES, PlayDefault(action=default)][rule])
    for record in play(game, Mumbler((*said, None)), specs(2)):
        assert isinstance(record, Episode)
        for agent in record.agents:
            outcomes = [step.outcome for step in record.agent_steps(agent)]
            kinds = [outcome.kind is OutcomeKind.PARSED for outcome in outcomes]
            assert record.invalid_count(agent) == kinds.count(False)


FAULTS = {
    "start": (0, "ZeroDivisionError: no start"),
    "raise": (2, "ZeroDivisionError: in the middle"),
    "observe": (2, "agent 'one': ZeroDivisionError: nothing to see"),
    "stranger": (2, "'three'"),
    "nan": (2, "GameLawError: rewards of ('one', 'two') must be finite"),
    "infinite": (2, "GameLawError: rewards of ('one', 'two') must be finite"),
    "short": (2, r"GameLawError: a transition must reward each of ('one', 'two')"),
    "long": (2, r"GameLawError: a transition must reward each of ('one', 'two')"),
    "end": (4, "ZeroDivisionError: nothing to see"),
}


def fails_with(record: Any, steps: int, message: str) -> bool:
    """A failure names game, step, seed and cause, and keeps what was played."""
    return (
        isinstance(record, FailedEpisode)
        and record.error.startswith(f"Faulty, step {steps}, ")
        and "seed=7" in record.error
        and message in record.error
        and len(record.steps) == steps
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_a_game_that_breaks_its_laws_fails_its_own_episode(fault: str) -> None:
    steps, message = FAULTS[fault]
    game = Faulty(fault=fault)
    assert fails_with(one(game, Mumbler(("go",)), seed=7), steps, message)
    assert not fails_with(one(Faulty(), Mumbler(("go",)), seed=7), steps, message)


def test_a_failure_leaves_the_other_episodes_alone() -> None:
    game = Faulty(fault="raise", horizon=3)
    late = Start(state=ClosedState(3, (None, None)))  # begins behind the fault
    mixed = [specs(1)[0], *specs(2, start=late), specs(1)[0]]
    records = play(game, Mumbler(("go",)), mixed)
    assert [type(record) for record in records] == [FailedEpisode, Episode, Episode, FailedEpisode]
    assert records[1:3] == play(game, Mumbler(("go",)), mixed[1:3])


def test_standing_still_without_a_noop_fails_with_a_clear_sentence() -> None:
    record = one(Coins(with_noop=False), Mumbler(("??",)), seed=7)
    assert isinstance(record, FailedEpisode)
    assert "Coins, step 0, " in record.error
    assert "GameLawError: Coins: 'StandStill' needs a declared 'noop_action'" in record.error
    assert isinstance(one(Coins(), Mumbler(("??",))), Episode)


def test_a_policy_that_raises_is_a_bug_and_passes_through() -> None:
    class Broken:
        def reply(self, requests: Sequence[Request]) -> Sequence[Reply]:
            raise KeyError("policy")

    class Short:
        def reply(self, requests: Sequence[Request]) -> Sequence[Reply]:
            return []

    with pytest.raises(KeyError, match="policy"):
        one(Countdown(), Broken())
    with pytest.raises(ValueError, match="shorter"):
        one(Countdown(), Short())


class Speechless:
    """Cannot reply to some of its requests, and asks another policy for the others.

    Args:
      others: the other policy.
      refuses: tells which requests.
      misnames: names another request than the one that it means.
    """

    def __init__(
        self, others: AgentPolicy, refuses: Callable[[Request], bool], *, misnames: bool = False
    ) -> None:
        self.others, self.refuses, self.misnames = others, refuses, misnames

    def reply(self, requests: Sequence[Request]) -> Sequence[Reply]:
        for index, request in enumerate(requests):
            if self.refuses(request):
                error = NoReplyError("the prompt is too long")
                error.index = (index + self.misnames) % len(requests)
                raise error
        return self.others.reply(requests)


def fails_alone(game: Game, *, misnames: bool) -> bool:
    """Whether the episodes that a policy cannot reply to fail, and all others stay as they are."""
    asked = specs(8)

    def refuses(request: Request) -> bool:
        return request.key in (asked[2].key, asked[5].key, asked[6].key)

    expected = play(game, uniform_policy(game), asked)
    found = play(game, Speechless(uniform_policy(game), refuses, misnames=misnames), asked)
    failed = [n for n, record in enumerate(found) if isinstance(record, FailedEpisode)]
    others = [n for n in range(len(asked)) if n not in failed]
    return failed == [2, 5, 6] and all(found[n] == expected[n] for n in others)


@pytest.mark.parametrize("game", [FrozenLake(), Dice()])
def test_a_request_that_a_policy_cannot_reply_to_fails_its_own_episode(game: Game) -> None:
    assert fails_alone(game, misnames=False)


def test_a_policy_that_names_the_wrong_request_is_noticed() -> None:
    assert not fails_alone(FrozenLake(), misnames=True)


def test_what_was_played_before_is_kept_and_the_message_says_where() -> None:
    game = FrozenLake()
    policy = Speechless(uniform_policy(game), lambda request: request.step == 1)
    (record,) = play(game, policy, specs(1))
    assert isinstance(record, FailedEpisode)
    assert len(record.steps) == 1
    assert "FrozenLake, step 1" in record.error
    assert record.error.endswith("NoReplyError: the prompt is too long")


def test_every_agent_needs_a_policy() -> None:
    with pytest.raises(InvalidArgumentError, match=r"'policies' must name every agent .*'odd'"):
        play(Coins(), {"even": uniform_policy(Coins())}, specs(1))
    assert play(Coins(), uniform_policy(Coins()), []) == []


# ---- episodes on different instances ---------------------------------------------------------


def test_instances_repeat_only_once_no_more_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are 40 starts. More are looked for 20 times as often as starts are wanted, and then what comes is taken."""
    drawn: list[EpisodeKey] = []

    def counted(game: Game, key: EpisodeKey) -> Any:
        drawn.append(key)
        if len(drawn) > 5000:
            raise AssertionError("instances are looked for without end")
        return draw_start(game, key)

    monkeypatch.setattr("tsmg.runner.draw_start", counted)
    found = distinct_episodes(Drift(), 60, seed=0, phase=Phase.EVALUATION)
    states = [spec.start.state.state for spec in found if spec.start]
    assert len(states) == 60 and set(states[:40]) == set(range(40))
    assert len(drawn) == 20 * 60 + 20
    assert [spec.key for spec in found[40:]] == drawn[-20:]


def test_starts_that_are_no_instances_are_taken_as_drawn() -> None:
    game = Drift(facts=Facts())
    found = distinct_episodes(game, 30, seed=0, phase=Phase.EVALUATION)
    assert [spec.key.group for spec in found] == list(range(30))
    assert len({spec.start.state.state for spec in found if spec.start}) < 30
