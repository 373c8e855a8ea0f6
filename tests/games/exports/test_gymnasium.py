"""Games as Gymnasium environments: the suite, the same episodes as the runner's, the other agents' turns."""

import contextlib
import io
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given

import games
from games.adapters.live import LiveGame
from games.exports.views import AnyText
from tests.games.exports.ids import tried_ids
from tests.strategies import SOUND_GAMES, Countdown, Dice, examples, slippery_lake, texts
from tsmg import (
    AbstractGame,
    ActionText,
    Ending,
    Episode,
    EpisodeKey,
    EpisodeSpec,
    Forfeit,
    GameLawError,
    InvalidArgumentError,
    PlayDefault,
    PlayerPolicy,
    PlayRandomLegal,
    Reply,
    Request,
    StandStill,
    Stream,
    UniformPlayer,
    play,
    with_invalid_rule,
    with_texts,
)

IDS = tried_ids()
JUNK = "<|im_end|>\ud800 nonsense \n☃"


@attrs.frozen
class Babbler:
    """Says a uniformly drawn canonical text of the present state, or, now and then, junk."""

    game: AbstractGame[Any, Any]

    def reply(self, requests: Sequence[Request]) -> Sequence[Reply]:
        return [self._reply(request) for request in requests]

    def _reply(self, request: Request) -> Reply:
        rng, agent = request.stream(), request.history.agent
        legal = self.game.legal_actions(request.state, agent) or ()
        canonical = [self.game.action_text(request.state, agent, action) for action in legal]
        text = JUNK if rng.random() < 0.15 else rng.choice(canonical)
        return Reply(text=text, parser_outcome=ActionText(text))


def babbled(game: AbstractGame[Any, Any], seed: int) -> Episode[Any]:
    """The episode that the runner records."""
    (record,) = play(game, Babbler(game), [EpisodeSpec(key=EpisodeKey(seed=seed))])
    assert isinstance(record, Episode), record
    return record


def shown(step: Any) -> str:
    observation = step.observation
    return observation.text + (f"\n{observation.feedback}" if observation.feedback else "")


# ---- the suite -----------------------------------------------------------------------------------


def passes_check_env(env: gymnasium.Env[Any, Any]) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*does not having a spec|.*having a spec.*")
        check_env(env)
    return True


@pytest.mark.parametrize("actions", ["text", "index"])
@pytest.mark.parametrize("id", IDS)
def test_check_env_passes(id: str, actions: Any) -> None:
    game = games.make(id)
    for agent in game.agents[-1:] if actions == "index" else game.agents:
        opponents = UniformPlayer(game) if len(game.agents) > 1 else None
        env = games.to_gymnasium(game, agent, opponents, actions=actions, render_mode="ansi")
        assert passes_check_env(env)


# ---- the same episode as the runner's ------------------------------------------------------------


def replays(env: gymnasium.Env[Any, Any], record: Episode[Any], agent: str) -> None:
    """The environment, told the texts of a record, shows what was recorded."""
    observation, info = env.reset(seed=record.key.seed)
    rewards, penalties, totals, terminated, truncated = [], [], [], False, False
    for step in record.agent_steps(agent):
        assert not terminated and not truncated
        assert observation == shown(step)
        observation, reward, terminated, truncated, info = env.step(step.reply.text)
        assert info["outcome"] == step.outcome.kind.value
        rewards.append(info["reward"])
        penalties.append(info["penalty"])
        totals.append(reward)
    if not record.agent_steps(agent):  # over before its first turn
        assert info["ending"] == record.ending.value
        observation, reward, terminated, truncated, info = env.step(JUNK)
        rewards, penalties, totals = [info["reward"]], [info["penalty"]], [reward]
    n = record.agents.index(agent)
    assert sum(rewards) == pytest.approx(sum(step.rewards_N[n] for step in record.steps))
    assert sum(penalties) == pytest.approx(sum(step.penalties_N[n] for step in record.steps))
    assert sum(totals) == pytest.approx(sum(record.rewards_T(agent)))
    assert terminated or truncated
    if info["ending"]:  # otherwise the agent was out before the end
        assert info["ending"] == record.ending.value
        assert (terminated, truncated) == (
            record.ending is not Ending.TRUNCATED,
            record.ending is Ending.TRUNCATED,
        )
        assert observation.startswith(record.final_observations[agent])


RULES = [
    StandStill(penalty=0.1, with_feedback=True),
    PlayRandomLegal(penalty=0.2),
    Forfeit(penalty=1.0),
]


@pytest.mark.parametrize("id", IDS)
def test_an_exported_episode_is_the_one_that_the_runner_records(id: str) -> None:
    plain = games.make(id)
    rules = [plain.invalid_rule, PlayRandomLegal(penalty=0.2, with_feedback=True)]
    if len(plain.acting_agents(plain.sample_initial_state(Stream(0)))) == 1:
        rules.append(StandStill(penalty=0.1, with_feedback=True))
    endings = set()
    for rule in rules:
        game = with_invalid_rule(plain, rule)
        for seed in range(5):
            record = babbled(game, seed)
            endings.add(record.ending)
            for agent in game.agents:
                opponents = Babbler(game) if len(game.agents) > 1 else None
                replays(games.to_gymnasium(game, agent, opponents), record, agent)
    assert endings


@pytest.mark.parametrize("game", SOUND_GAMES, ids=lambda game: game.name)
def test_games_with_chance_moves_and_sampled_games_too(game: AbstractGame[Any, Any]) -> None:
    for seed in range(5):
        record = babbled(game, seed)
        for agent in game.agents:
            opponents = Babbler(game) if len(game.agents) > 1 else None
            replays(games.to_gymnasium(game, agent, opponents), record, agent)


def test_a_wrong_seed_is_noticed() -> None:
    game = games.make("Snake-v0")
    record = attrs.evolve(babbled(game, 0), key=EpisodeKey(seed=1))
    with pytest.raises(AssertionError):
        replays(games.to_gymnasium(game, "snake_1", Babbler(game)), record, "snake_1")


# ---- invalid text --------------------------------------------------------------------------------


@given(text=texts())
@examples(0.5)
def test_any_text_is_answered(text: str) -> None:
    game = with_invalid_rule(games.make("FrozenLake-v0"), StandStill(penalty=0.25))
    env = games.to_gymnasium(game)
    first, _ = env.reset(seed=3)
    second, reward, terminated, truncated, info = env.step(text)
    assert env.observation_space.contains(second) and env.action_space.contains(text)
    if info["outcome"] != "parsed":
        assert (second, reward, info["penalty"], info["reward"]) == (first, -0.25, -0.25, 0.0)
        assert not terminated and not truncated


@pytest.mark.parametrize(
    ("rule", "reward", "penalty", "terminated"),
    [
        (StandStill(penalty=0.5), -0.5, -0.5, False),
        (Forfeit(penalty=0.75), -0.75, -0.75, True),
        (PlayDefault(penalty=0.25, action="right"), 0.75, -0.25, True),
    ],
)
def test_an_invalid_text_costs_what_the_rule_says(
    rule: Any, reward: float, penalty: float, terminated: bool
) -> None:
    game = with_invalid_rule(games.make("LineWalk-v0", length=2), rule)
    env = games.to_gymnasium(game)
    env.reset(seed=0)
    _, paid, over, truncated, info = env.step(JUNK)
    assert (paid, over, truncated) == (reward, terminated, False)
    assert (info["penalty"], info["reward"]) == (penalty, reward - penalty)
    assert (
        info["ending"]
        == ({True: "terminated", False: None}[over], "forfeited")[isinstance(rule, Forfeit)]
    )


def test_feedback_is_shown_where_the_rule_gives_it() -> None:
    game = with_invalid_rule(games.make("FrozenLake-v0"), StandStill(with_feedback=True))
    env = games.to_gymnasium(game, render_mode="ansi")
    first, _ = env.reset(seed=0)
    second, *_ = env.step(JUNK)
    assert second == f"{first}\nYour last reply did not name a legal action." == env.render()


def test_an_index_in_an_array_is_that_index() -> None:
    """The action space contains it, and learners return such actions."""
    env = games.to_gymnasium(games.make("LineWalk-v0"), actions="index")
    env.reset(seed=0)
    action = np.array(1)
    assert env.action_space.contains(action)
    shown = env.step(action)[0]["text"]
    env.reset(seed=0)
    assert env.step(1)[0]["text"] == shown


def test_an_index_that_is_not_legal_is_an_illegal_text() -> None:
    game = games.make("TicTacToe-v0")
    env = games.to_gymnasium(game, "x", UniformPlayer(game), actions="index")
    env.reset(seed=0)
    observation, *_ = env.step(4)
    assert observation["action_mask"].tolist().count(1) == 7 and not observation["action_mask"][4]
    observation, reward, terminated, _, info = env.step(4)
    assert (reward, terminated, info["outcome"], info["ending"]) == (
        -1.0,
        True,
        "illegal",
        "forfeited",
    )
    assert not observation["action_mask"].any()


# ---- the other agents ----------------------------------------------------------------------------


def test_opponents_who_move_first_do() -> None:
    game = games.make("TicTacToe-v0")
    env = games.to_gymnasium(game, "o", UniformPlayer(game))
    observation, info = env.reset(seed=0)
    assert observation.count("X") == 1 and len(info["legal_texts"]) == 8


def test_each_opponent_has_its_own_policy_and_history() -> None:
    seen: dict[str, list[int]] = {}

    @attrs.frozen
    class Watcher:
        game: AbstractGame[Any, Any]

        def reply(self, requests: Sequence[Request]) -> Sequence[Reply]:
            for request in requests:
                seen.setdefault(request.history.agent, []).append(len(request.history.turns))
                assert request.history.rules == self.game.rules_text(request.history.agent)
            return Babbler(self.game).reply(requests)

    game = games.make("Snake-v0", snakes=3)
    opponents = {"snake_1": Watcher(game), "snake_3": UniformPlayer(game)}
    env = games.to_gymnasium(game, "snake_2", opponents)
    env.reset(seed=5)
    over = False
    while not over:
        *_, terminated, truncated, _ = env.step("up")
        over = terminated or truncated
    assert list(seen) == ["snake_1"]
    assert seen["snake_1"] == list(range(len(seen["snake_1"])))


def test_a_game_that_ends_before_the_first_turn_ends_at_the_first_step() -> None:
    game = games.make("TicTacToe-v0")

    @attrs.frozen
    class Mute:
        def reply(self, requests: Sequence[Request]) -> Sequence[Reply]:
            return [Reply(text="", parser_outcome=ActionText("")) for _ in requests]

    env = games.to_gymnasium(game, "o", Mute(), actions="index")
    observation, info = env.reset(seed=0)
    assert observation["action_mask"].all() and info["action_mask"].all()
    env.step(0)
    env = games.to_gymnasium(game, "o", Mute())
    _, info = env.reset(seed=0)
    assert info["ending"] == "forfeited" and info["legal_texts"] == ()
    _, reward, terminated, truncated, info = env.step("1")
    assert (reward, terminated, truncated, info["outcome"]) == (0.0, True, False, None)


def test_rewards_before_the_first_turn_come_with_the_first_step() -> None:
    game = Countdown(heap=1)
    env = games.to_gymnasium(game, "second", UniformPlayer(game))
    _, info = env.reset(seed=0)
    assert info["ending"] == "terminated" and info["reward"] == 0.0
    _, reward, terminated, _, info = env.step("take 1")
    assert terminated and reward == info["reward"] == -1.0


def test_a_dead_snake_is_done_at_once() -> None:
    game = games.make("Snake-v0", snakes=3, width=4, height=4, apples=0)
    env = games.to_gymnasium(game, "snake_1", UniformPlayer(game))
    for seed in range(20):
        env.reset(seed=seed)
        done, info = False, {}
        while not done:
            observation, _, terminated, truncated, info = env.step("up")
            done = terminated or truncated
        if info["ending"] is None:
            assert terminated and not truncated and "You are dead." in observation
            return
    pytest.fail("in no episode did the snake die before the end")


# ---- in and out again ----------------------------------------------------------------------------


RETURNING = [
    "FrozenLake-v0",
    "SlipperyFrozenLake-v0",
    "SmallSnake-v0",
    "Hanoi-v0",
    "Blackjack-v0",
    "Mastermind-v0",
]


@attrs.frozen
class Saying:
    """Says given texts, one after the other."""

    said: Iterator[str]

    def reply(self, requests: Sequence[Request]) -> Sequence[Reply]:
        texts = [next(self.said) for _ in requests]
        return [Reply(text=text, parser_outcome=ActionText(text)) for text in texts]


@pytest.mark.parametrize("id", RETURNING)
def test_an_imported_episode_is_that_of_the_seed_in_its_start(id: str) -> None:
    """As docs/how_to/exports.md says: with the legal actions listed, by uniform play."""
    game = games.make(id)
    (role,) = game.agents
    again = games.from_gymnasium(
        lambda: games.to_gymnasium(game),
        horizon=game.horizon,
        admissible="legal_texts",
        invalid_rule=game.invalid_rule,
        success=lambda episode, agent: episode.episode_return(agent) > 0,
    )
    assert again.rules_text("player") == game.rules_text(role)
    assert again.invalid_rule == game.invalid_rule
    keys = [EpisodeSpec[Any](key=EpisodeKey(seed=seed)) for seed in range(6)]
    for record in play(again, PlayerPolicy(again, UniformPlayer(again)), keys):
        assert isinstance(record, Episode), record.error
        said = Saying(step.reply.text for step in record.agent_steps("player"))
        seed = record.start.state.state.seed
        (own,) = play(game, said, [EpisodeSpec(key=EpisodeKey(seed=seed))])
        assert isinstance(own, Episode), own.error
        assert own.rewards_T(role) == record.rewards_T("player")
        assert own.ending == record.ending and not own.invalid_count(role)
        assert own.final_observations[role] == record.final_observations["player"]
        assert [step.observation.text for step in own.agent_steps(role)] == [
            step.observation.text for step in record.agent_steps("player")
        ]
        assert again.success(record, "player") == (own.episode_return(role) > 0)


@pytest.mark.parametrize("id", RETURNING)
def test_a_game_that_went_out_and_in_again_plays_the_same(id: str) -> None:
    """Rewards, penalties included, texts and lengths are those of the original for the same seed and texts."""
    game = games.make(id)
    again = games.from_gymnasium(lambda: games.to_gymnasium(game), horizon=game.horizon)
    assert isinstance(again, LiveGame)
    invalid = 0
    for seed in range(6):
        state = again._reset(seed)
        record = babbled(game, seed)
        invalid += record.invalid_count("player" if "player" in game.agents else game.agents[0])
        paid, texts = [], []
        for step in record.agent_steps(game.agents[0]):
            texts.append(again.observation_text(state, "player"))
            read = again.read_action(state, "player", step.reply.text)
            state, (reward,) = again.sample_transition(
                state,
                {"player": read.action},  # type: ignore[union-attr]
                Stream("unused"),
            )
            paid.append(reward)
        assert again.is_terminal(state)
        assert tuple(paid) == pytest.approx(record.rewards_T(game.agents[0]))
        assert texts == [shown(step) for step in record.agent_steps(game.agents[0])]
    assert invalid


def test_indices_go_in_again_with_their_names() -> None:
    game = games.make("SlipperyFrozenLake-v0")
    names = ("left", "down", "right", "up")
    again = games.from_gymnasium(
        lambda: games.to_gymnasium(game, actions="index", action_texts=names),
        horizon=game.horizon,
        action_names=names,
        observation_text=lambda observation: observation["text"],
    )
    for episode in range(4):
        key = EpisodeKey(seed=1, episode=episode)
        (record,) = play(again, PlayerPolicy(again, UniformPlayer(again)), [EpisodeSpec(key=key)])
        assert isinstance(record, Episode), record.error
        env = games.to_gymnasium(game)
        observation, _ = env.reset(seed=record.start.state.state.seed)
        for step, reward in zip(
            record.agent_steps("player"), record.rewards_T("player"), strict=True
        ):
            assert observation == step.observation.text
            observation, expected, *_ = env.step(step.reply.text)
            assert reward == expected


# ---- seeds ---------------------------------------------------------------------------------------


def transcript(env: gymnasium.Env[Any, Any], seed: int | None, moves: int = 6) -> list[Any]:
    told: list[Any] = [env.reset(seed=seed)]
    for _ in range(moves):
        told.append(env.step("down"))
        if told[-1][2] or told[-1][3]:
            break
    return told


def test_seeds_fix_an_episode_and_all_later_ones() -> None:
    a, b = (games.to_gymnasium(slippery_lake(size=5)) for _ in "ab")
    first = [transcript(a, 7), transcript(a, None), transcript(a, None)]
    assert first == [transcript(b, 7), transcript(b, None), transcript(b, None)]
    assert len({str(t) for t in first}) == 3
    assert transcript(a, 7) == first[0] != transcript(a, 8)


def test_environments_without_a_seed_differ() -> None:
    starts = {games.to_gymnasium(games.make("FrozenLake-v0")).reset()[0] for _ in range(20)}
    assert len(starts) > 5


def test_interleaved_environments_do_not_disturb_each_other() -> None:
    game = games.make("PoisonSnake-v0")
    alone = transcript(games.to_gymnasium(game, "snake_1", UniformPlayer(game)), 4)
    a, b = (games.to_gymnasium(game, "snake_1", UniformPlayer(game)) for _ in "ab")
    told = [a.reset(seed=4)]
    b.reset(seed=9)
    while len(told) < len(alone):
        told.append(a.step("down"))
        with contextlib.suppress(gymnasium.error.ResetNeeded):
            b.step("left")
    assert told == alone


def test_global_generators_are_left_alone() -> None:
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    before = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index,union-attr]  # noqa: NPY002
    game = games.make("Snake-v0")
    env = games.to_gymnasium(game, "snake_1", UniformPlayer(game), actions="index")
    env.reset(seed=0)
    env.step(env.action_space.sample())
    env.reset()
    after = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index,union-attr]  # noqa: NPY002
    assert before == after


# ---- spaces and refusals -------------------------------------------------------------------------


def test_every_string_up_to_the_length_is_a_text() -> None:
    space = AnyText(20)
    space.seed(0)
    assert all(space.contains(t) for t in ("", "a\nb", JUNK[:20], "\U0010ffff" * 20))
    assert not space.contains("a" * 21) and not space.contains(b"a") and not space.contains(None)
    samples = [space.sample() for _ in range(50)]
    assert all(space.contains(s) for s in samples) and max(map(len, samples)) > 10
    assert all(len(AnyText(4000).sample()) <= 64 for _ in range(20))
    flat = gymnasium.spaces.flatten(space, "a☃")
    assert gymnasium.spaces.unflatten(space, flat) == "a?"
    assert repr(space) == "AnyText(20)" and space == AnyText(20) != AnyText(21)


def test_long_and_broken_observations_do_not_crash() -> None:
    game = with_texts(
        games.make("FrozenLake-v0"), observation_text=lambda s, a: "\ud800☃" + "x" * 99
    )
    env = games.to_gymnasium(game, observations="dict", max_length=8)
    observation, _ = env.reset(seed=0)
    assert bytes(observation["observation"]) == "?☃xxxx".encode()
    assert len(observation["text"]) == 101 and set(observation) == {"observation", "text"}


def test_indices_are_in_the_order_of_the_game() -> None:
    game = games.make("TicTacToe-v0")
    texts = tuple("123456789")
    for agent in game.agents:
        env = games.to_gymnasium(game, agent, UniformPlayer(game), actions="index")
        assert env._view.action_texts[agent] == texts  # type: ignore[attr-defined]
    lake = games.to_gymnasium(games.make("FrozenLake-v0"), actions="index")
    assert lake._view.action_texts == {"player": ("left", "down", "right", "up")}  # type: ignore[attr-defined]


def test_given_texts_restrict_the_agent() -> None:
    game = games.make("FrozenLake-v0")
    env = games.to_gymnasium(game, actions="index", action_texts=("down", "right"))
    observation, info = env.reset(seed=0)
    assert env.action_space.n == 2 and observation["action_mask"].tolist() == [1, 1]  # type: ignore[attr-defined]
    assert info["legal_texts"] == ("left", "down", "right", "up")


def test_an_action_without_an_index_is_not_left_out_silently() -> None:
    @attrs.frozen(kw_only=True)
    class Rare(Dice):
        def legal_actions(self, state: Any, agent: str) -> tuple[str, ...]:
            legal = super().legal_actions(state, agent)
            return (*legal, "cheat") if legal and self.rare else legal

        rare: bool = False

    env = games.to_gymnasium(Rare(), actions="index")
    object.__setattr__(env._view.game, "rare", True)  # type: ignore[attr-defined]
    with pytest.raises(GameLawError, match="'action_texts' must be given"):
        env.reset(seed=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "'agent' must be one of"),
        ({"agent": "z"}, "'agent' must be one of"),
        ({"agent": "x"}, r"'opponents' must play each of \['o'\]"),
        ({"agent": "x", "opponents": {}}, "'opponents'"),
        ({"agent": "x", "opponents": {"x": Babbler, "o": Babbler}}, "'opponents'"),
    ],
)
def test_impossible_seats_are_refused(arguments: Mapping[str, Any], message: str) -> None:
    given = dict(arguments)
    if isinstance(given.get("opponents"), dict):
        game = games.make("TicTacToe-v0")
        given["opponents"] = {name: make(game) for name, make in given["opponents"].items()}
    with pytest.raises(InvalidArgumentError, match=message):
        games.to_gymnasium(games.make("TicTacToe-v0"), **given)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"actions": "word"}, "'actions'"),
        ({"observations": "picture"}, "'observations'"),
        ({"render_mode": "human"}, "'render_mode'"),
        ({"max_length": 0}, "'max_length'"),
        ({"action_texts": ("left",)}, "'action_texts' must be left out"),
        ({"actions": "index", "action_texts": ()}, "'action_texts'"),
        ({"actions": "index", "action_texts": ("left", "left")}, "'action_texts'"),
        ({"actions": "index", "action_texts": {"nobody": ("left",)}}, "'action_texts'"),
    ],
)
def test_impossible_views_are_refused(arguments: Mapping[str, Any], message: str) -> None:
    from typeguard import suppress_type_checks

    with suppress_type_checks(), pytest.raises(InvalidArgumentError, match=message):
        games.to_gymnasium(games.make("FrozenLake-v0"), **arguments)


def test_steps_out_of_order_and_foreign_actions_are_refused() -> None:
    env = games.to_gymnasium(games.make("LineWalk-v0", length=2))
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step("left")
    env.reset(seed=0)
    with pytest.raises(InvalidArgumentError, match="'action' of 'walker' must be a text"):
        env.step(0)
    assert env.step("right")[2]
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step("left")
    env = games.to_gymnasium(games.make("LineWalk-v0"), actions="index")
    env.reset(seed=0)
    for action in (2, -1, "left"):
        with pytest.raises(InvalidArgumentError, match="must be an index below 2"):
            env.step(action)


def test_render_is_silent_without_a_mode() -> None:
    env = games.to_gymnasium(games.make("FrozenLake-v0"))
    env.reset(seed=0)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert env.render() is None
    assert out.getvalue() == ""
