"""Public goods: the dilemma by enumeration of every round, and the measure of efficiency."""

import itertools

import attrs
import numpy as np
import pytest

from games.public_goods import Ledger, PublicGoods, Reciprocator
from tsmg import (
    AbstractPlayer,
    ClosedGame,
    Distribution,
    Episode,
    EpisodeKey,
    EpisodeSpec,
    Illegal,
    InvalidArgumentError,
    Parsed,
    PlayerPolicy,
    Start,
    Stream,
    branch_start,
    deterministic,
    play,
)


def is_dilemma(game: PublicGoods) -> bool:
    """Giving nothing is the only best reply to anything, and giving everything is best for all together."""
    every = list(itertools.product(range(game.endowment + 1), repeat=game.players))
    alone = all(
        max(range(game.endowment + 1), key=lambda x, o=others: game.payoffs((x, *o))[0]) == 0  # type: ignore[misc]
        for others in itertools.product(range(game.endowment + 1), repeat=game.players - 1)
    )
    together = max(every, key=lambda given: sum(game.payoffs(given)))
    return alone and together == (game.endowment,) * game.players


@pytest.mark.parametrize("players", [2, 3, 4])
@pytest.mark.parametrize(
    ("multiplier", "dilemma"), [(0.9, False), (1.5, True), (1.9, True), (5.0, False)]
)
def test_it_is_a_dilemma_between_1_and_the_number_of_players(
    players: int, multiplier: float, dilemma: bool
) -> None:
    game = PublicGoods(players=players, endowment=2, multiplier=multiplier)
    assert is_dilemma(game) == dilemma


def test_payoffs_are_those_of_the_linear_game() -> None:
    game = PublicGoods(players=3, endowment=4, multiplier=1.8)
    for given in itertools.product(range(5), repeat=3):
        linear = (np.eye(3) * (1.8 / 3 - 1) + (1 - np.eye(3)) * 1.8 / 3) @ np.array(given) + 4
        assert game.payoffs(given) == pytest.approx(tuple(linear))


def test_return_bounds_are_reached_and_not_passed() -> None:
    game = PublicGoods(players=3, endowment=3, multiplier=1.7, rounds=2)
    each = [x for given in itertools.product(range(4), repeat=3) for x in game.payoffs(given)]
    assert game.facts.return_bounds == (2 * min(each), 2 * max(each))


def test_many_players_are_no_more_work() -> None:
    assert PublicGoods(players=60).facts.return_bounds[0] < 0.5


def test_an_offender_gives_nothing() -> None:
    game = PublicGoods()
    closed = ClosedGame(game)
    outcomes = {"player_1": Parsed(4), "player_2": Illegal("?"), "player_3": Parsed(2)}
    after = closed.sample_transition(closed.close(Ledger()), outcomes, Stream("chance"))
    assert after.state.state == Ledger(((4, 0, 2),)) and after.penalties_N == (0.0, 0.0, 0.0)


def test_texts_tell_what_everyone_gave() -> None:
    game = PublicGoods(rounds=2)
    assert game.observation_text(Ledger(((4, 0, 2),)), "player_2") == (
        "You are player_2.\nRound 1: player_1 gave 4, player_2 gave 0, player_3 gave 2; you got 7.6.\n"
        "Now: round 2 of 2."
    )


def test_efficiency_is_the_share_that_was_given() -> None:
    game = PublicGoods(rounds=4)
    player = PlayerPolicy(game, Reciprocator(game=game))
    (episode,) = play(game, player, [EpisodeSpec(key=EpisodeKey(seed=0))])
    assert isinstance(episode, Episode)
    given = [int(a.reply.text) for step in episode.steps for a in step.agent_steps]
    assert len(given) == 12
    assert game.efficiency(episode) == pytest.approx(np.mean(given) / 4)
    ended = attrs.evolve(episode.final_state, state=Ledger())
    returns = [episode.episode_return(agent) for agent in game.agents]
    gini = sum(abs(a - b) for a in returns for b in returns) / (2 * len(returns) * sum(returns))
    assert game.metrics(episode, "player_1") == {
        "efficiency": game.efficiency(episode),
        "equality": pytest.approx(1 - gini),
    }
    assert game.metrics(attrs.evolve(episode, final_state=ended), "player_1") == {}


def test_the_reciprocator_gives_most_often_what_the_others_gave() -> None:
    game = PublicGoods()
    player = game.scripted_player()
    dist = player.action_dist(Ledger(((0, 3, 3),)), "player_1").pmf()
    assert max(dist, key=dist.__getitem__) == 3
    assert (
        max(player.action_dist(Ledger(), "player_1").pmf().items(), key=lambda pair: pair[1])[0]
        == 2
    )


def test_a_negative_multiplier_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="'multiplier' must be at least 0"):
        PublicGoods(multiplier=-1)


class Giver(AbstractPlayer[Ledger, int]):
    """Always gives the same."""

    def __init__(self, gives: int) -> None:
        self.gives = gives

    def action_dist(self, state: Ledger, agent: str) -> Distribution[int]:
        return deterministic(self.gives)


def test_a_branch_is_as_efficient_as_its_own_rounds() -> None:
    game = PublicGoods(players=2, endowment=4, rounds=3)

    def played(gives: int, start: Start[Ledger] | None = None) -> Episode[Ledger]:
        spec = EpisodeSpec[Ledger](key=EpisodeKey(seed=0), start=start)
        (record,) = play(game, PlayerPolicy(game, Giver(gives)), [spec])
        assert isinstance(record, Episode)
        return record

    nothing = played(0)
    assert game.metrics(nothing, game.agents[0])["efficiency"] == 0.0
    branch = played(4, branch_start(nothing, 2))
    assert game.metrics(branch, game.agents[0])["efficiency"] == 1.0
