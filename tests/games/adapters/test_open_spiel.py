"""OpenSpiel's games: values that OpenSpiel or the literature gives, replays, texts, distributions, refusals."""

import copy
import itertools
import math
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any

import attrs
import pyspiel
import pytest
from open_spiel.python import policy as spiel_policy
from open_spiel.python.algorithms import (
    expected_game_score,
    exploitability,
    get_all_states,
)

import games
from games.adapters.open_spiel_game import Chance, OpenSpielGame, Position, _named
from games.kuhn_poker import CARDS, Hand, payoffs
from tests.benchmarks.open_spiel_games import check, faults_of, faults_of_actions, played, replayed
from tests.strategies import agrees, draws_of
from tsmg import (
    Episode,
    Facts,
    GameLawError,
    Illegal,
    InvalidArgumentError,
    NotEnumerableError,
    Parsed,
    PlayRandomLegal,
    Stream,
)

PLAYABLE = (
    "2048",
    "backgammon",
    "bargaining",
    "blackjack",
    "catch",
    "chess",
    "cliff_walking",
    "colored_trails",
    "connect_four",
    "coop_box_pushing",
    "crazy_eights",
    "cribbage",
    "dark_hex",
    "first_sealed_auction",
    "goofspiel",
    "hanabi",
    "hearts",
    "kuhn_poker(players=3)",
    "leduc_poker",
    "liars_dice",
    "matching_pennies_3p",
    "matrix_rps",
    "oshi_zumo",
    "phantom_ttt",
    "python_liars_poker",
    "repeated_game(stage_game=matrix_rps(),num_repetitions=3)",
    "repeated_leduc_poker",
    "sheriff",
    "snake",
    "solitaire",
    "tiny_bridge_4p",
    "turn_based_simultaneous_game(game=matrix_pd())",
    "twixt",
    "universal_poker",
)
SMALL_GOOFSPIEL = "goofspiel(num_cards=3,points_order=random,returns_type=total_points)"

Strategy = Callable[[OpenSpielGame, Position, str], Mapping[int, Any]]


def start_of(game: OpenSpielGame) -> Position:
    return game.sample_initial_state(Stream("start"))


def after(game: OpenSpielGame, state: Position, *actions: int) -> Position:
    """The position after actions in turn, with chance of no account."""
    for action in actions:
        (agent,) = game.acting_agents(state)
        state = game.sample_transition(state, {agent: action}, Stream("after")).state
    return state


# ---- every kind of game ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", PLAYABLE)
def test_random_play_agrees_with_a_replay_in_openspiel(name: str) -> None:
    row = check(name, episodes=1)
    assert (row.refusal, row.fault) == ("", "")
    assert row.steps and row.text > 0


@pytest.mark.parametrize("name", ["2048", "laser_tag", "cribbage"])
def test_rewards_that_openspiel_repeats_at_chance_nodes_are_paid_once(name: str) -> None:
    """Negative control: summed over every node, as one might read OpenSpiel, they are too many."""
    game = games.from_open_spiel(name)
    episode = played(game, 0)
    assert isinstance(episode, Episode)
    assert [episode.episode_return(agent) for agent in game.agents] == replayed(
        game, episode
    ).returns()
    node, naive = game.spiel.new_initial_state(), [0.0] * len(game.agents)
    history = list(episode.final_state.state.history)
    while history:
        width = len(game.agents) if node.is_simultaneous_node() else 1
        actions, history = history[:width], history[width:]
        if node.is_simultaneous_node():
            node.apply_actions(actions)
        else:
            node.apply_action(*actions)
        naive = [a + b for a, b in zip(naive, node.rewards(), strict=True)]
    assert naive != node.returns()


def test_the_check_notices_what_is_wrong() -> None:
    game = games.from_open_spiel("kuhn_poker")
    episode = played(game, 0)
    assert isinstance(episode, Episode)
    assert list(faults_of(game, episode)) == []
    richer = attrs.evolve(
        episode, steps=(attrs.evolve(episode.steps[0], rewards_N=(1.0, 0.0)), *episode.steps[1:])
    )
    assert len(list(faults_of(game, richer))) == 2
    mute = attrs.evolve(game, own_text=lambda node, player: " ")
    assert any("cannot be read" in fault for fault in faults_of(mute, episode))
    bounded = attrs.evolve(game, facts=Facts(return_bounds=(-0.5, 0.5), longest_game=1))
    assert len(list(faults_of(bounded, episode))) == 2


# ---- oracles --------------------------------------------------------------------------------------


def uniformly(game: OpenSpielGame, state: Position, agent: str) -> Mapping[int, Any]:
    legal = game.legal_actions(state, agent)
    return dict.fromkeys(legal, Fraction(1, len(legal)))


def values(game: OpenSpielGame, strategy: Strategy) -> list[Any]:
    """Exact expected returns, by a walk through the game's distributions."""

    def of(state: Position) -> list[Any]:
        total = [Fraction(0)] * len(game.agents)
        if game.is_terminal(state):
            return total
        acting = game.acting_agents(state)
        dists = [strategy(game, state, agent).items() for agent in acting]
        for joint in itertools.product(*dists):
            action_weight = math.prod(p for _, p in joint)
            if not action_weight:
                continue
            joint_action = dict(zip(acting, (a for a, _ in joint), strict=True))
            for (after, rewards_N), p in game.transition_dist(state, joint_action).enumerate():
                later = zip(total, rewards_N, of(after), strict=True)
                total = [t + action_weight * p * (Fraction(r) + v) for t, r, v in later]
        return total

    starts = [(p, of(state)) for state, p in game.initial_state_dist().enumerate()]
    return [sum(p * v[i] for p, v in starts) for i in range(len(game.agents))]


def positions(game: OpenSpielGame) -> Iterator[Position]:
    """Every position, each once a history."""
    waiting = [state for state, _ in game.initial_state_dist().enumerate()]
    while waiting:
        state = waiting.pop()
        yield state
        acting = game.acting_agents(state)
        for joint in itertools.product(*(game.legal_actions(state, a) for a in acting)):
            if acting:
                dist = game.transition_dist(state, dict(zip(acting, joint, strict=True)))
                waiting += [transition.state for transition, _ in dist.enumerate()]


def best_value(game: OpenSpielGame, agent: str, others: Strategy) -> Fraction:
    """The agent's best value against the others, over every one of its pure strategies."""
    known: dict[Any, tuple[int, ...]] = {
        game.information_key(state, agent): game.legal_actions(state, agent)
        for state in positions(game)
        if agent in game.acting_agents(state)
    }
    own = game.agents.index(agent)
    found = []
    for choice in itertools.product(*known.values()):
        chosen = dict(zip(known, choice, strict=True))

        def mixed(
            game: OpenSpielGame, state: Position, mover: str, chosen: Any = chosen
        ) -> Mapping[int, Any]:
            if mover != agent:
                return others(game, state, mover)
            return {chosen[game.information_key(state, mover)]: 1}

        found.append(values(game, mixed)[own])
    return max(found)


def nash_conv(game: OpenSpielGame, strategy: Strategy) -> Fraction:
    best = [best_value(game, agent, strategy) for agent in game.agents]
    return sum(best, Fraction(0)) - sum(values(game, strategy), Fraction(0))


def test_kuhn_poker_has_its_published_value() -> None:
    """-1/18 to the first player (H. W. Kuhn, 1950), by the equilibrium that OpenSpiel ships."""
    game = games.from_open_spiel("kuhn_poker")
    optimal = pyspiel.kuhn_poker.get_optimal_policy(1 / 6)

    def equilibrium(game: OpenSpielGame, state: Position, agent: str) -> Mapping[int, Any]:
        dist = optimal.get_state_policy(game.information_key(state, agent)[0])
        return {action: Fraction(p).limit_denominator(100) for action, p in dist}

    assert values(game, equilibrium) == [Fraction(-1, 18), Fraction(1, 18)]
    assert nash_conv(game, equilibrium) == 0


def test_kuhn_poker_under_uniform_play_has_its_known_nash_conv() -> None:
    game = games.from_open_spiel("kuhn_poker")
    expected = exploitability.nash_conv(game.spiel, spiel_policy.UniformRandomPolicy(game.spiel))
    assert nash_conv(game, uniformly) == Fraction(11, 12)
    assert expected == pytest.approx(11 / 12)
    assert values(game, uniformly) == [Fraction(1, 8), Fraction(-1, 8)]


@pytest.mark.parametrize(
    "name", ["leduc_poker", SMALL_GOOFSPIEL, "tiny_hanabi", "liars_dice(dice_sides=2)"]
)
def test_values_of_uniform_play_are_those_of_openspiel(name: str) -> None:
    game = games.from_open_spiel(name)
    uniform = spiel_policy.UniformRandomPolicy(game.spiel)
    is_simultaneous = name.startswith("goofspiel")
    theirs = expected_game_score.policy_value(
        game.spiel.new_initial_state(), uniform if is_simultaneous else [uniform] * len(game.agents)
    )
    assert [float(v) for v in values(game, uniformly)] == pytest.approx(theirs.tolist())


@pytest.mark.parametrize("name", ["kuhn_poker", "tiny_hanabi", "matrix_rps", SMALL_GOOFSPIEL])
def test_the_tree_has_as_many_histories_as_openspiels(name: str) -> None:
    game = games.from_open_spiel(name)
    theirs = get_all_states.get_all_states(
        game.spiel,
        include_chance_states=False,
        include_terminals=True,
        to_string=lambda state: state.history_str(),
    )
    found = list(positions(game))
    assert len(found) == len(set(found)) == len(theirs)
    if name == "kuhn_poker":
        assert len(found) == 6 * 9  # 6 deals, each with 4 decisions and 5 ends


def test_kuhn_poker_pays_what_ours_pays() -> None:
    game, ends = games.from_open_spiel("kuhn_poker"), 0
    for state in positions(game):
        if game.is_terminal(state):
            first, second, *deeds = state.history
            ours = Hand(
                (CARDS[first], CARDS[second]), tuple(("pass", "bet")[deed] for deed in deeds)
            )
            assert games.KuhnPoker().is_terminal(ours)
            assert tuple(state.node.returns()) == payoffs(ours)
            ends += 1
    assert ends == 6 * 5


def test_tic_tac_toe_reaches_the_boards_that_ours_reaches() -> None:
    """5478 boards, a well-known count; OpenSpiel's positions are histories, so each board is followed once."""
    spiel, ours = games.from_open_spiel("tic_tac_toe"), games.TicTacToe()
    boards: dict[str, Position] = {}
    waiting = [start_of(spiel)]
    while waiting:
        state = waiting.pop()
        board = state.node.observation_string(0)
        if board in boards:
            continue
        boards[board] = state
        for agent in spiel.acting_agents(state):
            waiting += [after(spiel, state, a) for a in spiel.legal_actions(state, agent)]
    native, todo = {"." * 9}, ["." * 9]
    while todo:
        board = todo.pop()
        for agent in ours.acting_agents(board):
            for cell in ours.legal_actions(board, agent):
                (follower,) = ours.transition_dist(board, {agent: cell}).support()
                if follower.state not in native:
                    native.add(follower.state)
                    todo.append(follower.state)
    assert {board.replace("\n", "").upper() for board in boards} == native
    assert len(native) == 5478
    assert all(
        spiel.is_terminal(state) == ours.is_terminal(board.replace("\n", "").upper())
        for board, state in boards.items()
    )


def test_simultaneous_moves_pay_the_matrix() -> None:
    game = games.from_open_spiel("matrix_rps")
    state = start_of(game)
    assert game.acting_agents(state) == game.agents == ("player_0", "player_1")
    matrix = pyspiel.load_matrix_game("matrix_rps")
    for row, column in itertools.product(range(3), repeat=2):
        joint_action = {"player_1": column, "player_0": row}  # the order of a mapping is no matter
        (transition,) = game.transition_dist(state, joint_action).support()
        assert transition.rewards_N == (
            matrix.row_utilities()[row][column],
            matrix.col_utilities()[row][column],
        )
        assert game.is_terminal(transition.state)
    assert [game.action_text(state, "player_0", a) for a in range(3)] == [
        "Rock",
        "Paper",
        "Scissors",
    ]


# ---- distributions -----------------------------------------------------------------------------------------


def test_deals_are_exact_and_chance_nodes_are_no_states() -> None:
    table = games.from_open_spiel("kuhn_poker").initial_state_dist().pmf()
    assert {state.history: p for state, p in table.items()} == dict.fromkeys(
        itertools.permutations(range(3), 2), Fraction(1, 6)
    )
    assert not any(state.node.is_chance_node() for state in table)
    dist = games.from_open_spiel("kuhn_poker").initial_state_dist()
    assert agrees(draws_of(dist.sample, 600), table)  # two chance nodes, one after the other


def test_draws_follow_the_table() -> None:
    """Leduc's public card, after two private ones."""
    game = games.from_open_spiel("leduc_poker")
    state = after(game, next(s for s in positions(game) if s.history == (0, 1)), 1)
    dist = game.transition_dist(state, {"player_1": 1})
    table = dist.pmf()
    assert {s.history[-1]: p for (s, _), p in table.items()} == dict.fromkeys(
        range(2, 6), Fraction(1, 4)
    )
    draws = draws_of(dist.sample, 400)
    assert agrees(draws, table)
    assert not agrees(draws, {value: p for value, p in table.items() if value != draws[0]})


def test_unequal_chances_are_those_of_openspiel() -> None:
    game = games.from_open_spiel("go_fish")
    (state, _), probability = next(Chance(game.spiel.new_initial_state()).enumerate())
    node, expected, if_uniform = game.spiel.new_initial_state(), 1.0, 1.0
    for action in state.history:
        chances = dict(node.chance_outcomes())
        expected *= chances[action]
        if_uniform /= len(chances)
        node.apply_action(action)
    assert float(probability) == pytest.approx(expected, rel=1e-9, abs=0)
    assert if_uniform != pytest.approx(expected, rel=1e-9, abs=0)  # negative control


def test_a_great_law_is_drawn_from_and_never_walked_through() -> None:
    dist = games.from_open_spiel("bridge").initial_state_dist()
    assert dist.is_finite
    assert len(dist.sample(Stream(0)).history) >= 52
    assert len(list(itertools.islice(dist.enumerate(), 3))) == 3
    with pytest.raises(NotEnumerableError, match="more than 5 outcomes"):
        dist.pmf(limit=5)


def test_chance_without_an_end_is_noticed() -> None:
    game = games.from_open_spiel("crazy_eights")
    with pytest.raises(NotEnumerableError, match="more than 500 times in a row"):
        next(game.initial_state_dist().enumerate())
    assert "Chance(after [])" in repr(Chance(game.spiel.new_initial_state()))


def test_a_chance_node_without_outcomes_is_a_fault_of_the_game() -> None:
    class Stuck:
        def is_chance_node(self) -> bool:
            return True

        def chance_outcomes(self) -> list[tuple[int, float]]:
            return []

        def history(self) -> list[int]:
            return [7]

        def get_game(self) -> str:
            return "stuck()"

    with pytest.raises(GameLawError, match=r"no outcome after \[7\] of stuck"):
        next(Chance(Stuck()).enumerate())


def test_positions_are_values() -> None:
    game = games.from_open_spiel("tic_tac_toe")
    start = start_of(game)
    before = str(start.node)
    left, right = after(game, start, 0), after(game, start, 8)
    assert str(start.node) == before and start.history == ()
    assert left != right and left == after(game, start, 0)
    assert hash(left) == hash(after(game, start, 0))
    for twin in (copy.deepcopy(left), pickle.loads(pickle.dumps(left))):
        assert twin == left and game.observation_text(twin, "player_1") == game.observation_text(
            left, "player_1"
        )
    assert pickle.loads(pickle.dumps(game)).name == "tic_tac_toe"


@pytest.mark.parametrize(
    "joint_action", [{"player_0": 9}, {"player_1": 0}, {"player_0": 0, "player_1": 1}]
)
def test_an_illegal_action_is_refused(joint_action: dict[str, int]) -> None:
    game = games.from_open_spiel("tic_tac_toe")
    with pytest.raises(InvalidArgumentError, match="'joint_action' must be legal"):
        game.transition_dist(start_of(game), joint_action)


# ---- texts ----------------------------------------------------------------------------------------


def test_a_text_says_who_reads_it_what_is_seen_and_what_can_be_done() -> None:
    game = games.from_open_spiel("tic_tac_toe", rules="Three in a row win.")
    state = after(game, start_of(game), 4)
    expected = "You are player_1.\n...\n.x.\n...\nLegal actions:\no(0,0)\no(0,1)\no(0,2)\n"
    assert game.observation_text(state, "player_1").startswith(expected)
    assert game.observation_text(state, "player_0") == "You are player_0.\n...\n.x.\n..."
    assert game.rules_text("player_0") == "You play Tic Tac Toe. Three in a row win."
    alone = games.from_open_spiel("catch")
    assert "player" not in alone.observation_text(start_of(alone), "player_0")


def test_many_actions_are_told_by_example() -> None:
    game = games.from_open_spiel("battleship")
    lines = game.observation_text(start_of(game), "player_0").splitlines()
    legal = game.legal_actions(start_of(game), "player_0")
    assert f"Legal actions: {len(legal)}, such as" in lines
    assert lines[-1] == game.action_text(start_of(game), "player_0", legal[-1])


@pytest.mark.parametrize("source", ["observation", "information"])
@pytest.mark.parametrize("name", ["kuhn_poker", "leduc_poker"])
def test_texts_and_legal_actions_tell_nothing_beyond_the_information_state(
    name: str, source: Any
) -> None:
    game = games.from_open_spiel(name, text=source)
    told: dict[Any, set[Any]] = {}
    for state in positions(game):
        for player, agent in enumerate(game.agents):
            is_moving = agent in game.acting_agents(state), game.is_terminal(state)
            key = agent, is_moving, state.node.information_state_string(player)
            seen = game.observation_text(state, agent), game.legal_actions(state, agent)
            told.setdefault(key, set()).add(seen)
    assert all(len(seen) == 1 for seen in told.values())
    peeking = attrs.evolve(game, own_text=lambda node, player: str(node))
    deals = [state for state, _ in game.initial_state_dist().enumerate()]
    shown = {peeking.observation_text(s, "player_0") for s in deals if s.history[0] == 0}
    assert len(shown) > 1  # negative control


def test_the_other_players_card_is_not_shown() -> None:
    game = games.from_open_spiel("kuhn_poker")
    by_cards = {
        state.history: game.observation_text(state, "player_0")
        for state, _ in game.initial_state_dist().enumerate()
    }
    assert by_cards[0, 1] == by_cards[0, 2] != by_cards[1, 2] == by_cards[1, 0]


def test_which_string_is_shown() -> None:
    def source(name: str, **kwargs: Any) -> str:
        return games.from_open_spiel(name, **kwargs).source

    assert source("kuhn_poker") == source("hearts") == "information"
    assert source("tic_tac_toe") == source("goofspiel") == source("hanabi") == "observation"
    assert source("kriegspiel") == "observation"
    assert source("kuhn_poker", text="observation") == "observation"
    game = games.from_open_spiel("kuhn_poker", text="observation")
    state = start_of(game)
    assert game.information_key(state, "player_0")[0] == state.node.information_state_string(0)
    hanabi = games.from_open_spiel("hanabi")
    state = start_of(hanabi)
    assert hanabi.information_key(state, "player_0")[0] == state.node.observation_string(0)


def test_an_own_text_replaces_all_of_it() -> None:
    game = games.from_open_spiel(
        "python_iterated_prisoners_dilemma",
        observation_text=lambda node, player: f"{player} after {len(node.history())}",
    )
    state = start_of(game)
    assert game.observation_text(state, "player_1") == "1 after 0"
    assert game.information_key(state, "player_1")[0] == "1 after 0"
    hidden = games.from_open_spiel("kuhn_poker", observation_text=lambda node, player: "cards")
    assert hidden.facts.perfect_information is None


def test_no_text_has_escape_codes() -> None:
    game = games.from_open_spiel("twixt")
    state = start_of(game)
    assert "\x1b" in state.node.observation_string(0)
    assert "\x1b" not in game.observation_text(state, "player_0")


class Namesakes:
    """A node whose actions have these texts."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts

    def legal_actions(self, player: int) -> list[int]:
        return list(range(len(self.texts)))

    def action_to_string(self, player: int, action: int) -> str:
        return self.texts[action]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("Bc3", "bc3", "a4"), ("Bc3 [0]", "bc3 [1]", "a4")),
        (("a\n b ", "c"), ("a b", "c")),
        (("", "c"), ("[0]", "c")),
        (("x", "X", "x [0]"), ("0", "1", "2")),
    ],
)
def test_actions_have_texts_of_their_own(texts: Any, expected: Any) -> None:
    assert tuple(_named(Namesakes(*texts), 0).values()) == expected


def test_chess_moves_that_differ_by_a_capital_are_read_back() -> None:
    """A bishop and the pawn on b can both take on c3: Bxc3 and bxc3."""
    game = games.from_open_spiel("chess")
    board = game.spiel.new_initial_state("4k3/8/8/4b3/1p6/2P5/8/7K b - - 0 1")
    state = Position((), board)
    theirs = [board.action_to_string(0, a).casefold() for a in board.legal_actions()]
    assert len(set(theirs)) < len(theirs)
    assert list(faults_of_actions(game, state, "player_0")) == []
    texts = [game.action_text(state, "player_0", a) for a in state.choices[0]]
    assert sum("[" in text for text in texts) == 2


def test_a_foreign_text_is_illegal() -> None:
    game = games.from_open_spiel("kuhn_poker")
    state = start_of(game)
    assert game.read_action(state, "player_0", " bet ") == Parsed(1)
    assert game.read_action(state, "player_0", "fold") == Illegal("fold")
    assert game.read_action(state, "player_1", "bet") == Illegal("bet")


# ---- what is declared -----------------------------------------------------------------------------


def test_facts_say_what_is_sure() -> None:
    def facts(name: str) -> Facts:
        return games.from_open_spiel(name).facts

    assert facts("kuhn_poker") == Facts(
        zero_sum=True,
        perfect_information=False,
        stochastic_start=True,
        return_bounds=(-2.0, 2.0),
        longest_game=3,
    )
    assert facts("tic_tac_toe") == Facts(
        zero_sum=True,
        stochastic_start=False,
        stochastic_transitions=False,
        return_bounds=(-1.0, 1.0),
        longest_game=9,
    )
    assert facts("matrix_pd").zero_sum is None
    assert facts("matrix_pd").perfect_information is None
    assert facts("repeated_leduc_poker").zero_sum is None


def test_horizon_penalty_and_name() -> None:
    game = games.from_open_spiel("kuhn_poker", players=3)
    assert (game.name, game.agents) == (
        "kuhn_poker(players=3)",
        ("player_0", "player_1", "player_2"),
    )
    assert game.horizon == game.facts.longest_game == game.spiel.max_game_length()
    assert games.from_open_spiel("kuhn_poker", horizon=2).horizon == 2
    assert games.from_open_spiel("kuhn_poker").invalid_rule.penalty == 2.0
    assert games.from_open_spiel("2048").invalid_rule.penalty == 1.0


def test_success_and_the_invalid_rule_are_what_the_caller_says() -> None:
    game = games.from_open_spiel(
        "kuhn_poker",
        players=3,
        success=lambda episode, agent: episode.episode_return(agent) > 0,
        invalid_rule=PlayRandomLegal(penalty=0.5),
    )
    assert game.agents == ("player_0", "player_1", "player_2")
    assert game.invalid_rule == PlayRandomLegal(penalty=0.5)
    for seed in range(4):
        episode = played(game, seed)
        assert isinstance(episode, Episode)
        won = {agent: game.success(episode, agent) for agent in game.agents}
        assert won == {agent: episode.episode_return(agent) > 0 for agent in game.agents}
        assert True in won.values()
        assert games.from_open_spiel("kuhn_poker").success(episode, "player_0") is None


def test_a_game_that_is_made_already_is_taken() -> None:
    spiel = pyspiel.load_efg_game(pyspiel.get_kuhn_poker_efg_data())
    assert values(games.from_open_spiel(spiel), uniformly) == [Fraction(1, 8), Fraction(-1, 8)]
    pennies = pyspiel.create_matrix_game([[1.0, -1.0], [-1.0, 1.0]], [[-1.0, 1.0], [1.0, -1.0]])
    assert values(games.from_open_spiel(pennies), uniformly) == [0, 0]


# ---- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("mfg_garnet", {}, "'game' must have finitely many players"),
        ("negotiation", {}, "'game' must state its chance"),
        ("crossword", {}, "'game' must give legal actions"),
        ("noughts", {}, "'game' must be a game of OpenSpiel or its name"),
        ("khun_poker", {}, "did you mean kuhn_poker"),
        ("kuhn_poker", {"cards": 4}, "'parameters' must be those of 'kuhn_poker'"),
        ("nfg_game", {}, "'parameters' must be those of 'nfg_game'"),
        ("hearts", {"text": "observation"}, r"'text' must be one that .* has: \['information'\]"),
        ("python_iterated_prisoners_dilemma", {}, "'observation_text' must be given"),
        (
            "kuhn_poker",
            {"observation_text": lambda node, player: "x" * 4001},
            "has 4001 characters, more than 4000",
        ),
        ("kuhn_poker", {"horizon": 0}, "'horizon' must be an integer of at least 1"),
    ],
)
def test_what_cannot_be_played_is_refused_in_one_sentence(
    name: str, kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        games.from_open_spiel(name, **kwargs)


def test_parameters_of_a_made_game_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="'parameters' must be empty"):
        games.from_open_spiel(pyspiel.load_game("kuhn_poker"), players=3)


def test_without_openspiel_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspiel", None)
    with pytest.raises(ImportError, match=r"tsmg\[open-spiel\]"):
        games.from_open_spiel("kuhn_poker")
