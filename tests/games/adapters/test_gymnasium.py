"""Gymnasium environments as games: tables, live ones, branching, masks, refusals."""

import sys
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces as gym
from typeguard import suppress_type_checks

import games
from games.adapters.any_text import AnyText
from games.adapters.gymnasium import TableGame, _generator
from games.adapters.live import LiveGame
from tsmg import (
    AbstractGame,
    Ending,
    Episode,
    EpisodeKey,
    EpisodeSpec,
    FailedEpisode,
    Forfeit,
    GameLawError,
    Illegal,
    InvalidArgumentError,
    MissingPackageError,
    Parsed,
    PlayerPolicy,
    Purpose,
    StandStill,
    Stream,
    UniformPlayer,
    play,
    with_horizon,
)
from tsmg.testing import check_game

TABLES = ["FrozenLake-v1", "FrozenLake8x8-v1", "CliffWalking-v1", "Taxi-v4"]
LIVE = ["Blackjack-v1", "CartPole-v1", "MountainCar-v0", "Acrobot-v1"]
CONTINUOUS = ["Pendulum-v1", "MountainCarContinuous-v0"]


def uniform_episode(game: AbstractGame[Any, Any], seed: int = 0, episode: int = 0) -> Episode[Any]:
    plan = EpisodeSpec[Any](key=EpisodeKey(seed=seed, episode=episode))
    (record,) = play(game, PlayerPolicy(game, UniformPlayer(game)), [plan])
    assert isinstance(record, Episode), record
    return record


@pytest.mark.parametrize("id", TABLES)
def test_a_published_table_is_an_explicit_game(id: str) -> None:
    game, env = games.from_gymnasium(id, horizon=30), gymnasium.make(id)
    assert isinstance(game, TableGame)
    table = env.unwrapped.P  # type: ignore[attr-defined]
    first = game.initial_state_dist().pmf()
    assert sum(first.values()) == pytest.approx(1)
    rng = np.random.default_rng(0)
    for number in rng.choice(len(table), 12, replace=False).tolist():
        state = next(iter(first))._replace(number=number)
        for action, listed in table[number].items():
            expected: dict[Any, float] = {}
            for p, s, r, over in listed:
                key = (s, bool(over), float(r))
                expected[key] = expected.get(key, 0.0) + p
            dist = game.transition_dist(state, {"player": action}).pmf()
            found = {(t.state.number, t.state.over, t.rewards_N[0]): p for t, p in dist.items()}
            assert found == pytest.approx({k: p for k, p in expected.items() if p})


@pytest.mark.parametrize("id", TABLES)
def test_texts_of_tables_tell_the_states_apart(id: str) -> None:
    game = games.from_gymnasium(id, horizon=20)
    assert isinstance(game, TableGame)
    reached, frontier = set(), [cell.number for cell in game.initial_state_dist().support()]
    while frontier:
        number = frontier.pop()
        if number not in reached:
            reached.add(number)
            frontier += [int(s) for dist in game.table[number].values() for p, s, _, _ in dist if p]
    texts = {game.texts(number) for number in reached}
    assert len(texts) == len(reached) > 10
    assert not any("\x1b" in text for text in texts)


@pytest.mark.parametrize("id", [*TABLES, *LIVE])
def test_environments_play_and_repeat_with_their_seed(id: str) -> None:
    game = games.from_gymnasium(id, horizon=40)
    assert uniform_episode(game).final_observations == uniform_episode(game).final_observations
    ends = {uniform_episode(game, seed).final_observations["player"] for seed in range(6)}
    assert len(ends) > 1


@pytest.mark.parametrize("id", LIVE)
def test_a_live_state_can_be_left_twice_and_branches_alike(id: str) -> None:
    game = games.from_gymnasium(id, horizon=20)
    assert isinstance(game, LiveGame)
    state = game.sample_initial_state(Stream("start"))
    action = game.legal_actions(state, "player")[0]  # type: ignore[index]
    rngs = [Stream("chance", 1), Stream("chance", 1), Stream("chance", 2)]
    first, again, _ = (game.sample_transition(state, {"player": action}, rng) for rng in rngs)
    assert first == again
    assert first.state.view.observation == again.state.view.observation
    if not first.state.view.over:
        a, b = (
            game.sample_transition(first.state, {"player": action}, Stream("next")) for _ in "ab"
        )
        assert a.state.view.observation == b.state.view.observation


def test_chance_is_fresh_in_every_episode_of_a_group() -> None:
    """Two hundred members of one start do not share one outcome."""
    game = games.from_gymnasium("Blackjack-v1", horizon=20)
    start = game.sample_initial_state(Stream("one start"))
    ends = {
        game.sample_transition(
            start, {"player": 1}, EpisodeKey(seed=0, episode=e).stream(Purpose.CHANCE)
        ).state.view.observation
        for e in range(50)
    }
    assert len(ends) > 5


@pytest.mark.parametrize("id", CONTINUOUS)
def test_what_text_cannot_name_is_refused_with_what_to_pass(id: str) -> None:
    with pytest.raises(InvalidArgumentError, match="'choices' must be given"):
        games.from_gymnasium(id)
    choices = {"back": np.array([-1.0], np.float32), "forth": np.array([1.0], np.float32)}
    game = games.from_gymnasium(id, choices=choices, horizon=5)
    assert len(uniform_episode(game).steps) == 5


def test_generators_of_steps_are_independent_and_can_spawn() -> None:
    a, b, c = (_generator(chance) for chance in (0, 0, 1))
    assert a.random(4).tolist() == b.random(4).tolist() != c.random(4).tolist()
    first, second = a.spawn(2)
    (third,) = a.spawn(1)
    draws = [g.random() for g in (first, second, third, *b.spawn(3))]
    assert draws[:3] == draws[3:] and len(set(draws)) == 3
    means = np.array([_generator(chance).random(8) for chance in range(2000)]).mean(axis=0)
    assert np.abs(means - 0.5).max() < 5 * (1 / 12 / 2000) ** 0.5


class Toy(gymnasium.Env[Any, Any]):
    """A small environment whose faults can be chosen."""

    observation_space = gym.Dict(n=gym.Discrete(10), action_mask=gym.MultiBinary(3))
    action_space = gym.Discrete(3)

    def __init__(self, mask: tuple[int, ...] = (1, 0, 1), fault: str = "") -> None:
        self.mask, self.fault, self.made = np.array(mask, np.int8), fault, 0

    def _observation(self) -> dict[str, Any]:
        return {"n": self.n, "action_mask": self.mask}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.n = 0
        return self._observation(), {}

    def step(self, action: int) -> Any:
        assert self.mask[action]
        if self.fault == "raise" and self.n == 2:
            raise RuntimeError("broken")
        self.n += 1
        reward = float("nan") if self.fault == "nan" else 1.0
        return self._observation(), reward, self.n >= 5, False, {}


def test_masks_are_honoured() -> None:
    game = games.from_gymnasium(Toy, horizon=9)
    state = game.sample_initial_state(Stream("start"))
    assert game.legal_actions(state, "player") == (0, 2)
    assert game.read_action(state, "player", "1") == Illegal("1")
    assert game.read_action(state, "player", " 2 ") == Parsed(2)
    assert uniform_episode(game).episode_return("player") == 5.0


@pytest.mark.parametrize("fault", ["raise", "nan"])
def test_a_faulty_environment_ends_its_own_episode_only(fault: str) -> None:
    game = games.from_gymnasium(lambda: Toy(fault=fault), horizon=9)
    plan = EpisodeSpec[Any](key=EpisodeKey(seed=0))
    (record,) = play(game, PlayerPolicy(game, UniformPlayer(game)), [plan])
    assert isinstance(record, FailedEpisode)
    assert len(record.steps) == (2 if fault == "raise" else 0)


def test_a_step_that_raises_leaves_its_state_as_it_was() -> None:
    class Costly(Toy):
        def step(self, action: int) -> Any:
            observation, _, over, cut, info = super().step(action)
            return observation, float("nan") if action == 2 else 1.0, over, cut, info

    game = games.from_gymnasium(Costly, horizon=9)
    state = game.sample_initial_state(Stream("start"))
    with pytest.raises(GameLawError, match="one finite number"):
        game.sample_transition(state, {"player": 2}, Stream("a"))
    after = game.sample_transition(state, {"player": 0}, Stream("a")).state
    assert game.observation_text(after, "player").startswith("n: 1")


def test_a_table_whose_rewards_alone_are_drawn_is_stochastic() -> None:
    class Paying(gymnasium.Env[Any, Any]):
        observation_space, action_space = gym.Discrete(2), gym.Discrete(1)
        initial_state_distrib = np.array([1.0, 0.0])

        def __init__(self) -> None:
            self.P = {s: {0: [(0.5, 1, 0.0, True), (0.5, 1, 1.0, True)]} for s in range(2)}

    game = games.from_gymnasium(Paying, horizon=2)
    assert isinstance(game, TableGame)
    assert game.facts.stochastic_transitions


def test_a_mask_of_zeros_is_an_error_with_the_name() -> None:
    with pytest.raises(GameLawError, match="Toy: the mask allows no action"):
        games.from_gymnasium(lambda: Toy(mask=(0, 0, 0)), horizon=9)


def test_a_mask_of_zeros_at_the_end_is_no_error() -> None:
    class Closing(Toy):
        def step(self, action: int) -> Any:
            told = super().step(action)
            self.mask = np.zeros(3, np.int8) if told[2] else self.mask
            return (self._observation(), *told[1:])

    assert uniform_episode(games.from_gymnasium(Closing, horizon=9)).episode_return("player") == 5.0


def test_an_environment_that_does_not_replay_says_so() -> None:
    class Forgetful(Toy):
        born = 0

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            _, info = super().reset(seed=seed)
            Forgetful.born += 1
            self.n = Forgetful.born
            return self._observation(), info

    game = games.from_gymnasium(Forgetful, horizon=9)
    state = game.sample_initial_state(Stream("start"))
    game.sample_transition(state, {"player": 0}, Stream("a"))
    with pytest.raises(GameLawError, match="cannot be branched"):
        game.sample_transition(state, {"player": 0}, Stream("a"))


class Long(Toy):
    """Its observation is too long to be read."""

    observation_space = gym.Box(0, 255, (64, 64), np.uint8)  # type: ignore[assignment]

    def _observation(self) -> Any:
        return np.zeros((64, 64), np.uint8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"env": "NoSuchGame-v0"}, "'env'"),
        ({"env": Toy}, "'horizon' must be given"),
        ({"env": Toy, "horizon": 0}, r"'horizon' must be at least 1 \(got 0\)"),
        ({"env": "CartPole-v1", "action_names": (0, 1)}, "'action_names' must be different texts"),
        (
            {"env": "CartPole-v1", "choices": {"Up": 0, "up": 1}},
            "'choices' must be different texts",
        ),
        ({"env": "CartPole-v1", "choices": {}}, "'choices' must be different texts, at least one"),
        ({"env": "CartPole-v1", "action_names": ("left",)}, "'action_names'"),
        ({"env": "CartPole-v1", "action_names": ("a", "A ")}, "'action_names'"),
        ({"env": Toy()}, "gymnasium.make"),
        ({"env": Long, "horizon": 3}, "'observation_text' must be given"),
    ],
)
def test_impossible_requests_are_refused(arguments: Mapping[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        games.from_gymnasium(**arguments)


def test_names_and_texts_can_be_given() -> None:
    game = games.from_gymnasium(
        gymnasium.make("CartPole-v1"),
        action_names=("west", "east"),
        observation_text=lambda o: f"angle {o[2]:.1f}",
        rules="Balance.",
    )
    state = game.sample_initial_state(Stream("start"))
    assert game.observation_text(state, "player").startswith("angle ")
    assert game.read_action(state, "player", "East") == Parsed(1)
    assert game.rules_text("player") == "Balance. An action is one of: west, east."
    assert game.horizon == 500


@pytest.mark.parametrize(
    ("id", "words"),
    [
        ("FrozenLake-v1", ("F is ice", "H is a hole", "brackets", "left, down, right, up")),
        ("FrozenLake8x8-v1", ("F is ice", "left, down, right, up")),
        ("CliffWalkingSlippery-v1", ("C is the cliff", "up, right, down, left")),
        ("CliffWalking-v1", ("o is a free cell", "C is the cliff", "up, right, down, left")),
        ("Blackjack-v1", ("the dealer's card (an ace is 1)", "stick, hit")),
        ("CartPole-v1", ("position and velocity", "left, right")),
    ],
)
def test_a_known_environment_has_a_legend(id: str, words: tuple[str, ...]) -> None:
    rules = games.from_gymnasium(id, horizon=9).rules_text("player")
    assert [word for word in words if word not in rules] == []
    assert "legend" not in games.from_gymnasium(id, horizon=9, rules="").rules_text("player")
    assert (
        games.from_gymnasium(id, horizon=9, rules="").rules_text("player").startswith("An action")
    )


class FrozenLake(Toy):
    """Of the caller's own, with the name of a known one."""


gymnasium.register("Taxi-Mine-v0", entry_point=lambda: Toy((1, 1, 1)), max_episode_steps=6)


@pytest.mark.parametrize("env", [lambda: FrozenLake((1, 1, 1)), "Taxi-Mine-v0"])
def test_another_environment_of_a_known_name_has_no_legend(env: Any) -> None:
    assert games.from_gymnasium(env, horizon=6).rules_text("player").startswith("An action is")


def test_a_wrapper_that_changes_a_space_takes_the_legend_away() -> None:
    def turned() -> Any:
        made = gymnasium.make("CartPole-v1")
        return gymnasium.wrappers.TransformAction(made, lambda a: 1 - a, gym.Discrete(2, start=1))

    assert games.from_gymnasium(turned, horizon=6).rules_text("player").startswith("An action is")


def test_the_legend_of_blackjack_is_true() -> None:
    """The numbers that it names, against the environment's own hands."""
    env = gymnasium.make("Blackjack-v1")
    raw: Any = env.unwrapped
    for seed in range(20):
        (total, card, ace), _ = env.reset(seed=seed)
        own, dealer = raw.player, raw.dealer
        usable = 1 in own and sum(own) + 10 <= 21
        assert (total, card, ace) == (sum(own) + 10 * usable, dealer[0], int(usable))
        own_cards = len(raw.player)
        raw.step(1)
        assert len(raw.player) == own_cards + 1  # 1 is hit


def test_the_numbers_of_a_vector_have_names() -> None:
    names = ("position", "velocity", "angle", "angular velocity")
    game = games.from_gymnasium("CartPole-v1", labels=names)
    lines = game.observation_text(game.sample_initial_state(Stream("start")), "player").splitlines()
    assert [line.partition(": ")[0] for line in lines] == list(names)
    assert all(abs(float(line.partition(": ")[2])) <= 0.05 for line in lines)
    for labels in (names[1:], ("a", "a", "b", "c")):
        with pytest.raises(InvalidArgumentError, match="'labels' must be different names"):
            games.from_gymnasium("CartPole-v1", labels=labels)
    with pytest.raises(InvalidArgumentError, match="observations of Blackjack-v1 are in Tuple"):
        games.from_gymnasium("Blackjack-v1", horizon=9, labels=names)


@pytest.mark.parametrize("id", ["FrozenLake-v1", "CartPole-v1"])
def test_a_success_is_what_the_caller_says(id: str) -> None:
    game = games.from_gymnasium(id, horizon=6, success=lambda e, agent: len(e.steps) == 6)
    episode = uniform_episode(game)
    assert game.success(episode, "player") is (len(episode.steps) == 6)
    assert games.from_gymnasium(id, horizon=6).success(episode, "player") is None


class Rooms(gymnasium.Env[Any, Any]):
    """A text adventure as TextWorld's: the info lists the commands that are admissible now."""

    observation_space = AnyText(99)
    action_space = AnyText(30)
    listed: Any = None

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.room = 0
        return self._told()

    def step(self, action: str) -> Any:
        self.room += action == "go east"
        observation, info = self._told()
        return observation, float(self.room == 2), self.room == 2, False, info

    def _told(self) -> tuple[str, dict[str, Any]]:
        commands = ["look", "go east"] if self.room else ["look", "go east", "take lamp"]
        told = commands if self.listed is None else self.listed
        return f"room {self.room}", {"admissible_commands": told, "valid": ["look"]}


def test_admissible_commands_are_the_legal_actions_of_each_step() -> None:
    game = games.from_gymnasium(Rooms, horizon=20, invalid_rule=Forfeit())
    start = game.sample_initial_state(Stream("start"))
    assert game.legal_actions(start, "player") == ("look", "go east", "take lamp")
    assert game.read_action(start, "player", "Go East ") == Parsed("go east")
    assert game.read_action(start, "player", "open chest") == Illegal("open chest")
    after = game.sample_transition(start, {"player": "go east"}, Stream("chance")).state
    assert game.legal_actions(after, "player") == ("look", "go east")
    assert uniform_episode(game).ending in (Ending.TERMINATED, Ending.TRUNCATED)
    other = games.from_gymnasium(Rooms, horizon=20, admissible="valid")
    assert other.legal_actions(other.sample_initial_state(Stream("s")), "player") == ("look",)
    free = games.from_gymnasium(Rooms, horizon=20, admissible="none of them")
    assert free.legal_actions(free.sample_initial_state(Stream("s")), "player") is None


@pytest.mark.parametrize(
    ("listed", "sentence"),
    [
        ([], "must be a list of texts that differ"),
        ("look", "must be a list of texts that differ"),
        (["look", "LOOK"], "must be a list of texts that differ"),
        (["a command that is longer than thirty letters"], "which is not in AnyText"),
    ],
)
def test_commands_that_are_none_are_refused(
    listed: Any, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Rooms, "listed", listed)
    with pytest.raises(GameLawError, match=sentence):
        games.from_gymnasium(Rooms, horizon=20)


# ---- what the environment says, and how ---------------------------------------------------------------


class Mission(gym.Space[str]):
    """A space of texts that is not Gymnasium's, as MiniGrid's missions are."""

    def contains(self, x: object) -> bool:
        return isinstance(x, str)


class Told(Toy):
    """It says what to do; its observation may hold what no space describes."""

    observation_space = gym.Dict(n=gym.Discrete(10), mission=Mission((), str))  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__((1, 1, 1))

    def _observation(self) -> dict[str, Any]:
        return {"n": self.n, "mission": "open the door"}


def test_texts_of_foreign_spaces_are_shown() -> None:
    game = games.from_gymnasium(Told, horizon=9)
    state = game.sample_initial_state(Stream("start"))
    assert game.observation_text(state, "player") == "n: 0\nmission: open the door"


class Odd(Told):
    """What it shows fits no space."""

    observation_space = Mission((), str)  # type: ignore[assignment]

    def _observation(self) -> Any:
        return {"n": self.n, "heat": np.array([np.nan, self.n])}


def test_an_observation_text_makes_the_space_irrelevant() -> None:
    game = games.from_gymnasium(Odd, horizon=9, observation_text=lambda seen: f"at {seen['n']}")
    assert uniform_episode(game).final_observations["player"] == "at 5"
    check_game(game, max_examples=5).raise_if_broken()
    with pytest.raises(InvalidArgumentError, match="'observation_text' must be given"):
        games.from_gymnasium(Odd, horizon=9)


def test_an_observation_outside_its_space_is_named() -> None:
    class Far(Toy):
        def _observation(self) -> Any:
            return {"n": self.n + 8, "action_mask": self.mask}

    plan = EpisodeSpec[Any](key=EpisodeKey(seed=0))
    game = games.from_gymnasium(Far, horizon=9)
    (record,) = play(game, PlayerPolicy(game, UniformPlayer(game)), [plan])
    assert isinstance(record, FailedEpisode) and len(record.steps) == 1
    assert "Far: the observation {'n': 10" in record.error and "is not in Dict" in record.error


@pytest.mark.parametrize("id", ["CartPole-v1", "Acrobot-v1", "MountainCar-v0"])
def test_numbers_of_another_type_are_in_their_space(id: str) -> None:
    class Double(gymnasium.ObservationWrapper[Any, Any, Any]):
        def observation(self, observation: Any) -> Any:
            return observation.astype(np.float64)

    game = games.from_gymnasium(lambda: Double(gymnasium.make(id)), horizon=20)
    assert len(uniform_episode(game).steps) > 5


@pytest.mark.parametrize("reward", [np.array([1.0]), np.float32(1), np.array(True), 1])
def test_a_reward_is_a_number_however_it_is_wrapped(reward: Any) -> None:
    class Paying(Toy):
        def step(self, action: int) -> Any:
            told = super().step(action)
            return (told[0], reward, *told[2:])

    assert (
        uniform_episode(games.from_gymnasium(Paying, horizon=9)).rewards_T("player") == (1.0,) * 5
    )


@pytest.mark.parametrize("reward", [np.array([1.0, 2.0]), "1", None, [np.inf]])
def test_what_is_no_reward_is_named(reward: Any) -> None:
    class Paying(Toy):
        def step(self, action: int) -> Any:
            told = super().step(action)
            return (told[0], reward, *told[2:])

    game = games.from_gymnasium(Paying, horizon=9)
    plan = EpisodeSpec[Any](key=EpisodeKey(seed=0))
    (record,) = play(game, PlayerPolicy(game, UniformPlayer(game)), [plan])
    assert isinstance(record, FailedEpisode)
    assert "Paying: the reward must be one finite number (got" in record.error


def test_what_the_environment_cuts_off_is_truncated() -> None:
    class Cut(Toy):
        fate = (False, True)

        def step(self, action: int) -> Any:
            observation, reward, over, _, info = super().step(action)
            return observation, reward, over and self.fate[0], over and self.fate[1], info

    class Both(Cut):
        fate = (True, True)

    cut, both = (uniform_episode(games.from_gymnasium(env, horizon=9)) for env in (Cut, Both))
    assert (cut.ending, both.ending) == (Ending.TRUNCATED, Ending.TERMINATED)
    game = with_horizon(games.from_gymnasium(Cut, horizon=9), 7)
    assert uniform_episode(game).ending is Ending.TRUNCATED
    shown = games.to_gymnasium(game)
    shown.reset(seed=0)
    assert [shown.step("0")[2:4] for _ in range(5)][-1] == (False, True)


def test_after_the_end_no_step_follows() -> None:
    game = games.from_gymnasium(Toy, horizon=9)
    state = uniform_episode(game).final_state.state
    with pytest.raises(GameLawError, match="Toy: the episode is over"):
        game.sample_transition(state, {"player": 0}, Stream("after"))


def test_the_invalid_rule_can_be_given() -> None:
    for env in ("FrozenLake-v1", "CartPole-v1"):
        game = games.from_gymnasium(env, horizon=9, invalid_rule=Forfeit(penalty=2))
        assert game.invalid_rule == Forfeit(penalty=2)
        assert games.from_gymnasium(env, horizon=9).invalid_rule == StandStill()


def test_text_actions_are_written_as_they_are_and_the_rules_say_so() -> None:
    class Spelling(Toy):
        action_space = gym.Text(3, min_length=1, charset="ab")  # type: ignore[assignment]

        def _observation(self) -> Any:
            return {"n": self.n, "action_mask": self.mask}

    class Free(Spelling):
        observation_space = gym.Discrete(10)  # type: ignore[assignment]

        def _observation(self) -> Any:
            return self.n

    game = games.from_gymnasium(Free, horizon=9)
    rules = game.rules_text("player")
    assert rules == "An action is a text of 1 to 3 of these characters, without quotes: ab"
    state = game.sample_initial_state(Stream("start"))
    assert game.read_action(state, "player", "ab") == Parsed("ab")
    assert game.read_action(state, "player", '"ab"') == Illegal('"ab"')


# ---- environments that the caller made ------------------------------------------------------------------


def returns(env: Any, **arguments: Any) -> float:
    game = games.from_gymnasium(env, **arguments)
    return uniform_episode(game).episode_return("player")


gymnasium.register("TestToy-v0", entry_point=lambda: Toy((1, 1, 1)), max_episode_steps=6)


def test_wrappers_are_made_again() -> None:
    toy = gymnasium.make("TestToy-v0")
    assert returns(toy) == 5.0
    assert returns(gymnasium.wrappers.TransformReward(toy, lambda r: 10 * r)) == 50.0
    renamed = gymnasium.wrappers.TransformObservation(
        gymnasium.make("TestToy-v0"), lambda o: o["n"] + 2, gym.Discrete(10)
    )
    game = games.from_gymnasium(renamed)
    assert uniform_episode(game).final_observations["player"] == "7"
    assert uniform_episode(game) == uniform_episode(game)


def _made(steps: int | None = None) -> Any:
    return gymnasium.make("TestToy-v0", max_episode_steps=steps)


class Twice(gymnasium.Wrapper[Any, Any, Any, Any], gymnasium.utils.RecordConstructorArgs):
    """Every action is carried out twice."""

    def __init__(self, env: Any) -> None:
        gymnasium.utils.RecordConstructorArgs.__init__(self)
        super().__init__(env)

    def step(self, action: Any) -> Any:
        told = self.env.step(action)
        return told if told[2] or told[3] else self.env.step(action)


class Unrecorded(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Its arguments are not recorded."""


LIMIT = gymnasium.wrappers.TimeLimit


@pytest.mark.parametrize(
    ("env", "horizon", "steps"),
    [
        (_made(), 6, 5),
        (_made(3), 3, 3),
        (LIMIT(_made(), 2), 2, 2),
        (LIMIT(_made(3), 8), 3, 3),
        (Twice(_made(3)), 3, 2),  # the limit within counts the steps within
        (LIMIT(Twice(_made()), 1), 1, 1),
        (LIMIT(Twice(_made()), 3), 3, 3),
    ],
)
def test_time_limits_stay_where_they_were(env: Any, horizon: int, steps: int) -> None:
    game = games.from_gymnasium(env)
    assert game.horizon == horizon
    assert len(uniform_episode(game).steps) == steps


def test_a_time_limit_can_be_given_with_an_id() -> None:
    assert games.from_gymnasium("TestToy-v0", max_episode_steps=3).horizon == 3
    assert isinstance(games.from_gymnasium(gymnasium.make("FrozenLake-v1")), TableGame)


class Old(gymnasium.Env[Any, Any]):
    """An environment of the older API."""

    observation_space = gym.Discrete(2)
    action_space = gym.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return 0

    def step(self, action: int) -> Any:
        return 0, 1.0, True, {}


class Unseeded(Old):
    """Its reset takes no seed."""

    def reset(self) -> Any:  # type: ignore[override]
        return 0


class HalfOld(Old):
    """Its steps alone are old."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return 0, {}


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (Unrecorded(_made()), "does not record Unrecorded"),
        (Twice(LIMIT(Twice(_made()), 2)), "does not record where among the wrappers"),
        (gymnasium.make_vec("CartPole-v1", num_envs=2), "not a vector of them"),
        (object(), "'env' must be an id"),
        (Old, "present API.*'reset' of Old"),
        (Unseeded, "present API"),
        (dict, "'env' must make an environment of Gymnasium"),
        ("CartPole-v0.5", "'env' must be a registered id"),
    ],
)
def test_what_cannot_be_made_again_is_refused_in_one_sentence(env: Any, message: str) -> None:
    with suppress_type_checks(), pytest.raises(InvalidArgumentError, match=message):
        games.from_gymnasium(env, horizon=3)


def test_arguments_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=r"'env' must be one that can be made.*wind"):
        games.from_gymnasium("CartPole-v1", wind=3)


@pytest.mark.parametrize("made", [False, True])
def test_what_cannot_be_imported_is_refused(made: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As LunarLander-v3 is without Box2D, when its module is imported or when it is made."""

    def missing(*_: Any, **__: Any) -> Any:
        raise gymnasium.error.DependencyNotInstalled("Box2D is not installed")

    monkeypatch.setattr(
        "gymnasium.make" if made else "games.adapters.remaking.load_env_creator", missing
    )
    with pytest.raises(
        MissingPackageError, match=r"^CartPole-v1 needs .*: Box2D is not installed$"
    ):
        games.from_gymnasium("CartPole-v1")


@pytest.mark.parametrize(
    ("id", "package"),
    [
        ("ALE/Pong-v5", "ale-py"),
        ("MiniWorld-Hallway-v0", "miniworld"),
        ("highway-v0", "highway-env"),
        ("highway-fast-v0", "highway-env"),
    ],
)
def test_the_package_of_a_family_is_named_where_it_is_missing(
    id: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package.replace("-", "_"), None)
    with pytest.raises(MissingPackageError, match=f"^{id} needs .*: pip install {package}$"):
        games.from_gymnasium(id)


def test_an_unknown_map_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=r"can be made .*KeyError\('9x9'\)"):
        games.from_gymnasium("FrozenLake-v1", map_name="9x9")


def test_a_step_of_the_older_api_is_named() -> None:
    game = games.from_gymnasium(HalfOld, horizon=3)
    state = game.sample_initial_state(Stream("start"))
    with pytest.raises(InvalidArgumentError, match=r"present API.*'step' of HalfOld"):
        game.sample_transition(state, {"player": 0}, Stream("chance"))
