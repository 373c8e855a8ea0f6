"""Negotiation: efficient and bargained divisions by other routes, honest players that reach them, offers by hand."""

import itertools
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from games.dialogue import Move, Talk, Utterance
from games.dialogue.negotiation import (
    CandidPlayer,
    Haggler,
    Negotiation,
    bargaining_solution,
    efficient_worth,
    valuations,
    worth,
)
from games.dialogue.offers import accepted_offer, answers, standing_offer
from tests.strategies import examples
from tsmg import (
    AbstractPlayer,
    Episode,
    EpisodeKey,
    EpisodeSpec,
    InvalidArgumentError,
    Parsed,
    PlayerPolicy,
    play,
)

COUNTS = (1, 2, 3)
numbers = st.tuples(*[st.integers(0, 6)] * 3)
WORLD = ((4, 0, 2), (0, 2, 2))


def divisions(values: tuple[Any, Any]) -> dict[tuple[int, ...], tuple[int, int]]:
    """What each division is worth to both: each thing is given to the second one, or not."""
    owners = [kind for kind, count in enumerate(COUNTS) for _ in range(count)]
    found = {}
    for given_away in itertools.product((False, True), repeat=len(owners)):
        worths = [0, 0]
        second = [0, 0, 0]
        for kind, is_given in zip(owners, given_away, strict=True):
            worths[is_given] += values[is_given][kind]
            second[kind] += is_given
        found[tuple(second)] = (worths[0], worths[1])
    return found


@examples(0.5)
@given(numbers, numbers)
def test_the_bargaining_solution_has_the_greatest_product_and_wastes_nothing(
    first: tuple[int, ...], second: tuple[int, ...]
) -> None:
    every = divisions((first, second))
    a, b = every[bargaining_solution(COUNTS, (first, second))]
    assert a * b == max(x * y for x, y in every.values())
    assert not any(x >= a and y >= b and (x, y) != (a, b) for x, y in every.values())
    assert efficient_worth(COUNTS, (first, second)) == max(map(sum, every.values()))


@examples(0.3)
@given(numbers, numbers, st.integers(1, 5))
def test_the_bargaining_solution_does_not_depend_on_units_nor_names(
    first: tuple[int, ...], second: tuple[int, ...], unit: int
) -> None:
    """Nash's axioms of scale and symmetry, on the greatest product."""
    every = divisions((first, second))
    a, b = every[bargaining_solution(COUNTS, (first, second))]
    scaled = tuple(unit * value for value in first)
    c, d = divisions((scaled, second))[bargaining_solution(COUNTS, (scaled, second))]
    assert c * d == unit * a * b
    x, y = divisions((second, first))[bargaining_solution(COUNTS, (second, first))]
    assert x * y == a * b and x + y == a + b


def test_the_greatest_sum_is_not_the_bargaining_solution() -> None:
    values = ((1, 1, 1), (3, 3, 3))
    every = divisions(values)
    assert every[bargaining_solution(COUNTS, values)] == (3, 9)
    assert max(every.values(), key=sum) == (0, 18)


def test_valuations_add_up_and_none_is_missing() -> None:
    by_hand = {v for v in itertools.product(range(11), repeat=3) if worth(COUNTS, v) == 10}
    assert set(valuations(COUNTS, 10)) == by_hand and len(by_hand) == 14
    assert len(list(valuations(COUNTS, 10))) == 14


def result(game: Negotiation, world: Any, *players: AbstractPlayer[Any, Any]) -> Talk[Any]:
    """The end of a game of two deterministic players."""
    state = Talk(world)
    while not game.is_terminal(state):
        (agent,) = game.acting_agents(state)
        (move,) = players[game.agents.index(agent)].action_dist(state, agent).support()
        assert game.read_action(state, agent, game.action_text(state, agent, move)) == Parsed(move)
        ((state, _),) = game.transition_dist(state, {agent: move}).support()
    return state


def test_candid_players_reach_the_bargaining_solution_from_every_start() -> None:
    game = Negotiation()
    candid, total, efficient = CandidPlayer(game=game), Fraction(0), Fraction(0)
    for world, p in game.world_dist().pmf().items():
        end = result(game, world, candid, candid)
        every = divisions(world)
        assert game.deal(end) is not None and len(end.utterances) == 4
        a, b = game.rewards(end)
        assert a * b == max(x * y for x, y in every.values())
        total += Fraction(p) * Fraction(a + b)
        efficient += Fraction(p) * max(map(sum, every.values()))
    assert (total, efficient) == (Fraction(104, 7), Fraction(731, 49))


def test_a_candid_player_believes_what_adds_up_and_nothing_else() -> None:
    game, own = Negotiation(), (4, 0, 2)
    for message, believed in (
        ("my values: 0 5 0", (0, 5, 0)),
        ("my values: 9 9 9", own),
        ("my values: 5 0", own),
        (f"my values: {'9' * 90}", own),
        ("my values: 0 5 0, and more", own),
        (f"my values: {'9' * 100}x", own),  # which a pattern that may cut anywhere reads for years
        ("please", own),
    ):
        state = after(Talk(((0, 2, 2), own)), "player_1", Move("say", message=message))
        state = after(state, "player_2", Move("say", message="my values: 4 0 2"))
        state = after(state, "player_1", Move("say", message="go on"))
        (move,) = CandidPlayer(game=game).action_dist(state, "player_2").support()
        second = bargaining_solution(COUNTS, (believed, own))
        given = tuple(count - kept for count, kept in zip(COUNTS, second, strict=True))
        assert move == Move("offer", tuple(map(str, given)))


def after(state: Talk[Any], agent: str, move: Move) -> Talk[Any]:
    """The state with one more utterance."""
    return Talk(state.world, (*state.log, Utterance(agent, move)))


def test_offers_stand_until_they_are_rejected_or_replaced() -> None:
    game, state = Negotiation(), Talk(WORLD)
    assert [form.verb for form in game.forms(state, "player_1")] == ["say", "offer"]
    offered = after(state, "player_1", Move("offer", ("0", "2", "1"), "take it"))
    assert game.observation_text(offered, "player_2") == (
        "You are player_2. The pool, as number x worth of each to you: books 1 x 0, hats 2 x 2, balls 3 x 2.\n"
        '[player_1] offer 0 2 1: "take it"\n'
        "The offer of player_1 stands: you get books 0, hats 2, balls 1, worth 6 to you.\nNow: move 2 of 8."
    )
    assert [form.verb for form in game.forms(offered, "player_1")] == ["say", "offer"]
    talked = after(offered, "player_2", Move("say", message="hm"))
    assert standing_offer(talked.utterances) == offered.utterances[0]
    rejected = after(offered, "player_2", Move("reject"))
    assert standing_offer(rejected.utterances) is None and game.deal(rejected) is None
    deal = after(offered, "player_2", Move("accept"))
    assert game.deal(deal) == ((1, 0, 2), (0, 2, 1)) and game.rewards(deal) == (8.0, 6.0)
    assert game.is_terminal(deal) and not game.is_terminal(rejected)
    assert game.observation_text(deal, "player_1").endswith("Your part is worth 8 to you.")
    countered = after(offered, "player_2", Move("offer", ("1", "0", "0")))
    again = after(countered, "player_1", Move("accept"))
    assert game.deal(again) == ((1, 0, 0), (0, 2, 3)) and game.rewards(again) == (4.0, 10.0)


def test_an_offer_can_be_answered_by_who_did_not_make_it() -> None:
    """Also when words came in between, and not any more once it is accepted or rejected."""
    made = Utterance("ann", Move("offer", ("3",)))
    hm = Utterance("cleo", Move("say", message="hm"))
    for said, agents in (
        ((), ""),
        ((made,), "ben cleo"),
        ((made, hm, hm), "ben cleo"),
        ((made, Utterance("ben", Move("reject")), hm), ""),
        ((made, Utterance("ben", Move("offer", ("4",)))), "ann cleo"),
    ):
        able = [agent for agent in ("ann", "ben", "cleo") if answers(said, agent)]
        assert able == agents.split()
        assert accepted_offer(said) is None
    assert accepted_offer((made, hm, Utterance("cleo", Move("accept")))) == made
    assert [form.verb for form in answers((made,), "ben")] == ["accept", "reject"]


def test_without_a_deal_both_get_nothing_and_values_stay_hidden() -> None:
    game = Negotiation(turns=2)
    over = after(Talk(WORLD), "player_1", Move("offer", ("0", "0", "0")))
    assert not game.is_terminal(over)
    over = after(over, "player_2", Move("reject", message="no"))
    assert game.is_terminal(over) and game.rewards(over) == (0.0, 0.0)
    other = Talk((WORLD[0], (10, 0, 0)), over.log)
    assert game.information_key(over, "player_1") == game.information_key(other, "player_1")
    assert game.information_key(over, "player_2") != game.information_key(other, "player_2")


def test_the_metrics_are_efficiency_and_share() -> None:
    game = Negotiation()
    specs = [EpisodeSpec[Any](key=EpisodeKey(seed=0, episode=n)) for n in range(60)]
    met = set()
    for episode in play(game, PlayerPolicy(game, Haggler(game=game)), specs):
        assert isinstance(episode, Episode)
        final = episode.final_state.state
        gains = [episode.episode_return(agent, penalties=False) for agent in game.agents]
        best = max(map(sum, divisions(final.world).values()))
        for agent, gain in zip(game.agents, gains, strict=True):
            metrics = game.metrics(episode, agent)
            assert metrics["efficiency"] == sum(gains) / best
            assert metrics.get("share", 0.0) * sum(gains) == pytest.approx(gain)
            assert ("share" in metrics) == (sum(gains) > 0)
        assert game.success(episode, "player_1") == (game.deal(final) is not None)
        met.add(game.success(episode, "player_1"))
    assert met == {True, False}


def test_the_haggler_wants_ever_less_and_takes_what_is_better_than_nothing_at_the_end() -> None:
    game = Negotiation()
    haggler = Haggler(game=game, attention=1.0, talk=0.0)
    least = []
    for done in range(0, 8, 2):
        state = Talk(WORLD, (Utterance("player_1", Move("say", message="hm")),) * done)
        moves = haggler.action_dist(state, "player_1").support()
        kept = [10 - worth(tuple(map(int, move.chosen)), WORLD[0]) for move in moves]
        least.append(min(kept))
    assert least == sorted(least, reverse=True) and least[0] == 10 and least[-1] < 10
    mean = Utterance("player_1", Move("offer", ("1", "1", "0")))
    state = Talk(WORLD, (Utterance("player_1", Move("say", message="hm")),) * 6 + (mean,))
    assert haggler.action_dist(state, "player_2").support() == (Move("accept"),)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Negotiation(items=()), "'items' must be at least one kind"),
        (lambda: Negotiation(items=(("hats", 0),)), "'items' must be an integer of at least 1"),
        (
            lambda: Negotiation(items={"books": 1, "hats": 2}),  # type: ignore[arg-type]
            "'items' must be pairs of name and number",
        ),
        (lambda: Negotiation(items=[["hats", 99], ["balls", 100]]), "at most 10,000 ways"),
        (lambda: Negotiation(items=(("hats", 3),), total=10), "'total' must be a value that the"),
        (lambda: Negotiation(items=(("red hats", 2),)), "'name' must be a word without blanks"),
        (lambda: Negotiation(message_limit=0), "'message_limit' must be an integer of at least 1"),
        (
            lambda: CandidPlayer(game=Negotiation(message_limit=12)),
            "must be at least 17 where values",
        ),
        (lambda: Negotiation(turns=1), "'turns' must be an integer of at least 2"),
    ],
)
def test_bad_settings_are_refused(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(InvalidArgumentError, match=sentence):
        make()
