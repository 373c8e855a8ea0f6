"""The interface: samplers are derived from the distributions, and psi is total, pure and inverts the texts."""

import unicodedata
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import (
    SOUND_GAMES,
    Coins,
    Countdown,
    Dice,
    Drift,
    agrees,
    draws_of,
    examples,
    slippery_lake,
    texts,
)
from tsmg import (
    AbstractExplicitGame,
    AbstractGame,
    GameLawError,
    Illegal,
    Parsed,
    Stream,
    TextOutcome,
    fold,
)

Reading = Callable[[Any, str, str], TextOutcome[Any]]

EXPLICIT: list[tuple[AbstractExplicitGame[Any, Any], Any, dict[str, Any]]] = [
    (Dice(), ("roll", 5), {}),
    (Coins(), (), {"even": "Heads", "odd": "Tails"}),
    (slippery_lake(map=("SF", "HG")), None, {}),
]


def _named(value: object) -> str:
    return type(value).__name__


# ---- samplers --------------------------------------------------------------------------------


@pytest.mark.parametrize(("game", "state", "joint"), EXPLICIT, ids=_named)
def test_samplers_are_derived_from_the_laws(
    game: AbstractExplicitGame[Any, Any], state: Any, joint: dict[str, Any]
) -> None:
    if state is None:
        state = game.initial_state_dist().support()[0]
        joint = {"player": game.legal_actions(state, "player")[2]}  # type: ignore[index]
    dist = game.transition_dist(state, joint).pmf()
    draws = draws_of(lambda rng: game.sample_transition(state, joint, rng), 600)
    assert sum(dist.values()) == 1
    assert agrees(draws, dist)
    assert not agrees(draws, {t: 1 / (len(dist) + 1) for t in [*dist, "other"]})
    assert agrees(draws_of(game.sample_initial_state, 100), game.initial_state_dist().pmf())


# ---- psi -------------------------------------------------------------------------------------


def is_total(read: Reading, game: AbstractGame[Any, Any], state: Any, text: str) -> bool:
    """psi answers any text with Parsed or Illegal, twice the same; it parses canonical texts only."""
    agent = game.agents[0]
    try:
        outcome, again = read(state, agent, text), read(state, agent, text)
    except Exception:  # noqa: BLE001 (any exception is what this looks for)
        return False
    legal = game.legal_actions(state, agent) or ()
    canonical = {game.action_text(state, agent, action).casefold() for action in legal}
    seen = "".join(
        c
        for c in text
        if unicodedata.category(c) != "Cf" and "VARIATION" not in unicodedata.name(c, "")
    )
    readable = seen.strip().casefold() in canonical
    kind = Parsed if readable else Illegal
    return type(outcome) is kind and outcome == again


@examples(0.6)
@given(st.sampled_from(SOUND_GAMES), texts())
def test_psi_is_total_and_pure(game: AbstractGame[Any, Any], text: str) -> None:
    state = game.sample_initial_state(Stream("start"))
    assert is_total(game.read_action, game, state, text)


def _by_position(state: Any, agent: str, text: str) -> TextOutcome[Any]:
    """A wrong implementation: it raises on a text that is no number."""
    return Parsed(int(text))


def _or_none(state: Any, agent: str, text: str) -> Any:
    """A wrong implementation: None stands for an illegal text."""
    return Parsed(1) if text == "take 1" else None


def _lenient(state: Any, agent: str, text: str) -> TextOutcome[Any]:
    """A wrong implementation: whatever is not understood is an action."""
    return Parsed(2 if "2" in text else 1)


@pytest.mark.parametrize("read", [_by_position, _or_none, _lenient])
def test_readings_that_are_not_total_are_noticed(read: Reading) -> None:
    game = Countdown()
    samples = ("take 1", "\ud800", "<|im_end|>", "")
    assert not all(is_total(read, game, (5, 0), text) for text in samples)


def round_trips(game: AbstractGame[Any, Any], state: Any, dress: Callable[[str], str]) -> bool:
    """psi(s, action_text(s, a)) = a for every legal action, whatever the case and white space."""
    return all(
        game.read_action(state, agent, dress(game.action_text(state, agent, action)))
        == Parsed(action)
        for agent in game.acting_agents(state)
        for action in game.legal_actions(state, agent) or ()
    )


@pytest.mark.parametrize("game", SOUND_GAMES, ids=_named)
@pytest.mark.parametrize("dress", [str, str.upper, str.lower, " \n{}\t".format])
def test_canonical_texts_are_read_back(
    game: AbstractGame[Any, Any], dress: Callable[[str], str]
) -> None:
    assert round_trips(game, game.sample_initial_state(Stream("start")), dress)


def test_texts_that_differ_in_case_alone_are_noticed() -> None:
    class Cased(Dice):
        def legal_actions(self, state: Any, agent: str) -> tuple[str, ...]:
            return ("roll", "ROLL")

    assert not round_trips(Cased(), ("choose", 1), str)


ALIKE = [
    ("caf\u00e9", "CAFE\u0301"),  # an accent, composed and decomposed
    ("\u1e9b\u0323", "\u017f\u0323\u0307"),  # two marks, in either order
    ("up", "\u200b\ufeff up\u2060"),  # zero-width characters, within blanks
    ("\u2764", "\u2764\ufe0f"),  # a heart, and the selector of its coloured form
    ("stra\u00dfe", "STRASSE"),
    (
        "1213",
        "1\u200d2\u00ad1\u200e3\u200d",
    ),  # joiners beside ASCII, a soft hyphen, a mark of direction
    (
        "a\u0323\u0301",
        "a\u0301\u200b\u0323",
    ),  # marks that can be put in order once nothing is between them
    ("\u0390", "\u03b9\u0308\u0301"),  # casefolding decomposes it
]
APART = [("up", "u p"), ("cafe", "caf\u00e9"), ("2", "\u00b2"), ("", "\u0301"), ("o", "\u043e")]
APART += [
    (
        "\U0001f3f4",
        "\U0001f3f4\U000e0067\U000e0062\U000e007f",
    ),  # a flag, and the tags that change it
    ("\U0001f468\U0001f469", "\U0001f468\u200d\U0001f469"),  # two people, and a couple
    ("1", "1\u06dd"),  # the Arabic end of ayah
]


@attrs.frozen
class Named(Dice):
    """A game whose only action has a given text."""

    text: str = ""

    def legal_actions(self, state: Any, agent: str) -> tuple[str, ...]:
        return ("only",)

    def action_text(self, state: Any, agent: str, action: str) -> str:
        return self.text


@pytest.mark.parametrize(("canonical", "text"), ALIKE)
def test_texts_that_look_alike_name_the_same_action(canonical: str, text: str) -> None:
    assert Named(text=canonical).read_action(("roll", 1), "player", text) == Parsed("only")
    assert Named(text=text).read_action(("roll", 1), "player", canonical) == Parsed("only")


@pytest.mark.parametrize(("canonical", "text"), APART)
def test_texts_that_look_different_do_not(canonical: str, text: str) -> None:
    assert Named(text=canonical).read_action(("roll", 1), "player", text) == Illegal(text)


@examples(0.3)
@given(texts())
def test_folding_is_done_once(text: str) -> None:
    assert fold(fold(text)) == fold(text) == fold(f" {text}\n")


def test_illegal_texts_name_themselves() -> None:
    game = Countdown()
    assert game.read_action((1, 0), "first", "take 1") == Parsed(1)
    assert game.read_action((1, 0), "first", "take 2") == Illegal("take 2")


def test_unlistable_actions_need_a_reading_of_their_own() -> None:
    class Unlisted(Dice):
        def legal_actions(self, state: Any, agent: str) -> Any:
            return None

    with pytest.raises(GameLawError, match="Unlisted: 'read_action' must be overridden"):
        Unlisted().read_action(("choose", 1), "player", "roll")


def test_what_a_game_need_not_say_has_a_default() -> None:
    game = Drift()
    assert game.name == "Drift"
    assert game.rules_text("player") == ""
    assert game.noop_action(3, "player") is None
    assert game.information_key(3, "player") == game.observation_text(3, "player") == "at 3"
    assert game.instance_key(3) != game.instance_key(4)
    assert game.scripted_player() is None
    assert (game.discount, game.facts.zero_sum) == (1.0, None)
