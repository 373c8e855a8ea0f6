"""Goofspiel: values by linear programmes, an equilibrium that nobody beats, and OpenSpiel's exploitability."""

import functools
import itertools
from fractions import Fraction

import numpy as np
import pytest

from games.goofspiel import (
    Bids,
    Goofspiel,
    GoofspielEquilibrium,
    MatchingBidder,
    Order,
    rest,
    solution,
)
from tests.games.test_zero_sum import programme_value
from tsmg import AbstractPlayer, Episode, EpisodeKey, EpisodeSpec, PlayerPolicy, UniformPlayer, play

FIRST, SECOND = Goofspiel.agents


def value(game: Goofspiel, state: Bids) -> float:
    """The value to player_1, by the game's own transitions and scipy's linear programmes."""

    def later(here: Bids) -> float:
        """Which bid met which, and in which order, does not matter any more."""
        cards = [sorted(cards) for cards in zip(*here.bids, strict=True)]
        return at(
            Bids((*sorted(here.prizes[:-1]), here.prizes[-1]), tuple(zip(*cards, strict=True)))
        )

    @functools.cache
    def at(here: Bids) -> float:
        if game.is_terminal(here):
            return 0.0
        payoffs = [
            [
                sum(
                    float(p) * (t.rewards_N[0] + later(t.state))
                    for t, p in game.transition_dist(here, {FIRST: a, SECOND: b}).enumerate()
                )
                for b in game.legal_actions(here, SECOND)
            ]
            for a in game.legal_actions(here, FIRST)
        ]
        return programme_value(payoffs)

    return at(state)


@pytest.mark.parametrize("order", ["descending", "ascending", "random"])
def test_values_after_unequal_bids_are_those_of_linear_programmes(order: Order) -> None:
    game = Goofspiel(cards=5, order=order)
    prizes = (5, 4) if order == "descending" else (1, 2)
    seen = set()
    for bids in [((4, 2),), ((2, 1),)] if order != "random" else [((2, 4),)]:
        state = Bids(prizes, bids)
        hands = (game.legal_actions(state, FIRST), game.legal_actions(state, SECOND))
        found = solution(order, hands, prizes[1], rest(5, prizes)).value
        assert float(found) == pytest.approx(value(game, state))
        seen.add(found)
    assert 0 not in seen


@pytest.mark.parametrize(("cards", "order"), [(4, "descending"), (5, "ascending"), (3, "random")])
def test_the_value_is_0_since_the_game_is_symmetric(cards: int, order: Order) -> None:
    game = Goofspiel(cards=cards, order=order)
    hand = rest(cards, ())
    for start in game.initial_state_dist().support():
        assert solution(order, (hand, hand), start.prizes[0], rest(cards, start.prizes)).value == 0


def best_reply(
    game: Goofspiel, player: AbstractPlayer[Bids, int], *, who: str = SECOND
) -> Fraction:
    """The greatest expected return of an agent against a player."""
    other = FIRST if who == SECOND else SECOND
    own = game.agents.index(who)

    @functools.cache
    def at(here: Bids) -> Fraction:
        if game.is_terminal(here):
            return Fraction(0)
        theirs = player.action_dist(here, other).pmf().items()
        return max(
            sum(
                (
                    Fraction(q) * Fraction(p) * (Fraction(t.rewards_N[own]) + at(t.state))
                    for a, q in theirs
                    for t, p in game.transition_dist(here, {other: a, who: b}).enumerate()
                ),
                Fraction(0),
            )
            for b in game.legal_actions(here, who)
        )

    dist = game.initial_state_dist().pmf()
    return sum((Fraction(p) * at(start) for start, p in dist.items()), Fraction(0))


def test_nobody_gains_against_the_equilibrium() -> None:
    for order, cards in (("descending", 4), ("random", 3)):
        game = Goofspiel(cards=cards, order=order)  # type: ignore[arg-type]
        for who in game.agents:
            assert best_reply(game, GoofspielEquilibrium(game=game), who=who) == 0
        assert best_reply(game, MatchingBidder(game=game)) > 0


@pytest.mark.parametrize(("cards", "order"), [(3, "random"), (4, "descending")])
def test_the_uniform_player_loses_what_open_spiel_says(cards: int, order: Order) -> None:
    """OpenSpiel counts points less their mean, which is half of the difference."""
    pyspiel = pytest.importorskip("pyspiel")
    exploitability = pytest.importorskip("open_spiel.python.algorithms.exploitability")
    policy = pytest.importorskip("open_spiel.python.policy")
    theirs = pyspiel.convert_to_turn_based(
        pyspiel.load_game(
            f"goofspiel(players=2,num_cards={cards},points_order={order},returns_type=point_difference)"
        )
    )
    nash_conv = exploitability.nash_conv(theirs, policy.UniformRandomPolicy(theirs))
    game = Goofspiel(cards=cards, order=order)
    assert float(2 * best_reply(game, UniformPlayer(game))) == pytest.approx(2 * nash_conv)


def test_to_bid_the_prize_is_the_best_reply_to_a_uniform_player() -> None:
    """Source: S. M. Ross, 1971."""
    game = Goofspiel(cards=4, order="descending")
    uniform, matching = UniformPlayer(game), MatchingBidder(game=game, attention=1.0)

    @functools.cache
    def at(here: Bids) -> Fraction:
        if game.is_terminal(here):
            return Fraction(0)
        (b,) = matching.action_dist(here, SECOND).support()
        return sum(
            Fraction(q) * (Fraction(t.rewards_N[1]) + at(t.state))
            for a, q in uniform.action_dist(here, FIRST).pmf().items()
            for t, _ in game.transition_dist(here, {FIRST: a, SECOND: b}).enumerate()
        ) + Fraction(0)

    (start,) = game.initial_state_dist().support()
    assert at(start) == best_reply(game, uniform) > 2


@pytest.mark.parametrize("cards", [1, 2, 4])
def test_return_bounds_are_reached_and_not_passed(cards: int) -> None:
    numbers = np.arange(1, cards + 1)
    returns = [
        (numbers * np.sign(np.array(a) - np.array(b))).sum()
        for a in itertools.permutations(numbers)
        for b in itertools.permutations(numbers)
    ]
    assert Goofspiel(cards=cards).facts.return_bounds == (min(returns), max(returns))


def test_texts_by_hand() -> None:
    game = Goofspiel(cards=3)
    state = Bids((2, 3), ((1, 3),))
    assert game.observation_text(state, SECOND).split("\n") == [
        "You are player_2.",
        "Prize 2: you bid 3, the other player bid 1.",
        "Your cards: 1 2. The other player's: 2 3.",
        "Now: prize 3.",
    ]
    assert game.legal_actions(state, FIRST) == (2, 3)


def test_who_wins_more_succeeds() -> None:
    game = Goofspiel(cards=4)
    for seed in range(4):
        (record,) = play(
            game, PlayerPolicy(game, UniformPlayer(game)), [EpisodeSpec(key=EpisodeKey(seed=seed))]
        )
        assert isinstance(record, Episode)
        final = record.final_state.state
        gain = sum(p * np.sign(a - b) for p, (a, b) in zip(final.prizes, final.bids, strict=True))
        assert record.episode_return(FIRST) == gain == -record.episode_return(SECOND)
        assert (game.success(record, FIRST), game.success(record, SECOND)) == (gain > 0, gain < 0)
