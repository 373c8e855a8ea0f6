"""Statistics over runs: against counts by hand, scipy's own test, and invariances."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from algorithms.analysis import statistics
from tsmg import InvalidArgumentError, ShapeError

few = settings(max_examples=15)
values = st.lists(st.integers(-20, 20).map(lambda n: n / 4), min_size=2, max_size=14)


def ends(estimate):
    return estimate.value, estimate.low, estimate.high


def test_values_counted_by_hand():
    runs = [0.1, 0.5, 0.7, 0.9]
    assert statistics.mean(runs).value == pytest.approx(0.55)
    assert statistics.standard_deviation(runs).value == pytest.approx(
        math.sqrt((0.45**2 + 0.05**2 + 0.15**2 + 0.35**2) / 3)
    )
    assert statistics.interquartile_mean(runs).value == pytest.approx(0.6)
    assert statistics.interquartile_mean([*runs, 5.0]).value == pytest.approx(0.7)  # 1 cut each end
    assert statistics.interquartile_mean(runs[:3]).value == pytest.approx(1.3 / 3)  # none is cut
    assert statistics.probability_of_improvement([2, 3], [1, 3]).value == 0.625
    assert statistics.difference([1, 2], [0, 0, 3]).value == 0.5
    assert statistics.relative_difference([1, 2], [1, 1, 1]).value == 0.5
    # resamples of the first have the means 1, 1.5, 2; of the second 1, always
    assert ends(statistics.relative_difference([1, 2], [1, 1])) == (0.5, 0.0, 1.0)
    with pytest.raises(InvalidArgumentError, match="'theirs' must be greater than 0"):
        statistics.relative_difference([1, 2], [1, 0])
    assert statistics.area_under_curve([0, 1, 3], [0.0, 1.0, 0.0]) == 0.5
    assert statistics.updates_until([0, 5, 9], [0.1, 0.9, 0.2], 0.9) == 5


def test_a_whole_bootstrap_by_hand():
    """Of two runs, means of resamples are 0, 1/2, 1 with probability 1/4, 1/2, 1/4; pairs of pairs likewise."""
    assert ends(statistics.mean([0.0, 1.0])) == (0.5, 0.0, 1.0)
    assert statistics.mean([0.0, 1.0]).method == "percentile bootstrap"
    assert statistics.mean(np.arange(10.0).tolist()).method == "BCa bootstrap"
    # a lower median of 3 is the least value with probability 7/27, so also beyond 2.5%
    assert ends(statistics.median_time([7.0, math.inf, 3.0])) == (7.0, 3.0, math.inf)
    # of 5 equal runs but one: the odd one is a resample's median with probability 0.058 > 0.025
    assert ends(statistics.median_time([3.0, 3.0, 3.0, 3.0, math.inf])) == (3.0, 3.0, math.inf)


def test_wilson_by_its_formula():
    z, n, p = 1.959963984540054, 300, 285 / 300
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    found = statistics.proportion(285, 300)
    assert ends(found) == pytest.approx((p, centre - half, centre + half))


def test_one_run_has_no_interval_and_says_so():
    for found in (
        statistics.mean([0.5]),
        statistics.standard_deviation([0.5]),
        statistics.median_time([4.0]),
        statistics.probability_of_improvement([1.0, 2.0], [1.0]),
    ):
        assert found.low is None and found.high is None and "no interval" in str(found)


@few
@given(values, st.randoms(use_true_random=False), st.integers(-8, 8), st.sampled_from((0.5, 2.0)))
def test_order_does_not_matter_and_units_carry_over(runs, random, shift, scale):
    """Shift and scale carry over to the interval; the order of the runs changes no figure."""
    shuffled = random.sample(runs, len(runs))
    for statistic in (statistics.mean, statistics.interquartile_mean):
        found = statistic(runs)
        assert found.low <= found.value + 1e-9 and found.value <= found.high + 1e-9
        moved = statistic([scale * v + shift for v in runs])
        assert ends(moved) == pytest.approx([scale * e + shift for e in ends(found)], abs=1e-9)
        assert statistic(shuffled).value == pytest.approx(found.value)
    assert ends(statistics.mean(runs)) == ends(statistics.mean(runs))  # seeded


@few
@given(values, values)
def test_probability_of_improvement_is_mann_whitney_and_antisymmetric(ours, theirs):
    found = statistics.probability_of_improvement(ours, theirs)
    u = stats.mannwhitneyu(ours, theirs).statistic
    assert found.value == pytest.approx(u / (len(ours) * len(theirs)))
    assert statistics.probability_of_improvement(theirs, ours).value == pytest.approx(
        1 - found.value
    )
    cubed = statistics.probability_of_improvement([v**3 for v in ours], [v**3 for v in theirs])
    assert ends(cubed) == ends(found)  # only the order of values counts


@few
@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=2, max_size=12))
def test_what_pairs_share_cancels(pairs):
    ours, theirs = ([float(p[i]) for p in pairs] for i in (0, 1))
    found = statistics.paired_difference(ours, theirs)
    assert found.value == pytest.approx(np.mean(ours) - np.mean(theirs))
    hard = [float(100 * i) for i in range(len(pairs))]
    shared = statistics.paired_difference(
        [a + h for a, h in zip(ours, hard, strict=True)],
        [b + h for b, h in zip(theirs, hard, strict=True)],
    )
    assert ends(shared) == pytest.approx(ends(found))


def test_intervals_of_ten_runs_hold_the_truth_about_as_often_as_they_say():
    """Normal runs: percentile intervals of 5 hold it too seldom (the page says so), BCa of 20 nearly as stated."""
    rng = np.random.default_rng(1)

    def coverage(n, rounds=150):
        drawn = rng.normal(size=(rounds, n))
        found = [statistics.mean(row.tolist()) for row in drawn]
        return sum(e.low <= 0 <= e.high for e in found) / rounds

    assert 0.74 < coverage(5) < 0.92
    assert 0.86 < coverage(20) < 0.99


@pytest.mark.parametrize(
    ("completion", "error"),
    [
        (lambda: statistics.mean([]), ShapeError),
        (lambda: statistics.mean([1.0, math.nan]), InvalidArgumentError),
        (lambda: statistics.paired_difference([1.0, 2.0], [1.0]), ShapeError),
        (lambda: statistics.area_under_curve([0, 0], [1.0, 1.0]), InvalidArgumentError),
        (lambda: statistics.area_under_curve([0, 1], [1.0]), ShapeError),
        (lambda: statistics.proportion(3, 2), InvalidArgumentError),
        (lambda: statistics.proportion(0, 0), InvalidArgumentError),
        (lambda: statistics.median_time([]), ShapeError),
    ],
)
def test_bad_values_are_refused(completion, error):
    with pytest.raises(error):
        completion()


@few
@given(values)
def test_the_interval_by_t_is_that_of_scipys_test(runs):
    if len(set(runs)) > 1:
        low, high = stats.ttest_1samp(runs, 0.0).confidence_interval(0.95)
        assert ends(statistics.mean_by_t(runs)) == pytest.approx((np.mean(runs), low, high))


def test_the_interval_by_t_of_one_run_and_of_none():
    assert ends(statistics.mean_by_t([2.0])) == (2.0, None, None)
    assert ends(statistics.mean_by_t([2.0, 2.0])) == (2.0, 2.0, 2.0)
    with pytest.raises(ShapeError):
        statistics.mean_by_t([])


@pytest.mark.filterwarnings("error")
def test_where_no_single_run_matters_the_interval_is_the_plain_one():
    """Whichever run is left out, the middle half is all successes, and BCa is not defined."""
    found = statistics.interquartile_mean([1.0] * 9 + [0.5])
    assert found.method == "percentile bootstrap"
    assert found.value == found.high == 1.0 >= found.low > 0.8
