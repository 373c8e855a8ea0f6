"""The conformance kit for authors of model backends: ``check_model(make_model).raise_if_broken()``."""

from lap.testing.check import CHECKS, check_model
from lap.testing.report import (
    Check,
    CheckResult,
    Fixture,
    ModelConformanceError,
    ModelReport,
    Status,
)

__all__ = [
    "CHECKS",
    "Check",
    "CheckResult",
    "Fixture",
    "ModelConformanceError",
    "ModelReport",
    "Status",
    "check_model",
]
