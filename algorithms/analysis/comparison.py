"""The figures of groups of runs with their intervals, and comparisons between groups."""

import itertools
import math
from collections.abc import Callable, Sequence

import attrs
import numpy as np

from algorithms.analysis import statistics
from algorithms.analysis.estimate import Estimate
from algorithms.analysis.groups import Group, group_notes, group_runs, scenario_names
from algorithms.runs.reader import Run, episode_values, values_by_start
from algorithms.runs.records import Record

THRESHOLD = 0.9
_PAIRED_GROUPS = (
    4  # all pairs of up to so many groups are compared; of more groups, each with the first
)


@attrs.frozen(kw_only=True)
class Summary:
    """The figures of a group; ``None`` if none of its runs is finished or the metric is not defined.

    Attributes:
      group: the group.
      measure: the metric that is compared: ``success_rate`` or ``reward``.
      start, final: the first and the last evaluation.
      other_final: the last evaluation of the other decoding (greedy, or sampled).
      middle: the interquartile mean of the last evaluation.
      area: mean height of the curve of evaluations, on the episodes that all of them played.
      until: updates until the threshold; infinite if it was never reached.
      invalid: the last evaluation's invalid rate.
      trained, generated: tokens in the loss, and tokens of all training episodes, in thousands.
      best: the seed of the best run.
    """

    group: Group
    measure: str
    start: Estimate | None
    final: Estimate | None
    other_final: Estimate | None
    middle: Estimate | None
    area: Estimate | None
    until: Estimate | None
    invalid: Estimate | None
    trained: Estimate | None
    generated: Estimate | None
    best: object


@attrs.frozen(kw_only=True)
class Pair:
    """One group against another of the same scenario.

    Attributes:
      ours, theirs: the groups' names.
      scenario: of both.
      improvement: the probability that a run of ours ends higher than one of theirs.
      improvement_area: the same for the area under the curve.
      difference: of the mean last evaluations, runs resampled.
      relative: that difference as a fraction of theirs; ``None`` if the measure has no natural zero (returns), or a
        run of theirs never succeeds.
      paired: the same on the same initial states, states resampled; ``None`` if they differ or are not recorded.
    """

    ours: str
    theirs: str
    scenario: str
    improvement: Estimate
    improvement_area: Estimate
    difference: Estimate
    relative: Estimate | None
    paired: Estimate | None


@attrs.frozen(kw_only=True)
class Comparison:
    """Runs in groups, side by side.

    Attributes:
      summaries: of each group.
      pairs: of groups of one scenario.
      notes: gaps and differences that a reader should know, one sentence each.
      threshold: level of the measure that ``Summary.until`` counts updates to.
      prefix: decoding of the evaluations that the figures are of: ``eval`` or ``eval_greedy``.
    """

    summaries: tuple[Summary, ...]
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]
    threshold: float
    prefix: str


def compare_runs(
    runs: Sequence[Run],
    *,
    by: str | None = None,
    threshold: float = THRESHOLD,
    greedy: bool = False,
) -> Comparison:
    """Group runs and compare the groups, each scenario by itself.

    Args:
      runs: the runs.
      by: field of the configuration to group by; everything but the seed unless given.
      threshold: level of the measure that updates are counted to.
      greedy: use the evaluations of greedy decoding instead of those at the training temperature.

    Raises:
      InvalidArgumentError: no run has the field.
    """
    prefix = "eval_greedy" if greedy else "eval"
    groups = group_runs(runs, by=by)
    measures = {scenario: _measure(groups, scenario, prefix) for scenario in scenario_names(groups)}
    summaries = [_summary(g, measures[g.scenario], prefix, threshold) for g in groups]
    pairs = [
        _pair(a, b, measures[a.scenario], prefix)
        for scenario in scenario_names(groups)
        for a, b in _pairs([g for g in groups if g.scenario == scenario and g.whole])
    ]
    return Comparison(
        summaries=tuple(summaries),
        pairs=tuple(pairs),
        notes=tuple(group_notes(groups)),
        threshold=threshold,
        prefix=prefix,
    )


def _measure(groups: Sequence[Group], scenario: str, prefix: str) -> str:
    """Success where every evaluation of the scenario has one, else the return."""
    runs = [run for group in groups if group.scenario == scenario for run in group.runs]
    ends = [run.evaluations[-1] for run in runs if run.evaluations]
    name = f"{prefix}/success_rate"
    return "success_rate" if ends and all(r.get(name) is not None for r in ends) else "reward"


def over_runs(
    runs: Sequence[Run], name: str, index: int, statistic: Callable[..., Estimate]
) -> Estimate | None:
    """A metric of the first (0) or last (-1) evaluation over runs; of one run, over its episodes.

    Args:
      runs: finished ones.
      name: of the metric, with its prefix.
      index: index of the evaluation.
      statistic: an estimate from one value per run.
    """
    values = [
        run.evaluations[index][name]
        for run in runs
        if run.evaluations and run.evaluations[index].get(name) is not None
    ]
    if len(values) == 1 and len(runs) == 1:
        return _over_episodes(runs[0], name, index)
    return statistic(values) if values else None


def _over_episodes(run: Run, name: str, index: int) -> Estimate:
    """A metric of a single run, with an interval over the episodes of its evaluation where they are known."""
    record = run.evaluations[index]
    value = float(record[name])
    if name.endswith("success_rate"):
        count = evaluated_episodes(run, record["update"], name)
        if count and 0 <= value <= 1:
            return statistics.proportion(round(value * count), count)
    kept = _recorded(run, record["update"], name)
    return statistics.mean(list(kept.values()) if kept else [value])


def evaluated_episodes(run: Run, update: float, name: str) -> int:
    """Number of episodes of an evaluation that have the metric: as recorded, or as configured; 0 if not known."""
    if values := values_by_start(_record(run, update), name):
        return sum(value is not None for value in values.values())
    at_an_end = update in (0, run.planned_updates)
    count = run.spec["run"].get("final_episodes" if at_an_end else "evaluation_episodes")
    return count if isinstance(count, int) and count > 0 else 0


def _recorded(run: Run, update: float, name: str) -> dict[str, float]:
    """The values of a metric in each episode of an evaluation, by the episode's start."""
    return episode_values(_record(run, update), name)


def _record(run: Run, update: float) -> Record:
    """The record of each episode of an evaluation; empty if there is none."""
    return next((record for record in run.per_episode if record["update"] == update), {})


def _summary(group: Group, measure: str, prefix: str, threshold: float) -> Summary:
    runs = group.whole
    name, other = f"{prefix}/{measure}", "eval" if prefix == "eval_greedy" else "eval_greedy"
    curves = [c for run in runs if (c := run.curve_alike(name))[0]]
    areas = [statistics.area_under_curve(*curve) for curve in curves]
    times = [statistics.updates_until(*curve, threshold) for curve in curves]
    ends = [run.curve(name)[1][-1] for run in runs if run.curve(name)[1]]
    best = runs[int(np.argmax(ends))].seed if len(ends) == len(runs) > 0 else None
    return Summary(
        group=group,
        measure=measure,
        start=over_runs(runs, name, 0, statistics.mean),
        final=over_runs(runs, name, -1, statistics.mean),
        other_final=over_runs(runs, f"{other}/{measure}", -1, statistics.mean),
        middle=statistics.interquartile_mean(ends) if ends else None,
        area=statistics.mean(areas) if areas else None,
        until=statistics.median_time(times) if times and measure == "success_rate" else None,
        invalid=over_runs(runs, f"{prefix}/invalid_rate", -1, statistics.mean),
        trained=_mean_where_positive([trained_tokens(run.updates) / 1000 for run in runs]),
        generated=_mean_where_positive([generated_tokens(run, run.updates) / 1000 for run in runs]),
        best=best,
    )


def _mean_where_positive(values: Sequence[float]) -> Estimate | None:
    """The mean of the values above 0, without decimals; 0 stands for an unknown value."""
    known = [value for value in values if value > 0]
    return attrs.evolve(statistics.mean(known), places=0) if known else None


def trained_tokens(updates: Sequence[Record]) -> float:
    """Tokens in the loss of these updates."""
    return _sum_of_products(updates, ("trained_tokens",))


def generated_tokens(run: Run, updates: Sequence[Record]) -> float:
    """Tokens of all replies of these updates of a run.

    Older runs did not record them. For these they are estimated by the product of the mean lengths, which is right if
    one agent acts at each step; 0 if the size of a group is unknown.
    """
    if all("generated_tokens" in record for record in updates):
        return _sum_of_products(updates, ("generated_tokens",))
    sizes = [run.setting(f"algorithm.{name}") for name in ("groups", "group_size")]
    if not all(isinstance(size, int) for size in sizes):
        return 0.0
    return float(math.prod(sizes)) * _sum_of_products(updates, ("reply_length", "episode_length"))


def _sum_of_products(updates: Sequence[Record], names: Sequence[str]) -> float:
    return sum(math.prod(r.get(name) or 0.0 for name in names) for r in updates)


def _pairs(groups: Sequence[Group]) -> list[tuple[Group, Group]]:
    if len(groups) <= _PAIRED_GROUPS:
        return list(itertools.combinations(groups, 2))
    return [(groups[0], group) for group in groups[1:]]


def _pair(ours: Group, theirs: Group, measure: str, prefix: str) -> Pair:
    name = f"{prefix}/{measure}"
    runs = [[run for run in group.whole if run.curve(name)[0]] for group in (ours, theirs)]
    curves = [[run.curve_alike(name) for run in side] for side in runs]
    ends = [[run.curve(name)[1][-1] for run in side] for side in runs]
    areas = [[statistics.area_under_curve(*curve) for curve in side if curve[0]] for side in curves]
    return Pair(
        ours=ours.name,
        theirs=theirs.name,
        scenario=ours.scenario,
        improvement=statistics.probability_of_improvement(*ends),
        improvement_area=statistics.probability_of_improvement(*areas),
        difference=statistics.difference(*ends),
        relative=statistics.relative_difference(*ends)
        if measure == "success_rate" and min(ends[1]) > 0
        else None,
        paired=_paired(ours, theirs, name),
    )


def _paired(ours: Group, theirs: Group, name: str) -> Estimate | None:
    """The difference on the same initial states: each state's value is a group's mean over its runs."""
    sides = [
        [_recorded(run, run.evaluations[-1]["update"], name) for run in group.whole]
        for group in (ours, theirs)
    ]
    common = set.intersection(*(set(values) for side in sides for values in side))
    if not common:
        return None
    means = [
        [sum(values[start] for values in side) / len(side) for start in sorted(common)]
        for side in sides
    ]
    return statistics.paired_difference(*means)
