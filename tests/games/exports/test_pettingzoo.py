"""Games as PettingZoo environments: the suites, the same episodes as the runner's, the AEC contract."""

import inspect
import random
import warnings
from collections.abc import Callable
from typing import Any

import attrs
import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pettingzoo.utils.conversions import parallel_to_aec

import games
from tests.games.exports.ids import tried_ids
from tests.games.exports.test_gymnasium import JUNK, babbled, shown
from tests.strategies import SOUND_GAMES, Countdown, examples, texts
from tsmg import (
    AbstractGame,
    Ending,
    Episode,
    EpisodeKey,
    Forfeit,
    InvalidArgumentError,
    PlayRandomLegal,
    StandStill,
    Step,
    with_horizon,
    with_invalid_rule,
)

with warnings.catch_warnings():  # the suites import an environment in a deprecated way
    warnings.simplefilter("ignore")
    from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test, seed_test

IDS = tried_ids()
THREE = games.make("Snake-v0", snakes=3, width=5, height=5)
GAMES = {
    **{id: games.make(id) for id in (*IDS, "MatchingPennies-v0", "SnakeDuel-v0")},
    "three snakes": THREE,
}
EXPECTED_WARNINGS = (
    "Observation is not a NumPy array",  # a list of names is spared
    "Observation space for each agent probably should be",
    "Action space for each agent probably should be",
    "We recommend agents to be named",
    "Agents have different observation space sizes",  # unlike roles have masks of unlike lengths
)


def passes(suite: Callable[..., None], *arguments: Any) -> bool:
    """The suite raises nothing, and warns of nothing but what text means."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for message in EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        suite(*arguments)
    return True


# ---- the suites ----------------------------------------------------------------------------------


@pytest.mark.parametrize("actions", ["text", "index"])
@pytest.mark.parametrize("id", GAMES)
def test_the_api_suite_passes(id: str, actions: Any) -> None:
    env = games.to_pettingzoo(GAMES[id], actions=actions, observations="dict", render_mode="ansi")
    assert passes(api_test, env, 20)


@pytest.mark.parametrize("actions", ["text", "index"])
@pytest.mark.parametrize("id", GAMES)
def test_the_parallel_suite_passes(id: str, actions: Any) -> None:
    assert passes(parallel_api_test, games.to_pettingzoo_parallel(GAMES[id], actions=actions), 20)


@pytest.mark.parametrize("actions", ["text", "index"])
@pytest.mark.parametrize("id", GAMES)
def test_the_seed_suites_pass(id: str, actions: Any) -> None:
    game = GAMES[id]
    texts = None if actions == "text" else _texts_of(game)
    options: Any = {"actions": actions, "action_texts": texts}
    assert passes(seed_test, lambda: games.to_pettingzoo(game, **options), 20)
    assert passes(parallel_seed_test, lambda: games.to_pettingzoo_parallel(game, **options), 20)


def _texts_of(game: AbstractGame[Any, Any]) -> Any:
    return games.to_pettingzoo(game, actions="index")._view.action_texts


def test_the_upstream_fault_is_still_there() -> None:
    """docs/how_to/exports.md tells of it; where this fails, a newer PettingZoo admits Text observations."""
    env = games.to_pettingzoo(GAMES["FrozenLake-v0"])
    with pytest.raises(AttributeError, match="'str' object has no attribute 'dtype'") as caught:
        passes(api_test, env, 20)
    *_, last = inspect.getinnerframes(caught.tb)
    assert last.function == "_test_observation_space_compatibility"


# ---- the same episode as the runner's ------------------------------------------------------------


def moves(record: Episode[Any]) -> list[list[Step[Any]]]:
    """The steps, joined with those before the first and after each in which chance moves alone."""
    joined: list[list[Step[Any]]] = []
    early: list[Step[Any]] = []
    for step in record.steps:
        if step.agent_steps:
            joined.append([*early, step])
            early = []
        else:
            (joined[-1] if joined else early).append(step)
    return joined


def replays_aec(env: Any, record: Episode[Any]) -> None:
    """Asked agent by agent, what was said gives what was recorded; the dead say ``None``."""
    env.reset(seed=record.key.seed)
    said = [a for step in record.steps for a in step.agent_steps]
    returns, dead = dict.fromkeys(record.agents, 0.0), []
    for agent in env.agent_iter():
        observation, reward, terminated, truncated, _ = env.last()
        returns[agent] += reward
        if terminated or truncated:
            dead.append(agent)
            with pytest.raises(ValueError, match="None"):
                env.step("up")
            env.step(None)
            continue
        step = said.pop(0)
        assert step.agent == agent
        assert observation == shown(step)
        env.step(step.reply.text)
    assert not said and not env.agents
    assert sorted(dead) == sorted(record.agents)
    for agent in record.agents:
        assert returns[agent] == pytest.approx(sum(record.rewards_T(agent)))
        assert env.observe(agent).startswith(record.final_observations[agent])


def replays_parallel(env: Any, record: Episode[Any]) -> None:
    """Told all at once, what was said gives what was recorded."""
    game, joined = env._view.game, moves(record)
    observations, _ = env.reset(seed=record.key.seed)
    for index, steps in enumerate(joined):
        alive = list(env.agents)
        (acting,) = (step.agent_steps for step in steps if step.agent_steps)
        assert all(observations[a.agent] == shown(a) for a in acting)
        told = dict.fromkeys(alive, JUNK) | {a.agent: a.reply.text for a in acting}
        observations, rewards, terminated, truncated, infos = env.step(told)
        is_last = index + 1 == len(joined)
        after = record.final_state if is_last else joined[index + 1][0].state
        for agent in alive:
            n = record.agents.index(agent)
            reward = sum(step.rewards_N[n] for step in steps)
            penalty = sum(step.penalties_N[n] for step in steps)
            assert (infos[agent]["reward"], infos[agent]["penalty"]) == (reward, penalty)
            assert rewards[agent] == reward + penalty
            out = game.is_out(after.state, agent)
            cut = is_last and record.ending is Ending.TRUNCATED and not out
            assert (terminated[agent], truncated[agent]) == ((out or is_last) and not cut, cut)
        assert env.agents == [a for a in alive if not (terminated[a] or truncated[a])]
    assert not env.agents


def _with_rules(game: AbstractGame[Any, Any]) -> list[AbstractGame[Any, Any]]:
    rules = [PlayRandomLegal(penalty=0.2, with_feedback=True), Forfeit(penalty=1.0)]
    return [game, *(with_invalid_rule(game, rule) for rule in rules)]


@pytest.mark.parametrize("id", GAMES)
def test_exported_episodes_are_those_that_the_runner_records(id: str) -> None:
    for game in _with_rules(GAMES[id]):
        for seed in range(4):
            record = babbled(game, seed)
            replays_aec(games.to_pettingzoo(game), record)
            replays_parallel(games.to_pettingzoo_parallel(game), record)


@pytest.mark.parametrize("game", SOUND_GAMES, ids=lambda game: game.name)
def test_games_with_chance_moves_and_sampled_games_too(game: AbstractGame[Any, Any]) -> None:
    for seed in range(4):
        record = babbled(game, seed)
        replays_aec(games.to_pettingzoo(game), record)
        replays_parallel(games.to_pettingzoo_parallel(game), record)


def test_a_wrong_seed_is_noticed() -> None:
    record = attrs.evolve(babbled(THREE, 0), key=EpisodeKey(seed=1))
    with pytest.raises(AssertionError):
        replays_aec(games.to_pettingzoo(THREE), record)
    with pytest.raises(AssertionError):
        replays_parallel(games.to_pettingzoo_parallel(THREE), record)


# ---- the AEC contract ----------------------------------------------------------------------------


def test_a_simultaneous_game_moves_after_the_last_action() -> None:
    env = games.to_pettingzoo(GAMES["SnakeDuel-v0"])
    env.reset(seed=0)
    before = [env.observe(agent) for agent in env.agents]
    assert env.agent_selection == "snake_1"
    env.step("up")
    assert env.agent_selection == "snake_2"
    assert [env.observe(agent) for agent in env.agents] == before
    env.step("up")
    assert env.agent_selection == "snake_1"
    assert [env.observe(agent) for agent in env.agents] != before


@pytest.mark.parametrize("row", ["heads", "tails", JUNK])
@pytest.mark.parametrize("column", ["heads", "tails", JUNK])
def test_matching_pennies_pay_the_same_in_all_forms(row: str, column: str) -> None:
    game = GAMES["MatchingPennies-v0"]
    aec, parallel = games.to_pettingzoo(game), games.to_pettingzoo_parallel(game)
    converted = parallel_to_aec(games.to_pettingzoo_parallel(game))
    for env in (aec, converted):
        env.reset(seed=0)
        env.step(row)
        assert env.agent_selection == "column" and not any(env.rewards.values())
        env.step(column)
    parallel.reset(seed=0)
    _, rewards, terminated, truncated, infos = parallel.step({"row": row, "column": column})
    expected = {"row": -float(row == JUNK), "column": -float(column == JUNK)}
    if JUNK not in (row, column):
        expected = {"row": 1.0, "column": -1.0} if row == column else {"row": -1.0, "column": 1.0}
    assert aec.rewards == converted.rewards == rewards == expected
    assert aec.terminations == converted.terminations == terminated == dict.fromkeys(rewards, True)
    assert aec.truncations == converted.truncations == truncated
    assert aec.infos == converted.infos == infos
    ending = "forfeited" if JUNK in (row, column) else "terminated"
    assert {info["ending"] for info in infos.values()} == {ending}


def test_our_own_and_the_converted_form_ask_the_same() -> None:
    ours, theirs = games.to_pettingzoo(THREE), parallel_to_aec(games.to_pettingzoo_parallel(THREE))
    for seed in range(5):
        ours.reset(seed=seed)
        theirs.reset(seed=seed)
        for agent, other in zip(ours.agent_iter(), theirs.agent_iter(), strict=False):
            assert agent == other
            assert ours.last() == theirs.last()
            *_, terminated, truncated, _ = ours.last()
            text = None if terminated or truncated else ("up", "left", JUNK)[seed % 3]
            ours.step(text)
            theirs.step(text)
        assert ours.agents == theirs.agents == []


def test_a_dead_snake_leaves_while_the_others_play() -> None:
    for seed in range(30):
        env = games.to_pettingzoo(THREE)
        env.reset(seed=seed)
        while env.agents and not any(env.terminations.values()):
            env.step("up")
        if sum(env.terminations.values()) != 1:
            continue
        dead = env.agent_selection
        observation, reward, terminated, truncated, info = env.last()
        assert (reward, terminated, truncated, info["ending"]) == (-2.0, True, False, None)
        assert "You are dead." in observation and info["legal_texts"] == ()
        env.step(None)
        assert dead not in env.agents and len(env.agents) == 2
        assert dead not in {*env.rewards, *env.infos, *env.terminations, *env.truncations}
        assert env.agent_selection == env.agents[0]
        return
    pytest.fail("in no episode did a snake die alone")


def test_who_dies_at_the_horizon_is_terminated_and_the_others_truncated() -> None:
    env = games.to_pettingzoo_parallel(with_horizon(THREE, 1))
    for seed in range(30):
        env.reset(seed=seed)
        _, rewards, terminated, truncated, infos = env.step(dict.fromkeys(env.agents, "up"))
        dead = {agent: reward == -2.0 for agent, reward in rewards.items()}
        if sum(dead.values()) == 1:
            assert terminated == dead
            assert truncated == {agent: not is_dead for agent, is_dead in dead.items()}
            assert {info["ending"] for info in infos.values()} == {"truncated"}
            return
    pytest.fail("in no episode did a snake die alone")


def test_a_reset_amid_the_dead_begins_anew() -> None:
    env = games.to_pettingzoo(THREE)
    for seed in range(30):
        env.reset(seed=seed)
        while env.agents and not any(env.terminations.values()):
            env.step("up")
        assert told(env, 7) == told(games.to_pettingzoo(THREE), 7)


def test_who_waits_keeps_what_it_was_paid() -> None:
    """In turn-based play, the loser is told of its loss when it is asked again."""
    env = games.to_pettingzoo(GAMES["TicTacToe-v0"])
    env.reset(seed=0)
    for cell in "14253":
        env.step(cell)
    assert env.rewards == {"x": 1.0, "o": -1.0} or not env.agents
    paid = {}
    for agent in env.agent_iter():
        _, paid[agent], terminated, _, _ = env.last()
        assert terminated
        env.step(None)
    assert paid == {"x": 1.0, "o": -1.0}


# ---- invalid text --------------------------------------------------------------------------------


@given(said=st.lists(texts(), min_size=2, max_size=2))
@examples(0.4)
def test_any_text_is_answered(said: list[str]) -> None:
    game = GAMES["SnakeDuel-v0"]
    env = games.to_pettingzoo_parallel(with_invalid_rule(game, PlayRandomLegal(penalty=0.5)))
    env.reset(seed=1)
    told = dict(zip(env.agents, said, strict=True))
    observations, rewards, _, _, infos = env.step(told)
    for agent, info in infos.items():
        assert env.action_space(agent).contains(told[agent])
        assert env.observation_space(agent).contains(observations[agent])
        assert info["penalty"] == (0.0 if info["outcome"] == "parsed" else -0.5)
        assert rewards[agent] == info["reward"] + info["penalty"]


def test_an_invalid_text_costs_its_speaker_alone() -> None:
    env = games.to_pettingzoo(with_invalid_rule(GAMES["TicTacToe-v0"], StandStill(penalty=0.5)))
    env.reset(seed=0)
    before = env.observe("x")
    env.step(JUNK)
    assert env.rewards == {"x": -0.5, "o": 0.0} and env.agent_selection == "x"
    assert env.infos["x"]["outcome"] == "illegal" and env.infos["o"]["outcome"] is None
    assert env.observe("x") == before
    env.step("1")
    assert env.rewards == {"x": 0.0, "o": 0.0} and env.agent_selection == "o"


# ---- seeds ---------------------------------------------------------------------------------------


def told(env: Any, seed: int | None) -> list[Any]:
    env.reset(seed=seed)
    seen = []
    for _ in env.agent_iter(12):
        seen.append(env.last())
        env.step(None if seen[-1][2] or seen[-1][3] else "right")
    return seen


def test_seeds_fix_an_episode_and_all_later_ones() -> None:
    a, b = (games.to_pettingzoo(GAMES["SnakeDuel-v0"]) for _ in "ab")
    first = [told(a, 7), told(a, None), told(a, None)]
    assert first == [told(b, 7), told(b, None), told(b, None)]
    assert len({str(t) for t in first}) == 3
    assert told(a, 7) == first[0] != told(a, 8)
    parallel = games.to_pettingzoo_parallel(GAMES["SnakeDuel-v0"])
    assert parallel.reset(seed=7)[0]["snake_1"] == first[0][0][0]
    assert parallel.reset()[0]["snake_1"] == first[1][0][0]


def test_environments_without_a_seed_differ() -> None:
    game = GAMES["SnakeDuel-v0"]
    assert len({str(games.to_pettingzoo_parallel(game).reset()[0]) for _ in range(10)}) == 10
    assert len({str(told(games.to_pettingzoo(game), None)) for _ in range(10)}) == 10


def test_interleaved_environments_do_not_disturb_each_other() -> None:
    alone = told(games.to_pettingzoo(THREE), 4)
    a, b = (games.to_pettingzoo(THREE) for _ in "ab")
    a.reset(seed=4)
    b.reset(seed=5)
    seen = []
    for _ in a.agent_iter(12):
        seen.append(a.last())
        a.step(None if seen[-1][2] or seen[-1][3] else "right")
        if b.agents:
            b.step(None if b.last()[2] or b.last()[3] else JUNK)
    assert seen == alone


def test_global_generators_are_left_alone() -> None:
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    before = random.getstate(), str(np.random.get_state())  # noqa: NPY002
    for actions in ("text", "index"):
        env = games.to_pettingzoo_parallel(THREE, actions=actions)
        for seed in (0, None):
            env.reset(seed=seed)
            env.step({agent: env.action_space(agent).sample() for agent in env.agents})
    assert before == (random.getstate(), str(np.random.get_state()))  # noqa: NPY002


# ---- views and refusals --------------------------------------------------------------------------


def test_the_views_are_of_the_same_text() -> None:
    env = games.to_pettingzoo(GAMES["KuhnPoker-v0"], actions="index", max_length=100)
    env.reset(seed=0)
    text = games.to_pettingzoo(GAMES["KuhnPoker-v0"], render_mode="ansi")
    text.reset(seed=0)
    for agent in env.agents:
        observation = env.observe(agent)
        assert observation["text"] == text.observe(agent)
        data = bytes(observation["observation"]).rstrip(b"\0")
        assert data.decode() == text.observe(agent)
        assert observation["action_mask"].tolist() == [agent == "first"] * 2
        assert env.infos[agent]["action_mask"].tolist() == [agent == "first"] * 2
    assert text.render() == text.observe("first")
    assert env.render() is None
    assert env.metadata["name"] == "KuhnPoker" == str(env)


def test_the_parallel_form_renders_what_everyone_reads() -> None:
    env = games.to_pettingzoo_parallel(GAMES["KuhnPoker-v0"], render_mode="ansi")
    observations, _ = env.reset(seed=0)
    first, second = observations.values()
    assert env.render() == f"first:\n{first}\n\nsecond:\n{second}"


@pytest.mark.parametrize("export", [games.to_pettingzoo, games.to_pettingzoo_parallel])
def test_steps_out_of_order_are_refused(export: Any) -> None:
    env = export(GAMES["MatchingPennies-v0"])
    for act in (lambda: env.step({}), env.render):
        with pytest.raises(gymnasium.error.ResetNeeded):
            act()
    env.reset(seed=0)
    env.close()
    env.close()
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step({})


def test_a_missing_action_and_a_foreign_one_are_refused() -> None:
    env = games.to_pettingzoo_parallel(GAMES["MatchingPennies-v0"])
    env.reset(seed=0)
    with pytest.raises(InvalidArgumentError, match=r"missing \['column'\]"):
        env.step({"row": "heads"})
    with pytest.raises(InvalidArgumentError, match="'action' of 'column' must be a text"):
        env.step({"row": "heads", "column": None})
    with pytest.raises(InvalidArgumentError, match="'horizon' must be set"):
        games.to_pettingzoo(Endless())


@attrs.frozen(kw_only=True)
class Endless(Countdown):
    """It has no limit."""

    horizon: int | None = None


def test_the_rules_go_along_and_come_in_again() -> None:
    for export in (games.to_pettingzoo, games.to_pettingzoo_parallel):
        again = games.from_pettingzoo(
            lambda export=export: export(GAMES["SnakeDuel-v0"]), horizon=9, fresh_chance=False
        )
        for agent in again.agents:
            assert again.rules_text(agent) == GAMES["SnakeDuel-v0"].rules_text(agent)
    own = games.from_pettingzoo(
        lambda: games.to_pettingzoo(GAMES["TicTacToe-v0"]),
        horizon=9,
        rules="Be quick.",
        fresh_chance=False,
    )
    assert own.rules_text("x") == "You are x. Be quick."
