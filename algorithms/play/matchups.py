"""Who plays whom: the policy of every agent in a group of episodes, and the agents that learn.

A game of one agent needs none of this: its only agent learns. With several, roles may share one policy or have
their own, and may be played by opponents that do not learn: scripted, frozen, or past copies of the learner.
"""

import abc
import copy
from collections.abc import Mapping, Sequence
from typing import Any, final

import attrs

from algorithms.runs.state import TrainingState, load_model_state, model_state
from lap import LanguageAgentPolicy, Sampling, TransformersModel
from tsmg import AgentPolicy, InvalidArgumentError, Reply, Request, Stream

Policies = Mapping[str, AgentPolicy]


@attrs.frozen(kw_only=True)
class Matchup:
    """Who plays in a group.

    Attributes:
      policies: the policy of every agent.
      learners: the agents whose calls are learnt from.
    """

    policies: Policies
    learners: tuple[str, ...]


class AbstractMatchups(abc.ABC):
    """Says who plays in each group."""

    @abc.abstractmethod
    def matchup(self, learning: Policies, group: int) -> Matchup:
        """The cast of a group.

        Args:
          learning: the policy of every agent of the game, as far as it can learn; in the game's order.
          group: its number.
        """

    def opponents(self) -> tuple[AgentPolicy, ...]:
        """The policies that do not learn."""
        return ()


def distinct_matchups(
    matchups: AbstractMatchups, learning: Policies, groups: int
) -> list[tuple[Matchup, tuple[int, ...]]]:
    """The different casts of so many groups, each with the numbers of its groups."""
    found: dict[tuple[object, ...], tuple[Matchup, list[int]]] = {}
    for group in range(groups):
        matchup = matchups.matchup(learning, group)
        who = (matchup.learners, *sorted((agent, id(p)) for agent, p in matchup.policies.items()))
        found.setdefault(who, (matchup, []))[1].append(group)
    return [(matchup, tuple(numbers)) for matchup, numbers in found.values()]


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
      opponent: who plays the others.
    """

    opponent: AgentPolicy

    def matchup(self, learning: Policies, group: int) -> Matchup:
        agent = tuple(learning)[group % len(learning)]
        policies = {**dict.fromkeys(learning, self.opponent), agent: learning[agent]}
        return Matchup(policies=policies, learners=(agent,))

    def opponents(self) -> tuple[AgentPolicy, ...]:
        return (self.opponent,)


def frozen_copy(policy: LanguageAgentPolicy[Any]) -> LanguageAgentPolicy[Any]:
    """The policy as it stands, apart from what its weights learn later."""
    model = copy.copy(policy.model)
    model.network = copy.deepcopy(policy.model.network).requires_grad_(False)
    return attrs.evolve(policy, model=model)


def reference_policy(policy: LanguageAgentPolicy[Any]) -> LanguageAgentPolicy[Any]:
    """What a policy is before it learns, as something to compare it with later: without its adapters, or a copy."""
    model = policy.model
    if isinstance(model, TransformersModel) and model.has_adapters:
        return attrs.evolve(policy, model=model.without_adapters())
    return frozen_copy(policy)


@final
class PastOpponents:
    """Past copies of a policy, as an opponent: each group meets one of them, drawn by its key.

    Args:
      policy: the policy that learns; the first copy is of it as it stands.
      every: updates between copies.
      size: how many copies are kept, the newest ones.

    Raises:
      InvalidArgumentError: ``every`` or ``size`` is below 1.
    """

    def __init__(self, policy: LanguageAgentPolicy[Any], *, every: int = 10, size: int = 5) -> None:
        for name, value in (("every", every), ("size", size)):
            if value < 1:
                raise InvalidArgumentError(f"'{name}' must be at least 1 (got {value})")
        self.every = every
        self.size = size
        self.copies = [frozen_copy(policy)]

    def reply(self, requests: Sequence[Request]) -> list[Reply]:
        """One reply per request, each by the copy that its group meets."""
        which = [self._index(request) for request in requests]
        replies: dict[int, Reply] = {}
        for index in sorted(set(which)):
            mine = [n for n, i in enumerate(which) if i == index]
            answered = self.copies[index].reply([requests[n] for n in mine])
            replies.update(zip(mine, answered, strict=True))
        return [replies[n] for n in range(len(requests))]

    def _index(self, request: Request) -> int:
        key = request.key
        rng = Stream("past self", key.seed, key.phase.value, key.update, key.group)
        return rng.integer(len(self.copies))

    def remember(self, policy: LanguageAgentPolicy[Any], update: int) -> None:
        """Take a copy, if it is time: called after every update, with how many were done."""
        if update % self.every == 0:
            self.copies = [*self.copies, frozen_copy(policy)][-self.size :]

    def state(self) -> TrainingState:
        """The copies: weights, and the sampling of each."""
        return TrainingState.of(
            {str(n): model_state(one.model) for n, one in enumerate(self.copies)},
            samplings=[attrs.asdict(one.sampling) for one in self.copies],
        )

    def load_state(self, state: TrainingState) -> None:
        """Take the copies of a state that ``state`` gave.

        Raises:
          RunFolderError: they are of another network.
        """
        first = self.copies[0]
        copies = []
        for n, sampling in enumerate(state.values["samplings"]):
            copied = frozen_copy(first).with_sampling(Sampling(**sampling))
            load_model_state(copied.model, state.part(str(n)))
            copies.append(copied)
        self.copies = copies
