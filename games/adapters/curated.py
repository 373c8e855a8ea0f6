"""What a curated environment brings along: texts, names of actions, rules and facts of its own."""

from collections.abc import Callable
from typing import Any, NamedTuple, final

import attrs

from tsmg import Facts


class Seen(NamedTuple):
    """What the text of an agent may be made of.

    Attributes:
      raw: the environment without wrappers. Of it a text may use what every agent sees, or what the environment's
        own engine shows to this agent.
      agent: the agent's name.
      observation: the environment's observation of the agent.
      moves: canonical texts of the agent's legal actions; empty where it does not act.
    """

    raw: Any
    agent: str
    observation: Any
    moves: tuple[str, ...]

    @property
    def place(self) -> int:
        """The agent's place among all agents."""
        return int(self.raw.possible_agents.index(self.agent))

    @property
    def others(self) -> tuple[str, ...]:
        """The other agents, from the agent's left on."""
        agents = self.raw.possible_agents
        return (*agents[self.place + 1 :], *agents[: self.place])

    def told_moves(self) -> str:
        """One line that lists the legal actions, if the agent acts."""
        return f"\nYou may: {', '.join(self.moves)}." if self.moves else ""


@final
@attrs.frozen(kw_only=True, eq=False)
class Curated:
    """Texts and facts of one environment.

    Attributes:
      observation_text: what an agent reads.
      action_text: from (environment without wrappers, agent, action) to the canonical text of a legal action.
      rules: from (environment, agent) to what a newcomer must be told, names of actions included.
      horizon: from the environment to a time limit in steps that a sensible episode stays below.
      facts: from the environment to what is sure of it.
      prepare: puts right, before every step, what other environments of the process may have changed.
      renew: gives the environment fresh chance from a seed, where it has any.
    """

    observation_text: Callable[[Seen], str]
    action_text: Callable[[Any, str, int], str]
    rules: Callable[[Any, str], str]
    horizon: Callable[[Any], int]
    facts: Callable[[Any], Facts]
    prepare: Callable[[Any], None] | None = None
    renew: Callable[[Any, int], None] | None = None


def zero_sum_of_two(raw: Any) -> Facts:
    """Facts of a game whose only sure fact is that two players play for the same stakes."""
    return Facts(zero_sum=True if len(raw.possible_agents) == 2 else None)
