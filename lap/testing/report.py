"""The input and the output of the kit: a result per check, each failure with the likely cause."""

import enum
import math
from collections.abc import Callable, Iterator, Sequence

import attrs
import torch

from lap.engine.sampling import Sampling
from lap.model import TrainableModel
from lap.prompts import Prompt
from tsmg import Completion, Stream, TSMGError


class ModelConformanceError(TSMGError, AssertionError):
    """A model backend fails checks of the conformance kit; the message lists each with what was seen."""


class Status(enum.Enum):
    """How a check ended."""

    OK = "ok"
    FAILED = "failed"
    NOT_OFFERED = "not offered"


@attrs.frozen(kw_only=True, eq=False)
class Fixture:
    """What checks work on.

    Attributes:
      make: makes a fresh model, each time with the same weights.
      prompts: prompts of different lengths, of which two are equal.
      samplings: sampling distributions, truncated ones among them; none is greedy.
      tolerance: how far two log-probabilities may be apart that should be equal, in nats.
    """

    make: Callable[[], TrainableModel]
    prompts: tuple[Prompt, ...]
    samplings: tuple[Sampling, ...]
    tolerance: float

    def streams(self, seed: int = 0) -> list[Stream]:
        """One random stream per prompt."""
        return [Stream(seed, "check_model", n) for n in range(len(self.prompts))]

    def sample(self, model: TrainableModel, sampling: Sampling, seed: int = 0) -> list[Completion]:
        """One completion per prompt."""
        return model.sample(self.prompts, self.streams(seed), sampling=sampling)

    def rescored(
        self, model: TrainableModel, completions: Sequence[Completion], sampling: Sampling
    ) -> torch.Tensor:
        """The log-probabilities of all tokens of completions, one after the other. Shape (tokens,), float64."""
        with torch.no_grad():
            scores = model.logprobs(completions, sampling=sampling)
        rows = zip(scores.logprobs_B_L, completions, strict=True)
        return torch.cat([row[: len(c.reply_ids)].double().cpu() for row, c in rows])

    def deviation(
        self, model: TrainableModel, completions: Sequence[Completion], sampling: Sampling
    ) -> float:
        """The largest difference between recorded log-probabilities and those under the present weights, in nats."""
        recorded = torch.tensor([x for c in completions for x in c.logprobs]).double()
        apart = (self.rescored(model, completions, sampling) - recorded).abs()
        return float(apart.nan_to_num(nan=math.inf, posinf=math.inf).max())


def perturb(model: TrainableModel, *, everything: bool = False) -> None:
    """Change the weights of a model in place, as learning would.

    Args:
      model: the model.
      everything: whether weights that are not learnt change as well.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.network.parameters():
            if parameter.requires_grad or everything:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(0.1 * noise.to(parameter))


@attrs.frozen(kw_only=True)
class Check:
    """A promise of a model, and a function that looks for a breach.

    Attributes:
      name: its name.
      promise: what must hold.
      cause: what is usually wrong if it does not.
      look: yields what was seen instead, once per breach.
      offered: whether a model promises it.
    """

    name: str
    promise: str
    cause: str
    look: Callable[[Fixture], Iterator[str]]
    offered: Callable[[TrainableModel], bool] = lambda model: True

    def run(self, fixture: Fixture) -> "CheckResult":
        """The result of the check; what a model raises is a failure."""
        if not self.offered(fixture.make()):
            return CheckResult(check=self, status=Status.NOT_OFFERED)
        try:
            seen = tuple(self.look(fixture))
        except Exception as error:  # noqa: BLE001 - whatever a backend raises is a finding
            seen = (f"{type(error).__name__}: {error}",)
        return CheckResult(check=self, status=Status.FAILED if seen else Status.OK, seen=seen)


@attrs.frozen(kw_only=True)
class CheckResult:
    """How a check ended.

    Attributes:
      check: the check.
      status: ok, failed, or not offered by this model.
      seen: what was seen if it failed.
    """

    check: Check
    status: Status
    seen: tuple[str, ...] = ()

    def __str__(self) -> str:
        head = f"{self.check.name}: {self.check.promise}"
        if self.status is not Status.FAILED:
            return f"{head} ({self.status.value})"
        seen = "\n".join(f"  seen: {text}" for text in self.seen)
        return f"{head}\n{seen}\n  likely cause: {self.check.cause}"


@attrs.frozen(kw_only=True)
class ModelReport:
    """The results of all checks of a model.

    Attributes:
      model: the name of its class.
      results: one per check.
    """

    model: str
    results: tuple[CheckResult, ...]

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of the checks that failed."""
        return tuple(r.check.name for r in self.results if r.status is Status.FAILED)

    def raise_if_broken(self) -> None:
        """Do nothing if every check passed.

        Raises:
          ModelConformanceError: a check failed; the message lists all that did.
        """
        if self.failed:
            raise ModelConformanceError(str(self))

    def __str__(self) -> str:
        failures = [str(result) for result in self.results if result.status is Status.FAILED]
        passed = sum(result.status is Status.OK for result in self.results)
        head = f"{self.model}: {passed} checks passed, {len(failures)} failed"
        return "\n".join([head, *failures])
