"""Whether an estimator with rules of the user's own is one of the settings that it is used with."""

from collections.abc import Mapping

import attrs

from algorithms.method.config import MSGRPOConfig, resolved_group_on, resolved_std
from algorithms.method.estimator import Estimator
from tsmg import Facts, InvalidArgumentError

_NO_RULES = (
    "group_on",
    "common_chance",
    "group_size",
    "kept_episodes",
    "std",
    "eps",
    "baseline",
    "weighting",
    "start_floor",
    "correct_starts",
)


def check_estimator(estimator: Estimator, config: MSGRPOConfig, facts: Facts) -> None:
    """Refuse an estimator whose group size, say, is not that of the settings; its rules may be others than they name.

    Args:
      estimator: as it is given to a trainer or an analysis.
      config: the settings that are given with it.
      facts: facts of the game that is played.

    Raises:
      InvalidArgumentError: the message names the setting and both values.
    """
    resolved: Mapping[str, object] = {
        **attrs.asdict(config, recurse=False),
        "group_on": resolved_group_on(config, facts),
        "std": resolved_std(config, facts),
    }
    if config.sampling == "all" and estimator.kept_episodes == config.group_size:
        resolved = {**resolved, "kept_episodes": config.group_size}
    for name in _NO_RULES:
        ours, theirs = getattr(estimator, name), resolved[name]
        if ours != theirs:
            raise InvalidArgumentError(
                f"'estimator' has {name!r} {ours!r}, and the settings say {theirs!r}: make it of these settings "
                "(Estimator.of)"
            )
