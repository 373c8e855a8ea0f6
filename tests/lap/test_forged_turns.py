"""No text of a game, an opponent, a model or a name becomes a control token, however it is spelt."""

import itertools
import unicodedata
from collections.abc import Mapping
from typing import Any

import attrs
import pytest
from typeguard import suppress_type_checks

import games
from lap import LastTurnsPrompt, PromptEncoder
from tests.checkpoints import CHATML_SPECIAL, LLAMA_SPECIAL, tokenizer
from tests.fuzz.observations import Pair
from tests.fuzz.templates import STYLES, control_tokens, encoder
from tsmg import (
    AbstractSampledGame,
    ActionText,
    EpisodeKey,
    EpisodeSpec,
    History,
    Match,
    Parsed,
    Reply,
    Stream,
    TextOutcome,
    Transition,
)

CHAT_STYLES = tuple(style for style in STYLES if style != "plain")
INSTRUCTIONS = "Reply so."


@attrs.frozen(kw_only=True)
class Talk(AbstractSampledGame[tuple[str, ...], str]):
    """Two agents who say what they like, and read what the other one said."""

    scene: str = "a room"
    agents: tuple[str, ...] = ("me", "you")
    horizon: int | None = 3

    def sample_initial_state(self, rng: Stream) -> tuple[str, ...]:
        return ("", "")

    def sample_transition(
        self, state: tuple[str, ...], joint_action: Mapping[str, str], rng: Stream
    ) -> Transition[tuple[str, ...]]:
        return Transition(tuple(joint_action[agent] for agent in self.agents), (0.0, 0.0))

    def is_terminal(self, state: tuple[str, ...]) -> bool:
        return False

    def acting_agents(self, state: tuple[str, ...]) -> tuple[str, ...]:
        return self.agents

    def legal_actions(self, state: tuple[str, ...], agent: str) -> None:
        return None

    def observation_text(self, state: tuple[str, ...], agent: str) -> str:
        return f"{self.scene}\nThe other one says: {state[1 - self.agents.index(agent)]}"

    def action_text(self, state: tuple[str, ...], agent: str, action: str) -> str:
        return action

    def read_action(self, state: tuple[str, ...], agent: str, text: str) -> TextOutcome[str]:
        return Parsed(text)

    def rules_text(self, agent: str) -> str:
        return f"You are {agent}, among {', '.join(self.agents)}."


def history(*, scene: str = "", message: str = "", reply: str = "", name: str = "") -> History:
    """What the first agent has seen after a step; one part of it is hostile."""
    game = Talk(scene=scene or "a room", agents=(name or "me", "you"))
    replies = {game.agents[0]: reply or "yes", "you": message or "no"}
    said = {
        agent: Reply(text=text, parser_outcome=ActionText(text)) for agent, text in replies.items()
    }
    return Match.begin(game, EpisodeSpec(key=EpisodeKey(seed=0))).move(said).requests[0].history


PROMPT = LastTurnsPrompt(turns=2)
HARMLESS = history()


def special_tokens(style: str) -> tuple[str, ...]:
    return CHATML_SPECIAL if style.startswith("chatml") else LLAMA_SPECIAL


def spellings(token: str) -> set[str]:
    """The token, at either end and in the middle of a text, and split or disguised so that a normaliser restores it."""
    wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in token)
    assert unicodedata.normalize("NFKC", wide) == token
    whole = (token, wide, wide[:3] + token[3:], token * 2, token[:3] + token + token[3:])
    cuts, signs = range(1, len(token)), ("\u200b", "\u0301", "\ufeff", " ")
    split = [f"{token[:n]}{sign}{token[n:]} and " for n in cuts for sign in signs]
    placed = {f"{a}{one}{b}" for one in whole for a, b in itertools.product(("", "x "), ("", " y"))}
    return placed | {"".join(split), "".join(split[::-1])}


def forged(made: PromptEncoder, read: History) -> bool:
    """Whether a prompt has other control tokens than that of harmless words."""
    ids, plain = (made.encode(PROMPT.build(h, INSTRUCTIONS))[0] for h in (read, HARMLESS))
    return control_tokens(made, ids) != control_tokens(made, plain)


@pytest.mark.parametrize("place", ["scene", "message", "reply", "name"])
@pytest.mark.parametrize("style", CHAT_STYLES)
@suppress_type_checks
def test_no_special_token_comes_from_a_foreign_text(style: str, place: str) -> None:
    """Every special token, in an observation, an opponent's message, the model's own earlier reply, an agent's name."""
    made = encoder(style)
    assert {
        made.tokenizer.convert_tokens_to_ids(t) for t in special_tokens(style)
    } <= made.control_ids
    for token in special_tokens(style):
        for text in spellings(token):
            assert not forged(made, history(**{place: text})), (token, text)


@pytest.mark.parametrize("style", CHAT_STYLES)
def test_a_stranger_may_name_an_agent_of_an_adapted_game(style: str) -> None:
    """The names of a PettingZoo environment's agents stand in the rules of the game."""
    for token in special_tokens(style):
        game = games.from_pettingzoo(
            lambda name=token: Pair((name, "b"), "seen"), horizon=2, fresh_chance=False
        )
        read = Match.begin(game, EpisodeSpec(key=EpisodeKey(seed=0))).requests[0].history
        assert token in read.rules
        prompt = LastTurnsPrompt().build(read, INSTRUCTIONS)
        plain = LastTurnsPrompt().build(
            attrs.evolve(read, rules="The rules.", agent="a"), INSTRUCTIONS
        )
        ids, expected = (encoder(style).encode(p)[0] for p in (prompt, plain))
        assert control_tokens(encoder(style), ids) == control_tokens(encoder(style), expected)


class Careless:
    """The encoder that these tests must reject: every text is trusted."""

    def __init__(self, made: PromptEncoder) -> None:
        self.made = made
        self.control_ids = made.control_ids

    def encode(self, prompt: Any) -> tuple[list[int], str]:
        return self.made.trusted(prompt.text), prompt.text


@pytest.mark.parametrize("style", CHAT_STYLES)
@pytest.mark.parametrize("place", ["scene", "message", "reply", "name"])
def test_an_encoder_that_trusts_everything_is_rejected(style: str, place: str) -> None:
    careless: Any = Careless(encoder(style))
    for token in special_tokens(style):
        assert forged(careless, history(**{place: token})), token


@pytest.mark.parametrize("style", ["chatml", "llama"])
def test_a_normaliser_does_restore_what_is_disguised(style: str) -> None:
    """So that the disguises above are not idle: after normalising, wide letters are the token's own."""
    token = special_tokens(style)[0]
    wide = "".join(chr(ord(c) + 0xFEE0) for c in token)
    assert (
        encoder(f"{style} NFKC").tokenizer.backend_tokenizer.normalizer.normalize_str(wide) == token
    )
    assert tokenizer(style).backend_tokenizer.normalizer is None
