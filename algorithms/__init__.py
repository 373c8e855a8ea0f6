"""Multi-step policy optimisation for language agents, written against ``tsmg`` and ``lap`` alone.

Names are loaded when they are first used: the command line answers without waiting for torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from algorithms.advantages import (
        group_relative_advantages as group_relative_advantages,
    )
    from algorithms.advantages import (
        has_signal as has_signal,
    )
    from algorithms.batch import (
        RoleGroup as RoleGroup,
    )
    from algorithms.batch import (
        TrainingRow as TrainingRow,
    )
    from algorithms.batch import (
        micro_batches as micro_batches,
    )
    from algorithms.batch import (
        training_rows as training_rows,
    )
    from algorithms.casting import (
        AbstractCasting as AbstractCasting,
    )
    from algorithms.casting import (
        Against as Against,
    )
    from algorithms.casting import (
        Cast as Cast,
    )
    from algorithms.casting import (
        InTurn as InTurn,
    )
    from algorithms.casting import (
        PastSelves as PastSelves,
    )
    from algorithms.casting import (
        SelfPlay as SelfPlay,
    )
    from algorithms.casting import (
        frozen_copy as frozen_copy,
    )
    from algorithms.checkpoints import (
        ResumePoint as ResumePoint,
    )
    from algorithms.checkpoints import (
        resume_point as resume_point,
    )
    from algorithms.config import MSGRPOConfig as MSGRPOConfig
    from algorithms.config import RunConfig as RunConfig
    from algorithms.credit import (
        CreditRule as CreditRule,
    )
    from algorithms.credit import (
        credit_rule as credit_rule,
    )
    from algorithms.credit import (
        episode_advantages as episode_advantages,
    )
    from algorithms.episode_sampling import (
        SamplingRule as SamplingRule,
    )
    from algorithms.episode_sampling import (
        Selected as Selected,
    )
    from algorithms.episode_sampling import (
        denominator_episodes as denominator_episodes,
    )
    from algorithms.episode_sampling import (
        draw_episodes as draw_episodes,
    )
    from algorithms.episode_sampling import (
        effective_sample_size as effective_sample_size,
    )
    from algorithms.episode_sampling import (
        inclusion_probabilities as inclusion_probabilities,
    )
    from algorithms.episode_sampling import (
        sampling_weights as sampling_weights,
    )
    from algorithms.episode_sampling import (
        select_episodes as select_episodes,
    )
    from algorithms.episode_sampling import (
        selection_dist as selection_dist,
    )
    from algorithms.estimator import Estimator as Estimator
    from algorithms.evaluation import Evaluation as Evaluation
    from algorithms.evaluation import evaluate as evaluate
    from algorithms.losses import (
        LossTerms as LossTerms,
    )
    from algorithms.losses import (
        clipped_surrogate as clipped_surrogate,
    )
    from algorithms.losses import (
        kl_k3 as kl_k3,
    )
    from algorithms.losses import (
        policy_loss as policy_loss,
    )
    from algorithms.ms_grpo import MSGRPOTrainer as MSGRPOTrainer
    from algorithms.ms_grpo import Update as Update
    from algorithms.network_sizes import count_network as count_network
    from algorithms.network_sizes import parse_shape as parse_shape
    from algorithms.network_sizes import read_network as read_network
    from algorithms.optimum import OptimalPlayer as OptimalPlayer
    from algorithms.optimum import (
        mean_optimal_return as mean_optimal_return,
    )
    from algorithms.optimum import (
        optimal_return as optimal_return,
    )
    from algorithms.planning import Advice as Advice
    from algorithms.planning import Item as Item
    from algorithms.planning import NetworkSizes as NetworkSizes
    from algorithms.planning import Plan as Plan
    from algorithms.planning import PlannedRun as PlannedRun
    from algorithms.planning import advice as advice
    from algorithms.planning import make_plan as make_plan
    from algorithms.plots import draw_run as draw_run
    from algorithms.plots import plot_run as plot_run
    from algorithms.references import reference_figures as reference_figures
    from algorithms.returns import discounted_return as discounted_return
    from algorithms.rollouts import (
        Rollouts as Rollouts,
    )
    from algorithms.rollouts import (
        collect_groups as collect_groups,
    )
    from algorithms.rollouts import (
        fixed_starts as fixed_starts,
    )
    from algorithms.state import TrainingState as TrainingState
    from algorithms.statistics import Estimate as Estimate
    from algorithms.tracking import (
        RunFolder as RunFolder,
    )
    from algorithms.tracking import (
        read_lines as read_lines,
    )
    from algorithms.tracking import (
        transcript as transcript,
    )
    from algorithms.training import Result as Result
    from algorithms.training import run_training as run_training
    from algorithms.watch import Finding as Finding
    from algorithms.watch import findings as findings
    from algorithms.watch import new_findings as new_findings
    from algorithms.weighting import token_weights as token_weights

_HOMES = {
    "advantages": ("group_relative_advantages", "has_signal"),
    "batch": ("RoleGroup", "TrainingRow", "micro_batches", "training_rows"),
    "casting": (
        "AbstractCasting",
        "Against",
        "Cast",
        "InTurn",
        "PastSelves",
        "SelfPlay",
        "frozen_copy",
    ),
    "checkpoints": ("ResumePoint", "resume_point"),
    "config": ("MSGRPOConfig", "RunConfig"),
    "credit": ("CreditRule", "credit_rule", "episode_advantages"),
    "episode_sampling": (
        "SamplingRule",
        "Selected",
        "denominator_episodes",
        "draw_episodes",
        "effective_sample_size",
        "inclusion_probabilities",
        "sampling_weights",
        "select_episodes",
        "selection_dist",
    ),
    "estimator": ("Estimator",),
    "evaluation": ("Evaluation", "evaluate"),
    "losses": ("LossTerms", "clipped_surrogate", "kl_k3", "policy_loss"),
    "ms_grpo": ("MSGRPOTrainer", "Update"),
    "network_sizes": ("count_network", "parse_shape", "read_network"),
    "optimum": ("OptimalPlayer", "mean_optimal_return", "optimal_return"),
    "planning": (
        "Advice",
        "Item",
        "NetworkSizes",
        "Plan",
        "PlannedRun",
        "advice",
        "make_plan",
    ),
    "plots": ("draw_run", "plot_run"),
    "references": ("reference_figures",),
    "returns": ("discounted_return",),
    "rollouts": ("Rollouts", "collect_groups", "fixed_starts"),
    "state": ("TrainingState",),
    "statistics": ("Estimate",),
    "tracking": ("RunFolder", "read_lines", "transcript"),
    "training": ("Result", "run_training"),
    "watch": ("Finding", "findings", "new_findings"),
    "weighting": ("token_weights",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = list(_HOME_OF)


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOME_OF:
        raise AttributeError(f"module algorithms has no attribute {name!r}")
    return getattr(importlib.import_module(f"algorithms.{_HOME_OF[name]}"), name)
