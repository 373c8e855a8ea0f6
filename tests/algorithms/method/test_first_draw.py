"""The probabilities of the first draw: AAW's laws, the floor, and the sizes of gradients that "optimal" draws by."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import tsmg
from algorithms.method.advantages import group_relative_advantages, has_signal
from algorithms.method.first_draw import (
    first_draw_probabilities,
    gradient_sizes,
    sampling_weights,
)
from algorithms.method.inclusion import inclusion_probabilities

Law = Callable[..., Sequence[float]]

# Multiples of 0.1 bring ties with rounding noise; only noise comes within 1e-5 of a mean.
ANY_RETURN = st.integers(-20, 20).map(lambda n: n * 0.1) | st.floats(-100, 100).map(
    lambda x: round(x, 3)
)
RETURNS = st.lists(ANY_RETURN, min_size=2, max_size=12)
ALPHAS = st.sampled_from([0.0, 0.5, 1.0, 2.0])


def aaw(returns: Sequence[float], *, alpha: float = 1.0) -> list[float]:
    """The library's p of each episode, from the returns."""
    return law_of(group_relative_advantages(returns, eps=0.0), alpha=alpha)


def law_of(advantages: Any, *, alpha: float = 1.0) -> list[float]:
    dist = sampling_weights(advantages, alpha=alpha)
    return [float(dist.prob(e)) for e in range(len(advantages))]


def by_return(returns: Sequence[float], *, alpha: float = 1.0) -> list[float]:
    return normalised([abs(r) ** alpha for r in returns])


def by_positive_part(returns: Sequence[float], *, alpha: float = 1.0) -> list[float]:
    return normalised([max(r - np.mean(returns), 0) ** alpha for r in returns])


def by_median(returns: Sequence[float], *, alpha: float = 1.0) -> list[float]:
    return normalised([abs(r - np.median(returns)) ** alpha for r in returns])


def by_rank(returns: Sequence[float], *, alpha: float = 1.0) -> list[float]:
    return normalised([(e + 1.0) ** alpha for e, _ in enumerate(returns)])


def by_exponential(returns: Sequence[float], *, alpha: float = 1.0) -> list[float]:
    return normalised([math.exp(abs(r - np.mean(returns))) for r in returns])


def unnormalised(returns: Sequence[float], *, alpha: float = 1.0) -> list[float]:
    return [abs(a) ** alpha for a in group_relative_advantages(returns)]


def squared(returns: Sequence[float], *, alpha: float = 1.0) -> list[float]:
    return aaw(returns, alpha=2 * alpha)


def normalised(weights: Sequence[float]) -> list[float]:
    return [w / sum(weights) for w in weights]


# ---- the distribution of one draw ---------------------------------------------------------------------


def check_distribution(dist: Law, returns: Sequence[float], alpha: float) -> None:
    p = dist(returns, alpha=alpha)
    assert len(p) == len(returns)
    assert all(x >= 0 for x in p)
    assert sum(p) == pytest.approx(1, abs=1e-12)


def check_moved(dist: Law, returns: Sequence[float], alpha: float, by: float, scale: float) -> None:
    """A change of the unit and of the zero of rewards changes nothing."""
    moved = dist([scale * r + by for r in returns], alpha=alpha)
    assert moved == pytest.approx(dist(returns, alpha=alpha), rel=1e-6, abs=1e-9)


def check_permuted(dist: Law, returns: Sequence[float], order: Sequence[int]) -> None:
    p = dist(returns)
    assert dist([returns[i] for i in order]) == pytest.approx([p[i] for i in order], abs=1e-12)


def check_half_above(dist: Law, returns: Sequence[float]) -> None:
    """Reference values: alpha 1, any unequal returns."""
    above = [a > 0 for a in group_relative_advantages(returns)]
    assert sum(itertools.compress(dist(returns), above)) == pytest.approx(0.5, abs=1e-9)


@given(RETURNS, ALPHAS)
def test_a_distribution(returns: list[float], alpha: float) -> None:
    assume(has_signal(group_relative_advantages(returns)))
    check_distribution(aaw, returns, alpha)


@given(RETURNS, ALPHAS, st.floats(-1000, 1000).map(round), st.floats(0.1, 100))
def test_shift_and_scale_invariance(
    returns: list[float], alpha: float, by: float, scale: float
) -> None:
    assume(has_signal(group_relative_advantages(returns)))
    check_moved(aaw, returns, alpha, by, scale)


@given(st.data(), RETURNS)
def test_permutation_equivariance(data: st.DataObject, returns: list[float]) -> None:
    assume(has_signal(group_relative_advantages(returns)))
    check_permuted(aaw, returns, data.draw(st.permutations(range(len(returns)))))


@given(RETURNS)
def test_first_draw_is_above_the_mean_half_of_the_time(returns: list[float]) -> None:
    assume(has_signal(group_relative_advantages(returns)))
    check_half_above(aaw, returns)


@pytest.mark.parametrize(
    ("check", "wrong", "case"),
    [
        (check_distribution, unnormalised, ([0.0, 0.0, 1.0], 1.0)),
        (check_moved, by_return, ([1.0, 2.0, 4.0], 1.0, 7.0, 1.0)),
        (check_moved, by_exponential, ([1.0, 2.0, 4.0], 1.0, 0.0, 2.0)),
        (check_permuted, by_rank, ([1.0, 2.0, 4.0], [2, 0, 1])),
        (check_half_above, by_median, ([0.0, 0.0, 1.0],)),
        (check_half_above, by_positive_part, ([0.0, 0.0, 1.0],)),
        (check_half_above, by_exponential, ([0.0, 0.0, 1.0],)),
        (check_half_above, squared, ([0.0, 0.0, 1.0],)),
    ],
)
def test_laws_reject(check: Any, wrong: Law, case: tuple[Any, ...]) -> None:
    with pytest.raises(AssertionError):
        check(wrong, *case)


@given(RETURNS, st.sampled_from([0.0, 1e-4, 1.0]))
def test_std_cancels(returns: list[float], eps: float) -> None:
    bare = group_relative_advantages(returns, std="none")
    assume(has_signal(bare))
    for std in ("population", "sample"):
        scaled = group_relative_advantages(returns, std=cast(Any, std), eps=eps)
        assert law_of(scaled) == pytest.approx(law_of(bare), rel=1e-9)


def test_weights_by_hand() -> None:
    assert law_of([3.0, -1.0, 0.0, 1e-12]) == [0.75, 0.25, 0.0, 0.0]
    assert law_of([3.0, -1.0, 0.0], alpha=2.0) == pytest.approx([0.9, 0.1, 0.0])
    assert law_of([3.0, -1.0, 0.0], alpha=0.0) == [0.5, 0.5, 0.0]


def test_a_signal_stays_drawable_whatever_alpha() -> None:
    p = law_of([1.0, -1.0, 0.001], alpha=1000.0)
    assert 0 < p[2] < 1e-99
    assert inclusion_probabilities(np.array(p), 3).tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("advantages", [[0.0, 0.0], [1e-12, -1e-12]])
def test_no_signal(advantages: list[float]) -> None:
    with pytest.raises(tsmg.NoSignalError, match="every advantage is 0"):
        sampling_weights(advantages)


@pytest.mark.parametrize("alpha", [-1.0, math.nan, math.inf])
def test_alpha_must_be_a_size(alpha: float) -> None:
    with pytest.raises(tsmg.InvalidArgumentError, match="'alpha'"):
        sampling_weights([1.0, -1.0], alpha=alpha)


@pytest.mark.parametrize("advantages", [[], np.array([[1.0, -1.0]]), np.array(1.0)])
def test_advantages_must_be_one_row(advantages: Any) -> None:
    with pytest.raises(tsmg.ShapeError, match="'advantages_G'"):
        sampling_weights(advantages)


def test_advantages_must_be_finite() -> None:
    with pytest.raises(tsmg.InvalidArgumentError, match="'advantages_G' must be finite"):
        sampling_weights([1.0, math.nan])


# ---- the floor -----------------------------------------------------------------------------------------


@given(RETURNS, ALPHAS, st.floats(0, 1))
def test_a_floor_mixes_with_the_uniform_draw(
    returns: list[float], alpha: float, floor: float
) -> None:
    advantages_G = group_relative_advantages(returns, eps=0.0)
    assume(has_signal(advantages_G))
    bare = np.array(law_of(advantages_G, alpha=alpha))
    dist = sampling_weights(advantages_G, alpha=alpha, floor=floor)
    found = [float(dist.prob(e)) for e in range(len(returns))]
    assert found == pytest.approx((bare + floor * (1 / len(returns) - bare)).tolist())
    assert sum(found) == pytest.approx(1) and min(found) >= floor / len(returns) - 1e-15


@pytest.mark.parametrize("kind", ["aaw", "optimal"])
def test_without_signal_a_floor_draws_evenly(kind: Any) -> None:
    assert first_draw_probabilities(np.zeros(3), kind) is None
    found = first_draw_probabilities(np.zeros(3), kind, floor=0.01)
    assert found is not None and found.tolist() == [1 / 3] * 3
    assert sampling_weights([0.0, 0.0], floor=1.0).prob(0) == 0.5


def test_a_uniform_draw_has_neither_alpha_nor_floor() -> None:
    values_G = np.array([3.0, -1.0, 0.0])
    found = first_draw_probabilities(values_G, "uniform", alpha=2.0, floor=0.5)
    assert found is not None and found.tolist() == [1 / 3] * 3


@pytest.mark.parametrize("floor", [-0.1, 1.1, math.nan])
def test_a_floor_is_a_share(floor: float) -> None:
    with pytest.raises(tsmg.InvalidArgumentError, match="'floor' must be in"):
        sampling_weights([1.0, -1.0], floor=floor)


def test_what_cannot_be_drawn_by() -> None:
    with pytest.raises(tsmg.InvalidArgumentError, match="'kind' must be aaw, optimal or uniform"):
        first_draw_probabilities(np.array([1.0]), "all")
    with pytest.raises(tsmg.InvalidArgumentError, match="at least 0 for 'optimal'"):
        first_draw_probabilities(np.array([1.0, -1.0]), "optimal")


# ---- sizes of gradients --------------------------------------------------------------------------------


def sampled(*probabilities: float, given: int = 0) -> tsmg.Completion:
    """A reply whose tokens had these probabilities, after so many that were given."""
    return tsmg.Completion(
        prompt_ids=(),
        reply_ids=tuple(range(given + len(probabilities))),
        trainable=(False,) * given + (True,) * len(probabilities),
        logprobs=(0.0,) * given + tuple(map(math.log, probabilities)),
    )


def test_sizes_by_hand() -> None:
    """The root of (1 - p)^2, summed and weighed by squared credit, over the number of sampled tokens."""
    replies = [
        [sampled(0.5)],
        [sampled(0.8, 0.6, given=3)],
        [sampled(0.9), sampled(0.5, 0.5)],
        [sampled(0.999)],
        [],
        [sampled(given=2)],
    ]
    credits = [[2.0], [-1.0], [1.0, 0.0], [1.0], [], [5.0]]
    expected = [
        1.0,
        math.sqrt((0.04 + 0.16) / 2),
        math.sqrt(0.01 / 3),
        0.01,
        0.0,
        0.0,
    ]
    assert gradient_sizes(credits, replies).tolist() == pytest.approx(expected)
    by_episode = gradient_sizes(credits, replies, weighting="episode")
    assert by_episode.tolist() == pytest.approx([*expected[:2], expected[2] / 2, *expected[3:]])


def test_an_episode_of_average_return_is_drawn_for_its_steps() -> None:
    replies = [[sampled(0.5), sampled(0.5)]] * 3
    sizes_G = gradient_sizes([[0.0, 0.0], [0.5, -0.5], [0.5, 1e-17]], replies)
    found = first_draw_probabilities(sizes_G, "optimal")
    assert found is not None
    assert found.tolist() == pytest.approx(
        [0, math.sqrt(2) / (1 + math.sqrt(2)), 1 / (1 + math.sqrt(2))]
    )
    noise = gradient_sizes([[1e-17], [0.0]], [[sampled(0.5)], [sampled(0.5)]])
    assert first_draw_probabilities(noise, "optimal") is None


@given(st.lists(st.tuples(st.floats(0.1, 3), st.floats(0.01, 1)), min_size=1, max_size=6))
def test_of_two_tokens_the_size_is_the_norm_of_the_score(rows: list[tuple[float, float]]) -> None:
    """With logits for two tokens the squared norm of the score is 2 (1 - p)^2: a common factor."""
    sizes_G = gradient_sizes([[a] for a, _ in rows], [[sampled(p)] for _, p in rows])
    for size, (a, p) in zip(sizes_G, rows, strict=True):
        score = np.array([1.0, 0.0]) - np.array([p, 1 - p])
        norm = max(float(np.linalg.norm(score)), 0.01 * math.sqrt(2))
        assert size * math.sqrt(2) == pytest.approx(a * norm)
