"""PettingZoo environments as games: the dead, the vanished, rewards, masks, chance, branching, refusals."""

import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium.spaces as gym
import numpy as np
import pettingzoo
import pytest
from pettingzoo.classic.chess import chess
from pettingzoo.env_registry.exceptions import FailedToImport
from pettingzoo.utils.conversions import parallel_to_aec

import games
from games.adapters.digest import digest
from games.adapters.live import LiveGame
from tsmg import (
    AbstractGame,
    ClosedGame,
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
    PlayDefault,
    PlayerPolicy,
    PlayRandomLegal,
    Purpose,
    StandStill,
    Stream,
    UniformPlayer,
    play,
)
from tsmg.testing import check_game


def record(game: AbstractGame[Any, Any], seed: int = 0) -> Episode[Any] | FailedEpisode[Any]:
    plan = EpisodeSpec[Any](key=EpisodeKey(seed=seed))
    return play(game, PlayerPolicy(game, UniformPlayer(game)), [plan])[0]


def uniform_episode(game: AbstractGame[Any, Any], seed: int = 0) -> Episode[Any]:
    episode = record(game, seed)
    assert isinstance(episode, Episode), episode
    return episode


def said(game: AbstractGame[Any, Any], texts: list[dict[str, str]]) -> list[Any]:
    """The transitions that follow joint texts, from a fixed start."""
    state, transitions = game.sample_initial_state(Stream("start")), []
    for t, joint in enumerate(texts):
        assert set(joint) == set(game.acting_agents(state))
        read = {agent: game.read_action(state, agent, text) for agent, text in joint.items()}
        actions = {a: outcome.action for a, outcome in read.items() if isinstance(outcome, Parsed)}
        transitions.append(game.sample_transition(state, actions, Stream("chance", t)))
        state = transitions[-1].state
    return transitions


class Trio(pettingzoo.AECEnv):  # type: ignore[misc]
    """Three agents in turn. A move pays the mover its number, and ``c`` gets 10 at every step."""

    metadata: Mapping[str, Any] = {"name": "trio_v0", "render_modes": []}

    def __init__(self, fault: str = "", mask: tuple[int, ...] | None = None) -> None:
        super().__init__()
        self.possible_agents = ["a", "b", "c"]
        self.fault, self.mask = fault, mask

    def observation_space(self, agent: str) -> Any:
        return gym.Discrete(100)

    def action_space(self, agent: str) -> Any:
        return gym.Discrete(3)

    def observe(self, agent: str) -> int:
        return self.n

    def reset(self, seed: int | None = None, options: Any = None) -> None:
        self.agents = self.possible_agents[:]
        self.rewards: dict[str, Any] = dict.fromkeys(self.agents, 0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        told = {} if self.mask is None else {"action_mask": np.array(self.mask)}
        self.infos = {agent: dict(told) for agent in self.agents}
        self.n = 0
        self.agent_selection = "a"

    def step(self, action: int | None) -> None:
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._move_out(action)
            return
        self._clear_rewards()
        self._cumulative_rewards[agent] = 0
        self.n += 1
        self.rewards[agent] += action
        if "c" in self.agents:
            self.rewards["c"] += 10
        self._happen(agent)
        self._accumulate_rewards()
        living = [a for a in self.agents if not self.terminations[a] and not self.truncations[a]]
        after = [a for a in living if a > agent] or living
        if after:
            self.agent_selection = after[0]
        self._deads_step_first()

    def _move_out(self, action: None) -> None:
        if self.fault == "zombie":
            return
        rewards = dict(self.rewards)
        self._was_dead_step(action)
        if self.fault == "stale":
            self.rewards = {a: rewards[a] for a in self.agents}
        if self.fault == "inherit":
            self.rewards = dict.fromkeys(self.agents, 100)

    def _happen(self, agent: str) -> None:
        if self.n == 2:  # b dies
            self.terminations["b"] = True
            if self.fault == "raise":
                raise RuntimeError("broken")
            if self.fault == "nan":
                self.rewards["a"] = float("nan")
        if self.n == 3 and self.fault == "vanish":
            self.agents.remove("c")
            for told in (self.rewards, self.terminations, self.truncations, self.infos):
                del told["c"]
        if self.n == 3 and self.fault == "stranger":
            self.agents.append("d")
            self.terminations["d"] = self.truncations["d"] = False
        if self.n == 5:
            self.truncations = dict.fromkeys(self.agents, True)


def trio(horizon: int = 20, **options: Any) -> LiveGame:
    return games.from_pettingzoo(Trio, horizon=horizon, fresh_chance=False, **options)


def alone(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{agent: text} for agent, text in pairs]


# ---- agents in turn ---------------------------------------------------------------------------------


def test_the_dead_are_moved_out_and_every_reward_counts_once() -> None:
    game = trio()
    transitions = said(game, alone(("a", "1"), ("b", "2"), ("c", "0"), ("a", "2"), ("c", "1")))
    rewards = [t.rewards_N for t in transitions]
    assert rewards == [(1, 0, 10), (0, 2, 10), (0, 0, 10), (2, 0, 10), (0, 0, 11)]
    acting = [game.acting_agents(t.state) for t in transitions]
    assert acting == [("b",), ("c",), ("a",), ("c",), ()]
    assert [game.is_terminal(t.state) for t in transitions] == [False] * 4 + [True]


def test_the_dead_read_what_they_saw_last() -> None:
    game = trio()
    last = said(game, alone(("a", "1"), ("b", "2"), ("c", "0"), ("a", "2")))[-1].state
    assert [game.observation_text(last, agent) for agent in game.agents] == ["4", "2", "4"]


def test_what_the_environment_truncates_is_over() -> None:
    episode = uniform_episode(trio())
    assert len(episode.steps) == 5
    assert episode.ending is Ending.TRUNCATED
    assert uniform_episode(trio(horizon=3)).ending is Ending.TRUNCATED


@pytest.mark.parametrize(("fault", "paid"), [("stale", 10.0), ("inherit", 110.0)])
def test_steps_of_the_dead_pay_what_is_new_alone(fault: str, paid: float) -> None:
    _, death = said(trio(fault=fault), alone(("a", "1"), ("b", "2")))
    survivor = 0.0 if fault == "stale" else 100.0
    assert death.rewards_N == (survivor, 2.0, paid)


def test_an_agent_may_vanish() -> None:
    game = trio(fault="vanish")
    transitions = said(game, alone(("a", "1"), ("b", "2"), ("c", "2"), ("a", "2"), ("a", "0")))
    assert [t.rewards_N for t in transitions[2:]] == [(0, 0, 0), (2, 0, 0), (0, 0, 0)]
    assert game.is_terminal(transitions[-1].state)
    assert game.observation_text(transitions[-1].state, "c") == "2"


@pytest.mark.parametrize(
    ("fault", "message", "steps"),
    [
        ("nan", "GameLawError: trio_v0: the reward of 'a' must be one finite number (got nan)", 1),
        ("raise", "RuntimeError: broken", 1),
        ("zombie", "GameLawError: trio_v0: 'b' is dead, but stays in the game", 1),
        ("stranger", "GameLawError: trio_v0: 'd' is not one of its possible agents", 2),
    ],
)
def test_a_faulty_environment_ends_its_own_episode_only(
    fault: str, message: str, steps: int
) -> None:
    failed = record(trio(fault=fault))
    assert isinstance(failed, FailedEpisode)
    assert message in failed.error
    assert len(failed.steps) == steps


def test_masks_in_infos_are_honoured() -> None:
    game = trio(mask=(1, 0, 1))
    state = game.sample_initial_state(Stream("start"))
    assert game.legal_actions(state, "a") == (0, 2)
    assert game.legal_actions(state, "b") == ()
    assert game.read_action(state, "a", "1") == Illegal("1")
    assert game.read_action(state, "a", " 2 ") == Parsed(2)


@pytest.mark.parametrize(
    ("mask", "message"),
    [((0, 0, 0), "trio_v0, a: the mask allows no action"), ((1, 1), "must have 3 entries")],
)
def test_masks_that_mean_nothing_are_errors(mask: tuple[int, ...], message: str) -> None:
    with pytest.raises(GameLawError, match=message):
        trio(mask=mask)


class Masked(Trio):
    """Its masks lie beside its observations, over more actions than are ever listed."""

    def observation_space(self, agent: str) -> Any:
        return gym.Dict(n=gym.Discrete(100), action_mask=gym.MultiBinary(5000))

    def action_space(self, agent: str) -> Any:
        return gym.Discrete(5000, start=-10)

    def observe(self, agent: str) -> Any:
        return {"n": self.n, "action_mask": np.isin(np.arange(5000), (3, 4999))}


def test_masks_in_observations_are_honoured_and_not_shown() -> None:
    game = games.from_pettingzoo(Masked, horizon=9, fresh_chance=False)
    state = game.sample_initial_state(Stream("start"))
    assert game.observation_text(state, "a") == "0"
    assert game.legal_actions(state, "a") == (-7, 4989)
    assert game.read_action(state, "a", "0") == Illegal("0")
    assert game.read_action(state, "a", "4989") == Parsed(4989)


# ---- agents together --------------------------------------------------------------------------------


class Crowd(pettingzoo.ParallelEnv):  # type: ignore[misc]
    """Three agents together: ``2`` dies in the second round, and a die is thrown in each."""

    metadata: Mapping[str, Any] = {"name": "crowd_v0", "render_modes": []}
    render_mode = None

    def __init__(self, fault: str = "") -> None:
        self.possible_agents = [1, 2, 3]
        self.fault = fault

    def observation_space(self, agent: int) -> Any:
        return gym.Dict(round=gym.Discrete(9), die=gym.Discrete(1000))

    def action_space(self, agent: int) -> Any:
        return gym.Discrete(2)

    def _shown(self) -> tuple[dict[int, Any], dict[int, Any]]:
        shown = {"round": self.n, "die": self._throw()}
        return dict.fromkeys(self.agents, shown), {agent: {} for agent in self.agents}

    def _throw(self) -> int:
        return int(self.np_random.integers(1000))

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.np_random = np.random.default_rng(seed)
        self.agents, self.n = self.possible_agents[:], 0
        return self._shown()

    def step(self, actions: Mapping[int, int]) -> Any:
        living = [1, 3] if self.fault == "keep" and self.n >= 2 else self.agents
        assert list(actions) == living
        self.n += 1
        observations, infos = self._shown()
        rewards = {agent: float(sum(actions.values()) + agent) for agent in self.agents}
        if self.fault == "nan":
            rewards[3] = float("inf")
        over = {agent: self.n == 2 and agent == 2 for agent in self.agents}
        late = dict.fromkeys(self.agents, self.n == 4)
        if self.fault == "keep":
            over[2] = self.n >= 2
        else:
            self.agents = [a for a in self.agents if not over[a] and not late[a]]
        return observations, rewards, over, late, infos


def test_all_who_live_act_together() -> None:
    game = games.from_pettingzoo(Crowd, horizon=9)
    assert game.agents == ("1", "2", "3")
    every = {"1": "1", "2": "0", "3": "1"}
    two = {"1": "0", "3": "0"}
    transitions = said(game, [every, every, two, two])
    assert [t.rewards_N for t in transitions] == [(3, 4, 5), (3, 4, 5), (1, 0, 3), (1, 0, 3)]
    assert game.acting_agents(transitions[1].state) == ("1", "3")
    assert game.observation_text(transitions[-1].state, "2").startswith("round: 2\n")
    assert game.is_terminal(transitions[-1].state)


def test_the_dead_do_not_act_though_the_environment_keeps_them() -> None:
    game = games.from_pettingzoo(Crowd, horizon=9, fault="keep")
    episode = uniform_episode(game)
    acted = [[a.agent for a in step.agent_steps] for step in episode.steps]
    assert acted == [["1", "2", "3"]] * 2 + [["1", "3"]] * 2
    assert episode.ending is Ending.TRUNCATED


def test_together_and_one_after_the_other_are_the_same() -> None:
    """PettingZoo's own conversion to turns pays the same for the same actions."""
    together = games.from_pettingzoo(Crowd, horizon=9)
    in_turn = games.from_pettingzoo(lambda: parallel_to_aec(Crowd()), horizon=30)
    every = {"1": "1", "2": "1", "3": "0"}
    joint = [every, every, {"1": "0", "3": "1"}, {"1": "1", "3": "1"}]
    rewards = np.array([t.rewards_N for t in said(together, joint)])
    single = [{agent: text} for actions in joint for agent, text in actions.items()]
    split = np.array([t.rewards_N for t in said(in_turn, single)])
    ends = np.cumsum([len(actions) for actions in joint])
    assert np.array_equal(np.add.reduceat(split, [0, *ends[:-1]]), rewards)
    assert rewards.sum() > 0


def test_a_reward_that_is_not_finite_is_named() -> None:
    failed = record(games.from_pettingzoo(Crowd, horizon=9, fault="nan"))
    assert isinstance(failed, FailedEpisode)
    assert "crowd_v0: the reward of '3' must be one finite number (got inf)" in failed.error


def test_an_end_of_its_own_is_no_truncation() -> None:
    """Two agents come to the end of the round; one that is cut off at the same step makes it a truncation."""

    class Ending4(Crowd):
        cut: tuple[int, ...] = ()

        def step(self, actions: Mapping[int, int]) -> Any:
            observations, rewards, _, _, infos = super().step(actions)
            over = dict.fromkeys(observations, self.n == 3)
            cut = {agent: self.n == 3 and agent in self.cut for agent in observations}
            self.agents = [agent for agent in self.agents if not over[agent]]
            return observations, rewards, {a: over[a] and not cut[a] for a in over}, cut, infos

    class Cut(Ending4):
        cut = (3,)

    class Both(Cut):
        def step(self, actions: Mapping[int, int]) -> Any:
            observations, rewards, over, cut, infos = super().step(actions)
            return observations, rewards, {a: over[a] or cut[a] for a in over}, cut, infos

    ends = [uniform_episode(games.from_pettingzoo(env, horizon=9)) for env in (Ending4, Cut, Both)]
    assert [len(episode.steps) for episode in ends] == [3, 3, 3]
    own, cut = Ending.TERMINATED, Ending.TRUNCATED
    assert [episode.ending for episode in ends] == [own, cut, own]


def test_after_the_end_no_step_follows() -> None:
    game = games.from_pettingzoo(Crowd, horizon=9)
    every, two = dict.fromkeys("123", "1"), dict.fromkeys("13", "1")
    last = said(game, [every, every, two, two])[-1].state
    with pytest.raises(GameLawError, match="crowd_v0: the episode is over"):
        game.sample_transition(last, {}, Stream("after"))


def test_the_kit_finds_no_fault_where_agents_act_together() -> None:
    report = check_game(lambda: games.from_pettingzoo(Crowd, horizon=9), max_examples=10)
    report.raise_if_broken()


def test_an_invalid_reply_among_several_does_not_stop_the_episode() -> None:
    game = games.from_pettingzoo(Crowd, horizon=9)
    assert game.invalid_rule == PlayRandomLegal()
    closed = ClosedGame(game)
    start = closed.close(game.sample_initial_state(Stream("start")))
    outcomes = {"1": Parsed(1), "2": Illegal("?"), "3": Parsed(1)}
    after = closed.sample_transition(start, outcomes, Stream("chance"))
    assert dict(after.played or ())["2"] in {0, 1} and after.rewards_N != (0.0, 0.0, 0.0)
    chosen = games.from_pettingzoo(Crowd, horizon=9, invalid_rule=PlayDefault(action=0, penalty=1))
    assert chosen.invalid_rule == PlayDefault(action=0, penalty=1)
    with pytest.raises(InvalidArgumentError, match=r"'invalid_rule' must not be StandStill .*Play"):
        games.from_pettingzoo(Crowd, horizon=9, invalid_rule=StandStill())
    assert trio().invalid_rule == StandStill()


class Unlisted(Crowd):
    """Its actions are texts."""

    def action_space(self, agent: int) -> Any:
        return gym.Text(5, charset="ab")


def test_where_actions_are_not_listed_an_offender_forfeits() -> None:
    assert games.from_pettingzoo(Unlisted, horizon=9).invalid_rule == Forfeit()


class Silent(Crowd):
    """Tells its living agents too little, or what they should not see."""

    def step(self, actions: Mapping[int, int]) -> Any:
        observations, rewards, over, late, infos = super().step(actions)
        if self.fault == "no reward":
            del rewards[3]
        if self.fault == "no observation":
            del observations[1]
        if self.fault == "None":
            observations[1] = None  # type: ignore[assignment]
        if self.fault == "outside":
            observations = {agent: {"round": 99, "die": 0} for agent in observations}
        if self.fault == "half":
            observations = {agent: {"round": 0.5, "die": 0} for agent in observations}
        return observations, rewards, over, late, infos


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no reward", "crowd_v0: the environment gives the living agent '3' no reward"),
        ("no observation", "crowd_v0: the environment gives the living agent '1' no observation"),
        ("None", "crowd_v0: the environment gives the living agent '1' no observation"),
        ("outside", "crowd_v0, 1: the observation {'round': 99, 'die': 0} is not in Dict"),
        ("half", "crowd_v0, 1: the observation {'round': 0.5, 'die': 0} is not in Dict"),
    ],
)
def test_what_the_living_are_not_told_is_named(fault: str, message: str) -> None:
    failed = record(games.from_pettingzoo(Silent, horizon=9, fault=fault))
    assert isinstance(failed, FailedEpisode)
    assert message in failed.error and not failed.steps


def test_an_observation_text_makes_the_space_irrelevant() -> None:
    game = games.from_pettingzoo(
        Silent, horizon=9, fault="outside", observation_text=lambda agent, seen: str(seen["round"])
    )
    assert uniform_episode(game).final_observations["1"] == "99"


# ---- chance and branching ---------------------------------------------------------------------------


def dice(game: LiveGame, episodes: int = 30) -> set[bytes]:
    """What follows one start in many episodes."""
    start = game.sample_initial_state(Stream("one start"))
    action = dict.fromkeys(game.agents, 0)
    streams = [EpisodeKey(seed=0, episode=e).stream(Purpose.CHANCE) for e in range(episodes)]
    return {game.sample_transition(start, action, s).state.view.observation for s in streams}


def test_chance_is_fresh_where_the_generator_can_be_reached() -> None:
    game = games.from_pettingzoo(Crowd, horizon=9)
    assert game.fresh_chance
    assert len(dice(game)) > 25


def test_chance_can_be_left_to_the_seed_of_the_reset() -> None:
    game = games.from_pettingzoo(Crowd, horizon=9, fresh_chance=False)
    assert not game.fresh_chance
    assert len(dice(game)) == 1


def test_old_generators_are_renewed_too() -> None:
    class Old(Crowd):
        def reset(self, seed: int | None = None, options: Any = None) -> Any:
            super().reset(seed=seed)
            self.np_random: Any = np.random.RandomState(seed)
            return self._shown()

        def _throw(self) -> int:
            return int(self.np_random.randint(1000)) if self.n else 0

    assert len(dice(games.from_pettingzoo(Old, horizon=9))) > 25


def test_chance_that_cannot_be_reached_is_told() -> None:
    with pytest.warns(UserWarning, match="trio_v0 keeps no generator"):
        game = games.from_pettingzoo(Trio, horizon=9)
    assert not game.fresh_chance
    with pytest.raises(InvalidArgumentError, match="'fresh_chance' must not be True"):
        games.from_pettingzoo(Trio, horizon=9, fresh_chance=True)


def test_a_state_can_be_left_twice_and_branches_alike() -> None:
    game = games.from_pettingzoo(Crowd, horizon=9)
    state = said(game, [dict.fromkeys("123", "1")])[0].state
    action = dict.fromkeys("123", 0)
    rngs = [Stream("chance", 1), Stream("chance", 1), Stream("chance", 2)]
    first, again, other = (game.sample_transition(state, action, rng) for rng in rngs)
    assert first == again
    assert first.state.view == again.state.view
    assert first.state.view.observation != other.state.view.observation


def test_an_environment_that_does_not_replay_says_so() -> None:
    born = iter(range(100))

    class Forgetful(Crowd):
        def _shown(self) -> Any:
            observations, infos = super()._shown()
            return {a: {"round": self.n, "die": next(born)} for a in observations}, infos

    game = games.from_pettingzoo(Forgetful, horizon=9)
    state = game.sample_initial_state(Stream("start"))
    action = dict.fromkeys("123", 0)
    game.sample_transition(state, action, Stream("a"))
    with pytest.raises(GameLawError, match="crowd_v0: cannot be branched"):
        game.sample_transition(state, action, Stream("a"))


def test_digests_tell_values_apart() -> None:
    values: list[Any] = [
        np.zeros(2), np.zeros((1, 2)), np.zeros(2, int), np.array([0.0, 1.0]), [0, 0], [[0], 0],
        {"a": 0}, {"b": 0}, None, 0, "0", np.array([None, 1], object),
    ]  # fmt: skip
    assert len({digest(value) for value in values}) == len(values)
    assert digest({"a": np.array([np.nan])}) == digest({"a": np.array([np.nan])})


# ---- what can be passed, and what is refused -----------------------------------------------------------


def test_modules_functions_and_environments_can_be_passed() -> None:
    module, parallel = types.ModuleType("trio"), types.ModuleType("crowd")
    module.env, parallel.parallel_env = Trio, Crowd  # type: ignore[attr-defined]
    sources: list[Any] = [module, Trio, Trio(), lambda fault="": Trio(fault)]
    lengths = {
        len(uniform_episode(games.from_pettingzoo(env, horizon=9, fresh_chance=False)).steps)
        for env in sources
    }
    assert lengths == {5}
    assert len(uniform_episode(games.from_pettingzoo(parallel, horizon=9)).steps) == 4


class Locked(Trio):
    """It holds what cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.handle = (n for n in range(3))


class Nameless(Trio):
    """It does not say who may come."""

    def __init__(self) -> None:
        super().__init__()
        del self.possible_agents


class Twins(Trio):
    """Two agents of one name."""

    def __init__(self) -> None:
        super().__init__()
        self.possible_agents: list[Any] = [1, "1"]


class Steering(Trio):
    """Its actions are numbers without end."""

    def action_space(self, agent: str) -> Any:
        return gym.Box(-1, 1, (1,), np.float32)

    def step(self, action: Any) -> None:
        assert action is None or action.dtype == np.float32
        super().step(None if action is None else float(action[0]))  # type: ignore[arg-type]


class Long(Trio):
    """Its observation is too long to be read."""

    def observation_space(self, agent: str) -> Any:
        return gym.Box(0, 255, (64, 64), np.uint8)

    def observe(self, agent: str) -> Any:
        return np.zeros((64, 64), np.uint8)


@pytest.mark.parametrize(
    ("env", "arguments", "message"),
    [
        ("classic/no_such_game_v1", {}, "'env' must be a registered id"),
        ("classic/tictactoe_v2", {}, "did you mean classic/tictactoe-v3"),
        (3, {}, "'env' must be an id, a function"),
        (types.ModuleType("empty"), {}, "'env' must be an id, a function"),
        (dict, {}, "'env' must make a PettingZoo environment"),
        (Locked(), {}, "'env' must be a function that makes the environment, since replays"),
        (Trio(), {"fault": "nan"}, "'kwargs' must be empty"),
        (Nameless, {}, "'possible_agents'"),
        (Twins, {}, "'possible_agents' must have different names"),
        (Trio, {"horizon": None}, "'horizon' must be given"),
        (Trio, {"action_names": ("x", "y")}, "'action_names' must name the 3 actions of a in trio"),
        (Steering, {}, "'choices' must be given"),
        (Long, {}, "'observation_text' must be given"),
    ],
)
def test_impossible_requests_are_refused(
    env: Any, arguments: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        games.from_pettingzoo(env, **{"horizon": 9, "fresh_chance": False, **arguments})


@pytest.mark.parametrize(
    ("id", "module", "message"),
    [
        ("sisl/multiwalker_v9", "Box2D", r"multiwalker_v9 needs .*Box2D.*'pettingzoo\[sisl\]'"),
        ("butterfly/pistonball_v6", "pymunk", r"pymunk.*pip install 'pettingzoo\[butterfly\]'"),
        ("atari/pong_v3", "multi_agent_ale_py", r"pip install 'pettingzoo\[atari\]'"),
        ("mpe/simple_spread_v3", "mpe2", "is in mpe2, no longer in PettingZoo.*pip install mpe2"),
        ("magent/battle_v4", "magent2", "is in magent2, no longer in .*pip install magent2"),
    ],
)
def test_the_package_of_a_family_is_named_where_it_is_missing(
    id: str, module: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = f"pettingzoo.{id.partition('/')[0]}."
    for name in [name for name in sys.modules if name.startswith(room)]:
        monkeypatch.delitem(sys.modules, name)  # so that it is imported anew
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingPackageError, match=message) as caught:
        games.from_pettingzoo(id, horizon=3)
    assert "\n" not in str(caught.value)


def test_the_classic_games_come_with_an_extra_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> Any:
        raise FailedToImport("no entry point") from ImportError("No module named 'chess'")

    monkeypatch.setattr(pettingzoo, "make", fail)
    with pytest.raises(
        MissingPackageError, match=r"\(No module named 'chess'\).*'tsmg\[classic\]'"
    ):
        games.from_pettingzoo("classic/chess_v6")


def test_a_family_that_has_moved_is_found_in_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in of mpe2, whose modules have functions as PettingZoo's had."""
    (tmp_path / "mpe2").mkdir()
    (tmp_path / "mpe2/__init__.py").write_text("")
    (tmp_path / "mpe2/simple_v9.py").write_text(
        "from tests.games.adapters.test_pettingzoo import Walkers\n"
        "def parallel_env(**arguments): return Walkers(**arguments)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    sys.modules.pop("mpe2", None)
    game = games.from_pettingzoo("mpe/simple_v9", horizon=3, fresh_chance=False)
    assert game.agents == ("a", "b")
    with pytest.raises(InvalidArgumentError, match=r"environment of mpe2 .* mean simple_v9"):
        games.from_pettingzoo("mpe/simple_v8", horizon=3)


@pytest.mark.parametrize("env", ["classic/chess_v6", chess, Trio])
def test_arguments_that_do_not_fit_are_refused(env: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"'env' must be one that can be made.*wind"):
        games.from_pettingzoo(env, horizon=3, wind=3)


def test_what_a_function_raises_is_its_own() -> None:
    def broken() -> Any:
        raise TypeError("of mine")

    with pytest.raises(TypeError, match=r"^of mine$"):
        games.from_pettingzoo(broken, horizon=3)


def test_what_text_cannot_name_can_be_given_as_choices() -> None:
    choices = {"left": np.array([-1], np.float32), "right": np.array([1], np.float32)}
    game = games.from_pettingzoo(Steering, horizon=9, fresh_chance=False, choices=choices)
    steps = said(game, alone(("a", "left"), ("b", "right")))
    assert [t.rewards_N for t in steps] == [(-1, 0, 10), (0, 1, 10)]


def test_choices_may_be_some_of_many_actions_under_a_mask() -> None:
    game = trio(mask=(1, 0, 1), choices={"one": 1, "two": 2})
    state = game.sample_initial_state(Stream("start"))
    assert game.read_action(state, "a", "two") == Parsed(1)
    assert game.read_action(state, "a", "one") == Illegal("one")
    assert game.sample_transition(state, {"a": 1}, Stream(0)).rewards_N == (2.0, 0.0, 10.0)


def test_names_and_texts_can_be_given() -> None:
    names = {"a": ("x", "y", "z"), "b": ("k", "l", "m")}
    game = trio(
        action_names=names,
        rules="Be quick.",
        observation_text=lambda agent, n: f"{agent} sees {n}",
    )
    state = said(game, alone(("a", "Y")))[0].state
    assert game.observation_text(state, "b") == "b sees 1"
    assert game.read_action(state, "b", "l") == Parsed(1)
    assert game.rules_text("b") == "You are b. Be quick. An action is one of: k, l, m."
    assert game.rules_text("c") == "You are c. Be quick. An action is one of: 0, 1, 2."


class Drawn(Trio):
    """It draws itself for a terminal."""

    metadata: Mapping[str, Any] = {"name": "drawn_v0", "render_modes": ["ansi"]}

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__()
        self.render_mode = render_mode

    def render(self) -> str:
        return f"\x1b[41m{self.n}\x1b[0m of \x1b[1m5\x1b[0m\n"


def make_drawn() -> Drawn:
    return Drawn()


@pytest.mark.parametrize(
    ("env", "rendering", "text"),
    [
        (Drawn, True, "[0] of 5\nYou are b."),
        (Drawn("ansi"), True, "[0] of 5\nYou are b."),
        (Drawn, False, "0"),
        (make_drawn, True, "0"),
    ],
)
def test_ansi_renderings_are_read_where_they_can_be(
    env: Callable[..., Any], rendering: bool, text: str
) -> None:
    game = games.from_pettingzoo(env, horizon=9, rendering=rendering, fresh_chance=False)
    assert game.observation_text(game.sample_initial_state(Stream(0)), "b") == text


class Untold(Trio):
    """Tells its living agents too little, or the dead."""

    def step(self, action: int | None) -> None:
        was_alive = "b" in self.agents
        super().step(action)
        if self.fault == "no reward" and self.n == 1:
            del self.rewards["c"]
        if self.fault == "None reward" and self.n == 1:
            self.rewards["c"] = None
        if self.fault == "no last reward" and self.n == 2 and was_alive:
            del self.rewards["b"]

    def observe(self, agent: str) -> Any:
        if self.fault == "None" and self.n == 1 and agent == "b":
            return None
        if self.fault == "None of others" and self.n == 1 and agent == "c":
            return None
        if self.fault == "None of the dead" and self.n == 2 and agent == "b":
            return None
        if self.fault == "no observation" and self.n == 1:
            return {"a": 1, "c": 1}[agent]
        if self.fault == "bug" and self.n == 1:
            return {"x": 1}["y"]
        return self.n


@pytest.mark.parametrize(
    ("fault", "message", "steps"),
    [
        ("no reward", "trio_v0: the environment gives the living agent 'c' no reward", 0),
        ("None reward", "trio_v0: the environment gives the living agent 'c' no reward", 0),
        ("no last reward", "trio_v0: the environment gives the living agent 'b' no reward", 1),
        ("None", "trio_v0: the environment gives the living agent 'b' no observation", 0),
        ("None of others", "the environment gives the living agent 'c' no observation", 0),
        ("no observation", "trio_v0: the environment gives the living agent 'b' no observation", 0),
        ("bug", "KeyError: 'y'", 0),
    ],
)
def test_what_the_living_are_not_told_in_turn_is_named(
    fault: str, message: str, steps: int
) -> None:
    failed = record(games.from_pettingzoo(Untold, horizon=9, fault=fault, fresh_chance=False))
    assert isinstance(failed, FailedEpisode)
    assert message in failed.error and len(failed.steps) == steps


def test_the_dead_keep_their_text_where_they_are_shown_nothing() -> None:
    game = games.from_pettingzoo(Untold, horizon=9, fault="None of the dead", fresh_chance=False)
    assert uniform_episode(game).final_observations["b"] == "1"
    told = games.from_pettingzoo(Untold, horizon=9, fresh_chance=False)
    assert uniform_episode(told).final_observations["b"] == "2"


def test_an_environment_that_nobody_prepared_plays() -> None:
    """Of another family, as it is registered: texts of its spaces alone."""
    game = games.from_pettingzoo("butterfly/knights_archers_zombies_v11", horizon=25, max_cycles=30)
    episode = uniform_episode(game)
    assert game.fresh_chance
    assert len(episode.steps) == 25
    assert episode.final_observations == uniform_episode(game).final_observations
    assert episode.steps[0].agent_steps[0].observation.text.startswith("[[0, ")


class Walkers(pettingzoo.ParallelEnv):  # type: ignore[misc]
    """Two agents that walk along a line, and see where they are and how far the other is."""

    metadata: Mapping[str, Any] = {"name": "walkers_v0"}

    def __init__(self) -> None:
        self.possible_agents = ["a", "b"]

    def observation_space(self, agent: str) -> Any:
        return gym.Box(-9, 9, (2,), np.float32)

    def action_space(self, agent: str) -> Any:
        return gym.Discrete(2)

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.agents, self.places = list(self.possible_agents), {"a": 0.0, "b": 2.5}
        return self._seen(), {"a": {}, "b": {}}

    def step(self, actions: Any) -> Any:
        for agent, action in actions.items():
            self.places[agent] += 1 if action else -1
        met = abs(self.places["a"] - self.places["b"]) < 1
        self.agents = [] if met else self.agents
        every = dict.fromkeys(self.possible_agents, met)
        pay = dict.fromkeys(self.possible_agents, float(met))
        return self._seen(), pay, every, dict.fromkeys(every, False), {"a": {}, "b": {}}

    def _seen(self) -> dict[str, Any]:
        here = np.array([self.places["a"], self.places["b"]], np.float32)
        return {"a": here - [0, here[0]], "b": here[::-1] - [0, here[1]]}


def test_the_numbers_of_a_vector_have_names_and_a_success_is_what_the_caller_says() -> None:
    game = games.from_pettingzoo(
        Walkers,
        horizon=6,
        labels=("agent x", "other, relative x"),
        success=lambda episode, agent: episode.episode_return(agent) > 0,
        fresh_chance=False,
    )
    start = game.sample_initial_state(Stream("start"))
    assert game.observation_text(start, "b") == "agent x: 2.5\nother, relative x: -2.5"
    episodes = [uniform_episode(game, seed) for seed in range(12)]
    assert {game.success(episode, "a") for episode in episodes} == {True, False}
    by_agent = games.from_pettingzoo(
        Walkers, horizon=6, labels={"a": ("x", "dx"), "b": ("u", "du")}, fresh_chance=False
    )
    start = by_agent.sample_initial_state(Stream("start"))
    assert by_agent.observation_text(start, "b").startswith("u: 2.5\ndu: ")
    for labels in (("x",), ("x", "x"), {"a": ("x", "dx")}):
        with pytest.raises(InvalidArgumentError, match="'labels' must be different names, one for"):
            games.from_pettingzoo(Walkers, horizon=6, labels=labels, fresh_chance=False)
