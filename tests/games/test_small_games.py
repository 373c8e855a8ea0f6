"""Small games: each answer that a game ships, against an independent computation."""

import functools
import itertools
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import games
from algorithms.play.optimum import optimal_return
from games import bandit, kuhn_poker, matrix, tic_tac_toe
from games.kuhn_poker import KuhnEquilibrium, KuhnPoker
from games.line_walk import LineWalk
from games.matrix import MatrixGame
from games.tic_tac_toe import MyopicTicTacToe, PerfectTicTacToe, TicTacToe
from tsmg import (
    AbstractExplicitGame,
    AbstractPlayer,
    ActionText,
    Episode,
    EpisodeKey,
    EpisodeSpec,
    Illegal,
    InvalidArgumentError,
    NotEnumerableError,
    PlayerPolicy,
    Purpose,
    Reply,
    Request,
    StandStill,
    UniformPlayer,
    branch_start,
    deterministic,
    play,
    with_invalid_rule,
)

Game = AbstractExplicitGame[Any, Any]
Players = Mapping[str, AbstractPlayer[Any, Any]]


def value(game: Game, players: Players, start: Any) -> np.ndarray[Any, Any]:
    """The expected return of every agent, over all that can follow."""

    @functools.cache
    def at(state: Any) -> np.ndarray[Any, Any]:
        total = np.zeros(len(game.agents))
        if game.is_terminal(state):
            return total
        acting = game.acting_agents(state)
        dists = [players[agent].action_dist(state, agent).pmf().items() for agent in acting]
        for choice in itertools.product(*dists):
            p = float(np.prod([float(q) for _, q in choice]))
            joint = dict(zip(acting, (a for a, _ in choice), strict=True))
            for after, q in game.transition_dist(state, joint).enumerate():
                total += p * float(q) * (np.array(after.rewards_N) + at(after.state))
        return total

    return at(start)


def start_value(game: Game, players: Players) -> np.ndarray[Any, Any]:
    dist = game.initial_state_dist().pmf()
    return sum((float(p) * value(game, players, s) for s, p in dist.items()), np.zeros(2))


# Tic-tac-toe. Counts: J. Schaeffer's and others' well-known enumerations of the game.


def reachable(game: TicTacToe) -> set[str]:
    seen, frontier = set(), ["." * 9]
    while frontier:
        state = frontier.pop()
        if state not in seen:
            seen.add(state)
            for agent in game.acting_agents(state):
                for action in game.legal_actions(state, agent):
                    dist = game.transition_dist(state, {agent: action})
                    frontier += [t.state for t, _ in dist.enumerate()]
    return seen


def test_tic_tac_toe_has_its_known_numbers_of_boards() -> None:
    game = TicTacToe()
    boards = reachable(game)
    assert len(boards) == 5478
    assert sum(game.is_terminal(board) for board in boards) == 958
    assert len({game.observation_text(board, "x") for board in boards}) == 5478


def test_tic_tac_toe_between_perfect_players_is_a_draw() -> None:
    assert tic_tac_toe.value("." * 9) == 0
    assert tic_tac_toe.value("XX.OO....") == 1
    assert tic_tac_toe.value("XX.OO.X..") == -1


def test_a_perfect_player_never_loses_and_a_uniform_one_does() -> None:
    game, perfect, uniform = TicTacToe(), PerfectTicTacToe(), UniformPlayer(TicTacToe())

    @functools.cache
    def worst(state: str, agent: str) -> int:
        """The least return of the perfect player, whatever the other does."""
        if game.is_terminal(state):
            won = tic_tac_toe.winner(state)
            return 0 if not won else (1 if "xo"["XO".index(won)] == agent else -1)
        (mover,) = game.acting_agents(state)
        player = perfect if mover == agent else uniform
        return min(
            worst(t.state, agent)
            for action in player.action_dist(state, mover).support()
            for t, _ in game.transition_dist(state, {mover: action}).enumerate()
        )

    assert [worst("." * 9, agent) for agent in game.agents] == [0, 0]
    # Uniform against uniform: X wins 0.5849 and O 0.2881 of the games.
    both = value(game, {"x": uniform, "o": uniform}, "." * 9)
    assert both[0] == pytest.approx(0.5849 - 0.2881, abs=1e-4)


def test_a_taken_cell_is_illegal() -> None:
    game = TicTacToe()
    assert isinstance(game.read_action("X........", "o", "1"), Illegal)
    assert isinstance(game.read_action("X........", "o", "10"), Illegal)


# Kuhn poker: -1/18, and NashConv by brute force over the 64 pure strategies of each player.


KUHN = KuhnPoker()


class Pure(AbstractPlayer[kuhn_poker.Hand, str]):
    """A deed for each of the player's six information sets."""

    def __init__(self, deeds: Mapping[Any, str]) -> None:
        self.deeds = deeds

    def action_dist(self, state: kuhn_poker.Hand, agent: str) -> Any:
        return deterministic(self.deeds[KUHN.information_key(state, agent)])


def pure_strategies(agent: str) -> list[Pure]:
    moments = [(), ("pass", "bet")] if agent == "first" else [("pass",), ("bet",)]
    keys = list(itertools.product(kuhn_poker.CARDS, moments))
    return [
        Pure(dict(zip(keys, deeds, strict=True)))
        for deeds in itertools.product(("pass", "bet"), repeat=len(keys))
    ]


def nash_conv(player: AbstractPlayer[Any, Any]) -> float:
    players = dict.fromkeys(KUHN.agents, player)
    now = start_value(KUHN, players)
    gains = [
        max(start_value(KUHN, {**players, a: pure})[n] for pure in pure_strategies(a)) - now[n]
        for n, a in enumerate(KUHN.agents)
    ]
    return float(sum(gains))


@pytest.mark.parametrize("bluff", [0.0, 0.2])
def test_kuhn_equilibria_have_the_value_and_nobody_gains(bluff: float) -> None:
    player = KuhnEquilibrium(bluff=bluff)
    both = start_value(KUHN, dict.fromkeys(KUHN.agents, player))
    assert both[0] == pytest.approx(float(kuhn_poker.VALUE))
    assert nash_conv(player) == pytest.approx(0.0, abs=1e-12)


def test_uniform_kuhn_is_exploitable_by_the_known_amount() -> None:
    assert nash_conv(UniformPlayer(KUHN)) == pytest.approx(11 / 12)


def test_kuhn_texts_hide_the_other_card_until_it_is_shown() -> None:
    game = KUHN
    hands = [kuhn_poker.Hand(("queen", other), ("pass",)) for other in ("jack", "king")]
    assert len({game.observation_text(hand, "first") for hand in hands}) == 1
    assert len({game.information_key(hand, "first") for hand in hands}) == 1
    folded = [kuhn_poker.Hand(("queen", o), ("bet", "pass")) for o in ("jack", "king")]
    assert len({game.observation_text(hand, "first") for hand in folded}) == 1
    shown = [kuhn_poker.Hand(("queen", o), ("bet", "bet")) for o in ("jack", "king")]
    assert len({game.observation_text(hand, "first") for hand in shown}) == 2


def test_a_bluff_above_a_third_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="1/3"):
        KuhnEquilibrium(bluff=0.5)


# Matrix games.

PENNIES = MatrixGame(payoffs=(((1, -1), (-1, 1)), ((-1, 1), (1, -1))))
ROCK = tuple(
    tuple(((r - c + 4) % 3 - 1, -((r - c + 4) % 3 - 1)) for c in range(3)) for r in range(3)
)
DILEMMA = (((3, 3), (0, 5)), ((5, 0), (1, 1)))
CHICKEN = (((0, 0), (7, 2)), ((2, 7), (6, 6)))
HALF, THIRD = Fraction(1, 2), Fraction(1, 3)


@pytest.mark.parametrize(
    ("payoffs", "expected"),
    [
        (PENNIES.payoffs, {((HALF, HALF), (HALF, HALF))}),
        (ROCK, {((THIRD,) * 3, (THIRD,) * 3)}),
        (DILEMMA, {((0, 1), (0, 1))}),
        (
            CHICKEN,
            {((1, 0), (0, 1)), ((0, 1), (1, 0)), ((THIRD, 1 - THIRD), (THIRD, 1 - THIRD))},
        ),
    ],
)
def test_textbook_equilibria(payoffs: Any, expected: Any) -> None:
    assert set(matrix.equilibria(MatrixGame(payoffs=payoffs))) == expected


@given(
    st.integers(2, 3).flatmap(
        lambda n: st.lists(
            st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=n, max_size=n),
            min_size=2,
            max_size=3,
        )
    )
)
@settings(max_examples=50)
def test_no_equilibrium_leaves_a_regret(payoffs: Any) -> None:
    game = MatrixGame(payoffs=payoffs)
    table = np.array(game.payoffs)
    for row, column in matrix.equilibria(game):
        x, y = np.array(row, dtype=float), np.array(column, dtype=float)
        assert min(x) >= 0 and sum(x) == pytest.approx(1)
        assert max(table[:, :, 0] @ y) <= x @ table[:, :, 0] @ y + 1e-9
        assert max(x @ table[:, :, 1]) <= x @ table[:, :, 1] @ y + 1e-9


def test_facts_of_matrix_games_follow_the_payoffs() -> None:
    assert PENNIES.facts.zero_sum and not MatrixGame(payoffs=DILEMMA).facts.zero_sum
    assert MatrixGame(payoffs=DILEMMA).facts.symmetric and not PENNIES.facts.symmetric


def _episode(game: Any, players: Any, seed: int = 0) -> Episode[Any]:
    policies = {agent: PlayerPolicy(game, player) for agent, player in players.items()}
    (episode,) = play(game, policies, [EpisodeSpec(key=EpisodeKey(seed=seed))])
    assert isinstance(episode, Episode)
    return episode


class Always(AbstractPlayer[Any, Any]):
    """Plays one action."""

    def __init__(self, action: int) -> None:
        self.action = action

    def action_dist(self, state: Any, agent: str) -> Any:
        return deterministic(self.action)


def test_regret_is_what_the_best_single_action_would_have_paid_more() -> None:
    """Against the replay of the other's actions, for every single action, by the game's own transitions."""
    game = MatrixGame(payoffs=CHICKEN, rounds=6)
    for seed in range(4):
        episode = _episode(game, dict.fromkeys(game.agents, UniformPlayer(game)), seed)
        for n, agent in enumerate(game.agents):
            best = -float("inf")
            for action in (0, 1):
                state, total = matrix.Rounds(), 0.0
                for pair in episode.final_state.state.played:
                    joint = {**dict(zip(game.agents, pair, strict=True)), agent: action}
                    ((state, rewards_N),) = game.transition_dist(state, joint).support()
                    total += rewards_N[n]
                best = max(best, total)
            expected = best - episode.episode_return(agent)
            assert matrix.regret(game, episode, agent) == pytest.approx(expected)
    always = _episode(game, {"row": Always(0), "column": Always(0)})
    assert matrix.regret(game, always, "row") == matrix.regret(game, always, "column") == 12.0


def test_a_regret_is_left_out_where_no_round_was_paid() -> None:
    game = MatrixGame(payoffs=CHICKEN, rounds=6)
    episode = _episode(game, {"row": Always(0), "column": Always(0)})
    assert game.metrics(episode, "row") == {"regret": 12.0}
    ended = attrs.evolve(episode.final_state, state=matrix.Rounds())
    assert game.metrics(attrs.evolve(episode, final_state=ended), "row") == {}


def test_the_regret_of_a_branch_is_that_of_its_own_rounds() -> None:
    game = MatrixGame(payoffs=CHICKEN, rounds=6)
    whole = _episode(game, {"row": Always(0), "column": Always(0)})
    spec = EpisodeSpec[Any](key=EpisodeKey(seed=0), start=branch_start(whole, 5))
    players = {agent: PlayerPolicy(game, Always(0)) for agent in game.agents}
    (branch,) = play(game, players, [spec])
    assert isinstance(branch, Episode) and len(branch.steps) == 1
    assert game.metrics(branch, "row") == {"regret": 2.0}


@pytest.mark.parametrize(
    "id", ["KuhnPoker-v0", "TicTacToe-v0", "Ultimatum-v0", "FirstPriceAuction-v0"]
)
def test_a_time_limit_of_no_step_is_refused(id: str) -> None:
    with pytest.raises(InvalidArgumentError, match="'horizon' must be an integer of at least 1"):
        games.make(id, horizon=0)


def test_the_regret_of_a_bandit_is_the_gap_of_the_means() -> None:
    game = bandit.BernoulliBandit(means=((0.2, 0.8), (0.7, 0.3)), pulls=4)
    for arm in (0, 1):
        episode = _episode(game, {"player": Always(arm)})
        contexts = [
            int("context 2" in step.agent_steps[0].observation.text.split("Now")[1])
            for step in episode.steps
        ]
        gaps = [max(game.means[c]) - game.means[c][arm] for c in contexts]
        assert len(set(contexts)) == 2
        assert game.regret_T(episode) == pytest.approx(tuple(np.cumsum(gaps)))
    uniform = [_episode(game, {"player": UniformPlayer(game)}, seed) for seed in range(300)]
    mean = float(np.mean([game.regret_T(episode)[-1] for episode in uniform]))
    assert mean == pytest.approx(
        4 * (0.3 + 0.2) / 2, abs=0.12
    )  # half the gap of each context, by chance


def test_repeated_games_tell_what_was_played() -> None:
    game = MatrixGame(payoffs=DILEMMA, row_actions=("c", "d"), column_actions=("c", "d"), rounds=3)
    state = matrix.Rounds(((0, 1),))
    assert game.observation_text(state, "column").split("\n") == [
        "You are the column player.",
        "Round 1: you chose d, the other player chose c.",
        "Now: round 2 of 3.",
    ]


def test_a_negative_deviation_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=r"'deviation' must be at least 0 \(got -1.0\)"):
        bandit.GaussianBandit(deviation=-1)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"payoffs": ()},
        {"payoffs": (((1, 2),), ((1, 2), (3, 4)))},
        {"payoffs": (((1, 2, 3),),)},
        {"payoffs": DILEMMA, "row_actions": ("c", "C ")},
        {"payoffs": DILEMMA, "row_actions": (0, 1)},
        {"payoffs": DILEMMA, "rounds": 0},
        {"payoffs": (((float("nan"), 0),),)},
    ],
)
def test_impossible_matrix_games_are_refused(kwargs: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        MatrixGame(**kwargs)


# Bandits.


@pytest.mark.parametrize("means", [(0.2, 0.9), ((0.1, 0.7), (0.8, 0.3))])
def test_the_best_return_of_a_bandit_is_the_optimum(means: Any) -> None:
    game = bandit.BernoulliBandit(means=means, pulls=2)
    dist = game.initial_state_dist().pmf()
    optimum = sum(float(p) * (optimal_return(game, s, 2) or 0.0) for s, p in dist.items())
    assert optimum == pytest.approx(game.pulls * float(np.mean([max(row) for row in game.means])))


def test_a_gaussian_bandit_is_sampled_and_not_enumerated() -> None:
    game = bandit.GaussianBandit(means=(0.0, 2.0), deviation=0.5, pulls=1)
    state = bandit.Pulls(0)
    dist = game.transition_dist(state, {"player": 1})
    with pytest.raises(NotEnumerableError):
        dist.pmf()
    keys = [EpisodeKey(seed=e) for e in range(400)]
    draws = [dist.sample(key.stream(Purpose.CHANCE)).rewards_N[0] for key in keys]
    assert abs(float(np.mean(draws)) - 2.0) < 4 * 0.5 / 20
    assert float(np.std(draws)) == pytest.approx(0.5, rel=0.2)


# Line walk: a linear system against the gambler's ruin.


def gamblers_ruin(length: int, up: float) -> float:
    """The probability to reach the right end from the middle, where each step goes right with probability ``up``.

    Source: W. Feller, *An Introduction to Probability Theory*, volume 1, XIV.2.
    """
    start = length // 2
    if up in {0.0, 1.0}:
        return up
    if up == 0.5:
        return start / length
    odds = (1 - up) / up
    return float((1 - odds**start) / (1 - odds**length))


@pytest.mark.parametrize("length", [2, 5, 6])
@pytest.mark.parametrize("slip", [0.0, 0.2])
@pytest.mark.parametrize("right", [0.0, 0.5, 0.7, 1.0])
def test_the_walk_arrives_as_the_linear_system_says(length: int, slip: float, right: float) -> None:
    game = LineWalk(length=length, slip=slip)
    matrix_, constant = np.eye(length + 1), np.zeros(length + 1)
    constant[length] = 1.0
    for state in range(1, length):
        for action, p in (("right", right), ("left", 1 - right)):
            for after, q in game.transition_dist(state, {"walker": action}).enumerate():
                matrix_[state, after.state] -= p * float(q)
    arrive = np.linalg.solve(matrix_, constant)
    up = right * (1 - slip) + (1 - right) * slip
    assert gamblers_ruin(length, up) == pytest.approx(arrive[length // 2])


@pytest.mark.slow
def test_the_myopic_player_of_tic_tac_toe_looks_one_move_ahead():
    """It wins where it can, else blocks; now and then it does not look. Against a uniform player it is mediocre."""
    looking = MyopicTicTacToe(attention=1.0)
    assert looking.action_dist("XX.OO....", "x").pmf() == {3: 1}
    assert looking.action_dist("XX.O.....", "o").pmf() == {3: 1}
    assert len(looking.action_dist("X........", "o").pmf()) == 8
    dist = MyopicTicTacToe(attention=0.25).action_dist("XX.OO....", "x").pmf()
    assert dist == {
        3: Fraction(2, 5),
        6: Fraction(3, 20),
        7: Fraction(3, 20),
        8: Fraction(3, 20),
        9: Fraction(3, 20),
    }
    with pytest.raises(InvalidArgumentError):
        MyopicTicTacToe(attention=1.5)
    game = games.make("TicTacToe-v0")
    assert game.scripted_player() == MyopicTicTacToe()
    uniform, mediocre = UniformPlayer(game), game.scripted_player()
    specs = [EpisodeSpec(key=EpisodeKey(seed=i)) for i in range(400)]
    kept = []
    for role, other in (("x", "o"), ("o", "x")):
        policies = {role: PlayerPolicy(game, mediocre), other: PlayerPolicy(game, uniform)}
        kept += [game.success(episode, role) for episode in play(game, policies, specs)]
    assert abs(sum(kept) / len(kept) - 0.733) < 0.08  # 0.733 by walking through the tree


class Speaker:
    """Says one text after another, whatever it reads."""

    def __init__(self, texts: str) -> None:
        self.texts = iter(texts)

    def reply(self, requests: Sequence[Request]) -> list[Reply]:
        texts = [next(self.texts) for _ in requests]
        return [Reply(text=t, parser_outcome=ActionText(t)) for t in texts]


def test_a_draw_is_no_loss_whatever_invalid_texts_cost() -> None:
    game = with_invalid_rule(TicTacToe(horizon=10), StandStill(penalty=0.1))
    speakers = {"x": Speaker("12769"), "o": Speaker("?5348")}
    (record,) = play(game, speakers, [EpisodeSpec(key=EpisodeKey(seed=0))])
    assert isinstance(record, Episode)
    assert record.episode_return("o") == -0.1
    assert game.success(record, "o")


@pytest.mark.parametrize("value", [1, None, 0.5, (), ((1.0,), 2.0), "x"])
@pytest.mark.parametrize(
    ("id", "name"),
    [
        ("BernoulliBandit-v0", "means"),
        ("GaussianBandit-v0", "means"),
        ("MatchingPennies-v0", "payoffs"),
    ],
)
def test_tables_of_foreign_types_are_refused(id: str, name: str, value: object) -> None:
    with pytest.raises(InvalidArgumentError, match=f"'{name}' must be"):
        games.make(id, **{name: value})


@pytest.mark.parametrize(
    ("payoffs", "row", "column"),
    [
        (DILEMMA, (0, 1), (0, 1)),
        (PENNIES.payoffs, (0.5, 0.5), (0.5, 0.5)),
        (
            (((4, 4), (0, 3)), ((3, 0), (2, 2))),
            (1, 0),
            (1, 0),
        ),  # a stag hunt: the stag pays both more
        (CHICKEN, (1 / 3, 2 / 3), (1 / 3, 2 / 3)),  # 28/3 together; 9 where one gives way
        (tuple(((a, a),) * 2 for a in range(7)), (0,) * 6 + (1,), (0.5, 0.5)),  # too many to try
    ],
)
def test_the_scripted_player_of_a_matrix_game_plays_its_best_equilibrium_or_responds_to_uniform_play(
    payoffs: Any, row: Sequence[float], column: Sequence[float]
) -> None:
    game = MatrixGame(payoffs=payoffs)
    for agent, expected in (("row", row), ("column", column)):
        looking = attrs.evolve(game.scripted_player(), attention=1.0)
        law = looking.action_dist(matrix.Rounds(), agent).pmf()
        assert [float(law.get(a, 0)) for a in range(len(expected))] == pytest.approx(expected)
        mediocre = game.scripted_player().action_dist(matrix.Rounds(), agent)
        for action, p in enumerate(expected):
            assert float(mediocre.prob(action)) == pytest.approx(0.6 * p + 0.4 / len(expected))
