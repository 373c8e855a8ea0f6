"""Games as environments of TRL's trainers: an ``environment_factory`` of ``GRPOTrainer``.

TRL exposes the environment's public methods to the model as tools, resets an environment for each completion, and asks
it for the reward. Nothing of TRL is imported.
"""

from collections.abc import Callable, Mapping
from typing import final

import numpy as np

from games.exports.conversation import Conversation, opening
from games.exports.gymnasium import Opponent
from games.exports.shown import drawn
from tsmg import AnyGame, InvalidArgumentError


def to_trl(
    game: AnyGame,
    agent: str | None = None,
    opponents: Opponent | Mapping[str, Opponent] | None = None,
    *,
    seed: int | None = None,
    unfinished: float = 0.0,
) -> "Callable[[], TRLGame]":
    """A function that makes environments for ``GRPOTrainer(environment_factory=...)``.

    A row of the training set may have a ``seed``: its completions then share the start and all chance. Rows without one
    begin anywhere, and differently in every process and every resumed run.

    Args:
      game: the game; it needs a horizon or a declared longest game.
      agent: name of the agent that learns; may be left out if there is only one.
      opponents: the policy or scripted player of all other agents, or one per agent.
      seed: fixes the episodes of rows without a seed; every process then has the same ones.
      unfinished: what is subtracted from the reward of an episode that did not end, for example because a completion
        became too long; at least 0. It must be more than a loss costs, or a model may learn not to finish games that it
        is losing.

    Raises:
      InvalidArgumentError: the agent or an opponent is missing or unknown, or ``unfinished`` is below 0.
    """
    Conversation(game, agent, opponents)  # refused here, not within a trainer
    if not 0 <= unfinished < float("inf"):
        raise InvalidArgumentError(f"'unfinished' must be at least 0 (got {unfinished})")
    seeds = None if seed is None else np.random.default_rng(seed)
    return lambda: TRLGame(Conversation(game, agent, opponents), seeds, unfinished)


@final
class TRLGame:
    """A game as an environment of TRL: ``act`` is the only tool.

    Args:
      conversation: the agent's conversation with the game.
      seeds: where the seeds of episodes without one come from; fresh entropy for each if ``None``.
      unfinished: what is taken from the reward of an episode that is not over.
    """

    def __init__(
        self, conversation: Conversation, seeds: np.random.Generator | None, unfinished: float
    ) -> None:
        self._conversation = conversation
        self._seeds = seeds
        self._unfinished = unfinished

    def reset(self, seed: object = None, **row: object) -> str:
        """Begin an episode; TRL appends what is returned to the prompt.

        Args:
          seed: fixes the start and all chance; another one each time unless given.
          **row: the other columns of the row, which do not matter.

        Returns:
          The rules and the first observation.

        Raises:
          InvalidArgumentError: the seed is not a whole number of at least 0.
        """
        if seed is None:
            seed = drawn(self._seeds or np.random.default_rng())
        if not isinstance(seed, int) or seed < 0:
            raise InvalidArgumentError(
                f"'seed' of a row must be a whole number of at least 0 (got {seed!r})"
            )
        text = self._conversation.begin(seed)
        return opening(self._conversation.rules, text)

    def act(self, action: str) -> str:
        """Carry out an action in the game.

        Args:
            action: The text of the action, as the rules name it.

        Returns:
            What you observe after it.
        """
        return self._conversation.say(str(action))  # a model may also write a number

    def get_reward(self) -> float:
        """The return of the episode so far, penalties included, minus ``unfinished`` if it is not over."""
        talk = self._conversation
        return talk.episode_return - (0.0 if talk.is_over else self._unfinished)
