"""The play of a suite: each pair of a policy and a game once, kept in a file named by what determines it."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from algorithms.play.evaluation import evaluate
from algorithms.runs.atomic import write_whole_file
from algorithms.suite.contestants import UNIFORM, Contestant
from algorithms.suite.place import Place
from algorithms.suite.spec import Suite, SuiteGame
from tsmg import InvalidArgumentError, TSMGError

_NAME = 60  # characters of a file's name


@attrs.frozen(kw_only=True)
class Played:
    """How a policy played the episodes of a game.

    Attributes:
      returns: of each episode, penalties left out.
      texts: how many texts the policy wrote in each.
      invalid: how many of them named no legal action.
    """

    returns: tuple[float, ...]
    texts: tuple[int, ...]
    invalid: tuple[int, ...]


@attrs.frozen(kw_only=True)
class GameResults:
    """How all contestants played a game.

    Attributes:
      game: the game as the suite declares it.
      lower: the returns of uniform play.
      best: the returns that score 1.
      played: by name of the contestant; ``None`` if there is no such player.
      failed: by name of the contestant: why it could not play.
    """

    game: SuiteGame
    lower: tuple[float, ...]
    best: tuple[float, ...]
    played: Mapping[str, Played | None]
    failed: Mapping[str, str]


def play_suite(
    suite: Suite,
    contestants: Sequence[Contestant],
    folder: str | Path,
    *,
    report: Callable[[str, str], None] = lambda game, contestant: None,
) -> list[GameResults]:
    """Play what has not been played yet, and read the rest from its files.

    A checkpoint that is not there ends everything before the first game; a policy that fails in a game later stops
    nothing else, unless it is uniform play or the best known play of that game.

    Args:
      suite: the games.
      contestants: the contestants; uniform play is added, since every score needs it.
      folder: where results are kept, in files named by what determines them.
      report: called with a game and a contestant before they are looked up or played.

    Raises:
      InvalidArgumentError: two contestants have one name, the optimum of a game cannot be computed, or its best play is
        no better than uniform play on these episodes.
      ModelError: a contestant's checkpoint is not there, or cannot be reached.
      TooManyFailuresError: a game raises an error under uniform play, or under its best known play.
    """
    names = [contestant.name for contestant in contestants]
    if len(set(names)) < len(names):
        raise InvalidArgumentError(f"the policies must differ from each other (got {names})")
    for contestant in contestants:
        contestant.resolve()
    results = []
    for declared in suite.games:
        place = Place.of(suite, declared)
        keep = _Keep(Path(folder) / _file_name(declared.title), place.identity())
        report(declared.title, "best known play")
        best = _best(place, keep)
        lower = _played(place, Contestant(name=UNIFORM), keep)
        if lower is None or not sum(best) > sum(lower.returns):
            raise InvalidArgumentError(
                f"on {suite.episodes} episodes of {declared.title!r} the best known play has no greater return than "
                "uniform play: set 'episodes' to more"
            )
        played, failed = {}, {}
        for contestant in contestants:
            report(declared.title, contestant.name)
            try:
                played[contestant.name] = _played(place, contestant, keep)
            except TSMGError as error:
                failed[contestant.name] = str(error)
        results.append(
            GameResults(game=declared, lower=lower.returns, best=best, played=played, failed=failed)
        )
    return results


@attrs.frozen
class _Keep:
    """The files of a game: each is named by a hash of what determines its content, and holds it."""

    folder: Path
    determines: Mapping[str, Any]

    def get(
        self, name: str, determines: Mapping[str, Any], compute: Callable[[], dict[str, Any] | None]
    ) -> dict[str, Any] | None:
        key = json.loads(json.dumps({**self.determines, **determines}))
        digest = hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=8)
        file = self.folder / f"{_file_name(name)}-{digest.hexdigest()}.json"
        try:
            kept = json.loads(file.read_text())
            if kept["key"] == key:
                return {str(name): value for name, value in kept["found"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass  # not there, or no such file: it is written anew
        found = compute()
        if found is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole_file(file, json.dumps({"key": key, "found": found}, indent=1) + "\n")
        return found


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")[-_NAME:]


def _played(place: Place, contestant: Contestant, keep: _Keep) -> Played | None:
    def play() -> dict[str, Any] | None:
        policy = contestant.policy(place)
        if policy is None:
            return None
        found = evaluate(place.game, policy, place.specs, matchups=place.matchups)
        return {
            "returns": found.returns,
            "texts": found.texts,
            "invalid": found.invalid_texts,
        }

    kept = keep.get(contestant.name, contestant.identity(), play)
    return None if kept is None else Played(**{name: tuple(kept[name]) for name in kept})


def _best(place: Place, keep: _Keep) -> tuple[float, ...]:
    """The returns that score 1, aligned with the episodes."""
    declared = place.declared
    if declared.best_return is not None:
        return (declared.best_return,) * len(place.specs)
    if declared.best == "scripted":
        scripted = _played(place, Contestant(name="scripted"), keep)
        return () if scripted is None else scripted.returns
    found = keep.get("optimum", {"exact": "optimum"}, lambda: {"returns": place.optimum()})
    return () if found is None else tuple(found["returns"])
