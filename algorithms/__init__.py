"""Multi-step policy optimisation for language agents, on top of ``tsmg`` and ``lap``.

The subpackages, each of which imports only those before it: ``method`` (the mathematics), ``distributed`` (several
processes), ``play`` (rollouts, matchups, evaluation), ``runs`` (run folders), ``analysis`` (of finished runs),
``cloning`` (demonstrations, and the fit to them), ``training`` (the trainer and a whole run), ``capacity``,
``experiments``, ``suite`` and ``cli``. This module re-exports what most users need; names are loaded when they are
first used, so that the command line answers without waiting for torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from algorithms.cloning.config import CloningConfig as CloningConfig
    from algorithms.cloning.config import FitConfig as FitConfig
    from algorithms.cloning.small import cloned_policy as cloned_policy
    from algorithms.method.advantages import group_relative_advantages as group_relative_advantages
    from algorithms.method.clip_range import ClipRange as ClipRange
    from algorithms.method.config import MSGRPOConfig as MSGRPOConfig
    from algorithms.method.credit import credit_rule as credit_rule
    from algorithms.method.episode_sampling import select_episodes as select_episodes
    from algorithms.method.estimator import Estimator as Estimator
    from algorithms.method.first_draw import sampling_weights as sampling_weights
    from algorithms.method.inclusion import inclusion_probabilities as inclusion_probabilities
    from algorithms.method.losses import policy_loss as policy_loss
    from algorithms.method.weighting import token_weights as token_weights
    from algorithms.play.evaluation import evaluate as evaluate
    from algorithms.training.clone_spec import CloneSpec as CloneSpec
    from algorithms.training.cloning import clone_policy as clone_policy
    from algorithms.training.config import RunConfig as RunConfig
    from algorithms.training.game_spec import GameSpec as GameSpec
    from algorithms.training.policy_spec import PolicySpec as PolicySpec
    from algorithms.training.run import run_training as run_training
    from algorithms.training.spec import RunSpec as RunSpec
    from algorithms.training.trainer import MSGRPOTrainer as MSGRPOTrainer

_MODULES = {
    "group_relative_advantages": "method.advantages",
    "ClipRange": "method.clip_range",
    "MSGRPOConfig": "method.config",
    "RunConfig": "training.config",
    "credit_rule": "method.credit",
    "inclusion_probabilities": "method.inclusion",
    "sampling_weights": "method.first_draw",
    "select_episodes": "method.episode_sampling",
    "Estimator": "method.estimator",
    "policy_loss": "method.losses",
    "token_weights": "method.weighting",
    "evaluate": "play.evaluation",
    "CloningConfig": "cloning.config",
    "FitConfig": "cloning.config",
    "CloneSpec": "training.clone_spec",
    "clone_policy": "training.cloning",
    "cloned_policy": "cloning.small",
    "run_training": "training.run",
    "GameSpec": "training.game_spec",
    "PolicySpec": "training.spec",
    "RunSpec": "training.spec",
    "MSGRPOTrainer": "training.trainer",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _MODULES:
        raise AttributeError(f"module algorithms has no attribute {name!r}")
    return getattr(importlib.import_module(f"algorithms.{_MODULES[name]}"), name)
