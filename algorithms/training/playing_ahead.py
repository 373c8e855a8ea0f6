"""Play of the next update while this one is learnt: one step off-policy, on a fixed schedule.

With ``max_staleness`` 1 the groups of update n are played by the weights of version n - 1 (those of update 0 by version
0), always: neither by newer ones if play is slow, nor by older ones if learning is. Equal seeds therefore give equal
groups, and every group that was begun is learnt from, however long its episodes last. A run that continues from a
checkpoint plays again what was played ahead, with the weights that the checkpoint kept.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import final

from algorithms.method.config import MSGRPOConfig
from algorithms.runs.state import TrainingState, load_model_state, model_state
from algorithms.training.engines import STALENESS_NEEDS_ENGINE
from algorithms.training.learner import Learner
from algorithms.training.past_opponents import PastOpponents
from algorithms.training.playing import Played
from lap.model import PushingModel
from tsmg import InvalidArgumentError


def playing_version(update: int, max_staleness: int) -> int:
    """The version of the weights that play an update.

    Args:
      update: its number; the weights that learn from it are of the version with that number.
      max_staleness: how many updates older the playing weights are, once there are older ones.

    Example:
      >>> [playing_version(update, 1) for update in range(4)]
      [0, 0, 1, 2]
    """
    return max(0, update - max_staleness)


def check_staleness(
    config: MSGRPOConfig,
    learners: Sequence[Learner],
    past: Sequence[PastOpponents],
    *,
    chooses_starts: bool = False,
) -> None:
    """Refuse to play ahead if no server plays, or if what plays changes with the learners.

    Args:
      config: the settings.
      learners: the policies that learn.
      past: the opponents that are copies of them.
      chooses_starts: whether a start rule chooses where groups begin.

    Raises:
      InvalidArgumentError: the message says what to leave out.
    """
    if not config.max_staleness:
        return
    if not all(isinstance(learner.policy.model, PushingModel) for learner in learners):
        raise InvalidArgumentError(STALENESS_NEEDS_ENGINE)
    if config.max_plays > 1:
        raise InvalidArgumentError(
            "'max_plays' must be 1 with 'max_staleness' 1: groups that are played ahead are compared when they are "
            f"learnt from (got {config.max_plays})"
        )
    if chooses_starts:
        raise InvalidArgumentError(
            "'starts' must be law with 'max_staleness' 1: a start rule chooses by what was compared before"
        )
    if past:
        raise InvalidArgumentError(
            "'max_staleness' does not go with opponents from the past, which change with every update; leave one out"
        )


@final
class PlayAhead:
    """Plays the next update in a thread of its own while this one is learnt.

    Args:
      learners: the policies that learn.
      play: plays the groups of an update, given its number, by the weights that were pushed.
      push: pushes the current weights to where they are played.

    Attributes:
      behind: each learner's weights for the next update's play; empty before the first update.
    """

    def __init__(
        self,
        learners: Sequence[Learner],
        play: Callable[[int], Played],
        push: Callable[[], object],
    ) -> None:
        self.behind: tuple[TrainingState, ...] = ()
        self._learners, self._play, self._push = learners, play, push
        self._ready: tuple[int, Played] | None = None

    def forget(self) -> None:
        """Forget what was played ahead, since the weights are no longer those that would follow it."""
        self._ready = None

    def take(self, update: int) -> Played:
        """The groups of an update; if they were not played ahead, they are played now, with the weights that are due.

        Args:
          update: its number, which is the version of the weights as they stand.
        """
        ready, self._ready = self._ready, None
        if ready is not None and ready[0] == update:
            return ready[1]
        if not self.behind:
            self._push()
            return self._play(update)
        now = self._weights()
        self._load(self.behind)
        try:
            self._push()
            return self._play(update)
        finally:
            self._load(now)

    @contextmanager
    def playing(self, update: int | None) -> Iterator[None]:
        """Play an update while the body runs; if the body succeeds, a failure of the play is raised after it.

        Args:
          update: its number; ``None`` if none is left to play.
        """
        self.behind = self._weights()
        if update is None:
            yield
            return
        found: list[Played] = []
        failed: list[BaseException] = []

        def play() -> None:
            try:
                found.append(self._play(update))
            except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that waits
                failed.append(error)

        # a thread that nobody waits for when the process is interrupted
        thread = threading.Thread(target=play, name=f"play of update {update}", daemon=True)
        thread.start()
        try:
            yield
        except Exception:
            thread.join()  # what failed here may be caught, and the weights must not change under play
            raise
        thread.join()
        if failed:
            raise failed[0]
        self._ready = update, found[0]

    def _weights(self) -> tuple[TrainingState, ...]:
        return tuple(
            TrainingState(
                tensors={name: t.detach().cpu().clone() for name, t in state.tensors.items()},
                values=state.values,
            )
            for state in (model_state(learner.policy.model) for learner in self._learners)
        )

    def _load(self, states: Sequence[TrainingState]) -> None:
        for learner, state in zip(self._learners, states, strict=True):
            load_model_state(learner.policy.model, state)
