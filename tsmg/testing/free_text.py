"""Rules of free text: where actions are not listed, whatever is read can be played, and forges no line of the game."""

import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from tsmg.errors import GameLawError
from tsmg.game import AbstractExplicitGame, AbstractGame, AnyGame
from tsmg.randomness import Stream
from tsmg.testing.interface import sampled
from tsmg.testing.rule import Case, Finding, Outcome, Rule, walk_rule
from tsmg.testing.walks import Visit, error_line, kind_of
from tsmg.text import Parsed

_MARK = "@@"
_WORDS = 5
_REPLACEMENTS = 2
_FIRST_WORD = re.compile(r"\w+\W+")
_TO_COLON = re.compile(r"[^:]*:\s*")
_BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"  # those of ``str.splitlines``


def _reads_texts_itself(game: AnyGame) -> bool:
    """Whether the game overrides ``read_action``, as it must where actions are not listed."""
    return type(game).read_action is not AbstractGame.read_action


class _Said(NamedTuple):
    """A text that is read as an action where actions are not listed."""

    visit: Visit
    agent: str
    text: str
    joint_action: Mapping[str, Any]

    @property
    def call(self) -> str:
        """Code that reads the text."""
        return f"game.read_action(state, {self.agent!r}, {self.text!r})"

    def after(self, case: Case) -> tuple[Any, Any] | None:
        """The state and rewards that follow it; ``None`` if a sampled game cannot leave the state a second time."""
        rng = Stream("free text")
        try:
            return case.game.sample_transition(self.visit.state, {**self.joint_action}, rng)
        except GameLawError:
            if isinstance(case.game, AbstractExplicitGame):
                raise
            return None


Variants = Callable[[int, str], Iterable[str]]
"""The texts to try where a text was played: functions of the number of the visit and the text."""


def _said(case: Case, variants: Variants) -> Iterator[_Said]:
    """The variants of the texts of actions that were played, as far as they are read."""
    for before, after in itertools.pairwise(case.walk.visits):
        joint_action = after.joint_action or {}
        for agent, action in joint_action.items():
            if case.game.legal_actions(before.state, agent) is not None:
                continue
            text = case.game.action_text(before.state, agent, action)
            for variant in variants(before.t, text):
                outcome = case.game.read_action(before.state, agent, variant)
                if isinstance(outcome, Parsed):
                    played = {**joint_action, agent: outcome.action}
                    yield _Said(before, agent, variant, played)


def _with_other_words(case: Case) -> Variants:
    """The text, with something appended, and with other words in place of all but its beginning.

    The kit does not know where a message begins. It keeps nothing, the first word, or all up to the first colon, and
    tries two replacements at each visit, in turn: nothing, one letter, a digit, and words of the rules.
    """
    script = case.walk.script
    words = sorted(
        {word for agent in case.game.agents for word in case.game.rules_text(agent).split()}
    )
    others = ("", "x", "0", *sampled(words, _WORDS))

    def variants(t: int, text: str) -> Iterator[str]:
        yield from (text, text + script.text, f"{text}\n{_MARK}")
        beginnings = {
            "",
            *(match[0] for match in (_FIRST_WORD.match(text), _TO_COLON.match(text)) if match),
        }
        for number, beginning in enumerate(sorted(beginnings)):
            for other in range(_REPLACEMENTS):
                at = script.seed + _REPLACEMENTS * (t + number) + other
                yield beginning + others[at % len(others)]

    return variants


@walk_rule(
    name="free-text",
    requirement="where actions are not listed, what is read is written and read back the same, and can be played",
    cause="the canonical text leaves a part of the action out, or a step does not expect every text that read_action "
    "accepts: an empty message, one word, a digit",
    unit="texts",
    applies=_reads_texts_itself,
)
def _free_text(case: Case) -> Iterator[Outcome]:
    game = case.game
    for said in _said(case, _with_other_words(case)):
        action = said.joint_action[said.agent]
        text = game.action_text(said.visit.state, said.agent, action)
        again = game.read_action(said.visit.state, said.agent, text)
        if not (isinstance(again, Parsed) and again.action == action):
            seen = f"{said.text!r:.200} is {action!r:.200}, which is written {text!r:.200} and read as {again!r:.200}"
            yield Finding(said.visit.t, seen, said.call)
            continue
        try:
            after = said.after(case)
        except Exception as error:
            seen = f"after {said.text!r:.200} the step raised {error_line(error)}"
            yield Finding(said.visit.t, seen, said.call, exception=kind_of(error))
            continue
        if after is None:
            return
        state, rewards_N = after
        shown = [game.observation_text(state, agent) for agent in game.agents]
        is_right = all(isinstance(text, str) for text in shown) and all(
            map(math.isfinite, rewards_N)
        )
        seen = (
            f"after {said.text!r:.200} the texts are {shown!r:.200} and the rewards {rewards_N!r}"
        )
        yield None if is_right else Finding(said.visit.t, seen, said.call)


@walk_rule(
    name="forged-lines",
    requirement="where actions are not listed, no line that an agent writes stands as one of the game in what is read",
    cause="the text is shown as it was said: quote it, on one line or with a mark before each line",
    unit="texts",
    applies=_reads_texts_itself,
)
def _forged(case: Case) -> Iterator[Outcome]:
    game = case.game
    endings = [f"{line_break}{_MARK}{line_break}x" for line_break in _BREAKS]
    for said in _said(case, lambda t, text: (text + ending for ending in endings)):
        after = said.after(case)
        if after is None:
            return
        readers = [
            agent
            for agent in game.agents
            if any(
                line.strip() == _MARK
                for line in game.observation_text(after[0], agent).splitlines()
            )
        ]
        seen = f"{said.agent!r} says {said.text!r:.200}, and {readers!r} read a line {_MARK!r}"
        yield Finding(said.visit.t, seen, said.call) if readers else None


RULES: tuple[Rule, ...] = (_free_text, _forged)
