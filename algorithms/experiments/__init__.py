"""Experiments as files: what is run, with which seeds, and how it is judged, fixed before the first run."""

from algorithms.experiments.scheduler import run_jobs as run_jobs
from algorithms.experiments.spec import Arm as Arm
from algorithms.experiments.spec import Experiment as Experiment
from algorithms.experiments.spec import Job as Job
from algorithms.experiments.spec import Scenario as Scenario
from algorithms.experiments.spec import jobs as jobs
from algorithms.experiments.spec import read_experiment as read_experiment
from algorithms.experiments.spec import shipped as shipped

__all__ = [
    "Arm",
    "Experiment",
    "Job",
    "Scenario",
    "jobs",
    "read_experiment",
    "run_jobs",
    "shipped",
]
