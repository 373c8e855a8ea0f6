"""A scripted player for every game, and the policy that a scripted player makes."""

from collections.abc import Hashable, Sequence
from typing import Any, final

import attrs

from tsmg.distribution import Distribution, uniform
from tsmg.errors import GameLawError
from tsmg.game import AnyGame
from tsmg.players import AbstractPlayer, AnyPlayer
from tsmg.records import Reply, Request
from tsmg.text import ActionText


@final
@attrs.frozen
class UniformPlayer(AbstractPlayer[Any, Any]):
    """Plays a uniformly random legal action.

    Attributes:
      game: the game whose legal actions are played.

    Raises:
      GameLawError: the legal actions cannot be listed.
    """

    game: AnyGame

    def action_dist(self, state: Hashable, agent: str) -> Distribution[Any]:
        legal = self.game.legal_actions(state, agent)
        if not legal:
            raise GameLawError(f"{self.game.name}: no legal actions are listed for {agent!r}")
        return uniform(legal)


@final
@attrs.frozen
class PlayerPolicy:
    """A scripted player as a policy: it replies with the canonical text of the action that it draws.

    Attributes:
      game: the game that writes the action texts.
      player: the scripted player.
    """

    game: AnyGame
    player: AnyPlayer

    def reply(self, requests: Sequence[Request]) -> Sequence[Reply]:
        """One canonical action text per request."""
        return [self.reply_dist(request).sample(request.stream()) for request in requests]

    def reply_dist(self, request: Request) -> Distribution[Reply]:
        """The distribution of the reply."""
        agent, state = request.history.agent, request.state

        def reply(action: Hashable) -> Reply:
            text = self.game.action_text(state, agent, action)
            return Reply(text=text, parser_outcome=ActionText(text))

        return self.player.action_dist(state, agent).map(reply)

    def reply_key(self, request: Request) -> Hashable:
        """All that the distribution of the reply depends on."""
        return request.history.agent, request.state
