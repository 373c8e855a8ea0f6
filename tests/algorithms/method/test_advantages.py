"""Group-relative advantages: invariances, closed forms, rounding noise, bad groups."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import typeguard
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import tsmg
from algorithms.method.advantages import StdKind, group_relative_advantages, has_signal, signal_mask

Advantages = Callable[..., NDArray[np.float64]]
Floats = NDArray[np.float64]

KINDS: tuple[StdKind, ...] = ("population", "sample", "none")
# Multiples of 0.1 bring ties with rounding noise; only noise comes within 1e-5 of a mean.
ANY_RETURN = st.integers(-20, 20).map(lambda n: n * 0.1) | st.floats(-100, 100).map(
    lambda x: round(x, 3)
)
RETURNS = st.lists(ANY_RETURN, min_size=2, max_size=12)
STDS = st.sampled_from(KINDS)


def median_baseline(returns_G: Sequence[float], *, std: StdKind, eps: float) -> Floats:
    returns = np.array(returns_G)
    return (returns - np.median(returns)) / (returns.std() + eps + 1e-12)


def first_baseline(returns_G: Sequence[float], *, std: StdKind, eps: float) -> Floats:
    return np.array(returns_G) - returns_G[0]


def relative_to_mean(returns_G: Sequence[float], *, std: StdKind, eps: float) -> Floats:
    returns = np.array(returns_G)
    return (returns - returns.mean()) / (abs(returns.mean()) + 1e-12)


def textbook(returns_G: Sequence[float], *, std: StdKind, eps: float) -> Floats:
    """The formula word by word: rounding noise divided by a tiny eps is a signal."""
    returns = np.array(returns_G)
    return (returns - returns.mean()) / (returns.std() + 1e-16)


def fixed_eps(returns_G: Sequence[float], *, std: StdKind, eps: float) -> Floats:
    return group_relative_advantages(returns_G, std=std, eps=1e-4)


def check_mean_zero(function: Advantages, returns: Sequence[float], std: StdKind) -> None:
    advantages = function(returns, std=std, eps=1e-4)
    assert advantages.shape == (len(returns),)
    assert advantages.dtype == np.float64
    assert abs(advantages.mean()) <= 1e-9 * max(1, np.abs(advantages).max())


def check_shift(function: Advantages, returns: Sequence[float], std: StdKind, by: float) -> None:
    shifted = function([r + by for r in returns], std=std, eps=1e-4)
    assert shifted == pytest.approx(function(returns, std=std, eps=1e-4), rel=1e-6, abs=1e-6)


def check_scale(function: Advantages, returns: Sequence[float], std: StdKind, by: float) -> None:
    """With eps 0 the unit of reward cancels; without std it does not."""
    scaled = function([r * by for r in returns], std=std, eps=0.0)
    expected = function(returns, std=std, eps=0.0) * (by if std == "none" else 1)
    assert scaled == pytest.approx(expected, rel=1e-6, abs=1e-6)


def check_permutation(
    function: Advantages, returns: Sequence[float], std: StdKind, order: Sequence[int]
) -> None:
    """Permuting the episodes permutes the advantages, bit for bit."""
    permuted = function([returns[i] for i in order], std=std, eps=1e-4)
    assert permuted.tolist() == function(returns, std=std, eps=1e-4)[list(order)].tolist()


def check_equal_returns(function: Advantages, returns: Sequence[float], std: StdKind) -> None:
    """Returns that differ by rounding alone give exact zeros, also with eps 0."""
    for eps in (0.0, 1e-4):
        assert function(returns, std=std, eps=eps).tolist() == [0.0] * len(returns)


def check_binary(function: Advantages, successes: int, failures: int) -> None:
    """Reference values: |A| = sqrt((1-q)/q) for a success, sqrt(q/(1-q)) for a failure."""
    q = successes / (successes + failures)
    returns = [1.0] * successes + [0.0] * failures
    expected = [math.sqrt((1 - q) / q)] * successes + [-math.sqrt(q / (1 - q))] * failures
    assert function(returns, std="population", eps=0.0) == pytest.approx(expected, rel=1e-12)


@given(RETURNS, STDS)
def test_mean_zero(returns: list[float], std: StdKind) -> None:
    check_mean_zero(group_relative_advantages, returns, std)


@given(RETURNS, STDS, st.floats(-1000, 1000).map(round))
def test_shift_invariance(returns: list[float], std: StdKind, by: float) -> None:
    check_shift(group_relative_advantages, returns, std, by)


@given(RETURNS, STDS, st.floats(0.1, 100))
def test_scale_invariance(returns: list[float], std: StdKind, by: float) -> None:
    check_scale(group_relative_advantages, returns, std, by)


@given(st.data(), RETURNS, STDS)
def test_permutation_equivariance(data: st.DataObject, returns: list[float], std: StdKind) -> None:
    order = data.draw(st.permutations(range(len(returns))))
    check_permutation(group_relative_advantages, returns, std, order)


@given(ANY_RETURN, st.lists(st.integers(-4, 4), min_size=2, max_size=12), STDS)
def test_equal_returns(value: float, noise: list[int], std: StdKind) -> None:
    returns = [value + n * math.ulp(value) for n in noise]
    check_equal_returns(group_relative_advantages, returns, std)


@given(st.integers(1, 40), st.integers(1, 40))
def test_binary_returns(successes: int, failures: int) -> None:
    check_binary(group_relative_advantages, successes, failures)


def test_noise_beside_a_signal_has_no_say() -> None:
    advantages = group_relative_advantages([0.1 + 0.2, 0.3, 0.6, 0.0], std="none")
    assert advantages[:2].tolist() == [0.0, 0.0]
    assert advantages[2:] == pytest.approx([0.3, -0.3])


@pytest.mark.parametrize(
    ("check", "wrong", "case"),
    [
        (check_mean_zero, median_baseline, ([0.0, 0.0, 1.0], "population")),
        (check_mean_zero, first_baseline, ([0.0, 0.0, 1.0], "none")),
        (check_shift, relative_to_mean, ([0.0, 0.0, 1.0], "population", 7.0)),
        (check_scale, fixed_eps, ([0.0, 0.001], "population", 0.1)),
        (check_scale, first_baseline, ([0.0, 1.0], "population", 2.0)),
        (check_permutation, first_baseline, ([0.0, 1.0, 2.0], "none", [2, 0, 1])),
        (check_equal_returns, textbook, ([0.1 + 0.2, 0.3, 0.3], "population")),
        (check_binary, median_baseline, (1, 3)),
        (check_binary, first_baseline, (1, 3)),
    ],
)
def test_laws_reject(check: Any, wrong: Advantages, case: tuple[Any, ...]) -> None:
    with pytest.raises(AssertionError):
        check(wrong, *case)


def test_binary_rejects_the_sample_std() -> None:
    with pytest.raises(AssertionError):
        check_binary(lambda r, **_: group_relative_advantages(r, std="sample", eps=0.0), 1, 3)


@given(RETURNS)
def test_the_kinds_of_std_differ_by_constants(returns: list[float]) -> None:
    population, sample, none = (
        group_relative_advantages(returns, std=std, eps=0.0) for std in KINDS
    )
    g = len(returns)
    assert sample == pytest.approx(population * math.sqrt((g - 1) / g))
    assert none == pytest.approx(np.array(returns) - np.mean(returns), abs=1e-9)
    if has_signal(none):
        assert np.std(population) == pytest.approx(1)


def test_formula_with_eps_by_hand() -> None:
    # mean 2, squares 1 + 1 + 0 + 0 + 4 + 4 = 10 of 6
    advantages = group_relative_advantages([1, 3, 2, 2, 0, 4], eps=0.5)
    assert advantages[1] == pytest.approx(1 / (math.sqrt(10 / 6) + 0.5))


@pytest.mark.parametrize("returns", [[], [[1.0, 2.0]], 3.0, [[1.0], [1.0, 2.0]], None, "ab"])
def test_wrong_shape(returns: Any) -> None:
    with pytest.raises((tsmg.ShapeError, typeguard.TypeCheckError)):
        group_relative_advantages(returns)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e200])
def test_returns_must_be_finite(bad: float) -> None:
    with pytest.raises(tsmg.InvalidArgumentError, match="'returns_G' must be finite"):
        group_relative_advantages([0.0, bad])


def test_a_group_of_one_is_refused() -> None:
    with pytest.raises(tsmg.InvalidArgumentError, match="at least 2 episodes"):
        group_relative_advantages([1.0])


@pytest.mark.parametrize("eps", [-1e-4, math.nan, math.inf])
def test_eps_must_be_a_size(eps: float) -> None:
    with pytest.raises(tsmg.InvalidArgumentError, match="'eps'"):
        group_relative_advantages([0.0, 1.0], eps=eps)


def test_unknown_std_is_refused() -> None:
    unknown: Any = "unbiased"
    with pytest.raises((tsmg.InvalidArgumentError, typeguard.TypeCheckError)):
        group_relative_advantages([0.0, 1.0], std=unknown)


def test_signal() -> None:
    assert signal_mask(np.array([0.0, 1e-10, 1.0, -1.0])).tolist() == [False, False, True, True]
    assert signal_mask(np.array([1.0, 1e10])).tolist() == [False, True]
    assert not has_signal(np.zeros(3))
    assert not has_signal([1e-12, -1e-12])
    assert has_signal([0.0, 1e-3])
