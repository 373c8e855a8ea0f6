"""Output of commands: one console, and reporters of a run for people and for log files."""

import os
import time
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from algorithms.analysis.printing import printable
from algorithms.training.game_spec import GameSpec

if TYPE_CHECKING:
    from algorithms.play.evaluation import Evaluation
    from algorithms.training.metrics import Update
    from algorithms.training.reporter import Reporter
    from algorithms.training.run import Result

console = Console(quiet=int(os.environ.get("RANK", "0")) > 0)  # of several processes one speaks
_LINES = 20  # of a whole run, where there is no terminal
_SLOW = 30.0  # s of an update, from which on each has a line of its own


def shown(text: str) -> str:
    """A text from an untrusted source, safe to show on a terminal."""
    return escape(printable(text))


def say(text: str) -> None:
    """Print a line without wrapping it, since people search and cut lines."""
    console.print(shown(text), highlight=False, soft_wrap=True)


def figures(evaluation: "Evaluation") -> str:
    """Return, success and invalid rate of an evaluation, and what the game measures."""
    parts = (
        f"return {evaluation.reward:.3f}",
        f"success {evaluation.success_rate:.3f}",
        f"invalid {evaluation.invalid_rate:.4f}",
        *(f"{name} {value:.3f}" for name, value in evaluation.metrics.items()),
    )
    return ", ".join(parts)


def _update_figures(update: "Update") -> str:
    metrics = update.metrics
    episodes = sum(len(group.episodes) for group in update.rollouts.groups)
    rate = episodes / max(update.total_seconds, 1e-9)
    success, failed = metrics.get("success_rate"), metrics.get("failed_episodes")
    parts = (
        f"return {metrics['reward']:.3f}",
        "" if success is None else f"success {success:.3f}",
        f"invalid {metrics['invalid_rate']:.4f}",
        f"{failed:.0f} episodes failed" if failed else "",
        f"{rate:.0f} episodes/s" if rate >= 10 else f"{rate:.2g} episodes/s",
    )
    return ", ".join(filter(None, parts))


def _evaluation_line(update: int, sampled: "Evaluation", greedy: "Evaluation") -> str:
    return f"update {update:>4}: sampled: {figures(sampled)}; greedy: {figures(greedy)}"


class Bar:
    """Reports a run on a terminal: a live line below the messages and evaluations.

    Args:
      updates: of the whole run.
    """

    def __init__(self, updates: int) -> None:
        self._progress = Progress(
            TextColumn("update {task.completed:.0f}/{task.total:.0f}"),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[line]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self._updates = updates
        self._task: TaskID | None = None

    def __enter__(self) -> "Reporter":
        self._progress.start()
        self._task = self._progress.add_task("train", total=self._updates, line="evaluating")
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def _show(self, **fields: Any) -> None:
        if self._task is not None:
            self._progress.update(self._task, **fields)

    def progress(self, stage: str, done: int, total: int) -> None:
        """The stage, in place of the figures of an update."""
        self._show(line=f"{stage}: {done}/{total}")

    def update(self, update: "Update") -> None:
        """The figures of the update."""
        self._show(completed=update.metrics["update"], line=_update_figures(update))

    def message(self, text: str) -> None:
        """A line."""
        self._progress.print(shown(text), highlight=False, soft_wrap=True)

    def evaluated(self, update: int, sampled: "Evaluation", greedy: "Evaluation") -> None:
        """A line."""
        self.message(_evaluation_line(update, sampled, greedy))


class PlainLines:
    """Reports a run if there is no terminal: in whole lines, about twenty for all updates, or one for each slow update.

    Args:
      updates: of the whole run.
    """

    def __init__(self, updates: int) -> None:
        self._updates = updates
        self._every = max(1, updates // _LINES)
        self._first = 0
        self._since = time.monotonic()

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing is left open."""

    def progress(self, stage: str, done: int, total: int) -> None:
        """A line at the beginning of a stage."""
        if done == 1:
            say(f"{stage}: {total} steps")

    def update(self, update: "Update") -> None:
        """A line, every few updates, or after each that is slow."""
        index = update.index
        if not self._first:
            self._first, self._since = index, time.monotonic()
        is_slow = update.total_seconds >= _SLOW
        if index % self._every and index != self._updates and not is_slow:
            return
        done = index - self._first
        seconds = update.total_seconds  # of the first one, without what is due between updates
        if done:
            seconds = (time.monotonic() - self._since) / done
        left = f", {_duration(seconds * (self._updates - index))} left" if done or is_slow else ""
        say(f"update {index} of {self._updates}: {_update_figures(update)}{left}")

    def message(self, text: str) -> None:
        """A line."""
        say(text)

    def evaluated(self, update: int, sampled: "Evaluation", greedy: "Evaluation") -> None:
        """A line."""
        say(_evaluation_line(update, sampled, greedy))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def run_reporter(updates: int) -> Bar | PlainLines:
    """The reporter that suits the destination of standard output."""
    return Bar(updates) if console.is_terminal else PlainLines(updates)


def say_result(result: "Result", *, game: GameSpec, checkpoint: str) -> None:
    """Print the result of a run, and what can be done with it.

    Args:
      result: of the run.
      game: that was trained on.
      checkpoint: the folder of its last policy.
    """
    say(f"episodes evaluated: {len(set(result.sampled.starts))}, the same before and after")
    say(f"before  sampled: {figures(result.start_sampled)}")
    say(f"        greedy: {figures(result.start_greedy)}")
    say(f"after   sampled: {figures(result.sampled)}")
    say(f"        greedy: {figures(result.greedy)}")
    if result.free is not None:
        sampled, greedy = map(figures, result.free)
        say(
            "these are for play restricted to legal actions; without the restriction, after training:"
        )
        say(f"free    sampled: {sampled}")
        say(f"        greedy: {greedy}")
    if result.ceiling is not None:
        say(f"exact optimum of the same starts: return {result.ceiling:.3f}")
    say(
        f"run folder: {result.folder}; next: tsmg report {result.folder}, "
        f"tsmg evaluate {game.options()} --model {checkpoint}, or tsmg play {game.options(split=False)}"
    )


def echo_error(text: str) -> None:
    """A sentence on standard error."""
    click.echo(printable(text), err=True)
