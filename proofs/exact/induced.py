"""The action distribution that a language-agent policy induces in a game, as a player.

Pi(a | h, s) = sum over { y : psi(s, W(y)) = a } of M(y | F(h)), of which the canonical replies are summed here: the
reply that wraps an action's canonical text, in the tokens in which the model writes it. What is left is the
probability of every other reply: invalid ones, and other ways to say an action.
"""

from typing import Any, final

import torch

from lap import LanguageAgentPolicy, LastTurnsPrompt
from tsmg import (
    AbstractGame,
    AbstractPlayer,
    Distribution,
    Finite,
    GameLawError,
    History,
    InvalidArgumentError,
    Observation,
)


@final
class InducedPlayer(AbstractPlayer[Any, Any]):
    """How a policy without memory acts, given that its reply is a canonical one.

    Args:
      game: what is played.
      policy: prompt, model and parser; the prompt must look at the present observation alone.
      least: how likely canonical replies must be in all, so that the distribution says something about the policy.

    Raises:
      InvalidArgumentError: ``least`` is not in (0, 1], or the prompt shows past turns.

    Source: the formula is reconstructed from arXiv:2508.10839.
    """

    def __init__(
        self,
        game: AbstractGame[Any, Any],
        policy: LanguageAgentPolicy[Any],
        *,
        least: float = 0.9,
    ) -> None:
        if not 0 < least <= 1:
            raise InvalidArgumentError(f"'least' must be in (0, 1] (got {least})")
        if isinstance(policy.prompt, LastTurnsPrompt):
            raise InvalidArgumentError(
                f"'policy' must have a prompt without memory (got {policy.prompt})"
            )
        self.game = game
        self.policy = policy
        self.least = least
        self._dists: dict[tuple[str, str], dict[Any, float]] = {}

    def action_dist(self, state: Any, agent: str) -> Distribution[Any]:
        """The distribution of the action.

        Raises:
          GameLawError: canonical replies are less likely than ``least``, or the actions cannot be listed.
        """
        dist = self.reply_dist(state, agent)
        total = sum(dist.values())
        if total < self.least:
            raise GameLawError(
                f"{self.game.name}, {agent}: canonical replies have the probability {total:.4f} "
                f"in all, less than {self.least}"
            )
        return Finite({action: p / total for action, p in dist.items()})

    def reply_dist(self, state: Any, agent: str) -> dict[Any, float]:
        """The probability of the canonical reply of every legal action; they may sum to less than 1."""
        observation = self.game.observation_text(state, agent)
        if (agent, observation) not in self._dists:
            self._dists[agent, observation] = self._law(state, agent, observation)
        return self._dists[agent, observation]

    @torch.no_grad()
    def _law(self, state: Any, agent: str, observation: str) -> dict[Any, float]:
        actions = self.game.legal_actions(state, agent)
        if not actions:
            raise GameLawError(f"{self.game.name}: no legal actions are listed for {agent!r}")
        policy, parser = self.policy, self.policy.parser
        history = History(
            agent=agent,
            rules=self.game.rules_text(agent),
            turns=(),
            observation=Observation(text=observation),
        )
        prompt = policy.prompt.build(history, parser.instructions())
        completions = [
            policy.model.written(
                prompt,
                parser.wrap(self.game.action_text(state, agent, action)),
                stop_criterion=parser.is_complete,
            )
            for action in actions
        ]
        scores = policy.model.logprobs(completions, sampling=policy.sampling)
        probabilities = scores.logprobs_B_L.double().sum(-1).exp().tolist()
        return dict(zip(actions, probabilities, strict=True))
