"""The games of pettingzoo.classic: texts, hidden cards, and rewards against the environments' own account."""

import functools
import itertools
import re
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
import pettingzoo
import pytest
from gymnasium import spaces as gym

import games
from games.adapters.classic import curated
from games.adapters.curated import Seen
from games.adapters.live import LiveGame, LiveState
from games.tic_tac_toe import TicTacToe
from tsmg import (
    AbstractGame,
    Episode,
    EpisodeKey,
    EpisodeSpec,
    InvalidArgumentError,
    Parsed,
    PlayerPolicy,
    Stream,
    UniformPlayer,
    play,
)

CARDS = ["leduc_holdem_v4", "texas_holdem_v4", "texas_holdem_no_limit_v6", "hanabi_v5"]
BOARDS = ["tictactoe_v3", "connect_four_v3", "rps_v2", "chess_v6", "go_v5"]
OPTIONS: dict[str, dict[str, Any]] = {"go_v5": {"board_size": 5}}
ZERO_SUM = [*BOARDS, *CARDS[:3]]


def classic(name: str, **options: Any) -> LiveGame:
    return games.from_pettingzoo(f"classic/{name}", **{**OPTIONS.get(name, {}), **options})


def uniform_episode(game: AbstractGame[Any, Any], seed: int = 0) -> Episode[Any]:
    plan = EpisodeSpec[Any](key=EpisodeKey(seed=seed))
    (record,) = play(game, PlayerPolicy(game, UniformPlayer(game)), [plan])
    assert isinstance(record, Episode), record
    return record


def test_rules_of_the_caller_s_own_are_followed_by_the_curated_actions() -> None:
    ruled = classic("rps_v2", rules="Win.").rules_text("player_0")
    assert ruled == "You are player_0. Win. An action is one of: rock, paper, scissors."
    assert classic("chess_v6", rules="Win.").rules_text("player_0") == "You are player_0. Win."


def follow(game: LiveGame, texts: Iterable[str], seed: str = "start") -> tuple[Any, LiveState]:
    """The rewards of the last text and the state after it, where one agent acts at a time."""
    state, rewards = game.sample_initial_state(Stream(seed)), None
    for text in texts:
        (agent,) = game.acting_agents(state)
        read = game.read_action(state, agent, text)
        assert isinstance(read, Parsed), (text, game.observation_text(state, agent))
        rewards, state = game.sample_transition(state, {agent: read.action}, Stream(text))[::-1]
    return rewards, state


# ---- all of them ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*BOARDS, *CARDS])
def test_texts_are_fit_to_be_read_and_actions_read_back(name: str) -> None:
    game = classic(name, horizon=120)
    for agent in game.agents:
        assert len(game.rules_text(agent)) > 50
    for seed in range(3):
        for step in uniform_episode(game, seed).steps:
            state = step.state.state
            for agent in game.agents:
                text = game.observation_text(state, agent)
                assert 0 < len(text) < 4000
                assert not re.search(r"np\.|array|dtype|None|True|<|action_mask", text)
            for agent in game.acting_agents(state):
                for action in game.legal_actions(state, agent) or ():
                    said = game.action_text(state, agent, action)
                    assert game.read_action(state, agent, f" {said.upper()} ") == Parsed(action)
                    assert not said.isdigit() or name in ("tictactoe_v3", "connect_four_v3")


@pytest.mark.parametrize("name", [*BOARDS, *CARDS])
def test_episodes_repeat_with_their_seed_and_differ_with_another(name: str) -> None:
    game = classic(name, horizon=60)
    one, again, other = (uniform_episode(game, seed) for seed in (1, 1, 2))
    assert one.final_observations == again.final_observations
    assert [s.rewards_N for s in one.steps] == [s.rewards_N for s in again.steps]
    starts = {e.steps[0].agent_steps[0].observation.text for e in (one, other)}
    assert len(starts) == (2 if name in CARDS else 1)
    assert len({repr(e.steps) for e in (one, other)}) == 2


def own_account(name: str, seed: int, actions: list[int]) -> dict[str, float]:
    """Returns as the environment itself reports them to agents who ask when it is their turn."""
    env = pettingzoo.make("aec", f"classic/{name}", **OPTIONS.get(name, {}))
    env.reset(seed=seed)
    returns, left = dict.fromkeys(env.possible_agents, 0.0), iter(actions)
    for agent in env.agent_iter():
        _, reward, terminated, truncated, _ = env.last()
        returns[agent] += reward
        env.step(None if terminated or truncated else next(left))
    assert next(left, None) is None
    return returns


@pytest.mark.filterwarnings("ignore:.*precision lowered by casting")
@pytest.mark.parametrize("name", [*BOARDS, *CARDS])
def test_returns_are_those_of_the_environments_own_account(name: str) -> None:
    game = classic(name, horizon=2000, fresh_chance=False)
    stop_criterion = 0.0
    for seed in range(2 if name == "chess_v6" else 6):
        episode = uniform_episode(game, seed)
        actions = [step.agent_steps[0].played for step in episode.steps]
        returns = own_account(name, episode.start.state.state.seed % 2**31, actions)
        assert {a: episode.episode_return(a) for a in game.agents} == returns
        stop_criterion += sum(abs(step.rewards_N[0]) for step in episode.steps)
    assert stop_criterion > 0 or name == "chess_v6"


@pytest.mark.parametrize("name", [*BOARDS, *CARDS])
def test_a_branch_replays_to_the_same_observations(name: str) -> None:
    game = classic(name, horizon=12)
    steps = uniform_episode(game, 3).steps
    step = steps[len(steps) // 2]
    state = step.state.state
    (agent,) = game.acting_agents(state)
    action = (game.legal_actions(state, agent) or ())[-1]
    first, again = (game.sample_transition(state, {agent: action}, Stream("b")) for _ in "ab")
    assert first.rewards_N == again.rewards_N
    assert first.state.view == again.state.view


@pytest.mark.parametrize("name", ZERO_SUM)
def test_zero_sum_is_declared_where_it_holds(name: str) -> None:
    game = classic(name, horizon=80)
    assert game.facts.zero_sum
    low, high = game.facts.return_bounds or (-1e9, 1e9)
    for seed in range(1 if name == "chess_v6" else 12):
        episode = uniform_episode(game, seed)
        assert all(sum(step.rewards_N) == 0 for step in episode.steps)
        assert all(low <= episode.episode_return(a) <= high for a in game.agents)


def test_nothing_is_declared_of_more_than_two_players() -> None:
    assert classic("texas_holdem_v4", num_players=3).facts.zero_sum is None
    assert classic("hanabi_v5").facts.zero_sum is None


@pytest.mark.parametrize("name", ["tictactoe_v3", "connect_four_v3", "rps_v2", *CARDS])
def test_random_play_ends_before_the_horizon(name: str) -> None:
    game = classic(name)
    longest = max(len(uniform_episode(game, seed).steps) for seed in range(40))
    assert longest <= game.horizon - (name in CARDS)


@pytest.mark.parametrize("name", CARDS)
def test_cards_that_nobody_has_seen_are_fresh_chance(name: str) -> None:
    assert len(futures(classic(name))) > 1
    assert len(futures(classic(name, fresh_chance=False))) == 1


def futures(game: LiveGame) -> set[str]:
    """What can be read when one start is left by the same moves in different episodes."""
    start, found = game.sample_initial_state(Stream("one start")), set()
    for episode in range(15):
        state = start
        for t in range(4):
            (agent,) = game.acting_agents(state)
            texts = {
                game.action_text(state, agent, a): a for a in game.legal_actions(state, agent) or ()
            }
            quiet = [t for t in ("check", "call", "play card 1") if t in texts]
            action = texts[quiet[0]]
            state = game.sample_transition(state, {agent: action}, Stream(episode, t)).state
            if game.is_terminal(state):
                break
        found.add(game.observation_text(state, game.agents[0]))
    return found


def test_games_without_chance_cannot_be_asked_for_it() -> None:
    assert not classic("chess_v6").fresh_chance
    with pytest.raises(InvalidArgumentError, match="'fresh_chance' must not be True"):
        classic("chess_v6", fresh_chance=True)


def test_only_the_environments_themselves_are_curated() -> None:
    class Pretender:
        metadata = {"name": "chess_v6"}  # noqa: RUF012

    assert curated(Pretender()) is None
    assert curated(pettingzoo.make("aec", "classic/chess_v6").unwrapped) is not None


def test_curated_names_and_texts_can_be_replaced() -> None:
    game = classic(
        "connect_four_v3",
        action_names=tuple("abcdefg"),
        observation_text=lambda agent, o: "a board",
    )
    rewards, state = follow(game, ["a", "b", "a", "b", "a", "b", "a"])
    assert rewards == (1.0, -1.0)
    assert game.observation_text(state, "player_0") == "a board"


# ---- boards -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_tic_tac_toe_is_the_game_that_we_have_ourselves(seed: int) -> None:
    foreign, own = classic("tictactoe_v3"), TicTacToe()
    episode = uniform_episode(foreign, seed)
    board = own.sample_initial_state(Stream(0))
    assert foreign.rules_text("player_1") == own.rules_text("x")
    for step in episode.steps:
        (agent,) = own.acting_agents(board)
        (acted,) = step.agent_steps
        assert acted.observation.text == own.observation_text(board, agent)
        outcome = own.read_action(board, agent, acted.reply.text)
        assert isinstance(outcome, Parsed)
        board, rewards = own.sample_transition(board, {agent: outcome.action}, Stream(0))
        assert rewards == step.rewards_N
    assert own.is_terminal(board)


def test_four_in_a_column_win() -> None:
    game = classic("connect_four_v3")
    rewards, state = follow(game, ["4", "5", "4", "5", "4", "5", "4"])
    assert rewards == (1.0, -1.0)
    assert game.observation_text(state, "player_1") == (
        "1 2 3 4 5 6 7\n. . . . . . .\n. . . . . . .\n. . . X . . .\n. . . X O . .\n. . . X O . .\n"
        ". . . X O . .\nYou are O."
    )


def test_scholars_mate() -> None:
    """The opening trap that every beginner is shown: 1. e4 e5 2. Bc4 Nc6 3. Qh5 Nf6 4. Qxf7#."""
    game = classic("chess_v6")
    moves = ["e2e4", "e7e5", "f1c4", "b8c6", "d1h5", "g8f6", "h5f7"]
    rewards, state = follow(game, moves)
    assert rewards == (1.0, -1.0)
    assert game.is_terminal(state)
    text = game.observation_text(state, "player_1")
    assert "FEN: r1bqkb1r/pppp1Qpp/2n2n2/4p3/2B1P3/8/PPPP1PPP/RNB1K1NR b KQkq - 0 4" in text
    assert text.startswith("8 r . b q k b . r\n7 p p p p . Q p p\n6 . . n . . n . .\n")


def test_fools_mate_is_blacks() -> None:
    """The shortest game: 1. f3 e5 2. g4 Qh4#."""
    rewards, _ = follow(classic("chess_v6"), ["f2f3", "e7e5", "g2g4", "d8h4"])
    assert rewards == (-1.0, 1.0)


def test_castling_en_passant_and_promotion_of_both_sides_are_written_in_uci() -> None:
    white = ["e2e4", "a7a6", "e4e5", "d7d5", "e5d6", "a6a5", "d6c7", "a5a4", "c7b8n"]
    more = ["a4a3", "g1f3", "a3b2", "f1e2", "b2a1q", "e1g1", "a1a2"]
    _, state = follow(classic("chess_v6"), [*white, *more])
    shown = classic("chess_v6").observation_text(state, "player_0").split("FEN: ")[1]
    assert shown.startswith("rNbqkbnr/1p2pppp/8/8/8/5N2/q1PPBPPP/1NBQ1RK1 w")


def test_a_third_repetition_that_can_be_claimed_is_a_draw() -> None:
    moves = ["g1f3", "g8f6", "f3g1", "f6g8", "g1f3", "g8f6", "f3g1"]
    rewards, state = follow(classic("chess_v6"), moves)
    assert rewards == (0.0, 0.0)
    assert classic("chess_v6").is_terminal(state)


def test_go_has_coordinates_last_moves_captures_and_ko() -> None:
    game = classic("go_v5")
    moves = ["C3", "D3", "B2", "E2", "C1", "D1", "D2"]
    _, state = follow(game, moves)
    text = game.observation_text(state, "white_0")
    assert text.split("\n")[3:] == [
        " 2 . X . X O", " 1 . . X O .", "   A B C D E", "Last move: black D2.", "You are white (O).",
    ]  # fmt: skip
    _, state = follow(game, [*moves, "C2"])
    text = game.observation_text(state, "black_0")
    assert " 2 . X O . O\n" in text
    assert text.endswith("Last move: white C2.\nYou are black (X).\nForbidden: D2, E1.")
    (agent,) = game.acting_agents(state)
    assert not isinstance(game.read_action(state, agent, "D2"), Parsed)


def test_go_ends_with_two_passes_and_komi_decides() -> None:
    game = classic("go_v5")
    _, state = follow(game, ["pass"])
    assert "Last move: black pass." in game.observation_text(state, "white_0")
    assert follow(game, ["pass", "pass"])[0] == (-1.0, 1.0)
    assert "white gets 7.5 more" in game.rules_text("black_0")
    assert follow(classic("go_v5", komi=0.5), ["C3", "pass", "pass"])[0] == (1.0, -1.0)


def test_boards_of_go_do_not_disturb_each_other() -> None:
    """The environment itself keeps the size of its board in a module."""
    small = classic("go_v5")
    alone = uniform_episode(small).final_observations
    state = small.sample_initial_state(Stream("start"))
    large = classic("go_v5", board_size=9, horizon=20)
    after = small.sample_transition(state, {"black_0": 4}, Stream(0)).state
    assert small.observation_text(after, "white_0").startswith(" 5 . . . . X\n")
    assert uniform_episode(large).final_observations["black_0"].startswith(" 9 ")
    assert uniform_episode(small).final_observations == alone


def test_rock_paper_scissors_together_and_in_turn() -> None:
    together = games.from_pettingzoo(
        functools.partial(pettingzoo.make, "parallel", "classic/rps_v2")
    )
    state = together.sample_initial_state(Stream(0))
    assert together.acting_agents(state) == together.agents
    moves = [("rock", "scissors", 1), ("paper", "scissors", -1), ("paper", "paper", 0)]
    for first, second, won in moves:
        said = {"player_0": first, "player_1": second}
        read = {agent: together.read_action(state, agent, text) for agent, text in said.items()}
        joint = {agent: outcome.action for agent, outcome in read.items()}  # type: ignore[union-attr]
        state, rewards = together.sample_transition(state, joint, Stream(0))
        assert rewards == (won, -won)
        in_turn = classic("rps_v2")
        paid, after = follow(in_turn, [first, second])
        assert paid == rewards
        assert f"player_1: {second}" in together.observation_text(state, "player_0")
        assert f"player_1: {second}" in in_turn.observation_text(after, "player_0")


def test_the_second_player_does_not_see_the_first_ones_move() -> None:
    game = classic("rps_v2")
    texts = {game.observation_text(follow(game, [m])[1], "player_1") for m in ("rock", "paper")}
    assert len(texts) == 1


def test_the_told_law_of_five_moves_is_the_one_that_pays() -> None:
    game = classic("rps_v2", num_actions=5, max_cycles=1)
    moves = ["rock", "paper", "scissors", "spock", "lizard"]
    dists = dict(re.findall(r"(\w+) beats ([\w ]+)", game.rules_text("player_0")))
    for one, other in itertools.product(moves, moves):
        (paid, _), _ = follow(game, [one, other])
        beats, beaten = other in dists[one].split(), one in dists[other].split()
        assert paid == beats - beaten


# ---- cards: what is hidden --------------------------------------------------------------------------


def raw_of(game: LiveGame, state: LiveState) -> Any:
    return state.session.driver.env.unwrapped  # type: ignore[attr-defined]


def text_of(raw: Any, agent: str) -> str:
    found = curated(raw)
    assert found is not None
    return found.observation_text(Seen(raw, agent, None, ()))


@pytest.mark.parametrize("name", CARDS[:3])
def test_the_other_players_cards_are_hidden(name: str) -> None:
    game = classic(name)
    raw = raw_of(game, game.sample_initial_state(Stream("start")))
    players, deck = raw.env.game.players, raw.env.game.dealer.deck
    before = [text_of(raw, agent) for agent in game.agents]
    players[1].hand = deck[0] if name == "leduc_holdem_v4" else deck[:2]
    after = [text_of(raw, agent) for agent in game.agents]
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_cards_are_named_as_they_are() -> None:
    game = classic("texas_holdem_no_limit_v6")
    raw = raw_of(game, game.sample_initial_state(Stream("start")))
    card = type(raw.env.game.players[0].hand[0])
    raw.env.game.players[0].hand = [card("S", "A"), card("D", "T")]
    raw.env.game.public_cards = [card("H", "2"), card("C", "K"), card("S", "7")]
    text = text_of(raw, "player_0")
    assert "Your cards: ace of spades, ten of diamonds." in text
    assert "Cards on the table: two of hearts, king of clubs, seven of spades." in text


def test_what_was_done_is_told() -> None:
    game = classic("texas_holdem_no_limit_v6")
    rewards, state = follow(game, ["raise the pot", "go all in", "fold"])
    (loser,) = [agent for agent, reward in zip(game.agents, rewards, strict=True) if reward < 0]
    winner = game.agents[1 - game.agents.index(loser)]
    assert rewards[game.agents.index(winner)] == 4.0  # 1 of the small blind, 3 of the raise
    done = f"Done so far: {loser} raise the pot, {winner} go all in, {loser} fold."
    assert done in game.observation_text(state, winner)


def dealt(raw: Any, hands: tuple[str, str]) -> Any:
    """Hanabi after a deal of given cards."""
    colours = "RYGWB"
    state = raw.hanabi_env.game_state.get_game().new_initial_state()
    for card in itertools.chain(*hands_in_order(hands)):
        state.apply_action(colours.index(card[0]) * 5 + int(card[1]) - 1)
    raw.hanabi_env.game_state = state
    return state


def hands_in_order(hands: tuple[str, str]) -> list[list[str]]:
    return [hand.split() for hand in hands]


def test_the_own_cards_of_hanabi_are_hidden() -> None:
    game = classic("hanabi_v5")
    raw = raw_of(game, game.sample_initial_state(Stream("start")))
    theirs = "R1 Y2 G3 W4 B5"
    texts = []
    for own in ("R1 R1 R2 R3 R4", "B1 B1 Y5 G4 W3"):
        dealt(raw, (own, theirs))
        texts.append([text_of(raw, agent) for agent in game.agents])
    assert texts[0][0] == texts[1][0]
    assert texts[0][1] != texts[1][1]
    assert "Hand of player_1:\n  card 1: red 1 (told: any colour, any rank)\n" in texts[0][0]
    assert "  card 5: white 3 (told: any colour, any rank)\n" in texts[1][1]


def test_hints_of_hanabi_are_told() -> None:
    game = classic("hanabi_v5")
    raw = raw_of(game, game.sample_initial_state(Stream("start")))
    state = dealt(raw, ("R1 R1 R2 R3 R4", "R1 Y2 G3 W4 R5"))
    legal = {curated(raw).action_text(raw, "player_0", a): a for a in state.legal_actions()}  # type: ignore[union-attr]
    assert "tell player_1 blue" not in legal
    state.apply_action(legal["tell player_1 red"])
    assert "Hints: 7." in text_of(raw, "player_1")
    assert (
        "Your hand, as far as you have been told:\n  card 1: red, any rank\n"
        "  card 2: yellow/green/white/blue, any rank\n"
    ) in text_of(raw, "player_1")
    legal = {curated(raw).action_text(raw, "player_1", a): a for a in state.legal_actions()}  # type: ignore[union-attr]
    state.apply_action(legal["play card 1"])
    assert "Fireworks: red 1, yellow 0, green 0, white 0, blue 0." in text_of(raw, "player_0")


@pytest.mark.parametrize("kind", ["minimal", "seer"])
def test_other_kinds_of_hanabi_show_what_they_say(kind: str) -> None:
    game = classic("hanabi_v5", observation_type=kind, players=3, colors=3)
    state = game.sample_initial_state(Stream("start"))
    text = game.observation_text(state, game.acting_agents(state)[0])
    own = text.split("told:\n")[1].split("Hand of")[0]
    assert bool(re.search(r"red|yellow|green", own)) == (kind == "seer")
    assert "Hand of player_1:" in text and "Hand of player_2:" in text
    assert len(uniform_episode(game).steps) > 3


def test_texts_do_not_need_the_masks_of_wrappers() -> None:
    space, shown = sys.modules["games.adapters.multi_agent"].without_mask(
        gym.Box(0, 1, (2,)), {"observation": np.zeros(2), "action_mask": np.ones(2)}
    )
    assert isinstance(space, gym.Box)
    assert shown.shape == (2,)
