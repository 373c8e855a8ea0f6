"""What an agent would read next, had its episode gone on."""

from collections.abc import Callable, Mapping
from typing import Any

from lap import LanguageAgentPolicy
from lap.model import TrainableModel
from tsmg import AbstractGame, ClosedGame, Completion, Episode, History, Observation


def read_at_end(
    game: AbstractGame[Any, Any], policies: Mapping[str, LanguageAgentPolicy[TrainableModel]]
) -> Callable[[Episode[Any], str], Completion]:
    """From an episode and an agent to the agent's prompt at the end, with a reply that says nothing.

    Args:
      game: that was played.
      policies: by agent; those that learn.
    """
    closed = ClosedGame(game)

    def read(episode: Episode[Any], agent: str) -> Completion:
        own = episode.agent_steps(agent)
        history = History(
            agent=agent,
            rules=game.rules_text(agent),
            turns=(*episode.start.turns.get(agent, ()), *(step.turn for step in own)),
            observation=Observation(
                text=episode.final_observations[agent],
                feedback=closed.feedback_text(episode.final_state, agent),
            ),
        )
        policy = policies[agent]
        return policy.model.written(policy.build_prompt(history), policy.prefill)

    return read
