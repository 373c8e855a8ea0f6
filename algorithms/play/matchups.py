"""Who plays whom: the policy of every agent in a group of episodes, and the agents that learn.

A game of one agent needs none of this: its only agent learns. With several, roles may share one policy or have
their own, and may be played by opponents that do not learn: scripted, frozen, or past copies of the learner.
"""

import abc
from collections.abc import Mapping
from typing import final

import attrs

from tsmg import AgentPolicy

Policies = Mapping[str, AgentPolicy]


@attrs.frozen(kw_only=True)
class Matchup:
    """The policies of the agents in a group of episodes, and the agents that learn.

    Attributes:
      policies: the policy of every agent.
      learners: the agents whose completions are learnt from.
    """

    policies: Policies
    learners: tuple[str, ...]


class AbstractMatchups(abc.ABC):
    """Decides which policies play in each group."""

    @abc.abstractmethod
    def matchup(self, learning: Policies, group: int) -> Matchup:
        """The matchup of a group.

        Args:
          learning: the policy of every agent of the game, as far as it can learn; in the game's order.
          group: number of the group.
        """

    def opponents(self) -> tuple[AgentPolicy, ...]:
        """The policies that do not learn."""
        return ()


def distinct_matchups(
    matchups: AbstractMatchups, learning: Policies, groups: int
) -> list[tuple[Matchup, tuple[int, ...]]]:
    """The distinct matchups of a number of groups, each with the numbers of its groups."""
    distinct: dict[tuple[object, ...], tuple[Matchup, list[int]]] = {}
    for group in range(groups):
        matchup = matchups.matchup(learning, group)
        identity = (
            matchup.learners,
            *sorted((agent, id(p)) for agent, p in matchup.policies.items()),
        )
        distinct.setdefault(identity, (matchup, []))[1].append(group)
    return [(matchup, tuple(numbers)) for matchup, numbers in distinct.values()]


@final
@attrs.frozen
class SelfPlay(AbstractMatchups):
    """Every agent learns, in every group."""

    def matchup(self, learning: Policies, group: int) -> Matchup:
        return Matchup(policies=learning, learners=tuple(learning))


@final
@attrs.frozen
class FixedOpponents(AbstractMatchups):
    """Some agents are played by policies that do not learn; the others learn.

    Attributes:
      others: the policy of each agent that does not learn.
    """

    others: Policies

    def matchup(self, learning: Policies, group: int) -> Matchup:
        learners = tuple(agent for agent in learning if agent not in self.others)
        return Matchup(policies={**learning, **self.others}, learners=learners)

    def opponents(self) -> tuple[AgentPolicy, ...]:
        return tuple(self.others.values())


@final
@attrs.frozen
class AlternatingRoles(AbstractMatchups):
    """One agent learns in each group, in turn; an opponent plays all others.

    Attributes:
      opponent: the policy that plays the other agents.
    """

    opponent: AgentPolicy

    def matchup(self, learning: Policies, group: int) -> Matchup:
        agent = tuple(learning)[group % len(learning)]
        policies = {**dict.fromkeys(learning, self.opponent), agent: learning[agent]}
        return Matchup(policies=policies, learners=(agent,))

    def opponents(self) -> tuple[AgentPolicy, ...]:
        return (self.opponent,)
