"""A game as one agent's conversation with it, as libraries that train language models by turns need it."""

from collections.abc import Mapping
from typing import Any, final

from games.exports.gymnasium import Opponent, to_gymnasium
from tsmg import AnyGame

_OVER = "The game is over."


@final
class Conversation:
    """An agent's consecutive episodes as texts: it reads, says something, and reads what follows.

    No text raises an exception: the game's own invalid rule applies to a text that names no legal action, and a text
    after the end changes nothing.

    Args:
      game: the game.
      agent: name of the agent; may be left out if there is only one.
      opponents: the policy or scripted player of all other agents, or one per agent.

    Attributes:
      rules: the rules that the agent reads.
      is_over: whether the episode is over; also before the first.
      episode_return: rewards and penalties so far.
      texts: how many texts the agent wrote.
      invalid: how many of them named no legal action.
      info: what the environment says of the last step, as ``to_gymnasium`` describes it.

    Raises:
      InvalidArgumentError: the agent or an opponent is missing or unknown.
    """

    def __init__(
        self,
        game: AnyGame,
        agent: str | None = None,
        opponents: Opponent | Mapping[str, Opponent] | None = None,
    ) -> None:
        self._env = to_gymnasium(game, agent, opponents)
        self.rules = game.rules_text(agent or game.agents[0])
        self._start(info={})
        self.is_over = True

    def _start(self, *, info: dict[str, Any]) -> None:
        self.is_over, self.info = False, info
        self.episode_return, self.texts, self.invalid = 0.0, 0, 0

    def begin(self, seed: int) -> str:
        """What the agent reads first in the episode of a seed, without the rules; also the end, if it comes first.

        Args:
          seed: fixes the start and all chance; at least 0.
        """
        text, info = self._env.reset(seed=seed)
        self._start(info=info)
        return self._moved("") if self._env.is_out else str(text)

    def say(self, text: str) -> str:
        """What the agent reads after it said something; at the end, also that it is the end."""
        if self.is_over:
            return _OVER
        read = self._moved(text)
        self.texts += 1
        self.invalid += self.info["outcome"] not in ("parsed", None)
        return read

    def _moved(self, text: str) -> str:
        read, reward, terminated, truncated, self.info = self._env.step(text)
        self.is_over = terminated or truncated
        self.episode_return += float(reward)
        return f"{read}\n{_OVER}" if self.is_over else str(read)


def opening(rules: str, text: str) -> str:
    """The rules, if there are any, and the first text."""
    return "\n\n".join(filter(None, (rules, text)))
