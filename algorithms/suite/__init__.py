"""Suites: games by difficulty, and how well a policy plays them, between uniform and the best known play."""

from algorithms.suite.contestants import Contestant as Contestant
from algorithms.suite.results import play_suite as play_suite
from algorithms.suite.spec import Suite as Suite
from algorithms.suite.spec import SuiteGame as SuiteGame
from algorithms.suite.spec import read_suite as read_suite
from algorithms.suite.spec import shipped as shipped
from algorithms.suite.table import suite_table as suite_table

__all__ = [
    "Contestant",
    "Suite",
    "SuiteGame",
    "play_suite",
    "read_suite",
    "shipped",
    "suite_table",
]
