"""What a report says, as plain values: the answer, the charts, the tables, the gaps, the episodes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from algorithms.analysis import statistics
from algorithms.analysis.comparison import Comparison, Group, Summary, compare_runs
from algorithms.analysis.report.charts import Chart, counted
from algorithms.analysis.report.episodes import viewer_data
from algorithms.analysis.statistics import Estimate, number_text
from algorithms.analysis.tables import NAMES, Table, tables
from algorithms.runs.reader import Run
from algorithms.runs.writer import finite

EPISODES_PER_RUN = 20


@attrs.frozen(kw_only=True)
class Bar:
    """A figure beside others of its unit.

    Attributes:
      name: whose figure.
      text: the figure in words.
      left, width: where its bar lies, in percent of the room.
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
      runs: how many runs, in words.
      verdict: one word or two.
      tone: ``good``, ``bad`` or ``open``.
      what: what is measured: success or return.
      start, final: figures with intervals; a dash where there is none. Both are the same where nothing was trained.
      is_trained: whether these runs trained.
      interval: over what the intervals are.
      bars: start and end beside references.
      beside: what cannot be a bar, a sentence each.
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


@attrs.frozen(kw_only=True)
class Panel:
    """The charts of one scenario, and whose curves they show."""

    scenario: str
    groups: tuple[Group, ...]
    charts: tuple[Chart, ...]


@attrs.frozen(kw_only=True)
class Content:
    """All that a report says.

    Attributes:
      title: of the page.
      answers: one for each group.
      against: how groups do against each other, a sentence each.
      panels: charts, by scenario.
      tables: figures and comparisons.
      notes: gaps and differences, a sentence each.
      settings: of the runs: (field, value) where all agree, or the values.
      episodes: for the viewer.
    """

    title: str
    answers: tuple[Answer, ...]
    against: tuple[str, ...]
    panels: tuple[Panel, ...]
    tables: tuple[Table, ...]
    notes: tuple[str, ...]
    settings: tuple[tuple[str, str], ...]
    episodes: tuple[Mapping[str, Any], ...]


def report_content(
    runs: Sequence[Run],
    problems: Sequence[str] = (),
    *,
    by: str | None = None,
    threshold: float = 0.9,
    greedy: bool = False,
    episodes: int = EPISODES_PER_RUN,
) -> Content:
    """What a report of some runs says.

    Args:
      runs: as read.
      problems: what could not be read.
      by: group by this field of the configuration.
      threshold: for the updates until it.
      greedy: whether the figures are of greedy play.
      episodes: transcripts of each run.

    Raises:
      InvalidArgumentError: no run has the field.
    """
    comparison = compare_runs(runs, by=by, threshold=threshold, greedy=greedy)
    groups = [summary.group for summary in comparison.summaries]
    titles = dict.fromkeys(
        run.label("title") or group.scenario for group in groups for run in group.runs
    )
    return Content(
        title=next(iter(titles)) if len(titles) == 1 else f"{len(runs)} runs",
        answers=tuple(_answer(summary) for summary in comparison.summaries),
        against=tuple(_against(comparison)),
        panels=tuple(_panels(comparison)),
        tables=tuple(tables(comparison)),
        notes=(*problems, *comparison.notes, *_clone_notes(groups), *_decoding_notes(groups)),
        settings=tuple(_settings(runs)),
        episodes=tuple(viewer_data(groups, per_run=episodes)),
    )


def _against(comparison: Comparison) -> Iterator[str]:
    """Which of two groups ends higher, as far as the interval over runs tells."""
    what = {s.group.scenario: NAMES[s.measure] for s in comparison.summaries}
    for pair in comparison.pairs:
        low, high = pair.difference.low, pair.difference.high
        if low is None or high is None:
            verdict = "one run in a group tells nothing about another seed"
        elif low <= 0 <= high:
            verdict = "no clear difference"
        else:
            verdict = f"{pair.ours if low > 0 else pair.theirs} ends higher"
        figures = [
            f"{name} {estimate if estimate.low is not None else estimate.text}"
            for name, estimate in (
                (f"difference of final {what[pair.scenario]}", pair.difference),
                ("as a part of the second", pair.relative),
            )
            if estimate is not None
        ]
        yield f"{pair.scenario}, {pair.ours} against {pair.theirs}: {verdict} ({'; '.join(figures)})."


def _clone_notes(groups: Sequence[Group]) -> list[str]:
    """How far clones are from the players that they imitate, a sentence for each scenario.

    A clone that is much farther than another one of the same player, or far anyway, has not converged: its play says
    little about its size.
    """
    notes = []
    for scenario in dict.fromkeys(group.scenario for group in groups):
        clones = [c for group in groups if group.scenario == scenario for c in _clones(group)]
        if not clones:
            continue
        nearest = {
            player: min(d for _, other, d in clones if other == player) for _, player, _ in clones
        }
        far = [name for name, player, d in clones if d > min(_FAR, max(_NEAR, 3 * nearest[player]))]
        told = ", ".join(f"{name} {number_text(d)}" for name, _, d in clones)
        verdict = f" Not converged: {', '.join(far)}." if far else ""
        notes.append(
            f"{scenario}: KL(player || clone) in nats a reply, on starts that no clone saw: {told}.{verdict}"
        )
    return notes


_NEAR, _FAR = 0.02, 0.1  # nats a reply that are always near, and always far


def _clones(group: Group) -> list[tuple[str, str, float]]:
    """Name, player and distance of the group's clones, if they are some; one player has one description."""
    known = [(run, d) for run in group.runs if (d := _divergence(run)) is not None]
    if not known:
        return []
    policy = known[0][0].spec.get("policy", {})
    player = f"{policy.get('player')} {policy.get('player_arguments')}"
    return [(group.name, player, sum(d for _, d in known) / len(known))]


def _divergence(run: Run) -> float | None:
    return finite(run.setting("cloning.divergence"))


_TRIED = "decoding.tried."


def _decoding_notes(groups: Sequence[Group]) -> Iterator[str]:
    """At what temperature a policy was evaluated whose best one was looked for, and what the others gave."""
    for group in groups:
        for run in group.runs:
            told = ", ".join(
                f"{value} at {name.removeprefix(_TRIED)}"
                for name, value in run.settings.items()
                if name.startswith(_TRIED)
            )
            if told:
                chosen = run.setting("decoding.temperature")
                yield (
                    f"{group.scenario}, {group.name}, seed {run.seed}: temperature {chosen}, chosen by the mean return "
                    f"of other episodes ({told})."
                )


def _answer(summary: Summary) -> Answer:
    group, what = summary.group, NAMES[summary.measure]
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
        what=what,
        start=str(summary.start) if summary.start else "-",
        final=str(summary.final) if summary.final else "-",
        final_value=summary.final.text if summary.final else "-",
        is_trained=_trains(group),
        interval=_interval_text(whole, over),
        bars=bars,
        beside=beside,
    )


def _trains(group: Group) -> bool:
    return any(run.planned_updates > 0 for run in group.runs)


def _where_trained(group: Group) -> str:
    """Where the policies of a group that was only evaluated come from."""
    made = {
        (run.label("trained_on"), bool(run.config.get("trained_updates"))) for run in group.runs
    }
    ((place, is_trained),) = made if len(made) == 1 else ((None, False),)
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
    """Whether the intervals before and after are apart."""
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
    beside = _references(summary.group, summary.measure)
    figures: list[tuple[str, float, Estimate | None, str]] = [
        (name, value, None, "reference") for name, value in beside[0]
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

    return tuple(bar(*figure) for figure in sorted(figures, key=_rank)), beside[1]


_ORDER = (
    "uniform player",
    "scripted player",
    "before training",
    "after training",
    "this policy",
    "exact optimum",
)


def _rank(figure: tuple[Any, ...]) -> int:
    return _ORDER.index(figure[0])


def _references(group: Group, measure: str) -> tuple[list[tuple[str, float]], tuple[str, ...]]:
    """Levels in the unit of the measure, and sentences about the others."""
    found: list[tuple[str, float]] = []
    for key, name in (("uniform", "uniform player"), ("scripted", "scripted player")):
        values = [_level(run, key, measure) for run in group.runs]
        known = [value for value in values if value is not None]
        if known:
            found.append((name, sum(known) / len(known)))
    optima = [v for run in group.runs if (v := finite(_recorded(run).get("optimum"))) is not None]
    if not optima:
        return found, ()
    optimum = sum(optima) / len(optima)
    if measure == "reward" or _success_is_return(group):
        return [*found, ("exact optimum", optimum)], ()
    return found, (f"The exact optimum of the return is {number_text(optimum)}.",)


def _recorded(run: Run) -> Mapping[str, Any]:
    recorded = run.config.get("baselines")
    return recorded if isinstance(recorded, Mapping) else {}


def _level(run: Run, key: str, measure: str) -> float | None:
    player = _recorded(run).get(key)
    return finite(player.get(measure)) if isinstance(player, Mapping) else None


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


def _panels(comparison: Comparison) -> list[Panel]:
    panels = []
    for scenario in dict.fromkeys(s.group.scenario for s in comparison.summaries):
        summaries = [s for s in comparison.summaries if s.group.scenario == scenario]
        groups = tuple(s.group for s in summaries)
        measure = summaries[0].measure
        levels = tuple(_references(groups[0], measure)[0])
        panels.append(
            Panel(scenario=scenario, groups=groups, charts=_charts(measure, levels, groups))
        )
    return panels


def _charts(
    measure: str, levels: tuple[tuple[str, float], ...], groups: Sequence[Group]
) -> tuple[Chart, ...]:
    what, unit = NAMES[measure], "share" if measure == "success_rate" else "reward"
    named = {"uniform player": "uniform", "scripted player": "scripted", "exact optimum": "optimum"}
    lines = tuple((named[name], value) for name, value in levels)
    charts = (
        Chart(
            title=f"Evaluation, sampled: {what}", metric=f"eval/{measure}", unit=unit, lines=lines
        ),
        Chart(
            title=f"Evaluation, greedy: {what}",
            metric=f"eval_greedy/{measure}",
            unit=unit,
            lines=lines,
        ),
        Chart(title=f"Training episodes: {what}", metric=measure, unit=unit),
        Chart(title="Invalid texts", metric="invalid_rate", unit="share"),
        Chart(title="Entropy per token", metric="entropy", unit="nats"),
        Chart(title="KL to the start", metric="kl", unit="nats"),
        Chart(title="Reply length", metric="reply_length", unit="tokens"),
        Chart(title="Groups without signal", metric="frac_reward_zero_std", unit="share"),
    )
    return tuple(
        chart
        for chart in charts
        if any(run.curve(chart.metric)[0] for group in groups for run in group.runs)
    )


def _settings(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Every field of the configurations, with the values that occur."""
    configs = [run.settings for run in runs]
    names = dict.fromkeys(name for config in configs for name in config)
    found = []
    for name in sorted(names):
        values = dict.fromkeys(str(config[name]) for config in configs if name in config)
        shown = list(values)[:8] + (["..."] if len(values) > 8 else [])
        found.append((name, ", ".join(shown)))
    return found
