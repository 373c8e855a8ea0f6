"""A deadline for what a game computes, so that a game that hangs fails one episode and not the run."""

import contextlib
import signal
import threading
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any, NoReturn, final

from tsmg.combinators import _Changes, _Derived
from tsmg.distribution import Distribution
from tsmg.errors import GameDeadlineError, InvalidArgumentError
from tsmg.game import AbstractExplicitGame, AbstractGame, AbstractSampledGame, Transition
from tsmg.randomness import Stream
from tsmg.text import TextOutcome


def with_step_deadline(game: AbstractGame[Any, Any], seconds: float) -> AbstractGame[Any, Any]:
    """The same game with a time limit on each start, transition, distribution, observation and reading of a text.

    An alarm of the operating system (SIGALRM) interrupts the game. It reaches Python code in the main thread alone: in
    another thread there is no deadline, and native code that hangs is interrupted when it returns.

    Args:
      game: the game.
      seconds: how long each of these may take.

    Raises:
      InvalidArgumentError: not above 0.
    """
    if not seconds > 0:
        raise InvalidArgumentError(f"'seconds' must be above 0 (got {seconds})")
    kind = _TimedExplicit if isinstance(game, AbstractExplicitGame) else _TimedSampled
    return kind(game, seconds)


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


class _Timed(_Derived):
    """What explicit and sampled games share."""

    def __init__(self, inner: AbstractGame[Any, Any], seconds: float) -> None:
        super().__init__(inner, _Changes())
        self.seconds = seconds

    def sample_initial_state(self, rng: Stream) -> Any:
        with _deadline(self.seconds, "drawing a start"):
            return self.inner.sample_initial_state(rng)

    def sample_transition(
        self, state: Any, joint_action: Mapping[str, Any], rng: Stream
    ) -> Transition[Any]:
        with _deadline(self.seconds, "a transition"):
            return self.inner.sample_transition(state, joint_action, rng)

    def observation_text(self, state: Any, agent: str) -> str:
        with _deadline(self.seconds, "writing an observation"):
            return self.inner.observation_text(state, agent)

    def read_action(self, state: Any, agent: str, text: str) -> TextOutcome[Any]:
        with _deadline(self.seconds, "reading an action"):
            return self.inner.read_action(state, agent, text)


@final
class _TimedExplicit(_Timed, AbstractExplicitGame[Any, Any]):
    inner: AbstractExplicitGame[Any, Any]

    def initial_state_dist(self) -> Distribution[Any]:
        with _deadline(self.seconds, "the distribution of the starts"):
            return self.inner.initial_state_dist()

    def transition_dist(
        self, state: Any, joint_action: Mapping[str, Any]
    ) -> Distribution[Transition[Any]]:
        with _deadline(self.seconds, "a transition's distribution"):
            return self.inner.transition_dist(state, joint_action)


@final
class _TimedSampled(_Timed, AbstractSampledGame[Any, Any]):
    pass
