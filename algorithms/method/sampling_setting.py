"""The rule by which episodes are drawn, from its setting."""

from algorithms.method.config import MSGRPOConfig
from algorithms.method.episode_sampling import SamplingRule
from algorithms.method.first_draw import SAMPLING_KINDS
from algorithms.method.max_variance import EPISODE_DRAWS
from algorithms.method.rules import EpisodeDraw, made_rule


def find_sampling(config: MSGRPOConfig) -> SamplingRule | EpisodeDraw:
    """The library's draw, or a user's own.

    Args:
      config: the settings.

    Raises:
      InvalidArgumentError: nothing has the name, or the module has no such rule.
    """
    if config.sampling not in SAMPLING_KINDS:
        return made_rule(config.sampling, EPISODE_DRAWS, config.kept_episodes, option="sampling")
    return SamplingRule(
        kind=config.sampling,
        kept=config.kept_episodes,
        alpha=config.alpha,
        floor=config.floor,
        replacement=config.replacement,
        scope=config.scope,
        corrected=config.corrected,
    )
