"""Start rules: which of a game's starts the groups of a run begin on.

A run chooses among a list of starts s, each with its share mu(s) under the game's own law. Where the law can be listed
these are all of its starts; otherwise they are candidates that were drawn from it once, with equal shares. A rule gives
each start a factor, by which its share is multiplied; groups begin on s with probability

    mu~(s) = floor mu(s) + (1 - floor) mu(s) factor(s) / sum_s' mu(s') factor(s')

The expected estimate is then a mean over mu~. If the loss of each group is multiplied by sigma(s) = mu(s) / mu~(s), it
is the mean over mu again, in both cases exactly if groups do not interact; where candidates were drawn, mu is their
uniform distribution, whose mean over the draw of the candidates is the game's law.

Source: choosing levels by a score is prioritised level replay, arXiv:2010.03934; that rule and floor multiply and mix
shares of a law, and the weights, are ours [ours]. ``proofs.statements.starts.curricula`` has the statements.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol, final

import attrs
import numpy as np

from algorithms.method.batch import RoleGroup
from algorithms.method.rule_answers import checked_numbers
from algorithms.method.rules import made_rule, rule_name
from tsmg import EpisodeKey, Finite, InvalidArgumentError, Purpose

_FORGOTTEN = 0.01  # episodes: a start of which less is left is one that was never met


@final
@attrs.frozen(kw_only=True)
class CandidateStart:
    """A start that groups may begin on.

    Attributes:
      number: its place in the list of the run, which is the same in every process and after a run is resumed.
      share: mu, its probability under the game's law, or among the candidates that were drawn from it.
      reached: returns the game's own state; a foreign environment is replayed to it at each call.
    """

    number: int
    share: float
    reached: Callable[[], Any] = attrs.field(eq=False, repr=False)

    @property
    def state(self) -> Any:
        """The game's own state."""
        return self.reached()

    @classmethod
    def at(cls, state: Any, *, number: int, share: float) -> "CandidateStart":
        """The start at a known state."""
        return cls(number=number, share=share, reached=lambda: state)


class StartRule(Protocol):
    """Which starts groups begin on."""

    def __call__(self, starts: Sequence[CandidateStart], /) -> Sequence[float]:
        """A factor for each start, at least 0, by which its share is multiplied; 1 for all is the game's law."""
        ...


@final
@attrs.frozen(kw_only=True, eq=False, slots=False)
class StartLaw:
    """The distribution q of the start of a group.

    Attributes:
      starts: those that there are.
      probabilities: q of each.

    Example:
      >>> starts = [CandidateStart.at(s, number=n, share=0.5) for n, s in enumerate("ab")]
      >>> law = StartLaw.of(starts, lambda starts: [3.0, 1.0], floor=0.2)
      >>> [round(q, 6) for q in law.probabilities]
      [0.7, 0.3]
      >>> [round(law.weight(n), 3) for n in range(2)]
      [0.714, 1.667]
    """

    starts: tuple[CandidateStart, ...]
    probabilities: tuple[float, ...]

    @classmethod
    def of(cls, starts: Sequence[CandidateStart], rule: StartRule, *, floor: float) -> "StartLaw":
        """The distribution over these starts that a rule defines.

        Args:
          starts: those that there are, in the order of their numbers.
          rule: the rule, in its current state.
          floor: share of the groups that begin by the game's law, whatever the rule says.

        Raises:
          InvalidArgumentError: the rule returns something else than a finite factor of at least 0 for each start, or 0
            for all.
        """
        factors = checked_numbers(rule(starts), len(starts), rule=rule)
        shares_S = np.array([start.share for start in starts])
        chosen_S = shares_S * factors
        total = float(chosen_S.sum())
        if min(factors) < 0 or not 0 < total < np.inf:
            raise InvalidArgumentError(
                f"{rule_name(rule)} must return factors of at least 0, not all of them 0 (got {factors})"
            )
        mixed_S = floor * shares_S + (1 - floor) * chosen_S / total
        return cls(starts=tuple(starts), probabilities=tuple(mixed_S.tolist()))

    @cached_property
    def dist(self) -> Finite[int]:
        """The distribution of a start's number."""
        return Finite(dict(enumerate(self.probabilities)))

    def draw(self, key: EpisodeKey) -> CandidateStart:
        """The start of the group that an episode belongs to, a function of the group's key alone."""
        return self.starts[self.dist.sample(key.shared().stream(Purpose.START))]

    def weight(self, number: int) -> float:
        """Sigma = mu / mu~, by which the loss of a group on this start is multiplied to follow the game's law."""
        return self.starts[number].share / self.probabilities[number]

    def check_correctable(self) -> None:
        """Check that weights can restore the game's own distribution.

        Raises:
          InvalidArgumentError: no group can begin on some start of the game.
        """
        if min(self.probabilities) <= 0:
            raise InvalidArgumentError(
                "'correct_starts' needs every start to be possible, and the rule leaves some out: set 'start_floor' "
                "above 0 to keep them"
            )


@final
class Learnability:
    """Starts that are sometimes won and sometimes lost, in proportion to p (1 - p) of their success rate p.

    Of each start, wins and losses are counted, and a count is multiplied by ``memory`` with every update. The factor is
    the mean of p (1 - p) under what is known of p, a Beta distribution with the counts plus 1:

        f = (wins + 1) (losses + 1) / ((n + 2) (n + 3)),     n = wins + losses

    A start that has not been met for long therefore returns to the factor of one that was never met, 1/6. The factor of
    a start that is always won, or always lost, goes to 0; that of a start that is won half the time goes to 1/4.

    Source: p (1 - p) is the learnability of SFL, arXiv:2408.15099, which plays further episodes to measure p, and takes
    the best levels alike. A draw in proportion to the score is the transform "power" of prioritised level replay,
    arXiv:2010.03934. To count what training plays anyway, the Beta distribution and forgetting are ours [ours].

    Args:
      memory: share of the counts that is kept from update to update, in [0, 1].

    Example:
      >>> rule = Learnability(memory=0.5)
      >>> rule.counts = {0: (3.0, 0.0), 1: (2.0, 2.0)}
      >>> starts = [CandidateStart.at(n, number=n, share=1 / 3) for n in range(3)]
      >>> [round(factor, 4) for factor in rule(starts)]  # 4/30, 9/42, 1/6
      [0.1333, 0.2143, 0.1667]
    """

    def __init__(self, *, memory: float) -> None:
        self.memory = memory
        self.counts: dict[int, tuple[float, float]] = {}

    def __call__(self, starts: Sequence[CandidateStart]) -> list[float]:
        """The expected p (1 - p) of each start."""
        return [self._learnability(*self.counts.get(start.number, (0.0, 0.0))) for start in starts]

    @staticmethod
    def _learnability(wins: float, losses: float) -> float:
        n = wins + losses
        return (wins + 1) * (losses + 1) / ((n + 2) * (n + 3))

    def observe(self, role_groups: Sequence[RoleGroup]) -> None:
        """Discount the counts, and add the wins and losses of an update's groups.

        Raises:
          InvalidArgumentError: returns differ, and the game says of no episode whether it was a success.
        """
        known = [(g.start, s) for g in role_groups for s in g.successes_G if s is not None]
        if not known and any(g.has_variance for g in role_groups):
            raise InvalidArgumentError(
                "'starts' 'learnability' needs a game that defines success, and this one does not: choose "
                "'starts' 'law', or a rule of your own that looks at returns"
            )
        self.count((start, success, not success) for start, success in known if start is not None)

    def count(self, outcomes: Iterable[tuple[int, float, float]]) -> None:
        """Discount the counts, and add the wins and losses of an update.

        Args:
          outcomes: the number of a start, and how many episodes of it were won and lost.
        """
        counts = {s: (self.memory * a, self.memory * b) for s, (a, b) in self.counts.items()}
        for start, won, lost in outcomes:
            wins, losses = counts.get(start, (0.0, 0.0))
            counts[start] = (wins + won, losses + lost)
        self.counts = {start: pair for start, pair in counts.items() if sum(pair) >= _FORGOTTEN}

    def state(self) -> dict[str, Any]:
        """The counts, by the number of the start."""
        return {"counts": {str(start): list(pair) for start, pair in self.counts.items()}}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from the counts that ``state`` returned."""
        self.counts = {
            int(start): (wins, losses) for start, (wins, losses) in state["counts"].items()
        }


START_RULES: Mapping[str, Callable[[float], StartRule | None]] = {
    "law": lambda memory: None,
    "learnability": lambda memory: Learnability(memory=memory),
}
"""Each makes its rule from the memory; ``None`` leaves the draw to the game."""


def find_start_rule(setting: str, *, memory: float) -> StartRule | None:
    """The start rule of a setting.

    Args:
      setting: a name, or ``module:object``.
      memory: what a rule that remembers keeps from update to update.

    Raises:
      InvalidArgumentError: nothing has the name, or the module has no such rule.
    """
    return made_rule(setting, START_RULES, memory, option="starts")
