"""Wordle: find a hidden word from the right letters in each guess.

Source: J. Wardle, "Wordle", 2021 (rules); D. Bertsimas, A. Paskov, "An exact and interpretable solution to Wordle",
2022 (exact search).
"""

import functools
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import final

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
_LISTED = 100  # the rules name the words where there are at most so many
_MOST_WORDS = 5000

Words = tuple[str, ...]

_LIST = (
    "angle beach bread brick chair chest cloud crane dance dream eagle earth field flame flute "
    "frost ghost glass grape green heart honey house knife lemon light maple metal mouse music "
    "night ocean onion paper peach pearl piano pilot plant queen quiet radio river robin royal "
    "sheep shell smile snake spoon stone storm sugar table tiger toast train truth uncle voice "
    "water wheel white young"
)
WORDS: Words = tuple(_LIST.split())
"""The words of the usual game."""


@functools.lru_cache(maxsize=262_144)
def marks(guess: str, word: str) -> str:
    """The marks of a guess: ``G`` for a letter in its place, ``Y`` for one that is elsewhere, ``.`` for the others.

    Each letter of the word marks one letter of the guess: first those in place, then from the left.

    Args:
      guess: the guess.
      word: the hidden word, of the same length.

    Example:
      >>> marks("eagle", "green"), marks("sheep", "green"), marks("water", "crane")
      ('Y.Y.Y', '..GG.', '.Y.YY')
    """
    left = Counter(b for a, b in zip(guess, word, strict=True) if a != b)
    found = []
    for a, b in zip(guess, word, strict=True):
        if a == b:
            found.append("G")
        elif left[a] > 0:
            left[a] -= 1
            found.append("Y")
        else:
            found.append(".")
    return "".join(found)


@final
@attrs.frozen(cache_hash=True)
class Puzzle:
    """The hidden word, and the guesses so far."""

    word: str
    guesses: Words = ()

    @property
    def told(self) -> tuple[tuple[str, str], ...]:
        """Each guess, and its marks."""
        return tuple((guess, marks(guess, self.word)) for guess in self.guesses)


@functools.lru_cache(maxsize=16_384)
def possible(words: Words, told: tuple[tuple[str, str], ...]) -> Words:
    """The words that agree with the marks of every guess."""
    if not told:
        return words
    guess, shown = told[-1]
    return tuple(word for word in possible(words, told[:-1]) if marks(guess, word) == shown)


def _to_words(value: object) -> Words:
    given = (value,) if isinstance(value, str) or not isinstance(value, Iterable) else value
    words = tuple(given)
    fits = all(isinstance(w, str) and w.isalpha() and w == fold(w) for w in words)
    if not words or not fits or len({len(word) for word in words}) > 1:
        raise InvalidArgumentError(
            f"'words' must be at least one word of lower-case letters, all of one length (got {value!r})"
        )
    if len(set(words)) < len(words) or len(words) > _MOST_WORDS:
        raise InvalidArgumentError(
            f"'words' must be at most {_MOST_WORDS} words without repetition (got {len(words)} words)"
        )
    return words


@final
@attrs.frozen(kw_only=True)
class Wordle(AbstractExplicitGame[Puzzle, str]):
    """Find a hidden word; the marks of each guess say which of its letters are right.

    Agents: one, ``player``.
    States: the word and the guesses so far.
    Actions: every word of the list.
    Observation text: every guess with its marks, and how many guesses are left; at the end the word.
    Action text: the word.
    Rewards: 1 once the word is guessed, else 0.
    Invalid rule: the player stands still (a step passes).
    Metrics: guesses, if the word was found.
    Exact values: ``games.wordle.fewest_guesses``; a best player finds a word of the usual list of 64 in 152/64 = 2.375
    guesses on average, and so does ``games.wordle.EntropyPlayer``.

    Attributes:
      words: the list: any word may be hidden and may be guessed.
      guesses: how many guesses there are.

    Source: J. Wardle, 2021.
    """

    words: Words = attrs.field(default=WORDS, converter=_to_words)
    guesses: int = integer_field("guesses", default=6, least=1)
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
            perfect_information=len(self.words) == 1,
            text_separates_states=len(self.words) == 1,
            stochastic_start=len(self.words) > 1,
            stochastic_transitions=False,
            return_bounds=(0.0, 1.0),
            longest_game=self.guesses,
        )

    def initial_state_dist(self) -> Distribution[Puzzle]:
        return _starts(self.words)

    def is_terminal(self, state: Puzzle) -> bool:
        return state.word in state.guesses[-1:] or len(state.guesses) >= self.guesses

    def acting_agents(self, state: Puzzle) -> tuple[str, ...]:
        return () if self.is_terminal(state) else self.agents

    def legal_actions(self, state: Puzzle, agent: str) -> Words:
        return () if self.is_terminal(state) else self.words

    def transition_dist(
        self, state: Puzzle, joint_action: Mapping[str, str]
    ) -> Distribution[Transition[Puzzle]]:
        guess = joint_action[_AGENT]
        after = Puzzle(state.word, (*state.guesses, guess))
        return deterministic(Transition(after, (float(guess == state.word),)))

    def observation_text(self, state: Puzzle, agent: str) -> str:
        lines = [f"Guess {n}: {guess} {shown}" for n, (guess, shown) in enumerate(state.told, 1)]
        if self.is_terminal(state):
            lines.append(f"The word was {state.word}.")
        else:
            lines.append(f"Now: guess {len(state.guesses) + 1} of {self.guesses}.")
        return "\n".join(lines)

    def information_key(self, state: Puzzle, agent: str) -> Hashable:
        return state.told, state.word if self.is_terminal(state) else None

    def action_text(self, state: Puzzle, agent: str, action: str) -> str:
        return action

    def read_action(self, state: Puzzle, agent: str, text: str) -> TextOutcome[str]:
        guess = fold(text)
        is_legal = not self.is_terminal(state) and guess in _known(self.words)
        return Parsed(guess) if is_legal else Illegal(text)

    def rules_text(self, agent: str) -> str:
        if len(self.words) <= _LISTED:
            listed = f"The words are: {', '.join(self.words)}."
        else:
            listed = f"It is one of {len(self.words)} words, such as {self.words[0]}."
        return (
            f"Find a hidden word of {len(self.words[0])} letters. After each guess you read a mark for each of its "
            "letters. G: the letter is in its place. Y: the letter is in the word, but in another place. A dot: the "
            "letter is not in the word, or not as often as in the guess. You have "
            f"{counted(self.guesses, 'guess', 'guesses')}. A move is a word. {listed}"
        )

    def success(self, episode: Episode[Puzzle], agent: str) -> bool:
        """The word was guessed."""
        puzzle = episode.final_state.state
        return episode.ending is Ending.TERMINATED and puzzle.word in puzzle.guesses

    def metrics(self, episode: Episode[Puzzle], agent: str) -> Mapping[str, float]:
        """How many ``guesses`` it took, if the word was found."""
        guesses = episode.final_state.state.guesses
        return {"guesses": float(len(guesses))} if self.success(episode, agent) else {}

    def scripted_player(self) -> "AgreeingPlayer":
        return AgreeingPlayer(words=self.words)


@functools.lru_cache(maxsize=16)
def _starts(words: Words) -> Distribution[Puzzle]:
    return uniform(Puzzle(word) for word in words)


@functools.lru_cache(maxsize=16)
def _known(words: Words) -> frozenset[str]:
    return frozenset(words)


def _parts(guess: str, left: Sequence[str]) -> list[Words]:
    """The words that are left, apart by what the guess would be told."""
    parts: dict[str, list[str]] = defaultdict(list)
    for word in left:
        parts[marks(guess, word)].append(word)
    return [tuple(part) for part in parts.values()]


def fewest_guesses(words: Words) -> Fraction:
    """The mean number of guesses of an optimal player without a limit, by a search over all that it can know.

    Args:
      words: a short list: it takes a second for 64 words.

    Source: D. Bertsimas, A. Paskov, 2022.

    Example:
      >>> fewest_guesses(("night", "light", "eight"))  # none tells the other two apart
      Fraction(2, 1)
    """
    return Fraction(_fewest(words, words), len(words))


@functools.lru_cache(maxsize=65_536)
def _fewest(words: Words, left: Words) -> int:
    """The least sum over the words that are left of the guesses that they take."""
    if len(left) <= 2:
        return 2 * len(left) - 1
    best = len(left) * len(left)  # more than one after another takes
    for guess in sorted(words, key=lambda guess: (-len(_parts(guess, left)), guess not in left)):
        parts = [part for part in _parts(guess, left) if part != (guess,)]
        if len(parts) == 1 and len(parts[0]) == len(left):
            break  # no guess tells anything
        # each other word takes a guess after this one, and of each part but one word takes two or more
        bound = len(left) + sum(2 * len(part) - 1 for part in parts)
        if bound >= best:
            continue
        best = min(best, len(left) + sum(_fewest(words, part) for part in parts))
    return best


@final
@attrs.frozen(kw_only=True)
class AgreeingPlayer(AbstractPlayer[Puzzle, str]):
    """Sometimes guesses a word that agrees with all marks; otherwise any word.

    Attributes:
      words: those of the game.
      attention: probability that it looks, in [0, 1].
    """

    words: Words
    attention: float = probability_field("attention", default=0.6)

    def action_dist(self, state: Puzzle, agent: str) -> Distribution[str]:
        agreeing = uniform(possible(self.words, state.told))
        return attentive(self.attention, agreeing, uniform(self.words))


@final
@attrs.frozen(kw_only=True)
class EntropyPlayer(AbstractPlayer[Puzzle, str]):
    """Guesses the word whose marks have the greatest entropy; among equal ones, one that may be right.

    Attributes:
      words: those of the game.
    """

    words: Words

    def action_dist(self, state: Puzzle, agent: str) -> Distribution[str]:
        return Finite({_most_telling(self.words, possible(self.words, state.told)): 1})


@functools.lru_cache(maxsize=65_536)
def _most_telling(words: Words, left: Words) -> str:
    if len(left) <= 2:
        return left[0]

    def lack(guess: str) -> tuple[float, bool, str]:
        sizes = [len(part) for part in _parts(guess, left)]
        return round(sum(size * math.log2(size) for size in sizes), 9), guess not in left, guess

    return min(words, key=lack)
