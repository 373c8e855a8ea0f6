"""Policies, which answer texts with texts, and scripted players, which read the game's state."""

import abc
from collections.abc import Hashable, Sequence
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from tsmg.distribution import Distribution
from tsmg.records import Reply, Request

S_contra = TypeVar("S_contra", bound=Hashable, contravariant=True)
A = TypeVar("A", bound=Hashable)


class AgentPolicy(Protocol):
    """Anything that can act through text; the runner asks for many replies at once."""

    def reply(self, requests: Sequence[Request]) -> Sequence[Reply]:
        """One reply per request, in order; each a function of its own request alone.

        Raises:
          NoReplyError: there is no reply to one of them; ``index`` says which. The others are asked again.
        """
        ...


class AbstractPlayer(abc.ABC, Generic[S_contra, A]):
    """A scripted player: the distribution of its action in each state."""

    @abc.abstractmethod
    def action_dist(self, state: S_contra, agent: str) -> Distribution[A]:
        """The distribution of the agent's action in the state."""


AnyPlayer: TypeAlias = AbstractPlayer[Any, Any]
"""A scripted player of some game, where the types of its states and actions do not matter."""
