"""Blackjack: the dealer's published chances, the best play by another road, and Gymnasium's own play."""

import functools
import random
from fractions import Fraction

import gymnasium
import numpy as np
import pytest

from algorithms.play.optimum import optimal_return
from games.blackjack import CARDS, Blackjack, CautiousPlayer, Hand, Table, dealer_dist, values
from tsmg import deterministic

# The chance that a dealer who stands on every 17 goes beyond 21, in per cent, by the card that shows, ace first, with
# an endless deck. Source: the tables of P. A. Griffin, The Theory of Blackjack, 6th edition.
BUST = (11.53, 35.36, 37.39, 39.45, 41.64, 42.32, 26.23, 24.47, 22.84, 21.21)


@pytest.mark.parametrize(("card", "percent"), list(enumerate(BUST, start=1)))
def test_the_dealer_goes_beyond_21_as_often_as_published(card: int, percent: float) -> None:
    dist = dealer_dist(Hand(0).plus(card)).pmf()
    assert sum(dist.values()) == 1
    assert 100 * float(sum(p for hand, p in dist.items() if hand.total > 21)) == pytest.approx(
        percent, abs=0.006
    )


def counted(cards: list[int]) -> Hand:
    """A hand's value as a person counts it: all aces as 1, and then one as 11 if that fits."""
    low = sum(cards)
    soft = 1 in cards and low + 10 <= 21
    return Hand(low + 10 * soft, soft)


def test_hands_are_counted_card_by_card() -> None:
    rng = random.Random(0)
    for _ in range(2000):
        cards = [rng.randint(1, 10) for _ in range(rng.randint(1, 8))]
        hand = Hand(0)
        for n, card in enumerate(cards):
            hand = hand.plus(card)
            if sum(cards[: n + 1]) > 21:
                break
            assert hand == counted(cards[: n + 1])


def test_the_best_play_is_that_of_backward_induction_over_the_game() -> None:
    """The values of the module against the optimum that knows the game's transitions alone."""
    game = Blackjack()
    deals = game.initial_state_dist().pmf()
    assert sum(deals.values()) == 1
    best = sum(p * max(values(table).values()) for table, p in deals.items())
    assert float(best) == pytest.approx(-0.0466, abs=5e-5)
    for table in list(deals)[::70]:
        assert optimal_return(game, table, 21) == pytest.approx(float(max(values(table).values())))


def test_the_best_play_is_the_published_one() -> None:
    """Sutton and Barto, 2nd edition, figure 5.2: where to stick without and with an ace that counts 11."""
    stick = {
        (total, soft, card): max(values(t), key=values(t).__getitem__) == "stick"
        for soft in (False, True)
        for total in range(12, 22)
        for card in range(1, 11)
        for t in [Table(Hand(total, soft), Hand(0).plus(card))]
    }
    hard = {card: min(t for t in range(12, 22) if stick[t, False, card]) for card in range(1, 11)}
    assert hard == {1: 17, 2: 13, 3: 13, 4: 12, 5: 12, 6: 12, 7: 17, 8: 17, 9: 17, 10: 17}
    soft = {card: min(t for t in range(12, 22) if stick[t, True, card]) for card in range(1, 11)}
    assert soft == {1: 19, **dict.fromkeys(range(2, 9), 18), 9: 19, 10: 19}


def test_gymnasium_plays_the_same_game() -> None:
    """The mean return of sticking from 17 on, in 2,000 hands of Gymnasium."""
    player = CautiousPlayer(total=17)

    @functools.cache
    def worth(table: Table) -> Fraction:
        if table.player.total >= 17:
            return values(table)["stick"]
        after = ((table.player.plus(card), p) for card, p in CARDS.enumerate())
        return sum(
            (
                Fraction(p) * (Fraction(-1) if h.total > 21 else worth(Table(h, table.dealer)))
                for h, p in after
            ),
            Fraction(0),
        )

    assert player.action_dist(Table(Hand(17), Hand(5)), "player") == deterministic("stick")
    exact = float(
        sum(p * worth(table) for table, p in Blackjack().initial_state_dist().pmf().items())
    )
    env = gymnasium.make("Blackjack-v1", natural=False, sab=False)
    returns = []
    env.reset(seed=0)
    for _ in range(2_000):
        (total, _, _), _ = env.reset()
        over, reward = False, 0.0
        while not over:
            (total, _, _), reward, over, _, _ = env.step(int(total < 17))
        returns.append(float(reward))
    assert abs(float(np.mean(returns)) - exact) < 4 * float(np.std(returns)) / len(returns) ** 0.5


def test_texts_by_hand() -> None:
    game = Blackjack()
    table = Table(Hand(18, True), Hand(11, True))
    assert game.observation_text(table, "player") == (
        "You have 18 (with an ace counted as 11).\nThe dealer shows an ace."
    )
    shown = game.observation_text(Table(Hand(18), Hand(8)), "player")
    assert shown.endswith("The dealer shows an 8.")
    ends = game.transition_dist(Table(Hand(19), Hand(10)), {"player": "stick"}).support()
    texts = {game.observation_text(t.state, "player").split("\n", 1)[1] for t in ends}
    assert texts == {
        f"The dealer has {n}.\n{'You lost.' if 19 < n < 22 else 'It is a draw.' if n == 19 else 'You won.'}"
        for n in range(17, 27)
    }
    bust = game.transition_dist(Table(Hand(20), Hand(10)), {"player": "hit"}).support()[-1].state
    assert game.observation_text(bust, "player").endswith("You went over 21 and lost.")
