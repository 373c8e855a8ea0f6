"""Twenty questions: find out which thing was chosen, by questions in free text that a fixed rule answers.

The answerer knows a table of things and properties. It looks in a question for the words of a property. A question is
not understood if it has the words of no property or of several, if it denies, or if it has another number than the
property. Any text therefore has a known answer.
"""

import functools
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import final

import attrs

from games.arguments import integer_field, number_field, probability_field
from games.attention import attentive
from games.dialogue.answerer import Property, Table
from games.dialogue.base import AbstractDialogue
from games.dialogue.moves import Form, Move, Slot, Speech, grammar_text
from games.dialogue.transcript import Notice, Talk
from tsmg import (
    AbstractPlayer,
    Distribution,
    Ending,
    Episode,
    Facts,
    InvalidArgumentError,
    deterministic,
    uniform,
)
from tsmg.invalid import AbstractInvalidRule, StandStill

_AGENT = "player"
UNCLEAR = "I do not understand the question."
"""The answer to a question that is not understood."""

Thought = Talk[str]
"""The chosen thing, and what was said."""


@final
@attrs.frozen(kw_only=True)
class TwentyQuestions(AbstractDialogue[str]):
    """Find out which thing was chosen, by questions in free text that are answered with yes or no.

    Agents: one, ``player``.
    States: the thing, and what was asked and guessed.
    Actions: to ask anything, or to guess one of the things.
    Observation text: every question in quotation marks with its answer, and every guess; at the end the thing.
    Action text: ``ask: MESSAGE`` or ``guess THING``.
    Rewards: 1 for the right guess; any other move costs a little.
    Invalid rule: the player stands still (a step passes), at a penalty of 0.1.
    Exact values: the best expected return is 423/500 = 0.846, that of ``games.dialogue.twenty_questions.BestAsker``
    (by dynamic programming over the things that are still possible, ``games.dialogue.twenty_questions.best_total``).

    Attributes:
      table: the things and their properties; can be set only from Python.
      turns: the number of questions and guesses.
      cost: what a question or a wrong guess costs; at least 0.
      message_limit: the greatest number of characters of a question; the table's own questions must keep to it.
    """

    table: Table = attrs.field(factory=Table)
    turns: int = integer_field("turns", default=20, least=1)
    cost: float = number_field("cost", default=0.04)
    message_limit: int = integer_field("message_limit", default=80, least=1)
    invalid_rule: AbstractInvalidRule = StandStill(penalty=0.1, with_feedback=True)
    horizon: int = attrs.field(init=False)
    facts: Facts = attrs.field(init=False)
    every_form: tuple[Form, ...] = attrs.field(init=False, repr=False)

    agents = (_AGENT,)

    @horizon.default
    def _all_turns(self) -> int:
        return self.turns

    @facts.default
    def _declare(self) -> Facts:
        return Facts(
            perfect_information=False,
            text_separates_states=False,
            stochastic_start=True,
            stochastic_transitions=False,
            return_bounds=(-self.cost * self.turns, 1.0),
            longest_game=self.turns,
        )

    @every_form.default
    def _forms(self) -> tuple[Form, ...]:
        return (
            Form("ask", speech=Speech.REQUIRED),
            Form("guess", (Slot("THING", self.table.things),)),
        )

    def __attrs_post_init__(self) -> None:
        if self.cost < 0:
            raise InvalidArgumentError(f"'cost' must be at least 0 (got {self.cost})")
        longest = max((len(one.question) for one in self.table.properties), default=0)
        if self.message_limit < longest:
            raise InvalidArgumentError(
                f"'message_limit' must be at least {longest}, the length of the longest question of the table "
                f"(got {self.message_limit})"
            )

    def world_dist(self) -> Distribution[str]:
        return uniform(self.table.things)

    def forms(self, state: Thought, agent: str) -> tuple[Form, ...]:
        return self.every_form

    def is_terminal(self, state: Thought) -> bool:
        return self._is_found(state) or len(state.utterances) >= self.turns

    def _is_found(self, state: Thought) -> bool:
        said = state.utterances
        return bool(said) and said[-1].move == Move("guess", (state.world,))

    def follow(self, said: Thought) -> Distribution[Thought]:
        move = said.utterances[-1].move
        answer = _TOLD[move.verb, self.answer(said.world, move)]
        return deterministic(Talk(said.world, (*said.log, Notice(answer))))

    def answer(self, thing: str, move: Move) -> bool | None:
        """The answer to a question or guess, given the chosen thing; ``None`` if it is not understood.

        Args:
          thing: the chosen thing.
          move: what is asked or guessed.
        """
        if move.verb == "guess":
            return move.chosen[0] == thing
        one = self.table.read(move.message)
        return None if one is None else thing in one.things

    def rewards(self, after: Thought) -> tuple[float, ...]:
        return (1.0 if self._is_found(after) else -self.cost,)

    def head_text(self, state: Thought, agent: str) -> str:
        return ""

    def foot_text(self, state: Thought, agent: str) -> str:
        if self.is_terminal(state):
            return f"The thing was: {state.world}."
        return f"Now: move {len(state.utterances) + 1} of {self.turns}."

    def rules_text(self, agent: str) -> str:
        return (
            "One of the things listed below was chosen, all equally likely. Find out which: ask about one property at "
            "a time, in a question that can be answered with yes or no, or guess the thing. A question about several "
            "properties, or one with a word such as not, is not understood. The right guess ends the game and gets 1; "
            f"every other move costs {self.cost:g}. You have {self.turns} moves. "
            f"{grammar_text(self.every_form, self.message_limit)}"
        )

    def told(self, state: Thought) -> Iterator[tuple[Move, bool | None]]:
        """Every move so far, and whether its answer was yes; ``None`` if a question was not understood."""
        return ((said.move, self.answer(state.world, said.move)) for said in state.utterances)

    def success(self, episode: Episode[Thought], agent: str) -> bool:
        """The thing was guessed."""
        final = episode.final_state.state
        return episode.ending is Ending.TERMINATED and self._is_found(final)

    def metrics(self, episode: Episode[Thought], agent: str) -> Mapping[str, float]:
        """How many questions were asked, and how many of them were not understood."""
        answers = [
            told for move, told in self.told(episode.final_state.state) if move.verb == "ask"
        ]
        return {"questions": float(len(answers)), "unclear": float(answers.count(None))}

    def scripted_player(self) -> "Asker":
        return Asker(game=self)


_TOLD: Mapping[tuple[str, bool | None], str] = {
    ("ask", True): "Yes.", ("ask", False): "No.", ("ask", None): UNCLEAR,
    ("guess", True): "Right.", ("guess", False): "Wrong.",
}  # fmt: skip


@final
@attrs.frozen(kw_only=True)
class Asker(AbstractPlayer[Thought, Move]):
    """Sometimes asks for a property that halves what is possible, otherwise for any property; guesses what is left.

    Attributes:
      game: the game.
      attention: probability that it looks for the best question, in [0, 1].
    """

    game: TwentyQuestions
    attention: float = probability_field("attention", default=0.5)

    def action_dist(self, state: Thought, agent: str) -> Distribution[Move]:
        table = self.game.table
        left = table.possible(self.game.told(state))
        unevenness = {
            one: abs(2 * sum(thing in one.things for thing in left) - len(left))
            for one in table.properties
        }
        splitting = [one for one, uneven in unevenness.items() if uneven < len(left)]
        if len(left) <= 2 or not splitting:
            return uniform(Move("guess", (thing,)) for thing in left)
        least = min(unevenness.values())
        best = uniform(asked(one) for one in splitting if unevenness[one] == least)
        return attentive(self.attention, best, uniform(map(asked, table.properties)))


@functools.lru_cache(maxsize=256)
def asked(one: Property) -> Move:
    """The move that asks for a property."""
    return Move("ask", message=one.question)


# ---- the best player


@functools.lru_cache(maxsize=256)
def greatest_total(things: int, turns: int, cost: Fraction) -> Fraction:
    """The greatest total return over some things, each meant once, if any split of them can be asked for.

    Args:
      things: the number of things that are possible.
      turns: the moves that are left.
      cost: the cost of a question or wrong guess.

    Example:
      >>> greatest_total(5, 20, Fraction(1, 25))
      Fraction(116, 25)
    """
    if not things or not turns:
        return Fraction(0)
    guess = 1 - (things - 1) * cost + greatest_total(things - 1, turns - 1, cost)
    asks = (
        -things * cost
        + greatest_total(n, turns - 1, cost)
        + greatest_total(things - n, turns - 1, cost)
        for n in range(1, things // 2 + 1)
    )
    return max((guess, *asks))


@functools.lru_cache(maxsize=65_536)
def best_total(
    table: Table, left: tuple[str, ...], turns: int, cost: Fraction
) -> tuple[Fraction, Move]:
    """The total return over all things that are possible, each meant once, under best play, and the best move.

    A branch that cannot beat the best one so far is cut: its bound is that of properties that split things at will.

    Args:
      table: the things and properties.
      left: the things that are possible, in order; at least one.
      turns: the moves that are left; at least 1.
      cost: the cost of a question or wrong guess.

    Example:
      >>> table = Table()
      >>> total, move = best_total(table, table.things, 20, Fraction(1, 25))
      >>> total / len(table.things), move.message
      (Fraction(423, 500), 'Is it alive?')
    """
    best, chosen = Fraction(-1_000_000), Move("guess", left[:1])
    for move, parts in _splits(table, left):
        guessed = move.verb == "guess"
        here = guessed - cost * (len(left) - guessed)
        bounds = [greatest_total(len(part), turns - 1, cost) for part in parts]
        if here + sum(bounds) <= best:
            continue
        total = here + sum(
            best_total(table, part, turns - 1, cost)[0] for part in parts if part and turns > 1
        )
        if total > best:
            best, chosen = total, move
    return best, chosen


def _splits(
    table: Table, left: tuple[str, ...]
) -> Iterator[tuple[Move, tuple[tuple[str, ...], ...]]]:
    """Each move that tells something, with the things that are possible after each answer; even splits first."""
    parts = [
        (
            asked(one),
            (
                tuple(thing for thing in left if thing in one.things),
                tuple(thing for thing in left if thing not in one.things),
            ),
        )
        for one in table.properties
    ]
    yield from sorted(
        (split for split in parts if all(split[1])), key=lambda split: max(map(len, split[1]))
    )
    for n, thing in enumerate(left):
        yield Move("guess", (thing,)), (left[:n] + left[n + 1 :],)


@final
@attrs.frozen(kw_only=True)
class BestAsker(AbstractPlayer[Thought, Move]):
    """Makes a move that is best in expectation.

    Attributes:
      game: the game.
    """

    game: TwentyQuestions

    def action_dist(self, state: Thought, agent: str) -> Distribution[Move]:
        left = self.game.table.possible(self.game.told(state))
        turns = self.game.turns - len(state.utterances)
        return deterministic(
            best_total(self.game.table, left, turns, Fraction(str(self.game.cost)))[1]
        )
