"""Mastermind: find a hidden code from the number of right symbols in each guess.

Source: D. E. Knuth, "The computer as Master Mind", 1976-77 (the five-guess strategy).
"""

import functools
import itertools
import operator
from collections import Counter
from collections.abc import Hashable, Mapping
from typing import NamedTuple, final

import attrs

from games.arguments import integer_field, probability_field
from games.attention import attentive
from games.wording import counted
from tsmg import (
    AbstractExplicitGame,
    AbstractPlayer,
    Distribution,
    Ending,
    Episode,
    Facts,
    Finite,
    Illegal,
    InvalidArgumentError,
    Parsed,
    TextOutcome,
    Transition,
    deterministic,
    fold,
    uniform,
)
from tsmg.invalid import AbstractInvalidRule, StandStill

_AGENT = "player"

Code = str
"""A row of digits, from 1 to the number of colours."""


class Answer(NamedTuple):
    """How many symbols of a guess are right and in their place, and how many more are right but elsewhere."""

    placed: int
    misplaced: int


# one object for each answer, since a table of a game holds millions
_shared = functools.cache(Answer)


@functools.lru_cache(maxsize=8192)
def answers(guess: Code, every: tuple[Code, ...]) -> tuple[Answer, ...]:
    """The answer to a guess for each of these codes.

    Example:
      >>> answers("1213", ("1122", "1213"))
      (Answer(placed=1, misplaced=2), Answer(placed=4, misplaced=0))
    """
    counts = Counter(guess)
    return tuple(
        _shared(placed, sum(min(code.count(symbol), n) for symbol, n in counts.items()) - placed)
        for code in every
        for placed in (sum(map(operator.eq, code, guess)),)
    )


@functools.lru_cache(maxsize=16)
def codes(pegs: int, colours: int) -> tuple[Code, ...]:
    """Every code, in order."""
    symbols = [str(n + 1) for n in range(colours)]
    return tuple("".join(row) for row in itertools.product(symbols, repeat=pegs))


@final
@attrs.frozen(cache_hash=True)
class Board:
    """The hidden code, and the guesses so far."""

    code: Code
    guesses: tuple[Code, ...] = ()

    @property
    def told(self) -> tuple[tuple[Code, Answer], ...]:
        """Each guess, and its answer."""
        return tuple((guess, answers(guess, (self.code,))[0]) for guess in self.guesses)


@functools.lru_cache(maxsize=4096)
def possible(pegs: int, colours: int, told: tuple[tuple[Code, Answer], ...]) -> tuple[Code, ...]:
    """The codes that agree with every answer."""
    if not told:
        return codes(pegs, colours)
    before, (guess, answer) = possible(pegs, colours, told[:-1]), told[-1]
    pairs = zip(before, answers(guess, before), strict=True)
    return tuple(code for code, theirs in pairs if theirs == answer)


@final
@attrs.frozen(kw_only=True)
class Mastermind(AbstractExplicitGame[Board, Code]):
    """Find a hidden code; the answer to each guess says how many of its symbols are right.

    Agents: one, ``player``.
    States: the code and the guesses so far.
    Actions: every code.
    Observation text: every guess with its answer, and how many guesses are left; at the end the code.
    Action text: the code's digits.
    Rewards: 1 once the code is guessed, else 0.
    Invalid rule: the player stands still (a step passes).
    Exact values: Knuth's player (``games.mastermind.MinimaxPlayer``) finds each of the 1,296 codes of the usual game in
    five guesses or fewer, in 5801/1296 = 4.476 on average.

    Attributes:
      pegs: the length of the code.
      colours: the number of symbols, at most 9.
      guesses: how many guesses there are.

    Source: D. E. Knuth, 1976-77.
    """

    pegs: int = integer_field("pegs", default=4, least=1)
    colours: int = integer_field("colours", default=6, least=2)
    guesses: int = integer_field("guesses", default=10, least=1)
    invalid_rule: AbstractInvalidRule = attrs.field(factory=StandStill)
    horizon: int = attrs.field(init=False)
    facts: Facts = attrs.field(init=False)

    agents = (_AGENT,)

    @horizon.default
    def _all_guesses(self) -> int:
        return self.guesses

    @facts.default
    def _declare(self) -> Facts:
        return Facts(
            perfect_information=False,
            text_separates_states=False,
            stochastic_start=True,
            stochastic_transitions=False,
            return_bounds=(0.0, 1.0),
            longest_game=self.guesses,
        )

    def __attrs_post_init__(self) -> None:
        if self.colours > 9 or self.colours**self.pegs > 10_000:
            raise InvalidArgumentError(
                "'colours' must be at most 9, with at most 10,000 codes "
                f"(got {self.colours} colours on {self.pegs} pegs)"
            )

    def initial_state_dist(self) -> Distribution[Board]:
        return _starts(self.pegs, self.colours)

    def is_terminal(self, state: Board) -> bool:
        return state.code in state.guesses[-1:] or len(state.guesses) >= self.guesses

    def acting_agents(self, state: Board) -> tuple[str, ...]:
        return () if self.is_terminal(state) else self.agents

    def legal_actions(self, state: Board, agent: str) -> tuple[Code, ...]:
        return () if self.is_terminal(state) else codes(self.pegs, self.colours)

    def transition_dist(
        self, state: Board, joint_action: Mapping[str, Code]
    ) -> Distribution[Transition[Board]]:
        guess = joint_action[_AGENT]
        after = Board(state.code, (*state.guesses, guess))
        return deterministic(Transition(after, (float(guess == state.code),)))

    def observation_text(self, state: Board, agent: str) -> str:
        lines = [
            f"Guess {n}: {guess}, {told.placed} in place, {told.misplaced} misplaced."
            for n, (guess, told) in enumerate(state.told, start=1)
        ]
        if self.is_terminal(state):
            lines.append(f"The code was {state.code}.")
        else:
            lines.append(f"Now: guess {len(state.guesses) + 1} of {self.guesses}.")
        return "\n".join(lines)

    def information_key(self, state: Board, agent: str) -> Hashable:
        return state.told, state.code if self.is_terminal(state) else None

    def action_text(self, state: Board, agent: str, action: Code) -> str:
        return action

    def read_action(self, state: Board, agent: str, text: str) -> TextOutcome[Code]:
        guess = fold(text)
        is_legal = not self.is_terminal(state) and guess in _known(self.pegs, self.colours)
        return Parsed(guess) if is_legal else Illegal(text)

    def rules_text(self, agent: str) -> str:
        return (
            f"Find a hidden code of {self.pegs} digits, each from 1 to {self.colours}; digits may repeat. After each "
            "guess you read how many of its digits are in place (the right digit in the right place) and how many "
            "more are misplaced (in the code, but in another place). You have "
            f"{counted(self.guesses, 'guess', 'guesses')}. A move is a code such as: "
            f"{codes(self.pegs, self.colours)[1]}"
        )

    def success(self, episode: Episode[Board], agent: str) -> bool:
        """The code was guessed."""
        board = episode.final_state.state
        return episode.ending is Ending.TERMINATED and board.code in board.guesses

    def scripted_player(self) -> "ConsistentPlayer":
        return ConsistentPlayer(pegs=self.pegs, colours=self.colours)


@functools.lru_cache(maxsize=16)
def _starts(pegs: int, colours: int) -> Distribution[Board]:
    return uniform(Board(code) for code in codes(pegs, colours))


@functools.lru_cache(maxsize=16)
def _known(pegs: int, colours: int) -> frozenset[Code]:
    return frozenset(codes(pegs, colours))


@final
@attrs.frozen(kw_only=True)
class ConsistentPlayer(AbstractPlayer[Board, Code]):
    """Sometimes guesses a code that agrees with every answer; otherwise any code.

    Attributes:
      pegs, colours: those of the game.
      attention: probability that it looks, in [0, 1].
    """

    pegs: int
    colours: int
    attention: float = probability_field("attention", default=0.6)

    def action_dist(self, state: Board, agent: str) -> Distribution[Code]:
        consistent = uniform(possible(self.pegs, self.colours, state.told))
        every = uniform(codes(self.pegs, self.colours))
        return attentive(self.attention, consistent, every)


@final
@attrs.frozen(kw_only=True)
class MinimaxPlayer(AbstractPlayer[Board, Code]):
    """Makes the guess that leaves the fewest codes in the worst case; among equals, one that may be right.

    Attributes:
      pegs, colours: those of the game.

    Source: D. E. Knuth, 1976-77.
    """

    pegs: int
    colours: int

    def action_dist(self, state: Board, agent: str) -> Distribution[Code]:
        return Finite({_minimax(self.pegs, self.colours, state.told): 1})


@functools.lru_cache(maxsize=4096)
def _minimax(pegs: int, colours: int, told: tuple[tuple[Code, Answer], ...]) -> Code:
    left = possible(pegs, colours, told)
    if len(left) <= 2:
        return left[0]
    every, candidates = codes(pegs, colours), frozenset(left)
    places = [place for place, code in enumerate(every) if code in candidates]

    def worst(guess: Code) -> tuple[int, bool, Code]:
        told_by = answers(guess, every)
        largest = max(Counter(told_by[place] for place in places).values())
        return largest, guess not in candidates, guess

    return min(every, key=worst)
