"""Executable statements about games, policies, credit and sampling."""

from proofs.enumeration import Line, lines
from proofs.gradients import PlayLaw, central_differences
from proofs.induced import InducedPlayer
from proofs.laboratory import Examination, examine
from proofs.signal_to_noise import Signal, measure_signal
from proofs.states import StateGraph, state_graph
from proofs.values import best_response_return, expected_returns, nash_conv

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
