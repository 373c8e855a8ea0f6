"""Executable statements about games, policies, credit and sampling."""

from proofs.enumeration import Line, lines
from proofs.induced import InducedPlayer
from proofs.values import best_response_return, expected_returns, nash_conv

__all__ = [
    "InducedPlayer",
    "Line",
    "best_response_return",
    "expected_returns",
    "lines",
    "nash_conv",
]
