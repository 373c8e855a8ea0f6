"""Groups of runs of one scenario that differ only in their seed."""

from collections import Counter
from collections.abc import Sequence

import attrs

from algorithms.runs.reader import Run, scenario_of, settings_of
from tsmg import InvalidArgumentError

_FIELDS_IN_NAME = 3  # more differences than this are counted, not named


@attrs.frozen(kw_only=True)
class Group:
    """Runs of one scenario and one configuration.

    Attributes:
      name: the settings in which it differs from the other groups of its scenario.
      scenario: name of the game and its arguments.
      runs: its runs, finished or not.
    """

    name: str
    scenario: str
    runs: tuple[Run, ...]

    @property
    def whole(self) -> tuple[Run, ...]:
        """The runs that are finished."""
        return tuple(run for run in self.runs if run.is_finished)


def group_runs(runs: Sequence[Run], *, by: str | None = None) -> list[Group]:
    """Runs grouped by scenario and configuration, or by scenario and a single field.

    Args:
      runs: the runs, in the order in which groups are to appear.
      by: name or dotted path of the field; by default the whole configuration except the seed.

    Raises:
      InvalidArgumentError: no run has the field.
    """
    if by is not None and all(run.setting(by) is None for run in runs):
        raise InvalidArgumentError(f"no run has the field {by!r} in its config.json (--by)")
    members: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        key = str(settings_of(run)) if by is None else f"{by}={run.setting(by)}"
        members.setdefault((scenario_of(run), key), []).append(run)
    names = _names(list(members.values())) if by is None else [key for _, key in members]
    return [
        Group(name=name.removeprefix("arm="), scenario=scenario, runs=tuple(group))
        for (scenario, _), group, name in zip(members, members.values(), names, strict=True)
    ]


def _names(groups: Sequence[Sequence[Run]]) -> list[str]:
    """The settings in which each group differs from the others of its scenario; the arm's name where it has one."""
    settings = [settings_of(members[0]) for members in groups]
    scenarios = [scenario_of(members[0]) for members in groups]
    names = []
    for members, own, scenario in zip(groups, settings, scenarios, strict=True):
        beside = [s for s, where in zip(settings, scenarios, strict=True) if where == scenario]
        differing = [f for f in own if len({s.get(f) for s in beside}) > 1]
        named = differing[:_FIELDS_IN_NAME]
        parts = ["{}={}".format(f.rpartition(".")[2], own[f].strip('"')) for f in named]
        if len(differing) > len(named):
            parts.append(f"and {len(differing) - len(named)} more")
        names.append(members[0].label("arm") or ", ".join(parts) or "all runs")
    repeated = Counter(zip(scenarios, names, strict=True))
    seen: Counter[tuple[str, str]] = Counter()
    for i, key in enumerate(zip(scenarios, list(names), strict=True)):
        seen[key] += 1
        names[i] += f" ({seen[key]})" if repeated[key] > 1 else ""
    return names


def scenario_names(groups: Sequence[Group]) -> list[str]:
    """The scenarios of some groups, each once, in order."""
    return list(dict.fromkeys(group.scenario for group in groups))


def group_notes(groups: Sequence[Group]) -> list[str]:
    """A sentence for each difference or gap that a reader of a comparison should know."""
    notes = []
    scenarios = scenario_names(groups)
    if len(scenarios) > 1:
        first, other = (next(g for g in groups if g.scenario == s).runs[0] for s in scenarios[:2])
        notes.append(
            f"the runs play different games: {scenarios[0]} in {str(first.path)!r}, {scenarios[1]} in "
            f"{str(other.path)!r} (config.json, fields 'game.id' and 'game.arguments'); they are compared separately"
        )
    for scenario in scenarios:
        runs = [run for group in groups if group.scenario == scenario for run in group.runs]
        for field in ("run.evaluation_seed", "run.final_episodes", "game.held_out", "game.horizon"):
            values = {str(run.setting(field)) for run in runs}
            if len(values) > 1:
                notes.append(
                    f"{scenario}: the runs were not evaluated alike (config.json, field {field!r}: "
                    f"{', '.join(sorted(values))})"
                )
    for group in groups:
        unfinished = len(group.runs) - len(group.whole)
        if unfinished:
            notes.append(
                f"{group.name}: {unfinished} of {len(group.runs)} runs are not finished and not counted"
            )
        counts = Counter(str(run.seed) for run in group.runs)
        repeated = [seed for seed, count in counts.items() if count > 1]
        if repeated:
            notes.append(
                f"{group.name}: more than one run has seed {', '.join(repeated)} (config.json, field "
                "'algorithm.seed'); intervals treat them as independent"
            )
    return notes
