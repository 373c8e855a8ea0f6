"""What a run's metrics say about its health: a pure function of their history."""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean as mean
from typing import Any

import attrs

# How many updates in a row must look alike, and from which value on; see docs/reference/faults.md.
_SHORT, _LONG = 3, 10
_ALL, _MOST, _MANY = 0.99, 0.95, 0.9
_FAR, _CERTAIN, _SUCCEEDS = 1.0, 1e-3, 0.5
_FALL, _LAZY = 0.1, 1e-3  # nats a token
_FEW, _STARTS = 0.1, 10
_TWICE = 2.0
LOOKS_BACK = _LONG + 1
"""The greatest number of updates that ``new_health_warnings`` examines."""


@attrs.frozen(kw_only=True)
class HealthWarning:
    """Something that looks wrong in the last updates.

    Attributes:
      name: of the kind of finding.
      message: what was seen, and its likely cause.
      is_collapse: training cannot recover by itself.
    """

    name: str
    message: str
    is_collapse: bool = False


MetricsLine = Mapping[str, Any]
"""A line of ``metrics.jsonl`` that an update wrote."""


def health_warnings(history: Sequence[MetricsLine]) -> list[HealthWarning]:
    """What looks wrong after the last update of a history.

    Args:
      history: the metrics of every update so far, in order; as in ``metrics.jsonl``, evaluations left out.

    Example:
      >>> [f.name for f in health_warnings([{"invalid_rate": 1.0}] * 3)]
      ['all-invalid']
    """
    return [finding for look in _LOOKS if (finding := look(history)) is not None]


def new_health_warnings(history: Sequence[MetricsLine]) -> list[HealthWarning]:
    """The findings that were not present at the previous update.

    Args:
      history: as for ``health_warnings``.
    """
    before = {finding.name for finding in health_warnings(history[:-1])}
    return [finding for finding in health_warnings(history) if finding.name not in before]


def _lasts(
    history: Sequence[MetricsLine], updates: int, holds: Callable[[MetricsLine], bool]
) -> bool:
    return len(history) >= updates and all(map(holds, history[-updates:]))


def _least(record: MetricsLine, name: str, value: float) -> bool:
    """Whether a metric is defined, and at least so great."""
    number = record.get(name)
    return number is not None and number >= value


def _all_invalid(history: Sequence[MetricsLine]) -> HealthWarning | None:
    if not _lasts(history, _SHORT, lambda r: _least(r, "invalid_rate", _ALL)):
        return None
    return HealthWarning(
        name="all-invalid",
        message="nearly every reply names no legal action, so no reply is better than another: the policy has lost "
        "the format, or never had it; begin anew from an earlier checkpoint with a lower learning rate or a greater "
        "kl_coefficient, or with a model that knows the format",
        is_collapse=True,
    )


def _is_silent(record: MetricsLine) -> bool:
    """Whether (nearly) no group tells better from worse, and not for its successes."""
    return _least(record, "frac_reward_zero_std", _MOST) and not _least(
        record, "success_rate", _SUCCEEDS
    )


def _silent(history: Sequence[MetricsLine]) -> HealthWarning | None:
    if not _lasts(history, _LONG, _is_silent):
        return None
    return HealthWarning(
        name="no-signal",
        message="in nearly every group all returns are equal, and there is nothing to learn from: the game is too hard "
        "(or too easy) for the policy, or the policy always does the same; try an easier game, larger groups or a "
        "higher temperature",
    )


def _certain(history: Sequence[MetricsLine]) -> HealthWarning | None:
    def holds(record: MetricsLine) -> bool:
        is_known = _least(record, "trained_tokens", 1.0)  # the entropy is measured on these
        return is_known and not _least(record, "entropy", _CERTAIN) and _is_silent(record)

    if not _lasts(history, _LONG, holds):
        return None
    return HealthWarning(
        name="certain",
        message="the policy always says the same, and fails: its entropy is gone, and with it all exploration; begin "
        "anew from an earlier checkpoint with a lower learning rate, a greater kl_coefficient or an entropy bonus",
        is_collapse=True,
    )


def _cut(history: Sequence[MetricsLine]) -> HealthWarning | None:
    if not _lasts(history, _SHORT, lambda r: _least(r, "cut_rate", _MANY)):
        return None
    return HealthWarning(
        name="cut",
        message="nearly all replies are cut at max_reply_tokens: the limit is too low for what the prompt asks for, or "
        "the policy no longer ends its replies",
    )


def _far(history: Sequence[MetricsLine]) -> HealthWarning | None:
    if not _lasts(history, _SHORT, lambda r: _least(r, "kl", _FAR)):
        return None
    return HealthWarning(
        name="far",
        message=f"the policy is more than {_FAR:g} nat a token from the reference policy: the learning rate is "
        "too high, or kl_coefficient too small",
    )


def _displaced(history: Sequence[MetricsLine]) -> HealthWarning | None:
    """Good replies become less likely, over updates or within each of them, and the return does not rise."""
    last = history[-_LONG:]
    before, after = last[: _LONG // 2], last[_LONG // 2 :]
    rewards = [_known(part, "reward") for part in (before, after)]
    if len(last) < _LONG or not all(rewards) or mean(rewards[1]) > mean(rewards[0]):
        return None
    was, now = _known(before, "good_logprob"), _known(after, "good_logprob")
    moved = _known(last, "good_displacement")
    falls = len(was) == len(now) == _LONG // 2 and max(now) <= mean(was) - _FALL
    is_lazy = len(moved) == _LONG and max(moved) < -_LAZY
    if not falls and not is_lazy:
        return None
    return HealthWarning(
        name="displaced",
        message="good replies become less likely, and the return does not rise: bad ones, which resemble them, pull "
        "them down, as before a collapse (arXiv 2512.04220); a lower learning rate, a greater kl_coefficient, fewer "
        "epochs or a smaller entropy bonus keeps them",
    )


def _known(records: Sequence[MetricsLine], name: str) -> list[float]:
    """The figures of these updates that are defined and finite."""
    values = (record.get(name) for record in records)
    return [value for value in values if value is not None and math.isfinite(value)]


def _narrow(history: Sequence[MetricsLine]) -> HealthWarning | None:
    def holds(record: MetricsLine) -> bool:
        starts, effective = record.get("distinct_starts"), record.get("effective_starts")
        if starts is None or effective is None or _least(record, "success_rate", _SUCCEEDS):
            return False
        return bool(starts >= _STARTS and effective <= _FEW * starts) and not _is_silent(record)

    if not _lasts(history, _LONG, holds):
        return None
    return HealthWarning(
        name="narrow",
        message="an update learns from a tenth of its starts in effect, since most groups have no signal or count for "
        "little: larger groups find one on harder starts, '--starts learnability' prefers starts that have one, and "
        "--std none with --corrected gives all starts one weight",
    )


def _tailed(history: Sequence[MetricsLine]) -> HealthWarning | None:
    if not _lasts(history, _SHORT, lambda r: _least(r, "ratio_p99", _TWICE)):
        return None
    return HealthWarning(
        name="tails",
        message="before the last step of an update one token in a hundred has at least twice, or at most half, the "
        "probability that it was sampled with: take fewer epochs or a lower learning rate, or, where a server plays, "
        "importance_weights",
    )


_LOOKS = (_all_invalid, _silent, _certain, _cut, _far, _displaced, _narrow, _tailed)
