"""Trackers of runs, through accelerate: TensorBoard, Weights & Biases, trackio."""

import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

from accelerate import Accelerator

from algorithms.training.config import Tracker
from algorithms.training.metrics import Metrics


def tracker(
    name: Tracker, folder: Path, settings: Mapping[str, object]
) -> Callable[[Metrics, int], None] | None:
    """A function that sends metrics to a tracker; ``None`` for no tracker.

    Args:
      name: of the tracker.
      folder: the run folder; a run that is resumed there is the same run to the tracker.
      settings: of the run.
    """
    if name == "none":
        return None
    accelerator = Accelerator(log_with=name, project_dir=str(folder / "tracker"))
    identity = uuid.uuid5(uuid.NAMESPACE_URL, str(folder.resolve())).hex
    kept = {"wandb": {"id": identity}, "trackio": {"name": identity}}.get(name, {})
    accelerator.init_trackers(
        "tsmg",
        config={key: str(value) for key, value in settings.items()},
        init_kwargs={name: {**kept, "resume": "allow"}} if kept else {},
    )

    def track(metrics: Metrics, step: int) -> None:
        accelerator.log({k: v for k, v in metrics.items() if v is not None}, step=step)

    return track
