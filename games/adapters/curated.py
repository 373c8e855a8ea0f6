"""Curated environments: texts, names of actions, rules and facts that are written by hand."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, final

import attrs

from tsmg import Facts

RawEnv: TypeAlias = Any
"""An environment of another library, which the type checker does not know."""


class Seen(NamedTuple):
    """What the text of an agent may use.

    Attributes:
      raw: the environment without wrappers. A text may use what all agents observe of it, or what the environment's
        own engine shows to this agent.
      agent: the agent's name.
      observation: the agent's observation in the environment.
      moves: canonical texts of the agent's legal actions; empty if it does not act.
    """

    raw: RawEnv
    agent: str
    observation: Any
    moves: tuple[str, ...]

    @property
    def place(self) -> int:
        """The agent's place among all agents."""
        return int(self.raw.possible_agents.index(self.agent))

    @property
    def others(self) -> tuple[str, ...]:
        """The other agents in turn order, from the next one on."""
        agents = self.raw.possible_agents
        return (*agents[self.place + 1 :], *agents[: self.place])

    def moves_text(self) -> str:
        """A line that lists the legal actions; empty if the agent does not act."""
        return f"\nYou may: {', '.join(self.moves)}." if self.moves else ""


@final
@attrs.frozen(kw_only=True, eq=False)
class Curated:
    """Texts and facts of one environment.

    Attributes:
      observation_text: writes what an agent reads.
      action_text: (environment without wrappers, agent, action) -> the canonical text of a legal action.
      rules: (environment, agent) -> the rules, including the names of actions.
      horizon: environment -> a time limit in steps that a sensible episode does not reach.
      facts: environment -> the facts that are certain.
      prepare: restores, before every step, what other environments of the process may have changed.
      renew: gives the environment fresh chance from a seed, if it has any.
    """

    observation_text: Callable[[Seen], str]
    action_text: Callable[[RawEnv, str, int], str]
    rules: Callable[[RawEnv, str], str]
    horizon: Callable[[RawEnv], int]
    facts: Callable[[RawEnv], Facts]
    prepare: Callable[[RawEnv], None] | None = None
    renew: Callable[[RawEnv, int], None] | None = None


def zero_sum_of_two(raw: RawEnv) -> Facts:
    """Facts of a game of which only this is certain: it is zero-sum if two players play."""
    return Facts(zero_sum=True if len(raw.possible_agents) == 2 else None)
