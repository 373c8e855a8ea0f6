"""An answerer of yes-no questions in free text: things, their properties, and the words that ask for each property."""

import functools
import re
from collections import Counter
from collections.abc import Iterable
from typing import final

import attrs

from games.dialogue.moves import Move
from tsmg import InvalidArgumentError, fold

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_DENIALS = frozenset((
    "not", "no", "never", "neither", "nor", "without", "or", "non", "none", "nothing", "nobody",
    "cannot", "unable", "lack", "lacks", "lacking", "hardly", "barely", "scarcely", "rarely",
    "seldom", "except", "fail", "fails", "aint", "arent", "cant", "couldnt", "didnt", "doesnt",
    "dont", "hadnt", "hasnt", "havent", "isnt", "mustnt", "neednt", "shouldnt", "wasnt", "werent",
    "wont", "wouldnt",
))  # fmt: skip
"""A question with one of these may mean the reverse."""
_QUANTITIES = frozenset((
    "zero", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "hundred", "more", "less", "fewer",
))  # fmt: skip
"""A question with one of these, or with digits, means the property only if its own question has it, too."""


@final
@attrs.frozen(cache_hash=True)
class Property:
    """What some things have and others have not.

    Attributes:
      question: a question that asks for the property.
      words: the words that a question about it has; one of them suffices.
      things: the things that have it.
    """

    question: str
    words: frozenset[str]
    things: frozenset[str]


def _property(question: str, words: str, things: str) -> Property:
    return Property(question, frozenset(words.split()), frozenset(things.split()))


THINGS = (
    "airplane", "apple", "bee", "bicycle", "boat", "book", "bread", "car", "carrot", "chair",
    "cow", "dog", "eagle", "hammer", "lamp", "oak", "rose", "shark", "spoon", "television",
)  # fmt: skip
"""The things of the usual table."""

PROPERTIES = (
    _property(
        "Is it alive?", "alive living lives live", "apple bee carrot cow dog eagle oak rose shark"
    ),
    _property("Is it an animal?", "animal animals creature", "bee cow dog eagle shark"),
    _property("Do people eat it?", "eat eats eaten edible food", "apple bread carrot cow shark"),
    _property(
        "Is it larger than a person?",
        "large larger big bigger huge",
        "airplane boat car cow oak shark",
    ),
    _property("Can it fly?", "fly flies flying wings", "airplane bee eagle"),
    _property("Is it found in water?", "water sea swim swims", "boat shark"),
    _property("Is it made of metal?", "metal", "airplane bicycle car hammer spoon"),
    _property(
        "Is it found in a house?",
        "house home indoors",
        "apple book bread chair dog hammer lamp spoon television",
    ),
    _property(
        "Do people travel with it?",
        "travel transport vehicle ride",
        "airplane bicycle boat car",
    ),
    _property("Does it need electricity?", "electric electricity power", "lamp television"),
    _property("Does it grow from the ground?", "grow grows plant", "apple carrot oak rose"),
    _property("Does it have an engine?", "engine motor", "airplane car"),
    _property("Is it red?", "red", "apple rose"),
    _property("Is it used to build things?", "build building", "hammer"),
    _property("Does it have four legs?", "legs", "chair cow dog"),
    _property("Is it an insect?", "insect insects", "bee"),
    _property("Does it show pictures?", "picture pictures", "book television"),
)
"""The properties of the usual table."""


@final
@attrs.frozen(cache_hash=True)
class Table:
    """Which thing has which property.

    Attributes:
      things: the names of the things, without blanks and colons; at least two.
      properties: the properties, no word of which belongs to two of them; their words are single and in small letters.

    Raises:
      InvalidArgumentError: there are fewer than two things, a property has a thing that is none of them, a word is no
        single word or belongs to two properties, or a property's own question is not understood.
    """

    things: tuple[str, ...] = attrs.field(default=THINGS, converter=tuple)
    properties: tuple[Property, ...] = attrs.field(default=PROPERTIES, converter=tuple)

    def __attrs_post_init__(self) -> None:
        if len(self.things) < 2:
            raise InvalidArgumentError(
                f"'things' must be at least two, since otherwise there is nothing to ask (got {self.things!r})"
            )
        owners = Counter(word for one in self.properties for word in one.words)
        for word, count in owners.items():
            if count > 1 or _words(word) != [word]:
                raise InvalidArgumentError(
                    f"'words' of properties must be single words in small letters, each of one property (got {word!r})"
                )
        for one in self.properties:
            if unknown := one.things.difference(self.things):
                raise InvalidArgumentError(
                    f"'things' of {one.question!r} must be things of the table (got {sorted(unknown)!r})"
                )
            if self.read(one.question) != one:
                raise InvalidArgumentError(
                    f"'properties' must be asked for by one of their words, without denials (got {one.question!r})"
                )

    def read(self, question: str) -> Property | None:
        """The property that a question is about, or ``None`` if it is not understood.

        Example:
          >>> table = Table()
          >>> table.read("so... is this thing a LIVING one?").question
          'Is it alive?'
          >>> [table.read(text) for text in ("Is it nice?", "Is it not alive?", "Is it a big animal?")]
          [None, None, None]
          >>> table.read("Does it have two legs?") is table.read("Is it unable to fly?") is None
          True
        """
        return _read(self.properties, question)

    def possible(self, log: Iterable[tuple[Move, bool | None]]) -> tuple[str, ...]:
        """The things that agree with the answers.

        Args:
          log: each move, and whether its answer was yes; ``None`` for no understood question.
        """
        left = self.things
        for move, answer in log:
            one = self.read(move.message) if move.verb == "ask" else None
            if move.verb == "guess":
                left = tuple(thing for thing in left if (thing == move.chosen[0]) == answer)
            elif one is not None:
                left = tuple(thing for thing in left if (thing in one.things) == answer)
        return left


def _words(text: str) -> list[str]:
    return _WORD.findall(fold(text).replace("\u2019", "'"))


def _quantities(words: Iterable[str]) -> set[str]:
    return {word for word in words if word in _QUANTITIES or any(map(str.isdigit, word))}


@functools.lru_cache(maxsize=4096)
def _read(properties: tuple[Property, ...], question: str) -> Property | None:
    words = set(_words(question))
    if words & _DENIALS or any(word.endswith("n't") for word in words):
        return None
    found = [one for one in properties if words & one.words]
    if len(found) != 1 or not _quantities(words) <= set(_words(found[0].question)):
        return None
    return found[0]
