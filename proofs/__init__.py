"""Executable statements about games, policies, credit and sampling."""

from proofs.estimators.laboratory import Examination, examine
from proofs.estimators.signal_to_noise import Signal, measure_signal
from proofs.exact.enumeration import Line, lines
from proofs.exact.gradients import PlayLaw, central_differences
from proofs.exact.induced import InducedPlayer
from proofs.exact.states import StateGraph, state_graph
from proofs.exact.values import best_response_return, expected_returns, nash_conv

__all__ = [
    "Examination",
    "InducedPlayer",
    "Line",
    "PlayLaw",
    "Signal",
    "StateGraph",
    "best_response_return",
    "central_differences",
    "examine",
    "expected_returns",
    "lines",
    "measure_signal",
    "nash_conv",
    "state_graph",
]
