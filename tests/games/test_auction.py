"""Auctions: dominance of the own value, regret of shading, and payoffs against the game's own transitions."""

import itertools
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from games.auction import Auction, Sale, ShadingBidder, StrategyBidder, expected_payoffs
from tests.strategies import examples
from tsmg import UniformPlayer

SMALL = {"bidders": 3, "greatest": 3}


@pytest.mark.parametrize("price", ["first", "second"])
@pytest.mark.parametrize("bidders", [2, 3])
def test_expected_payoffs_are_those_of_the_game(price: Any, bidders: int) -> None:
    """By enumeration of the others' values and of the game's ties."""
    game, strategy = Auction(bidders=bidders, greatest=3, price=price), (0, 1, 1, 3)
    for worth in range(4):
        found = []
        for bid in range(4):
            total = Fraction(0)
            for others in itertools.product(range(4), repeat=bidders - 1):
                bids = (bid, *(strategy[value] for value in others))
                joint = dict(zip(game.agents, bids, strict=True))
                dist = game.transition_dist(Sale((worth, *others)), joint)
                total += sum(Fraction(p) * Fraction(t.rewards_N[0]) for t, p in dist.enumerate())
            found.append(total / 4 ** (bidders - 1))
        assert expected_payoffs(game, worth, strategy) == tuple(found)


def gains(game: Auction, strategy: tuple[int, ...], others: tuple[int, ...]) -> Fraction:
    """The most that another bid gains on the strategy at any value, against others who bid by theirs."""
    payoffs = [expected_payoffs(game, worth, others) for worth in range(game.greatest + 1)]
    return max(max(p) - p[strategy[worth]] for worth, p in enumerate(payoffs))


@examples(0.4)
@given(st.lists(st.integers(0, 4), min_size=5, max_size=5).map(tuple), st.sampled_from([2, 3]))
def test_the_own_value_is_dominant_where_the_second_bid_is_paid(
    others: tuple[int, ...], bidders: int
) -> None:
    game = Auction(bidders=bidders, greatest=4, price="second")
    assert gains(game, (0, 1, 2, 3, 4), others) == 0


def test_the_own_value_is_not_dominant_where_the_own_bid_is_paid() -> None:
    assert gains(Auction(greatest=4), (0, 1, 2, 3, 4), (0, 1, 2, 3, 4)) > 0


def test_a_half_of_the_value_is_nearly_an_equilibrium_of_two() -> None:
    """Vickrey's equilibrium of continuous values: the finer the grid, the less of the scale another bid gains."""
    shares = []
    for greatest in (10, 20, 40):
        game, whole = Auction(greatest=greatest), tuple(range(greatest + 1))
        half = tuple(value // 2 for value in whole)
        shares.append(gains(game, half, half) / greatest)
        assert gains(game, whole, whole) / greatest > 5 * shares[-1]
    assert shares[0] == Fraction(3, 220)
    assert shares[0] > shares[1] > shares[2]


def test_bids_win_pay_and_are_told() -> None:
    state = Sale((7, 9))
    for price, paid in (("first", 6), ("second", 4)):
        game = Auction(price=price)  # type: ignore[arg-type]
        ((after, rewards_N),) = game.transition_dist(
            state, {"bidder_1": 6, "bidder_2": 4}
        ).support()
        assert rewards_N == (7.0 - paid, 0.0)
        assert game.observation_text(after, "bidder_2") == (
            f"You are bidder_2. The item is worth 9 to you.\nYour bid: 4. bidder_1 won and pays {paid}."
        )
    ties = Auction().transition_dist(state, {"bidder_1": 5, "bidder_2": 5}).pmf()
    assert {t.rewards_N: p for t, p in ties.items()} == {
        (2.0, 0.0): Fraction(1, 2),
        (0.0, 4.0): Fraction(1, 2),
    }


def test_values_of_the_others_are_hidden() -> None:
    game = Auction()
    assert game.observation_text(Sale((7, 9)), "bidder_1") == game.observation_text(
        Sale((7, 2)), "bidder_1"
    )
    assert game.information_key(Sale((7, 9)), "bidder_1") == game.information_key(
        Sale((7, 2)), "bidder_1"
    )


def test_scripted_bidders() -> None:
    state = Sale((7, 9))
    assert set(ShadingBidder().action_dist(state, "bidder_1").support()) == {
        3,
        4,
        5,
        6,
        7,
    }
    assert StrategyBidder(strategy=tuple(range(11))).action_dist(state, "bidder_2").pmf() == {9: 1}
    assert UniformPlayer(Auction()).action_dist(state, "bidder_1").prob(10) == Fraction(1, 11)
