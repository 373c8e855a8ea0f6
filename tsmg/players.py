"""Scripted players: action distributions that read the game's state, and policies made of them."""

import abc
from collections.abc import Hashable, Sequence
from typing import Any, Generic, Protocol, TypeVar, final

import attrs

from tsmg.distribution import Distribution, uniform
from tsmg.errors import GameLawError
from tsmg.game import AbstractGame
from tsmg.records import Reply, Request
from tsmg.text import ActionText

S_contra = TypeVar("S_contra", bound=Hashable, contravariant=True)
A = TypeVar("A", bound=Hashable)


class AgentPolicy(Protocol):
    """Anything that can act through text; the runner asks for many replies in one call."""

    def reply(self, requests: Sequence[Request]) -> Sequence[Reply]:
        """One reply per request, in order; each a function of its own request alone."""
        ...


class AbstractPlayer(abc.ABC, Generic[S_contra, A]):
    """A scripted player: the distribution of its action in a state."""

    @abc.abstractmethod
    def action_dist(self, state: S_contra, agent: str) -> Distribution[A]:
        """The distribution of the agent's action."""


@final
@attrs.frozen
class UniformPlayer(AbstractPlayer[Any, Any]):
    """Plays a uniformly random legal action.

    Raises:
      GameLawError: the legal actions cannot be listed.
    """

    game: AbstractGame[Any, Any]

    def action_dist(self, state: Any, agent: str) -> Distribution[Any]:
        legal = self.game.legal_actions(state, agent)
        if not legal:
            raise GameLawError(f"{self.game.name}: no legal actions are listed for {agent!r}")
        return uniform(legal)


@final
@attrs.frozen
class PlayerPolicy:
    """A scripted player as a policy: it says the canonical text of the action that it draws."""

    game: AbstractGame[Any, Any]
    player: AbstractPlayer[Any, Any]

    def reply(self, requests: Sequence[Request]) -> Sequence[Reply]:
        """One canonical action text per request."""
        return [self.reply_dist(request).sample(request.stream()) for request in requests]

    def reply_dist(self, request: Request) -> Distribution[Reply]:
        """The distribution of the reply."""
        agent, state = request.history.agent, request.state

        def reply(action: Any) -> Reply:
            text = self.game.action_text(state, agent, action)
            return Reply(text=text, parser_outcome=ActionText(text))

        return self.player.action_dist(state, agent).map(reply)

    def reply_key(self, request: Request) -> Hashable:
        """All that the distribution of the reply depends on."""
        return request.history.agent, request.state
