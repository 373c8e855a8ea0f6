"""A walk on a line: reach the right end before the left one."""

from collections.abc import Mapping
from fractions import Fraction
from typing import final

import attrs

from games.arguments import integer_field, probability_field, to_horizon
from tsmg import (
    AbstractExplicitGame,
    Distribution,
    Ending,
    Episode,
    Facts,
    Finite,
    Transition,
    deterministic,
)
from tsmg.invalid import AbstractInvalidRule, StandStill

_AGENT = "walker"
_STEPS = {"left": -1, "right": 1}


@final
@attrs.frozen(kw_only=True)
class LineWalk(AbstractExplicitGame[int, str]):
    """Walk to the right end of a line; the left end loses.

    Agents: one, ``walker``.
    States: the position, 0 to ``length``.
    Actions: left, right.
    Observation text: the position and both ends.
    Action text: the action itself.
    Rewards: 1 at the right end, else 0.
    Invalid rule: the walker stands still (a step passes).

    Attributes:
      length: the right end's position; at least 2. The walk starts in the middle, rounded down.
      slip: probability that a step goes the other way.
      horizon: time limit H, in steps; the length squared, unless given.
    """

    length: int = integer_field("length", default=6, least=2)
    slip: float = probability_field("slip", default=0.0)
    horizon: int = attrs.field(converter=to_horizon)
    invalid_rule: AbstractInvalidRule = attrs.field(factory=StandStill)
    facts: Facts = attrs.field(init=False)

    agents = (_AGENT,)

    @horizon.default
    def _square(self) -> int:
        return self.length**2

    @facts.default
    def _declare(self) -> Facts:
        return Facts(
            perfect_information=True,
            text_separates_states=True,
            stochastic_start=False,
            stochastic_transitions=0 < self.slip < 1,
            return_bounds=(0.0, 1.0),
        )

    def initial_state_dist(self) -> Distribution[int]:
        return deterministic(self.length // 2)

    def is_terminal(self, state: int) -> bool:
        return state in (0, self.length)

    def acting_agents(self, state: int) -> tuple[str, ...]:
        return () if self.is_terminal(state) else self.agents

    def legal_actions(self, state: int, agent: str) -> tuple[str, ...]:
        return () if self.is_terminal(state) else tuple(_STEPS)

    def transition_dist(
        self, state: int, joint_action: Mapping[str, str]
    ) -> Distribution[Transition[int]]:
        step = _STEPS[joint_action[_AGENT]]
        slip = Fraction(str(self.slip))
        dist = (
            Finite({state + step: 1 - slip, state - step: slip})
            if slip
            else deterministic(state + step)
        )
        return dist.map(lambda there: Transition(there, (float(there == self.length),)))

    def observation_text(self, state: int, agent: str) -> str:
        return f"You are at {state} on a line from 0 to {self.length}."

    def action_text(self, state: int, agent: str, action: str) -> str:
        return action

    def rules_text(self, agent: str) -> str:
        return (
            f"You walk on a line. Reach {self.length}; at 0 you have lost. A move is left or right"
            f"{f' and goes the other way with probability {self.slip:g}' if self.slip else ''}."
        )

    def success(self, episode: Episode[int], agent: str) -> bool:
        return episode.ending is Ending.TERMINATED and episode.final_state.state == self.length
