"""The table of a suite: a row for each game and for the means, a column for each policy."""

from collections.abc import Sequence

from algorithms.analysis.scores import normalised_score, share
from algorithms.analysis.statistics import mean
from algorithms.analysis.tables import GAP, Table
from algorithms.suite.contestants import UNIFORM, Contestant
from algorithms.suite.results import GameResults
from algorithms.suite.spec import Suite


def suite_table(
    suite: Suite, contestants: Sequence[Contestant], results: Sequence[GameResults]
) -> Table:
    """Scores with their intervals: 0 is uniform play, 1 the best known play on the same episodes.

    The mean returns of both are columns, too. A model has a second column, the share of its texts that named no legal
    action; other players never write such a text. Means are over the games that a policy could play, each of which
    counts the same.

    Args:
      suite: the games.
      contestants: the contestants.
      results: of all games, as ``play_suite`` returns them.
    """
    scored = [one for one in contestants if one.name != UNIFORM]
    head = ["game", "level", "against", "return of uniform play", "return of best play"]
    for one in scored:
        head += [one.name] if one.spec is None else [one.name, f"{one.name}, invalid texts"]
    rows = [_game_row(one, scored) for one in results]
    levels = list(dict.fromkeys(one.game.level for one in results))
    groups = [(f"mean, {level}", [r for r in results if r.game.level == level]) for level in levels]
    if len(groups) > 1:
        groups.append(("mean", list(results)))
    rows += [_mean_row(name, members, scored) for name, members in groups]
    return Table(title=suite.title, head=tuple(head), rows=tuple(rows))


def _game_row(one: GameResults, scored: Sequence[Contestant]) -> tuple[str, ...]:
    opponent = GAP if one.game.opponent == "none" else one.game.opponent
    best = sum(one.best) / len(one.best)
    cells = [
        one.game.title,
        one.game.level,
        opponent,
        str(mean(one.lower)),
        f"{best:.3f} ({one.game.best})",
    ]
    for contestant in scored:
        cells += _score_cells([one], contestant)
    return tuple(cells)


def _mean_row(
    name: str, members: Sequence[GameResults], scored: Sequence[Contestant]
) -> tuple[str, ...]:
    cells = [name, GAP, GAP, GAP, GAP]
    for contestant in scored:
        score, *rest = _score_cells(members, contestant)
        count = sum(one.played.get(contestant.name) is not None for one in members)
        partial = "" if count in (0, len(members)) else f" ({count} of {len(members)} games)"
        cells += [score + partial, *rest]
    return tuple(cells)


def _score_cells(members: Sequence[GameResults], contestant: Contestant) -> list[str]:
    """The score of a contestant over some games, and the share of invalid texts if it is a model."""
    played = [(one, p) for one in members if (p := one.played.get(contestant.name)) is not None]
    if not played:
        failed = any(contestant.name in one.failed for one in members)
        cells = ["failed" if failed else GAP]
        return cells if contestant.spec is None else [*cells, GAP]
    cells = [str(normalised_score([(p.returns, one.lower, one.best) for one, p in played]))]
    if contestant.spec is not None:
        cells.append(str(share([(p.invalid, p.texts) for _, p in played])))
    return cells
