"""The checkpoints of a run folder: policies that can be loaded, and all that training needs to continue from them.

start/                        the policy before training
checkpoints/update-000100/    the policy, and the state of training; manifest.json has size and hash of every file
checkpoints/best/             the policy of the best evaluation so far
"""

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from algorithms.errors import RunFolderError
from algorithms.runs.atomic import corruption_reason, write_whole_folder
from algorithms.runs.state import TrainingState, as_saved
from algorithms.runs.writer import finite

START, CHECKPOINTS, BEST = "start", "checkpoints", "best"
_NUMBERED = "update-"


@attrs.frozen(kw_only=True, eq=False)
class ResumePoint:
    """The point from which a run continues.

    Attributes:
      training: the state of the trainer; ``None`` if the run starts from its beginning.
      lines: how many bytes each line-based file had then.
      skipped: newer checkpoints that cannot be used, and why.
    """

    training: TrainingState | None = None
    lines: Mapping[str, int] = {}
    skipped: tuple[str, ...] = ()

    @property
    def update(self) -> int:
        """How many updates were done by then."""
        return 0 if self.training is None else int(self.training.values["update"])


def checkpoint_folder(run: Path, update: int) -> Path:
    """The folder of the checkpoint after ``update`` updates."""
    return run / CHECKPOINTS / f"{_NUMBERED}{update:06d}"


def save_checkpoint(
    run: Path,
    update: int,
    *,
    save_policy: Callable[[Path], None],
    training: TrainingState,
    lines: Mapping[str, int],
) -> None:
    """Write a checkpoint, completely or not at all.

    Args:
      run: the run folder.
      update: how many updates were done.
      save_policy: writes the policy into a folder.
      training: the state of the trainer.
      lines: how many bytes each file of lines has.

    Raises:
      RunFolderError: it cannot be written; older ones do not change.
    """

    def write(folder: Path) -> None:
        save_policy(folder)
        TrainingState.of({"training": training}, lines=dict(lines)).save(folder)

    write_whole_folder(checkpoint_folder(run, update), write)


def remove_old_checkpoints(run: Path, *, update: int, keep: int) -> None:
    """Of the checkpoints up to an update, remove all but the newest; later ones, of another history, are left alone.

    Args:
      run: the run folder.
      update: the newest checkpoint.
      keep: how many stay; at least 1.
    """
    newest = checkpoint_folder(run, update).name
    for folder in [one for one in _numbered(run) if one.name <= newest][:-keep]:
        shutil.rmtree(folder)


def resume_point(run: Path) -> ResumePoint:
    """The newest complete checkpoint, and why newer ones are not complete; the beginning if there is none.

    Args:
      run: the run folder.
    """
    skipped: list[str] = []
    for folder in reversed(_numbered(run)):
        try:
            training, lines = _loaded(run, folder)
        except RunFolderError as error:
            skipped.append(f"{folder.name}: {error}")
            continue
        return ResumePoint(training=training, lines=lines, skipped=tuple(skipped))
    return ResumePoint(skipped=tuple(skipped))


def _loaded(run: Path, folder: Path) -> tuple[TrainingState, Mapping[str, int]]:
    reason = corruption_reason(folder)
    if reason is not None:
        raise RunFolderError(reason)
    state = TrainingState.load(folder)
    with as_saved():
        lines = {str(name): int(size) for name, size in state.values["lines"].items()}
        for name, size in lines.items():
            file = run / name
            there = file.stat().st_size if file.is_file() else 0
            if there < size:
                raise RunFolderError(
                    f"{name} has {there} bytes, but had {size} when it was written"
                )
        training = state.part("training")
        int(training.values["update"])
    return training, lines


def _numbered(run: Path) -> list[Path]:
    return sorted((run / CHECKPOINTS).glob(f"{_NUMBERED}*"))


def has_start(run: Path) -> bool:
    """Whether a run folder has the complete policy before training."""
    return corruption_reason(run / START) is None


def newest_policy(folder: Path) -> Path:
    """The folder of a run's newest complete policy; the folder itself if it is not a run's.

    Args:
      folder: of a run, or of a policy.
    """
    whole = (one for one in reversed(_numbered(folder)) if corruption_reason(one) is None)
    return next(whole, folder / START if has_start(folder) else folder)


def best_reward(records: Sequence[Mapping[str, Any]]) -> float:
    """The greatest mean return of an evaluation at the training temperature; minus infinity before the first.

    Args:
      records: the lines of ``metrics.jsonl``.
    """
    rewards = [finite(record.get("eval/reward")) for record in records]
    return max((reward for reward in rewards if reward is not None), default=-math.inf)
