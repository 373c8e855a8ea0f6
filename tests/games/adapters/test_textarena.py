"""TextArena's environments, tried on a stand-in with its API that draws from the global generators.

The real package is tried by ``tests/benchmarks/textarena_games.py``, in an environment of its own.
"""

import random
import sys
import types

import numpy as np
import pytest

import games
from tsmg import (
    AbstractPlayer,
    Ending,
    EpisodeKey,
    EpisodeSpec,
    FailedEpisode,
    Forfeit,
    GameLawError,
    InvalidArgumentError,
    MissingPackageError,
    PlayerPolicy,
    Stream,
    play,
    uniform,
)
from tsmg.testing import check_game


class State:
    max_turns, error_allowance = 3, 1


class Dice:
    """Two players say numbers, and each draws a die from each global generator; the greater sum wins."""

    rewards: object = None

    def __init__(self, **kwargs):
        self.state = State()

    def reset(self, num_players, seed=None):
        assert num_players == 2, f"The number of players has to be 2, received {num_players}"
        random.seed(seed)
        self.luck, self.sums, self.turn = random.randrange(1000), [0, 0], 0
        self.told = {0: "", 1: ""}

    def get_observation(self):
        player = self.turn % 2
        self.told[player] = f"\n[GAME] luck {self.luck}, sums {self.sums}. Say [1] or [2]."
        return player, self.told[player]

    def step(self, action):
        said = {"[1]": 1, "[2]": 2}.get(action, 0)
        self.sums[self.turn % 2] += said + random.randrange(6) + int(np.random.randint(6))  # noqa: NPY002 - as TextArena does
        self.turn += 1
        return self.turn == 6, {}

    def close(self):
        first, second = self.sums
        won = (first > second) - (first < second)
        return ({0: won, 1: -won} if self.rewards is None else self.rewards), {}


@pytest.fixture
def library(monkeypatch):
    """A module like textarena, with an environment and a few ways to break it."""
    registry = {"Dice-v0": Dice, "Dice-v0-raw": Dice, "Chess-v0": Dice}
    module, below = types.ModuleType("textarena"), types.ModuleType("textarena.envs.registration")
    module.make = lambda id, **kwargs: registry[id](**kwargs)
    below.ENV_REGISTRY = registry
    monkeypatch.setitem(sys.modules, "textarena", module)
    monkeypatch.setitem(sys.modules, "textarena.envs", types.ModuleType("textarena.envs"))
    monkeypatch.setitem(sys.modules, "textarena.envs.registration", below)
    return registry


class Sayer(AbstractPlayer):
    def action_dist(self, state, agent):
        return uniform(["[1]", "[2]"])


def specs(count):
    return [EpisodeSpec(key=EpisodeKey(seed=s)) for s in range(count)]


def test_an_environment_comes_in_whole(library):
    game = games.from_textarena("Dice-v0", success=lambda e, agent: e.episode_return(agent) > 0)
    assert (game.agents, game.horizon) == (
        ("player_0", "player_1"),
        6,
    )  # 3 turns, each with a second try
    for record in play(game, PlayerPolicy(game, Sayer()), specs(8)):
        assert record.ending is Ending.TERMINATED and len(record.steps) == 6
        assert [step.agent_steps[0].agent for step in record.steps] == list(game.agents) * 3
        first, second = (record.episode_return(agent) for agent in game.agents)
        assert first + second == 0
        assert game.success(record, "player_0") is (first > 0)
    observed = game.observation_text(record.steps[0].state.state, "player_0")
    assert observed.startswith("[GAME] luck")
    assert (
        game.observation_text(record.steps[0].state.state, "player_1") == "It is not your turn yet."
    )
    assert games.from_textarena("Dice-v0").success(record, "player_0") is None


def generators():
    return random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002 - they must not move


def test_the_global_generators_stay_as_they_were_and_episodes_do_not_disturb_each_other(library):
    game = games.from_textarena("Dice-v0")
    policy = PlayerPolicy(game, Sayer())
    before = generators()
    together = play(game, policy, specs(4))
    assert generators() == before
    random.seed(5)  # whatever else the process draws
    assert [play(game, policy, [spec])[0] for spec in specs(4)] == list(together)


def test_chance_is_fresh_at_each_step_of_one_start(library):
    game = games.from_textarena("Dice-v0")
    start = game.sample_initial_state(Stream("start"))
    branches = [
        game.sample_transition(start, {"player_0": "[1]"}, Stream("branch", n)).state
        for n in range(20)
    ]
    texts = {game.observation_text(state, "player_1") for state in branches}
    assert len(texts) > 5 and len({text.partition(",")[0] for text in texts}) == 1  # one start


def test_admissible_commands_make_other_texts_illegal(library):
    game = games.from_textarena(
        "Dice-v0",
        admissible=lambda text: ["[1]", "[2]"],
        invalid_rule=Forfeit(),
    )
    start = game.sample_initial_state(Stream("start"))
    assert game.legal_actions(start, "player_0") == ("[1]", "[2]")
    assert type(game.read_action(start, "player_0", "[3]")).__name__ == "Illegal"
    assert check_game(lambda: game, max_examples=3).is_conformant


def test_without_them_every_text_is_an_action(library):
    game = games.from_textarena("Dice-v0")
    start = game.sample_initial_state(Stream("start"))
    assert game.legal_actions(start, "player_0") is None
    for text in ("[1]", "", "ich weiß nicht 🎲", "x" * 4000):
        assert game.read_action(start, "player_0", text).action == text
    assert type(game.read_action(start, "player_0", "x" * 4001)).__name__ == "Illegal"


@pytest.mark.parametrize(
    ("rewards", "sentence"),
    [
        ({0: 1}, "must reward each of its 2 players"),
        ("lost", "must reward each of its 2 players"),
        ({0: 1, 1: "lost"}, "the reward of 'player_1' must be one finite number"),
        ({0: 1, 1: float("nan")}, "the reward of 'player_1' must be one finite number"),
    ],
)
def test_a_reward_that_is_none_ends_the_episode_with_a_sentence(
    library, monkeypatch, rewards, sentence
):
    monkeypatch.setattr(Dice, "rewards", rewards)
    game = games.from_textarena("Dice-v0")
    (record,) = play(game, PlayerPolicy(game, Sayer()), specs(1))
    assert isinstance(record, FailedEpisode) and sentence in record.error


class Silent(Dice):
    def get_observation(self):
        return 0, []


class Broken(Dice):
    def __init__(self):
        raise SyntaxError("f-string: unmatched '['")


class Wordless(Dice):
    def __init__(self):
        raise KeyError("words.txt")


class Endless(Dice):
    def reset(self, num_players, seed=None):
        super().reset(num_players, seed)
        self.state = object()


@pytest.mark.parametrize(
    ("env", "arguments", "sentence"),
    [
        ("Dice-v1", {}, "'env' must be an id of TextArena (got 'Dice-v1'); did you mean Dice-v0"),
        (
            "Dice-v0",
            {"players": 3},
            "'players' must be a number that Dice-v0 takes (got 3): The numb",
        ),
        ("Dice-v0", {"horizon": 0}, "'horizon' must be at least 1 (got 0)"),
        (Endless, {}, "'horizon' must be given: Endless has no turn limit"),
        (Broken, {}, "'env' must be one that can be made (got 'Broken'): SyntaxError: f-string"),
        (
            Wordless,
            {},
            "'env' must be one that can be made (got 'Wordless'): KeyError: 'words.txt'",
        ),
        (Dice, {"hard": True}, "'kwargs' must be empty where 'env' is a function"),
    ],
)
def test_what_cannot_come_in_is_refused_in_a_sentence(library, env, arguments, sentence):
    with pytest.raises(InvalidArgumentError) as caught:
        games.from_textarena(env, **arguments)
    assert sentence in str(caught.value)


def test_lists_of_messages_are_refused(library):
    with pytest.raises(GameLawError, match="an id that ends in -raw"):
        games.from_textarena(Silent)


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "textarena", None)
    with pytest.raises(MissingPackageError, match="pip install textarena"):
        games.from_textarena("Dice-v0")
