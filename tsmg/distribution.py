"""Probability distributions with one definition and several uses.

A game states each of its distributions once, as a ``Distribution``. Sampling (for play), enumeration (for
proofs) and expectation (for exact values) are derived from that one definition. Probabilities are
``Fraction`` where the distribution is rational, so that proofs are exact, and ``float`` elsewhere.

``Finite`` lists its outcomes and their probabilities. ``bind``, ``product`` and ``condition`` build *lazy*
distributions: they are sampled piece by piece and enumerated on demand, so that a distribution over millions of maps
costs nothing until it is enumerated. ``Sampleable`` can only be sampled (a Gaussian).
"""

import abc
import bisect
import functools
import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Generic, TypeVar, final

from tsmg.errors import InvalidArgumentError, NotEnumerableError
from tsmg.randomness import Stream

T = TypeVar("T", bound=Hashable)
U = TypeVar("U", bound=Hashable)

Probability = Fraction | float | int

ENUMERATION_LIMIT = 1_000_000
_REJECTION_LIMIT = 100_000
_TOLERANCE = 1e-9


class Distribution(abc.ABC, Generic[T]):
    """A distribution over hashable values. Subclasses say how to sample and, if finite, how to enumerate."""

    @property
    @abc.abstractmethod
    def is_finite(self) -> bool:
        """Whether the distribution can be enumerated (for ``bind``: the first one and all that its kernel returns)."""

    @abc.abstractmethod
    def sample(self, rng: Stream) -> T:
        """One draw, a function of the stream alone."""

    @abc.abstractmethod
    def enumerate(self, limit: int = ENUMERATION_LIMIT) -> Iterator[tuple[T, Probability]]:
        """The outcomes as (value, probability) pairs, lazily; a value may occur more than once.

        Args:
          limit: the number of outcomes that a conditioned distribution may visit before it yields its first.

        Raises:
          NotEnumerableError: the distribution can only be sampled, or a condition visits too many outcomes.
        """

    def pmf(self, limit: int = ENUMERATION_LIMIT) -> Mapping[T, Probability]:
        """The probability mass function: value to probability, without impossible values.

        Args:
          limit: the number of outcomes that may be visited, including those that a condition excludes.

        Raises:
          NotEnumerableError: the distribution can only be sampled, or has more than ``limit`` outcomes.
        """
        merged: dict[T, Probability] = {}
        for value, probability in _at_most(limit, self.enumerate(limit)):
            if probability:
                merged[value] = merged.get(value, 0) + probability
        return merged

    def support(self) -> tuple[T, ...]:
        """The possible values, each once."""
        return tuple(self.pmf())

    def prob(self, value: T) -> Probability:
        """The probability of one value (0 outside the support)."""
        return self.pmf().get(value, 0)

    def expectation(self, function: Callable[[T], float]) -> float:
        """The expectation of ``function(value)``, by enumeration.

        Raises:
          NotEnumerableError: the distribution can only be sampled, or has more than a million outcomes.
        """
        pairs = _at_most(ENUMERATION_LIMIT, self.enumerate())
        return float(sum(p * function(value) for value, p in pairs if p))

    def map(self, function: Callable[[T], U]) -> "Distribution[U]":
        """The distribution of ``function(value)``."""
        return _Map(self, function)

    def bind(self, kernel: Callable[[T], "Distribution[U]"]) -> "Distribution[U]":
        """The distribution of a second draw, from ``kernel(first draw)`` (lazy)."""
        return _Bind(self, kernel)

    def condition(self, predicate: Callable[[T], bool]) -> "Distribution[T]":
        """The distribution given that ``predicate`` holds (lazy; sampled by rejection)."""
        return _Condition(self, predicate)


@final
class Finite(Distribution[T]):
    """A distribution that lists its outcomes.

    Args:
      outcomes: value to probability, or (value, probability) pairs. Probabilities are at least 0 and sum to 1: exactly
        when they are all rational, to within 1e-9 otherwise.
      trusted: whether the probabilities are right by construction; they are then not checked.

    Raises:
      InvalidArgumentError: no outcome, a negative or non-finite probability, or a wrong sum.

    Example:
      >>> from fractions import Fraction
      >>> Finite({"heads": Fraction(1, 2), "tails": Fraction(1, 2)}).prob("heads")
      Fraction(1, 2)
    """

    def __init__(
        self,
        outcomes: Mapping[T, Probability] | Iterable[tuple[T, Probability]],
        *,
        trusted: bool = False,
    ) -> None:
        pairs = tuple(outcomes.items() if isinstance(outcomes, Mapping) else outcomes)
        self._values: tuple[T, ...] = tuple(value for value, _ in pairs)
        self._probabilities: tuple[Probability, ...] = tuple(p for _, p in pairs)
        if trusted:
            return
        probabilities = self._probabilities
        if not probabilities:
            raise InvalidArgumentError("'outcomes' must contain at least one value (got none)")
        weights, whole = _weights(probabilities)
        if not (min(weights) >= 0 and all(isinstance(w, int) or math.isfinite(w) for w in weights)):
            raise InvalidArgumentError(
                f"'outcomes' must have finite probabilities of at least 0 (got {probabilities})"
            )
        total = sum(weights)
        if abs(total - whole) > (_TOLERANCE if isinstance(total, float) else 0):
            raise InvalidArgumentError(
                f"'outcomes' must sum to 1 (got {sum(probabilities)}: {probabilities})"
            )

    def __repr__(self) -> str:
        pairs = ", ".join(f"{v!r}: {p}" for v, p in self.enumerate())
        return f"Finite({{{pairs}}})"

    def __eq__(self, other: object) -> bool:
        """Whether every value has the same probability, in whatever order."""
        return isinstance(other, Finite) and self.pmf() == other.pmf()

    def __hash__(self) -> int:
        return hash(frozenset(self.pmf().items()))

    @property
    def is_finite(self) -> bool:
        return True

    @functools.cached_property
    def _cumulative(self) -> tuple[float, ...]:
        weights, whole = _weights(self._probabilities)
        return tuple(total / whole for total in itertools.accumulate(weights))

    def sample(self, rng: Stream) -> T:
        if len(self._values) == 1:
            return self._values[0]
        index = bisect.bisect_right(self._cumulative, rng.random())
        while index >= len(self._values) or not self._probabilities[index]:
            index -= 1  # the cumulative sum ended a rounding below 1
        return self._values[index]

    def enumerate(self, limit: int = ENUMERATION_LIMIT) -> Iterator[tuple[T, Probability]]:
        return zip(self._values, self._probabilities, strict=True)


@final
class Sampleable(Distribution[T]):
    """A distribution that can only be sampled.

    Args:
      sampler: function that draws one value from a stream.
      description: the distribution's name, for messages.
    """

    def __init__(self, sampler: Callable[[Stream], T], description: str) -> None:
        self._sampler = sampler
        self._description = description

    def __repr__(self) -> str:
        return f"Sampleable({self._description})"

    @property
    def is_finite(self) -> bool:
        return False

    def sample(self, rng: Stream) -> T:
        return self._sampler(rng)

    def enumerate(self, limit: int = ENUMERATION_LIMIT) -> Iterator[tuple[T, Probability]]:
        raise NotEnumerableError(f"{self!r} can be sampled, but not enumerated")


@final
class _Map(Distribution[U], Generic[T, U]):
    """The distribution of a function of a draw."""

    def __init__(self, dist: Distribution[T], function: Callable[[T], U]) -> None:
        self._dist = dist
        self._function = function

    @property
    def is_finite(self) -> bool:
        return self._dist.is_finite

    def sample(self, rng: Stream) -> U:
        return self._function(self._dist.sample(rng))

    def enumerate(self, limit: int = ENUMERATION_LIMIT) -> Iterator[tuple[U, Probability]]:
        function = self._function
        return ((function(value), p) for value, p in self._dist.enumerate(limit) if p)


@final
class _Bind(Distribution[U], Generic[T, U]):
    """The distribution of a draw from the distribution that a first draw selects."""

    def __init__(self, first: Distribution[T], kernel: Callable[[T], Distribution[U]]) -> None:
        self._first = first
        self._kernel = kernel

    @property
    def is_finite(self) -> bool:
        if not self._first.is_finite:
            return False
        return all(self._kernel(value).is_finite for value, p in self._first.enumerate() if p)

    def sample(self, rng: Stream) -> U:
        return self._kernel(self._first.sample(rng)).sample(rng)

    def enumerate(self, limit: int = ENUMERATION_LIMIT) -> Iterator[tuple[U, Probability]]:
        for value, probability in self._first.enumerate(limit):
            if probability:
                for outcome, conditional in self._kernel(value).enumerate(limit):
                    yield outcome, probability * conditional


@final
class _Product(Distribution[tuple[T, ...]], Generic[T]):
    """The distribution of independent draws, one from each factor."""

    def __init__(self, factors: Sequence[Distribution[T]]) -> None:
        self._factors = tuple(factors)

    @property
    def is_finite(self) -> bool:
        return all(factor.is_finite for factor in self._factors)

    def sample(self, rng: Stream) -> tuple[T, ...]:
        return tuple(factor.sample(rng) for factor in self._factors)

    def enumerate(
        self, limit: int = ENUMERATION_LIMIT
    ) -> Iterator[tuple[tuple[T, ...], Probability]]:
        tables = [list(factor.pmf(limit).items()) for factor in self._factors]
        parts = [_weights([p for _, p in table]) for table in tables]
        whole = math.prod(unit for _, unit in parts)
        values = itertools.product(*([value for value, _ in table] for table in tables))
        weights = itertools.product(*(weights for weights, _ in parts))
        return ((v, _ratio(math.prod(w), whole)) for v, w in zip(values, weights, strict=True))


@final
class _Condition(Distribution[T]):
    """A distribution conditioned on an event."""

    def __init__(self, dist: Distribution[T], predicate: Callable[[T], bool]) -> None:
        self._dist = dist
        self._predicate = predicate

    @property
    def is_finite(self) -> bool:
        return self._dist.is_finite

    def sample(self, rng: Stream) -> T:
        for _ in range(_REJECTION_LIMIT):
            value = self._dist.sample(rng)
            if self._predicate(value):
                return value
        raise InvalidArgumentError(
            f"'condition' must hold for some value (none in {_REJECTION_LIMIT} draws)"
        )

    def enumerate(self, limit: int = ENUMERATION_LIMIT) -> Iterator[tuple[T, Probability]]:
        kept = [
            (v, p)
            for v, p in _at_most(limit, self._dist.enumerate(limit))
            if p and self._predicate(v)
        ]
        if not kept:
            raise InvalidArgumentError("'condition' must hold for some value (it holds for none)")
        weights, _ = _weights([p for _, p in kept])
        total = sum(weights)
        for (value, _), weight in zip(kept, weights, strict=True):
            yield value, _ratio(weight, total)


def _at_most(
    limit: int, outcomes: Iterable[tuple[T, Probability]]
) -> Iterator[tuple[T, Probability]]:
    for count, outcome in enumerate(outcomes):
        if count >= limit:
            raise NotEnumerableError(f"the distribution has more than {limit} outcomes")
        yield outcome


def _weights(probabilities: Sequence[Probability]) -> tuple[Sequence[float], int]:
    """The probabilities in units of 1 / whole, and whole: integers where all are rational.

    Sums of integers over one denominator are exact, as sums of fractions are, and far cheaper.
    """
    rational = [p for p in probabilities if isinstance(p, int | Fraction)]
    if len(rational) < len(probabilities):
        return [float(p) for p in probabilities], 1
    whole = math.lcm(*(p.denominator for p in rational))
    return [p.numerator * (whole // p.denominator) for p in rational], whole


def _ratio(weight: float, whole: float) -> Probability:
    if isinstance(weight, int) and isinstance(whole, int):
        return Fraction(weight, whole)
    return weight / whole


@functools.lru_cache(maxsize=4096)
def _equal_probabilities(count: int) -> tuple[Fraction, ...]:
    return (Fraction(1, count),) * count


def _unchecked(values: tuple[T, ...], probabilities: tuple[Probability, ...]) -> Finite[T]:
    """Made without what ``Finite`` does for any pairs, since nearly every transition makes one."""
    made: Finite[T] = Finite.__new__(Finite)
    made._values, made._probabilities = values, probabilities  # noqa: SLF001
    return made


def deterministic(value: T) -> Finite[T]:
    """The distribution of a constant.

    Example:
      >>> deterministic("only").pmf()
      {'only': 1}
    """
    return _unchecked((value,), (1,))


def uniform(values: Iterable[T]) -> Finite[T]:
    """The uniform distribution over a non-empty collection, in exact fractions.

    Raises:
      InvalidArgumentError: the collection is empty.

    Example:
      >>> uniform("ab").prob("a")
      Fraction(1, 2)
    """
    items = tuple(values)
    if not items:
        raise InvalidArgumentError("'values' must contain at least one value (got none)")
    return _unchecked(items, _equal_probabilities(len(items)))


def product(factors: Sequence[Distribution[T]]) -> Distribution[tuple[T, ...]]:
    """The distribution of independent draws, one from each factor (lazy).

    Example:
      >>> product([uniform("ab"), uniform("ab")]).prob(("a", "b"))
      Fraction(1, 4)
    """
    return _Product(factors)


def mixture(weighted: Sequence[tuple[Probability, Distribution[T]]]) -> Distribution[T]:
    """The distribution of a value of a random component, which is drawn by its weight.

    Args:
      weighted: (weight, component) pairs; the weights are probabilities.

    Example:
      >>> float(mixture([(0.5, deterministic(1)), (0.5, uniform((1, 2)))]).prob(1))
      0.75
    """
    components = tuple(dist for _, dist in weighted)
    index = Finite(tuple((i, weight) for i, (weight, _) in enumerate(weighted)))
    return index.bind(lambda i: components[i])
