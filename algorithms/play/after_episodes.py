"""What the record of an episode does not say: what an agent would read next, and what its tokens stand for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import attrs

from lap import ContextLengthError, LanguageAgentPolicy
from lap.model import SpellingModel, TrainableModel
from tsmg import (
    AbstractGame,
    ClosedGame,
    Completion,
    Episode,
    History,
    InvalidArgumentError,
    Observation,
)

Policies = Mapping[str, LanguageAgentPolicy[TrainableModel]]


@final
@attrs.frozen(eq=False)
class EpisodeReader:
    """Reads episodes as their agents' policies do (``algorithms.method.rules.Reading``).

    Called with an episode and an agent, it gives the agent's prompt at the end, with a reply that says nothing; or
    ``None`` if that prompt does not fit the model's context: then the agent could not have gone on.

    Attributes:
      game: that was played, closed under text.
      policies: by agent; those that learn.
    """

    game: ClosedGame[Any, Any]
    policies: Policies

    def __call__(self, episode: Episode[Any], agent: str) -> Completion | None:
        own = episode.agent_steps(agent)
        history = History(
            agent=agent,
            rules=self.game.game.rules_text(agent),
            turns=(*episode.start.turns.get(agent, ()), *(step.turn for step in own)),
            observation=Observation(
                text=episode.final_observations[agent],
                feedback=self.game.feedback_text(episode.final_state, agent),
            ),
        )
        policy = self.policies[agent]
        prompt = policy.build_prompt(history)
        try:
            policy.model.check_prompts([prompt], sampling=policy.sampling)
        except ContextLengthError:
            return None
        return policy.model.written(prompt, policy.prefill)

    def spelling(self, agent: str) -> Callable[[Sequence[int]], str]:
        """From token ids of the agent's replies to what they stand for.

        Raises:
          InvalidArgumentError: the agent's model does not say.
        """
        model: object = self.policies[agent].model
        if not isinstance(model, SpellingModel):
            raise InvalidArgumentError(
                f"{type(model).__name__} does not say what its tokens stand for ('text'), so the parts of a reply "
                "cannot be found in them: choose a credit rule without subgoals"
            )
        return model.text


def read_at_end(game: AbstractGame[Any, Any], policies: Policies) -> EpisodeReader:
    """From an episode and an agent to the agent's prompt at the end, with a reply that says nothing.

    Args:
      game: that was played.
      policies: by agent; those that learn.
    """
    return EpisodeReader(ClosedGame(game), policies)
