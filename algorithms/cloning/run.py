"""A cloning as a whole: steps, measurements on held-out prompts, checkpoints, and the policy that is kept.

clone.json        what is cloned, and how
clone.jsonl       one line per measurement; the same bit for bit for the same seed and machine type
checkpoint/, best/  while it goes on: what is needed to go on, and the best policy so far
policy.json, ...  once it is finished: the policy that is kept
"""

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, final

import attrs

from algorithms.cloning.config import DESCRIBED, FitConfig
from algorithms.cloning.demonstrations import Demonstration
from algorithms.cloning.fit import Fit
from algorithms.errors import RunFolderError
from algorithms.runs.atomic import (
    MANIFEST,
    corruption_reason,
    write_whole_file,
    write_whole_folder,
    writing,
)
from algorithms.runs.state import TrainingState, as_saved
from algorithms.runs.writer import finite
from lap.model import TrainableModel
from lap.models.transformers import TransformersModel
from lap.policy import POLICY_FILE, LanguageAgentPolicy
from tsmg import ActionText, Stream

MEASURED = "clone.jsonl"
_CHECKPOINT, _BEST = "checkpoint", "best"
_SAMPLED = 32  # prompts of a measurement at which a reply is sampled

Policy = LanguageAgentPolicy[TrainableModel]


@attrs.frozen(kw_only=True)
class Measurement:
    """The divergence of the clone from its demonstrations.

    Attributes:
      step: how many steps were done.
      loss: mean loss of the steps since the previous measurement, in nats per reply; NaN before the first step.
      divergence: KL(demonstrated || clone) on held-out prompts, in nats per reply.
      invalid_rate: the share of sampled replies that name no legal action (or, of recorded episodes, no action).
    """

    step: int
    loss: float
    divergence: float
    invalid_rate: float


class CloningReporter(Protocol):
    """Receives news of a cloning."""

    def stage(self, text: str) -> None:
        """A stage before the first step has advanced."""
        ...

    def step(self, done: int, steps: int, loss: float) -> None:
        """A step was done."""
        ...

    def measured(self, measurement: Measurement, steps: int) -> None:
        """The clone was measured."""
        ...


@final
class SilentCloning:
    """Says nothing."""

    def stage(self, text: str) -> None:
        """Nothing."""

    def step(self, done: int, steps: int, loss: float) -> None:
        """Nothing."""

    def measured(self, measurement: Measurement, steps: int) -> None:
        """Nothing."""


@attrs.frozen(kw_only=True, eq=False)
class CloningResult:
    """The result of a cloning.

    Attributes:
      kept: the measurement of the policy that was kept: the one nearest to the demonstrations on held-out prompts.
      measurements: all of them.
      converged: whether it stopped because the divergence no longer fell, rather than at the last step.
      folder: of the policy.
    """

    kept: Measurement
    measurements: tuple[Measurement, ...]
    converged: bool
    folder: Path


@attrs.frozen(kw_only=True)
class Shown:
    """Demonstrations, and those that the clone is measured on.

    Attributes:
      fitted: what the model is fitted to.
      measured: demonstrations at prompts that are not among the fitted ones; some of these where there are no others.
      is_held_out: whether there are others.
    """

    fitted: tuple[Demonstration, ...]
    measured: tuple[Demonstration, ...]
    is_held_out: bool

    @classmethod
    def of(
        cls, fitted: Sequence[Demonstration], others: Sequence[Demonstration], *, count: int
    ) -> "Shown":
        """Demonstrations to fit, and an even sample of others at prompts that are not among them.

        Args:
          fitted: at least one.
          others: candidates for measurements.
          count: the greatest number of them to take.
        """
        prompts = {demonstration.prompt for demonstration in fitted}
        unseen = [one for one in others if one.prompt not in prompts]
        pool = unseen or list(fitted)
        count = min(count, len(pool))
        return cls(
            fitted=tuple(fitted),
            measured=tuple(pool[n * len(pool) // count] for n in range(count)),
            is_held_out=bool(unseen),
        )


def best_of(measurements: Sequence[Measurement]) -> Measurement | None:
    """The measurement with the least divergence after a step; ``None`` before there is one."""
    after = [m for m in measurements if m.step > 0]
    return min(
        after, key=lambda m: m.divergence if math.isfinite(m.divergence) else math.inf, default=None
    )


def has_converged(
    measurements: Sequence[Measurement], *, patience: int, min_improvement: float
) -> bool:
    """Whether the last measurements brought no improvement.

    Args:
      measurements: in order.
      patience: how many in a row may bring no improvement.
      min_improvement: by how much an improvement lowers the least divergence before it, in nats.

    Example:
      >>> found = [Measurement(step=n, loss=0, divergence=d, invalid_rate=0) for n, d in enumerate((3, 1, 1.5, 0.99))]
      >>> [has_converged(found[:n], patience=2, min_improvement=0.1) for n in (3, 4)]
      [False, True]
    """
    least, in_vain = math.inf, 0
    for measurement in measurements:
        if measurement.divergence < least - min_improvement:
            least, in_vain = measurement.divergence, 0
        else:
            in_vain += 1
    return in_vain >= patience


@final
class Cloning:
    """A cloning in progress, in a folder.

    Args:
      policy: what is fitted, in place.
      shown: the demonstrations.
      config: the settings, resolved.
      folder: where the policy and its record go; it is there.
      described: what is cloned and how, for ``clone.json``; a cloning that is resumed must have the same, but for the
        ``versions`` of what it runs on.
      reporter: receives news.

    Raises:
      RunFolderError: the folder holds another cloning, or cannot be written.
    """

    def __init__(
        self,
        policy: Policy,
        shown: Shown,
        config: FitConfig,
        folder: Path,
        *,
        described: Mapping[str, Any],
        reporter: CloningReporter,
    ) -> None:
        settings = config.steps, config.batch, config.learning_rate
        if None in settings:
            raise ValueError("the settings must be resolved")
        self.policy, self.shown, self.config, self.folder = policy, shown, config, folder
        self.reporter = reporter
        self.measurements: list[Measurement] = []
        self.losses: list[float] = []  # of the steps since the last measurement
        self.fit = Fit(
            policy.model,
            shown.fitted,
            parser=policy.parser,
            steps=config.steps or 0,
            batch=config.batch or 0,
            learning_rate=config.learning_rate or 0.0,
            seed=config.seed,
            token_budget=config.token_budget,
        )
        self._describe(described)
        self._go_on()

    def _describe(self, described: Mapping[str, Any]) -> None:
        file, text = self.folder / DESCRIBED, json.dumps(dict(described), indent=2, sort_keys=True)
        if not file.exists():
            write_whole_file(file, text + "\n")
        try:
            there, here = dict(json.loads(file.read_text())), json.loads(text)
        except (ValueError, TypeError) as error:
            raise RunFolderError(f"{str(file)!r} is malformed: {error}") from error
        if {**there, "versions": None} != {**here, "versions": None}:
            raise RunFolderError(f"{str(self.folder)!r} contains a cloning with other settings")
        if there.get("versions") != here.get("versions"):
            self.reporter.stage(
                "the cloning began under other versions or on another machine: numbers may differ"
            )

    def _go_on(self) -> None:
        """Take up what a checkpoint holds, if there is one."""
        checkpoint = self.folder / _CHECKPOINT
        if corruption_reason(checkpoint) is None:
            state = TrainingState.load(checkpoint)
            with as_saved():
                self.fit.load_state(state.part("fit"))
                self.measurements = [Measurement(**_numbers(m)) for m in state.values["measured"]]
                self.losses = [float(loss) for loss in state.values["losses"]]
            self.reporter.stage(f"resumed after step {self.fit.done}")
        write_whole_file(self.folder / MEASURED, "".join(map(_line, self.measurements)))

    def run(self, signal: Callable[[], int | None] = lambda: None) -> CloningResult | None:
        """Do the remaining steps, keep the best policy, and remove what only a resumed cloning needs.

        Args:
          signal: asked before each step whether to stop.

        Returns:
          The result; ``None`` if it was stopped, with a checkpoint.
        """
        if not self.measurements:
            self._measure()
        while not (self.fit.done == self.fit.steps or self._has_converged):
            if signal() is not None:
                self._write_checkpoint()
                return None
            loss = self.fit.step()
            self.losses.append(loss)
            self.reporter.step(self.fit.done, self.fit.steps, loss)
            if self.fit.done % self.config.measure_every == 0 or self.fit.done == self.fit.steps:
                self._measure()
        return self._finish()

    @property
    def _has_converged(self) -> bool:
        return has_converged(
            self.measurements,
            patience=self.config.patience,
            min_improvement=self.config.min_improvement,
        )

    def _measure(self) -> None:
        """Measure, keep the policy if it is the best so far, and write a checkpoint."""
        measurement = Measurement(
            step=self.fit.done,
            loss=math.fsum(self.losses) / len(self.losses) if self.losses else math.nan,
            divergence=self.fit.divergence(self.shown.measured),
            invalid_rate=self._invalid_rate(),
        )
        self.measurements.append(measurement)
        self.losses = []
        if best_of(self.measurements) is measurement:
            write_whole_folder(self.folder / _BEST, self.policy.save_pretrained)
        self._write_checkpoint()
        file = self.folder / MEASURED
        with writing(file), file.open("a") as lines:
            lines.write(_line(measurement))
        self.reporter.measured(measurement, self.fit.steps)

    def _invalid_rate(self) -> float:
        """The share of replies, sampled at some of the measured prompts, that name no legal action."""
        shown, policy = self.shown.measured[:_SAMPLED], self.policy
        completions = policy.model.sample(
            [demonstration.prompt for demonstration in shown],
            [Stream("cloning measurement", self.config.seed, n) for n in range(len(shown))],
            sampling=policy.sampling,
            stop_criterion=policy.parser.is_complete,
        )
        invalid = 0
        for demonstration, completion in zip(shown, completions, strict=True):
            read = policy.parser.parse(completion.reply_text)
            is_legal = demonstration.is_legal or (lambda text: True)
            invalid += not (isinstance(read, ActionText) and is_legal(read.text))
        return invalid / len(shown)

    def _write_checkpoint(self) -> None:
        measured = [attrs.asdict(measurement) for measurement in self.measurements]
        state = TrainingState.of(
            {"fit": self.fit.state({})}, measured=_finite(measured), losses=self.losses
        )
        write_whole_folder(self.folder / _CHECKPOINT, state.save)

    def _finish(self) -> CloningResult:
        kept, best = best_of(self.measurements), self.folder / _BEST
        reason = "no divergence was a number" if kept is None else corruption_reason(best)
        if kept is None or reason is not None:
            raise RunFolderError(f"the best policy is not in {str(best)!r}: {reason}")
        later = shutil.ignore_patterns(POLICY_FILE, MANIFEST)
        shutil.copytree(best, self.folder, ignore=later, dirs_exist_ok=True)
        model = self.policy.model
        if isinstance(model, TransformersModel) and model.has_adapters:
            model.base.save(self.folder)  # with its path from here
        shutil.copy2(best / POLICY_FILE, self.folder)  # last, since it makes the folder a policy
        for work in (best, self.folder / _CHECKPOINT):
            shutil.rmtree(work)
        return CloningResult(
            kept=kept,
            measurements=tuple(self.measurements),
            converged=self.fit.done < self.fit.steps,
            folder=self.folder,
        )


def _line(measurement: Measurement) -> str:
    return json.dumps(_finite([attrs.asdict(measurement)])[0]) + "\n"


def _finite(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Records for JSON, which has no word for NaN."""
    return [
        {name: value if name == "step" else finite(value) for name, value in record.items()}
        for record in records
    ]


def _numbers(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record as JSON gave it back."""
    return {name: math.nan if value is None else value for name, value in record.items()}
