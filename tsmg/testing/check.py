"""``check_game``: every rule of the interface and every declared fact, along walks of all kinds."""

import functools
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from tsmg.errors import InvalidArgumentError
from tsmg.game import AbstractGame, AnyGame
from tsmg.misnamed import require_complete
from tsmg.testing import (
    chance,
    distributions,
    elsewhere,
    facts,
    free_text,
    interface,
    players,
    texts,
    told,
)
from tsmg.testing.causes import EXCEPTIONS, root_of
from tsmg.testing.enumeration import enumerate_game
from tsmg.testing.report import Report, RuleResult, Status, Violation
from tsmg.testing.rule import Case, Finding, Met, Note, Relation, Rule, WalkRule
from tsmg.testing.search import MetValues, Pair, Witness, outcomes, search, shrunk, witness
from tsmg.testing.twins import Twins
from tsmg.testing.walks import UNNAMED, KnownEpisode, Script, Subject

_LEAST_EDGES = 64
_EDGES_PER_EXAMPLE = 4
_STARTS = 4
_EXPLAIN = {"agents", EXCEPTIONS}
"""Rules that explain why no episode could be checked."""

RULES: tuple[Rule, ...] = (
    *interface.RULES,
    *texts.RULES,
    *free_text.RULES,
    *distributions.RULES,
    *players.RULES,
    *told.RULES,
    *chance.RULES,
    *elsewhere.RULES,
    *facts.RULES,
)
"""Every rule, in the order of the report."""


def check_game(
    make_game: Callable[[], AnyGame] | AnyGame,
    *,
    max_examples: int = 100,
    max_steps: int = 64,
    action_texts: Sequence[str] = (),
    known: Sequence[KnownEpisode] = (),
    rules: Sequence[str] = (),
    source: str = "",
) -> Report:
    """Check a game against the interface and against what it declares.

    The walks are the same in every run. All rules are checked, even after one was broken; the report has each broken
    rule with the shortest script that Hypothesis finds.

    Args:
      make_game: function that makes a fresh game, such as a game's class. A game itself is used as the only instance,
        so that the check cannot see two instances disturb each other.
      max_examples: number of pairs of walks; at least 1.
      max_steps: the greatest number of steps of a walk if the game's own limit is higher; at least 1.
      action_texts: texts to choose actions from if legal actions are not listed.
      known: episodes with known returns, which catch errors that no declared fact covers.
      rules: names of the rules to check; by default all.
      source: code that makes the variable ``game``, for the scripts of violations.

    Raises:
      InvalidArgumentError: a count below 1, an unknown rule, or ``make_game`` makes no game or lacks a method.

    Example:
      >>> import tsmg.testing
      >>> tsmg.testing.check_game(lambda: None)
      Traceback (most recent call last):
      ...
      tsmg.errors.InvalidArgumentError: 'make_game' must make a game (got None)
    """
    for name, value in (("max_examples", max_examples), ("max_steps", max_steps)):
        if value < 1:
            raise InvalidArgumentError(f"{name!r} must be at least 1 (got {value})")
    unknown = set(rules) - {rule.name for rule in RULES}
    if unknown:
        raise InvalidArgumentError(f"'rules' must be names of rules (got {sorted(unknown)})")
    chosen = tuple(rule for rule in RULES if rule.name in (rules or (rule.name,)))
    source = source or source_of(make_game)
    subject, game = _subject(make_game, max_steps, action_texts, known, source)
    check = _Check(subject, game, chosen)
    check.run(max_examples)
    return check.report(game.name, source, max_examples)


def _subject(
    make_game: Callable[[], AnyGame] | AnyGame,
    max_steps: int,
    action_texts: Sequence[str],
    known: Sequence[KnownEpisode],
    source: str,
) -> tuple[Subject, AnyGame]:
    """The game under test, and one instance of it."""
    if isinstance(make_game, AbstractGame):
        instance: AnyGame = make_game
        make: Callable[[], AnyGame] = lambda: instance
    else:
        make = make_game
    require_complete(make_game, getattr(make_game, "__name__", "game"))
    game: object = make()
    if not isinstance(game, AbstractGame):
        raise InvalidArgumentError(f"'make_game' must make a game (got {game!r})")
    limits = [n for n in (game.facts.longest_game, game.horizon) if n is not None and n >= 1]
    full = limits[0] if limits else None
    subject = Subject(
        make=make,
        limit=min(max_steps, full or max_steps),
        full=full,
        action_texts=tuple(action_texts),
        known=tuple(known),
        source=source,
    )
    return subject, game


class _Check:
    """One check of a game; mutable, and used once."""

    def __init__(self, subject: Subject, game: AnyGame, chosen: Sequence[Rule]) -> None:
        self.subject = subject
        self.game = game
        self.twins = Twins(subject, game)
        self.chosen = chosen
        self.rules = [rule for rule in chosen if _is_declared(rule, game, subject)]
        self.opposite = {
            rule.name for rule in self.rules if isinstance(rule, Relation) and not rule.holds(game)
        }
        self.counts = dict.fromkeys((rule.name for rule in RULES), 0)
        self.notes: dict[str, dict[str, None]] = {rule.name: {} for rule in RULES}
        self.found: dict[str, Witness] = {}
        self.findings = dict.fromkeys((rule.name for rule in RULES), 0)
        self.enumerated: int | None = None
        self.not_enumerated = ""
        self.denied: dict[str, Witness] = {}
        self.declares: dict[str, set[bool]] = {rule.name: set() for rule in RULES}
        self.explained = False
        self.met_values = {rule.name: MetValues() for rule in RULES}
        self.walks, self.states, self.whole = 0, 0, 0

    def run(self, max_examples: int) -> None:
        """Check the static rules once, then the others along many walks."""
        case = Case.of(self.subject, Script())
        self._check_first(case)
        if self.explained:
            return
        for rule in self.rules:
            if isinstance(rule, WalkRule) and rule.is_static and rule.needs_start:
                self._check(rule, case)
        search(self.subject, max_examples, self._check_pair)
        self._check_all(case.game, max(_LEAST_EDGES, _EDGES_PER_EXAMPLE * max_examples))
        if self.enumerated is not None:
            self.denied.update(_denied(self.rules, self.opposite - self.found.keys()))

    def _check_first(self, case: Case) -> None:
        """Check what needs no state; nothing else is checked where that explains why no episode could be."""
        first = [rule for rule in self.rules if isinstance(rule, WalkRule) and not rule.needs_start]
        begins = any(
            Case.of(self.subject, Script(seed=seed)).walk.visits
            for seed in range(_STARTS if not case.walk.visits else 0)
        )
        for rule in first:
            if rule.is_static or not (case.walk.visits or begins):
                self._check(rule, case)
                self.explained |= rule.name in self.found and rule.name in _EXPLAIN
            if self.explained:
                return

    def _check_pair(self, pair: Pair) -> bool:
        cases = [self._check_walk(script) for script in (*pair, *self.twins.of(pair[0]))]
        for script in itertools.chain.from_iterable(map(self.twins.equal, cases[:2])):
            self._check_walk(script)
        return False

    def _check_all(self, game: AnyGame, most_edges: int) -> None:
        """Check every state and step of a small explicit game."""
        found = enumerate_game(self.subject, game, most_edges)
        self.not_enumerated = found.stopped
        if found.stopped:
            return
        for script in found.scripts(len(game.agents)):
            self._check_walk(script)
        if found.fault is not None:
            return
        if found.within == len(found.paths) or self.subject.limit == game.horizon:
            self.enumerated = found.within
        else:
            self.not_enumerated = f"states more than {found.limit} steps from the start"
            note = f"{self.not_enumerated} were not visited (raise max_steps: --max-steps)"
            self.notes["plays-through"][note] = None
        declared = game.facts.longest_game
        if declared is not None and found.longest < declared <= self.subject.limit:
            note = f"the longest game has {found.longest} steps, but {declared} are declared"
            self.notes["longest-game"][note] = None
        if found.is_cut_off and self.subject.limit == game.horizon:
            note = f"the horizon of {game.horizon} steps cuts some episodes off"
            self.notes["step-limit"][note] = None

    def _check_walk(self, script: Script) -> Case:
        case = Case.of(self.subject, script)
        self.walks += 1
        self.states += len(case.walk.visits)
        self.whole += case.walk.is_whole
        for rule in self.rules:
            if isinstance(rule, Relation) or not rule.is_static:
                self._check(rule, case)
        return case

    def _check(self, rule: Rule, case: Case) -> None:
        for outcome in outcomes(rule, case):
            if isinstance(outcome, Note):
                self.notes[rule.name][outcome.message] = None
                continue
            if isinstance(outcome, Met):
                self.declares[rule.name].add(not outcome.is_default)
            self.counts[rule.name] += not (isinstance(outcome, Met) and outcome.is_default)
            if isinstance(outcome, Finding):
                self.findings[rule.name] += 1
                self._found(rule, witness(case, outcome))
            elif isinstance(outcome, Met):
                self._found(rule, self.met_values[rule.name].add(case, outcome))

    def _found(self, rule: Rule, new: Witness | None) -> None:
        old = self.found.get(rule.name)
        if new is not None and (old is None or new.cost < old.cost):
            self.found[rule.name] = new

    def report(self, name: str, source: str, max_examples: int) -> Report:
        """The report, with each witness shrunk."""
        roots = self._roots()
        checked = [rule for rule in self.chosen if not self.explained or self.counts[rule.name]]
        results = tuple(self._result(rule, roots) for rule in checked)
        violations = tuple(
            self._violation(rule, source, max_examples)
            for rule, result in zip(checked, results, strict=True)
            if result.status is Status.BROKEN
        )
        return Report(
            game=name,
            walks=self.walks,
            states=self.states,
            whole=self.whole,
            results=results,
            violations=violations,
            enumerated=self.enumerated,
            not_enumerated=self.not_enumerated,
            is_cut_short=self.explained,
        )

    def _result(self, rule: Rule, roots: Mapping[str, str]) -> RuleResult:
        status = Status.FOLLOWS if rule.name in roots else self._status(rule)
        notes = [f"follows from {roots[rule.name]}"] if rule.name in roots else []
        if isinstance(rule, Relation) and status is Status.NOT_DECLARED:
            is_told = not self.declares[rule.name] or self.game.facts.perfect_information
            notes += [] if is_told else [rule.default]
        if isinstance(rule, Relation) and rule.opposite and status is Status.NOT_SEEN:
            notes.append(rule.opposite.doubt)
        return RuleResult(
            rule=rule.name,
            requirement=rule.requirement,
            status=status,
            count=self.counts[rule.name],
            unit=rule.unit,
            notes=(*notes, *self.notes[rule.name]),
        )

    def _roots(self) -> dict[str, str]:
        """The rules that are broken because another one is, and that one."""
        broken = [rule.name for rule in self.rules if self._status(rule) is Status.BROKEN]
        kinds = {
            name: self.found[name].finding.exception if name in self.found else ""
            for name in broken
        }
        raised = kinds.get(EXCEPTIONS) or None
        found = {
            name: root_of(
                name,
                broken,
                repeats_exception=kinds[name] == raised,
                is_denied=name in self.denied,
            )
            for name in broken
        }
        return {name: root for name, root in found.items() if root is not None}

    def _status(self, rule: Rule) -> Status:
        found = rule.name in self.found
        if rule not in self.rules:
            return Status.NOT_DECLARED
        if isinstance(rule, WalkRule) and rule.one_suffices:
            found = 0 < self.counts[rule.name] == self.findings[rule.name]
        if rule.name in self.denied:
            return Status.BROKEN
        if rule.name in self.opposite:
            return Status.OK if found else Status.NOT_SEEN
        if found:
            return Status.BROKEN
        if isinstance(rule, Relation) and rule.default and self.declares[rule.name] == {False}:
            return Status.NOT_DECLARED
        return Status.OK if self.counts[rule.name] else Status.NOT_SEEN

    def _violation(self, rule: Rule, source: str, max_examples: int) -> Violation:
        is_denied = rule.name in self.denied
        found = self.denied[rule.name] if is_denied else self.found[rule.name]
        if not is_denied and (isinstance(rule, Relation) or not rule.is_static):
            found = shrunk(self.subject, rule, found, max_examples)
        opposite = rule.opposite if is_denied and isinstance(rule, Relation) else None
        return Violation(
            rule=rule.name,
            requirement=opposite.requirement if opposite else rule.requirement,
            seen=found.finding.seen,
            cause=found.finding.cause or rule.cause,
            script=_code(found, source, self.subject.action_texts),
            steps=sum(len(script.moves) for script in found.scripts),
        )


def _denied(rules: Sequence[Rule], names: Collection[str]) -> Iterator[tuple[str, Witness]]:
    """Of the relations whose opposite is declared, those that everything visited agrees with."""
    for rule in rules:
        if isinstance(rule, Relation) and rule.opposite and rule.name in names:
            finding = Finding(0, rule.opposite.denied, "game.facts", cause=rule.opposite.cause)
            yield (
                rule.name,
                Witness(scripts=(Script(),), actions=("",), finding=finding, shows=(finding.show,)),
            )


def _is_declared(rule: Rule, game: AnyGame, subject: Subject) -> bool:
    if rule is facts.known_episodes:
        return bool(subject.known)
    if isinstance(rule, Relation):
        return rule.holds(game) is not None
    return rule.applies(game)


def _code(found: Witness, source: str, action_texts: Sequence[str]) -> str:
    """Code that makes the walks of a witness, and shows what is wrong there."""
    shows_tsmg = any("tsmg." in show for show in found.shows)
    lines = [*(["import tsmg"] if shows_tsmg else []), "from tsmg.testing import replay", source]
    texts = f", action_texts={tuple(action_texts)!r}" if action_texts else ""
    for script, actions, show in zip(found.scripts, found.actions, found.shows, strict=True):
        comment = f"  # {actions}" if actions else ""
        call = f"replay(game, {script.arguments()}{texts})"
        lines.append(f"state = {call}.state{comment}")
        lines.extend([show] if show else [])
    return "\n".join(lines)


def source_of(make_game: object) -> str:
    """Code that makes ``game`` as ``make_game`` does, as far as that has a name."""
    function, arguments = make_game, ""
    if isinstance(make_game, functools.partial):
        keywords = (f"{name}={value!r}" for name, value in make_game.keywords.items())
        function, arguments = make_game.func, ", ".join((*map(repr, make_game.args), *keywords))
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "<")
    if not module or "<" in name:
        return UNNAMED
    root = name.partition(".")[0]
    return f"from {module} import {root}\ngame = {name}({arguments})"
