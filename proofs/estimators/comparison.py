"""Estimators side by side on one game: what ``tsmg lab`` shows."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from algorithms import MSGRPOConfig
from proofs.estimators.laboratory import (
    GROUP_LIMIT,
    EstimatorAnalysis,
    Settings,
    analyse_estimator,
)
from proofs.exact.enumeration import TRAJECTORY_LIMIT, trajectories
from proofs.exact.gradients import TrajectoryDistribution
from proofs.small_games import random_policy
from tsmg import AbstractExplicitGame, PlayerPolicy, UniformPlayer

# Differences from the plain estimator: every episode of a group, relative to its mean, not divided.
ESTIMATORS: Mapping[str, Settings] = {
    "group mean": {},
    "leave-one-out": {"baseline": "leave_one_out"},
    "no baseline": {"baseline": "none"},
    "divided by std": {"std": "population"},
    "reward-to-go": {"credit": "reward_to_go"},
    "turn by turn": {"credit": "turn"},
    "anchor states": {"credit": "anchor_state"},
    "episode weighting": {"weighting": "episode"},
    "step weighting": {"weighting": "step"},
    "token weighting": {"weighting": "token"},
    "AAW": {"sampling": "aaw"},
    "AAW, corrected": {"sampling": "aaw", "corrected": True},
    "uniform part": {"sampling": "uniform"},
    "MS-GRPO": {"sampling": "aaw", "std": "population"},
}


def plain_config(
    *, group_size: int, kept_episodes: int, groups: int = 1, **settings: Any
) -> MSGRPOConfig:
    """The settings that ``ESTIMATORS`` change: every episode, the group's mean, no std, the weighting "constant"."""
    return MSGRPOConfig(
        groups=groups,
        group_size=group_size,
        kept_episodes=kept_episodes,
        **{"sampling": "all", "std": "none", **settings},
    )


def word_policy_distribution(
    game: AbstractExplicitGame[Any, Any],
    *,
    seed: int = 0,
    spread: float = 1.0,
    limit: int = TRAJECTORY_LIMIT,
) -> TrajectoryDistribution:
    """The trajectory distribution of a tabular policy whose words are the game's action texts, one word a reply.

    Args:
      game: an explicit game with finite distributions.
      seed: seed of the policy's logits, which are normally distributed.
      spread: standard deviation of the logits; 0 for the uniform policy.
      limit: greatest number of trajectories.

    Raises:
      NotEnumerableError: there are more trajectories.
    """
    uniform = PlayerPolicy(game, UniformPlayer(game))
    words = {
        step.reply.text: None
        for trajectory in trajectories(game, uniform, limit=limit)
        for agent in game.agents
        for step in trajectory.episode.agent_steps(agent)
    }
    policy = random_policy(game, tuple(words), seed=seed, spread=spread, limit=limit)
    return TrajectoryDistribution.of(game, policy, limit=limit)


def compare(
    dist: TrajectoryDistribution,
    config: MSGRPOConfig,
    estimators: Mapping[str, Settings] = ESTIMATORS,
    *,
    limit: int = GROUP_LIMIT,
    samples: int = 4000,
    seed: int = 0,
    report: Callable[[str], None] = lambda name: None,
) -> dict[str, EstimatorAnalysis]:
    """The analysis of each estimator, by name.

    Args:
      dist: the trajectory distribution.
      config: the common settings.
      estimators: by name, the settings that differ.
      limit: greatest number of distinct groups that are listed; if there are more, batches are drawn.
      samples: number of batches that are then drawn.
      seed: seed of the draws.
      report: called with the name of each estimator before it is analysed.
    """
    analyses = {}
    for name, settings in estimators.items():
        report(name)
        changed = attrs.evolve(config, **settings)
        analyses[name] = analyse_estimator(dist, changed, limit=limit, samples=samples, seed=seed)
    return analyses


def plot(analyses: Mapping[str, EstimatorAnalysis], file: str | Path, *, title: str) -> None:
    """Bars: cosine with the true gradient, and signal-to-noise per generated and per trained token, with intervals.

    Args:
      analyses: analyses of estimators, by name.
      file: the picture's file; its suffix gives the format.
      title: the headline.
    """
    panels = (
        ("cosine", "cosine with the true gradient", 1.0),
        ("snr_per_generated_token", "signal-to-noise per 1000 generated tokens", 1000.0),
        ("snr_per_trained_token", "signal-to-noise per 1000 trained tokens", 1000.0),
    )
    figure = Figure(figsize=(11, 1.2 + 0.32 * len(analyses)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    axes = figure.subplots(1, len(panels), sharey=True)
    for axis, (name, label, unit) in zip(axes, panels, strict=True):
        values = [unit * getattr(analysis, name) for analysis in analyses.values()]
        ends = [analysis.interval(name) for analysis in analyses.values()]
        axis.barh(list(analyses), values, color="#4878a8", height=0.65)
        for place, (low, high) in enumerate(ends):
            axis.plot([unit * low, unit * high], [place, place], color="black", linewidth=1)
        axis.set_xlabel(label)
        axis.axvline(0, color="black", linewidth=0.6)
        axis.grid(axis="x", alpha=0.3)
    axes[0].invert_yaxis()
    figure.savefig(file, dpi=120)


def rows(analyses: Mapping[str, EstimatorAnalysis]) -> Sequence[tuple[str, ...]]:
    """The table of ``tsmg lab`` as text: a headline, and a row per estimator."""
    headline = (
        "estimator",
        "cosine",
        "scale",
        "std",
        "SNR",
        "/1k generated",
        "/1k trained",
        "zero var.",
    )
    return [headline, *((name, *_figures(analysis)) for name, analysis in analyses.items())]


def _figures(analysis: EstimatorAnalysis) -> tuple[str, ...]:
    def shown(name: str, digits: int, unit: float = 1.0) -> str:
        low, high = analysis.interval(name)
        value = f"{unit * getattr(analysis, name):.{digits}f}"
        return value if analysis.exact else f"{value} ±{unit * (high - low) / 2:.{digits}f}"

    return (
        shown("cosine", 3),
        shown("scale", 3),
        f"{analysis.variance**0.5:.3f}",
        shown("snr", 3),
        shown("snr_per_generated_token", 1, 1000),
        shown("snr_per_trained_token", 1, 1000),
        shown("zero_variance_share", 2),
    )
