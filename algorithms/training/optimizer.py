"""The optimiser step: schedules and learning rate."""

import torch

from algorithms.method.config import Schedule


def remaining(schedule: Schedule, *, done: int, total: int) -> float:
    """The share of its greatest value that remains of a scheduled quantity.

    Args:
      schedule: linear decay to 0, or constant.
      done: how many updates were done.
      total: the number of updates of the run.

    Example:
      >>> [remaining("linear", done=n, total=4) for n in range(4)]
      [1.0, 0.75, 0.5, 0.25]

    Theory: Equation 5.7.
    """
    return 1.0 if schedule == "constant" else 1 - done / total


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of the next steps of an optimiser."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
