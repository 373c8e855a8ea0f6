"""Rules of free text: where actions are not listed, whatever is read can be played, and forges no line of the game."""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tsmg.errors import GameLawError
from tsmg.game import AbstractExplicitGame, AbstractGame, AnyGame
from tsmg.randomness import Stream
from tsmg.testing.rule import Case, Finding, Outcome, Rule, walk_rule
from tsmg.testing.walks import Visit
from tsmg.text import Parsed

_MARK = "@@"
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
            return case.game.sample_transition(self.visit.state, self.joint_action, rng)
        except GameLawError:
            if isinstance(case.game, AbstractExplicitGame):
                raise
            return None


def _said(case: Case, endings: tuple[str, ...]) -> Iterator[_Said]:
    """The texts of actions that were played, each with one of the endings, as far as they are read."""
    for before, after in itertools.pairwise(case.walk.visits):
        joint_action = after.joint_action or {}
        for agent, action in joint_action.items():
            if case.game.legal_actions(before.state, agent) is not None:
                continue
            text = case.game.action_text(before.state, agent, action)
            for ending in endings:
                outcome = case.game.read_action(before.state, agent, text + ending)
                if isinstance(outcome, Parsed):
                    played = {**joint_action, agent: outcome.action}
                    yield _Said(before, agent, text + ending, played)


@walk_rule(
    name="free-text",
    requirement="where actions are not listed, what is read is written and read back the same, and can be played",
    cause="the canonical text leaves a part of the action out, or the transition knows fewer texts than read_action",
    unit="texts",
    applies=_reads_texts_itself,
)
def _free_text(case: Case) -> Iterator[Outcome]:
    game = case.game
    for said in _said(case, ("", case.walk.script.text, f"\n{_MARK}")):
        action = said.joint_action[said.agent]
        text = game.action_text(said.visit.state, said.agent, action)
        again = game.read_action(said.visit.state, said.agent, text)
        if not (isinstance(again, Parsed) and again.action == action):
            seen = f"{said.text!r:.200} is {action!r:.200}, which is written {text!r:.200} and read as {again!r:.200}"
            yield Finding(said.visit.t, seen, said.call)
            continue
        after = said.after(case)
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
    for said in _said(case, tuple(f"{line_break}{_MARK}{line_break}x" for line_break in _BREAKS)):
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
