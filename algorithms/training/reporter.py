"""Output of a run for the people who watch it: messages, progress, updates and evaluations as they come."""

from typing import Protocol, final

from algorithms.play.evaluation import Evaluation
from algorithms.training.metrics import Update


class Reporter(Protocol):
    """Receives news of a run, such as a progress bar does."""

    def progress(self, stage: str, done: int, total: int) -> None:
        """Progress of a stage before training."""
        ...

    def update(self, update: Update) -> None:
        """An update was done."""
        ...

    def evaluated(self, update: int, sampled: Evaluation, greedy: Evaluation) -> None:
        """The policy was evaluated."""
        ...

    def message(self, text: str) -> None:
        """Something happened that the user should know."""
        ...


@final
class SilentReporter:
    """Reports nothing: for a run whose process nobody watches."""

    def progress(self, stage: str, done: int, total: int) -> None:
        """Nothing."""

    def update(self, update: Update) -> None:
        """Nothing."""

    def evaluated(self, update: int, sampled: Evaluation, greedy: Evaluation) -> None:
        """Nothing."""

    def message(self, text: str) -> None:
        """Nothing."""
