"""The ultimatum game: subgame perfection by backward induction, and shares."""

from fractions import Fraction
from typing import Any

import pytest

from games.ultimatum import Bargain, FairMinded, SubgamePerfect, Ultimatum
from tsmg import AbstractPlayer, Distribution, Illegal, Parsed, deterministic


def best_replies(game: Ultimatum, offer: int) -> set[str]:
    """The answers that pay the responder most."""
    paid = {}
    for answer in game.legal_actions(Bargain(offer), "responder"):
        ((_, rewards_N),) = game.transition_dist(Bargain(offer), {"responder": answer}).support()
        paid[str(answer)] = rewards_N[1]
    return {answer for answer, reward in paid.items() if reward == max(paid.values())}


def is_subgame_perfect(game: Ultimatum, player: AbstractPlayer[Bargain, Any]) -> bool:
    """Every answer is a best reply, and the offer is a best one against these answers."""
    answers = [
        player.action_dist(Bargain(offer), "responder").support() for offer in range(game.total + 1)
    ]
    if not all(set(a) <= best_replies(game, offer) for offer, a in enumerate(answers)):
        return False
    keeps = [
        game.total - offer if answers[offer] == ("accept",) else 0
        for offer in range(game.total + 1)
    ]
    return all(
        keeps[int(offer)] == max(keeps)
        for offer in player.action_dist(Bargain(), "proposer").support()
    )


@pytest.mark.parametrize("total", [1, 3, 10])
@pytest.mark.parametrize("generous", [False, True])
def test_both_equilibria_are_subgame_perfect(total: int, generous: bool) -> None:
    assert is_subgame_perfect(Ultimatum(total=total), SubgamePerfect(generous=generous))


class Proud(AbstractPlayer[Bargain, Any]):
    """Threatens to reject less than 4, against its own interest, and offers as much."""

    def action_dist(self, state: Bargain, agent: str) -> Distribution[Any]:
        if agent == "proposer":
            return deterministic(4)
        return deterministic("accept" if (state.offer or 0) >= 4 else "reject")


def test_a_threat_that_is_not_credible_is_noticed() -> None:
    assert not is_subgame_perfect(Ultimatum(), Proud())
    assert best_replies(Ultimatum(), 0) == {"accept", "reject"}


def test_shares_and_texts_by_hand() -> None:
    game, offered = Ultimatum(), Bargain(3)
    ((after, rewards_N),) = game.transition_dist(offered, {"responder": "accept"}).support()
    assert rewards_N == (7.0, 3.0)
    assert game.observation_text(after, "proposer") == (
        "You are the proposer. The sum is 10.\nOffer: the responder gets 3, the proposer 7.\nAnswer: accept. You get 7."
    )
    rich = Ultimatum(total=2_469_134).observation_text(Bargain(1_234_567, "accept"), "responder")
    assert rich.endswith("You get 1234567.")
    ((_, nothing),) = game.transition_dist(offered, {"responder": "reject"}).support()
    assert nothing == (0.0, 0.0)
    assert game.read_action(offered, "responder", "Accept") == Parsed("accept")
    assert game.read_action(Bargain(), "proposer", "11") == Illegal("11")


def test_the_fair_minded_player_accepts_the_more_the_better_the_offer() -> None:
    player = FairMinded(total=10)
    accepts = [
        player.action_dist(Bargain(offer), "responder").prob("accept") for offer in range(11)
    ]
    assert accepts == sorted(accepts) and accepts[5:] == [1] * 6 and accepts[0] == Fraction(1, 10)
    assert set(player.action_dist(Bargain(), "proposer").support()) == {2, 3, 4, 5}
