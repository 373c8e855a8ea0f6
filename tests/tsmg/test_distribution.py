"""Distributions: one distribution, read by sampling, by enumeration and by expectation."""

import itertools
import math
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import agrees, draws_of, examples, finite_laws
from tsmg import (
    Distribution,
    Finite,
    InvalidArgumentError,
    NotEnumerableError,
    Sampleable,
    Stream,
    deterministic,
    distribution,
    mixture,
    product,
    uniform,
)

HALF, THIRD, QUARTER = Fraction(1, 2), Fraction(1, 3), Fraction(1, 4)


class Grid(Stream):
    """A stream whose draws are given."""

    def __init__(self, *draws: float) -> None:
        super().__init__("grid")
        self._draws = iter(draws)

    def random(self) -> float:
        return next(self._draws)


# ---- sampling --------------------------------------------------------------------------------


def frequencies_are_probabilities(
    sample: Callable[[Stream], int], dist: Finite[int], cells: int = 24
) -> bool:
    """Each value takes as many cells of a grid over [0, 1) as its probability says."""
    counts = Counter(sample(Grid((i + 0.5) / cells)) for i in range(cells))
    return {v: Fraction(n, cells) for v, n in counts.items()} == dist.pmf()


@examples(0.5)
@given(st.lists(st.integers(1, 9), max_size=4), st.permutations(range(5)))
def test_frequencies_equal_probabilities(cuts: list[int], order: list[int]) -> None:
    ends = [0, *itertools.takewhile(lambda end: end < 24, itertools.accumulate(cuts)), 24]
    weights = [b - a for a, b in itertools.pairwise(ends)]
    weights = [weights[i] for i in order if i < len(weights)] + [0] * (5 - len(weights))
    dist = Finite({i: Fraction(weight, 24) for i, weight in enumerate(weights)})
    assert frequencies_are_probabilities(dist.sample, dist)


def test_a_sampler_that_ignores_weights_is_noticed() -> None:
    dist = Finite({0: THIRD, 1: 2 * THIRD})
    assert not frequencies_are_probabilities(lambda rng: int(2 * rng.random()), dist)


@pytest.mark.parametrize("draw", [0.0, 0.25, 0.5, 1 - 2.0**-53])
def test_impossible_values_are_never_sampled(draw: float) -> None:
    tenth = 0.1  # ten of them add up to less than 1 - 2^-53
    for dist in (
        Finite({"no": 0, "a": HALF, "nor": 0, "b": HALF, "never": 0}),
        Finite([*((i, tenth) for i in range(10)), ("never", 0.0)]),
    ):
        assert dist.prob(dist.sample(Grid(draw))) > 0


LAZY: dict[str, Distribution[Any]] = {
    "map": uniform(range(5)).map(lambda v: v % 2),
    "then": uniform((1, 2, 3)).bind(lambda n: uniform(range(n))),
    "product": product([Finite({0: QUARTER, 1: 3 * QUARTER}), uniform("ab"), deterministic("c")]),
    "given": product([uniform(range(3))] * 2).condition(lambda pair: sum(pair) > 2),
    "mixture": mixture([(THIRD, uniform((0, 1))), (2 * THIRD, deterministic(1))]),
    "floats": Finite({0: 0.1, 1: 0.2, 2: 0.7}).bind(lambda v: Finite([(v, 0.5), (0, 0.5)])),
}


@pytest.mark.parametrize("name", LAZY)
def test_lazy_laws_are_sampled_as_enumerated(name: str) -> None:
    dist = LAZY[name]
    assert sum(dist.pmf().values()) == pytest.approx(1, abs=1e-12)
    assert agrees(draws_of(dist.sample, 800, name), dist.pmf())


def test_a_condition_that_is_not_sampled_is_noticed() -> None:
    free = uniform(range(3)).map(lambda v: max(v, 1))
    assert not agrees(draws_of(free.sample, 800), uniform(range(3)).condition(bool).pmf())


def test_a_draw_is_a_function_of_the_stream() -> None:
    assert draws_of(LAZY["given"].sample, 50) == draws_of(LAZY["given"].sample, 50)
    assert draws_of(LAZY["given"].sample, 50) != draws_of(LAZY["given"].sample, 50, "other")


# ---- distributions ------------------------------------------------------------------------------------


def then_is_total_probability(
    dist: Distribution[int], first: Finite[int], second: list[Finite[int]]
) -> bool:
    """P(y) = sum over x of P(x) P(y | x)."""
    brute = {y: sum(p * second[x].prob(y) for x, p in first.enumerate()) for y in range(4)}
    return dict(dist.pmf()) == {y: p for y, p in brute.items() if p}


@examples(0.5)
@given(finite_laws(), st.lists(finite_laws(), min_size=4, max_size=4))
def test_then_and_mixture(first: Finite[int], second: list[Finite[int]]) -> None:
    assert then_is_total_probability(first.bind(lambda x: second[x]), first, second)
    weighted = [(p, second[x]) for x, p in first.enumerate()]
    assert then_is_total_probability(mixture(weighted), first, second)


def test_a_mixture_without_weights_is_noticed() -> None:
    first, second = Finite({0: QUARTER, 1: 3 * QUARTER}), [deterministic(0), deterministic(1)]
    unweighted = uniform((0, 1)).bind(lambda x: second[x])
    assert not then_is_total_probability(unweighted, first, second)


def product_is_independent(dist: Distribution[tuple[int, ...]], factors: list[Finite[int]]) -> bool:
    """P(x_1, ..., x_n) = P(x_1) ... P(x_n)."""
    brute: dict[tuple[int, ...], Any] = {(): Fraction(1)}
    for factor in factors:
        brute = {(*v, x): p * q for v, p in brute.items() for x, q in factor.enumerate() if q}
    return dict(dist.pmf()) == brute


@examples(0.5)
@given(st.lists(finite_laws(values=3), max_size=4))
def test_product(factors: list[Finite[int]]) -> None:
    assert product_is_independent(product(factors), factors)


def test_a_product_that_shares_its_draw_is_noticed() -> None:
    coin = Finite({0: QUARTER, 1: 3 * QUARTER})
    assert not product_is_independent(coin.map(lambda x: (x, x)), [coin, coin])


def given_is_conditional(dist: Distribution[int], free: Finite[int], event: set[int]) -> bool:
    """P(x | E) = P(x) / P(E) for x in E, else 0."""
    total = sum(free.prob(x) for x in event)
    return dict(dist.pmf()) == {x: free.prob(x) / total for x in event if free.prob(x)}


@examples(0.5)
@given(finite_laws(), st.sets(st.integers(0, 3)))
def test_given(free: Finite[int], event: set[int]) -> None:
    conditioned = free.condition(lambda x: x in event)
    if any(free.prob(x) for x in event):
        assert given_is_conditional(conditioned, free, event)
    else:
        with pytest.raises(InvalidArgumentError, match="'condition' must hold for some value"):
            conditioned.pmf()


def test_a_condition_that_moves_the_rest_is_noticed() -> None:
    free = Finite({0: QUARTER, 1: QUARTER, 2: HALF})
    assert not given_is_conditional(free.map(lambda x: max(x, 1)), free, {1, 2})


@examples(0.5)
@given(finite_laws())
def test_map_merges_and_expect_sums(dist: Finite[int]) -> None:
    halves = dist.map(lambda x: x // 2)
    assert halves.prob(0) == dist.prob(0) + dist.prob(1)
    assert dist.expectation(lambda x: x * x) == float(sum(p * x * x for x, p in dist.enumerate()))
    assert dist.support() == tuple(x for x, p in dist.enumerate() if p)
    assert dist.prob(99) == 0


@examples(0.5)
@given(finite_laws())
def test_equal_laws_are_equal_whatever_their_order(dist: Finite[int]) -> None:
    shuffled = Finite([*reversed(list(dist.enumerate())), (99, 0)])
    assert shuffled == dist
    assert hash(shuffled) == hash(dist)
    assert Finite({0: HALF, 1: HALF}) != Finite({0: QUARTER, 1: 3 * QUARTER})


# ---- lazy and only sampleable ----------------------------------------------------------------


class Unlisted(Distribution[int]):
    """A finite distribution whose enumeration is an error of the test."""

    is_finite = True

    def sample(self, rng: Stream) -> int:
        return rng.integer(4)

    def enumerate(self, limit: int = 0) -> Any:
        raise AssertionError("enumerated")


def samples_without_enumeration(derive: Callable[[Distribution[int]], Distribution[Any]]) -> bool:
    """A derived distribution can be sampled though its origin must not be enumerated."""
    try:
        derive(Unlisted()).sample(Stream(0))
    except AssertionError:
        return False
    return True


def test_lazy_distributions_sample_without_enumeration() -> None:
    assert samples_without_enumeration(lambda dist: dist.map(str))
    assert samples_without_enumeration(lambda dist: dist.bind(lambda x: dist))
    assert samples_without_enumeration(lambda dist: dist.condition(lambda x: x > 0))
    assert samples_without_enumeration(lambda dist: product([dist, dist]))
    assert samples_without_enumeration(lambda dist: mixture([(HALF, dist), (HALF, dist)]))


def test_an_eager_distribution_is_noticed() -> None:
    assert not samples_without_enumeration(lambda dist: Finite(dist.pmf()))


def test_a_huge_distribution_is_sampled_but_not_listed() -> None:
    coins = product([uniform("ht")] * 60)
    some = coins.condition(lambda faces: faces[0] == "h")
    assert some.sample(Stream(0))[0] == "h"
    assert len(list(itertools.islice(coins.enumerate(), 3))) == 3
    for dist in (coins, some, some.map(len), some.bind(deterministic)):
        with pytest.raises(NotEnumerableError, match="more than 1000 outcomes"):
            dist.pmf(limit=1000)


def test_the_limit_counts_what_a_condition_excludes() -> None:
    dist = uniform(range(10)).condition(lambda x: x == 3)
    assert dist.pmf(limit=10) == {3: 1}
    with pytest.raises(NotEnumerableError, match="more than 9 outcomes"):
        dist.pmf(limit=9)


GAUSS = Sampleable(lambda rng: rng.random(), "a continuous distribution")


@pytest.mark.parametrize(
    "dist",
    [
        GAUSS,
        GAUSS.map(str),
        GAUSS.condition(lambda x: x > 0.5),
        GAUSS.bind(lambda x: deterministic(0.0)),
        uniform((1, 2)).bind(lambda x: GAUSS),
        product([deterministic(0.0), GAUSS]),
        mixture([(HALF, deterministic(0.0)), (HALF, GAUSS)]),
    ],
)
def test_what_can_only_be_sampled_refuses_enumeration(dist: Distribution[Any]) -> None:
    assert not dist.is_finite
    dist.sample(Stream(0))
    for read in (
        dist.pmf,
        dist.support,
        lambda: dist.prob(0.0),
        lambda: dist.expectation(lambda x: 0.0),
    ):
        with pytest.raises(NotEnumerableError, match=r"Sampleable\(a continuous distribution\)"):
            read()


@pytest.mark.parametrize("name", LAZY)
def test_finite_distributions_say_so(name: str) -> None:
    assert LAZY[name].is_finite


def test_exact_probabilities_may_have_any_denominator() -> None:
    tiny = Fraction(1, 10**400)
    assert Finite({0: tiny, 1: 1 - tiny}).prob(0) == tiny


def test_what_cannot_happen_is_not_expected() -> None:
    assert Finite({0: 0, 2: 1}).expectation(math.log2) == 1.0


# ---- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcomes", "message"),
    [
        ({}, "at least one value"),
        ({0: HALF}, r"must sum to 1 \(got 1/2"),
        ({0: HALF, 1: HALF + Fraction(1, 10**30)}, "must sum to 1"),
        ({0: 0.5, 1: 0.5 + 1e-6}, "must sum to 1"),
        ({0: 2, 1: -1}, "at least 0"),
        ({0: float("nan"), 1: 1.0}, "at least 0"),
        ({0: 0.5, 1: float("nan")}, "at least 0"),
        ({0: float("inf")}, "finite probabilities of at least 0"),
    ],
)
def test_wrong_probabilities_are_refused(outcomes: dict[int, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        Finite(outcomes)


def test_float_rounding_is_allowed() -> None:
    assert Finite(dict.fromkeys(range(10), 0.1)).prob(3) == 0.1


def test_an_impossible_condition_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribution, "_REJECTION_LIMIT", 50)
    with pytest.raises(InvalidArgumentError, match="none in 50 draws"):
        uniform((1, 2)).condition(lambda x: x > 2).sample(Stream(0))
    with pytest.raises(InvalidArgumentError, match="'values' must contain at least one"):
        uniform(())
