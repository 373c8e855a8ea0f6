"""Finds walks that break rules, and shrinks them, by Hypothesis.

One run checks all rules along the same walks. Each broken rule then gets a run of its own over the same
walks, which finds the violation again and shrinks it.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import attrs
from hypothesis import HealthCheck, Phase, Verbosity, errors, given, settings
from hypothesis import strategies as st

from tsmg.testing.rule import Case, Finding, Met, Note, Relation, Rule
from tsmg.testing.walks import CHOICES, Script, Subject, error_line, kind_of

Pair = tuple[Script, Script]

_MOVES = 24
_TRIES = 500
_TEXTS = ("", " ", "\x00", "\x1b[31m", "\u202e", "-1", "\u0663", "\u00b2", "nan", "1e999", "null")
_LONG_TEXTS = ("9" * 5000, "[" * 5000, "a" * 20_000)


@attrs.frozen(kw_only=True)
class Witness:
    """Walks that break a rule: one, or two for a relation.

    Attributes:
      scripts: their scripts, with every move written out.
      actions: the joint actions of each, as text.
      finding: the finding that they lead to.
      shows: code that shows it in the last state of each.
    """

    scripts: tuple[Script, ...]
    actions: tuple[str, ...]
    finding: Finding
    shows: tuple[str, ...]

    @property
    def cost(self) -> tuple[object, ...]:
        """Shorter and simpler witnesses cost less."""
        moves = [script.moves for script in self.scripts]
        texts = [len(script.text) for script in self.scripts]
        seeds = [script.seed for script in self.scripts]
        chosen = [sum(script.outcomes or ()) for script in self.scripts]
        return (
            sum(map(len, moves)),
            sum(texts),
            sum(map(sum, moves)),
            sum(chosen),
            sum(seeds),
            seeds,
        )


def _pairs(limit: int) -> st.SearchStrategy[Pair]:
    """Two scripts; often of one seed or even of the same moves, so that their walks fork."""
    texts = st.one_of(st.text(max_size=8), st.sampled_from(_TEXTS), st.sampled_from(_LONG_TEXTS))
    scripts = st.builds(
        Script,
        seed=st.integers(0, 255),
        moves=st.lists(st.integers(0, CHOICES - 1), max_size=min(limit, _MOVES)).map(tuple),
        rest=st.integers(0, limit),
        text=texts,
    )
    forks = st.one_of(st.integers(0, limit), st.just(limit - 1))

    def pair(first: Script, second: Script, shared: str, fork: int) -> Pair:
        if shared == "nothing":
            return first, second
        if shared == "start":
            return first, attrs.evolve(second, seed=first.seed)
        first = attrs.evolve(first, rest=limit)
        return first, attrs.evolve(first, redrawn_from=fork)

    return st.builds(
        pair, scripts, scripts, st.sampled_from(("nothing", "start", "moves", "moves")), forks
    )


class _Broken(Exception):  # noqa: N818  # tells Hypothesis, and nobody else, that there is something to shrink
    """The rule is broken by the present example."""


def search(subject: Subject, max_examples: int, breaks: Callable[[Pair], bool]) -> None:
    """Try pairs of scripts; once ``breaks`` is True for one, try ever simpler pairs for which it is True."""

    @settings(
        max_examples=max_examples,
        derandomize=True,
        database=None,
        deadline=None,
        print_blob=False,
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(_pairs(subject.limit))
    def run(pair: Pair) -> None:
        if breaks(pair):
            raise _Broken

    # A game that is not deterministic breaks its rules only sometimes: Hypothesis calls it flaky.
    with contextlib.suppress(_Broken, errors.Flaky):
        run()


def outcomes(rule: Rule, case: Case) -> Iterator[Finding | Note | Met | None]:
    """The outcomes of a rule on a walk; an exception of the game is a finding."""
    if not case.walk.visits and (isinstance(rule, Relation) or rule.needs_start):
        return
    check: Callable[[Case], Iterator[Finding | Note | Met | None]]
    check = rule.met if isinstance(rule, Relation) else rule.check
    try:
        yield from check(case)
    except Exception as error:
        at = max(len(case.walk.visits) - 1, 0)
        yield Finding(at, f"raised {error_line(error)}", exception=kind_of(error))


def witness(case: Case, finding: Finding) -> Witness:
    """The part of a walk that leads to a finding."""
    script = case.walk.upto(finding.at)
    return Witness(
        scripts=(script,),
        actions=(case.walk.actions_text(finding.at),),
        finding=finding,
        shows=(finding.show,),
    )


class MetValues:
    """The keys and values that a relation has met so far; mutable, for one run of the search."""

    def __init__(self) -> None:
        self._met: dict[Any, tuple[Met, Witness]] = {}

    def add(self, case: Case, met: Met) -> Witness | None:
        """Keep a key and its value; return a witness if the key was met with another value."""
        here = witness(case, Finding(met.at, met.seen, met.show))
        try:
            known = self._met.get(met.key)
        except TypeError:
            return None  # unhashable: another rule reports that
        if known is None or known[0].value == met.value:
            if known is None or here.cost < known[1].cost:
                self._met[met.key] = (met, here)
            return None
        there = known[1]
        first, second = sorted((there, here), key=lambda w: w.cost)
        return Witness(
            scripts=first.scripts + second.scripts,
            actions=first.actions + second.actions,
            finding=Finding(met.at, f"{first.finding.seen}; but {second.finding.seen}"),
            shows=first.shows + second.shows,
        )


def shrunk(subject: Subject, rule: Rule, found: Witness, max_examples: int) -> Witness:
    """The cheapest witness that Hypothesis finds, or the one that was found before."""
    best = found

    def breaks(pair: Pair) -> bool:
        nonlocal best
        cheapest = min(_witnesses(subject, rule, pair), key=lambda w: w.cost, default=None)
        if cheapest is not None and cheapest.cost < best.cost:
            best = cheapest
        return cheapest is not None

    search(subject, max_examples, breaks)
    return _reduced(subject, rule, best)


def _reduced(subject: Subject, rule: Rule, best: Witness) -> Witness:
    """The witness without the moves that it does not need.

    Hypothesis takes a walk for short where few numbers describe it, and one number (``rest``) describes many moves.
    """
    tries = 0
    is_smaller = True
    while is_smaller:
        is_smaller = False
        for scripts in _simpler(best.scripts):
            tries += 1
            found = min(_witnesses(subject, rule, scripts), key=lambda w: w.cost, default=best)
            if found.cost < best.cost:
                best, is_smaller = found, True
                break
            if tries >= _TRIES:
                return best
    return best


def _simpler(scripts: tuple[Script, ...]) -> Iterator[tuple[Script, ...]]:
    """The same scripts, but for one move less, another seed, or the first choice for another."""
    for n, script in enumerate(scripts):
        moves, drawn = script.moves, script.outcomes
        changed = [
            *(
                attrs.evolve(
                    script,
                    moves=moves[:i] + moves[i + 1 :],
                    outcomes=drawn and drawn[: i + 1] + drawn[i + 2 :],
                )
                for i in range(len(moves))
            ),
            *(
                attrs.evolve(script, moves=(*moves[:i], 0, *moves[i + 1 :]))
                for i in range(len(moves))
            ),
            *(attrs.evolve(script, seed=seed) for seed in range(min(script.seed, 4))),
        ]
        yield from (
            (*scripts[:n], other, *scripts[n + 1 :]) for other in changed if other != script
        )


def _witnesses(subject: Subject, rule: Rule, scripts: tuple[Script, ...]) -> Iterator[Witness]:
    met_values = MetValues()
    for script in scripts if isinstance(rule, Relation) else scripts[:1]:
        case = Case.of(subject, script)
        for outcome in outcomes(rule, case):
            if isinstance(outcome, Finding):
                yield witness(case, outcome)
            elif isinstance(outcome, Met):
                collision = met_values.add(case, outcome)
                if collision is not None:
                    yield collision
