"""A deadline for what a game computes, so that a game that hangs fails one episode and not the run."""

import contextlib
import signal
import threading
from collections.abc import Hashable, Iterator, Mapping
from types import FrameType
from typing import NoReturn, TypeVar, final

from tsmg import (
    AbstractExplicitGame,
    AbstractGame,
    AbstractWrappedExplicitGame,
    AbstractWrappedGame,
    AbstractWrappedSampledGame,
    Distribution,
    GameDeadlineError,
    InvalidArgumentError,
    Stream,
    TextOutcome,
    Transition,
)

S = TypeVar("S", bound=Hashable)
A = TypeVar("A", bound=Hashable)


def with_step_deadline(game: AbstractGame[S, A], seconds: float) -> AbstractGame[S, A]:
    """The same game with a time limit on each start, transition, distribution, observation and reading of a text.

    An alarm of the operating system (SIGALRM) interrupts the game. It reaches Python code in the main thread only: in
    another thread there is no deadline, and native code that hangs is interrupted when it returns.

    Args:
      game: the game.
      seconds: time limit of each of these computations; above 0.

    Raises:
      InvalidArgumentError: the time limit is not above 0.
    """
    if not seconds > 0:
        raise InvalidArgumentError(f"'seconds' must be above 0 (got {seconds})")
    if isinstance(game, AbstractExplicitGame):
        return _TimedExplicit(game, seconds)
    return _TimedSampled(game, seconds)


@contextlib.contextmanager
def _deadline(seconds: float, what: str) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: FrameType | None) -> NoReturn:
        raise GameDeadlineError(f"{what} took more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    # it rings again, should the game swallow the first alarm
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class _Timed(AbstractWrappedGame[S, A]):
    """What explicit and sampled games share."""

    def __init__(self, inner: AbstractGame[S, A], seconds: float) -> None:
        super().__init__(inner)
        self.seconds = seconds

    def sample_initial_state(self, rng: Stream) -> S:
        with _deadline(self.seconds, "drawing a start"):
            return self.inner.sample_initial_state(rng)

    def sample_transition(
        self, state: S, joint_action: Mapping[str, A], rng: Stream
    ) -> Transition[S]:
        with _deadline(self.seconds, "a transition"):
            return self.inner.sample_transition(state, joint_action, rng)

    def observation_text(self, state: S, agent: str) -> str:
        with _deadline(self.seconds, "writing an observation"):
            return self.inner.observation_text(state, agent)

    def read_action(self, state: S, agent: str, text: str) -> TextOutcome[A]:
        with _deadline(self.seconds, "reading an action"):
            return self.inner.read_action(state, agent, text)


@final
class _TimedExplicit(_Timed[S, A], AbstractWrappedExplicitGame[S, A]):
    def initial_state_dist(self) -> Distribution[S]:
        with _deadline(self.seconds, "the distribution of the starts"):
            return self.inner.initial_state_dist()

    def transition_dist(
        self, state: S, joint_action: Mapping[str, A]
    ) -> Distribution[Transition[S]]:
        with _deadline(self.seconds, "a transition's distribution"):
            return self.inner.transition_dist(state, joint_action)


@final
class _TimedSampled(_Timed[S, A], AbstractWrappedSampledGame[S, A]):
    pass
