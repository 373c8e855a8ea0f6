"""Multi-step policy optimisation for language agents, written against ``tsmg`` and ``lap`` alone."""

from algorithms.advantages import group_relative_advantages, has_signal
from algorithms.batch import RoleGroup, TrainingRow, micro_batches, training_rows
from algorithms.credit import CreditRule, episode_advantages, whole_episode_credit
from algorithms.episode_sampling import (
    Selected,
    denominator_episodes,
    draw_episodes,
    effective_sample_size,
    inclusion_probabilities,
    sampling_weights,
    select_episodes,
)
from algorithms.evaluation import Evaluation, evaluate
from algorithms.losses import LossTerms, clipped_surrogate, kl_k3, policy_loss
from algorithms.ms_grpo import MSGRPOConfig, MSGRPOTrainer, Update
from algorithms.optimum import mean_optimal_return, optimal_return
from algorithms.plots import plot_run
from algorithms.returns import discounted_return
from algorithms.rollouts import Rollouts, collect_groups, fixed_starts
from algorithms.tracking import RunFolder, read_lines, transcript
from algorithms.training import Result, RunConfig, run_training
from algorithms.weighting import token_weights

__all__ = [
    "CreditRule",
    "Evaluation",
    "LossTerms",
    "MSGRPOConfig",
    "MSGRPOTrainer",
    "Result",
    "RoleGroup",
    "Rollouts",
    "RunConfig",
    "RunFolder",
    "Selected",
    "TrainingRow",
    "Update",
    "clipped_surrogate",
    "collect_groups",
    "denominator_episodes",
    "discounted_return",
    "draw_episodes",
    "effective_sample_size",
    "episode_advantages",
    "evaluate",
    "fixed_starts",
    "group_relative_advantages",
    "has_signal",
    "inclusion_probabilities",
    "kl_k3",
    "mean_optimal_return",
    "micro_batches",
    "optimal_return",
    "plot_run",
    "policy_loss",
    "read_lines",
    "run_training",
    "sampling_weights",
    "select_episodes",
    "token_weights",
    "training_rows",
    "transcript",
    "whole_episode_credit",
]
