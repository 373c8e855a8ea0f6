"""Sentences of a report: which group ends higher, how near clones are to their players, how policies were decoded."""

from collections.abc import Iterator, Sequence

from algorithms.analysis.comparison import Comparison
from algorithms.analysis.estimate import number_text
from algorithms.analysis.groups import Group
from algorithms.analysis.tables import NAMES
from algorithms.runs.writer import finite

_NEAR, _FAR = (
    0.02,
    0.1,
)  # nats per reply: below the first a clone is near its player, above the second far from it
_TRIED = "decoding.tried."


def comparison_sentences(comparison: Comparison) -> Iterator[str]:
    """Which of two groups ends higher, judged by the interval over runs, a sentence for each pair."""
    measures = {s.group.scenario: NAMES[s.measure] for s in comparison.summaries}
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
                (f"difference of final {measures[pair.scenario]}", pair.difference),
                ("as a fraction of the second", pair.relative),
            )
            if estimate is not None
        ]
        yield f"{pair.scenario}, {pair.ours} against {pair.theirs}: {verdict} ({'; '.join(figures)})."


def clone_notes(groups: Sequence[Group]) -> list[str]:
    """How far clones are from the players that they imitate, a sentence for each scenario.

    A clone is reported as not converged where its distance is large, or much larger than that of another clone of the
    same player: its results then say little about models of its size.
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
        distances = ", ".join(f"{name} {number_text(d)}" for name, _, d in clones)
        verdict = f" Not converged: {', '.join(far)}." if far else ""
        notes.append(
            f"{scenario}: KL(player || clone) in nats a reply, on starts that no clone saw: {distances}.{verdict}"
        )
    return notes


def _clones(group: Group) -> list[tuple[str, str, float]]:
    """Group, player and mean distance of the group's clones; nothing where its policies are no clones."""
    recorded = [(run, finite(run.setting("cloning.divergence"))) for run in group.runs]
    known = [(run, distance) for run, distance in recorded if distance is not None]
    if not known:
        return []
    policy = known[0][0].spec.get("policy", {})
    player = f"{policy.get('player')} {policy.get('player_arguments')}"
    return [(group.name, player, sum(distance for _, distance in known) / len(known))]


def decoding_notes(groups: Sequence[Group]) -> Iterator[str]:
    """The temperature that was chosen for a policy, and the returns of those tried, a sentence for each run."""
    for group in groups:
        for run in group.runs:
            tried = ", ".join(
                f"{value} at {name.removeprefix(_TRIED)}"
                for name, value in run.settings.items()
                if name.startswith(_TRIED)
            )
            if tried:
                chosen = run.setting("decoding.temperature")
                yield (
                    f"{group.scenario}, {group.name}, seed {run.seed}: temperature {chosen}, chosen by the mean return "
                    f"of other episodes ({tried})."
                )
