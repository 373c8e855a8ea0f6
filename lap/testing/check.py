"""``check_model``: every promise that a trainable backend makes to policies and to the trainer."""

from collections.abc import Callable, Sequence

from lap.engine.sampling import Sampling
from lap.model import TrainableModel
from lap.prompts import Message, Prompt, Segment
from lap.testing import learning, playing
from lap.testing.report import Check, Fixture, ModelReport
from tsmg import InvalidArgumentError

CHECKS: tuple[Check, ...] = (*playing.CHECKS, *learning.CHECKS)
"""Every check, in the order of the report."""

_TEXTS = ("P F\nF G", "F P F\nF F G\nF F F", "P F\nF G", "F F\nP G", "x")
_PROMPTS = tuple(Prompt((Message("user", (Segment(text, trusted=False),)),)) for text in _TEXTS)
_SAMPLINGS = (
    Sampling(max_reply_tokens=6),
    Sampling(temperature=0.5, max_reply_tokens=4),
    Sampling(temperature=1.7, max_reply_tokens=5),
    Sampling(top_k=5, max_reply_tokens=4),
    Sampling(top_p=0.8, max_reply_tokens=4),
    Sampling(min_p=0.2, temperature=0.8, max_reply_tokens=4),
)


def check_model(
    make_model: Callable[[], TrainableModel],
    *,
    prompts: Sequence[Prompt] = _PROMPTS,
    samplings: Sequence[Sampling] = _SAMPLINGS,
    tolerance: float = 1e-5,
    checks: Sequence[str] = (),
) -> ModelReport:
    """Check a backend against what policies and the trainer rely on.

    All checks are made, even after one failed. They are the same in every run of a program.

    Args:
      make_model: makes a fresh model on every call, each time with the same weights. Its replies must not be certain.
      prompts: the prompts; different ones, and at least one twice.
      samplings: the distributions to sample from; none greedy.
      tolerance: how far log-probabilities may be apart that should be equal, in nats.
      checks: names of the checks to make; all unless given.

    Returns:
      A report with a result per check.

    Raises:
      InvalidArgumentError: there is no check of a name, no prompt or no sampling, or a sampling is greedy.

    Example:
      >>> from lap import TabularModel
      >>> print(check_model(lambda: TabularModel(("a", "b"), capacity=2000)))
      TabularModel: 18 checks passed, 0 failed
    """
    unknown = set(checks) - {check.name for check in CHECKS}
    if unknown:
        raise InvalidArgumentError(f"'checks' must be names of checks (got {sorted(unknown)})")
    if not prompts or not samplings or any(sampling.is_greedy for sampling in samplings):
        raise InvalidArgumentError(
            "'prompts' and 'samplings' must each have one at least, and no sampling may be greedy"
        )
    fixture = Fixture(
        make=make_model, prompts=tuple(prompts), samplings=tuple(samplings), tolerance=tolerance
    )
    chosen = [check for check in CHECKS if not checks or check.name in checks]
    results = tuple(check.run(fixture) for check in chosen)
    return ModelReport(model=type(make_model()).__name__, results=results)
