"""The action distribution that a language-agent policy induces in a game, as a player.

Pi(a | h, s) = sum over { y : psi(s, W(y)) = a } of M(y | F(h)), of which the canonical replies are summed here: the
reply that wraps an action's canonical text, in the tokens in which the model writes it. The remainder is the
probability of every other reply: invalid ones, and other ways to write an action.
"""

from collections.abc import Hashable
from typing import Any, Generic, TypeVar, final

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

S = TypeVar("S", bound=Hashable)
A = TypeVar("A", bound=Hashable)


@final
class InducedPlayer(AbstractPlayer[S, A], Generic[S, A]):
    """The action distribution of a policy without memory, given that its reply is a canonical one.

    Args:
      game: a game whose legal actions are listed.
      policy: prompt, model and parser; the prompt must show only the current observation.
      least: least accepted probability of all canonical replies together, below which the distribution would say little
        about the policy.

    Raises:
      InvalidArgumentError: ``least`` is not in (0, 1], or the prompt shows past turns.

    Source: the formula is reconstructed from arXiv:2508.10839.

    Theory: Definition 3.2, Equation 3.2.
    """

    def __init__(
        self,
        game: AbstractGame[S, A],
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
        self._dists: dict[tuple[str, str, tuple[A, ...] | None], dict[A, float]] = {}

    def action_dist(self, state: S, agent: str) -> Distribution[A]:
        """The distribution of the action.

        Raises:
          GameLawError: canonical replies are less likely than ``least``, or the actions cannot be listed.
        """
        dist = self.reply_dist(state, agent)
        total = sum(dist.values())
        if total < self.least:
            raise GameLawError(
                f"{self.game.name}, {agent}: canonical replies have a total probability of {total:.4f}, "
                f"less than {self.least}"
            )
        return Finite({action: p / total for action, p in dist.items()})

    def reply_dist(self, state: S, agent: str) -> dict[A, float]:
        """The probability of the canonical reply of every legal action; they may sum to less than 1."""
        observation = self.game.observation_text(state, agent)
        key = agent, observation, self.game.legal_actions(state, agent)
        if key not in self._dists:
            self._dists[key] = self._listed(state, agent, observation)
        return self._dists[key]

    @torch.no_grad()
    def _listed(self, state: S, agent: str, observation: str) -> dict[A, float]:
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
        prompt = policy.build_prompt(history)
        completions = [
            policy.model.written(
                prompt,
                parser.wrap(self.game.action_text(state, agent, action)),
                stop_criterion=parser.is_complete,
            )
            for action in actions
        ]
        scores = policy.model.logprobs(completions, sampling=policy.sampling)
        sampled_B_L = scores.logprobs_B_L.double() * scores.mask_B_L  # not what was given
        probabilities = sampled_B_L.sum(-1).exp().tolist()
        return dict(zip(actions, probabilities, strict=True))
