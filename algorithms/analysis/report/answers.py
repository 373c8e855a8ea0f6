"""Whether training worked, for each group of runs: start and end with their intervals, compared with baselines."""

from collections.abc import Iterable, Mapping

import attrs

from algorithms.analysis import statistics
from algorithms.analysis.comparison import Summary
from algorithms.analysis.estimate import Estimate, number_text
from algorithms.analysis.groups import Group
from algorithms.analysis.report.charts import counted
from algorithms.analysis.tables import GAP, NAMES, estimate_text
from algorithms.runs.reader import Run
from algorithms.runs.writer import finite

_ORDER = (
    "uniform player",
    "scripted player",
    "before training",
    "after training",
    "this policy",
    "exact optimum",
)


@attrs.frozen(kw_only=True)
class Bar:
    """A figure as a bar beside others of its unit.

    Attributes:
      name: of the policy or player.
      text: the figure, with its interval if it has one.
      left, width: place of the bar, in percent of the chart's width.
      low, high: the ends of its interval, in percent; ``None`` without one.
      kind: ``start``, ``final`` or ``reference``.
    """

    name: str
    text: str
    left: float
    width: float
    low: float | None
    high: float | None
    kind: str


@attrs.frozen(kw_only=True)
class Answer:
    """Whether training worked, for one group.

    Attributes:
      name, scenario: of the group.
      runs: number of runs, in words.
      verdict: one word or two.
      tone: ``good``, ``bad`` or ``open``.
      what: name of the measure: success or return.
      start, final: figures with intervals; a dash if there is none. They are equal if nothing was trained.
      final_value: the final figure without its interval.
      is_trained: whether these runs trained.
      interval: a sentence on what the intervals are over.
      bars: start and end beside the baselines.
      beside: baselines in another unit, a sentence each.
    """

    name: str
    scenario: str
    runs: str
    verdict: str
    tone: str
    what: str
    start: str
    final: str
    final_value: str
    is_trained: bool
    interval: str
    bars: tuple[Bar, ...]
    beside: tuple[str, ...]


def group_answer(summary: Summary) -> Answer:
    """Whether training worked in a group."""
    group = summary.group
    verdict, tone = _verdict(summary.start, summary.final, bool(group.whole))
    if not _trains(group):
        verdict, tone = _where_trained(group), "open"
    whole, count = len(group.whole), len(group.runs)
    over = summary.final.method.split(" ")[0] if summary.final else ""
    bars, beside = _bars(summary)
    return Answer(
        name=group.name,
        scenario=group.scenario,
        runs=counted(group) + ("" if whole == count else f", {whole} finished"),
        verdict=verdict,
        tone=tone,
        what=NAMES[summary.measure],
        start=estimate_text(summary.start),
        final=estimate_text(summary.final),
        final_value=summary.final.text if summary.final else GAP,
        is_trained=_trains(group),
        interval=_interval_text(whole, over),
        bars=bars,
        beside=beside,
    )


def _trains(group: Group) -> bool:
    return any(run.planned_updates > 0 for run in group.runs)


def _where_trained(group: Group) -> str:
    """The origin of the policies of a group that was only evaluated."""
    origins = {
        (run.label("trained_on"), bool(run.config.get("trained_updates"))) for run in group.runs
    }
    ((place, is_trained),) = origins if len(origins) == 1 else ((None, False),)
    return f"Trained on {place}, not here" if place and is_trained else "Not trained"


def _interval_text(whole: int, method: str) -> str:
    if whole > 1:
        few = ": with so few runs they are too narrow" if whole < statistics.SMALL else ""
        return f"95% intervals over {whole} runs ({method} bootstrap){few}"
    if method == "Wilson":
        return (
            "95% intervals over the episodes of one run (Wilson): another seed may differ by more"
        )
    return "95% intervals over the episodes of one run, where they are recorded"


def _verdict(start: Estimate | None, final: Estimate | None, is_whole: bool) -> tuple[str, str]:
    """Whether the intervals before and after training are disjoint, as a verdict and its tone."""
    if not is_whole:
        return "Not finished", "open"
    if start is None or final is None:
        return "Not measured", "open"
    if None in (start.low, start.high, final.low, final.high):
        return "No interval", "open"
    if (final.low or 0.0) > (start.high or 0.0):
        return "Improved", "good"
    if (final.high or 0.0) < (start.low or 0.0):
        return "Got worse", "bad"
    return "No clear change", "open"


def _bars(summary: Summary) -> tuple[tuple[Bar, ...], tuple[str, ...]]:
    levels, beside = baseline_levels(summary.group, summary.measure)
    figures: list[tuple[str, float, Estimate | None, str]] = [
        (name, value, None, "reference") for name, value in levels
    ]
    measured = (
        [("before training", summary.start, "start"), ("after training", summary.final, "final")]
        if _trains(summary.group)
        else [("this policy", summary.final, "final")]
    )
    for name, estimate, kind in measured:
        if estimate is not None:
            figures.append((name, estimate.value, estimate, kind))
    ends = [0.0, *(v for _, v, _, _ in figures)]
    ends += [e for _, _, x, _ in figures if x for e in (x.low, x.high) if e is not None]
    least = min(ends)
    most = max(1.0, *ends) if summary.measure == "success_rate" else max(ends)
    room = (most - least) or 1.0

    def percent(value: float) -> float:
        return round(100 * (value - least) / room, 2)

    def bar(name: str, value: float, estimate: Estimate | None, kind: str) -> Bar:
        low, high = (estimate.low, estimate.high) if estimate else (None, None)
        left = percent(min(0.0, value))
        return Bar(
            name=name,
            text=str(estimate) if estimate else number_text(value),
            left=left,
            width=round(percent(max(0.0, value)) - left, 2),
            low=None if low is None else percent(low),
            high=None if high is None else percent(high),
            kind=kind,
        )

    return tuple(
        bar(*figure) for figure in sorted(figures, key=lambda figure: _ORDER.index(figure[0]))
    ), beside


def baseline_levels(group: Group, measure: str) -> tuple[list[tuple[str, float]], tuple[str, ...]]:
    """Baselines in the unit of the measure, and a sentence on each that has another unit."""
    recorded = [_baselines(run) for run in group.runs]
    levels = []
    for key, name in (("uniform", "uniform player"), ("scripted", "scripted player")):
        players = [baselines.get(key) for baselines in recorded]
        mean = _mean(player.get(measure) for player in players if isinstance(player, Mapping))
        if mean is not None:
            levels.append((name, mean))
    optimum = _mean(baselines.get("optimum") for baselines in recorded)
    if optimum is None:
        return levels, ()
    if measure == "reward" or _success_is_return(group):
        return [*levels, ("exact optimum", optimum)], ()
    return levels, (f"The exact optimum of the return is {number_text(optimum)}.",)


def _baselines(run: Run) -> Mapping[str, object]:
    baselines = run.config.get("baselines")
    return baselines if isinstance(baselines, Mapping) else {}


def _mean(values: Iterable[object]) -> float | None:
    """The mean of those that are finite numbers; ``None`` if there is none."""
    known = [number for value in values if (number := finite(value)) is not None]
    return sum(known) / len(known) if known else None


def _success_is_return(group: Group) -> bool:
    """Whether the return was the success in every evaluation, so that both have one unit."""
    pairs = [
        (r.get("eval/reward"), r.get("eval/success_rate"))
        for run in group.runs
        for r in run.evaluations
    ]
    return bool(pairs) and all(
        a is not None and b is not None and abs(a - b) < 1e-9 for a, b in pairs
    )
