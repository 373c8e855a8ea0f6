"""Executable statements about games, policies, credit and sampling."""

from proofs.estimators.laboratory import EstimatorAnalysis, analyse_estimator
from proofs.estimators.signal_to_noise import Signal, measure_signal
from proofs.exact.enumeration import Trajectory, trajectories
from proofs.exact.gradients import TrajectoryDistribution, central_differences
from proofs.exact.induced import InducedPlayer
from proofs.exact.states import StateGraph, state_graph
from proofs.exact.values import best_response_return, expected_returns, nash_conv

__all__ = [
    "EstimatorAnalysis",
    "InducedPlayer",
    "Signal",
    "StateGraph",
    "Trajectory",
    "TrajectoryDistribution",
    "analyse_estimator",
    "best_response_return",
    "central_differences",
    "expected_returns",
    "measure_signal",
    "nash_conv",
    "state_graph",
    "trajectories",
]
