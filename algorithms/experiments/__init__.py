"""Experiments as files: what is run, with which seeds, and how it is judged, fixed before the first run."""

from algorithms.experiments.plan import Arm as Arm
from algorithms.experiments.plan import Experiment as Experiment
from algorithms.experiments.plan import Job as Job
from algorithms.experiments.plan import Scenario as Scenario
from algorithms.experiments.plan import jobs as jobs
from algorithms.experiments.plan import read_experiment as read_experiment
from algorithms.experiments.plan import shipped as shipped
from algorithms.experiments.running import run_jobs as run_jobs

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
