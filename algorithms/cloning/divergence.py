"""How far a cloned policy is from the player that it was cloned from."""

from algorithms.cloning.demonstrations import A, AsAsked, S, demonstrations
from algorithms.cloning.fit import WrittenReplies, divergence
from lap.model import TrainableModel
from lap.policy import LanguageAgentPolicy
from tsmg import AbstractGame

_TOKENS_AT_ONCE = 2**14


def divergence_from_player(
    policy: LanguageAgentPolicy[TrainableModel],
    game: AbstractGame[S, A],
    *,
    episodes: int = 200,
    seed: int = 0,
) -> float:
    """Mean divergence of a cloned policy from the game's scripted player, at the prompts that the player meets.

    On starts that cloning did not see (the other part of a split game), it says whether the clone has converged.

    Args:
      policy: the clone, with the prompt and parser that it was made for; its untruncated distribution at temperature
        1 counts.
      game: the game with the scripted player that the clone is compared with.
      episodes: number of episodes that the player plays.
      seed: of their starts.

    Returns:
      The mean over distinct prompts of KL(player || clone), over whole replies, in nats.
    """
    shown = demonstrations(
        game, prompt=AsAsked(policy), parser=policy.parser, episodes=episodes, seed=seed
    )
    written = WrittenReplies(policy.model, policy.parser)
    return divergence(policy.model, written, shown, token_budget=_TOKENS_AT_ONCE)
