"""AAW sampling: its distribution, its draws, its inclusion probabilities, and the correction by them."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import typeguard
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import tsmg
from algorithms.method.advantages import group_relative_advantages, has_signal
from algorithms.method.episode_sampling import (
    SamplingRule,
    Selected,
    draw_episodes,
    effective_sample_size,
    select_episodes,
    selection_dist,
)
from algorithms.method.first_draw import sampling_weights
from algorithms.method.inclusion import inclusion_probabilities

Floats = NDArray[np.float64]


def normalised(weights: Sequence[float]) -> list[float]:
    return [w / sum(weights) for w in weights]


# ---- successive draws ------------------------------------------------------------------------


def successive_law(
    p: Sequence[float], count: int, *, replacement: bool = False
) -> dict[tuple[int, ...], float]:
    """The probability of every sequence of draws, by enumeration."""
    dist: dict[tuple[int, ...], float] = {(): 1.0}
    for _ in range(count if replacement else min(count, sum(x > 0 for x in p))):
        extended = {}
        for drawn, probability in dist.items():
            left = [e for e, x in enumerate(p) if x > 0 and (replacement or e not in drawn)]
            total = sum(p[e] for e in left)
            for e in left:
                extended[*drawn, e] = probability * p[e] / total
        dist = extended
    return dist


def expected_counts(p: Sequence[float], count: int, *, replacement: bool = False) -> list[float]:
    """How often each episode is drawn on average, by enumeration."""
    dist = successive_law(p, count, replacement=replacement)
    return [sum(w * drawn.count(e) for drawn, w in dist.items()) for e in range(len(p))]


Drawer = Callable[[Floats, int, tsmg.Stream], tuple[int, ...]]


def chi_square(
    draw: Drawer, dist: dict[tuple[int, ...], float], p: Floats, count: int, n: int = 1500
) -> float:
    """Pearson's statistic of n draws; infinite if an impossible sequence came."""
    seen = Counter(draw(p, count, tsmg.Stream("draws", i)) for i in range(n))
    if not seen.keys() <= dist.keys():
        return math.inf
    return sum((seen[drawn] - n * w) ** 2 / (n * w) for drawn, w in dist.items())


# Quantiles 0.9999 of chi-square: 12 sequences without replacement, 16 with (tables).
LIMITS = {False: 37.37, True: 44.26}
P4 = np.array([0.45, 0.3, 0.0, 0.15, 0.1])


def sampling(replacement: bool) -> Drawer:
    return lambda p, count, rng: draw_episodes(p, count, rng, replacement=replacement)


def uniformly(p: Floats, count: int, rng: tsmg.Stream) -> tuple[int, ...]:
    left = [e for e, x in enumerate(p) if x > 0]
    return tuple(left.pop(rng.integer(len(left))) for _ in range(count))


def the_largest(p: Floats, count: int, rng: tsmg.Stream) -> tuple[int, ...]:
    return tuple(int(e) for e in np.argsort(-p)[:count])


def in_order(p: Floats, count: int, rng: tsmg.Stream) -> tuple[int, ...]:
    return tuple(sorted(draw_episodes(p, count, rng)))


@pytest.mark.parametrize("replacement", [False, True])
def test_draws_follow_the_law(replacement: bool) -> None:
    dist = successive_law(P4.tolist(), 2, replacement=replacement)
    assert len(dist) == (16 if replacement else 12)
    assert chi_square(sampling(replacement), dist, P4, 2) < LIMITS[replacement]


@pytest.mark.parametrize("wrong", [uniformly, the_largest, in_order, sampling(replacement=True)])
def test_the_law_of_draws_rejects(wrong: Drawer) -> None:
    dist = successive_law(P4.tolist(), 2)
    assert chi_square(wrong, dist, P4, 2) > LIMITS[False]


def test_with_replacement_rejects_without() -> None:
    dist = successive_law(P4.tolist(), 2, replacement=True)
    assert chi_square(sampling(replacement=False), dist, P4, 2) > LIMITS[True]


POSITIVE = st.floats(-12, 0).map(lambda x: 10.0**x)
PROBABILITIES = (
    st.lists(POSITIVE | st.just(0.0), min_size=1, max_size=9).filter(any).map(normalised)
)


@given(PROBABILITIES, st.integers(1, 12), st.integers(0, 99))
def test_only_what_can_be_drawn_is_drawn_and_once(p: list[float], count: int, seed: int) -> None:
    drawn = draw_episodes(np.array(p), count, tsmg.Stream("once", seed))
    assert len(drawn) == len(set(drawn)) == min(count, sum(x > 0 for x in p))
    assert all(p[e] > 0 for e in drawn)


@pytest.mark.parametrize(("number", "drawn"), [(0.0, (1, 3)), (1 - 2**-53, (3, 1))])
def test_the_ends_of_the_range_draw_nothing_of_probability_0(
    number: float, drawn: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tsmg.Stream, "random", lambda self: number)
    p = np.array([0.0, 0.3, 0.0, 0.7, 0.0])
    assert draw_episodes(p, 2, tsmg.Stream("ends")) == drawn


def test_draws_depend_on_the_stream_alone() -> None:
    first = [draw_episodes(P4, 3, tsmg.Stream("same", i)) for i in range(20)]
    assert first == [draw_episodes(P4, 3, tsmg.Stream("same", i)) for i in range(20)]
    assert len(set(first)) > 1


@pytest.mark.parametrize("function", [draw_episodes, inclusion_probabilities])
@pytest.mark.parametrize(
    ("p", "count", "message"),
    [
        ([0.5, 0.4], 1, "must sum to 1"),
        ([0.0, 0.0], 1, "must sum to 1"),
        ([1.5, -0.5], 1, "0 or at least"),
        ([1.0, 1e-250], 1, "0 or at least"),
        ([0.5, math.nan], 1, "must be finite"),
        ([0.5, 0.5], 0, "'count' must be at least 1"),
        ([], 1, "shape"),
        ([[0.5, 0.5]], 1, "shape"),
    ],
)
def test_not_a_distribution(function: Any, p: list[Any], count: int, message: str) -> None:
    rng = [tsmg.Stream(0)] if function is draw_episodes else []
    with pytest.raises(tsmg.InvalidArgumentError, match=message):
        function(np.array(p), count, *rng)


# ---- inclusion probabilities -----------------------------------------------------------------

Inclusion = Callable[[Floats, int], Floats]


def k_times_p(p: Floats, count: int) -> Floats:
    return np.minimum(count * p, 1.0)


def as_if_with_replacement(p: Floats, count: int) -> Floats:
    return 1 - (1 - p) ** count


def rescaled(p: Floats, count: int) -> Floats:
    """Right sum, wrong shares: where K p exceeds 1, the rest is spread in proportion."""
    pi = count * p
    while (pi > 1).any():
        pi = np.where(pi >= 1, 1.0, pi)
        free = pi < 1
        pi[free] *= (count - (~free).sum()) / pi[free].sum()
    return pi


def check_inclusion(function: Inclusion, p: Sequence[float], count: int) -> None:
    """Against all sequences of draws; relative, so that also small ones are right."""
    expected = expected_counts(p, count)
    assert function(np.array(p), count) == pytest.approx(expected, rel=1e-11, abs=0)


def check_sum(function: Inclusion, p: Sequence[float], count: int) -> None:
    pi = function(np.array(p), count)
    assert all((0 < x <= 1) if q > 0 else x == 0 for x, q in zip(pi, p, strict=True))
    assert pi.sum() == pytest.approx(min(count, sum(q > 0 for q in p)), rel=1e-11)


def subset_inclusion(p: Sequence[float], count: int) -> list[float]:
    """By the distribution of the set S drawn so far: sum over its last member of P(S - e) p_e / rest."""
    dist = {frozenset[int](): 1.0}
    for _ in range(count):
        extended: dict[frozenset[int], float] = {}
        for drawn, probability in dist.items():
            left = [e for e in range(len(p)) if e not in drawn]
            total = math.fsum(p[e] for e in left)
            for e in left:
                key = drawn | {e}
                extended[key] = extended.get(key, 0.0) + probability * p[e] / total
        dist = extended
    return [math.fsum(w for drawn, w in dist.items() if e in drawn) for e in range(len(p))]


def typed_inclusion(sizes: Sequence[int], weights: Sequence[float], count: int) -> list[float]:
    """For episodes of a few equal kinds: a Markov chain on how many of each kind were drawn."""
    dist = {(0,) * len(sizes): 1.0}
    for _ in range(count):
        extended: dict[tuple[int, ...], float] = {}
        for drawn, probability in dist.items():
            rest = [(n - d) * w for n, d, w in zip(sizes, drawn, weights, strict=True)]
            for k, weight in enumerate(rest):
                if weight:
                    key = (*drawn[:k], drawn[k] + 1, *drawn[k + 1 :])
                    share = probability * weight / math.fsum(rest)
                    extended[key] = extended.get(key, 0.0) + share
        dist = extended
    return [math.fsum(w * d[k] for d, w in dist.items()) / n for k, n in enumerate(sizes)]


@given(
    st.lists(POSITIVE | st.just(0.0), min_size=1, max_size=5).filter(any).map(normalised),
    st.integers(1, 5),
)
def test_inclusion_by_enumeration(p: list[float], count: int) -> None:
    check_inclusion(inclusion_probabilities, p, count)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_inclusion_of_six_by_enumeration(count: int) -> None:
    check_inclusion(inclusion_probabilities, normalised([5.0, 3.0, 1.0, 1.0, 0.2, 1e-6]), count)


@given(PROBABILITIES, st.integers(1, 9))
def test_inclusion_sums_to_the_number_of_draws(p: list[float], count: int) -> None:
    check_sum(inclusion_probabilities, p, count)


def test_inclusion_of_twelve_by_subsets() -> None:
    p = normalised([2.0**-e for e in range(12)])
    for count in (3, 6, 11):
        expected = subset_inclusion(p, count)
        assert inclusion_probabilities(np.array(p), count) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize(
    ("sizes", "weights", "count"),
    [
        ([50, 14], [0.25, 1.0], 16),
        ([63, 1], [1.0, 63.0], 32),
        ([30, 20, 14], [1.0, 1e-3, 20.0], 32),
        ([30, 20, 14], [1e-9, 1e-3, 1.0], 40),
        ([21, 21, 22], [1.0, 1.01, 0.99], 63),
        ([100, 28], [1.0, 1.5], 64),
    ],
)
def test_inclusion_of_large_groups(sizes: list[int], weights: list[float], count: int) -> None:
    p = np.repeat(weights, sizes)
    expected = np.repeat(typed_inclusion(sizes, weights, count), sizes)
    assert inclusion_probabilities(p / p.sum(), count) == pytest.approx(expected, rel=1e-10, abs=0)


@pytest.mark.parametrize("wrong", [k_times_p, as_if_with_replacement, rescaled])
def test_inclusion_rejects(wrong: Inclusion) -> None:
    with pytest.raises(AssertionError):
        check_inclusion(wrong, [0.5, 0.3, 0.2], 2)


@pytest.mark.parametrize("wrong", [k_times_p, as_if_with_replacement])
def test_the_sum_rejects(wrong: Inclusion) -> None:
    with pytest.raises(AssertionError):
        check_sum(wrong, [0.8, 0.1, 0.1], 2)


def test_with_replacement_the_expected_number() -> None:
    p = [0.5, 0.3, 0.2, 0.0]
    ours = inclusion_probabilities(np.array(p), 3, replacement=True)
    assert ours == pytest.approx(expected_counts(p, 3, replacement=True))


def check_effective_advantage(included: Floats, advantages: Floats) -> None:
    """With replacement and no correction, E[sum of drawn A] is made of terms A|A|."""
    ratio = included * advantages / (advantages * np.abs(advantages))
    assert ratio == pytest.approx(np.full_like(ratio, ratio[0]))


def test_effective_advantage_with_replacement() -> None:
    advantages = group_relative_advantages([0.5, 0.4, 1.0, -3.0], std="none")
    p = np.array([p for _, p in sampling_weights(advantages).enumerate()])
    check_effective_advantage(inclusion_probabilities(p, 3, replacement=True), advantages)
    with pytest.raises(AssertionError):
        check_effective_advantage(inclusion_probabilities(p, 3), advantages)


# ---- selection -------------------------------------------------------------------------------

A1 = np.array([3.0, -1.0, -2.0, 0.0])
A2 = np.array([0.5, 0.25, -0.75, 0.0])
SILENT = np.zeros(4)


def select(groups: Sequence[Floats], seed: int = 0, **options: Any) -> list[Selected]:
    rngs = options.pop("rngs", [tsmg.Stream("select", seed, g) for g, _ in enumerate(groups)])
    return select_episodes(groups, SamplingRule(**{"kind": "aaw", "kept": 2, **options}), rngs=rngs)


def weights_of(groups: Sequence[Floats], **options: Any) -> dict[tuple[int, int], float]:
    """The weight of each episode, read off many selections."""
    weights: dict[tuple[int, int], float] = {}
    for seed in range(40):
        for one in select(groups, seed, **options):
            assert weights.setdefault((one.group, one.episode), one.weight) == one.weight
    return weights


def check_restores(groups: Sequence[Floats], *, scope: str, **options: Any) -> None:
    """E[sum of weight * f] / D = mean over groups of (1/G) sum of f over episodes with a signal."""
    weights = weights_of(groups, scope=scope, **options)
    labels = [(g, e) for g, group in enumerate(groups) for e in range(len(group))]
    pools = [labels] if scope == "batch" else [[x for x in labels if x[0] == g] for g in range(2)]
    draws = options["kept"] * (len(groups) if scope == "batch" else 1)
    # f is an indicator: each episode's term is restored by itself
    for pool in pools:
        sizes = np.abs([groups[g][e] for g, e in pool]) ** options.get("alpha", 1.0)
        p = normalised((sizes * (sizes > 0)).tolist())
        drawn = expected_counts(p, draws, replacement=options.get("replacement", False))
        for count, (g, e) in zip(drawn, pool, strict=True):
            full = (groups[g][e] != 0) / (len(groups) * len(groups[g]))
            restored = count * weights.get((g, e), 0.0) / (options["kept"] * len(groups))
            assert restored == pytest.approx(full, rel=1e-9)


CASES = [
    {"kept": 2, "scope": "group"},
    {"kept": 2, "scope": "group", "replacement": True},
    {"kept": 1, "scope": "group", "alpha": 2.0},
    {"kept": 3, "scope": "group"},
    {"kept": 4, "scope": "group"},
    {"kept": 1, "scope": "batch"},
    {"kept": 2, "scope": "batch"},
    {"kept": 2, "scope": "batch", "replacement": True},
]


@pytest.mark.parametrize("options", CASES)
def test_the_correction_restores_the_full_group(options: dict[str, Any]) -> None:
    check_restores([A1, A2], corrected=True, **options)


def test_the_correction_restores_groups_of_different_sizes() -> None:
    for scope in ("group", "batch"):
        check_restores([A1, np.array([2.0, -2.0])], corrected=True, kept=2, scope=scope)


@pytest.mark.parametrize("options", [case for case in CASES if case["kept"] < 4])
def test_restoring_rejects_no_correction(options: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        check_restores([A1, A2], corrected=False, **options)


def test_fewer_signals_than_draws() -> None:
    advantages = np.array([1.0, -1.0, 0.0, 0.0])
    selected = select([advantages], kept=3)
    assert sorted((one.episode, one.weight) for one in selected) == [(0, 1.0), (1, 1.0)]
    selected = select([advantages], kept=3, corrected=True)
    assert sorted((one.episode, one.weight) for one in selected) == [(0, 0.75), (1, 0.75)]


@pytest.mark.parametrize("scope", ["group", "batch"])
def test_a_group_without_signal_is_skipped(scope: str) -> None:
    assert select([SILENT, SILENT], scope=scope) == []
    selected = select([SILENT, A1], scope=scope)
    assert {one.group for one in selected} == {1}
    assert len(selected) == (2 if scope == "group" else 3)
    assert not has_signal(SILENT)


def test_no_groups() -> None:
    assert select([]) == select([], scope="batch") == select([], kind="all") == []


def test_all_takes_everything_once() -> None:
    expected = [Selected(group=g, episode=e, weight=1.0) for g in range(2) for e in range(4)]
    assert select([A1, SILENT], kind="all", kept=1, rngs=[]) == expected


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("scope", ["group", "batch"])
def test_uniform_draws_among_all(scope: str, replacement: bool) -> None:
    options = {"kind": "uniform", "scope": scope, "replacement": replacement}
    assert len(select([A1, SILENT], **options)) == 4
    weights = weights_of([A1, SILENT], corrected=True, **options)
    assert weights == {(g, e): 1.0 for g in range(2) for e in range(4)}


def test_uniform_is_uniform() -> None:
    dist = successive_law([0.25] * 4, 2)
    draw: Drawer = lambda p, count, rng: tuple(
        one.episode for one in select([A1], kind="uniform", rngs=[rng])
    )
    assert chi_square(draw, dist, A1, 2, n=500) < LIMITS[False]
    draw_aaw: Drawer = lambda p, count, rng: tuple(one.episode for one in select([A1], rngs=[rng]))
    assert chi_square(draw_aaw, dist, A1, 2, n=500) > LIMITS[False]


def test_a_group_is_drawn_from_without_regard_to_the_others() -> None:
    alone = [one for seed in range(20) for one in select([A1], seed)]
    beside = [one for seed in range(20) for one in select([A1, A2], seed) if one.group == 0]
    assert alone == beside
    over_the_batch = [
        one for seed in range(20) for one in select([A1, A2], seed, scope="batch") if one.group == 0
    ]
    assert alone != over_the_batch


def test_the_batch_uses_the_first_stream() -> None:
    first, others = tsmg.Stream("first"), [tsmg.Stream("a"), tsmg.Stream("b")]
    one = select([A1, A2], scope="batch", rngs=[first, others[0]])
    same = select([A1, A2], scope="batch", rngs=[tsmg.Stream("first"), others[1]])
    assert one == same


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kept": 0}, "kept"),
        ({"kept": 5}, "kept"),
        ({"kept": 5, "kind": "uniform"}, "kept"),
        ({"kept": 5, "scope": "batch"}, "kept"),
        ({"alpha": -1.0}, "alpha"),
        ({"rngs": []}, "rngs"),
        ({"kind": "best"}, "kind"),
        ({"scope": "run"}, "scope"),
    ],
)
def test_impossible_selections(options: dict[str, Any], message: str) -> None:
    with pytest.raises((tsmg.InvalidArgumentError, typeguard.TypeCheckError), match=message):
        select([A1, SILENT], **options)
    with pytest.raises(tsmg.InvalidArgumentError, match=r"advantages_by_group\[1\]"):
        select([A1, np.array([math.nan])])


def test_more_draws_than_episodes_with_replacement() -> None:
    assert len(select([A1], kept=9, replacement=True)) == 9


# ---- effective sample size -------------------------------------------------------------------


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=9).filter(lambda w: max(w) > 1e-6))
def test_effective_sample_size(weights: list[float]) -> None:
    ess = effective_sample_size(weights)
    assert 1 - 1e-9 <= ess <= len(weights) + 1e-9
    assert effective_sample_size([3 * w for w in weights]) == pytest.approx(ess)


def test_effective_sample_size_by_hand() -> None:
    assert effective_sample_size([2.0] * 5) == 5
    assert effective_sample_size([1.0, 3.0]) == pytest.approx(16 / 10)
    assert effective_sample_size([]) == effective_sample_size([0.0, 0.0]) == 0
    with pytest.raises(tsmg.InvalidArgumentError, match="'weights' must be at least 0"):
        effective_sample_size([1.0, -1.0])


@pytest.mark.parametrize("options", [{"scope": "group"}, {"scope": "batch"}])
@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("kind", ["aaw", "optimal"])
@pytest.mark.parametrize("floor", [0.0, 0.25])
def test_a_floor_restores_every_episode(
    options: dict[str, Any], replacement: bool, kind: Any, floor: float
) -> None:
    """E[sum of weight * f] / D is the mean of f over all episodes; without a floor, over those with a signal."""
    groups = [A1 if kind == "aaw" else np.abs(A1), SILENT]
    rule = SamplingRule(
        kind=kind, kept=2, floor=floor, replacement=replacement, corrected=True, **options
    )
    restored = dict.fromkeys([(g, e) for g in (0, 1) for e in range(4)], 0.0)
    for selected, p in selection_dist(groups, rule).enumerate():
        for one in selected:
            restored[one.group, one.episode] += float(p) * one.weight / 4
    expected = [1 / 8 if floor or groups[g][e] else 0.0 for g, e in restored]
    assert list(restored.values()) == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["aaw", "optimal", "uniform", "all"])
@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("scope", ["group", "batch"])
@pytest.mark.parametrize("floor", [0.0, 0.5])
def test_the_law_of_a_selection_is_that_of_its_draws(kind, replacement, scope, floor):
    """Frequencies of 3000 selections, and the inclusion probabilities by their own integral."""
    groups = [np.array([2.0, -1.0, -1.0]), np.array([0.5, -0.5, 0.0])]
    if kind == "optimal":
        groups = list(map(np.abs, groups))
    rule = SamplingRule(
        kind=kind, kept=2, floor=floor, replacement=replacement, scope=scope, corrected=True
    )
    table = selection_dist(groups, rule).pmf()

    def ordered(selection):
        return tuple(sorted((one.group, one.episode, one.weight) for one in selection))

    dist = {}
    for selection, p in table.items():
        dist[ordered(selection)] = dist.get(ordered(selection), 0.0) + p
    assert sum(dist.values()) == pytest.approx(1)
    draws = Counter(
        ordered(select_episodes(groups, rule, rngs=[tsmg.Stream("law", n, g) for g in (0, 1)]))
        for n in range(3000)
    )
    for selection, p in dist.items():
        assert abs(draws[selection] / 3000 - p) <= 5 * (p * (1 - p) / 3000) ** 0.5 + 1e-9
    assert set(draws) <= set(dist)
    if kind in ("aaw", "optimal"):  # corrected weights restore the full group's sum, exactly
        total = sum(p * sum(w for _, _, w in selection) for selection, p in dist.items())
        assert total / 4 == pytest.approx((3 / 3 + (3 / 3 if floor else 2 / 3)) / 2)
